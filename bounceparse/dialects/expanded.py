"""A standard report that names an alias only, completed with the members that its human-readable part tells.

Exim writes the address that it was given as Final-Recipient, and the one that failed into its text: ``(generated from
alias)``. Without that member a report of one dead member of a list would be one of the list.
"""

from __future__ import annotations

from bounceparse.dialects import exim
from bounceparse.dialects.prose import Prose
from bounceparse.lazy import replace
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport, RecipientReport

MEMBER_MARK = "generated from "
_LISTED = exim.LAYOUTS[1]


def name_members(mail: Mail, report: DeliveryReport) -> DeliveryReport:
    """``report`` with the members as final recipients where its text tells them, as it is where it does not."""
    prose = Prose(mail)
    read = _LISTED.read(prose) if _LISTED.hint(prose) else None
    members = [entry for entry in read.recipients if entry.original_recipient] if read else []
    if not members:
        return report
    named = []
    for entry in report.recipients:
        member = _member(entry, members)
        if member is None:
            named.append(entry)
            continue
        members.remove(member)
        named.append(
            replace(
                entry,
                original_recipient=entry.original_recipient or entry.final_recipient,
                final_recipient=member.final_recipient,
                phase=entry.phase or member.phase,
            )
        )
    return replace(report, recipients=tuple(named))


def _member(entry: RecipientReport, members: list[RecipientReport]) -> RecipientReport | None:
    """Which of the members an entry is about: the order differs, so the one of its alias, of its host, with its words."""
    alias = (entry.final_recipient or "").lower()
    own = [one for one in members if (one.original_recipient or "").lower() == alias]
    said = (entry.diagnostic or "")[:40]
    return max(own, key=lambda one: (one.remote_mta == entry.remote_mta, said in (one.diagnostic or "")), default=None)

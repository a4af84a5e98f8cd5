"""The last resort: the detectors of flufl.bounce, which find recipients and know no reasons.

Imported on first use only. The body is capped; what the detectors raise on odd mail (IndexError without a From) is theirs
and means that they found nothing.
"""

from __future__ import annotations

from bounceparse.addresses import clean_address
from bounceparse.codes import Action
from bounceparse.dialects.prose import Prose
from bounceparse.mime import Mail, to_stdlib
from bounceparse.reports import DeliveryReport, RecipientReport

_MOST_BYTES = 16_384
_MOST_LINES = 600  # dozens of detectors look at each
_MOST_PARTS = 40  # nested ones cost their depth for each line


def read_flufl(prose: Prose) -> DeliveryReport | None:
    """The recipients that a detector names, temporary ones as delayed; None where none does."""
    mail = prose.mail
    most = _most(mail)
    message = to_stdlib(mail, most) if most else None
    if message is None:
        return None
    import logging

    from flufl.bounce import all_failures

    log = logging.getLogger("flufl.bounce")
    if not log.handlers:
        log.addHandler(logging.NullHandler())  # it logs what its detectors raise
    try:
        temporary, permanent = all_failures(message)
    except Exception:  # any detector may trip over hostile mail; a reader of ours must not
        return None
    own = {clean_address(mail.get("to")), clean_address(mail.get("from"))}
    recipients = [
        RecipientReport(recipient=address, final_recipient=address, action=action, diagnostic=None, part="text")
        for action, found in ((Action.FAILED, permanent), (Action.DELAYED, temporary))
        for raw in sorted(found)
        if (address := clean_address(raw.decode("utf-8", "replace"))) and "@" in address and address not in own
    ]
    if not recipients:
        return None
    return DeliveryReport(recipients=tuple(recipients), original=prose.original(), text=prose.said)


def _most(mail: Mail) -> int:
    """How many bytes of the mail the detectors may see; none where it is nothing but parts."""
    seen = mail.buffer[mail.start : mail.start + _MOST_BYTES]
    if seen.lower().count(b"\ncontent-type:") > _MOST_PARTS:
        return 0
    lines = seen.split(b"\n", _MOST_LINES)
    return len(seen) - (len(lines[-1]) if len(lines) > _MOST_LINES else 0)

"""The policy table as data: what counts, how often it takes, how far and how long it reaches.

:data:`TABLE` is the default; :func:`change_table` gives the one that a configuration asks for. Which reasons a cause
counts, and its scope, are no settings: the words of services and of people who read a standing rest on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Scope(StrEnum):
    """How far a suppression reaches."""

    ALL = "all"
    FROM = "from"  # mail with this From domain
    MARKETING = "marketing"  # marketing of this sender
    SENDER = "sender"  # all mail of this sender
    LIST = "list"  # this list


@dataclass(frozen=True, slots=True)
class Cause:
    """A line of the policy table.

    Attributes:
        name: what the suppression is recorded under.
        reasons: the reasons that count.
        of_domain: whether the domain is counted and suppressed, not the address.
        scope: how far it reaches.
        needs, days, spread: it acts after this many counts, on this many days, the first and last this many days apart.
        needs_proved: as ``needs`` for a match that is verified, or correlated by an unshared Message-ID; 0: no difference.
        window: days after which a count is forgotten.
        lasts: days that the suppression lasts; None: until lifted.
        unless_delivered: void when the ledger shows mail of the time that got through to the domain.
        one_try: when it has ended, the next failure brings it back at once.
        forwarded: counts failures at an address behind the one we mailed, whatever their reason, and only those.
        token: acts only on a verified or authenticated request, whatever the setting.
        acts: whether it suppresses at all.
    """

    name: str
    reasons: frozenset[str]
    scope: Scope = Scope.ALL
    of_domain: bool = False
    needs: int = 1
    days: int = 1
    spread: int = 0
    needs_proved: int = 0
    window: int = 365
    lasts: int | None = None
    unless_delivered: bool = False
    one_try: bool = False
    forwarded: bool = False
    token: bool = False
    acts: bool = True


SETTINGS = ("acts", "needs", "needs_proved", "days", "spread", "window", "lasts")
"""The fields of :class:`Cause` that a configuration may change; ``lasts = 0`` means until lifted."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


TABLE: tuple[Cause, ...] = (
    Cause(
        "dead-address",
        _set("user-unknown bad-address-syntax address-moved owner-changed"),
        needs=2,
        days=2,
        needs_proved=1,
    ),
    Cause("disabled-address", _set("mailbox-disabled address-ambiguous"), needs=2, spread=3, lasts=180),
    # void while other mail to the domain gets through: one insider with a token must not silence a provider
    Cause("null-mx", _set("null-mx"), of_domain=True, needs=3, days=3, needs_proved=1, lasts=90, unless_delivered=True),
    Cause("bad-domain", _set("bad-domain"), of_domain=True, needs=3, days=3, lasts=90, unless_delivered=True),
    Cause("mailbox-full", _set("mailbox-full"), needs=4, spread=14, window=90, lasts=30),
    Cause("undefined", _set("undefined"), needs=4, spread=14, window=90, lasts=30),
    Cause("forwarded", frozenset(), forwarded=True, needs=4, spread=14, window=90, lasts=30),
    Cause(
        "domain-down",
        _set("no-answer bad-connection dns-failure unroutable expired relay-denied"),
        of_domain=True,
        needs=5,
        days=5,
        spread=21,
        window=90,
        lasts=30,
        unless_delivered=True,
        one_try=True,
    ),
    Cause(
        "blocked-by-recipient",
        _set("recipient-blocks-sender recipient-restricted"),
        scope=Scope.FROM,
        needs=2,
        days=2,
        lasts=180,
    ),
    Cause("complaint", _set("abuse fraud"), scope=Scope.MARKETING),
    Cause("unsubscribe", _set("opt-out one-click unsubscribe-request"), scope=Scope.LIST, token=True),
)
CAUSES = tuple(cause.name for cause in TABLE)
DOMAIN_REASONS = frozenset().union(*(cause.reasons for cause in TABLE if cause.of_domain))
COUNTED_REASONS = frozenset().union(*(cause.reasons for cause in TABLE))

CauseChanges = Mapping[str, Mapping[str, int]]
"""By the name of a cause: which of its :data:`SETTINGS` have which value."""


def change_table(table: tuple[Cause, ...], changes: CauseChanges) -> tuple[Cause, ...]:
    """``table`` with ``changes``."""
    return tuple(change_cause(cause, changes.get(cause.name, {})) for cause in table)


def change_cause(cause: Cause, values: Mapping[str, int]) -> Cause:
    """``cause`` with other settings; what could never be met gives way: with ``needs = 1`` two days become one."""
    if not values:
        return cause
    changed = _replaced(cause, values)
    return replace(
        changed,
        acts=changed.acts or changed.token,
        days=min(changed.days, changed.needs),
        needs_proved=min(changed.needs_proved, changed.needs),
        window=max(changed.window, changed.spread),
    )


def find_contradiction(cause: Cause, values: Mapping[str, int]) -> str | None:
    """Why somebody cannot mean these settings: the setting, what is wrong with it and what to do; None when they can."""
    changed = _replaced(cause, values)
    if changed.token and not changed.acts:
        return "acts: who asks to be left alone must be: remove it"
    if "days" in values and changed.days > changed.needs:
        return f"days: {changed.needs} counts cannot lie on {changed.days} days: raise needs or lower days"
    if "needs_proved" in values and changed.needs_proved > changed.needs:
        return f"needs_proved: proof must not make it harder to act: write at most {changed.needs}, as needs says"
    if changed.spread > changed.window:
        return f"window: counts are forgotten before they lie {changed.spread} days apart: raise window or lower spread"
    return None


def _replaced(cause: Cause, values: Mapping[str, int]) -> Cause:
    changes: dict[str, Any] = {**values}
    if "lasts" in changes:
        changes["lasts"] = changes["lasts"] or None
    return replace(cause, **changes)

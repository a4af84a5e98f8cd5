"""A history of outcomes -> what suppresses: the policy table as data, and the one function that walks it.

Only what :data:`TABLE` lists acts. Counts are one an address, a day (UTC) and a sent message. A reported delivery
clears them; it does not end a suppression that has begun. Reading of the table where it leaves room:

* "4 over 14 days" and "5 on five days over 21" mean that the first and the last lie that far apart, since a mailbox
  that is full for two weeks is given up and one that is full for a day is not, however often it is mailed.
* Counts older than :attr:`Cause.window` are forgotten.
* A domain is given up at the first ``null-mx`` only when the match is proven, and by unproven reports only where
  ``trust = "any"`` forces it: a few forged mails must not silence a provider.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bounceparse.life import Life
from bounceparse.outcomes import REASONS, Status, Trust


class Proof(StrEnum):
    """Whether an outcome must be matched to count (setting ``trust``)."""

    REQUIRE = "require"
    ANY = "any"
    AUTO = "auto"  # required in a mailbox once the ledger covers 95 % of a week's reports


class Event(NamedTuple):
    """One outcome, or one delivery told by the MTA's log, in the history of an address or a domain.

    Attributes:
        at: when it happened (aware).
        address: the address key; ``domain`` its domain.
        message: what identifies the sent message.
        mailbox: where the report came in.
        from_domain, sender, list_id: of the sent message.
        final_5xx: a reply code or enhanced code of class 5 was written.
        authenticated: who asks is proven: by a token, an expired one too, or the From address by its authentication.
    """

    at: datetime
    status: str
    reason: str
    address: str
    domain: str
    message: str
    trust: str
    shared: bool = False
    mailbox: str = ""
    from_domain: str | None = None
    sender: str = ""
    list_id: str | None = None
    final_5xx: bool = False
    authenticated: bool = False
    outcome_id: int | None = None


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
    Cause("null-mx", _set("null-mx"), of_domain=True, needs=3, days=3, needs_proved=1, lasts=90),
    Cause("bad-domain", _set("bad-domain"), of_domain=True, needs=3, days=3, lasts=90),
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

_FAILED = frozenset({Status.SOFTBOUNCE.value, Status.HARDBOUNCE.value, Status.SPAMBOUNCE.value})
_PROVED = frozenset({Trust.VERIFIED.value, Trust.CORRELATED.value})
_ALIVE = frozenset({"read-receipt", "auto-reply", "abuse", "fraud"})
"""Reasons that show somebody at home: they reset the counts of a full mailbox."""

DOMAIN_REASONS = frozenset().union(*(cause.reasons for cause in TABLE if cause.of_domain))
COUNTED_REASONS = frozenset().union(*(cause.reasons for cause in TABLE))


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the policy.

    Attributes:
        trust: whether a match is required (:class:`Proof`).
        complaint_stops_transactional: a complaint stops all mail of the sender, not its marketing alone.
        table: the causes.
        life: how long a message may take, which silence is measured by.
    """

    trust: Proof = Proof.AUTO
    complaint_stops_transactional: bool = False
    table: tuple[Cause, ...] = TABLE
    life: Life = field(default_factory=Life)


@dataclass(frozen=True, slots=True)
class Suppression:
    """What the policy concludes for a subject: an address key, or ``@domain``.

    ``scope`` is ``all``, ``from:DOMAIN``, ``marketing:SENDER``, ``sender:SENDER`` or ``list:ID``; ``since`` is when it
    began to act, ``until`` when it ends (None: until lifted), ``count`` how many counts it rests on, ``last_at`` and
    ``outcome_id`` name the latest of them.
    """

    subject: str
    scope: str
    cause: str
    status: str
    reason: str
    since: datetime
    until: datetime | None
    count: int
    last_at: datetime
    outcome_id: int | None


@dataclass(slots=True)
class _Tally:
    """The counts of one cause and scope so far, and the suppression they have led to."""

    counts: dict[tuple[date, str, str], datetime] = field(default_factory=dict)
    standing: Suppression | None = None
    tried: bool = False


Forgiven = Mapping[tuple[str, str], datetime]
"""By scope and cause: what happened up to this time was lifted by a person and never counts again."""


def subject_of_domain(domain: str) -> str:
    """The subject under which a domain stands."""
    return f"@{domain}"


def judge_address(
    address: str, events: Iterable[Event], policy: Policy, proven: frozenset[str], forgiven: Forgiven
) -> list[Suppression]:
    """The suppressions of an address key after its whole history, ended ones too.

    ``proven`` names the mailboxes in which only matched outcomes count.
    """
    return _judge(address, events, policy, [cause for cause in policy.table if not cause.of_domain], proven, forgiven)


def judge_domain(
    domain: str, events: Iterable[Event], policy: Policy, proven: frozenset[str], forgiven: Forgiven
) -> list[Suppression]:
    """As :func:`judge_address`, for a domain (A-label); the events are those of all its addresses."""
    causes = [cause for cause in policy.table if cause.of_domain]
    return _judge(subject_of_domain(domain), events, policy, causes, proven, forgiven)


def may_count(event: Event, policy: Policy, proven: frozenset[str]) -> bool:
    """Whether any line of the table takes this event: most outcomes never need a look at their history."""
    return any(_counts(cause, event, policy, proven) for cause in policy.table if _lists(cause, event))


def find_causes(event: Event, policy: Policy, proven: frozenset[str]) -> tuple[Cause, ...]:
    """The lines of the table that take this event."""
    return tuple(cause for cause in policy.table if _lists(cause, event) and _counts(cause, event, policy, proven))


def _judge(
    subject: str,
    events: Iterable[Event],
    policy: Policy,
    causes: list[Cause],
    proven: frozenset[str],
    forgiven: Forgiven,
) -> list[Suppression]:
    tallies: dict[tuple[str, str], _Tally] = {}
    for event in sorted(events, key=lambda one: (one.at, one.outcome_id or 0)):
        _reset(tallies, event)
        for cause in causes:
            if not _lists(cause, event) or not _counts(cause, event, policy, proven):
                continue
            scope = _scope(cause, event, policy)
            if scope is None or event.at <= forgiven.get((scope, cause.name), event.at - timedelta(1)):
                continue
            _count(tallies.setdefault((scope, cause.name), _Tally()), subject, scope, cause, event)
    return [tally.standing for tally in tallies.values() if tally.standing is not None]


def _reset(tallies: Mapping[tuple[str, str], _Tally], event: Event) -> None:
    """Clear the counts that a sign of life disproves. A forged or unproven one clears nothing."""
    if event.trust not in _PROVED:
        return
    if event.status == Status.OK and event.reason == "delivered":
        for tally in tallies.values():
            tally.counts.clear()
            tally.tried = False
    elif event.reason in _ALIVE and ("all", "mailbox-full") in tallies:
        tallies["all", "mailbox-full"].counts.clear()


def _lists(cause: Cause, event: Event) -> bool:
    """Whether a cause may take an event at all; most do not."""
    return event.reason in cause.reasons or cause.forwarded


def _counts(cause: Cause, event: Event, policy: Policy, proven: frozenset[str]) -> bool:
    """Whether an event is of a cause: its reason with the reason's own status, and the proof that is asked for."""
    if event.trust == Trust.FORGED:
        return False
    if cause.forwarded:
        return event.trust == Trust.FORWARDED and event.status in _FAILED
    if event.status != REASONS[event.reason].status:
        return False
    if cause.token:
        return event.trust == Trust.VERIFIED or event.authenticated
    if event.trust == Trust.FORWARDED:
        return event.status not in _FAILED
    if cause.name == "undefined" and not event.final_5xx:
        return False
    return event.trust in _PROVED or not _needs_match(cause, event, policy, proven)


def _needs_match(cause: Cause, event: Event, policy: Policy, proven: frozenset[str]) -> bool:
    if policy.trust is Proof.AUTO:
        return cause.of_domain or event.mailbox in proven
    return policy.trust is Proof.REQUIRE


def _scope(cause: Cause, event: Event, policy: Policy) -> str | None:
    """The scope of an event under a cause; None where the mail does not tell whom it is about."""
    match cause.scope:
        case Scope.ALL:
            return "all"
        case Scope.FROM:
            return f"from:{event.from_domain}" if event.from_domain else None
        case Scope.LIST if event.list_id:
            return f"list:{event.list_id}"
        case Scope.MARKETING if policy.complaint_stops_transactional:
            return f"sender:{event.sender}"
        case _:
            return f"marketing:{event.sender}"


def _count(tally: _Tally, subject: str, scope: str, cause: Cause, event: Event) -> None:
    """Add one count; begin, prolong or renew the suppression when there are enough."""
    oldest = event.at - timedelta(days=cause.window)
    for key in [key for key, at in tally.counts.items() if at < oldest]:
        del tally.counts[key]
    tally.counts.setdefault((event.at.date(), event.address, event.message), event.at)
    before = tally.standing
    active = before is not None and (before.until is None or event.at < before.until)
    if not (active or tally.tried or _enough(tally, cause, event)):
        return
    tally.standing = Suppression(
        subject=subject,
        scope=scope,
        cause=cause.name,
        status=event.status,
        reason=event.reason,
        since=before.since if before is not None and active else event.at,
        until=None if cause.lasts is None else event.at + timedelta(days=cause.lasts),
        count=len(tally.counts),
        last_at=event.at,
        outcome_id=event.outcome_id,
    )
    tally.tried = cause.one_try


def _enough(tally: _Tally, cause: Cause, event: Event) -> bool:
    proved = event.trust == Trust.VERIFIED or (event.trust == Trust.CORRELATED and not event.shared)
    needs = cause.needs
    days = cause.days
    if proved and cause.needs_proved:
        needs = days = cause.needs_proved
    times = tally.counts.values()
    return (
        len(tally.counts) >= needs
        and len({key[0] for key in tally.counts}) >= days
        and max(times) - min(times) >= timedelta(days=cause.spread)
    )

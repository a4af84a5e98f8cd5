"""A history of outcomes -> what suppresses: the one function that walks the policy table (:mod:`bounceparse.causes`).

Only what the table lists acts. Counts are one an address, a day (UTC) and a sent message. A reported delivery
clears them; it does not end a suppression that has begun. Reading of the table where it leaves room:

* "4 over 14 days" and "5 on five days over 21" mean that the first and the last lie that far apart, since a mailbox
  that is full for two weeks is given up and one that is full for a day is not, however often it is mailed.
* Counts older than :attr:`Cause.window` are forgotten.
* A domain is given up at the first ``null-mx`` only when the match is proven, and by unproven reports only where
  ``trust = "any"`` forces it: a few forged mails must not silence a provider.
* Streams and senders may have settings of their own (:class:`Changes`): each outcome is judged by those of the stream
  that sent the message, else by those of its sender, else by the installation's. Counts add up across streams, and the
  one that comes last decides whether there are enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bounceparse.breaker import BREAKER, Breaker
from bounceparse.causes import TABLE, Cause, CauseChanges, Scope, change_table
from bounceparse.life import Life
from bounceparse.outcomes import REASONS, Status, Trust


class Proof(StrEnum):
    """Whether an outcome must be matched to count (setting ``trust``)."""

    REQUIRE = "require"
    ANY = "any"
    AUTO = "auto"  # required where the ledger covers the reports (:class:`Coverage`)


class Coverage(NamedTuple):
    """Where the ledger has once covered at least 95 % of a week's reports, so that ``trust = "auto"`` asks for a match.

    A report that leads to no message of ours has no stream: it is judged by the mailbox that it came into. One that leads
    to a message without proving it, as an expired token does, is judged by the message's stream.
    """

    mailboxes: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()

    def requires_match(self, event: Event) -> bool:
        """Whether only a match makes this event count."""
        return event.stream in self.streams if event.stream else event.mailbox in self.mailboxes


NOT_COVERED = Coverage()


class Event(NamedTuple):
    """One outcome, or one delivery told by the MTA's log, in the history of an address or a domain.

    Attributes:
        at: when it happened (aware).
        address: the address key; ``domain`` its domain.
        message: what identifies the sent message.
        mailbox: where the report came in.
        from_domain, sender, list_id, stream: of the sent message.
        provider: who refused, or received: the mail provider where a rule knows it, else the address's domain.
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
    stream: str | None = None
    provider: str = ""


FAILED = frozenset({Status.SOFTBOUNCE.value, Status.HARDBOUNCE.value, Status.SPAMBOUNCE.value})
_PROVED = frozenset({Trust.VERIFIED.value, Trust.CORRELATED.value})
_ALIVE = frozenset({"read-receipt", "auto-reply", "abuse", "fraud"})
"""Reasons that show somebody at home: they reset the counts of a full mailbox."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a stream or a sender has otherwise than the installation: None and what is missing are as there."""

    trust: Proof | None = None
    complaint_stops_transactional: bool | None = None
    causes: CauseChanges = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the policy.

    Attributes:
        trust: whether a match is required (:class:`Proof`).
        complaint_stops_transactional: a complaint stops all mail of the sender, not its marketing alone.
        table: the causes.
        breaker: when suppressions are a mass event.
        life: how long a message may take, which silence is measured by.
        streams, senders: what is otherwise for some of them, by name.
    """

    trust: Proof = Proof.AUTO
    complaint_stops_transactional: bool = False
    table: tuple[Cause, ...] = TABLE
    breaker: Breaker = BREAKER
    life: Life = field(default_factory=Life)
    streams: Mapping[str, Changes] = field(default_factory=dict)
    senders: Mapping[str, Changes] = field(default_factory=dict)
    _known: dict[tuple[str | None, str], Policy] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, stream: str | None, sender: str) -> Policy:
        """The policy for what a stream of a sender sent: itself where neither has settings of its own."""
        own = self.streams.get(stream or ""), self.senders.get(sender)
        if own == (None, None):
            return self
        if (found := self._known.get((stream, sender))) is None:
            found = self._known[stream, sender] = self._changed(own[1])._changed(own[0])
        return found

    def _changed(self, changes: Changes | None) -> Policy:
        if changes is None:
            return self
        stops = changes.complaint_stops_transactional
        return Policy(
            trust=changes.trust or self.trust,
            complaint_stops_transactional=self.complaint_stops_transactional if stops is None else stops,
            table=change_table(self.table, changes.causes),
            breaker=self.breaker,
            life=self.life,
        )


@dataclass(frozen=True, slots=True)
class Suppression:
    """What the policy concludes for a subject: an address key, or ``@domain``.

    ``scope`` is ``all``, ``from:DOMAIN``, ``marketing:SENDER``, ``sender:SENDER`` or ``list:ID``; ``since`` is when it
    began to act, ``until`` when it ends (None: until lifted), ``count`` how many counts it rests on, ``last_at`` and
    ``outcome_id`` name the latest of them, ``provider`` who had refused when it began. ``paused_until`` is set where it
    came up in the mass event ``event_id``: until then the address is paused, not suppressed.
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
    provider: str | None = None
    paused_until: datetime | None = None
    event_id: int | None = None


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
    address: str, events: Iterable[Event], policy: Policy, coverage: Coverage, forgiven: Forgiven
) -> list[Suppression]:
    """The suppressions of an address key after its whole history, in any order; ended ones too."""
    return _judge(address, events, policy, coverage, forgiven, of_domain=False)


def judge_domain(
    domain: str, events: Iterable[Event], policy: Policy, coverage: Coverage, forgiven: Forgiven
) -> list[Suppression]:
    """As :func:`judge_address`, for a domain (A-label); the events are those of all its addresses."""
    return _judge(subject_of_domain(domain), events, policy, coverage, forgiven, of_domain=True)


def find_causes(event: Event, policy: Policy, coverage: Coverage) -> tuple[Cause, ...]:
    """The lines of the table that count this event: most outcomes have none, and never need a look at their history."""
    own = policy.of(event.stream, event.sender)
    return tuple(cause for cause in own.table if _lists(cause, event) and _counts(cause, event, own, coverage))


def _judge(
    subject: str, events: Iterable[Event], policy: Policy, coverage: Coverage, forgiven: Forgiven, *, of_domain: bool
) -> list[Suppression]:
    tallies: dict[tuple[str, str], _Tally] = {}
    for event in sorted(events, key=_in_order):
        _reset(tallies, event)
        own = policy.of(event.stream, event.sender)
        for cause in own.table:
            if cause.of_domain is not of_domain or not _lists(cause, event):
                continue
            if not _counts(cause, event, own, coverage):
                continue
            scope = _scope(cause, event, own)
            if scope is None or event.at <= forgiven.get((scope, cause.name), event.at - timedelta(1)):
                continue
            _count(tallies.setdefault((scope, cause.name), _Tally()), subject, scope, cause, event)
    return [tally.standing for tally in tallies.values() if tally.standing is not None]


def _in_order(event: Event) -> tuple[datetime, str, str, str, str, int]:
    """By time. What happened at once is put in an order that does not depend on which report came in first."""
    return event.at, event.status, event.reason, event.address, event.message, event.outcome_id or 0


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
    return cause.acts and (event.reason in cause.reasons or cause.forwarded)


def _counts(cause: Cause, event: Event, policy: Policy, coverage: Coverage) -> bool:
    """Whether an event is of a cause: its reason with the reason's own status, and the proof that is asked for."""
    if event.trust == Trust.FORGED:
        return False
    if cause.forwarded:
        return event.trust == Trust.FORWARDED and event.status in FAILED
    if event.status != REASONS[event.reason].status:
        return False
    if cause.token:
        return event.trust == Trust.VERIFIED or event.authenticated
    if event.trust == Trust.FORWARDED:
        return event.status not in FAILED
    if cause.name == "undefined" and not event.final_5xx:
        return False
    return event.trust in _PROVED or not _needs_match(cause, event, policy, coverage)


def _needs_match(cause: Cause, event: Event, policy: Policy, coverage: Coverage) -> bool:
    if policy.trust is Proof.AUTO:
        return cause.of_domain or coverage.requires_match(event)
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
        provider=before.provider if before is not None and active else event.provider or None,
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

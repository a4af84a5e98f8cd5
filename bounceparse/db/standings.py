"""The standing of addresses: histories in, suppressions written, and the questions "may we mail it?"."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import insert_new
from bounceparse.db.engine import chunks
from bounceparse.db.listed import listed
from bounceparse.db.numbers import take_seq
from bounceparse.db.tables import outcomes, sent, standing, state, streams
from bounceparse.db.types import stored_key
from bounceparse.outcomes import Status, Trust
from bounceparse.policy import (
    COUNTED_REASONS,
    Cause,
    Event,
    Forgiven,
    Policy,
    Suppression,
    find_causes,
    judge_address,
    judge_domain,
    may_count,
    subject_of_domain,
)

_PROOF = "proof:"
_COVERAGE = 0.95
_LONGEST = 5000
"""How many of a subject's latest events are looked at: a flood of reports must not make every batch slow."""
_SILENT = timedelta(days=1)
"""A message that nothing was heard of for this long has probably got through."""
_BY_POLICY = "policy"
"""Who lifts what a recount no longer bears out."""
_RESETS = ("delivered", "read-receipt", "auto-reply")


@dataclass(frozen=True, slots=True)
class Standing:
    """May we mail an address? The answer and what it rests on.

    Attributes:
        address: as asked; ``mailable`` is False where a suppression covers all that was asked about.
        status, reason, since, until, count, scope, cause, outcome_id: of the suppression that decides, or of the
            first restriction where it is mailable; None and 0 where nothing is known against it.
        suppressions: all that stand now, those of the domain too.
    """

    address: str
    mailable: bool
    status: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    count: int = 0
    scope: str | None = None
    cause: str | None = None
    outcome_id: int | None = None
    suppressions: tuple[Suppression, ...] = ()


_COLUMNS = [standing.c[name] for name in Suppression.__dataclass_fields__]


def active(now: datetime) -> sa.ColumnElement[bool]:
    """The condition for a row of ``standing`` that acts at ``now``."""
    return sa.and_(standing.c.lifted_at.is_(None), sa.or_(standing.c.until.is_(None), standing.c.until > now))


def suppressions_of(connection: Connection, subjects: Sequence[str], now: datetime) -> dict[str, list[Suppression]]:
    """What stands now, by subject."""
    found: dict[str, list[Suppression]] = {}
    query = _OF_SUBJECTS.where(active(now)).order_by(standing.c.id)
    for row in connection.execute(query, {"listed": subjects}):
        found.setdefault(row.subject, []).append(Suppression(*row))
    return found


_OF_SUBJECTS = sa.select(*_COLUMNS).where(listed(standing.c.subject))


def standing_of(connection: Connection, address: str, list_id: str | None, now: datetime) -> Standing:
    """The standing of one address; with ``list_id`` also whether that list, or marketing, may be mailed to it."""
    subjects = subjects_of(stored_key(address))
    by_subject = suppressions_of(connection, subjects, now)
    rows = [row for subject in subjects for row in by_subject.get(subject, ())]
    blocking = [row for row in rows if _blocks(row.scope, list_id)]
    if not rows:
        return Standing(address, mailable=True)
    decisive = (blocking or rows)[0]
    return Standing(
        address,
        mailable=not blocking,
        status=decisive.status,
        reason=decisive.reason,
        since=decisive.since,
        until=decisive.until,
        count=decisive.count,
        scope=decisive.scope,
        cause=decisive.cause,
        outcome_id=decisive.outcome_id,
        suppressions=tuple(rows),
    )


def subjects_of(key: str) -> list[str]:
    """The subjects under which an address key may be suppressed: its own and its domain's."""
    _, at, domain = key.rpartition("@")
    return [key, subject_of_domain(domain)] if at else [key]


def _blocks(scope: str, list_id: str | None) -> bool:
    if scope == "all":
        return True
    return list_id is not None and (scope == f"list:{list_id}" or scope.startswith(("marketing:", "sender:")))


def mailable(
    connection: Connection, addresses: Sequence[str], stream: str, from_domain: str | None, now: datetime
) -> list[str]:
    """Those of ``addresses``, in order, that ``stream`` may mail."""
    row = connection.execute(sa.select(streams).where(streams.c.name == stream)).first()
    sender, category = (row.sender, row.category) if row is not None else ("", "marketing")
    scopes = {"all", f"sender:{sender}"}
    if category == "marketing":
        scopes.add(f"marketing:{sender}")
    if from_domain:
        scopes.add(f"from:{from_domain}")
    keyed = [(address, subjects_of(stored_key(address))) for address in addresses]
    blocked = _blocked(connection, sorted({one for _, subjects in keyed for one in subjects}), scopes, now)
    return [address for address, subjects in keyed if blocked.isdisjoint(subjects)]


def _blocked(connection: Connection, subjects: Sequence[str], scopes: Collection[str], now: datetime) -> set[str]:
    query = sa.select(standing.c.subject).where(listed(standing.c.subject), active(now), standing.c.scope.in_(scopes))
    return set(connection.execute(query, {"listed": subjects}).scalars())


def proven_mailboxes(connection: Connection) -> frozenset[str]:
    """The mailboxes in which only matched outcomes count."""
    query = sa.select(state.c.name).where(state.c.name.startswith(_PROOF, autoescape=True), state.c.value == 1)
    return frozenset(name.removeprefix(_PROOF) for name in connection.execute(query).scalars())


def measure_coverage(connection: Connection, now: datetime) -> list[str]:
    """Note the mailboxes whose last week of reports the ledger covers; return those that are newly so.

    It is never taken back by itself: otherwise a flood of forged reports would switch the proof off that it fears.
    """
    matched = sa.func.sum(sa.case((outcomes.c.sent_id.is_not(None), 1), else_=0))
    query = (
        sa.select(outcomes.c.mailbox)
        .where(outcomes.c.recorded_at > now - timedelta(days=7), outcomes.c.kind.in_(("delivery", "feedback")))
        .group_by(outcomes.c.mailbox)
        .having(matched >= _COVERAGE * sa.func.count())
    )
    newly = sorted(set(connection.execute(query).scalars()) - proven_mailboxes(connection))
    if newly:
        connection.execute(sa.insert(state), [{"name": _PROOF + mailbox, "value": 1} for mailbox in newly])
    return newly


def _event_of(row: Mapping[str, Any]) -> Event:
    """A new outcome's row as far as it decides whether anything counts it."""
    code, enhanced = row["smtp_code"], row["enhanced_status"]
    message = str(row["sent_id"]) if row["sent_id"] is not None else row["message_key"] or ""
    return Event(
        at=row["event_at"],
        status=row["status"],
        reason=row["reason"],
        address=row["address_key"],
        domain=row["domain_key"] or "",
        message=message,
        trust=row["trust"],
        shared=row["shared"],
        mailbox=row["mailbox"],
        from_domain=row["from_domain"],
        list_id=row["list_id"],
        final_5xx=bool((code and code >= 500) or (enhanced and enhanced[0] == "5")),
        authenticated=row["authenticated"],
    )


def counting_causes(connection: Connection, row: Mapping[str, Any], policy: Policy) -> tuple[Cause, ...]:
    """The lines of the policy that count an outcome's row."""
    if row["address_key"] is None or row["is_copy"]:
        return ()
    return find_causes(_event_of(row), policy, proven_mailboxes(connection))


def update_standing(connection: Connection, rows: Iterable[Mapping[str, Any]], policy: Policy, now: datetime) -> int:
    """Judge anew the addresses and domains that new or changed outcome rows bear on; return how many rows changed."""
    proven = proven_mailboxes(connection)
    addresses, domains = set(), set()
    for row in rows:
        if row["address_key"] is None or row["is_copy"]:
            continue
        if row["reason"] not in COUNTED_REASONS and row["trust"] != Trust.FORWARDED:
            continue
        if not may_count(_event_of(row), policy, proven):
            continue
        if row["of_domain"] and row["domain_key"] and row["trust"] != Trust.FORWARDED:
            domains.add(row["domain_key"])
        else:
            addresses.add(row["address_key"])
    return judge(connection, addresses, domains, policy, proven, now)


def judge(
    connection: Connection,
    addresses: Collection[str],
    domains: Collection[str],
    policy: Policy,
    proven: frozenset[str],
    now: datetime,
) -> int:
    """Judge these subjects by their whole history and write what changed."""
    changed = 0
    for part in chunks(sorted(addresses)):
        before = _written(connection, part)
        after = []
        for address, events in _address_histories(connection, part).items():
            after += judge_address(address, events, policy, proven, _forgiven(before.get(address, ())))
        changed += _write(connection, before, after, now)
    for part in chunks(sorted(domains)):
        before = _written(connection, [subject_of_domain(domain) for domain in part])
        after = []
        for domain, events in _domain_histories(connection, part).items():
            forgiven = _forgiven(before.get(subject_of_domain(domain), ()))
            found = judge_domain(domain, events, policy, proven, forgiven)
            after += _undelivered(connection, domain, found, policy, now)
        changed += _write(connection, before, after, now)
    return changed


def _forgiven(rows: Iterable[sa.Row[Any]]) -> Forgiven:
    return {(row.scope, row.cause): row.forgiven_at for row in rows if row.forgiven_at is not None}


_WRITTEN = sa.select(standing).where(listed(standing.c.subject))


def _written(connection: Connection, subjects: Sequence[str]) -> dict[str, list[sa.Row[Any]]]:
    found: dict[str, list[sa.Row[Any]]] = {}
    for row in connection.execute(_WRITTEN, {"listed": subjects}):
        found.setdefault(row.subject, []).append(row)
    return found


# In the order of Event's fields: a history is read without a look at each column.
_EVENTS = (
    sa.select(
        outcomes.c.event_at,
        outcomes.c.status,
        outcomes.c.reason,
        outcomes.c.address_key,
        outcomes.c.domain_key,
        sa.func.coalesce(sa.cast(outcomes.c.sent_id, sa.Text), outcomes.c.message_key, ""),
        outcomes.c.trust,
        outcomes.c.shared,
        outcomes.c.mailbox,
        outcomes.c.from_domain,
        sa.func.coalesce(streams.c.sender, ""),
        outcomes.c.list_id,
        sa.or_(
            sa.func.coalesce(outcomes.c.smtp_code, 0) >= 500,
            sa.func.coalesce(outcomes.c.enhanced_status, "").like("5%"),
        ),
        outcomes.c.authenticated,
        outcomes.c.id,
    )
    .select_from(outcomes.outerjoin(streams, streams.c.name == outcomes.c.stream))
    .where(~outcomes.c.is_copy, outcomes.c.status != Status.DEFERRED)
)


_EVENTS_OF_ADDRESSES = _EVENTS.where(
    listed(outcomes.c.address_key),
    sa.or_(outcomes.c.reason.in_(sorted(COUNTED_REASONS | set(_RESETS))), outcomes.c.trust == Trust.FORWARDED),
).order_by(outcomes.c.id.desc())
_EVENTS_OF_DOMAINS = _EVENTS.where(listed(outcomes.c.domain_key), sa.text("of_domain")).order_by(outcomes.c.id.desc())
_DELIVERIES = sa.select(sent.c.recipient_key, sent.c.id, sent.c.status_at).where(
    listed(sent.c.recipient_key), sent.c.status == Status.OK, ~sent.c.presumed, sent.c.status_at.is_not(None)
)


def _address_histories(connection: Connection, addresses: Sequence[str]) -> dict[str, list[Event]]:
    """All that bears on these addresses: outcomes, and deliveries that the mail server's log told."""
    histories: dict[str, list[Event]] = {address: [] for address in addresses}
    for row in connection.execute(_EVENTS_OF_ADDRESSES, {"listed": addresses}):
        event = Event(*row)
        _add(histories[event.address], event)
    for key, sent_id, at in connection.execute(_DELIVERIES, {"listed": addresses}):
        domain = key.rpartition("@")[2]
        histories[key].append(Event(at, Status.OK, "delivered", key, domain, str(sent_id), Trust.CORRELATED))
    return histories


def _domain_histories(connection: Connection, domains: Sequence[str]) -> dict[str, list[Event]]:
    """The failures that are counted for these domains."""
    histories: dict[str, list[Event]] = {domain: [] for domain in domains}
    for row in connection.execute(_EVENTS_OF_DOMAINS, {"listed": domains}):
        event = Event(*row)
        _add(histories[event.domain], event)
    return histories


def _add(history: list[Event], event: Event) -> None:
    if len(history) < _LONGEST:
        history.append(event)


def _undelivered(
    connection: Connection, domain: str, found: Iterable[Suppression], policy: Policy, now: datetime
) -> list[Suppression]:
    """Drop what :attr:`Cause.unless_delivered` voids: the ledger shows mail to the domain that got through meanwhile."""
    spread = {cause.name: cause.spread for cause in policy.table if cause.unless_delivered}
    kept = []
    for one in found:
        if one.cause in spread:
            got_through = sa.select(sent.c.id).where(
                sent.c.domain_key == domain,
                sent.c.sent_at > one.since - timedelta(days=spread[one.cause]),
                sent.c.sent_at < min(one.last_at, now - _SILENT),
                sent.c.status.in_((Status.OK, Status.INJECTED)),
            )
            if connection.execute(got_through.limit(1)).first() is not None:
                continue
        kept.append(one)
    return kept


def _write(
    connection: Connection, before: Mapping[str, Sequence[sa.Row[Any]]], after: Iterable[Suppression], now: datetime
) -> int:
    """Bring ``standing`` from what is written to what was judged; what a person wrote or lifted stays.

    Rows are never deleted, but lifted: a service that follows ``seq`` sees the end of a suppression too.
    """
    old = {(row.subject, row.scope, row.cause): row for rows in before.values() for row in rows}
    new = []
    changes: list[tuple[int, dict[str, Any]]] = []
    for one in after:
        row = old.pop((one.subject, one.scope, one.cause), None)
        values = {name: getattr(one, name) for name in Suppression.__dataclass_fields__}
        if row is None:
            new.append({**values, "origin": "policy"})
        elif row.lifted_at is not None or any(values[name] != getattr(row, name) for name in values):
            changes.append((row.id, {**values, "lifted_at": None, "lifted_by": None}))
    gone = [row.id for row in old.values() if row.origin == "policy" and row.lifted_at is None]
    changes += [(one, {"lifted_at": now, "lifted_by": _BY_POLICY}) for one in gone]
    if new or changes:
        _write_rows(connection, new, changes)
    return len(new) + len(changes)


def _write_rows(
    connection: Connection, new: Sequence[Mapping[str, Any]], changes: Sequence[tuple[int, Mapping[str, Any]]]
) -> None:
    seq = count(take_seq(connection, len(new) + len(changes)))
    for one, values in changes:
        connection.execute(sa.update(standing).where(standing.c.id == one).values(**values, seq=next(seq)))
    if new:
        insert_new(connection, standing, [{**row, "seq": next(seq)} for row in new])

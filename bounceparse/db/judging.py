"""Histories of outcomes in, suppressions written: what an outcome or a change of the policy does to standings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.causes import COUNTED_REASONS, Cause
from bounceparse.db.bulk import execute_many, insert_new
from bounceparse.db.coverage import read_coverage
from bounceparse.db.engine import chunks
from bounceparse.db.listed import listed
from bounceparse.db.mass_events import pause_bursts
from bounceparse.db.numbers import take_seq
from bounceparse.db.tables import outcomes, sent, standing, streams
from bounceparse.outcomes import Status, Trust
from bounceparse.policy import (
    Coverage,
    Event,
    Forgiven,
    Policy,
    Suppression,
    find_causes,
    judge_address,
    judge_domain,
    subject_of_domain,
)

_LONGEST = 5000
"""How many of a subject's latest events are looked at: a flood of reports must not make every batch slow."""
_SILENT = timedelta(days=1)
"""A message that nothing was heard of for this long has probably got through."""
BY_POLICY = "policy"
"""Who lifts what a recount no longer bears out, and releases what nobody decided."""
_RESETS = ("delivered", "read-receipt", "auto-reply")
_JUDGED = tuple(name for name in Suppression.__dataclass_fields__ if name not in ("paused_until", "event_id"))


class Change(NamedTuple):
    """What judging does to one suppression: ``before`` is what is written and not lifted, ``after`` what is judged now.

    ``row_id`` is the row that it is written in; None where it is the first of its kind.
    """

    row_id: int | None
    before: Suppression | None
    after: Suppression | None


def counting_causes(connection: Connection, row: Mapping[str, Any], policy: Policy) -> tuple[Cause, ...]:
    """The lines of the policy that count an outcome's row."""
    if row["address_key"] is None or row["is_copy"]:
        return ()
    return find_causes(_event_of(row, _senders(connection, [row], policy)), policy, read_coverage(connection))


def _senders(connection: Connection, rows: Iterable[Mapping[str, Any]], policy: Policy) -> Mapping[str | None, str]:
    """Whose the streams of these rows are; looked up only where a sender has a policy of its own."""
    names = {row["stream"] for row in rows if row["stream"] is not None} if policy.senders else None
    if not names:
        return {}
    query = sa.select(streams.c.name, streams.c.sender).where(listed(streams.c.name))
    return {row.name: row.sender for row in connection.execute(query, {"listed": sorted(names)})}


def _event_of(row: Mapping[str, Any], senders: Mapping[str | None, str]) -> Event:
    """A new outcome's row as far as it decides whether anything counts it."""
    code, enhanced = row["smtp_code"], row["enhanced_status"]
    return Event(
        at=row["event_at"],
        status=row["status"],
        reason=row["reason"],
        address=row["address_key"],
        domain=row["domain_key"] or "",
        message="",
        trust=row["trust"],
        shared=row["shared"],
        mailbox=row["mailbox"],
        from_domain=row["from_domain"],
        sender=senders.get(row["stream"], ""),
        list_id=row["list_id"],
        final_5xx=bool((code and code >= 500) or (enhanced and enhanced[0] == "5")),
        authenticated=row["authenticated"],
        stream=row["stream"],
    )


def update_standing(connection: Connection, rows: Sequence[Mapping[str, Any]], policy: Policy, now: datetime) -> int:
    """Judge anew the addresses and domains that new or changed outcome rows bear on; return how many rows changed."""
    coverage = read_coverage(connection)
    senders = _senders(connection, rows, policy)
    addresses, domains = set(), set()
    for row in rows:
        if row["address_key"] is None or row["is_copy"]:
            continue
        if row["reason"] not in COUNTED_REASONS and row["trust"] != Trust.FORWARDED:
            continue
        if not find_causes(_event_of(row, senders), policy, coverage):
            continue
        if row["of_domain"] and row["domain_key"] and row["trust"] != Trust.FORWARDED:
            domains.add(row["domain_key"])
        else:
            addresses.add(row["address_key"])
    return judge(connection, addresses, domains, policy, coverage, now)


def judge(
    connection: Connection,
    addresses: Collection[str],
    domains: Collection[str],
    policy: Policy,
    coverage: Coverage,
    now: datetime,
) -> int:
    """Judge these subjects by their whole history and write what changed; return how many rows that were."""
    changed = 0
    for part in chunks(sorted(addresses)):
        changed += write_changes(connection, find_changes(connection, part, (), policy, coverage, now), policy, now)
    for part in chunks(sorted(domains)):
        changed += write_changes(connection, find_changes(connection, (), part, policy, coverage, now), policy, now)
    return changed


def judge_subjects(connection: Connection, subjects: Iterable[str], policy: Policy, now: datetime) -> int:
    """As :func:`judge`, for subjects as ``standing`` has them: address keys, and domains written ``@example.com``."""
    known = set(subjects)
    domains = {one[1:] for one in known if one.startswith("@")}
    addresses = {one for one in known if not one.startswith("@")}
    return judge(connection, addresses, domains, policy, read_coverage(connection), now)


def find_changes(
    connection: Connection,
    addresses: Sequence[str],
    domains: Sequence[str],
    policy: Policy,
    coverage: Coverage,
    now: datetime,
) -> list[Change]:
    """What judging these subjects by their whole history changes; nothing is written."""
    before = _written(connection, [*addresses, *map(subject_of_domain, domains)])
    after: list[Suppression] = []
    for address, events in _address_histories(connection, addresses).items() if addresses else ():
        after += judge_address(address, events, policy, coverage, _forgiven(before.get(address, ())))
    for domain, events in _domain_histories(connection, domains).items() if domains else ():
        forgiven = _forgiven(before.get(subject_of_domain(domain), ()))
        found = judge_domain(domain, events, policy, coverage, forgiven)
        after += _undelivered(connection, domain, found, policy, now)
    return list(_differences(before, after))


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
        outcomes.c.stream,
        sa.func.coalesce(outcomes.c.provider, outcomes.c.domain_key, ""),
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


_LOOK_BACK = 7
"""Days before a domain is given up in which mail that got through speaks against that."""


def _undelivered(
    connection: Connection, domain: str, found: Iterable[Suppression], policy: Policy, now: datetime
) -> list[Suppression]:
    """Drop what :attr:`Cause.unless_delivered` voids: the ledger shows mail to the domain that got through meanwhile."""
    before = {cause.name: max(cause.spread, _LOOK_BACK) for cause in policy.table if cause.unless_delivered}
    kept = []
    for one in found:
        if one.cause in before:
            got_through = sa.select(sent.c.id).where(
                sent.c.domain_key == domain,
                sent.c.sent_at > one.since - timedelta(days=before[one.cause]),
                sent.c.sent_at < min(one.last_at, now - _SILENT),
                sent.c.status.in_((Status.OK, Status.INJECTED)),
            )
            if connection.execute(got_through.limit(1)).first() is not None:
                continue
        kept.append(one)
    return kept


def _differences(before: Mapping[str, Sequence[sa.Row[Any]]], after: Iterable[Suppression]) -> Iterator[Change]:
    """From what is written to what was judged; what a person wrote or lifted stays."""
    old = {(row.subject, row.scope, row.cause): row for rows in before.values() for row in rows}
    for one in after:
        row = old.pop((one.subject, one.scope, one.cause), None)
        if row is None:
            yield Change(None, None, one)
        elif row.lifted_at is not None:
            yield Change(row.id, None, one)
        elif any(getattr(one, name) != row._mapping[name] for name in _JUDGED):  # row.count is a tuple's method
            yield Change(row.id, _suppression(row), one)
    for row in old.values():
        if row.origin == BY_POLICY and row.lifted_at is None:
            yield Change(row.id, _suppression(row), None)


def _suppression(row: sa.Row[Any]) -> Suppression:
    return Suppression(**{name: row._mapping[name] for name in Suppression.__dataclass_fields__})


def write_changes(connection: Connection, changes: Sequence[Change], policy: Policy, now: datetime) -> int:
    """Write changes, and pause what comes up in a mass event.

    Rows are never deleted, but lifted: a service that follows ``seq`` sees the end of a suppression too.
    """
    if not changes:
        return 0
    new = []
    written: dict[sa.Update, list[dict[str, Any]]] = {_LIFTED: [], _RENEWED: [], _BEGUN: []}
    seq = count(take_seq(connection, len(changes)))
    for change in changes:
        if change.after is None:
            values: dict[str, Any] = {"lifted_at": now}
        else:
            values = {name: getattr(change.after, name) for name in _JUDGED}
        values["seq"] = next(seq)
        if change.row_id is None:
            new.append({**values, "origin": BY_POLICY})
            continue
        statement = _LIFTED if change.after is None else _BEGUN if _begins(change) else _RENEWED
        written[statement].append({"b_id": change.row_id, **{f"b_{name}": value for name, value in values.items()}})
    for statement, rows in written.items():
        if rows:
            execute_many(connection, statement, rows, ("b_id",))
    if new:
        insert_new(connection, standing, new)
    begun = [change.after for change in changes if change.after is not None and _begins(change)]
    discarded = pause_bursts(connection, begun, policy.breaker, now)
    if discarded:
        judge_subjects(connection, discarded, policy, now)
    return len(changes)


def _written_by(*given: str, **fixed: sa.ColumnElement[Any]) -> sa.Update:
    values = {name: sa.bindparam(f"b_{name}", type_=standing.c[name].type) for name in ("seq", *given)}
    return sa.update(standing).where(standing.c.id == sa.bindparam("b_id")).values({**values, **fixed})


_STANDS = {"lifted_at": sa.null(), "lifted_by": sa.null()}
_LIFTED = _written_by("lifted_at", lifted_by=sa.literal_column(f"'{BY_POLICY}'"))
_RENEWED = _written_by(*_JUDGED, **_STANDS)
_BEGUN = _written_by(*_JUDGED, **_STANDS, event_id=sa.null(), paused_until=sa.null())


def _begins(change: Change) -> bool:
    """Whether a suppression begins, rather than goes on."""
    return change.after is not None and (change.before is None or change.before.since != change.after.since)

"""What the panel asks: the log of outcomes newest first, counts by day and provider, messages that are held.

Nothing here looks at more than ten thousand rows, but :func:`reports_by_day`, :func:`provider_reasons` and
:func:`reports_by_mailbox`: these look at all outcomes of a time, by the index on ``recorded_at``, and their callers keep
the answers.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.api_store import of_sender
from bounceparse.db.queries import HeldMessage
from bounceparse.db.rates import day_of
from bounceparse.db.rows import RecordedOutcome, recorded_outcome
from bounceparse.db.tables import messages, outcomes, requests, sent
from bounceparse.db.types import stored_key

SCAN = 10_000
"""How many ids one page of the log looks through for outcomes that are wanted."""
_HELD = sa.text("error IS NOT NULL")  # these very words: SQLite finds its partial index by them


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which outcomes are wanted: those with these values, recorded at or after ``since`` and before ``until``."""

    status: str | None = None
    reason: str | None = None
    stream: str | None = None
    provider: str | None = None
    mailbox: str | None = None
    address: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self, sender: str | None) -> list[sa.ColumnElement[bool]]:
        """The same as conditions, for a tenant or (None) for all."""
        values = {
            outcomes.c.status: self.status,
            outcomes.c.reason: self.reason,
            outcomes.c.stream: self.stream,
            outcomes.c.provider: self.provider,
            outcomes.c.mailbox: self.mailbox,
            outcomes.c.address_key: stored_key(self.address) if self.address else None,
        }
        found = [column == value for column, value in values.items() if value is not None]
        if self.customer is not None:
            found.append(outcomes.c.sent_id.in_(sa.select(sent.c.id).where(sent.c.customer == self.customer)))
        if self.since is not None:
            found.append(outcomes.c.recorded_at >= self.since)
        if self.until is not None:
            found.append(outcomes.c.recorded_at < self.until)
        return [*found, ~outcomes.c.is_copy, *of_sender(outcomes.c.stream, sender)]

    @property
    def is_filtered(self) -> bool:
        """Whether it is more than a span of time that is wanted: outcomes in between may be none of them."""
        return any((self.status, self.reason, self.stream, self.provider, self.mailbox))

    @property
    def is_indexed(self) -> bool:
        """Whether an index leads to them, so that they can be looked up wherever they are."""
        return self.address is not None or self.customer is not None


class LogPage(NamedTuple):
    """Outcomes, newest first. ``before`` is the id below which the log goes on, None at its end.

    ``searched`` tells how far back the page looked, where it looked through :data:`SCAN` ids and found too few.
    """

    rows: tuple[RecordedOutcome, ...]
    before: int | None
    searched: datetime | None


def log_page(connection: Connection, wanted: Wanted, sender: str | None, before: int | None, limit: int) -> LogPage:
    """Up to ``limit`` outcomes with an id below ``before``, newest first."""
    query = sa.select(outcomes).where(*wanted.conditions(sender))
    if wanted.is_indexed:
        order = outcomes.c.id + 0  # else the planner may walk the whole table by its ids
        if before is not None:
            query = query.where(outcomes.c.id < before)
        rows = connection.execute(query.order_by(order.desc()).limit(limit + 1)).all()
        return _page(rows, limit, None)
    newest = _newest(connection, wanted, before)
    if newest is None:
        return LogPage((), None, None)
    query = query.where(outcomes.c.id <= newest).order_by(outcomes.c.id.desc()).limit(limit + 1)
    if not wanted.is_filtered and sender is None:
        return _page(connection.execute(query).all(), limit, None)
    floor = newest - SCAN
    rows = connection.execute(query.where(outcomes.c.id > floor)).all()
    return _page(rows, limit, _below(connection, wanted, floor) if len(rows) <= limit else None)


def _newest(connection: Connection, wanted: Wanted, before: int | None) -> int | None:
    """The outcome from which on the log is to be looked through, downwards; None where there is none."""
    ids = sa.select(outcomes.c.id).limit(1)
    if wanted.until is not None:  # apart from the ids: one index leads to each
        past = ids.where(outcomes.c.recorded_at < wanted.until)
        last = connection.execute(past.order_by(outcomes.c.recorded_at.desc(), outcomes.c.id.desc())).scalar()
        if last is None:
            return None
        before = last + 1 if before is None else min(before, last + 1)
    if before is not None:
        ids = ids.where(outcomes.c.id < before)
    found: int | None = connection.execute(ids.order_by(outcomes.c.id.desc())).scalar()
    return found


def _below(connection: Connection, wanted: Wanted, floor: int) -> Any:
    """The newest outcome that was not looked at; None where the log ends above it."""
    query = sa.select(outcomes.c.id, outcomes.c.recorded_at).where(outcomes.c.id <= floor)
    row = connection.execute(query.order_by(outcomes.c.id.desc()).limit(1)).first()
    ended = row is None or (wanted.since is not None and row.recorded_at < wanted.since)
    return None if ended else row


def _page(rows: Sequence[sa.Row[Any]], limit: int, below: Any) -> LogPage:
    found = [recorded_outcome(row) for row in rows]
    if len(found) > limit:
        return LogPage(tuple(found[:limit]), found[limit - 1].id, None)
    if below is not None:
        return LogPage(tuple(found), below.id + 1, below.recorded_at)
    return LogPage(tuple(found), None, None)


def export_page(connection: Connection, wanted: Wanted, sender: str | None, after: int) -> list[RecordedOutcome]:
    """Up to a thousand of all that are wanted with an id above ``after``, oldest first."""
    query = sa.select(outcomes).where(outcomes.c.id > after, *wanted.conditions(sender))
    return [recorded_outcome(row) for row in connection.execute(query.order_by(outcomes.c.id).limit(1000))]


def one_outcome(connection: Connection, outcome_id: int, sender: str | None) -> RecordedOutcome | None:
    """The outcome of an id; None where there is none, or it is another tenant's."""
    query = sa.select(outcomes).where(outcomes.c.id == outcome_id, *of_sender(outcomes.c.stream, sender))
    row = connection.execute(query).first()
    return None if row is None else recorded_outcome(row)


# Counts


def reports_by_day(connection: Connection, since: datetime, sender: str | None) -> dict[str, dict[str, int]]:
    """By day (UTC) on which they were recorded, the outcomes of each status; copies are left out."""
    day = day_of(connection, outcomes.c.recorded_at).label("day")
    query = sa.select(day, outcomes.c.status, sa.func.count()).where(*_recent(since, sender))
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for name, status, count in connection.execute(query.group_by("day", outcomes.c.status)):
        found[name][status] = count
    return dict(found)


def reports_by_mailbox(connection: Connection, since: datetime) -> dict[str, int]:
    """The outcomes recorded since then of each mailbox."""
    query = sa.select(outcomes.c.mailbox, sa.func.count()).where(*_recent(since, None)).group_by(outcomes.c.mailbox)
    return {row[0]: row[1] for row in connection.execute(query)}


class ProviderReason(NamedTuple):
    """How many outcomes of one status and reason were reported of a provider."""

    provider: str
    status: str
    reason: str
    total: int


def provider_reasons(connection: Connection, since: datetime, sender: str | None) -> list[ProviderReason]:
    """What was reported of each provider that reports named, the most frequent first."""
    of = (outcomes.c.provider, outcomes.c.status, outcomes.c.reason)
    query = sa.select(*of, sa.func.count()).where(*_recent(since, sender), outcomes.c.provider.is_not(None))
    found = [ProviderReason(*row) for row in connection.execute(query.group_by(*of))]
    return sorted(found, key=lambda one: (-one.total, one))


def _recent(since: datetime, sender: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    return (outcomes.c.recorded_at >= since, ~outcomes.c.is_copy, *of_sender(outcomes.c.stream, sender))


# What waits for a person


def count_held(connection: Connection) -> int:
    """How many messages could not be read."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(messages).where(_HELD)).scalar_one())


def count_pending(connection: Connection) -> int:
    """How many unsubscribe requests wait for a person."""
    pending = sa.text("state = 'pending'")
    return int(connection.execute(sa.select(sa.func.count()).select_from(requests).where(pending)).scalar_one())


def held_page(connection: Connection, after: int, limit: int) -> list[HeldMessage]:
    """Up to ``limit`` messages that could not be read with an id above ``after``, oldest first; without their bytes."""
    columns = [messages.c[name] for name in HeldMessage.__dataclass_fields__ if name != "raw"]
    query = sa.select(*columns).where(_HELD, messages.c.id > after).order_by(messages.c.id).limit(limit)
    return [_held(row, b"") for row in connection.execute(query)]


def held_message(connection: Connection, message_id: int) -> HeldMessage | None:
    """The held message of an id, with its bytes."""
    columns = [messages.c[name] for name in HeldMessage.__dataclass_fields__]
    row = connection.execute(sa.select(*columns).where(_HELD, messages.c.id == message_id)).first()
    return None if row is None else _held(row, zlib.decompress(row.raw) if row.raw else b"")


def _held(row: sa.Row[Any], raw: bytes) -> HeldMessage:
    return HeldMessage(**{**row._mapping, "raw": raw})

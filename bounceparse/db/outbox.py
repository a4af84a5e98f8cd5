"""Events for webhooks: written at the end of the transaction that made them so, from the rows that it changed.

Every change of an outcome or a suppression gives its row a new ``seq``; so the rows above the last ``seq`` that was told
are what is new, whoever changed them. Streams have no ``seq``: what judges them calls :func:`tell_streams`. Nothing is
written while no endpoint is configured (:func:`enable`), and that costs one look at two rows.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import insert_new
from bounceparse.db.numbers import set_number, take_seq
from bounceparse.db.rows import recorded_outcome
from bounceparse.db.tables import health, outbox, outcomes, standing, state, streams
from bounceparse.db.types import Utc

TOLD = "webhooks"
"""The ``seq`` up to which events are written; without this number none are."""
_PAGE = 1000
_MARKS = "SELECT name, value FROM bounceparse_state WHERE name IN ('seq', 'webhooks')"


class EventKind(StrEnum):
    """What an event tells of."""

    OUTCOME = "outcome"
    STANDING = "standing"
    STREAM = "stream"


TYPES = {
    EventKind.OUTCOME: "outcome.recorded",
    EventKind.STANDING: "standing.changed",
    EventKind.STREAM: "stream.changed",
}
"""The ``type`` of a payload, by kind."""


@contextmanager
def telling(connection: Connection, clock: Callable[[], datetime]) -> Iterator[None]:
    """Write, at the end of a transaction that writes, the events of what it has changed."""
    began = clock()
    yield
    marks = _marks(connection)
    last = marks.get(TOLD)
    if last is None or last >= marks["seq"]:
        return
    now = clock()
    for first in range(last + 1, marks["seq"] + 1, _PAGE):
        within = {"first": first, "last": min(first + _PAGE - 1, marks["seq"]), "began": began}
        _write(connection, [*_outcome_events(connection, within, now), *_standing_events(connection, within, now)])
    set_number(connection, TOLD, marks["seq"])


def _marks(connection: Connection) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.exec_driver_sql(_MARKS)}


def enable(connection: Connection) -> int:
    """Have events written from now on; returns the ``seq`` behind which they come."""
    marks = _marks(connection)
    if TOLD not in marks:
        set_number(connection, TOLD, marks["seq"])
    return marks["seq"]


def disable(connection: Connection) -> bool:
    """Have no more events written; False where none were."""
    return bool(connection.execute(sa.delete(state).where(state.c.name == TOLD)).rowcount)


def tell_streams(connection: Connection, names: Collection[str], now: datetime) -> None:
    """Write the events of streams whose level has just changed."""
    if not names or connection.execute(sa.select(state.c.value).where(state.c.name == TOLD)).first() is None:
        return
    query = (
        sa.select(health, streams.c.sender, streams.c.category)
        .select_from(health.outerjoin(streams, streams.c.name == health.c.stream))
        .where(health.c.stream.in_(names))
        .order_by(health.c.stream)
    )
    rows = connection.execute(query).mappings().all()
    first = take_seq(connection, len(rows))
    _write(connection, [_stream_event(row, first + place, now) for place, row in enumerate(rows)])


def _write(connection: Connection, events: list[dict[str, Any]]) -> None:
    events.sort(key=lambda event: event["id"])
    insert_new(connection, outbox, events)


def _event(kind: EventKind, seq: int, now: datetime, data: Mapping[str, Any], **columns: str | None) -> dict[str, Any]:
    """A row of the outbox; what is sent is fixed here, byte for byte."""
    payload = {"type": TYPES[kind], "timestamp": now.isoformat(), "data": data}
    return {
        "id": seq,
        "event_id": f"evt_{os.urandom(16).hex()}",
        "kind": kind.value,
        **columns,
        "payload": json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
        "created_at": now,
    }


def _bounds(column: sa.Column[Any]) -> sa.ColumnElement[bool]:
    return column.between(sa.bindparam("first"), sa.bindparam("last"))


# What another route had reported already is told nowhere; what turns out to be such, once it was told, is.
_OUTCOMES = sa.select(outcomes).where(
    _bounds(outcomes.c.seq),
    sa.or_(~outcomes.c.is_copy, outcomes.c.recorded_at < sa.bindparam("began", type_=Utc())),
)
_STANDING = (
    sa.select(standing, outcomes.c.stream)
    .select_from(standing.outerjoin(outcomes, outcomes.c.id == standing.c.outcome_id))
    .where(_bounds(standing.c.seq))
)


def _outcome_events(connection: Connection, within: Mapping[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    for row in connection.execute(_OUTCOMES, within):
        data = {"id": row.id, "seq": row.seq, **recorded_outcome(row).to_json(), "copy": row.is_copy}
        yield _event(
            EventKind.OUTCOME, row.seq, now, data, subject=row.address_key, stream=row.stream, status=row.status
        )


_SHOWN = tuple(
    "id seq subject scope cause status reason since until count last_at origin note lifted_at lifted_by provider"  # noqa: SIM905
    " event_id paused_until outcome_id".split()
)


def _standing_events(connection: Connection, within: Mapping[str, Any], now: datetime) -> Iterator[dict[str, Any]]:
    bounds = {name: within[name] for name in ("first", "last")}
    for row in connection.execute(_STANDING, bounds).mappings():
        data = {"state": _state_of(row, now), **_plain(row, _SHOWN)}
        yield _event(
            EventKind.STANDING,
            row["seq"],
            now,
            data,
            subject=row["subject"],
            stream=row["stream"],
            status=row["status"],
        )


def _state_of(row: Mapping[Any, Any], now: datetime) -> str:
    """What a suppression comes to at ``now``."""
    if row["lifted_at"] is not None:
        return "lifted"
    if row["until"] is not None and row["until"] <= now:
        return "ended"
    return "paused" if row["paused_until"] is not None and row["paused_until"] > now else "suppressed"


def _stream_event(row: Mapping[Any, Any], seq: int, now: datetime) -> dict[str, Any]:
    told = _plain(row, ("level", "why", "since", "released_at", "released_by", "note"))
    data = {
        "stream": row["stream"],
        "sender": row["sender"] or "",
        "category": row["category"] or "marketing",
        "may_send": row["level"] != "stop",
        **told,
        "numbers": json.loads(row["numbers"]),
    }
    subject = f"stream:{row['stream']}"
    return _event(EventKind.STREAM, seq, now, data, subject=subject, stream=row["stream"], status=row["level"])


def _plain(row: Mapping[Any, Any], names: Iterable[str]) -> dict[str, Any]:
    """The columns as JSON has them."""
    return {name: value.isoformat() if isinstance(value := row[name], datetime) else value for name in names}

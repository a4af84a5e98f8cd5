"""Rows into the ledger: many at a time, new ones written, known ones completed, statuses moved.

PostgreSQL takes a batch by COPY into a temporary table and one INSERT from there; SQLite by one prepared statement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.clues import message_key
from bounceparse.db.bulk import copy_new, copy_rows, execute_many, insert_new, insert_tuples, storable_rows
from bounceparse.db.ledger import CATEGORIES, SentMessage, parse_sent
from bounceparse.db.life import log_statuses
from bounceparse.db.numbers import LEDGER, LEDGER_AT, numbers, set_number
from bounceparse.db.tables import inbox, sent, state, streams, tokens
from bounceparse.db.tokens import token_row
from bounceparse.db.types import storable, stored_key
from bounceparse.errors import ConfigError
from bounceparse.life import Life
from bounceparse.outcomes import Status

_INBOX_BATCH = 10_000
_WORTH_COPY = 100
"""Rows from which on COPY is quicker than a prepared statement."""
_COMPLETED = (
    "provider_id provider_key envelope_id from_address subject stream list_id customer sent_at".split()  # noqa: SIM905
)


_INJECTED = Status.INJECTED.value  # a member of the enumeration takes as long to compare as the rest of a row


class _Row(NamedTuple):
    """A row of ``bounceparse_sent`` before it is written.

    The status that comes with it stands as ``logged_status``, too: it is known from nowhere else when a report that
    went before it is taken back.
    """

    message_id: str
    message_key: str
    recipient: str
    recipient_key: str
    domain_key: str
    provider_id: str | None
    provider_key: str | None
    envelope_id: str | None
    from_address: str | None
    subject: str | None
    stream: str | None
    list_id: str | None
    customer: str | None
    sent_at: datetime
    status: str
    reason: str | None
    status_at: datetime | None
    presumed: bool
    logged_status: str | None
    logged_reason: str | None
    logged_at: datetime | None


_NAMES = ", ".join(_Row._fields)
_key_of = attrgetter("message_key", "recipient_key")


@dataclass(frozen=True, slots=True)
class ImportPosition:
    """Where an import stands in its source, so that an interrupted one can go on.

    ``source`` names it, ``version`` changes when its content does, ``reached`` tells the position behind the row that
    was taken last.
    """

    source: str
    version: str
    reached: Callable[[], int]


class Prepared(NamedTuple):
    """A batch on its way into the ledger: rows as they are written, and the streams and tokens that it names."""

    rows: list[_Row]
    streams: dict[str, SentMessage]
    tokens: list[dict[str, Any]]


def prepare(batch: Iterable[SentMessage], life: Life, now: datetime) -> Prepared:
    """What can be done of a batch without the database: an import does it while the batch before is written."""
    messages = list(batch)
    given = [
        token_row(one.token_id, one.message_id, one.recipient, now, stream=one.stream, list_id=one.list_id)
        for one in messages
        if one.token_id is not None
    ]
    streams_named = {one.stream: one for one in messages if one.stream}
    rows = [_row(one, life, now) for one in messages]
    rows.sort(key=_key_of)  # an index takes what comes in its order in half the time
    return Prepared(rows, streams_named, given)


def add_sent(connection: Connection, batch: Prepared, now: datetime) -> tuple[int, set[str]]:
    """Write rows that are new, complete those that are known, move statuses; also their streams.

    Returns how many were new and the keys under which outcomes may now be matched.
    """
    rows = batch.rows
    copy = len(rows) >= _WORTH_COPY and connection.dialect.name == "postgresql"
    new = (_copy if copy else _add)(connection, rows)
    if new < len(rows) and (told := [row._asdict() for row in rows if row.logged_status is not None]):
        log_statuses(connection, told)
    _add_streams(connection, batch.streams)
    insert_new(connection, tokens, batch.tokens)
    set_number(connection, LEDGER, numbers(connection)[LEDGER] + 1)
    set_number(connection, LEDGER_AT, int(now.timestamp()))
    keys = {row.message_key for row in rows}
    return new, keys.union(row.provider_key for row in rows if row.provider_key)


def _row(one: SentMessage, life: Life, now: datetime) -> _Row:
    sent_at = one.sent_at or now
    told = one.status != _INJECTED
    reason, at = (one.reason, one.status_at or sent_at) if told else (None, None)
    silent = not told and life.is_silent(sent_at, one.stream, now)
    recipient_key = stored_key(one.recipient)
    return _Row(
        one.message_id.strip().strip("<>"),
        message_key(one.message_id) or one.message_id,
        one.recipient,
        recipient_key,
        recipient_key.rpartition("@")[2],
        one.provider_id,
        message_key(one.provider_id),
        one.envelope_id,
        one.from_address,
        one.subject,
        one.stream,
        one.list_id,
        one.customer,
        sent_at,
        Status.OK.value if silent else one.status,
        reason,
        at,
        silent,
        one.status if told else None,
        reason,
        at,
    )


_POSITION = "import:"


def position(connection: Connection, resume: ImportPosition) -> int:
    """The position that was noted for this source in this version, else 0."""
    return numbers(connection).get(f"{_POSITION}{resume.source}\n{resume.version}", 0)


def note_position(connection: Connection, resume: ImportPosition, reached: int) -> None:
    """Note how far an import has come, in the transaction of its rows."""
    set_number(connection, storable(f"{_POSITION}{resume.source}\n{resume.version}"), reached)


def forget_position(connection: Connection, resume: ImportPosition) -> None:
    """Forget all positions of this source: it is imported, or another file stands in its place."""
    theirs = state.c.name.startswith(storable(f"{_POSITION}{resume.source}\n"), autoescape=True)
    connection.execute(sa.delete(state).where(theirs))


def _add(connection: Connection, rows: Sequence[_Row]) -> int:
    new = insert_tuples(connection, sent, _Row._fields, rows)
    if new < len(rows):
        known = [{f"b_{name}": getattr(row, name) for name in _KNOWN} for row in rows]
        execute_many(connection, _COMPLETE, known, ("b_message_key", "b_recipient_key"))
    return new


_KNOWN = ("message_key", "recipient_key", *_COMPLETED)
_GIVEN = {name: sa.bindparam(f"b_{name}", type_=sent.c[name].type) for name in _KNOWN}
_COMPLETE = (
    sa.update(sent)
    .where(sent.c.message_key == _GIVEN["message_key"], sent.c.recipient_key == _GIVEN["recipient_key"])
    # a row that lacks nothing is not written again: an import that is repeated is quick
    .where(sa.or_(*(sa.and_(sent.c[name].is_(None), _GIVEN[name].is_not(None)) for name in _COMPLETED)))
    .values({name: sa.func.coalesce(sent.c[name], _GIVEN[name]) for name in _COMPLETED})
)


def _copy(connection: Connection, rows: Sequence[_Row]) -> int:
    """Straight into the ledger where all are new, which costs half; else by way of a temporary table."""
    values = storable_rows(connection, sent, _Row._fields, rows)
    if copy_new(connection, sent.name, _Row._fields, values):
        return len(rows)
    connection.exec_driver_sql(_TEMPORARY)
    copy_rows(connection, "pg_temp.bounceparse_import", _Row._fields, values)
    new = connection.exec_driver_sql(_INSERT_COPIED).rowcount
    if new < len(rows):
        connection.exec_driver_sql(_COMPLETE_COPIED)
    return new


_TYPE_OF = {"sent_at": "TIMESTAMPTZ", "status_at": "TIMESTAMPTZ", "logged_at": "TIMESTAMPTZ", "presumed": "BOOLEAN"}
_TEMPORARY = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS bounceparse_import ("
    + ", ".join(f"{name} {_TYPE_OF.get(name, 'TEXT')}" for name in _Row._fields)
    + ") ON COMMIT DELETE ROWS"
)
_INSERT_COPIED = (
    f"INSERT INTO bounceparse_sent ({_NAMES}) SELECT {_NAMES} FROM pg_temp.bounceparse_import"  # noqa: S608
    " ON CONFLICT DO NOTHING"
)
_LACKING = " OR ".join(f"(s.{name} IS NULL AND i.{name} IS NOT NULL)" for name in _COMPLETED)
_COMPLETE_COPIED = (
    f"UPDATE bounceparse_sent s SET {', '.join(f'{name} = COALESCE(s.{name}, i.{name})' for name in _COMPLETED)}"  # noqa: S608
    " FROM pg_temp.bounceparse_import i"
    f" WHERE s.message_key = i.message_key AND s.recipient_key = i.recipient_key AND ({_LACKING})"
)


def _add_streams(connection: Connection, named: Mapping[str, SentMessage]) -> None:
    """A stream is known from its first row on; a later row that tells sender or category corrects it."""
    if not named:
        return
    rows = [
        {"name": name, "sender": one.sender or "", "category": one.category or CATEGORIES[0]}
        for name, one in named.items()
    ]
    if insert_new(connection, streams, rows) == len(rows):
        return
    for name, one in named.items():
        told = {key: value for key, value in (("sender", one.sender), ("category", one.category)) if value}
        if told:
            connection.execute(sa.update(streams).where(streams.c.name == name).values(**told))


def set_stream(connection: Connection, name: str, sender: str | None, category: str | None) -> None:
    """Make a stream, or change what is given of it."""
    if category not in (None, *CATEGORIES):
        raise ConfigError(f"category {category!r} is none of: {', '.join(CATEGORIES)}")
    row = {"name": name, "sender": sender or "", "category": category or CATEGORIES[0]}
    told = {key: value for key, value in (("sender", sender), ("category", category)) if value is not None}
    if not insert_new(connection, streams, [row]) and told:
        connection.execute(sa.update(streams).where(streams.c.name == name).values(**told))


def take_inbox(connection: Connection, life: Life, now: datetime) -> int:
    """Move what services wrote through ``bounceparse_v1_sent`` into the ledger; returns how many rows that were."""
    rows = connection.execute(_INBOX).all()
    if not rows:
        return 0
    add_sent(connection, prepare([_written(row._asdict()) for row in rows], life, now), now)
    connection.execute(sa.delete(inbox).where(inbox.c.id <= rows[-1].id, inbox.c.id.in_([row.id for row in rows])))
    return len(rows)


_INBOX = (
    sa.select(
        *(
            sa.cast(column, sa.Text).label(column.name) if column.name in ("sent_at", "status_at") else column
            for column in inbox.c
        )
    )
    .order_by(inbox.c.id)
    .limit(_INBOX_BATCH)
)


def _written(row: dict[str, Any]) -> SentMessage:
    """A row of the inbox. What a service wrote is not refused here, where nobody would see it: a wrong time is none."""
    del row["id"]
    try:
        return parse_sent(row)
    except ConfigError:
        return parse_sent({**row, "sent_at": None, "status_at": None})

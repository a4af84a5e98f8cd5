"""Forgetting a person: the address, and what is told of it, out of every table; what must go on acting stays as a hash.

Every text column of every table is searched, so a table that is added later is covered. :data:`ABOUT` says in one place
which tables have rows that are about an address, and what else of such a row tells of the person.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.audit import note_audit
from bounceparse.db.engine import chunks
from bounceparse.db.mentions import Mentions
from bounceparse.db.numbers import take_seq
from bounceparse.db.tables import (
    METADATA,
    api_tokens,
    deliveries,
    history,
    inbox,
    messages,
    outbox,
    outcomes,
    requests,
    sent,
    sessions,
    standing,
    tokens,
    users,
)
from bounceparse.db.tombstones import NOTHING_KEPT, bury
from bounceparse.db.types import Text

ACCOUNTS = frozenset({api_tokens, users, sessions})
"""Not searched: the accounts of those who run bounceparse, who are no recipients."""

_RAW_PAGE = 200


class About(NamedTuple):
    """``column`` holds the key of the address that a row is about; ``cleared`` is what else goes with it."""

    column: str
    cleared: Mapping[str, Any]


def _none(columns: str, **others: Any) -> dict[str, Any]:
    return {**dict.fromkeys(columns.split()), **others}


ABOUT: Mapping[sa.Table, About] = {
    outcomes: About(
        "address_key",
        _none(
            "message_id message_key envelope_id feedback_id diagnostic subject help_url match_evidence own_id token_id"
            " reporter_auth customer",
            evidence_matched="",
        ),
    ),
    sent: About("recipient_key", _none("message_id message_key provider_id provider_key envelope_id subject customer")),
    tokens: About("recipient_key", {"message_id": ""}),
    requests: About("address", _none("subject words note")),
    standing: About("subject", {}),
}
DELETED = {outbox: "subject", deliveries: "subject", inbox: "recipient"}
"""Tables whose rows about the address are no record yet, or only a message about one, and go."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a mailbox may still hold a message: ``uids`` in a folder, or, without a UIDVALIDITY, a saved file.

    ``marked`` says that it was dealt with as ``after`` of the mailbox asks: moved or deleted, perhaps.
    """

    account: str
    folder: str
    uidvalidity: int
    uids: tuple[int, ...]
    marked: bool


@dataclass(slots=True)
class Erasure:
    """What an erasure came to, or would come to.

    ``subject`` is the hash that stands for the address from now on, ``rows`` the rows changed or deleted by table,
    ``suppressions`` how many go on acting under the hash, ``reports`` how many messages can no longer be recorded, and
    ``places`` where they may still lie.
    """

    subject: str
    rows: dict[str, int] = field(default_factory=dict)
    suppressions: int = 0
    reports: int = 0
    places: list[Place] = field(default_factory=list)


class Person(NamedTuple):
    """Who is erased: the address key, the hash that takes its place, and how the address is found."""

    key: str
    subject: str
    mentions: Mentions


class Traces(NamedTuple):
    """Where an address is named: primary keys by table, and the report keys of messages that name it."""

    rows: dict[sa.Table, list[tuple[Any, ...]]]
    reports: set[bytes]


def find_traces(connection: Connection, person: Person) -> Traces:
    """Search every table and every message that is kept. Reads only, and reads everything: it takes a while."""
    rows = {table: list(_rows_naming(connection, table, person)) for table in searched()}
    reports = set(_raw_naming(connection, person.mentions))
    return Traces({table: found for table, found in rows.items() if found}, reports)


def searched() -> list[sa.Table]:
    """The tables that may hold a recipient's address."""
    return [table for table in METADATA.sorted_tables if table not in ACCOUNTS and _texts(table)]


def _texts(table: sa.Table) -> list[sa.Column[Any]]:
    return [column for column in table.c if isinstance(column.type, Text | sa.String)]


def _rows_naming(connection: Connection, table: sa.Table, person: Person) -> Iterator[tuple[Any, ...]]:
    everything: sa.ColumnElement[str] = sa.literal("")
    for column in _texts(table):
        everything = everything + "\n" + sa.func.coalesce(column, "")
    lowered = sa.func.lower(everything)
    holds = sa.or_(*(lowered.contains(one, autoescape=True) for one in person.mentions.locals))
    named = [sa.and_(holds, sa.or_(*(lowered.contains(form, autoescape=True) for form in person.mentions.forms)))]
    if table in ABOUT:
        named.append(table.c[ABOUT[table].column].in_((person.key, person.subject)))
    query = sa.select(*table.primary_key.columns).where(sa.or_(*named))
    return (tuple(row) for row in connection.execute(query))


def _raw_naming(connection: Connection, mentions: Mentions) -> Iterator[bytes]:
    last = 0
    page = sa.select(messages.c.id, messages.c.key, messages.c.raw).where(messages.c.raw.is_not(None))
    while rows := connection.execute(page.where(messages.c.id > last).order_by(messages.c.id).limit(_RAW_PAGE)).all():
        yield from (bytes(row.key) for row in rows if mentions.stands_in(_unpacked(row.raw)))
        last = rows[-1].id


def _unpacked(raw: bytes) -> bytes:
    try:
        return zlib.decompress(raw)
    except zlib.error:
        return raw


def erase_traces(
    connection: Connection,
    traces: Traces,
    person: Person,
    now: datetime,
    *,
    actor: str,
    note: str | None,
    write: bool,
) -> Erasure:
    """Erase what was found, in one transaction; without ``write`` only say what that would come to."""
    subjects = (person.key, person.subject)
    done = Erasure(person.subject)
    reports = set(traces.reports)
    for table, keys in traces.rows.items():
        rows = _load(connection, table, keys)
        reports |= _reports_of(table, rows)
        if table is standing:
            rows = _merge_standing(connection, rows, subjects, write=write)
            done.suppressions = sum(row.lifted_at is None for row in rows if row.subject in subjects)
        changed = [found for row in rows if (found := _changed(table, row, person)) is not None]
        if write:
            _write(connection, table, changed)
        if changed:
            done.rows[table.name] = len(changed)
    done.places = _places(connection, reports)
    done.reports = len(reports)
    if write:
        _forget_reports(connection, reports, now)
        told = ", ".join(f"{name.removeprefix('bounceparse_')} {count}" for name, count in sorted(done.rows.items()))
        note = note and person.mentions.replace(note, person.subject)
        note_audit(connection, now, actor, "erase", person.subject, note=note, detail=told or None)
    return done


def _load(connection: Connection, table: sa.Table, keys: Sequence[tuple[Any, ...]]) -> list[sa.Row[Any]]:
    primary = sa.tuple_(*table.primary_key.columns)
    found: list[sa.Row[Any]] = []
    for part in chunks(keys, 500):
        if len(part[0]) == 1:
            where = next(iter(table.primary_key.columns)).in_([one for (one,) in part])
        else:
            where = primary.in_(part)
        found += connection.execute(sa.select(table).where(where)).all()
    return found


def _reports_of(table: sa.Table, rows: Iterable[sa.Row[Any]]) -> set[bytes]:
    """The report keys of outcomes, requests and messages that are about the address or name it."""
    column = {outcomes: "report_key", requests: "report_key", messages: "key"}.get(table)
    return {bytes(row._mapping[column]) for row in rows} if column else set()


def _changed(table: sa.Table, row: sa.Row[Any], person: Person) -> tuple[sa.Row[Any], dict[str, Any] | None] | None:
    """The row with its new values, None for those of a row that goes; None where nothing changes."""
    values = row._mapping
    if table in DELETED and _is(values[DELETED[table]], person):
        return row, None
    new: dict[str, Any] = {}
    about = ABOUT.get(table)
    if about is not None and _is(values[about.column], person):
        new.update({name: empty for name, empty in about.cleared.items() if values[name] != empty})
        if table is tokens:
            new["message_key"] = f"erased:{row.id}"  # what made it unique is gone
    for column in _texts(table):
        text = values[column.name]
        if text and column.name not in new and (replaced := person.mentions.replace(text, person.subject)) != text:
            new[column.name] = replaced
    return (row, new) if any(values[name] != value for name, value in new.items()) else None


def _is(value: str | None, person: Person) -> bool:
    """Whether a cell is the address, or the hash that it has become."""
    return person.mentions.replace(value or "", person.subject) == person.subject


def _write(
    connection: Connection, table: sa.Table, changed: Sequence[tuple[sa.Row[Any], dict[str, Any] | None]]
) -> None:
    seq = take_seq(connection, len(changed)) if "seq" in table.c and changed else 0
    for place, (row, values) in enumerate(changed):
        same = [column == row._mapping[column.name] for column in table.primary_key.columns]
        if values is None:
            connection.execute(sa.delete(table).where(*same))
            continue
        renewed = {"seq": seq + place} if "seq" in table.c else {}
        connection.execute(sa.update(table).where(*same).values(**values, **renewed))
    if table is outcomes:
        for part in chunks([row.id for row, _ in changed]):
            connection.execute(sa.update(history).where(history.c.outcome_id.in_(part)).values(changed="{}"))


def _merge_standing(
    connection: Connection, rows: list[sa.Row[Any]], subjects: tuple[str, str], *, write: bool
) -> list[sa.Row[Any]]:
    """The rows without those that would meet in one: of each scope and cause the one that acts, else the later one, stays."""
    best: dict[tuple[str, str], sa.Row[Any]] = {}
    own = [row for row in rows if row.subject in subjects]
    for row in sorted(own, key=lambda one: (one.lifted_at is None, one.last_at)):
        best[row.scope, row.cause] = row
    kept = {row.id for row in best.values()}
    gone = [row.id for row in own if row.id not in kept]
    if write and gone:
        connection.execute(sa.delete(standing).where(standing.c.id.in_(gone)))
    return [row for row in rows if row.id not in gone]


def _places(connection: Connection, reports: Iterable[bytes]) -> list[Place]:
    found: dict[tuple[str, str, int, bool], list[int]] = {}
    for part in chunks(sorted(reports)):
        for row in connection.execute(sa.select(messages).where(messages.c.key.in_(part)).order_by(messages.c.id)):
            place = (row.account, row.folder, row.uidvalidity if row.uid else 0, row.marked_at is not None)
            found.setdefault(place, []).append(row.uid)
    return [
        Place(account, folder, uidvalidity, tuple(sorted(filter(None, uids))), marked)
        for (account, folder, uidvalidity, marked), uids in sorted(found.items())
    ]


def _forget_reports(connection: Connection, reports: set[bytes], now: datetime) -> None:
    for part in chunks(sorted(reports)):
        connection.execute(sa.update(messages).where(messages.c.key.in_(part)).values(**NOTHING_KEPT))
    if reports:
        bury(connection, reports, now)

"""The ledger: what was sent, as rows of text come in, and the answers to matching out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.clues import Key
from bounceparse.db.engine import chunks
from bounceparse.db.listed import listed
from bounceparse.db.tables import sent
from bounceparse.db.types import Utc, storable
from bounceparse.errors import ConfigError
from bounceparse.life import RANK
from bounceparse.match import WEAK_WINDOW, Found, Lookup, Sent
from bounceparse.outcomes import Status
from bounceparse.verp import TOKEN_IDS

CATEGORIES = ("marketing", "transactional")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """One message to one recipient, as the sender tells it: the columns of ``sent import``.

    Attributes:
        message_id, recipient: together they name the row.
        provider_id: the id that a relay or provider gave the message, where it rewrites Message-IDs.
        envelope_id: the ENVID given to the mail server (RFC 3461 section 4.4).
        stream, sender, category: what it was sent by; ``category`` is ``marketing`` (default) or ``transactional``.
        customer: the sender's own id of the person.
        sent_at: when (aware).
        status, reason, status_at: ``injected``, or what the mail server's log tells.
        token_id: the id that the message's tokens were signed with (:func:`bounceparse.verp.sign`), where that was not
            done by :meth:`Store.sign`, which draws one.
    """

    message_id: str
    recipient: str
    provider_id: str | None = None
    envelope_id: str | None = None
    from_address: str | None = None
    subject: str | None = None
    stream: str | None = None
    sender: str | None = None
    category: str | None = None
    list_id: str | None = None
    customer: str | None = None
    sent_at: datetime | None = None
    status: str = Status.INJECTED.value
    reason: str | None = None
    status_at: datetime | None = None
    token_id: int | None = None


COLUMNS = tuple(f.name for f in fields(SentMessage))
_KNOWN = frozenset(COLUMNS)
_TIMES = ("sent_at", "status_at")


def parse_sent(row: Mapping[str, Any]) -> SentMessage:
    """A row of text (CSV, JSON lines) as :class:`SentMessage`; empty values are None.

    Times are ISO 8601; one without an offset is UTC. Raises ``ConfigError`` that names the column and what it takes.
    """
    if not _KNOWN.issuperset(row):
        unknown = next(name for name in row if name not in _KNOWN)
        raise ConfigError(f"unknown column {unknown!r}; the ledger has: {', '.join(COLUMNS)}")
    values = {name: value for name, value in row.items() if value or value not in (None, "")}
    for name in ("message_id", "recipient"):
        if not isinstance(values.get(name), str):
            raise ConfigError(f"a row of the ledger needs {name}")
    for name in _TIMES:
        if isinstance(values.get(name), str):
            values[name] = _parse_time(name, values[name])
    if "token_id" in values:
        values["token_id"] = _parse_token_id(values["token_id"])
    if "status" in values and values["status"] not in RANK:
        raise ConfigError(f"status {values['status']!r} is none of: {', '.join(RANK)}")
    if "category" in values and values["category"] not in CATEGORIES:
        raise ConfigError(f"category {values['category']!r} is none of: {', '.join(CATEGORIES)}")
    return SentMessage(**values)


def _parse_token_id(value: Any) -> int:
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 13 and int(text) < TOKEN_IDS):
        raise ConfigError(f"token_id {text[:40]!r} is not a number below 2**40")
    return int(text)


def _parse_time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{name} {text!r} is not a time like 2026-01-02T10:00:00+01:00") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


_ROW = [sent.c[name] for name in Sent._fields]
_COLUMN_OF = {Key.MESSAGE_ID: sent.c.message_key, Key.ENVELOPE_ID: sent.c.envelope_id}
_ANY = sa.select(sent.c.id).limit(1)
_ANY_PROVIDER = sa.select(sent.c.id).where(sent.c.provider_key.is_not(None)).limit(1)


_OF_IDS = sa.select(*_ROW).where(listed(sent.c.id))
_OF_SUBJECTS = sa.select(*_ROW, sent.c.subject).where(
    listed(sent.c.recipient_key, "recipients"),
    listed(sent.c.subject, "subjects"),
    sent.c.sent_at >= sa.bindparam("since", type_=Utc()),
)


class Ledger:
    """Answers :class:`bounceparse.match.SentMail` with a few statements a batch, however many rows share an id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def find(self, lookups: Iterable[Lookup]) -> Mapping[Lookup, Found]:
        """The answer to each lookup that the ledger knows."""
        if self._connection.execute(_ANY).first() is None:
            return {}
        open_: dict[Key, list[Lookup]] = {}
        for lookup in lookups:
            open_.setdefault(lookup.key, []).append(lookup)
        found: dict[Lookup, Found] = dict(self._find_by_subject(open_.pop(Key.SUBJECT, ())))
        for key, group in open_.items():
            found.update(self._find_by(_COLUMN_OF[key], {one: storable(one.value) for one in group}))
        rest = {one: storable(one.value) for one in open_.get(Key.MESSAGE_ID, ()) if one not in found}
        if (
            rest and self._connection.execute(_ANY_PROVIDER).first() is not None
        ):  # a relay may have put its own id in the place of ours, whole or as the left side
            found.update(self._find_by(sent.c.provider_key, rest))
            lefts = {one: value.rpartition("@")[0] for one, value in rest.items() if one not in found and "@" in value}
            found.update(self._find_by(sent.c.provider_key, lefts))
        return found

    def _find_by(self, column: sa.Column[Any], values: Mapping[Lookup, str]) -> Iterator[tuple[Lookup, Found]]:
        bounds = self._bounds(column, sorted(set(values.values())))
        if not bounds:
            return
        single = {first for first, last in bounds.values() if first == last}
        pairs = {
            (value, recipient)
            for lookup, value in values.items()
            if value in bounds and bounds[value][0] not in single
            for recipient in lookup.recipients
        }
        rows = {row.id: row for row in self._connection.execute(_OF_IDS, {"listed": sorted(single)})} if single else {}
        shared = {
            (row[-1], row.recipient_key): row
            for row in self._rows(sa.tuple_(column, sent.c.recipient_key), sorted(pairs), column)
        }
        for lookup, value in values.items():
            if value not in bounds:
                continue
            first = bounds[value][0]
            if first in single:
                yield lookup, Found((_sent(rows[first]),), shared=False)
            else:
                known = [shared[value, one] for one in lookup.recipients if (value, one) in shared]
                yield lookup, Found(tuple(_sent(row) for row in known), shared=True)

    def _find_by_subject(self, lookups: Sequence[Lookup]) -> Iterator[tuple[Lookup, Found]]:
        """The messages of this subject to these recipients, of the time before the earliest event."""
        times = [lookup.at for lookup in lookups if lookup.at is not None]
        if not times:
            return
        given = {
            "recipients": sorted({one for lookup in lookups for one in lookup.recipients}),
            "subjects": sorted({storable(lookup.value) for lookup in lookups}),
            "since": min(times) - WEAK_WINDOW,
        }
        rows: dict[tuple[str, str], list[Sent]] = {}
        for row in self._connection.execute(_OF_SUBJECTS, given):
            rows.setdefault((row[-1], row.recipient_key), []).append(_sent(row))
        for lookup in lookups:
            known = [row for one in lookup.recipients for row in rows.get((storable(lookup.value), one), ())]
            if known:
                yield lookup, Found(tuple(known), shared=False)

    def _bounds(self, column: sa.Column[Any], values: Sequence[str]) -> dict[str, tuple[int, int]]:
        """By value, the ids of its first and last row: two index seeks each, though a campaign has a million rows."""
        if not values:
            return {}
        if self._connection.dialect.name == "sqlite":
            wanted, given = "json_each(:given)", json.dumps(values)
        else:
            wanted, given = "unnest(CAST(:given AS TEXT[])) AS w(value)", values  # type: ignore[assignment]
        edge = f"SELECT s.id FROM bounceparse_sent s WHERE s.{column.name} = value ORDER BY s.recipient_key"  # noqa: S608
        query = f"SELECT value, ({edge} LIMIT 1), ({edge} DESC LIMIT 1) FROM {wanted}"  # noqa: S608
        rows = self._connection.execute(sa.text(query), {"given": given})
        return {row[0]: (row[1], row[2]) for row in rows if row[1] is not None}

    def _rows(
        self, column: sa.ColumnElement[Any], values: Sequence[Any], *extra: sa.Column[Any]
    ) -> Iterator[sa.Row[Any]]:
        for part in chunks(values):
            yield from self._connection.execute(sa.select(*_ROW, *extra).where(column.in_(part)))


def _sent(row: Sequence[Any]) -> Sent:
    return Sent(*row[: len(_ROW)])

"""The life of sent messages in the ledger: words told, words taken back, and what silence comes to.

The rules are those of :mod:`bounceparse.life`; a word is applied by one statement as they have it, and what is taken
back is judged anew from all words. The log's word has columns of its own, since nothing else remembers it; every other
word is an outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import execute_many
from bounceparse.db.engine import chunks
from bounceparse.db.tables import outcomes, sent
from bounceparse.life import RANK, Fate, Life, Word, find_fate, is_word
from bounceparse.outcomes import Status, Trust


def _bind(name: str, column: str | None = None) -> sa.BindParameter[Any]:
    return sa.bindparam(f"b_{name}", type_=sent.c[column or name].type)


def _rank(status: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
    return sa.case(RANK, value=status, else_=0)


# What is presumed lies over the last word: a new one is compared with that.
_RANK_TOLD = sa.case(
    (sent.c.presumed, sa.case((sent.c.status == Status.OK.value, RANK[Status.INJECTED]), else_=RANK[Status.DEFERRED])),
    else_=_rank(sent.c.status),
)
_OUTRANKS = sa.or_(
    sa.bindparam("b_rank", type_=sa.Integer) > _RANK_TOLD,
    sa.and_(
        sa.bindparam("b_rank", type_=sa.Integer) == _RANK_TOLD,
        sa.func.coalesce(sent.c.status_at < _bind("status_at"), sa.true()),
    ),
)
_MOVE = (
    sa.update(sent)
    .where(sent.c.id == sa.bindparam("b_id"), _OUTRANKS)
    .values(
        status=_bind("status"),
        reason=_bind("reason"),
        status_at=_bind("status_at"),
        retry_until=_bind("retry_until"),
        presumed=sa.false(),
    )
)
_OF_ROW = (sent.c.message_key == _bind("message_key"), sent.c.recipient_key == _bind("recipient_key"))
_LOG = (
    sa.update(sent)
    .where(
        *_OF_ROW,
        sa.or_(
            sa.bindparam("b_rank", type_=sa.Integer) > _rank(sent.c.logged_status),
            sa.and_(
                sa.bindparam("b_rank", type_=sa.Integer) == _rank(sent.c.logged_status),
                sa.func.coalesce(sent.c.logged_at < _bind("logged_at"), sa.true()),
            ),
        ),
    )
    .values({name: _bind(name) for name in ("logged_status", "logged_reason", "logged_at")})
)
_RANK_LOGGED = _rank(sent.c.logged_status)
_MOVE_AS_LOGGED = (
    sa.update(sent)
    .where(
        *_OF_ROW,
        sent.c.logged_status.is_not(None),
        sa.or_(
            _RANK_LOGGED > _RANK_TOLD,
            sa.and_(
                _RANK_LOGGED == _RANK_TOLD,
                sa.or_(
                    sa.func.coalesce(sent.c.status_at < sent.c.logged_at, sa.true()),
                    # told first, whenever it is read: the log is written before any report of it
                    sa.and_(sent.c.status_at == sent.c.logged_at, sent.c.reason.is_distinct_from(sent.c.logged_reason)),
                ),
            ),
        ),
    )
    .values(
        status=sent.c.logged_status,
        reason=sent.c.logged_reason,
        status_at=sent.c.logged_at,
        retry_until=sa.null(),
        presumed=sa.false(),
    )
)


def log_statuses(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Tell the ledger what the log says of rows that it has.

    Each row holds ``message_key``, ``recipient_key`` and the word: ``logged_status``, ``logged_reason``, ``logged_at``.
    """
    told = [
        {**{f"b_{name}": value for name, value in row.items()}, "b_rank": RANK[row["logged_status"]]} for row in rows
    ]
    for statement in (_LOG, _MOVE_AS_LOGGED):
        execute_many(connection, statement, told, ("b_message_key", "b_recipient_key"))


def move_statuses(connection: Connection, rows: Iterable[Mapping[str, Any]]) -> None:
    """Tell the ledger what matched rows of outcomes say: the delivery status, complaint and unsubscribe beside it."""
    moves, complaints, unsubscribes = [], [], []
    for row in rows:
        status = row["status"]
        if row["sent_id"] is None:
            continue
        told = {"b_id": row["sent_id"], "b_at": row["event_at"]}
        if status in RANK:
            if is_word(row["trust"]):
                moves.append(_move(row))
        elif row["trust"] == Trust.FORGED:
            continue
        elif status == Status.COMPLAINT:
            complaints.append(told)
        elif status == Status.UNSUBSCRIBE:
            unsubscribes.append(told)
    for statement, parameters in ((_MOVE, moves), (_COMPLAINED, complaints), (_UNSUBSCRIBED, unsubscribes)):
        if parameters:
            execute_many(connection, statement, parameters, ("b_id",))


def _move(row: Mapping[str, Any]) -> dict[str, Any]:
    word = _word(row)
    return {
        "b_id": row["sent_id"],
        "b_rank": RANK[word.status],
        "b_status": word.status,
        "b_reason": word.reason,
        "b_status_at": word.at,
        "b_retry_until": word.retry_until,
    }


def _word(row: Mapping[str, Any]) -> Word:
    """The word of a row of outcomes."""
    until = row["will_retry_until"] if row["status"] == Status.DEFERRED else None
    return Word(row["status"], row["reason"], row["event_at"], until)


def _first_time(name: str) -> sa.Update:
    """Keep the earliest time in a column."""
    at = _bind("at", name)
    return (
        sa.update(sent)
        .where(sent.c.id == sa.bindparam("b_id"), sa.func.coalesce(sent.c[name] > at, sa.true()))
        .values({name: at})
    )


_COMPLAINED = _first_time("complained_at")
_UNSUBSCRIBED = _first_time("unsubscribed_at")
_JUDGED = (*Fate._fields, "complained_at", "unsubscribed_at")
_LIVES = [sent.c[name] for name in ("id", "sent_at", "stream", "logged_status", "logged_reason", "logged_at", *_JUDGED)]
_TOLD = [
    outcomes.c[name] for name in ("sent_id", "status", "reason", "event_at", "will_retry_until", "trust")
]  # fmt: skip
_JUDGE = sa.update(sent).where(sent.c.id == sa.bindparam("b_id")).values({name: _bind(name) for name in _JUDGED})


def restore_statuses(connection: Connection, before: Iterable[sa.Row[Any]], life: Life, now: datetime) -> None:
    """Judge anew the messages that outcomes told of which are matched or classified otherwise now.

    ``before`` is what the outcomes were; what they are must be written. The ledger then is as if they had never been
    anything else.
    """
    for part in chunks(sorted({row.sent_id for row in before if row.sent_id is not None})):
        told: dict[int, list[sa.Row[Any]]] = {}
        for row in connection.execute(sa.select(*_TOLD).where(outcomes.c.sent_id.in_(part)).order_by(outcomes.c.seq)):
            told.setdefault(row.sent_id, []).append(row)
        rows = connection.execute(sa.select(*_LIVES).where(sent.c.id.in_(part))).all()
        judged = [(row, _judge(row, told.get(row.id, ()), life, now)) for row in rows]
        changes = [
            {"b_id": row.id, **{f"b_{name}": value for name, value in zip(_JUDGED, values, strict=True)}}
            for row, values in judged
            if values != tuple(row[-len(_JUDGED) :])
        ]
        if changes:
            execute_many(connection, _JUDGE, changes, ("b_id",))


def _judge(row: sa.Row[Any], told: Iterable[sa.Row[Any]], life: Life, now: datetime) -> tuple[Any, ...]:
    """The columns :data:`_JUDGED` of a row of the ledger, by all that was told of it."""
    words = [Word(row.logged_status, row.logged_reason, row.logged_at)] if row.logged_status else []
    words += [_word(one._asdict()) for one in told if one.status in RANK and is_word(one.trust)]
    answers = {
        status: min((one.event_at for one in told if one.status == status and one.trust != Trust.FORGED), default=None)
        for status in (Status.COMPLAINT, Status.UNSUBSCRIBE)
    }
    return (*find_fate(words, row.sent_at, row.stream, life, now), *answers.values())

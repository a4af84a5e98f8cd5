"""``trust = "auto"``: where the ledger has come to cover the reports, so that only what it knows may act."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import numbers, set_number
from bounceparse.db.tables import outcomes, state
from bounceparse.outcomes import Trust
from bounceparse.policy import NOT_COVERED, Coverage

_PROOF = "proof:"
_STREAM_PROOF = "stream-proof:"
_MEASURED = "coverage-at"
_MEASURE_EVERY = timedelta(hours=1)
_COVERAGE = 0.95


def read_coverage(connection: Connection) -> Coverage:
    """Where the ledger covers the reports."""
    query = sa.select(state.c.name).where(
        sa.or_(*(state.c.name.startswith(prefix, autoescape=True) for prefix in (_PROOF, _STREAM_PROOF))),
        state.c.value == 1,
    )
    names = connection.execute(query).scalars().all()
    return Coverage(*(frozenset(_behind(prefix, names)) for prefix in (_PROOF, _STREAM_PROOF)))


def _behind(prefix: str, names: Iterable[str]) -> Iterator[str]:
    return (name.removeprefix(prefix) for name in names if name.startswith(prefix))


def measure_coverage(connection: Connection, now: datetime) -> Coverage:
    """Note the mailboxes and streams whose last week of reports the ledger covers; return those that are newly so.

    It is never taken back by itself: otherwise a flood of forged reports would switch the proof off that it fears.
    Measured at most once an hour, since it reads a week of outcomes.
    """
    at = int(now.timestamp())
    if at - numbers(connection).get(_MEASURED, 0) < _MEASURE_EVERY.total_seconds():
        return NOT_COVERED
    set_number(connection, _MEASURED, at)
    known = read_coverage(connection)
    newly = Coverage(
        _covered(connection, outcomes.c.mailbox, now) - known.mailboxes,
        _covered(connection, outcomes.c.stream, now) - known.streams,
    )
    found = [_PROOF + name for name in sorted(newly.mailboxes)]
    found += [_STREAM_PROOF + name for name in sorted(newly.streams)]
    if found:
        connection.execute(sa.insert(state), [{"name": name, "value": 1} for name in found])
    return newly


def _covered(connection: Connection, column: sa.Column[Any], now: datetime) -> frozenset[str]:
    proven = sa.and_(outcomes.c.sent_id.is_not(None), outcomes.c.trust.not_in((Trust.UNVERIFIED, Trust.FORGED)))
    query = (
        sa.select(column)
        .where(outcomes.c.recorded_at > now - timedelta(days=7), outcomes.c.kind.in_(("delivery", "feedback")))
        .where(column.is_not(None))
        .group_by(column)
        .having(sa.func.sum(sa.case((proven, 1), else_=0)) >= _COVERAGE * sa.func.count())
    )
    return frozenset(connection.execute(query).scalars())

"""What silence comes to, written: a bounded number of rows of the ledger a transaction, from where the last one stopped.

Two walks, each along an index. Messages without a word are passed once, in the order in which they were sent, as far as
they are old enough; one walk a retry window, since streams differ. Deferred ones are few and looked at in rounds, since
any of them may have longer to wait than the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import numbers, set_number
from bounceparse.db.tables import sent, state
from bounceparse.life import GRACE, PRESUMED, Life
from bounceparse.outcomes import Status

WINDOW = 5_000
"""Messages without a word looked at in one transaction: a poll never waits long for its turn."""
WAITING = 1_000
"""Deferred messages looked at in one transaction: most polls find that all of these have longer to wait."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_SILENT = "life:silent:"
DEFERRED = "life:deferred"
_AT, _ID = ":at", ":id"


class Place(NamedTuple):
    """A row's place in a walk: its time and its id."""

    at: datetime
    id: int


class Step(NamedTuple):
    """A stretch of a walk.

    Attributes:
        walk: the name of its place in ``state``.
        rows: the condition for its rows; ``due`` for those of them of which it is time to presume something.
        told: the status that they have by what was told.
        reached: the place of its last row; None where the walk begins anew.
    """

    walk: str
    rows: sa.ColumnElement[bool]
    due: sa.ColumnElement[bool]
    told: Status
    reached: Place | None

    @property
    def ends_round(self) -> bool:
        """Whether all deferred messages have been passed."""
        return self.reached is None


class Swept(NamedTuple):
    """How many messages were presumed delivered and how many bounced."""

    ok: int = 0
    softbounce: int = 0

    def __add__(self, other: object) -> Swept:
        assert isinstance(other, Swept)
        return Swept(self.ok + other.ok, self.softbounce + other.softbounce)


def next_steps(connection: Connection, life: Life, now: datetime, *, deferred: bool = True) -> list[Step]:
    """What there is to do now, at most one step a walk; that nothing is to be done costs a few lookups.

    ``deferred`` takes in the walk over deferred messages, which has always a next step when there are many.
    """
    known = numbers(connection)
    places = _silent_places(life, known)
    found = [_silent_step(connection, life, window, after, now) for window, after in places.items()]
    if deferred:
        found.append(_deferred_step(connection, life, _place(known, DEFERRED), now))
    return [step for step in found if step is not None]


def take_step(connection: Connection, step: Step, life: Life) -> Swept:
    """Write what is presumed of the rows of a step, and how far its walk has come."""
    status = PRESUMED[step.told]
    told = sa.update(sent).where(step.rows, step.due, _is(step.told)).values(status=str(status), presumed=sa.true())
    count = connection.execute(told).rowcount
    if step.told is Status.INJECTED:
        _set_up_walks(connection, life)
    _note(connection, step.walk, step.reached)
    return Swept(**{status: count})


def _is(status: Status) -> sa.ColumnElement[bool]:
    """The condition in the very words of the partial index."""
    return sa.literal_column(f"status = '{status.value}'")


# Messages without a word.


def _walk_of(window: timedelta) -> str:
    return f"{_SILENT}{window // _SECOND}"


def _silent_places(life: Life, known: Mapping[str, int]) -> dict[timedelta, Place | None]:
    """By retry window, how far its walk has come.

    When other windows are configured than before, all walks begin where the last one of them had come: up to there
    every message was passed.
    """
    windows = sorted({life.retry_window, *life.by_stream.values()})
    before = {name.removesuffix(_AT) for name in known if name.startswith(_SILENT) and name.endswith(_AT)}
    if before == {_walk_of(window) for window in windows}:
        return {window: _place(known, _walk_of(window)) for window in windows}
    places = [place for name in before if (place := _place(known, name)) is not None]
    return dict.fromkeys(windows, min(places, default=None))


def _set_up_walks(connection: Connection, life: Life) -> None:
    """Write the walks as they are to be before one of them goes on, where other windows are configured than before."""
    known = numbers(connection)
    places = _silent_places(life, known)
    kept = {_walk_of(window) for window in places}
    for name in known:
        if name.startswith(_SILENT) and name.removesuffix(_AT).removesuffix(_ID) not in kept:
            connection.execute(sa.delete(state).where(state.c.name == name))
    for window, place in places.items():
        if _walk_of(window) + _AT not in known:
            _note(connection, _walk_of(window), place or Place(_EPOCH, 0))


def _silent_step(
    connection: Connection, life: Life, window: timedelta, after: Place | None, now: datetime
) -> Step | None:
    rows, to, _ = _stretch(connection, sent.c.sent_at, sa.true(), after, now - GRACE - window, WINDOW)
    if to is None:
        return None
    return Step(_walk_of(window), rows, _is_within(life, window), Status.INJECTED, to)


def _is_within(life: Life, window: timedelta) -> sa.ColumnElement[bool]:
    """The condition for a message of a stream whose retry window is no longer than this."""
    if life.retry_window > window:
        return sent.c.stream.in_(sorted(name for name, own in life.by_stream.items() if own <= window))
    longer = sorted(name for name, own in life.by_stream.items() if own > window)
    return sa.or_(sent.c.stream.is_(None), sent.c.stream.not_in(longer)) if longer else sa.true()


# Deferred messages.


def _deferred_step(connection: Connection, life: Life, after: Place | None, now: datetime) -> Step | None:
    windows = {life.retry_window, *life.by_stream.values()}
    deferred = _is(Status.DEFERRED)
    rows, to, full = _stretch(connection, sent.c.status_at, deferred, after, now - GRACE - min(windows), WAITING)
    due = sa.and_(
        sa.or_(*(sa.and_(_is_within(life, one), sent.c.status_at <= now - GRACE - one) for one in windows)),
        sa.or_(sent.c.retry_until.is_(None), sent.c.retry_until <= now - GRACE),
    )
    if after is None and not full:
        some = to is not None and connection.execute(sa.select(sent.c.id).where(rows, due, deferred).limit(1)).first()
        if not some:
            return None
    return Step(DEFERRED, rows, due, Status.DEFERRED, to if full else None)


# Both walks.


def _stretch(
    connection: Connection,
    time: sa.Column[datetime],
    where: sa.ColumnElement[bool],
    after: Place | None,
    until: datetime,
    most: int,
) -> tuple[sa.ColumnElement[bool], Place | None, bool]:
    """The next ``most`` rows behind ``after`` that are not later than ``until``.

    Answers the condition for them, the place of the last one, and whether more may follow.
    """
    place = sa.tuple_(time, sent.c.id)
    behind = place > _value(after, time) if after is not None else sa.true()
    ahead = sa.select(time, sent.c.id).where(behind, time <= until, where)
    end = connection.execute(ahead.order_by(time.desc(), sent.c.id.desc()).limit(1)).first()
    if end is None:  # as mostly: asked first
        return behind, None, False
    last = connection.execute(ahead.order_by(time, sent.c.id).offset(most - 1).limit(1)).first()
    to = Place(*(end if last is None else last))
    # of two upper bounds SQLite might use the wider
    return sa.and_(behind, place <= _value(to, time)), to, last is not None


def _value(place: Place, time: sa.Column[datetime]) -> sa.Tuple:
    return sa.tuple_(sa.literal(place.at, time.type), sa.literal(place.id, sent.c.id.type))


def _place(known: Mapping[str, int], walk: str) -> Place | None:
    at = known.get(walk + _AT)
    return None if at is None else Place(_EPOCH + at * _MICROSECOND, known[walk + _ID])


def _note(connection: Connection, walk: str, place: Place | None) -> None:
    if place is None:
        connection.execute(sa.delete(state).where(state.c.name.in_((walk + _AT, walk + _ID))))
        return
    set_number(connection, walk + _AT, (place.at - _EPOCH) // _MICROSECOND)
    set_number(connection, walk + _ID, place.id)

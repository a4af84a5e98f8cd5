"""Backscatter: delivery reports about mail that somebody else sent in our name.

A report without a match waits for its ledger row; after :data:`REMATCH_WINDOW` it is backscatter, and no rate counts
it. Where no ledger is kept nothing can be matched, and nothing is called so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import LEDGER, LEDGER_AT, numbers, set_number
from bounceparse.db.tables import outcomes
from bounceparse.outcomes import Trust
from bounceparse.reports import Kind

REMATCH_WINDOW = timedelta(days=14)
"""How long an outcome without a match waits for its ledger row; a delivery report is backscatter after that."""
FLOOD_LEAST = 100
FLOOD_TIMES = 5
"""A flood is a day with at least so many unmatched delivery reports, and so many times the mean of the week before."""
_DAY = timedelta(days=1)
_LOOKED = "flood-looked"


@dataclass(frozen=True, slots=True)
class Backscatter:
    """Unmatched delivery reports.

    Attributes:
        count: those that are backscatter. ``waiting``: those that may still find their message.
        day: those of the latest day that the ledger has caught up with; ``usual`` the mean of the week before it.
        flood: whether that day is a flood: somebody forges our sender, or what we send does not reach the ledger.
    """

    count: int
    waiting: int
    day: int
    usual: float
    flood: bool

    @property
    def alert(self) -> str | None:
        """What to tell a person about a flood, None without one."""
        if not self.flood:
            return None
        return (
            f"a flood of backscatter: {self.day} delivery reports in a day without a message of ours, usual are"
            f" {self.usual:.0f}: somebody sends in our name, or what we send no longer reaches the ledger"
        )


def has_ledger(connection: Connection) -> bool:
    """Whether anything has ever entered the ledger."""
    return numbers(connection)[LEDGER] > 0


_UNMATCHED = sa.and_(
    outcomes.c.kind == Kind.DELIVERY.value, outcomes.c.trust == Trust.UNVERIFIED.value, ~outcomes.c.is_copy
)


def is_backscatter(now: datetime) -> sa.ColumnElement[bool]:
    """The condition for an outcome that has waited in vain."""
    return sa.and_(_UNMATCHED, outcomes.c.recorded_at <= now - REMATCH_WINDOW)


def count_backscatter(connection: Connection, since: datetime | None, now: datetime) -> Backscatter:
    """What is backscatter of the events since ``since``, and whether it floods."""
    known = numbers(connection)
    if not known[LEDGER]:
        return Backscatter(0, 0, 0, 0.0, flood=False)
    recorded_at = outcomes.c.recorded_at
    late = sa.case((recorded_at <= now - REMATCH_WINDOW, 1), else_=0)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(late), 0)).where(_UNMATCHED)
    if since is not None:
        query = query.where(outcomes.c.event_at >= since)
    total, count = connection.execute(query).one()
    return replace(_flood(connection, known, now), count=count, waiting=total - count)


def _flood(connection: Connection, known: Mapping[str, int], now: datetime) -> Backscatter:
    """Whether there is a flood; only that is counted."""
    day, usual = _latest_day(connection, min(now, datetime.fromtimestamp(known.get(LEDGER_AT, 0), UTC)))
    return Backscatter(0, 0, day, usual, flood=day >= FLOOD_LEAST and day > FLOOD_TIMES * usual)


def _latest_day(connection: Connection, until: datetime) -> tuple[int, float]:
    """Unmatched delivery reports of the day before ``until``, and a day's mean in the week before that.

    ``until`` is when the ledger last grew: what came later may be about mail that it does not know yet.
    """
    in_day = sa.case((outcomes.c.recorded_at > until - _DAY, 1), else_=0)
    window = outcomes.c.recorded_at.between(until - 8 * _DAY, until)
    query = sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(in_day), 0)).where(_UNMATCHED, window)
    total, day = connection.execute(query).one()
    return day, (total - day) / 7


class FloodLook(NamedTuple):
    """What :func:`look_for_flood` found: the hour that it looked in, and the alert, None without a flood."""

    hour: int
    alert: str | None


def look_for_flood(connection: Connection, now: datetime) -> FloodLook | None:
    """Look for a flood, once an hour; None where it has been done (see :func:`note_look`) or no ledger is kept."""
    known = numbers(connection)
    hour = int(now.timestamp()) // 3600
    if not known[LEDGER] or known.get(_LOOKED) == hour:
        return None
    return FloodLook(hour, _flood(connection, known, now).alert)


def note_look(connection: Connection, look: FloodLook) -> None:
    """Note that this hour has been looked at."""
    set_number(connection, _LOOKED, look.hour)

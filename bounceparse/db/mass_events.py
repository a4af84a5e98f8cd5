"""Suppressions that begin in a mass event are paused: found in the transaction that writes them.

The hour that counts is that of the failures (``standing.since``), not of their recording: in what order, and in how many
batches, reports are read makes no difference. What lies further back than the pause is left alone, so that saved mail can
be replayed; ``suppressions lift --provider`` undoes a past event.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.breaker import HOUR, WEEK, Breaker, find_bursts
from bounceparse.db.numbers import take_seq
from bounceparse.db.tables import events, standing
from bounceparse.db.types import time_text
from bounceparse.policy import FAILED, Suppression

OPEN, RELEASED, DISCARDED = "open", "released", "discarded"
BY_DISCARD = "discarded event {}"


class _Window(NamedTuple):
    """Some time in which suppressions of a provider for a reason began."""

    provider: str
    reason: str
    first: datetime
    last: datetime


def pause_bursts(connection: Connection, begun: Iterable[Suppression], breaker: Breaker, now: datetime) -> list[str]:
    """Pause what began in a mass event, that of former batches too; ``begun`` has just been written.

    Returns the subjects whose event a person has discarded already: theirs were lifted, and are to be judged anew.
    """
    if not breaker.count:
        return []
    since = now - breaker.pause
    recent = [one for one in begun if one.provider and one.status in FAILED and one.since > since]
    discarded: list[str] = []
    for window in _crowded(connection, _windows(recent), breaker.count):
        discarded += _pause(connection, window, breaker, now)
    return discarded


def _windows(begun: Iterable[Suppression]) -> Iterator[_Window]:
    """The hours around the beginnings, those that overlap made one."""
    times: dict[tuple[str, str], list[datetime]] = {}
    for one in begun:
        times.setdefault((one.provider or "", one.reason), []).append(one.since)
    for (provider, reason), ordered in times.items():
        ordered.sort()
        first = last = ordered[0]
        for at in ordered:
            if at - last > 2 * HOUR:
                yield _Window(provider, reason, first - HOUR, last + HOUR)
                first = at
            last = at
        yield _Window(provider, reason, first - HOUR, last + HOUR)


# What was lifted because its event was discarded still shows that what comes now is part of it.
# One statement for all windows of a batch, each of them a range of the index: nearly all have hardly a row in them.
_CROWDED = """
SELECT w.place FROM ({windows}) w WHERE (SELECT count(*) FROM (
  SELECT 1 FROM bounceparse_standing s
  WHERE s.provider = w.provider AND s.reason = w.reason AND s.since >= w.first AND s.since <= w.last
    AND s.origin = 'policy' AND (s.lifted_at IS NULL OR s.event_id IS NOT NULL) LIMIT :count) t) >= :count
"""
_WINDOWS = {
    "sqlite": "SELECT key AS place, value ->> 0 AS provider, value ->> 1 AS reason, value ->> 2 AS first,"
    " value ->> 3 AS last FROM json_each(:windows)",
    "postgresql": "SELECT place - 1 AS place, value ->> 0 AS provider, value ->> 1 AS reason,"
    " (value ->> 2)::timestamptz AS first, (value ->> 3)::timestamptz AS last"
    " FROM jsonb_array_elements(CAST(:windows AS jsonb)) WITH ORDINALITY AS a (value, place)",
}
_CROWDED_ON = {dialect: sa.text(_CROWDED.format(windows=windows)) for dialect, windows in _WINDOWS.items()}


def _crowded(connection: Connection, windows: Iterable[_Window], count: int) -> list[_Window]:
    """The windows in which at least ``count`` suppressions began."""
    known = list(windows)
    if not known:
        return []
    given = [[one.provider, one.reason, time_text(one.first), time_text(one.last)] for one in known]
    found = connection.execute(
        _CROWDED_ON[connection.dialect.name], {"windows": json.dumps(given), "count": count}
    ).scalars()
    return [known[place] for place in sorted(found)]


def _pause(connection: Connection, window: _Window, breaker: Breaker, now: datetime) -> list[str]:
    """Pause what began in the bursts of a window; returns the subjects of a discarded event."""
    rows = connection.execute(_of_window(window)).all()
    bursts = find_bursts((row.since for row in rows), breaker.count)
    if not bursts:
        return []
    threshold = breaker.threshold(_count_before(connection, window, bursts[0][0]))
    discarded: list[str] = []
    for first, last in find_bursts((row.since for row in rows), threshold):
        joining = [row for row in rows if first <= row.since <= last and row.event_id is None]
        if joining:
            event = _event(connection, window, first, last, breaker, now)
            _join(connection, event, joining, breaker, now)
            discarded += [row.subject for row in joining] if event.state == DISCARDED else []
    return discarded


def _of_window(window: _Window) -> sa.Select[Any]:
    return (
        sa.select(standing.c.id, standing.c.subject, standing.c.since, standing.c.event_id)
        .where(standing.c.provider == window.provider, standing.c.reason == window.reason)
        .where(standing.c.since.between(window.first, window.last))
        .where(standing.c.origin == "policy", sa.or_(standing.c.lifted_at.is_(None), standing.c.event_id.is_not(None)))
        .order_by(standing.c.id)
    )


def _count_before(connection: Connection, window: _Window, start: datetime) -> int:
    """How many suppressions began in the week before ``start``."""
    query = sa.select(sa.func.count()).where(
        standing.c.provider == window.provider,
        standing.c.reason == window.reason,
        standing.c.since >= start - WEEK,
        standing.c.since < start,
        standing.c.origin == "policy",
    )
    return int(connection.execute(query).scalar_one())


def _event(
    connection: Connection, window: _Window, first: datetime, last: datetime, breaker: Breaker, now: datetime
) -> sa.Row[Any]:
    """The event that a burst belongs to, whatever was decided on it; a new one where there is none."""
    query = (
        sa.select(events)
        .where(events.c.provider == window.provider, events.c.reason == window.reason)
        .where(events.c.began_at <= last + HOUR, events.c.last_at >= first - HOUR)
        .order_by(events.c.id.desc())
        .limit(1)
    )
    if (found := connection.execute(query).first()) is not None:
        return found
    connection.execute(
        sa.insert(events).values(
            provider=window.provider,
            reason=window.reason,
            state=OPEN,
            began_at=first,
            last_at=last,
            release_at=now + breaker.pause,
            count=0,
        )
    )
    return connection.execute(query).one()


def _join(
    connection: Connection, event: sa.Row[Any], joining: Sequence[sa.Row[Any]], breaker: Breaker, now: datetime
) -> None:
    """Make suppressions part of an event: paused while it is open, lifted when it was discarded."""
    last = max(event.last_at, *(row.since for row in joining))
    first = min(event.began_at, *(row.since for row in joining))
    values: dict[str, Any] = {"event_id": event.id}
    changed: dict[str, Any] = {"began_at": first, "last_at": last, "count": event._mapping["count"] + len(joining)}
    if event.state == OPEN:
        values["paused_until"] = changed["release_at"] = now + breaker.pause
    elif event.state == DISCARDED:
        values |= {"lifted_at": now, "lifted_by": BY_DISCARD.format(event.id), "forgiven_at": forgiven_until(last, now)}
    connection.execute(sa.update(events).where(events.c.id == event.id).values(**changed))
    write_each(connection, [row.id for row in joining], values)


def forgiven_until(last: datetime, now: datetime) -> datetime:
    """Up to when failures are those of an event whose suppressions began until ``last``: an hour more, for their tail."""
    return min(last + HOUR, now)


def write_each(connection: Connection, ids: Sequence[int], values: dict[str, Any]) -> None:
    """Write ``values`` into these rows of ``standing``, each with a number of its own."""
    first = take_seq(connection, len(ids))
    query = sa.update(standing).where(standing.c.id == sa.bindparam("b_id"))
    query = query.values(**{name: sa.bindparam(f"b_{name}", type_=standing.c[name].type) for name in ("seq", *values)})
    fixed = {f"b_{name}": value for name, value in values.items()}
    connection.execute(query, [{"b_id": one, "b_seq": first + place, **fixed} for place, one in enumerate(ids)])

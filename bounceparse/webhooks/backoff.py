"""When a failed event is tried again, and when it is given up; how long an endpoint that takes nothing is left alone."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

GIVE_UP = timedelta(days=3)
"""How long an event is tried, from the first request on."""
_PAUSES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""Between the requests for one event; the last is made when it is :data:`GIVE_UP` old."""
_SHORTEST, _LONGEST = timedelta(seconds=5), timedelta(minutes=5)
_MOST_ASKED = timedelta(days=1)


def next_attempt(failed: int, first_at: datetime, now: datetime, asked: timedelta | None = None) -> datetime | None:
    """When an event is sent again after so many failed requests, of which the first was at ``first_at``.

    ``asked`` is how long the receiver wants to be left alone. None: it is given up.
    """
    end = first_at + GIVE_UP
    if now >= end:
        return None
    pause = _PAUSES[min(failed, len(_PAUSES)) - 1]
    pause += pause * random.uniform(0, 0.1)  # noqa: S311 - not all at once
    return min(now + max(pause, _heeded(asked)), end)


def next_probe(down_since: datetime, now: datetime, asked: timedelta | None = None) -> datetime:
    """When an endpoint that takes nothing since then is tried again, with a single event."""
    pause = min(max((now - down_since) / 4, _SHORTEST), _LONGEST)
    return now + max(pause, _heeded(asked))


def _heeded(asked: timedelta | None) -> timedelta:
    return min(asked, _MOST_ASKED) if asked is not None else timedelta(0)

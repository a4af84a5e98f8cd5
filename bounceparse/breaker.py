"""The mass-event breaker: when many addresses of one provider fail at once, the provider is the likelier fault.

Providers have refused every recipient as unknown for hours, with proper codes and in reports about mail that was really
sent: no proof of a single report helps against that. What then comes up is paused, not suppressed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
_HOURS = WEEK / HOUR


@dataclass(frozen=True, slots=True)
class Breaker:
    """When suppressions of one provider for one reason are a mass event.

    Attributes:
        count: how many within an hour; 0: never.
        times: and how many times the hourly mean of the week before.
        pause: how long the addresses are paused before they become suppressed.
    """

    count: int = 50
    times: float = 10
    pause: timedelta = timedelta(hours=72)

    def threshold(self, week: int) -> int:
        """How many suppressions within an hour make an event, after ``week`` of them in the week before."""
        return max(self.count, ceil(self.times * week / _HOURS))


BREAKER = Breaker()


def find_bursts(times: Iterable[datetime], threshold: int) -> list[tuple[datetime, datetime]]:
    """The spans, first and last time, in which every time is of some hour that holds at least ``threshold`` of them."""
    ordered = sorted(times)
    bursts: list[tuple[datetime, datetime]] = []
    first = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] > HOUR:
            first += 1
        if last - first + 1 >= threshold:
            start = bursts.pop()[0] if bursts and bursts[-1][1] >= ordered[first] else ordered[first]
            bursts.append((start, at))
    return bursts

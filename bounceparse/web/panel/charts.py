"""Counts by day -> what an inline SVG draws: stacked bars, an axis and its marks. Pure geometry, no colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 440, 190
_LEFT, _TOP, _BOTTOM = 44, 8, 22
_GAP = 0.28  # of a bar's place


class Bar(NamedTuple):
    """One part of a bar: what it stands for, how many, and where it is."""

    name: str
    label: str
    value: float
    x: float
    y: float
    width: float
    height: float


class Mark(NamedTuple):
    """A line of the axis, or the label of a day, at ``at``."""

    at: float
    text: str


class Chart(NamedTuple):
    """Stacked bars; ``names`` are the parts that occur, from the bottom up."""

    names: tuple[str, ...]
    bars: tuple[Bar, ...]
    lines: tuple[Mark, ...]
    days: tuple[Mark, ...]
    left: float = _LEFT
    width: float = WIDTH
    height: float = HEIGHT


def stacked(days: Sequence[str], parts: Mapping[str, Sequence[float]], *, share: bool = False) -> Chart:
    """Bars by day (``2026-01-31``), the parts of each one above the other; with ``share`` in percent of the whole day."""
    totals = [sum(values) for values in zip(*parts.values(), strict=True)] if parts else []
    highest = 100.0 if share else _round_up(max(totals, default=0))
    height = HEIGHT - _TOP - _BOTTOM
    place = (WIDTH - _LEFT) / max(1, len(days))
    bars = []
    for number, day in enumerate(days):
        bottom = float(_TOP + height)
        for name, values in parts.items():
            value = values[number]
            if not value:
                continue
            part = value / totals[number] if share else value / highest
            tall = part * height
            bottom -= tall
            x = _LEFT + (number + _GAP / 2) * place
            bars.append(
                Bar(name, day, value, round(x, 2), round(bottom, 2), round(place * (1 - _GAP), 2), round(tall, 2))
            )
    lines = [Mark(round(_TOP + height * (1 - step / 4), 2), _short(highest * step / 4)) for step in (0, 2, 4)]
    if share:
        lines = [Mark(line.at, f"{line.text} %") for line in lines]
    every = max(1, round(len(days) / 5))
    labels = [
        Mark(round(_LEFT + (number + 0.5) * place, 2), day[5:])
        for number, day in enumerate(days)
        if (len(days) - 1 - number) % every == 0
    ]
    used = tuple(name for name, values in parts.items() if any(values))
    return Chart(used, tuple(bars), tuple(lines), tuple(labels))


def _round_up(value: float) -> float:
    """The next number whose half can be written shortly."""
    if value <= 4:
        return 4
    power = 10 ** (len(str(int(value))) - 1)
    return float(next(step * power for step in (1, 2, 4, 5, 6, 8, 10) if step * power >= value))


def _short(value: float) -> str:
    for size, letter in ((1_000_000, "M"), (1000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"

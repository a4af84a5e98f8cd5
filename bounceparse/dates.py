"""Dates as reports write them -> aware ``datetime``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache

from bounceparse.lazy import pattern

# RFC 5322 section 3.3 with the obsolete forms of 4.3: two-digit years, zone names, no seconds
_DATE = pattern(
    r"(?:[A-Za-z]{3,9},?\s*)?(\d\d?)[ -]([A-Za-z]{3})[a-z]{0,6}[ -](\d{2,4})\s+(\d\d?):(\d\d)(?::(\d\d))?"
    r"\s*([+-]\d{4}|[A-Z]{1,4}(?![\w+-]))?",
    re.ASCII,
)
# What nearly all are written like; the rest of ISO 8601 is then read in one step
_USUAL = pattern(r"(?:[A-Za-z]{3}, )?(\d\d?) ([A-Z][a-z]{2}) (\d{4}) (\d\d:\d\d:\d\d) ([+-]\d{4})", re.ASCII)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_USUAL_MONTHS = {name.title(): f"{number:02}" for name, number in _MONTHS.items()}
_ZONES = {
    "EST": "-0500",
    "EDT": "-0400",
    "CST": "-0600",
    "CDT": "-0500",
    "MST": "-0700",
    "MDT": "-0600",
    "PST": "-0800",
    "PDT": "-0700",
    "JST": "+0900",
    "CET": "+0100",
    "CEST": "+0200",
    "BST": "+0100",
}
_FAILURES = (ValueError, TypeError, IndexError, OverflowError, AttributeError)


def parse_date(value: str) -> datetime | None:
    """The instant that ``value`` names (RFC 5322 section 3.3, else what dateutil reads); UTC where no zone is told."""
    if usual := _USUAL.match(value):
        day, month, year, clock, zone = usual.groups()
        try:
            return datetime.fromisoformat(f"{year}-{_USUAL_MONTHS[month]}-{day:0>2}T{clock}{zone}")
        except (ValueError, KeyError):  # no such day, another language's month
            pass
    value = value[:100].strip()
    found = _DATE.match(value)
    if found is None or found[2].lower() not in _MONTHS:
        return _parse_odd(value)
    day, month, year, hour, minute, second, zone = found.groups()
    try:
        return datetime(
            _year(year),
            _MONTHS[month.lower()],
            int(day),
            int(hour),
            int(minute),
            int(second or 0),
            0,
            _zone(zone or ""),
        )
    except _FAILURES:
        return None


def _year(digits: str) -> int:
    """RFC 5322 section 4.3: two digits below 50 are of this century, three count from 1900."""
    year = int(digits)
    return year if len(digits) == 4 else year + (2000 if len(digits) == 2 and year < 50 else 1900)


@lru_cache(maxsize=64)
def _zone(name: str) -> timezone:
    """An offset or a zone's name; an unknown name is UTC, as RFC 5322 section 4.3 says."""
    offset = _ZONES.get(name, name)
    if offset[:1] not in ("+", "-"):
        return UTC
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes else UTC


def _parse_odd(value: str) -> datetime | None:
    """SendGrid's ``2012-10-31 04-46-42``, ISO 8601 of gateways, other orders."""
    if not any(char.isdigit() for char in value):
        return None
    from dateutil import parser

    day, space, clock = value.partition(" ")
    if space and len(day) == 10 and clock.count("-") == 2:
        value = f"{day} {clock.replace('-', ':')}"
    try:
        when = parser.parse(value, tzinfos=lambda _, offset: offset or 0)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        when.isoformat()
    except _FAILURES:
        return None
    return when

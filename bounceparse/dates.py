"""Dates as reports write them -> aware ``datetime``."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache

# RFC 5322 section 3.3 as nearly all write it; anything else goes to the standard library
_USUAL = re.compile(
    r"(?:[A-Z][a-z]{2}, )?(\d\d?) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) ([+-]\d{4})(?: \([\w ]+\))?$", re.ASCII
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"], 1
    )
}
_FAILURES = (ValueError, TypeError, IndexError, OverflowError, AttributeError)


def parse_date(value: str) -> datetime | None:
    """The instant that ``value`` names (RFC 5322 section 3.3, else what dateutil reads); UTC where no zone is told."""
    value = value[:100]
    usual = _USUAL.match(value)
    if usual and usual[2] in _MONTHS:
        day, month, year, hour, minute, second, zone = usual.groups()
        try:
            return datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), 0, _zone(zone))
        except _FAILURES:
            pass
    try:
        when: datetime | None = parsedate_to_datetime(value)
    except _FAILURES:
        when = _parse_odd(value)
    if when is None:
        return None
    try:
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        when.isoformat()
        return when
    except _FAILURES:
        return None


@lru_cache(maxsize=64)
def _zone(offset: str) -> timezone:
    minutes = int(offset[1:3]) * 60 + int(offset[3:])
    return timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)) if minutes else UTC


def _parse_odd(value: str) -> datetime | None:
    """SendGrid's ``2012-10-31 04-46-42``, ISO 8601 of gateways, missing zones."""
    if not any(char.isdigit() for char in value):
        return None
    from dateutil import parser

    day, space, clock = value.strip().partition(" ")
    if space and len(day) == 10 and clock.count("-") == 2:
        value = f"{day} {clock.replace('-', ':')}"
    try:
        return parser.parse(value)
    except _FAILURES:
        return None

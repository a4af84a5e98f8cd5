"""Dates as reports write them -> aware ``datetime``."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_FAILURES = (ValueError, TypeError, IndexError, OverflowError, AttributeError)


def parse_date(value: str) -> datetime | None:
    """The instant that ``value`` names (RFC 5322 section 3.3, else what dateutil reads); UTC where no zone is told."""
    value = value[:100]
    try:
        when = parsedate_to_datetime(value)
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

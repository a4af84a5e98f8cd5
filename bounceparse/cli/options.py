"""Options that several commands have in common."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

import click

_AGO = re.compile(r"(\d{1,6})\s*(m|h|d|w)", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Moment(click.ParamType[datetime]):
    """A point in time: ISO 8601 (local time where no offset is given), or how long ago: 30m, 24h, 7d, 2w."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The time in UTC; a usage error for anything else."""
        if isinstance(value, datetime):
            return value
        text = str(value).strip()
        try:
            if ago := _AGO.fullmatch(text):
                return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
            return datetime.fromisoformat(text).astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{text!r} is no time: write 2026-01-31, 2026-01-31T12:00 or how long ago: 24h, 7d, 2w", param, ctx
            )


since = click.option("--since", type=Moment(), metavar="TIME", help="Only since then: 2026-01-31, or 24h, 7d, 2w ago.")
by = click.option("--by", metavar="NAME", help="Who does it, for the audit trail; else the user of the system.")
as_json = click.option("--json", "as_json", is_flag=True, help="JSON, one object a line.")


def actor(by: str | None) -> str:
    """Who acts: the name given with ``--by``, else the user of the operating system."""
    if by:
        return by
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"

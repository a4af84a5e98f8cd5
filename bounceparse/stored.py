"""Values as a database can hold them, whichever it is."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from bounceparse.addresses import address_key

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """``text`` as a database can hold it: plain ``str``, NUL and lone surrogates replaced by U+FFFD."""
    if type(text) is not str:
        text = str.__str__(text)
    return text if text.isascii() and "\x00" not in text else _UNSTORABLE.sub("\ufffd", text)


def is_storable(text: str) -> bool:
    """Whether :func:`storable` would change nothing in ``text``."""
    return (text.isascii() and "\x00" not in text) or _UNSTORABLE.search(text) is None


def stored_key(address: str) -> str:
    """The address key as it is stored and compared."""
    return storable(address_key(address))


def storable_time(value: datetime | None) -> datetime | None:
    """``value`` in UTC; None for a time that has no zone or lies outside what a calendar holds."""
    if value is None or value.tzinfo is None:
        return None
    try:
        return value.astimezone(UTC)
    except OverflowError:
        return None

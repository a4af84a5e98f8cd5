"""Column types that mean the same on SQLite and PostgreSQL: text that can be stored, times in UTC, 64-bit ids."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from bounceparse.stored import is_storable, storable, storable_time, stored_key

__all__ = ["BigId", "Text", "Utc", "is_storable", "storable", "storable_time", "stored_key", "time_text"]

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A primary key of 64 bits. SQLite numbers rows by itself only where the type says INTEGER."""


class Text(TypeDecorator[str]):
    """Text without a length.

    All text passes :func:`storable`: PostgreSQL refuses NUL, no UTF-8 has lone surrogates, and the members of closed
    lists become plain text.
    """

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


class Utc(TypeDecorator[datetime]):
    """An aware time, stored in UTC and read back as UTC: text that sorts on SQLite, ``timestamptz`` on PostgreSQL."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return time_text(value) if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return datetime.fromisoformat(value) if dialect.name == "sqlite" else value.astimezone(UTC)


def time_text(value: datetime) -> str:
    """A time as SQLite keeps it: UTC, always as long, so that texts sort as times do. A naive time is a ValueError."""
    if value.tzinfo is not UTC:
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone cannot be stored: {value}")
        value = value.astimezone(UTC)
    return value.isoformat(" ", "microseconds")

"""Bulk writes: many rows by one statement, past SQLAlchemy's work on each value.

A statement is compiled once; its values go to the driver's ``executemany`` after the same conversions that the column
types make (:func:`storable`, :func:`time_text`). A row costs a fifth of what ``connection.execute`` takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.engine import Connection, Dialect

from bounceparse.db.types import Text, Utc, storable, time_text


class _Plan(NamedTuple):
    """A compiled statement: its values in the driver's order, and the places that hold text and times."""

    sql: str
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    texts: tuple[int, ...]
    times: tuple[int, ...]


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many that were. All rows have the same columns."""
    if not rows:
        return 0
    return execute_many(connection, _insert(table, connection.dialect.name, tuple(rows[0])), rows)


def execute_many(connection: Connection, statement: sa.UpdateBase, rows: Sequence[Mapping[str, Any]]) -> int:
    """Execute a statement, which must be a module's constant, once for each of ``rows``; return the rows changed."""
    plan = _plan(statement, connection.dialect)
    is_sqlite = connection.dialect.name == "sqlite"
    values = []
    for row in rows:
        picked = list(plan.pick(row))
        if not _is_plain("".join([text for place in plan.texts if (text := picked[place]) is not None])):
            for place in plan.texts:
                text = picked[place]
                picked[place] = None if text is None else storable(text)
        if is_sqlite:
            for place in plan.times:
                time = picked[place]
                if time is not None:
                    picked[place] = time_text(time)
        values.append(tuple(picked))
    return connection.exec_driver_sql(plan.sql, values).rowcount


def _is_plain(text: str) -> bool:
    """Whether all of a row's text, looked at once, is such that :func:`storable` changes nothing."""
    return text.isascii() and "\x00" not in text


@lru_cache(maxsize=64)
def _insert(table: sa.Table, dialect: str, names: tuple[str, ...]) -> sa.Insert:
    values = {name: sa.bindparam(name, type_=table.c[name].type) for name in names}
    if dialect == "sqlite":
        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    return postgresql.insert(table).values(values).on_conflict_do_nothing()


@lru_cache(maxsize=64)
def _plan(statement: sa.UpdateBase, dialect: Dialect) -> _Plan:
    # psycopg takes positions as %s when asked for the "format" style.
    compiled = statement.compile(dialect=_positional(dialect))
    names = list(getattr(compiled, "positiontup", None) or ())
    types = [compiled.binds[name].type for name in names]
    fixed = {name: bind.value for name, bind in compiled.binds.items() if bind.value is not None}
    return _Plan(
        str(compiled),
        _picker(names, fixed),
        tuple(place for place, kind in enumerate(types) if isinstance(kind, Text | sa.Text)),
        tuple(place for place, kind in enumerate(types) if isinstance(kind, Utc)),
    )


def _positional(dialect: Dialect) -> Dialect:
    return dialect if dialect.name == "sqlite" else psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


def _picker(names: Sequence[str], fixed: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A row's values in order; ``fixed`` holds the values that the statement itself brings."""
    if not fixed and len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(fixed[name] if name in fixed else row[name] for name in names)

"""Bulk writes: many rows by one statement, past SQLAlchemy's work on each value.

A statement is compiled once; its values go to the driver's ``executemany`` after the same conversions that the column
types make (:func:`storable`, :func:`time_text`). A row costs a fifth of what ``connection.execute`` takes. PostgreSQL
takes new rows by COPY, which is cheaper by far than a message to and fro for each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.sql import visitors

from bounceparse.db.types import Text, Utc, is_storable, storable, time_text


class _Plan(NamedTuple):
    """A compiled statement: its values in the driver's order, and the places that hold text and times."""

    sql: str
    pick: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    texts: tuple[int, ...]
    times: tuple[int, ...]


_WORTH_COPY = 20
"""Rows from which on COPY is quicker than a prepared statement."""


def insert_new(connection: Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose keys are not there yet; return how many that were. All rows have the same columns."""
    if not rows:
        return 0
    names = tuple([column.name for column in table.c if column.name in rows[0]])
    pick = _picker(names, {})
    return insert_tuples(connection, table, names, [pick(row) for row in rows])


def insert_tuples(
    connection: Connection, table: sa.Table, names: tuple[str, ...], rows: Sequence[Sequence[Any]]
) -> int:
    """As :func:`insert_new`, with the values of the columns ``names``, which stand in the table's order."""
    plan = _plan(_insert(table, connection.dialect.name, names), connection.dialect)
    values = _storable(plan, rows, connection.dialect)
    if len(rows) >= _WORTH_COPY and copy_new(connection, table.name, names, values):
        return len(rows)
    return connection.exec_driver_sql(plan.sql, values).rowcount


def copy_new(connection: Connection, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """COPY storable rows into a table of PostgreSQL, when each of them is new; else, and on SQLite, nothing is done.

    In a transaction that says that they are new it goes without a savepoint, and raises ``IntegrityError``.
    """
    if connection.dialect.name != "postgresql":
        return False
    if connection.get_execution_options().get("bounceparse_fresh"):
        copy_rows(connection, table, names, rows)
        return True
    try:
        with connection.begin_nested():
            copy_rows(connection, table, names, rows)
    except sa.exc.IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
            raise
        return False
    return True


_UNIQUE_VIOLATION = "23505"


def copy_rows(connection: Connection, table: str, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """COPY storable rows into a table of PostgreSQL."""
    statement = f"COPY {table} ({', '.join(names)}) FROM STDIN"
    driver: Any = connection.dialect.dbapi
    cursor: Any = connection.connection.cursor()
    try:
        with cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:  # as SQLAlchemy tells it of every other statement
        raise sa.exc.DBAPIError.instance(
            statement, None, error, driver.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


def storable_rows(
    connection: Connection, table: sa.Table, names: tuple[str, ...], rows: Sequence[Sequence[Any]]
) -> list[tuple[Any, ...]]:
    """Values of the columns ``names`` as the driver can take them."""
    return _storable(
        _plan(_insert(table, connection.dialect.name, names), connection.dialect), rows, connection.dialect
    )


def execute_many(
    connection: Connection, statement: sa.Update, rows: Sequence[Mapping[str, Any]], key: tuple[str, ...] | None = None
) -> int:
    """Execute an UPDATE, which must be a module's constant, for each of ``rows`` in order; return the rows changed.

    Where ``key`` is given, rows that differ in these parameters never change the same row of the table: PostgreSQL takes
    them by one statement then, as a table of JSON.
    """
    if key is None or connection.dialect.name != "postgresql":
        plan = _plan(statement, connection.dialect)
        values = _storable(plan, [plan.pick(row) for row in rows], connection.dialect)
        return connection.exec_driver_sql(plan.sql, values).rowcount
    together, names = _together(statement)
    return sum(
        connection.execute(together, {"given": json.dumps(part, default=_json_value)}).rowcount
        for part in _rounds([{name: row[name] for name in names} for row in rows], key)
    )


def _rounds(rows: Iterable[Mapping[str, Any]], key: tuple[str, ...]) -> list[list[Mapping[str, Any]]]:
    """The rows in lists of different keys: those that come again in a later one."""
    rounds: list[list[Mapping[str, Any]]] = []
    times: dict[tuple[Any, ...], int] = {}
    for row in rows:
        own = tuple([row[name] for name in key])
        place = times[own] = times.get(own, -1) + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(
            {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}
        )
    return rounds


def _json_value(value: datetime | bytes) -> str:
    return value.isoformat() if isinstance(value, datetime) else "\\x" + value.hex()


@lru_cache(maxsize=64)
def _together(statement: sa.Update) -> tuple[sa.Update, tuple[str, ...]]:
    """An UPDATE of one row by parameters -> one of many rows by ``given``, a list of objects as JSON; its parameters."""
    binds: dict[str, sa.BindParameter[Any]] = {}

    def note(element: Any, **_: Any) -> None:
        if isinstance(element, sa.BindParameter) and element.value is None:
            binds[element.key] = element

    visitors.replacement_traverse(statement, {}, note)
    columns = [sa.column(name, _plain_type(bind.type)) for name, bind in binds.items()]
    given = sa.func.json_to_recordset(sa.cast(sa.bindparam("given", type_=sa.Text), sa.JSON)).table_valued(
        *columns, name="given"
    )
    given = given.render_derived(with_types=True)

    def put(element: Any, **_: Any) -> Any:
        if isinstance(element, sa.BindParameter) and element.key in binds:
            return given.c[element.key]
        return None

    changed: sa.Update = visitors.replacement_traverse(statement, {}, put)  # type: ignore[assignment]
    return changed, tuple(binds)


def _plain_type(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    if isinstance(kind, Utc):
        return sa.DateTime(timezone=True)
    return sa.Text() if isinstance(kind, Text) else kind


def _storable(plan: _Plan, rows: Sequence[Sequence[Any]], dialect: Dialect) -> list[tuple[Any, ...]]:
    """The rows after the conversions that the column types would make."""
    texts = itemgetter(*plan.texts, *plan.texts[:1]) if plan.texts else None
    times = plan.times if dialect.name == "sqlite" else ()
    known: dict[datetime, str] = {}  # most times of a batch are that of its recording
    found = []
    for row in rows:
        values = row
        # looked at once: nearly all rows are such that storable() changes nothing
        if texts is not None and not is_storable("".join(filter(None, texts(row)))):
            values = list(values)
            for place in plan.texts:
                if (text := values[place]) is not None:
                    values[place] = storable(text)
        if times:
            values = list(values)
            for place in times:
                if (time := values[place]) is not None:
                    if (text := known.get(time)) is None:
                        text = known[time] = time_text(time)
                    values[place] = text
        found.append(tuple(values))
    return found


@lru_cache(maxsize=64)
def _insert(table: sa.Table, dialect: str, names: tuple[str, ...]) -> sa.Insert:
    values = {name: sa.bindparam(name, type_=table.c[name].type) for name in names}
    # imported late: the dialect of the other database is not needed
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).values(values).on_conflict_do_nothing()
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table).values(values).on_conflict_do_nothing()


@lru_cache(maxsize=64)
def _plan(statement: sa.UpdateBase, dialect: Dialect) -> _Plan:
    # psycopg takes positions as %s when asked for the "format" style.
    short: Any = visitors.replacement_traverse(statement, {}, _written_out)
    compiled = short.compile(dialect=_positional(dialect))
    names = list(getattr(compiled, "positiontup", None) or ())
    types = [compiled.binds[name].type for name in names]
    fixed = {name: bind.value for name, bind in compiled.binds.items() if bind.value is not None}
    return _Plan(
        str(compiled),
        _picker(names, fixed),
        tuple(place for place, kind in enumerate(types) if isinstance(kind, Text | sa.Text)),
        tuple(place for place, kind in enumerate(types) if isinstance(kind, Utc)),
    )


def _written_out(element: Any, **_: Any) -> sa.ColumnElement[Any] | None:
    """A number or word that the statement itself brings, as a literal: it need not be bound anew for every row."""
    if not isinstance(element, sa.BindParameter) or element.value is None:
        return None
    if type(element.value) is int:
        return sa.literal_column(str(element.value), element.type)
    if isinstance(element.value, str) and _WORD.fullmatch(element.value):
        return sa.literal_column(f"'{element.value}'", element.type)
    return None


_WORD = re.compile("[a-z-]*", re.ASCII)


def _positional(dialect: Dialect) -> Dialect:
    if dialect.name == "sqlite":
        return dialect
    from sqlalchemy.dialects.postgresql import psycopg

    return psycopg.dialect(paramstyle="format")  # type: ignore[no-untyped-call]


def _picker(names: Sequence[str], fixed: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A row's values in order; ``fixed`` holds the values that the statement itself brings."""
    if not fixed and len(names) > 1:
        return itemgetter(*names)
    return lambda row: tuple(fixed[name] if name in fixed else row[name] for name in names)

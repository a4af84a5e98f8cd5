"""``column IN (a list given as one value)``: one statement, compiled once, however long the list is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from bounceparse.db.types import storable


class _List(TypeDecorator[Sequence[Any]]):
    """A list of text or numbers: JSON on SQLite, an array on PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, numbers: bool = False) -> None:
        super().__init__()
        self.numbers = numbers

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.Text())
        return dialect.type_descriptor(sa.ARRAY(sa.BigInteger() if self.numbers else sa.Text()))

    def process_bind_param(self, value: Sequence[Any] | None, dialect: Dialect) -> Any:
        values = list(value or ()) if self.numbers else [storable(one) for one in value or ()]
        return json.dumps(values) if dialect.name == "sqlite" else values


class _Listed(FunctionElement[Any]):
    # Not typed as boolean: SQLite would be asked whether it is = 1, and use no index.
    name = "listed"
    inherit_cache = True


@compiles(_Listed)
def _otherwise(element: _Listed, compiler: Any, **options: Any) -> str:
    column, given = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({given}))"  # noqa: S608


@compiles(_Listed, "postgresql")
def _on_postgresql(element: _Listed, compiler: Any, **options: Any) -> str:
    column, given = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{column} = ANY ({given})"


def listed(column: sa.Column[Any], parameter: str = "listed") -> sa.ColumnElement[Any]:
    """The condition that ``column`` (text or a number) is among the values of the statement's ``parameter``, a list."""
    numbers = isinstance(column.type, sa.Integer | sa.BigInteger)
    return _Listed(column, sa.bindparam(parameter, type_=_List(numbers)))

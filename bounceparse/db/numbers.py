"""The numbers that must survive, kept in ``bounceparse_state`` by name."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import state

LEDGER = "ledger"
"""Counts the batches that the ledger took, so that matching again knows whether anything is new."""
LEDGER_AT = "ledger-at"
"""When the ledger took its latest batch, in seconds since 1970."""
REMATCHED = "rematched"
"""What :data:`LEDGER` was when everything unsettled was last matched again."""


_TAKE = (
    sa.update(state)
    .where(state.c.name == "seq")
    .values(value=state.c.value + sa.bindparam("count", type_=sa.BigInteger()))
    .returning(state.c.value)
)


def take_seq(connection: Connection, count: int) -> int:
    """The first of ``count`` new numbers of ``seq``."""
    return int(connection.execute(_TAKE, {"count": count}).scalar_one()) - count + 1


def numbers(connection: Connection) -> dict[str, int]:
    """All numbers, by name."""
    return {row.name: row.value for row in connection.execute(sa.select(state))}


def set_number(connection: Connection, name: str, value: int) -> None:
    """Write a number."""
    if not connection.execute(sa.update(state).where(state.c.name == name).values(value=value)).rowcount:
        connection.execute(sa.insert(state).values(name=name, value=value))

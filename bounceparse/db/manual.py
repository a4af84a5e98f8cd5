"""Suppressions that a person makes and lifts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import take_seq
from bounceparse.db.standings import subjects_of
from bounceparse.db.tables import standing
from bounceparse.db.types import stored_key


def suppress(
    connection: Connection,
    address: str,
    now: datetime,
    *,
    reason: str,
    scope: str,
    until: datetime | None,
    note: str | None,
    cause: str = "manual",
    status: str = "manual",
) -> None:
    """Suppress an address or ``@domain`` in a scope; it stands until lifted or ``until``."""
    row = {"subject": _subject(address), "scope": scope, "cause": cause}
    values = {
        "seq": take_seq(connection, 1),
        "status": status,
        "reason": reason,
        "since": now,
        "until": until,
        "count": 1,
        "last_at": now,
        "origin": "manual",
        "note": note,
        "lifted_at": None,
        "lifted_by": None,
    }
    same = [standing.c[name] == value for name, value in row.items()]
    if not connection.execute(sa.update(standing).where(*same).values(**values)).rowcount:
        connection.execute(sa.insert(standing).values(**row, **values))


def lift(
    connection: Connection, address: str, now: datetime, *, scope: str | None, by: str | None, note: str | None
) -> int:
    """Lift what stands against an address or ``@domain``; returns how many suppressions that were."""
    stands = sa.select(standing.c.id).where(standing.c.subject == _subject(address), standing.c.lifted_at.is_(None))
    if scope is not None:
        stands = stands.where(standing.c.scope == scope)
    ids = connection.execute(stands.order_by(standing.c.id)).scalars().all()
    values: dict[str, Any] = {"lifted_at": now, "forgiven_at": now, "lifted_by": by}
    if note is not None:
        values["note"] = note
    first = take_seq(connection, len(ids)) if ids else 0
    for seq, one in enumerate(ids, first):
        connection.execute(sa.update(standing).where(standing.c.id == one).values(**values, seq=seq))
    return len(ids)


def _subject(address: str) -> str:
    """The subject of an address, or of a domain written with a leading ``@``."""
    return subjects_of(f"x{address}")[1] if address.startswith("@") else stored_key(address)

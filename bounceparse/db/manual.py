"""Suppressions that a person makes and lifts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.audit import note_audit
from bounceparse.db.mass_events import write_each
from bounceparse.db.numbers import take_seq
from bounceparse.db.standings import NO_KEYS, subjects_of
from bounceparse.db.tables import standing
from bounceparse.db.types import stored_key
from bounceparse.verp import Keyring


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
    by: str | None = None,
) -> None:
    """Suppress an address or ``@domain`` in a scope; it stands until lifted or ``until``.

    Noted in the audit trail as done ``by`` somebody, unless that is None: who calls notes what was decided then.
    """
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
        "paused_until": None,
        "event_id": None,
        "provider": None,
    }
    same = [standing.c[name] == value for name, value in row.items()]
    if not connection.execute(sa.update(standing).where(*same).values(**values)).rowcount:
        connection.execute(sa.insert(standing).values(**row, **values))
    if by is not None:
        note_audit(connection, now, by, "suppress", row["subject"], scope, note, reason)


def lift(
    connection: Connection,
    address: str,
    now: datetime,
    *,
    scope: str | None,
    by: str,
    note: str | None,
    keyring: Keyring = NO_KEYS,
) -> int:
    """Lift what stands against an address or ``@domain``; returns how many suppressions that were.

    What led to them never counts again. With ``keyring`` also what stands against the hash of an erased address.
    """
    subjects = [_subject(address)]
    if not address.startswith("@"):
        subjects = [one for one in subjects_of(subjects[0], keyring) if not one.startswith("@")]
    stands = sa.select(standing.c.id, standing.c.subject, standing.c.scope).where(
        standing.c.subject.in_(subjects), standing.c.lifted_at.is_(None)
    )
    if scope is not None:
        stands = stands.where(standing.c.scope == scope)
    rows = connection.execute(stands.order_by(standing.c.id)).all()
    values: dict[str, Any] = {"lifted_at": now, "forgiven_at": now, "lifted_by": by, "paused_until": None}
    if note is not None:
        values["note"] = note
    if rows:
        write_each(connection, [row.id for row in rows], values)
    for row in rows:
        note_audit(connection, now, by, "lift", row.subject, row.scope, note)
    return len(rows)


def _subject(address: str) -> str:
    """The subject of an address, or of a domain written with a leading ``@``."""
    return subjects_of(f"x{address}")[1] if address.startswith("@") else stored_key(address)

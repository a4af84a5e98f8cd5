"""The keys of erased reports: a mailbox that still holds one cannot bring the person back."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import insert_new
from bounceparse.db.engine import chunks
from bounceparse.db.tables import tombstones

NOTHING_KEPT = {"from_address": None, "subject": None, "raw": None, "defects": "", "error": None}
"""The columns of ``messages`` that tell of a person, empty."""

_ANY = sa.select(tombstones.c.key).limit(1)


def erased_keys(connection: Connection, keys: Collection[bytes]) -> set[bytes]:
    """Those of these report keys that were erased."""
    if connection.execute(_ANY).first() is None:
        return set()
    return {
        bytes(key)
        for part in chunks(list(keys))
        for key in connection.execute(sa.select(tombstones.c.key).where(tombstones.c.key.in_(part))).scalars()
    }


def bury(connection: Connection, keys: Collection[bytes], now: datetime) -> int:
    """Note that these reports were erased; returns how many were not noted before."""
    return insert_new(connection, tombstones, [{"key": key, "erased_at": now} for key in sorted(keys)])

"""Suppressions from elsewhere: a provider's list or another installation's, many at a time and as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.addresses import domain_key
from bounceparse.db.bulk import insert_new
from bounceparse.db.listed import listed
from bounceparse.db.numbers import take_seq
from bounceparse.db.tables import standing
from bounceparse.db.types import storable, stored_key
from bounceparse.policy import Suppression, subject_of_domain

CAUSE = "manual"
_KNOWN = sa.select(standing).where(listed(standing.c.subject))
Key = tuple[str, str, str]


def import_suppressions(
    connection: Connection, entries: Sequence[Suppression], now: datetime, *, skip_lifted: bool = False
) -> int:
    """Write those that do not stand already; returns how many that were.

    ``subject`` may be any spelling of an address, a ``@domain`` or a keyed hash. One that was lifted is written again,
    unless it is older than that and ``skip_lifted``. One that has ended by ``now`` is not written.
    """
    rows = {(one.subject, one.scope, one.cause): one for one in map(_keyed, entries) if _lasts(one.until, now)}
    known = connection.execute(_KNOWN, {"listed": sorted({subject for subject, _, _ in rows})}).all()
    for row in known:
        if row.lifted_at is None and _covers(row.until, rows.get((row.subject, row.scope, CAUSE)), now):
            del rows[row.subject, row.scope, CAUSE]
    same = {(row.subject, row.scope, row.cause): row for row in known}
    if skip_lifted:
        rows = {key: one for key, one in rows.items() if not _was_lifted_since(same.get(key), one)}
    _write(connection, rows, same)
    return len(rows)


def _keyed(one: Suppression) -> Suppression:
    at_domain = one.subject.startswith("@")
    subject = subject_of_domain(domain_key(one.subject[1:])) if at_domain else stored_key(one.subject)
    return replace(one, subject=storable(subject), cause=CAUSE)


def _lasts(until: datetime | None, now: datetime) -> bool:
    return until is None or until > now


def _covers(until: datetime | None, one: Suppression | None, now: datetime) -> bool:
    """Whether what stands ``until`` then makes this one needless."""
    if one is None or not _lasts(until, now):
        return False
    return until is None or (one.until is not None and one.until <= until)


def _was_lifted_since(row: sa.Row[Any] | None, one: Suppression) -> bool:
    return row is not None and row.forgiven_at is not None and one.since <= row.forgiven_at


def _write(connection: Connection, rows: dict[Key, Suppression], same: dict[Key, sa.Row[Any]]) -> None:
    if not rows:
        return
    seq = take_seq(connection, len(rows))
    new = []
    for place, (key, one) in enumerate(rows.items()):
        values = {
            **{name: getattr(one, name) for name in Suppression.__dataclass_fields__},
            "seq": seq + place,
            "origin": "import",
        }
        if key in same:
            lifted = {"lifted_at": None, "lifted_by": None}
            connection.execute(sa.update(standing).where(standing.c.id == same[key].id).values(**values, **lifted))
        else:
            new.append(values)
    insert_new(connection, standing, new)

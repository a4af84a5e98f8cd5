"""The audit trail: what persons did to standings, streams, requests and records, who did it and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import audit

PAGE = 1000


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act: ``actor`` did ``action`` to ``subject`` (an address key, ``@domain``, a stream, an event's number) at ``at``.

    ``scope`` narrows the subject, ``note`` is the actor's own word, ``detail`` what the program adds (counts, a file).
    """

    id: int
    at: datetime
    actor: str
    action: str
    subject: str
    scope: str | None
    note: str | None
    detail: str | None


def note_audit(
    connection: Connection,
    now: datetime,
    actor: str,
    action: str,
    subject: str,
    scope: str | None = None,
    note: str | None = None,
    detail: str | None = None,
) -> None:
    """Note an act in the transaction that performs it, so that neither stands without the other."""
    connection.execute(
        sa.insert(audit).values(
            at=now, actor=actor, action=action, subject=subject, scope=scope, note=note, detail=detail
        )
    )


def audit_page(
    connection: Connection, after: int, *, subjects: Sequence[str] = (), since: datetime | None = None
) -> list[AuditEntry]:
    """The next entries behind the one of id ``after``, oldest first; of these ``subjects`` alone where any are given."""
    query = sa.select(*(audit.c[name] for name in AuditEntry.__dataclass_fields__)).where(audit.c.id > after)
    if subjects:
        query = query.where(audit.c.subject.in_(subjects))
    if since is not None:
        query = query.where(audit.c.at >= since)
    return [AuditEntry(*row) for row in connection.execute(query.order_by(audit.c.id).limit(PAGE))]

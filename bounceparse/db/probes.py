"""The rows of probes (``bounceparse doctor --probe``), which are no reports and never stay."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import deliveries, messages, outbox, outcomes, standing


def forget_probes(connection: Connection, domain: str) -> int:
    """Delete the outcomes about addresses of this domain with all that followed from them; returns how many those were.

    Rows go, which no other act does to outcomes: a probe that stayed would count.
    """
    theirs = outcomes.c.address_key.like(f"%@{domain}")
    keys = sa.select(outcomes.c.report_key).where(theirs)
    found = list(connection.execute(keys).scalars())
    if not found:
        return 0
    connection.execute(sa.delete(messages).where(messages.c.key.in_(found)))
    connection.execute(sa.delete(standing).where(standing.c.subject.like(f"%@{domain}")))
    for table in (outbox, deliveries):
        connection.execute(sa.delete(table).where(table.c.subject.like(f"%@{domain}")))
    connection.execute(sa.delete(outcomes).where(theirs))
    return len(found)

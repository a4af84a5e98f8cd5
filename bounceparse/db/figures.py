"""What is counted for monitoring: totals that only grow, kept in ``state``, and how things stand now.

Totals are brought up to date from the rows that are new since the last time, by their ids: neither recording nor a scrape
pays for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import numbers, set_number
from bounceparse.db.polls import last_polls
from bounceparse.db.tables import alerts, events, health, messages, outcomes, requests
from bounceparse.outcomes import Trust

_PREFIX = "total:"
_RECENT = timedelta(days=1)


class Figure(NamedTuple):
    """One number: what it counts, its labels' values, and the number."""

    name: str
    labels: tuple[str, ...]
    value: float


def add_totals(connection: Connection, figures: Iterable[Figure]) -> None:
    """Add to totals; fractions are kept to the thousandth."""
    known = numbers(connection)
    for one in figures:
        name = _name(one)
        known[name] = known.get(name, 0) + round(one.value * 1000)
        set_number(connection, name, known[name])


def _name(one: Figure) -> str:
    return "\n".join((_PREFIX + one.name, *one.labels))


def count_new(connection: Connection) -> None:
    """Add the messages and outcomes that were recorded since the last time."""
    known = numbers(connection)
    _count(connection, known.get(f"{_PREFIX}messages-id", 0), messages, "messages", (messages.c.account,))
    fault = sa.func.coalesce(outcomes.c.fault, "none")
    _count(connection, known.get(f"{_PREFIX}outcomes-id", 0), outcomes, "outcomes", (outcomes.c.status, fault))


def _count(
    connection: Connection, last: int, table: sa.Table, name: str, labels: Sequence[sa.ColumnElement[str]]
) -> None:
    newest = connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0
    if newest <= last:
        return
    rows = sa.select(*labels, sa.func.count()).where(table.c.id > last, table.c.id <= newest).group_by(*labels)
    add_totals(connection, [Figure(name, tuple(of), number) for *of, number in connection.execute(rows).all()])
    set_number(connection, f"{_PREFIX}{name}-id", newest)


def totals(connection: Connection) -> list[Figure]:
    """All totals."""
    found = []
    for key, value in numbers(connection).items():
        if key.startswith(_PREFIX) and not key.endswith("-id"):
            name, *labels = key.removeprefix(_PREFIX).split("\n")
            found.append(Figure(name, tuple(labels), value / 1000))
    return sorted(found)


def present(connection: Connection, now: datetime) -> list[Figure]:
    """How things stand now."""
    recent = outcomes.c.recorded_at > now - _RECENT
    unmatched = sa.and_(recent, outcomes.c.kind == "delivery", outcomes.c.trust == Trust.UNVERIFIED.value)
    found = [
        Figure("held", (), _number(connection, messages, messages.c.error.is_not(None))),
        Figure("unmatched", (), _number(connection, outcomes, sa.and_(unmatched, outcomes.c.sent_id.is_(None)))),
        Figure("waiting", (), _number(connection, requests, requests.c.state == "pending")),
        Figure("events", (), _number(connection, events, events.c.state == "open")),
    ]
    found += [Figure("success", (name,), at.timestamp()) for name, at in last_polls(connection).items()]
    query = sa.select(alerts.c.kind, alerts.c.level, sa.func.count()).where(alerts.c.ended_at.is_(None))
    for kind, level, number in connection.execute(query.group_by(alerts.c.kind, alerts.c.level)):
        found.append(Figure("alerts", (kind, level), number))
    for stream, level in connection.execute(sa.select(health.c.stream, health.c.level)):
        found.append(Figure("level", (stream,), ("ok", "warn", "stop").index(level)))
    return [*found, *_of_webhooks(connection)]


def _of_webhooks(connection: Connection) -> Iterator[Figure]:
    from bounceparse.db.deliveries import endpoint_states  # a poll does without it

    for one in endpoint_states(connection):
        yield Figure("webhook_waiting", (one.name,), one.waiting)
        yield Figure("webhook_dead", (one.name,), one.dead)
        if one.sent_at is not None:
            yield Figure("webhook_success", (one.name,), one.sent_at.timestamp())


def _number(connection: Connection, table: sa.Table, where: sa.ColumnElement[bool]) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(where)).scalar_one())

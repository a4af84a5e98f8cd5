"""Events on their way to endpoints: taken from the outbox, due, delivered, given up, tried again.

Each endpoint has its place in the outbox, the ``seq`` up to which it has taken what it wants. What it took is a row of
``deliveries`` each, and these are sent in the order of their events: one that failed and waits holds back those behind
it that have the same subject, and no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import execute_many, insert_new
from bounceparse.db.numbers import set_number
from bounceparse.db.outbox import EventKind, enable
from bounceparse.db.tables import deliveries, outbox, state
from bounceparse.db.types import Utc

PLACE = "webhook:"
"""Before an endpoint's name: the ``seq`` up to which it has taken events."""
_DOWN = "webhook-down:"
"""Since when it takes nothing, in seconds since 1970; absent while it takes what is sent."""
_PAUSE = "webhook-pause:"
"""Until when nothing is sent to it."""
_SENT = "webhook-sent:"
"""When it last took an event."""
PAGE = 100
"""Events sent before what became of them is written: so many may be sent twice after a crash."""
_LOOKED_AT = 1000
WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"


@dataclass(frozen=True, slots=True)
class Subscription:
    """Which events an endpoint wants; an empty set means all.

    Attributes:
        name: the endpoint's.
        kinds: what events tell of (:class:`~bounceparse.db.outbox.EventKind`).
        statuses: those of outcomes, and those that suppressions come of; streams have none.
        streams: of the message that an outcome or suppression came of, and of the health; what has none is left out.
    """

    name: str
    kinds: frozenset[EventKind] = frozenset()
    statuses: frozenset[str] = frozenset()
    streams: frozenset[str] = frozenset()

    def wants(self, kind: str, status: str | None, stream: str | None) -> bool:
        """Whether an event is to be sent."""
        return (
            (not self.kinds or kind in self.kinds)
            and (not self.statuses or kind == EventKind.STREAM or status in self.statuses)
            and (not self.streams or stream in self.streams)
        )


class Delivery(NamedTuple):
    """An event that is due: ``attempts`` requests have failed, the first at ``first_at``."""

    id: int
    event_id: str
    subject: str | None
    attempts: int
    first_at: datetime | None
    payload: str


class Attempt(NamedTuple):
    """What became of a request: ``error`` is None where it was taken; without ``next_at`` the event is given up."""

    delivery: Delivery
    at: datetime
    error: str | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """How an endpoint fares.

    Attributes:
        waiting: events that wait to be sent, those in the outbox that nobody has looked at yet included.
        dead: events that were given up.
        since: when the oldest waiting event was made.
        sent_at: when it last took an event; ``down_since`` since when it takes nothing, None while it does.
    """

    name: str
    waiting: int
    dead: int
    since: datetime | None
    sent_at: datetime | None
    down_since: datetime | None


class DeadLetter(NamedTuple):
    """An event that an endpoint would not take, with the last error."""

    id: int
    endpoint: str
    event_id: str
    kind: str
    subject: str | None
    status: str | None
    created_at: datetime
    attempts: int
    error: str | None
    payload: str


# Endpoints


def register(connection: Connection, names: Iterable[str]) -> None:
    """Have events written, and kept for these endpoints from now on; what was before is not for one that is new."""
    seq = enable(connection)
    known = _endpoints(connection)
    for name in names:
        if name not in known:
            set_number(connection, PLACE + name, seq)


def is_registered(connection: Connection, names: Collection[str]) -> bool:
    """Whether :func:`register` would change nothing."""
    wanted = {"webhooks", *(PLACE + name for name in names)}
    found = connection.execute(sa.select(state.c.name).where(state.c.name.in_(wanted))).scalars()
    return wanted <= set(found)


def _endpoints(connection: Connection) -> dict[str, int]:
    """The endpoints that ever were, with their places."""
    rows = connection.execute(sa.select(state).where(state.c.name.startswith(PLACE)))
    return {row.name.removeprefix(PLACE): row.value for row in rows}


def forget(connection: Connection, name: str) -> int:
    """Drop an endpoint with all that waits for it; returns how many events that were."""
    theirs = [kind + name for kind in (PLACE, _DOWN, _PAUSE, _SENT)]
    connection.execute(sa.delete(state).where(state.c.name.in_(theirs)))
    return connection.execute(sa.delete(deliveries).where(deliveries.c.endpoint == name)).rowcount


# In the very words of the partial indexes.
_COUNT_WAITING = sa.text(
    "SELECT endpoint, count(*), min(outbox_id) FROM bounceparse_deliveries WHERE state = 'waiting' GROUP BY endpoint"
)
_COUNT_DEAD = sa.text("SELECT endpoint, count(*) FROM bounceparse_deliveries WHERE state = 'dead' GROUP BY endpoint")


def endpoint_states(connection: Connection) -> list[EndpointState]:
    """How the endpoints fare, by name."""
    values = {row.name: row.value for row in connection.execute(sa.select(state))}
    waits = {row[0]: (row[1], row[2]) for row in connection.execute(_COUNT_WAITING)}
    given_up = {row[0]: row[1] for row in connection.execute(_COUNT_DEAD)}
    found = []
    for name, place in sorted(_endpoints(connection).items()):
        waiting, oldest = waits.get(name, (0, None))
        ahead = sa.select(sa.func.count(), sa.func.min(outbox.c.id)).where(outbox.c.id > place)
        untaken, first = connection.execute(ahead).one()
        since = sa.select(outbox.c.created_at).where(outbox.c.id == (oldest or first))
        found.append(
            EndpointState(
                name,
                waiting + untaken,
                given_up.get(name, 0),
                connection.execute(since).scalar(),
                _time(values.get(_SENT + name)),
                _time(values.get(_DOWN + name)),
            )
        )
    return found


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


# Taking and sending

_WORK = sa.text(
    "SELECT (SELECT value FROM bounceparse_state WHERE name = :pause),"
    " (SELECT max(id) FROM bounceparse_outbox) > (SELECT value FROM bounceparse_state WHERE name = :place),"
    " EXISTS (SELECT 1 FROM bounceparse_deliveries WHERE endpoint = :name AND state = 'waiting' AND next_at <= :now)"
).bindparams(sa.bindparam("now", type_=Utc()))


def has_work(connection: Connection, name: str, now: datetime) -> bool:
    """Whether anything may be sent to an endpoint now: one statement, asked often."""
    given = {"pause": _PAUSE + name, "place": PLACE + name, "name": name, "now": now}
    pause, untaken, due = connection.execute(_WORK, given).one()
    return (pause is None or pause <= now.timestamp()) and bool(untaken or due)


def has_untaken(connection: Connection, name: str) -> bool:
    """Whether there are events in the outbox that an endpoint has not looked at."""
    place = sa.select(state.c.value).where(state.c.name == PLACE + name).scalar_subquery()
    # whose plan does not depend on how many the planner expects
    return bool(connection.execute(sa.select(sa.select(sa.func.max(outbox.c.id)).scalar_subquery() > place)).scalar())


def take(connection: Connection, wanted: Subscription, now: datetime) -> None:
    """Take the next events from the outbox, those that are wanted, a page of them at most."""
    place = connection.execute(sa.select(state.c.value).where(state.c.name == PLACE + wanted.name)).scalar_one()
    columns = [outbox.c[name] for name in ("id", "kind", "subject", "status", "stream")]
    query = sa.select(*columns).where(outbox.c.id > place).order_by(outbox.c.id).limit(_LOOKED_AT)
    new: list[dict[str, Any]] = []
    for row in connection.execute(query).all():
        if wanted.wants(row.kind, row.status, row.stream):
            fixed = {"endpoint": wanted.name, "state": WAITING, "attempts": 0, "next_at": now}
            new.append({"outbox_id": row.id, "subject": row.subject, **fixed})
        place = row.id
        if len(new) == PAGE:
            break
    insert_new(connection, deliveries, new)
    set_number(connection, PLACE + wanted.name, place)


_BEFORE = deliveries.alias("before")
_HELD_BACK = sa.exists().where(
    _BEFORE.c.endpoint == deliveries.c.endpoint,
    sa.literal_column("before.state = 'waiting'"),
    _BEFORE.c.subject == deliveries.c.subject,
    _BEFORE.c.outbox_id < deliveries.c.outbox_id,
    _BEFORE.c.next_at > sa.bindparam("now", type_=Utc()),
)
_WAITS = sa.and_(
    deliveries.c.endpoint == sa.bindparam("name"), sa.literal_column("bounceparse_deliveries.state = 'waiting'")
)
_DUE = (
    sa.select(
        deliveries.c.id,
        outbox.c.event_id,
        deliveries.c.subject,
        deliveries.c.attempts,
        deliveries.c.first_at,
        outbox.c.payload,
    )
    .select_from(deliveries.join(outbox, outbox.c.id == deliveries.c.outbox_id))
    .where(_WAITS, deliveries.c.next_at <= sa.bindparam("now", type_=Utc()), ~_HELD_BACK)
    .order_by(deliveries.c.outbox_id)
    .limit(PAGE)
)


def due(connection: Connection, name: str, now: datetime) -> list[Delivery]:
    """The next events to send, in their order; of one subject either all that come first, or none."""
    return [Delivery(*row) for row in connection.execute(_DUE, {"name": name, "now": now})]


def _bind(name: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"b_{name}", type_=deliveries.c[name].type)


_NOTED = ("state", "attempts", "next_at", "first_at", "delivered_at", "error")
_NOTE = sa.update(deliveries).where(deliveries.c.id == _bind("id")).values({name: _bind(name) for name in _NOTED})


def note_attempts(connection: Connection, name: str, attempts: Sequence[Attempt]) -> None:
    """Write what became of requests. An endpoint that took one is not down: all that waits for it is due at once."""
    if not attempts:
        return
    execute_many(connection, _NOTE, [_noted(one) for one in attempts])
    taken = [one.at for one in attempts if one.error is None]
    if taken:
        now = max(taken)
        set_number(connection, _SENT + name, int(now.timestamp()))
        if connection.execute(sa.delete(state).where(state.c.name == _DOWN + name)).rowcount:
            connection.execute(sa.delete(state).where(state.c.name == _PAUSE + name))
            later = sa.update(deliveries).where(_WAITS, deliveries.c.next_at > now)
            connection.execute(later.values(next_at=now), {"name": name})


def _noted(one: Attempt) -> dict[str, Any]:
    delivered = one.error is None
    return {
        "b_id": one.delivery.id,
        "b_state": DELIVERED if delivered else WAITING if one.next_at else DEAD,
        "b_attempts": one.delivery.attempts + (not delivered),
        "b_next_at": one.next_at or one.at,
        "b_first_at": one.delivery.first_at or one.at,
        "b_delivered_at": one.at if delivered else None,
        "b_error": one.error,
    }


def pause(connection: Connection, name: str, now: datetime, until: datetime, give_up: timedelta, error: str) -> int:
    """Note that an endpoint takes nothing, and send it nothing until then; returns how many events were given up.

    What is due counts as tried, since it would have failed as well.
    """
    down = sa.select(state.c.value).where(state.c.name == _DOWN + name)
    if connection.execute(down).first() is None:
        set_number(connection, _DOWN + name, int(now.timestamp()))
    set_number(connection, _PAUSE + name, int(until.timestamp()))
    due_now = sa.and_(_WAITS, deliveries.c.next_at <= now)
    first = sa.update(deliveries).where(due_now, deliveries.c.first_at.is_(None)).values(first_at=now)
    connection.execute(first, {"name": name})
    old = sa.update(deliveries).where(due_now, deliveries.c.first_at <= now - give_up)
    return connection.execute(old.values(state=DEAD, error=error), {"name": name}).rowcount


def down_since(connection: Connection, name: str) -> datetime | None:
    """Since when an endpoint takes nothing."""
    query = sa.select(state.c.value).where(state.c.name == _DOWN + name)
    return _time(connection.execute(query).scalar())


# Dead letters


def dead_letters(connection: Connection, after: int, name: str | None = None) -> list[DeadLetter]:
    """The next events that were given up, behind the one of this id, oldest first."""
    columns = [
        (outbox if column in ("event_id", "kind", "status", "created_at", "payload") else deliveries).c[column]
        for column in DeadLetter._fields
    ]
    query = (
        sa.select(*columns)
        .select_from(deliveries.join(outbox, outbox.c.id == deliveries.c.outbox_id))
        .where(sa.literal_column("bounceparse_deliveries.state = 'dead'"), deliveries.c.id > after)
        .order_by(deliveries.c.id)
        .limit(_LOOKED_AT)
    )
    if name is not None:
        query = query.where(deliveries.c.endpoint == name)
    return [DeadLetter(*row) for row in connection.execute(query)]


def replay(connection: Connection, name: str, now: datetime, ids: Collection[int] | None = None) -> int:
    """Have events that were given up sent again, all or these; returns how many."""
    dead = [deliveries.c.endpoint == name, sa.literal_column("bounceparse_deliveries.state = 'dead'")]
    if ids is not None:
        dead.append(deliveries.c.id.in_(ids))
    again = sa.update(deliveries).where(*dead)
    return connection.execute(again.values(state=WAITING, attempts=0, first_at=None, next_at=now)).rowcount

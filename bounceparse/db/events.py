"""What becomes of mass events: they are released in time, or a person decides; events of the past can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.audit import note_audit
from bounceparse.db.engine import chunks
from bounceparse.db.judging import BY_POLICY, judge_subjects
from bounceparse.db.mass_events import DISCARDED, OPEN, RELEASED, forgiven_until, write_each
from bounceparse.db.tables import events, standing
from bounceparse.errors import ConfigError
from bounceparse.policy import Policy

PAGE = 1000


@dataclass(frozen=True, slots=True)
class MassEvent:
    """Many suppressions of one provider for one reason within hours.

    Attributes:
        state: ``open`` (the addresses are paused), ``released`` (they are suppressed) or ``discarded`` (they are not).
        began_at, last_at: when the first and the last of the suppressions began.
        release_at: when it is released if nobody decides.
        count: how many suppressions belong to it.
        decided_at, decided_by, note: who decided what it came to, and why; ``policy`` when nobody did in time.
    """

    id: int
    provider: str
    reason: str
    state: str
    began_at: datetime
    last_at: datetime
    release_at: datetime
    count: int
    decided_at: datetime | None
    decided_by: str | None
    note: str | None


_COLUMNS = [events.c[name] for name in MassEvent.__dataclass_fields__]


def list_events(connection: Connection, after: int, *, undecided: bool = False) -> list[MassEvent]:
    """Up to :data:`PAGE` events with an id above ``after``, oldest first; with ``undecided`` those alone."""
    query = sa.select(*_COLUMNS).where(events.c.id > after).order_by(events.c.id).limit(PAGE)
    if undecided:
        query = query.where(events.c.state == OPEN)
    return [MassEvent(*row) for row in connection.execute(query)]


def release_expired(connection: Connection, now: datetime) -> int:
    """Release the events that nobody decided in time; returns how many.

    Their addresses have been suppressed since then in any case: a pause that is over is none.
    """
    query = sa.select(events.c.id).where(events.c.state == OPEN, events.c.release_at <= now)
    found = connection.execute(query.order_by(events.c.id)).scalars().all()
    for event in found:
        _close(connection, event, RELEASED, now, BY_POLICY, None)
        _release(connection, event)
    return len(found)


def decide(
    connection: Connection,
    event_id: int,
    policy: Policy,
    now: datetime,
    *,
    discard: bool,
    by: str,
    note: str | None,
) -> MassEvent:
    """Suppress the addresses of an event now, or ``discard`` it: what happened in it never counts again.

    A released event may still be discarded. Raises :class:`ConfigError` when there is no such event, or when that is what
    it is already.
    """
    row = connection.execute(sa.select(*_COLUMNS).where(events.c.id == event_id)).first()
    if row is None:
        raise ConfigError(f"there is no event {event_id}: `bounceparse events list` shows them")
    event = MassEvent(*row)
    state = DISCARDED if discard else RELEASED
    if event.state == state or event.state == DISCARDED:
        raise ConfigError(f"event {event_id} is {event.state} already")
    _close(connection, event_id, state, now, by, note)
    if discard:
        lifted = _discard(connection, event, policy, now, by, note)
        told = f"{lifted} suppressions lifted"
    else:
        told = f"{_release(connection, event_id)} addresses suppressed"
    action = "discard event" if discard else "release event"
    about = f"{event.provider} {event.reason}: {told}"
    note_audit(connection, now, by, action, str(event_id), note=note, detail=about)
    return MassEvent(*connection.execute(sa.select(*_COLUMNS).where(events.c.id == event_id)).one())


def _close(connection: Connection, event_id: int, state: str, now: datetime, by: str, note: str | None) -> None:
    decided = {"state": state, "decided_at": now, "decided_by": by, "note": note}
    connection.execute(sa.update(events).where(events.c.id == event_id).values(**decided))


def _of_event(event_id: int) -> sa.Select[Any]:
    stands = sa.select(standing.c.id, standing.c.subject).where(standing.c.event_id == event_id)
    return stands.where(standing.c.lifted_at.is_(None)).order_by(standing.c.id)


def _release(connection: Connection, event_id: int) -> int:
    paused = _of_event(event_id).where(standing.c.paused_until.is_not(None))
    ids = connection.execute(paused).scalars().all()
    for part in chunks(ids):
        write_each(connection, part, {"paused_until": None})
    return len(ids)


def _discard(connection: Connection, event: MassEvent, policy: Policy, now: datetime, by: str, note: str | None) -> int:
    rows = connection.execute(_of_event(event.id)).all()
    return _forgive(connection, rows, forgiven_until(event.last_at, now), policy, now, by, note)


def undo_past(
    connection: Connection,
    policy: Policy,
    now: datetime,
    *,
    reason: str,
    provider: str | None,
    since: datetime,
    until: datetime,
    by: str,
    note: str | None,
    dry_run: bool,
) -> list[str]:
    """Lift what the policy suppressed for ``reason`` at ``provider`` between two times; returns the subjects.

    What happened up to ``until`` never counts again for them. One that failed after that too stays suppressed if that
    alone is enough, and is returned all the same.
    """
    query = (
        sa.select(standing.c.id, standing.c.subject)
        .where(standing.c.reason == reason, standing.c.since.between(since, until))
        .where(standing.c.origin == BY_POLICY, standing.c.lifted_at.is_(None))
        .order_by(standing.c.id)
    )
    if provider is not None:
        query = query.where(standing.c.provider == provider)
    rows = connection.execute(query).all()
    if rows and not dry_run:
        _forgive(connection, rows, min(until, now), policy, now, by, note)
        told = f"{len(rows)} suppressions that began from {since.isoformat()} to {until.isoformat()}"
        note_audit(connection, now, by, "lift", f"{provider or '*'} {reason}", note=note, detail=told)
    return [row.subject for row in rows]


def _forgive(
    connection: Connection,
    rows: Sequence[Any],
    forgiven: datetime,
    policy: Policy,
    now: datetime,
    by: str,
    note: str | None,
) -> int:
    """Lift these suppressions, and judge their subjects by what happened later."""
    values: dict[str, Any] = {"lifted_at": now, "lifted_by": by, "forgiven_at": forgiven, "paused_until": None}
    if note is not None:
        values["note"] = note
    for part in chunks(rows):
        write_each(connection, [row.id for row in part], values)
    judge_subjects(connection, {row.subject for row in rows}, policy, now)
    return len(rows)

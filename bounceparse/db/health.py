"""The health of streams: looked at in one transaction that reads, written in a short one, asked for in one row.

Looking may take a second and must not keep writers waiting; so a person may stop or release a stream in between. What
is written heeds that: rows are read anew, and a stream released since the look is judged the next time.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.addresses import domain_key
from bounceparse.db.alerts import sync_alerts
from bounceparse.db.audit import note_audit
from bounceparse.db.backscatter import FloodLook, look_for_flood, note_look
from bounceparse.db.bulk import execute_many, insert_new
from bounceparse.db.outbox import tell_streams
from bounceparse.db.polls import await_polls, awaited_since, last_polls
from bounceparse.db.rates import cohorts
from bounceparse.db.requests import count_waiting
from bounceparse.db.tables import alerts, events, health, outcomes, sent, streams
from bounceparse.errors import ConfigError
from bounceparse.health import (
    AUTHENTICATION_REASONS,
    REVIEW_DEADLINE,
    WINDOW,
    Alert,
    Cohort,
    HealthSettings,
    Level,
    Verdict,
    assess,
    authentication_alert,
    mass_event_alert,
    review_text,
    silence_alert,
    stream_alert,
    stream_name,
    unpolled_alert,
)
from bounceparse.outcomes import Status, Trust

_STREAM_KINDS = ("stream-warn", "stream-stop")
_KINDS = (*_STREAM_KINDS, "silent-mailbox", "authentication", "unpolled", "mass-event", "review")
"""What every look looks for; for a flood of backscatter it looks once an hour."""


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """How a stream does.

    Attributes:
        name: "" for mail without a stream. ``sender`` and ``category`` as in :class:`~bounceparse.db.queries.Stream`.
        cohort: what it sent in the last 24 hours, with what became of it.
        level, why, since: how it does since when; ``checked_at`` is when it was judged, None before the first time.
        released_at, released_by, note: when and by whom it was last released, and what was noted with that or a stop.
    """

    name: str
    sender: str
    category: str
    cohort: Cohort
    level: Level = Level.OK
    why: str = ""
    since: datetime | None = None
    checked_at: datetime | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    note: str | None = None


class Look(NamedTuple):
    """What was found: the cohort that each stream is judged by, when each was last released, and what else is wrong."""

    judged: Mapping[str, Cohort]
    released: Mapping[str, datetime | None]
    alerts: tuple[Alert, ...]
    flood: FloodLook | None


# Looking


def look(connection: Connection, settings: HealthSettings, now: datetime) -> Look:
    """Look at all that health is judged by."""
    since = now - WINDOW
    day = cohorts(connection, "stream", since, delivered=False)
    rows = connection.execute(sa.select(health.c.stream, health.c.released_at))
    released: dict[str, datetime | None] = {row.stream: row.released_at for row in rows}
    judged = dict(day)
    for stream, at in released.items():
        if at is not None and at > since and stream in day:  # what came before its release never stops it again
            named = sa.func.coalesce(sent.c.stream, "") == stream
            judged[stream] = cohorts(connection, "stream", at, named, delivered=False).get(stream, Cohort())
    flood = look_for_flood(connection, now)
    found = [*_alerts_of_reports(connection, day, settings, since), *_alerts_of_what_waits(connection, settings, now)]
    if flood is not None and flood.alert:
        found.append(Alert("backscatter", "", Level.WARN, flood.alert))
    return Look(judged, released, tuple(found), flood)


_AUTHENTICATION_FAILED = sa.and_(
    outcomes.c.status == Status.SPAMBOUNCE.value,
    outcomes.c.reason.in_(sorted(AUTHENTICATION_REASONS)),
    outcomes.c.trust.in_((Trust.VERIFIED.value, Trust.CORRELATED.value)),  # others forge our domain, and shall fail
    ~outcomes.c.is_copy,
)
_REPORTS = sa.select(
    outcomes.c.mailbox,
    sa.case((_AUTHENTICATION_FAILED, outcomes.c.from_domain)).label("failed"),
    sa.case((_AUTHENTICATION_FAILED, outcomes.c.reason)).label("why"),
    sa.func.count().label("count"),
).group_by("mailbox", "failed", "why")


def _alerts_of_reports(
    connection: Connection, day: Mapping[str, Cohort], settings: HealthSettings, since: datetime
) -> Iterator[Alert]:
    """From domains whose authentication fails, and streams whose reports come nowhere."""
    heard: set[str] = set()
    failed: dict[str, dict[str, int]] = defaultdict(dict)
    for mailbox, domain, why, count in connection.execute(_REPORTS.where(outcomes.c.recorded_at >= since)):
        heard.add(mailbox)
        if domain:
            failed[domain][why] = failed[domain].get(why, 0) + count
    if any(cohort.setup for cohort in day.values()):  # seldom, and it looks at all mail of the day
        for domain, why, count in _told_by_log(connection, since):
            failed[domain][why] = max(failed[domain].get(why, 0), count)  # the same event may have been reported too
    for domain, reasons in sorted(failed.items()):
        yield authentication_alert(domain, sum(reasons.values()), ", ".join(sorted(reasons)))
    for stream, cohort in sorted(day.items()):
        mailbox = settings.returns_to.get(stream)
        if cohort.injected >= settings.silent_sent and not (mailbox in heard if mailbox else heard):
            yield silence_alert(stream, cohort.injected, mailbox)


def _told_by_log(connection: Connection, since: datetime) -> Iterator[tuple[str, str, int]]:
    """Failures of authentication among the mail of the day, told by reports or by the mail server's log alone."""
    columns = (sent.c.from_address, sent.c.reason)
    failed = (
        sent.c.sent_at >= since,
        sent.c.status == Status.SPAMBOUNCE.value,
        sent.c.reason.in_(sorted(AUTHENTICATION_REASONS)),
        sent.c.from_address.is_not(None),
    )
    found: Counter[tuple[str, str]] = Counter()
    for address, why, count in connection.execute(
        sa.select(*columns, sa.func.count()).where(*failed).group_by(*columns)
    ):
        found[domain_key(address.rpartition("@")[2]), why] += count
    for (domain, why), count in found.items():
        yield domain, why, count


def _alerts_of_what_waits(connection: Connection, settings: HealthSettings, now: datetime) -> Iterator[Alert]:
    """Mailboxes that no poll reads, requests that nobody decides, mass events that are open."""
    polled = last_polls(connection)
    awaited = awaited_since(connection)
    for mailbox in settings.mailboxes:
        last = polled.get(mailbox)
        if (last or awaited.get(mailbox, now)) < now - settings.unpolled:
            yield unpolled_alert(mailbox, last)
    if late := count_waiting(connection, now - REVIEW_DEADLINE):
        yield Alert("review", "", Level.WARN, review_text(late))
    columns = (events.c.id, events.c.provider, events.c.reason, events.c.count)
    for row in connection.execute(sa.select(*columns).where(sa.text("state = 'open'"))):
        yield mass_event_alert(*row)


# Judging


def judge(connection: Connection, found: Look, settings: HealthSettings, now: datetime) -> None:
    """Write how the streams do, and which alerts begin and end."""
    rows = {row.stream: row for row in connection.execute(sa.select(health))}
    new: list[dict[str, object]] = []
    changed: list[dict[str, object]] = []
    wrong = list(found.alerts)
    moved = []
    for stream in sorted(found.judged.keys() | rows.keys()):
        row = rows.get(stream)
        if row is not None and row.released_at != found.released.get(stream):
            continue
        cohort = found.judged.get(stream, Cohort())
        over = json.loads(row.numbers).get("over", ()) if row is not None else ()
        if row is not None and row.level == Level.STOP:  # until a person releases it
            verdict = Verdict(Level.STOP, row.why, tuple(over))
        else:
            verdict = assess(cohort, settings.limits_of(stream), frozenset(over))
        since = row.since if row is not None and row.level == verdict.level else now
        if verdict.level != (Level.OK if row is None else row.level):
            moved.append(stream)
        values = _values(stream, verdict, cohort, since=since, now=now)
        (new if row is None else changed).append(values)
        if alert := stream_alert(stream, verdict):
            wrong.append(alert)
    await_polls(connection, settings.mailboxes, now)
    insert_new(connection, health, [{**values, **_NEVER_RELEASED} for values in new])
    if changed:
        execute_many(connection, _UPDATE, [{f"b_{name}": value for name, value in row.items()} for row in changed])
    tell_streams(connection, moved, now)
    looked = list(_KINDS)
    if found.flood is not None:
        note_look(connection, found.flood)
        looked.append("backscatter")
    sync_alerts(connection, wrong, looked, now)


def _values(stream: str, verdict: Verdict, cohort: Cohort, *, since: datetime, now: datetime) -> dict[str, object]:
    numbers = {"injected": cohort.injected, "reached": cohort.reached}
    numbers |= {name: count for name, (count, _) in cohort.measures().items()}
    return {
        "stream": stream,
        "level": verdict.level.value,
        "why": verdict.why,
        "since": since,
        "checked_at": now,
        "numbers": json.dumps({**numbers, "over": verdict.over}),
    }


_NEVER_RELEASED = {"released_at": None, "released_by": None, "note": None}
_JUDGED = ("level", "why", "since", "checked_at", "numbers")
_UPDATE = (
    sa.update(health)
    .where(health.c.stream == sa.bindparam("b_stream"))
    .values({name: sa.bindparam(f"b_{name}", type_=health.c[name].type) for name in _JUDGED})
)


# What persons decide


def stop(connection: Connection, stream: str, now: datetime, *, by: str, note: str) -> None:
    """Stop a stream by hand; one that is stopped already is a ``ConfigError``."""
    before = _level(connection, stream)
    if before is not None and before[0] is Level.STOP:
        raise ConfigError(f"{stream_name(stream)} is stopped already: {before[1]}")
    verdict = Verdict(Level.STOP, f"stopped by {by}: {note}")
    values = _values(stream, verdict, Cohort(), since=now, now=now) | {"note": note}
    if before is None:
        insert_new(connection, health, [{**_NEVER_RELEASED, **values}])
    else:
        connection.execute(sa.update(health).where(health.c.stream == stream).values(**values))
    tell_streams(connection, [stream], now)
    note_audit(connection, now, by, "stop", stream, scope="stream", note=note)
    alert = stream_alert(stream, verdict)
    assert alert is not None
    sync_alerts(connection, [alert], (), now)
    _end(connection, "stream-warn", stream, now)


def release(connection: Connection, stream: str, now: datetime, *, by: str, note: str) -> None:
    """Let a stopped stream go on; what it sent until now never stops it again. Not stopped: ``ConfigError``."""
    before = _level(connection, stream)
    if before is None or before[0] is not Level.STOP:
        raise ConfigError(f"{stream_name(stream)} is not stopped: `bounceparse streams list` shows which are")
    values = _values(stream, Verdict(Level.OK), Cohort(), since=now, now=now)
    released = {"released_at": now, "released_by": by, "note": note}
    connection.execute(sa.update(health).where(health.c.stream == stream).values(**values, **released))
    tell_streams(connection, [stream], now)
    note_audit(connection, now, by, "release", stream, scope="stream", note=note, detail=before[1])
    _end(connection, "stream-stop", stream, now)


def _level(connection: Connection, stream: str) -> tuple[Level, str] | None:
    """A stream's level and why, None before it is judged; raises ``ConfigError`` for one that nobody has heard of."""
    row = connection.execute(sa.select(health.c.level, health.c.why).where(health.c.stream == stream)).first()
    known = sa.select(streams.c.name).where(streams.c.name == stream)
    if row is None and stream and connection.execute(known).first() is None:
        raise ConfigError(f"no stream {stream!r}: `bounceparse streams list` shows them")
    return None if row is None else (Level(row.level), row.why)


def _end(connection: Connection, kind: str, subject: str, now: datetime) -> None:
    same = (alerts.c.kind == kind, alerts.c.subject == subject, alerts.c.ended_at.is_(None))
    connection.execute(sa.update(alerts).where(*same).values(ended_at=now))


# Asking


def may_send(connection: Connection, stream: str) -> bool:
    """Whether a stream is not stopped; one that was never judged may send."""
    return connection.execute(_LEVEL, {"stream": stream}).scalar() != Level.STOP


_LEVEL = sa.select(health.c.level).where(health.c.stream == sa.bindparam("stream"))


class StreamLevel(NamedTuple):
    """How a stream does, as :class:`StreamHealth` has it, without what it sent."""

    name: str
    sender: str
    category: str
    level: Level = Level.OK
    why: str = ""
    since: datetime | None = None
    checked_at: datetime | None = None
    released_at: datetime | None = None
    released_by: str | None = None
    note: str | None = None


def stream_levels(connection: Connection) -> list[StreamLevel]:
    """All streams by name that are known or were judged, and how each does: a row each, no mail is counted."""
    known = {row.name: (row.sender, row.category) for row in connection.execute(sa.select(streams))}
    judged = {row.stream: row for row in connection.execute(sa.select(health))}
    found = []
    for name in sorted(known.keys() | judged.keys()):
        row = judged.get(name)
        values = {} if row is None else {one: getattr(row, one) for one in StreamLevel._fields[4:]}
        level = Level.OK if row is None else Level(row.level)
        found.append(StreamLevel(name, *known.get(name, ("", "marketing")), level, **values))
    return found


def stream_healths(connection: Connection, now: datetime) -> list[StreamHealth]:
    """All streams by name, with what each sent in the last 24 hours and how it does."""
    day = cohorts(connection, "stream", now - WINDOW)
    known = {row.name: (row.sender, row.category) for row in connection.execute(sa.select(streams))}
    judged = {row.stream: row for row in connection.execute(sa.select(health))}
    names = ("why", "since", "checked_at", "released_at", "released_by", "note")
    found = []
    for name in sorted(known.keys() | judged.keys() | day.keys()):
        row = judged.get(name)
        values = {} if row is None else {"level": Level(row.level), **{one: getattr(row, one) for one in names}}
        sender, category = known.get(name, ("", "marketing"))
        found.append(StreamHealth(name, sender, category, day.get(name, Cohort()), **values))
    return found

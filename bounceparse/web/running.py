"""How the sending goes: streams and their stops, statistics, health and metrics."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import PlainTextResponse

from bounceparse.db.health import StreamHealth
from bounceparse.health import Level
from bounceparse.metrics import CONTENT_TYPE, render
from bounceparse.web.guard import Caller, Reader, Writer
from bounceparse.web.models import AlertOut, HealthOut, Moment, StatsOut, StreamNote, StreamOut

router = APIRouter()
_STREAM_KINDS = ("stream-warn", "stream-stop", "silent-mailbox")
_RATED = ("stream", "provider", "domain", "day")


@router.get("/v1/streams", tags=["streams"])
def streams(caller: Reader) -> list[StreamOut]:
    """The streams: how each does as last judged, what it sent in 24 hours, and the rates of that."""
    return [_stream(one) for one in _healths(caller)]


@router.post("/v1/streams/stop", tags=["streams"])
def stop(caller: Writer, wanted: StreamNote) -> StreamOut:
    """Stop a stream until it is released: 409 where it is stopped already."""
    caller.own_stream(wanted.stream)
    caller.store.stop_stream(wanted.stream, by=caller.name, note=wanted.note)
    return _one(caller, wanted.stream)


@router.post("/v1/streams/release", tags=["streams"])
def release(caller: Writer, wanted: StreamNote) -> StreamOut:
    """Let a stopped stream go on; what it sent until now never stops it again. 409 where it is not stopped."""
    caller.own_stream(wanted.stream)
    caller.store.release_stream(wanted.stream, by=caller.name, note=wanted.note)
    return _one(caller, wanted.stream)


@router.get("/v1/stats", tags=["stats"])
def stats(
    caller: Reader,
    by: Literal["stream", "domain", "provider", "day", "reason", "status", "mailbox"] = "reason",
    since: Annotated[Moment | None, Query(description="Only what happened, or was sent, at or after it.")] = None,
) -> list[StatsOut]:
    """Outcomes by group, the largest first; by stream, domain, provider and day also what was sent and its rates."""
    told = {one.group or "": one for one in caller.store.stats_of(by, since, sender=caller.sender)}
    sent = caller.store.rates_of(by, since, sender=caller.sender) if by in _RATED else {}
    names = [*sent, *(name for name in told if name not in sent)]
    rows = []
    for name in names:
        counted, cohort = told.get(name), sent.get(name)
        rows.append(
            StatsOut(
                group=name or None,
                total=counted.total if counted else 0,
                statuses=dict(counted.statuses) if counted else {},
                sent=cohort.to_json() if cohort else None,
                rates=cohort.rates() if cohort else None,
            )
        )
    return sorted(rows, key=lambda row: (-(row.sent or {}).get("injected", 0), -row.total, row.group or ""))


@router.get("/v1/health", tags=["health"])
def health(caller: Reader) -> HealthOut:
    """How all is: the worst level, what a person should know, and when the mailboxes were last polled."""
    found = caller.store.health()
    if caller.sender is None:
        alerts = [one.alert for one in found.alerts]
        return HealthOut(
            level=found.level, alerts=[AlertOut.model_validate(one) for one in alerts], polls=caller.store.last_polls()
        )
    own = {one.name: one for one in found.streams if one.sender == caller.sender}
    alerts = [one.alert for one in found.alerts if one.alert.kind in _STREAM_KINDS and one.alert.subject in own]
    levels = [one.level for one in own.values()] + [one.level for one in alerts]
    worst = max(levels, key=lambda level: level.rank, default=Level.OK)
    return HealthOut(level=worst, alerts=[AlertOut.model_validate(one) for one in alerts], polls={})


@router.get(
    "/metrics",
    tags=["health"],
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(caller: Reader) -> PlainTextResponse:
    """The numbers for Prometheus, which takes the token as `authorization`."""
    caller.for_all()
    return PlainTextResponse(render(caller.store.figures()), media_type=CONTENT_TYPE)


def _healths(caller: Caller) -> list[StreamHealth]:
    found = caller.store.health().streams
    return [one for one in found if caller.sender is None or one.sender == caller.sender]


def _one(caller: Caller, name: str) -> StreamOut:
    for one in _healths(caller):
        if one.name == name:
            return _stream(one)
    raise HTTPException(404, "there is no such stream")


def _stream(one: StreamHealth) -> StreamOut:
    values: dict[str, Any] = {field.name: getattr(one, field.name) for field in fields(one) if field.name != "cohort"}
    return StreamOut(
        **values, may_send=one.level is not Level.STOP, sent=one.cohort.to_json(), rates=one.cohort.rates()
    )

"""What was recorded: the log with its filters and its export, one outcome, and the trail of a message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

from starlette.responses import Response, StreamingResponse

from bounceparse.db.panel import Wanted
from bounceparse.db.rows import RecordedOutcome
from bounceparse.outcomes import REASONS, Status
from bounceparse.web.panel.visit import Page, Refused, Visit, redirect
from bounceparse.web.records import as_csv, as_lines

PAGE = 50
_TEXTS = ("status", "reason", "stream", "provider", "mailbox", "address", "customer")


def log(visit: Visit) -> Response:
    """A page of the log, newest first."""
    wanted, asked = _wanted(visit)
    before = visit.query.get("before", "")
    number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
    streams, mailboxes = visit.store.log_choices(sender=visit.sender)
    page = visit.store.log(wanted, before=number, limit=PAGE, sender=visit.sender)
    return visit.page(
        "log.html",
        page=page,
        asked=asked,
        first=number is None,
        reasons=sorted(REASONS),
        streams=streams,
        mailboxes=mailboxes,
    )


def export(visit: Visit) -> Response:
    """All of the log that these filters leave, oldest first, as CSV or JSON lines."""
    wanted, _ = _wanted(visit)
    kind = "jsonl" if visit.query.get("format") == "jsonl" else "csv"
    rows: Iterator[RecordedOutcome] = visit.store.export_log(wanted, sender=visit.sender)
    name = f"outcomes-{datetime.now(UTC):%Y%m%d-%H%M}.{kind}"
    content, media = (
        (as_csv(rows), "text/csv; charset=utf-8") if kind == "csv" else (as_lines(rows), "application/x-ndjson")
    )
    return StreamingResponse(
        content, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )


def outcome(visit: Visit) -> Response:
    """All that is known of one outcome."""
    number = visit.query.get("id", "")
    known = number.isascii() and number.isdigit() and len(number) < 19
    found = visit.store.outcome(int(number), sender=visit.sender) if known else None
    if found is None:
        raise Refused(404, "There is no such outcome.")
    plain = {one.name: getattr(found.outcome, one.name) for one in fields(found.outcome) if one.name != "evidence"}
    return visit.page("outcome.html", row=found, plain=plain)


def message(visit: Visit) -> Response:
    """The trail of a message: what was sent to whom, and what came back."""
    asked = visit.query.get("id", "").strip()[:1000]
    if not asked:
        return redirect("/")
    sent, told = visit.store.trail(asked, sender=visit.sender)
    return visit.page("message.html", asked=asked.strip("<>"), sent=sent, told=told)


def _wanted(visit: Visit) -> tuple[Wanted, dict[str, str]]:
    """The filters of the query, and the same as text for the form."""
    asked = {name: visit.query.get(name, "").strip()[:1000] for name in (*_TEXTS, "since", "until")}
    if asked["status"] not in list(Status):
        asked["status"] = ""
    values = {name: asked[name] or None for name in _TEXTS}
    until = _day(asked["until"])
    return Wanted(**values, since=_day(asked["since"]), until=until and until + timedelta(days=1)), asked


def _day(text: str) -> datetime | None:
    """The begin of a day (UTC); None where none is given."""
    if not text:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(422, "This is no day: write it as 2026-01-31.") from None


PAGES = (
    Page("/log", log),
    Page("/log/export", export),
    Page("/outcome", outcome),
    Page("/message", message),
)

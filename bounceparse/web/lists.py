"""Suppressions: list, export, import and bulk check."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool

from bounceparse.cli.list_items import read_items
from bounceparse.cli.provider_lists import COLUMNS, Entry, own_cells, own_row, read_entry
from bounceparse.db.api_store import own_scopes
from bounceparse.db.types import storable
from bounceparse.errors import ConfigError
from bounceparse.policy import Suppression
from bounceparse.web.guard import Caller, Reader, Writer
from bounceparse.web.models import Check, Checked, Cursor, Imported, Scope, Subject, SuppressionOut, SuppressionPage

router = APIRouter(prefix="/v1/suppressions", tags=["suppressions"])
_MOST_REFUSED = 100
_SUBJECT: TypeAdapter[str] = TypeAdapter(Subject)
_SCOPE: TypeAdapter[str] = TypeAdapter(Scope)
_EXPORT: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        }
    }
}
_LIST: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "CSV with a heading, JSON lines, or an address a line; UTF-8. Of any media type.",
        "content": {"text/csv": {"schema": {"type": "string"}}, "application/x-ndjson": {"schema": {"type": "string"}}},
    }
}


@router.get("", responses=_EXPORT, response_model=SuppressionPage)
def suppressions(
    caller: Reader,
    after: Annotated[Cursor, Query(description="`next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Of a page of JSON.")] = 100,
    format: Literal["json", "jsonl", "csv"] = "json",
) -> Any:
    """What is suppressed now, oldest first: a page of JSON, or all of it as import reads it.

    A tenant gets what stops its own mail alone; that an address is dead is told by the check and of each address.
    """
    if format == "json":
        found = caller.store.suppression_page(after, limit, sender=caller.sender)
        rows = [SuppressionOut.model_validate(one) for _, one in found]
        return SuppressionPage(suppressions=rows, next=found[-1][0] if len(found) == limit else None)
    entries = _entries(caller, after)
    if format == "csv":
        return StreamingResponse(_as_csv(entries), media_type="text/csv; charset=utf-8")
    lines = (f"{json.dumps(own_row(one), ensure_ascii=False)}\n" for one in entries)
    return StreamingResponse(lines, media_type="application/x-ndjson")


def _entries(caller: Caller, after: int) -> Iterator[Entry]:
    while found := caller.store.suppression_page(after, 1000, sender=caller.sender):
        for _, one in found:
            yield Entry(one.subject, one.status, one.reason, one.scope, one.since, one.until)
        after = found[-1][0]


def _as_csv(entries: Iterator[Entry]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in entries:
        writer.writerow(own_cells(one))
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


@router.post("/check")
def check(caller: Reader, wanted: Check) -> Checked:
    """Which of these addresses, 10,000 at most, may a stream mail?"""
    if caller.sender is not None:
        caller.own_stream(wanted.stream)
    may = set(caller.store.mailable(wanted.addresses, wanted.stream, wanted.from_domain))
    return Checked(
        mailable=[one for one in wanted.addresses if one in may],
        suppressed=[one for one in wanted.addresses if one not in may],
    )


@router.post("/import", openapi_extra=_LIST)
async def import_(request: Request, caller: Writer) -> Imported:
    """Suppress the addresses of a list in our own columns: address, and scope, reason, since, until, status as you have them.

    A bad row is reported with its line and the rest goes on. Doing it again changes nothing.
    """
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise HTTPException(422, "the list is not UTF-8") from None
    return await run_in_threadpool(_import, caller, text)


def _import(caller: Caller, text: str) -> Imported:
    refused: list[dict[str, Any]] = []
    new, known = caller.store.import_suppressions(_rows(caller, text, refused), source="API", by=caller.name)
    return Imported(suppressed=new, known=known, refused=refused)


def _rows(caller: Caller, text: str, refused: list[dict[str, Any]]) -> Iterator[Suppression]:
    for line, row in read_items(io.StringIO(text)):
        try:
            if isinstance(row, str):
                raise ConfigError(row)
            if caller.sender is not None:
                row.setdefault("scope", own_scopes(caller.sender)[1])
            yield _suppression(caller, read_entry(row, "csv"))
        except ConfigError as error:
            if len(refused) < _MOST_REFUSED:
                refused.append({"line": line, "why": storable(str(error))[:500]})


def _suppression(caller: Caller, entry: Entry) -> Suppression:
    scope = entry.scope or "all"
    try:
        _SCOPE.validate_python(scope)
        if not entry.address.startswith("hash:"):
            _SUBJECT.validate_python(entry.address)
    except ValidationError:
        raise ConfigError(f"{entry.address!r}, scope {scope!r}: no address, or no scope") from None
    if caller.sender is not None and scope not in own_scopes(caller.sender):
        raise ConfigError(f"scope {scope!r} is not of this token's sender")
    since = entry.since or datetime.now(UTC)
    return Suppression(
        subject=entry.address, scope=scope, cause="manual", status=entry.status, reason=entry.reason, since=since,
        until=entry.until, count=1, last_at=since, outcome_id=None,
    )  # fmt: skip

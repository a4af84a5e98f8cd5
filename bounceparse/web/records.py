"""Messages and outcomes: what became of one message, and all that was recorded, a page at a time or as a stream."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import StreamingResponse

from bounceparse.cli.list_items import escape_cell
from bounceparse.db.rows import RecordedOutcome
from bounceparse.outcomes import Status
from bounceparse.web.guard import Reader
from bounceparse.web.models import Cursor, MessageOut, Moment, OutcomeOut, OutcomePage, SentOut, Text

router = APIRouter(prefix="/v1")
PAGE = 1000
_STREAMS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}},
            "text/csv": {"schema": {"type": "string"}},
        }
    }
}
_Filter = Annotated[str | None, Query(max_length=1000)]


@router.get("/messages", tags=["messages"])
def message(caller: Reader, message_id: Text) -> MessageOut:
    """What became of a message, by its Message-ID with brackets or without, and what was reported of it."""
    sent, told = caller.store.trail(message_id, sender=caller.sender)
    if not sent and not told:
        raise HTTPException(404, "no such message is in the ledger, and nothing was reported of one")
    return MessageOut(
        message_id=message_id, sent=[SentOut.of(one) for one in sent], outcomes=[OutcomeOut.of(one) for one in told]
    )


@router.get("/outcomes", tags=["outcomes"], responses=_STREAMS, response_model=OutcomePage)
def outcomes(
    caller: Reader,
    after: Annotated[Cursor, Query(description="Only what has a greater seq: `next` of the page before.")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE, description="Of a page of JSON.")] = 100,
    since: Annotated[Moment | None, Query(description="Recorded at or after this time.")] = None,
    status: Status | None = None,
    stream: _Filter = None,
    address: _Filter = None,
    customer: _Filter = None,
    mailbox: _Filter = None,
    format: Literal["json", "jsonl", "csv"] = "json",
) -> Any:
    """What was recorded, in the order of `seq`: a page of JSON, or all of it as JSON lines or CSV.

    An outcome that changes, because the ledger came later or a rule was corrected, gets a new `seq` and comes again:
    keep outcomes by `id`, and ask again with `after` for what is new.
    """

    def page(above: int, size: int) -> list[RecordedOutcome]:
        return caller.store.outcome_page(
            above, size, sender=caller.sender, stream=stream, since=since,
            status=status.value if status else None, address=address, customer=customer, mailbox=mailbox,
        )  # fmt: skip

    if format == "json":
        found = page(after, limit)
        return OutcomePage(
            outcomes=[OutcomeOut.of(one) for one in found],
            next=found[-1].seq if found else after,
            more=len(found) == limit,
        )
    rows = _every(page, after)
    if format == "csv":
        return StreamingResponse(as_csv(rows), media_type="text/csv; charset=utf-8")
    return StreamingResponse(as_lines(rows), media_type="application/x-ndjson")


def _every(page: Callable[[int, int], list[RecordedOutcome]], after: int) -> Iterator[RecordedOutcome]:
    while found := page(after, PAGE):
        yield from found
        after = found[-1].seq


def _flat(one: RecordedOutcome) -> dict[str, Any]:
    return {"id": one.id, "seq": one.seq, **one.to_json()}


def as_lines(rows: Iterator[RecordedOutcome]) -> Iterator[str]:
    """A JSON object a line."""
    return (f"{json.dumps(_flat(one), ensure_ascii=False)}\n" for one in rows)


def as_csv(rows: Iterator[RecordedOutcome]) -> Iterator[str]:
    """The lines with a heading; ``evidence`` is the rule alone. No cell is a formula to a spreadsheet."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(list(OutcomeOut.model_fields))
    for one in rows:
        row = {**_flat(one), "evidence": one.outcome.evidence.rule}
        writer.writerow([_cell(row[name]) for name in OutcomeOut.model_fields])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _cell(value: object) -> str:
    return "" if value is None else escape_cell(str(value))

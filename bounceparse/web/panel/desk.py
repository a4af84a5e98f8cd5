"""What waits for a person: messages that could not be read, and unsubscribe requests that nothing proves."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from starlette.responses import Response

from bounceparse.web.panel.visit import Page, Refused, Visit, redirect

if TYPE_CHECKING:
    from bounceparse.explain import Explanation

PAGE = 50
_LOOKED_AT = 4_194_304
"""Bytes of a held message that are explained: it is here because reading it failed."""
_SHOWN = 20_000
"""Bytes of it that are shown as they came."""


def held(visit: Visit) -> Response:
    """The messages that could not be read, oldest first."""
    rows = visit.store.held_page(_number(visit, "after"), PAGE + 1)
    return visit.page("held.html", rows=rows[:PAGE], next=rows[PAGE - 1].id if len(rows) > PAGE else None)


def held_one(visit: Visit) -> Response:
    """One of them: why, what can be told of it nevertheless, and its beginning."""
    found = visit.store.held_message(_number(visit, "id"))
    if found is None:
        raise Refused(404, "This message is not held, or not any more.")
    raw = found.raw[:_LOOKED_AT]
    lines = raw[:_SHOWN].decode("utf-8", "replace").splitlines()
    return visit.page("held_one.html", held=found, lines=lines, is_cut=len(found.raw) > _SHOWN, found=_explain(raw))


def _explain(raw: bytes) -> Explanation | None:
    """How it would be read; None where that fails, as it did when it came."""
    from bounceparse.explain import explain

    try:
        return explain(raw) if raw else None
    except Exception:
        return None


def review(visit: Visit) -> Response:
    """The requests that wait, the oldest first."""
    rows = list(islice(visit.store.requests("pending"), PAGE))
    return visit.page("review.html", rows=rows, most=PAGE)


def accept(visit: Visit) -> Response:
    """Do what a request asks for."""
    visit.store.accept_request(
        _wanted(visit), address=visit.text("address") or None, by=visit.name, note=visit.text("note", 2000) or None
    )
    return redirect("/review", done="accepted")


def reject(visit: Visit) -> Response:
    """Decide that nothing follows from a request."""
    visit.store.reject_request(_wanted(visit), by=visit.name, note=visit.text("note", 2000) or None)
    return redirect("/review", done="rejected")


def _wanted(visit: Visit) -> int:
    number = visit.text("request", 18)
    if not (number.isascii() and number.isdigit()):
        raise Refused(422, "This cannot be read.")
    return int(number)


def _number(visit: Visit, name: str) -> int:
    number = visit.query.get(name, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 19 else 0


PAGES = (
    Page("/held", held, for_all=True),
    Page("/held/one", held_one, for_all=True),
    Page("/review", review, for_all=True),
    Page("/review/accept", accept, form=True, role="write", for_all=True),
    Page("/review/reject", reject, form=True, role="write", for_all=True),
)

"""Signing in and out."""

from __future__ import annotations

import math
import secrets
from threading import BoundedSemaphore

from starlette.responses import Response

from bounceparse.db.users import LONGEST
from bounceparse.web.panel.visit import Page, Refused, Visit, redirect

_AT_ONCE = BoundedSemaphore(2)
"""A password takes 32 MiB and a quarter of a second to check: no crowd of strangers may fill the machine with that."""


def login(visit: Visit) -> Response:
    """The form. Its cookie is no session: it proves that the form came from here."""
    if visit.user is not None:
        return redirect("/")
    if not visit.token:
        visit.token = visit.cookies["session"] = secrets.token_urlsafe(32)
    return visit.page("login.html", next=_next(visit.query.get("next", "")), name="", wrong=False, wait=0)


def sign_in(visit: Visit) -> Response:
    """Check name and password; the session's cookie lasts as long as the browser, twelve hours at most."""
    name, password = visit.text("name", 100).lower(), visit.form.get("password", "")
    target = _next(visit.form.get("next", ""))
    wait = visit.house.throttle.begin(name, visit.client)
    if wait or len(password) > LONGEST:
        answer = visit.page("login.html", 429, next=target, name=name, wrong=False, wait=math.ceil(wait))
        answer.headers["Retry-After"] = str(math.ceil(wait))
        return answer
    if not _AT_ONCE.acquire(timeout=5):
        raise Refused(503, "Many sign in at once: try again in a moment.")
    try:
        token = visit.store.sign_in(name, password)
    finally:
        _AT_ONCE.release()
    if token is None:
        return visit.page("login.html", 401, next=target, name=name, wrong=True, wait=0)
    visit.house.throttle.succeed(name, visit.client)
    visit.cookies["session"] = token
    return redirect(target)


def logout(visit: Visit) -> Response:
    """End the session, here and in the database."""
    visit.store.sign_out(visit.token)
    visit.cookies["session"] = ""
    return redirect("/login")


def _next(path: str) -> str:
    """A page of ours to go on to, and no other site's."""
    known = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if known and path.isprintable() else "/"


PAGES = (
    Page("/login", login, role=None),
    Page("/login", sign_in, form=True, role=None),
    Page("/logout", logout, form=True),
)

"""The panel: pages for people, on the application that answers the API. Every request passes :meth:`Panel._answer`."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from bounceparse.db import Store
from bounceparse.errors import BounceparseError, ConfigError
from bounceparse.web.panel import desk, log, overview, people, sending, signing_in, words
from bounceparse.web.panel.figures import Figures
from bounceparse.web.panel.throttle import Throttle
from bounceparse.web.panel.visit import House, Page, PanelSettings, Refused, Visit, asset, csrf_of, link, redirect
from bounceparse.web.panel.warming import warm

PAGES: tuple[Page, ...] = (
    *overview.PAGES,
    *people.PAGES,
    *log.PAGES,
    *sending.PAGES,
    *desk.PAGES,
    *signing_in.PAGES,
)
PATHS = ("/static", *dict.fromkeys(f"/{page.path.split('/')[1]}" for page in PAGES))
"""What needs no API token, since it asks for a session of its own."""
_STATIC = {"panel.css": "text/css; charset=utf-8", "icon.svg": "image/svg+xml"}
_LARGEST_FORM = 65_536
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # with no-referrer, browsers would hide the Origin of forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
ON_LOOPBACK = PanelSettings()
_LOG = logging.getLogger(__name__)


class Panel:
    """The panel over a store, which stays the caller's. :meth:`close` it before the store."""

    def __init__(self, store: Store, settings: PanelSettings = ON_LOOPBACK) -> None:
        self._house = House(store, settings, Figures(settings.patience), Throttle())
        warm(self._house)

    def install(self, app: FastAPI) -> None:
        """Add the pages to an application, whose guard lets :data:`PATHS` pass."""
        app.router.routes.append(Route("/static/{name}", self._static, methods=["GET"]))
        for page in PAGES:
            methods = ["POST"] if page.form else ["GET"]
            app.router.routes.append(Route(page.path, self._endpoint(page), methods=methods))

    def close(self) -> None:
        """Stop counting."""
        self._house.figures.close()

    def _endpoint(self, page: Page) -> Any:
        async def endpoint(request: Request) -> Response:
            visit = self._visit(request, {})
            try:
                if page.form:
                    visit.form = await _form(request)
                answer = await run_in_threadpool(self._answer, page, visit, request.headers)
            except Refused as refused:
                answer = _error(visit, refused.status, refused.text, **refused.values)
            except HTTPException as error:
                answer = _error(visit, error.status_code, "This cannot be read.")
            except Exception:
                _LOG.exception("a page of the panel failed: %s", page.path)
                answer = _error(visit, 500, "This is a fault of bounceparse: its log says more.")
            return self._finish(visit, answer)

        return endpoint

    def _visit(self, request: Request, form: Mapping[str, str]) -> Visit:
        client = request.client.host if request.client else ""
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        if self._house.settings.behind_proxy and forwarded:
            client = forwarded
        wanted = request.cookies.get("bounceparse-lang", "")
        if wanted not in words.LANGUAGES:
            wanted = "pl" if request.headers.get("accept-language", "").lower().startswith("pl") else "en"
        path = request.url.path
        token = request.cookies.get(self._cookie, "")
        return Visit(self._house, path, dict(request.query_params), form, client, wanted, token)

    @property
    def _cookie(self) -> str:
        return "__Host-bounceparse" if self._house.settings.secure else "bounceparse"

    def _answer(self, page: Page, visit: Visit, headers: Mapping[str, str]) -> Response:
        try:
            visit.user = self._house.store.signed_in(visit.token) if visit.token else None
            if not page.form and visit.query.get("lang") in words.LANGUAGES:
                visit.cookies["bounceparse-lang"] = visit.query["lang"]
                return redirect(visit.path, **{name: value for name, value in visit.query.items() if name != "lang"})
            self._admit(page, visit, headers)
            if page.role is not None and visit.user is None:
                return self._ask_to_sign_in(page, visit, headers)
            return page.show(visit)
        except BounceparseError as error:
            return _failed(visit, error)

    def _admit(self, page: Page, visit: Visit, headers: Mapping[str, str]) -> None:
        """Refuse what comes from another site, and what this user may not do."""
        if page.form:
            if _is_from_elsewhere(headers):
                raise Refused(403, "This form was sent by another site.")
            if not page.role and not visit.token:
                raise Refused(403, "This form is too old: go back, reload the page and send it again.")
            if visit.token and not hmac.compare_digest(
                visit.form.get("csrf", "").encode(), csrf_of(visit.token).encode()
            ):
                raise Refused(403, "This form is too old: go back, reload the page and send it again.")
        if visit.user is None:
            return
        if page.role == "write" and not visit.user.may_write:
            raise Refused(403, "You may look, but not change anything: ask for the role write.")
        if page.for_all and visit.user.sender is not None:
            raise Refused(404, "There is no such page.")

    def _ask_to_sign_in(self, page: Page, visit: Visit, headers: Mapping[str, str]) -> Response:
        if page.form:
            raise Refused(403, "You are signed out: sign in and do it again.")
        if headers.get("sec-fetch-site") == "cross-site" and not visit.token:
            # A link elsewhere led here, and strict cookies stay at home: the same request from this page brings them.
            return HTMLResponse('<!doctype html><meta http-equiv="refresh" content="0"><title>bounceparse</title>')
        return redirect("/login", next=link(visit.path, **visit.query))

    def _finish(self, visit: Visit, answer: Response) -> Response:
        secure = self._house.settings.secure
        for name, value in visit.cookies.items():
            own = {"session": self._cookie}.get(name, name)
            lasting = 365 * 86_400 if name == "bounceparse-lang" else None
            if value:
                answer.set_cookie(own, value, max_age=lasting, secure=secure, httponly=True, samesite="strict")
            else:
                answer.delete_cookie(own, secure=secure, httponly=True, samesite="strict")
        answer.headers.update(_HEADERS)
        answer.headers.setdefault("Cache-Control", "no-store")
        if secure:
            answer.headers["Strict-Transport-Security"] = "max-age=31536000"
        return answer

    async def _static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            return self._finish(self._visit(request, {}), Response("not found", 404))
        answer = Response(asset(name)[0], media_type=_STATIC[name])
        answer.headers.update(_HEADERS)
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return answer


def _is_from_elsewhere(headers: Mapping[str, str]) -> bool:
    """Whether another site sent a form: as the browser says, else by its origin (a proxy may have changed the host)."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site not in ("same-origin", "none")
    return origin is not None and urlsplit(origin).netloc != headers.get("host")


async def _form(request: Request) -> dict[str, str]:
    body = await request.body()
    if len(body) > _LARGEST_FORM:
        raise Refused(413, "This form is too large.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=50))
    except ValueError:
        raise Refused(422, "This cannot be read.") from None


def _failed(visit: Visit, error: BounceparseError) -> Response:
    if isinstance(error, ConfigError):
        return _error(visit, 409, "This cannot be done: {why}", why=str(error))
    if error.temporary:
        return _error(visit, 503, "The database is busy: try again in a moment.")
    _LOG.error("the panel cannot answer: %s", error)
    return _error(visit, 500, "The database cannot be used: the log says why.")


def _error(visit: Visit, status: int, text: str, **values: object) -> Response:
    return visit.page("error.html", status, text=text, values=values)

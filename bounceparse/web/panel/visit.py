"""One request to the panel as its pages see it: who asks, in which language, with what, and how to answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, RedirectResponse, Response

from bounceparse.cli.output import plain
from bounceparse.db import Store
from bounceparse.db.users import User
from bounceparse.outcomes import Status
from bounceparse.web.panel import words
from bounceparse.web.panel.figures import Figures
from bounceparse.web.panel.throttle import Throttle


class Refused(Exception):
    """The request is not answered by its page but by one that says why."""

    def __init__(self, status: int, text: str, **values: object) -> None:
        super().__init__(text)
        self.status, self.text, self.values = status, text, values


@dataclass(frozen=True, slots=True)
class PanelSettings:
    """How the panel is served.

    Attributes:
        secure: browsers reach it by TLS, so that its cookies go nowhere else.
        behind_proxy: the last ``X-Forwarded-For`` is who really asks.
        patience: seconds that a page waits for what is counted behind it.
    """

    secure: bool = False
    behind_proxy: bool = False
    patience: float = 0.05


@dataclass(frozen=True, slots=True)
class House:
    """What all visits share."""

    store: Store
    settings: PanelSettings
    figures: Figures
    throttle: Throttle


@dataclass(slots=True)
class Visit:
    """A request. ``form`` is what was posted, ``user`` None on the pages that are open to anybody."""

    house: House
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    client: str
    language: str
    token: str
    user: User | None = None
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """The database."""
        return self.house.store

    @property
    def sender(self) -> str | None:
        """The tenant whose streams alone are seen and touched; None for all."""
        return self.user.sender if self.user else None

    @property
    def name(self) -> str:
        """How the audit trail names who asks."""
        return f"user {self.user.name}" if self.user else "nobody"

    def page(self, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """The answer: a template with these values."""
        said = words.Words(self.language)
        told = {
            "_": said,
            "user": self.user,
            "path": self.path,
            "here": self._here(),
            "languages": words.LANGUAGES,
            "csrf": csrf_of(self.token),
            "done": _DONE.get(self.query.get("done", "")),
            "now": datetime.now(UTC),
            **values,
        }
        return HTMLResponse(templates().get_template(template).render(told), status)

    def _here(self) -> str:
        """This page, for another language to be added at its end; what a form was sent to is no page."""
        path = "/" if self.form and self.path != "/login" else self.path
        return f"{path}?{urlencode({**self.query, 'lang': ''})}"

    def text(self, name: str, longest: int = 1000) -> str:
        """A field of the form, without blanks around it; refused where it is too long."""
        value = self.form.get(name, "").strip()
        if len(value) > longest:
            raise Refused(422, "That is too long: {n} characters at most.", n=longest)
        return value

    def note(self) -> str:
        """The reason that a person gives; refused where there is none."""
        note = self.text("note", 2000)
        if not note:
            raise Refused(422, "Say why: it goes into the audit trail.")
        return note


Show = Callable[[Visit], Response]


@dataclass(frozen=True, slots=True)
class Page:
    """A path and what answers it.

    Attributes:
        form: it takes a posted form, and changes something.
        role: what the user's role must be; None for pages that are open to anybody.
        for_all: not for users of one tenant, since it is about the mail of all.
    """

    path: str
    show: Show
    form: bool = False
    role: str | None = "read"
    for_all: bool = False


def link(path: str, **query: object) -> str:
    """A path with a query; values that are None or empty are left out."""
    told = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{path}?{urlencode(told)}" if told else path


def redirect(path: str, **query: object) -> RedirectResponse:
    """Go on to a page: what a form answers, so that reloading posts nothing again."""
    return RedirectResponse(link(path, **query), 303)


def csrf_of(token: str) -> str:
    """What a form must carry: only who holds the cookie's value can tell it."""
    return hmac.new(token.encode(), b"form", hashlib.sha256).hexdigest()[:32]


@cache
def asset(name: str) -> tuple[bytes, str]:
    """A file of the panel's own, and a hash of it."""
    content = files("bounceparse.web.panel").joinpath("static", name).read_bytes()
    return content, hashlib.sha256(content).hexdigest()[:12]


_DONE = {
    "lifted": "Lifted: mail goes there again.",
    "nothing": "There was nothing to lift.",
    "suppressed": "Suppressed: no mail goes there.",
    "stopped": "The stream is stopped.",
    "released": "The stream may go on.",
    "accepted": "The request is accepted: what it asks for is done.",
    "rejected": "The request is rejected: nothing follows from it.",
}


@cache
def templates() -> Environment:
    """The templates: everything is escaped, and no control character or change of direction leaves a text."""
    environment = Environment(
        loader=PackageLoader("bounceparse.web.panel"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=_finalize,
    )
    environment.filters["coded"] = _coded
    environment.globals |= {
        "asset": lambda name: f"/static/{name}?v={asset(name)[1]}",
        "link": link,
        "version": version("bounceparse"),
        "statuses": [status.value for status in Status if status is not Status.INJECTED],
        "trusts": words.TRUST,
        "levels": words.LEVEL,
        "why_it_waits": words.WHY_IT_WAITS,
        "clock_time": words.clock_time,
        "zone": lambda: datetime.now().astimezone().tzname(),
    }
    for name in environment.list_templates():  # compiled now, and not while the first visitor waits
        environment.get_template(name)
    return environment


def _coded(text: str) -> Markup:
    """A text with what stands between backquotes as code."""
    parts = escape(plain(text)).split("`")
    return Markup("").join(Markup("<code>{}</code>").format(one) if at % 2 else one for at, one in enumerate(parts))


def _finalize(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return words.clock_time(value)
    return plain(value) if type(value) is str else value

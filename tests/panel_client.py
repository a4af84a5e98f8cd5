"""The panel in a test: two tenants in a database, a browser without scripts, and what reads its pages."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from outcome_factory import make_message, make_outcome
from panel_data import Clock

from bounceparse.db import Store, users
from bounceparse.health import HealthSettings
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import Kind, Report
from bounceparse.web.app import WebSettings, create_app
from bounceparse.web.panel.app import PATHS, Panel
from bounceparse.web.panel.visit import PanelSettings

PASSWORD = "wind over the harbour"
SHOP, GARDEN = "anna@shop-mail.example", "jan@garden-mail.example"
HOSTILE = """"'><script>alert(document.domain)</script><img src=x onerror=alert(1)>{{7*7}}</title></textarea>\u202egnp.exe\x1b[31m"""


@pytest.fixture(autouse=True)
def quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of tests cost little; what they cost in use is a test of its own."""
    monkeypatch.setattr(users, "_COST", (4, 8, 1))
    users._nobody.cache_clear()


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime.now(UTC))


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    """Two tenants with a dead address each, and users of several kinds."""
    with Store(database_url, clock=clock, health=HealthSettings(mailboxes=("bounces",))) as opened:
        for sender, address in (("shop", SHOP), ("garden", GARDEN)):
            number = f"{sender}.1@shop.example"
            opened.record_sent(number, address, stream=f"{sender}-news", sender=sender, category="marketing", customer=f"{sender}-7", subject=f"Hello from {sender}", sent_at=clock().isoformat(), from_address="shop@shop.example")  # fmt: skip
            opened.record([make_message(make_outcome("user-unknown", recipient=address, message_id=number, provider="gmail", diagnostic=f"550 5.1.1 nobody at {sender}"))])  # fmt: skip
        opened.make_user("ola", PASSWORD, role="write")
        opened.make_user("jan", PASSWORD, role="read")
        opened.make_user("shopkeeper", PASSWORD, role="write", sender="shop")
        yield opened


class InProcess(httpx.BaseTransport):
    """Requests go to an application in this process, each in an event loop of its own."""

    def __init__(self, app: FastAPI) -> None:
        self._asgi = httpx.ASGITransport(app)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        async def ask() -> httpx.Response:
            answer = await self._asgi.handle_async_request(request)
            return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())

        request.read()
        return asyncio.run(ask())


@contextmanager
def serving(store: Store, settings: PanelSettings | None = None) -> Iterator[httpx.Client]:
    """A browser without a script: it keeps cookies and follows nothing by itself."""
    panel = Panel(store, replace(settings or PanelSettings(), patience=20))  # tests show all that is counted
    app = create_app(store, WebSettings(open_paths=PATHS))
    panel.install(app)
    scheme = "https" if settings and settings.secure else "http"
    try:
        with httpx.Client(transport=InProcess(app), base_url=f"{scheme}://panel.example") as client:
            yield client
    finally:
        panel.close()


@pytest.fixture
def browser(store: Store) -> Iterator[httpx.Client]:
    with serving(store) as client:
        yield client


class _Fields(HTMLParser):
    """The hidden fields of forms, by the form's action."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: dict[str, dict[str, str]] = {}
        self._current: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._current = self.forms.setdefault(told.get("action", ""), {})
        if tag == "input" and told.get("type") == "hidden":
            self._current[told["name"]] = told["value"]


def fields_of(page: str, action: str) -> dict[str, str]:
    parser = _Fields()
    parser.feed(page)
    return parser.forms[action]


def sign_in(client: httpx.Client, name: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    page = client.get("/login")
    given = {**fields_of(page.text, "/login"), "name": name, "password": password, **more}
    return client.post("/login", data=given)


def csrf(client: httpx.Client) -> str:
    return fields_of(client.get("/").text, "/logout")["csrf"]


def hostile_store(store: Store) -> None:
    """Script in every field that comes from a mail, from the ledger or from a person."""
    text: dict[str, Any] = {
        name: f"{HOSTILE}{name}"
        for name in (
            "original_recipient", "final_recipient", "envelope_id", "feedback_id", "list_id", "enhanced_status",
            "diagnostic", "reporting_mta", "remote_mta", "sending_ip", "provider", "blocklist", "help_url", "subject",
        )
    }  # fmt: skip
    address = f'"{HOSTILE}"@x.example'
    for number, reason in enumerate(("user-unknown", "abuse", "unsubscribe-request", "mailbox-full")):
        mid = f"{number}{HOSTILE}@shop.example"
        store.record_sent(mid, address, stream=HOSTILE, sender=HOSTILE, customer=HOSTILE, subject=HOSTILE, list_id=HOSTILE, from_address=HOSTILE, provider_id=f"{HOSTILE}{number}", category="marketing")  # fmt: skip
        outcome = make_outcome(reason, recipient=address, message_id=mid, **text)
        outcome = type(outcome)(
            **{
                **{name: getattr(outcome, name) for name in type(outcome).__match_args__},
                "evidence": outcome.evidence._replace(rule=HOSTILE, part=HOSTILE, matched=HOSTILE, dialect=HOSTILE),
            }
        )
        store.record([make_message(outcome, account=HOSTILE)])
    raw = f'From: {HOSTILE}\nSubject: {HOSTILE}\nContent-Type: text/plain; name="{HOSTILE}"\n\n{HOSTILE}\n550 5.1.1 <{address}> {HOSTILE}\n'
    report = Report(Kind.OTHER, HOSTILE, (HOSTILE,), ())
    store.record_held(
        [ReadMessage(Place(HOSTILE, HOSTILE, 7, 9), b"h" * 32, 9, report, (), error=HOSTILE, raw=raw.encode())]
    )
    store.ingest(f"From: <evil@x.example>\nTo: news@shop.example\nSubject: unsubscribe {HOSTILE.encode('unicode_escape').decode()}<script>\n\nunsubscribe me <script>alert(1)</script>\n".encode())  # fmt: skip
    store.suppress(address, scope=f"marketing:{HOSTILE}", by=HOSTILE, note=HOSTILE)
    store.stop_stream(HOSTILE, by=HOSTILE, note=HOSTILE)
    store.note_poll(HOSTILE)


class Shape(HTMLParser):
    """What elements and attributes a page has: those that could run anything."""

    def __init__(self) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "img", "iframe", "object", "embed", "style", "base"):
            self.bad.append(tag)
        for name, value in attrs:
            if name.startswith("on") or name == "style":
                self.bad.append(f"{tag} {name}")
            if name in ("href", "src", "action", "formaction") and not (value or "").startswith(("/", "#")):
                self.bad.append(f"{tag} {name}={value}")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

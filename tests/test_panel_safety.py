"""No tenant sees another's mail in the panel, and no mail can turn against its reader."""

from __future__ import annotations

import csv
import io
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from outcome_factory import make_message, make_outcome
from panel_client import (
    GARDEN,
    HOSTILE,
    InProcess,
    Shape,
    browser,
    clock,
    csrf,
    hostile_store,
    quick_passwords,
    sign_in,
    store,
)

from bounceparse.db import Store
from bounceparse.web.app import create_app
from bounceparse.web.listening import listen
from bounceparse.web.panel.app import PAGES

__all__ = ["browser", "clock", "quick_passwords", "store"]


# Tenants


def test_a_tenant_sees_and_touches_its_own_alone(browser: httpx.Client, store: Store) -> None:
    """Every page and every form, for a user of one sender."""
    store.stop_stream("garden-news", by="x", note="garden secret")
    sign_in(browser, "shopkeeper")
    token = csrf(browser)
    number = [one.id for one in store.outcomes()]
    paths = (
        "/", "/log", "/log?stream=garden-news", f"/log?address={GARDEN}", "/log?customer=garden-7", "/streams",
        "/providers", "/log/export", f"/address?address={GARDEN}", "/customer?customer=garden-7",
        "/message?id=garden.1@shop.example", "/log/export?customer=garden-7",
    )  # fmt: skip
    for path in paths:
        page = browser.get(path)
        assert page.status_code == 200, path
        for secret in ("nobody at garden", "Hello from garden", "garden secret", "garden-news</h2"):
            assert secret not in page.text, path
    assert "nobody at shop" in browser.get("/log").text
    assert "shop-news" in browser.get("/streams").text
    assert browser.get("/outcome", params={"id": number[0]}).status_code == 200
    assert browser.get("/outcome", params={"id": number[1]}).status_code == 404
    for path in ("/held", "/held/one?id=1", "/review"):
        assert browser.get(path).status_code == 404, path
    given = {"csrf": token, "note": "x", "address": GARDEN, "request": "1", "stream": "garden-news"}
    assert browser.post("/streams/release", data=given).status_code == 404
    assert browser.post("/streams/stop", data={**given, "stream": ""}).status_code == 404
    assert browser.post("/review/accept", data=given).status_code == 404
    assert browser.post("/address/suppress", data={**given, "scope": "all"}).status_code == 403
    assert browser.post("/address/lift", data={**given, "scope": "sender:garden"}).status_code == 403
    assert browser.post("/address/lift", data=given).headers["location"].endswith("done=nothing")
    assert not store.standing(GARDEN).mailable
    browser.post("/address/suppress", data={**given, "scope": ""})
    assert {one.scope for one in store.standing(GARDEN).suppressions} == {"all", "sender:shop"}
    assert not store.may_send("garden-news")


# Hostile mail


def all_pages(
    browser: httpx.Client, store: Store, address: str, customer: str, message: str
) -> Iterator[tuple[str, str]]:
    """Every page that looks, with what leads to its contents, in both languages."""
    queries: dict[str, list[dict[str, Any]]] = {
        "/address": [{"address": address}],
        "/customer": [{"customer": customer}],
        "/message": [{"id": message}],
        "/outcome": [{"id": one.id} for one in store.outcomes()],
        "/held/one": [{"id": one.id} for one in store.held()],
        "/log": [{}, {"address": HOSTILE, "provider": HOSTILE, "customer": HOSTILE, "stream": HOSTILE}],
        "/search": [{"q": ""}],
        "/log/export": [],
    }
    for language in ("en", "pl"):
        browser.get("/", params={"lang": language})
        for page in PAGES:
            if page.form:
                continue
            for query in queries.get(page.path, [{}]):
                answer = browser.get(page.path, params=query)
                if answer.status_code == 303:
                    continue
                assert answer.status_code == 200, (page.path, query)
                yield page.path, answer.text


def test_no_page_runs_what_a_mail_says(browser: httpx.Client, store: Store) -> None:
    """Script in every field, all pages: it is shown as text, and changes neither elements nor the direction of text."""
    hostile_store(store)
    sign_in(browser, "ola")
    seen, shown = set(), set()
    for path, page in all_pages(browser, store, f'"{HOSTILE}"@x.example', HOSTILE, f"0{HOSTILE}@shop.example"):
        seen.add(path)
        shape = Shape()
        shape.feed(page)
        assert shape.bad == [], path
        assert "\u202e" not in page, path
        assert "\x1b" not in page, path
        assert "49</title>" not in page
        if any("<script>alert(document.domain)</script>" in text for text in shape.texts):
            shown.add(path)
    assert seen == {page.path for page in PAGES if not page.form} - {"/search", "/log/export", "/login"}
    assert shown == seen, "the test looks at pages that hold what is hostile"
    error = browser.get("/outcome", params={"id": HOSTILE})
    shape = Shape()
    shape.feed(error.text)
    assert shape.bad == []


def test_no_cell_of_the_export_is_a_formula(browser: httpx.Client, store: Store) -> None:
    store.record([make_message(make_outcome(recipient="f@x.example", diagnostic='=HYPERLINK("https://evil.example")', message_id=None))])  # fmt: skip
    sign_in(browser, "ola")
    rows = list(csv.DictReader(io.StringIO(browser.get("/log/export").text)))
    assert rows[-1]["diagnostic"].startswith("'=")


def test_every_answer_forbids_scripts_frames_and_keeping(browser: httpx.Client) -> None:
    """On pages, redirections, refusals and files alike."""
    sign_in(browser, "ola")
    answers = [browser.get(path) for path in ("/", "/login", "/outcome?id=x", "/search?q=x", "/static/nothing")]
    answers.append(browser.post("/address/lift"))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "script-src" not in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "same-origin"
    page = browser.get("/").text
    style = re.search(r'href="(/static/panel\.css\?v=[0-9a-f]+)"', page)
    assert style is not None
    answer = browser.get(style[1])
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]


def test_the_api_beside_it_still_asks_for_its_token(browser: httpx.Client) -> None:
    """A session of the panel opens nothing of the API."""
    sign_in(browser, "ola")
    for path in ("/v1/stats", "/metrics", "/v1/openapi.json", "/nothing", "//v1/stats"):
        assert browser.get(path).status_code in (401, 404), path
        assert "hardbounce" not in browser.get(path).text


def test_without_the_panel_its_paths_are_closed(store: Store) -> None:
    client = httpx.Client(transport=InProcess(create_app(store)), base_url="http://panel.example")
    assert {client.get(path).status_code for path in ("/", "/login", "/log", "/static/panel.css")} == {401}


def test_an_answer_waits_for_no_acknowledgement() -> None:
    """Connections of the socket that `serve` listens on send at once, not 40 ms later."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_fault_shows_nothing_of_itself(browser: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(browser, "ola")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(store, "log", broken)
    answer = browser.get("/log")
    assert answer.status_code == 500
    assert "a secret path" not in answer.text
    assert "its log says more" in answer.text

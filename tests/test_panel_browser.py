"""The panel in a real headless Chromium: every page, both themes, a phone's width, a keyboard, and mail that attacks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browser import Browser, browsing
from databases import migrated_sqlite
from panel_client import HOSTILE, hostile_store
from panel_data import PASSWORD, Clock, seed

from bounceparse.db import Store
from bounceparse.health import HealthSettings
from bounceparse.web.app import WebSettings, create_app
from bounceparse.web.listening import listen
from bounceparse.web.panel.app import PATHS, Panel
from bounceparse.web.panel.visit import PanelSettings, link

OFFICE = "office@flowers.example"
ATTACKED = f'"{HOSTILE}"@x.example'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Store]]:
    """A real server over a fortnight of mail, some of it hostile."""
    url = migrated_sqlite(tmp_path_factory.mktemp("panel") / "panel.db")
    clock = Clock(datetime.now(UTC))
    with Store(url, clock=clock, health=HealthSettings(mailboxes=("bounces",))) as store:
        seed(store, clock, datetime.now(UTC), a_day=40)
        hostile_store(store)
        store.make_user("ola", PASSWORD, role="write")
        panel = Panel(store, PanelSettings(patience=20))
        app = create_app(store, WebSettings(open_paths=PATHS))
        panel.install(app)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        with listen("127.0.0.1", 0) as listening:
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield f"http://127.0.0.1:{listening.getsockname()[1]}", store
            finally:
                server.should_exit = True
                thread.join()
                panel.close()


@pytest.fixture(scope="module")
def open_browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def browser(open_browser: Browser, site: tuple[str, Store]) -> Browser:
    """A browser with a desk's window and nobody signed in."""
    open_browser.call("Network.clearBrowserCookies")
    open_browser.size(1280, 900)
    open_browser.scheme("light")
    open_browser.events.clear()
    return open_browser


def sign_in(browser: Browser, base: str) -> None:
    """With the keyboard alone, from the first field on."""
    browser.open(f"{base}/login")
    browser.run("document.querySelector('#name').focus()")
    browser.type("ola")
    browser.press("Tab")
    browser.type(PASSWORD)
    browser.submit_by("Enter")
    assert browser.run("location.pathname") == "/"


def paths(store: Store) -> dict[str, str]:
    """Every page, by name."""
    held = max(one.id for one in store.held())
    outcome = max(one.id for one in store.outcomes())
    return {
        "overview": "/",
        "address": link("/address", address=OFFICE),
        "address attacked": link("/address", address=ATTACKED),
        "address unknown": link("/address", address="nobody@nowhere.example"),
        "customer": link("/customer", customer="K-1042"),
        "customer attacked": link("/customer", customer=HOSTILE),
        "message": link("/message", id="77120.0@shop.example"),
        "message attacked": link("/message", id=f"0{HOSTILE}@shop.example"),
        "outcome attacked": link("/outcome", id=outcome),
        "log": "/log",
        "streams": "/streams",
        "providers": "/providers",
        "review": "/review",
        "held": "/held",
        "held attacked": link("/held/one", id=held),
        "no such page": link("/outcome", id="x"),
    }


CONTRAST = """
(() => {
  const parse = text => { const m = text.match(/[\\d.]+/g).map(Number); return m.length === 3 ? [...m, 1] : m };
  const light = ([r, g, b]) => { const f = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b) };
  const ground = element => { for (let e = element; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c } return [255, 255, 255, 1] };
  const poor = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest('svg') || element.matches('.hidden, .skip') || !element.checkVisibility()) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) poor.push(element.tagName + '.' + element.className + ' ' + ((a + 0.05) / (b + 0.05)).toFixed(2));
  }
  return poor;
})()
"""
UNLABELLED = """
[...document.querySelectorAll('input:not([type=hidden]), select, textarea, button')]
  .filter(e => e.tagName === 'BUTTON' ? !e.textContent.trim() : !(e.labels && e.labels.length))
  .map(e => e.outerHTML)
"""
SHAPE = """
({h1: document.querySelectorAll('h1').length, main: document.querySelectorAll('main').length,
  lang: document.documentElement.lang, ids: (ids => ids.length - new Set(ids).size)([...document.querySelectorAll('[id]')].map(e => e.id)),
  charts: [...document.querySelectorAll('figure svg[role=img]')].every(e => e.getAttribute('aria-label')),
  tables: [...document.querySelectorAll('figure')].every(f => f.parentElement.querySelector('details table'))})
"""


def faults(browser: Browser) -> list[Any]:
    """What the browser complained of: errors, broken policies, and dialogs that a script opened."""
    found = []
    for event in browser.events:
        method, params = event.get("method"), event.get("params", {})
        if method in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening"):
            found.append(event)
        if method == "Log.entryAdded" and "status of 40" not in params["entry"]["text"]:
            found.append(params["entry"])
    return found


def test_every_page_is_sound(browser: Browser, site: tuple[str, Store]) -> None:
    """No error, no broken policy, no script of a mail; a heading, labels, tables behind charts; on a desk and a phone."""
    base, store = site
    sign_in(browser, base)
    for name, path in paths(store).items():
        browser.size(1280, 900)
        browser.open(base + path)
        assert faults(browser) == [], name
        assert browser.run(UNLABELLED) == [], name
        told = browser.run(SHAPE)
        assert told == {"h1": 1, "main": 1, "lang": "en", "ids": 0, "charts": True, "tables": True}, name
        assert browser.run("document.scripts.length + document.querySelectorAll('img, iframe').length") == 0, name
        browser.size(390, 844, phone=True)
        assert browser.run("document.documentElement.scrollWidth") == 390, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(browser: Browser, site: tuple[str, Store], scheme: str) -> None:
    """A contrast of 4.5 and more for all text of all pages, in both themes (WCAG 1.4.3)."""
    base, store = site
    browser.scheme(scheme)
    browser.open(f"{base}/login")
    assert browser.run(CONTRAST) == []
    sign_in(browser, base)
    grounds = set()
    for name, path in paths(store).items():
        browser.open(base + path)
        browser.run("document.querySelectorAll('details').forEach(e => e.open = true)")
        assert browser.run(CONTRAST) == [], name
        grounds.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(grounds) == 1


def test_a_support_desk_works_with_the_keyboard(browser: Browser, site: tuple[str, Store]) -> None:
    """Sign in, skip to the content, look an address up, lift it with a reason: no mouse, and the focus is always seen."""
    base, store = site
    sign_in(browser, base)
    browser.press("Tab")
    assert browser.run("document.activeElement.className") == "skip"
    assert browser.run("document.activeElement.getBoundingClientRect().top") >= 0
    browser.press("Tab")
    browser.press("Tab")
    assert browser.run("document.activeElement.id") == "q"
    assert browser.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    browser.type(OFFICE)
    browser.submit_by("Enter")
    assert browser.run("document.querySelector('.verdict strong').textContent") == "No, we do not mail it"
    for _ in range(60):
        browser.press("Tab")
        if browser.run("document.activeElement.id") == "lift-note-1":
            break
    browser.type("asked on the phone")
    browser.submit_by("Enter")
    assert browser.run("document.querySelector('[role=status]').textContent") == "Lifted: mail goes there again."
    assert browser.run("document.querySelector('.verdict strong').textContent") == "Yes, we mail it"
    assert [one.note for one in store.audit(OFFICE)][-1] == "asked on the phone"


def test_pictures_of_the_pages_hold_something(browser: Browser, site: tuple[str, Store], tmp_path: Path) -> None:
    """A screenshot of each theme and width is no blank page, and the themes differ."""
    base, _ = site
    sign_in(browser, base)
    sizes = {}
    for scheme in ("light", "dark"):
        for width, phone in ((1280, False), (390, True)):
            browser.scheme(scheme)
            browser.size(width, 844, phone=phone)
            browser.open(base)
            path = tmp_path / f"{scheme}-{width}.png"
            browser.shot(path)
            sizes[scheme, width] = path.read_bytes()
    assert min(map(len, sizes.values())) > 10_000
    assert len(set(sizes.values())) == 4

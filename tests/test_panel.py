"""The panel over a real application: who may come in, what they see and change, and that no mail can turn against it."""

from __future__ import annotations

import ast
import csv
import io
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from fastapi.testclient import TestClient
from outcome_factory import make_message, make_outcome
from panel_data import Clock

from bounceparse.cli import main
from bounceparse.db import Store, users
from bounceparse.errors import ConfigError
from bounceparse.health import HealthSettings
from bounceparse.outcomes import Status
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import Kind, Report
from bounceparse.web.app import WebSettings, create_app
from bounceparse.web.listening import listen
from bounceparse.web.panel import visit, words
from bounceparse.web.panel.app import PAGES, PATHS, Panel
from bounceparse.web.panel.visit import PanelSettings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PASSWORD = "wind over the harbour"
SHOP, GARDEN = "anna@shop-mail.example", "jan@garden-mail.example"


@pytest.fixture(autouse=True)
def _quick_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
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


@contextmanager
def serving(store: Store, settings: PanelSettings | None = None) -> Iterator[TestClient]:
    """A browser without a script: it keeps cookies and follows nothing by itself."""
    panel = Panel(store, settings or PanelSettings())
    app = create_app(store, WebSettings(open_paths=PATHS))
    panel.install(app)
    scheme = "https" if settings and settings.secure else "http"
    try:
        yield TestClient(app, base_url=f"{scheme}://panel.example", follow_redirects=False)
    finally:
        panel.close()


@pytest.fixture
def browser(store: Store) -> Iterator[TestClient]:
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


def sign_in(client: TestClient, name: str, password: str = PASSWORD, **more: str) -> httpx.Response:
    page = client.get("/login")
    given = {**fields_of(page.text, "/login"), "name": name, "password": password, **more}
    return client.post("/login", data=given)


def csrf(client: TestClient) -> str:
    return fields_of(client.get("/").text, "/logout")["csrf"]


# Signing in


def test_every_page_asks_who_you_are(browser: TestClient) -> None:
    """No page shows anything, and no form does anything, to whom nobody knows."""
    for page in PAGES:
        if page.role is None:
            continue
        if page.form:
            answer = browser.post(page.path, data={"address": SHOP, "note": "x"})
            assert answer.status_code == 403, page.path
        else:
            answer = browser.get(page.path, params={"address": SHOP})
            assert answer.status_code == 303, page.path
            assert answer.headers["location"].startswith("/login?next="), page.path
        assert SHOP not in answer.text


def test_a_user_signs_in_goes_on_and_signs_out(browser: TestClient, store: Store) -> None:
    asked = browser.get("/address", params={"address": SHOP})
    page = browser.get(asked.headers["location"])
    given = {**fields_of(page.text, "/login"), "name": "Ola ", "password": PASSWORD}
    answer = browser.post("/login", data=given)
    assert (answer.status_code, answer.headers["location"]) == (303, "/address?address=anna%40shop-mail.example")
    assert "No, we do not mail it" in browser.get(answer.headers["location"]).text
    assert browser.get("/login").headers["location"] == "/"
    assert browser.post("/logout", data={"csrf": csrf(browser)}).headers["location"] == "/login"
    assert browser.get("/").status_code == 303


def test_signing_out_ends_the_session_in_the_database(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    stolen = browser.cookies["bounceparse"]
    browser.post("/logout", data={"csrf": csrf(browser)})
    browser.cookies.set("bounceparse", stolen)
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_to_no_other_site(browser: TestClient, target: str) -> None:
    assert sign_in(browser, "ola", next=target).headers["location"] == "/"


def test_a_session_ends_after_twelve_hours_and_prune_forgets_it(
    browser: TestClient, store: Store, clock: Clock
) -> None:
    sign_in(browser, "ola")
    clock.now += timedelta(hours=11, minutes=59)
    assert browser.get("/log").status_code == 200
    assert store.prune()["sessions that have run out"] == 0
    clock.now += timedelta(minutes=2)
    assert browser.get("/log").status_code == 303
    assert store.prune(dry_run=True)["sessions that have run out"] == 1
    assert store.prune()["sessions that have run out"] == 1
    assert store.prune()["sessions that have run out"] == 0


def test_wrong_passwords_unknown_and_disabled_users_are_answered_alike(browser: TestClient, store: Store) -> None:
    store.disable_user("jan")
    answers = [
        sign_in(browser, name, password)
        for name, password in (
            ("ola", "wrong"),
            ("nobody", PASSWORD),
            ("jan", PASSWORD),
            ("", ""),
            ("x" * 90, "y" * 900),
        )
    ]
    assert [one.status_code for one in answers] == [401] * 5
    assert all("do not fit" in one.text for one in answers)
    assert browser.get("/").status_code == 303


def test_a_disabled_user_and_one_with_another_password_are_out_at_once(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    store.disable_user("ola")
    assert browser.get("/").status_code == 303
    store.enable_user("ola")
    assert browser.get("/").status_code == 303
    sign_in(browser, "ola")
    store.set_password("ola", "another good password")
    assert browser.get("/").status_code == 303
    assert sign_in(browser, "ola").status_code == 401
    assert sign_in(browser, "ola", "another good password").status_code == 303


def test_sign_ins_that_fail_are_throttled(browser: TestClient) -> None:
    """After five failures even the right password has to wait, and says how long; others are not kept out."""
    assert [sign_in(browser, "ola", "wrong").status_code for _ in range(5)] == [401] * 5
    answer = sign_in(browser, "ola")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 900
    assert sign_in(browser, "jan").status_code == 303


def test_behind_a_proxy_each_client_is_throttled_apart(store: Store) -> None:
    """The last address that the proxy added counts; what a client writes before it does not."""
    with serving(store, PanelSettings(secure=True, behind_proxy=True)) as browser:
        for number in range(5):
            browser.headers["x-forwarded-for"] = f"198.51.100.{number}, 192.0.2.1"
            assert sign_in(browser, "ola", "wrong").status_code == 401
        assert sign_in(browser, "ola").status_code == 429
        browser.headers["x-forwarded-for"] = "192.0.2.2"
        assert sign_in(browser, "ola").status_code == 303


def test_cookies_stay_with_us(store: Store) -> None:
    """Out of reach of scripts and of other sites, and by TLS alone where there is TLS."""
    with serving(store, PanelSettings(secure=True)) as browser:
        told = sign_in(browser, "ola").headers["set-cookie"].lower()
        assert told.startswith("__host-bounceparse=")
        assert all(word in told for word in ("httponly", "secure", "samesite=strict", "path=/"))
        assert "strict-transport-security" in browser.get("/").headers
    with serving(store) as browser:
        told = sign_in(browser, "ola").headers["set-cookie"].lower()
        assert told.startswith("bounceparse=")
        assert "httponly" in told
        assert "samesite=strict" in told


def test_the_database_holds_no_password_and_no_session(store: Store, database_url: str) -> None:
    import sqlalchemy as sa

    token = store.sign_in("ola", PASSWORD)
    assert token is not None
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        rows = [
            *connection.execute(sa.text("SELECT * FROM bounceparse_users")).all(),
            *connection.execute(sa.text("SELECT * FROM bounceparse_sessions")).all(),
        ]
    engine.dispose()
    assert len(rows) == 4
    assert PASSWORD not in repr(rows)
    assert token not in repr(rows)
    assert token.encode() not in b"".join(bytes(cell) for row in rows for cell in row if isinstance(cell, bytes))


def test_a_password_takes_memory_and_time_to_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored names its cost, so that it can rise: 32 MiB and three rounds today."""
    monkeypatch.undo()
    stored = users.hash_password("some words together")
    assert stored.startswith("scrypt$15$8$3$")
    assert users.check_password("some words together", stored)
    assert not users.check_password("other words together", stored)
    assert users.hash_password("some words together") != stored


def test_a_link_from_elsewhere_finds_its_page(browser: TestClient) -> None:
    """Strict cookies do not come with a click on another site: the page asks once more by itself, as its own."""
    answer = browser.get("/log", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert browser.get("/log", headers={"sec-fetch-site": "same-origin"}).status_code == 303


# Forms


def test_a_form_without_its_token_changes_nothing(browser: TestClient, store: Store) -> None:
    """Nor with another session's, nor sent by another site: all forms of all pages."""
    store.stop_stream("shop-news", by="x", note="x")
    sign_in(browser, "jan")
    others = csrf(browser)
    browser.cookies.clear()
    sign_in(browser, "ola")
    mine = csrf(browser)
    given = {"address": SHOP, "note": "x", "stream": "shop-news", "request": "1"}
    for page in PAGES:
        if not page.form:
            continue
        for token in ({}, {"csrf": ""}, {"csrf": others}, {"csrf": "\u00e9"}):
            assert browser.post(page.path, data={**given, **token}).status_code == 403, page.path
        for header in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
            assert browser.post(page.path, data={**given, "csrf": mine}, headers=header).status_code == 403, page.path
    assert not store.standing(SHOP).mailable
    assert not store.may_send("shop-news")
    own = {"origin": "http://panel.example", "sec-fetch-site": "same-origin"}
    lifted = browser.post("/address/lift", data={**given, "csrf": mine}, headers=own)
    assert lifted.status_code == 303
    assert store.standing(SHOP).mailable


def test_a_form_that_cannot_be_read_is_refused(browser: TestClient) -> None:
    sign_in(browser, "ola")
    token = csrf(browser)
    assert browser.post("/address/lift", content=b"csrf=" + b"x" * 70_000).status_code == 413
    assert browser.post("/address/lift", content=b"\xff\xfe").status_code == 422
    assert browser.post("/address/lift", data={"csrf": token, "address": "no address", "note": "x"}).status_code == 422
    assert browser.post("/address/lift", data={"csrf": token, "address": SHOP, "note": " "}).status_code == 422
    assert browser.post("/review/accept", data={"csrf": token, "request": "x"}).status_code == 422
    assert browser.post("/review/accept", data={"csrf": token, "request": "77"}).status_code == 409
    assert browser.post("/address/suppress", data={"csrf": token, "address": SHOP, "note": "x", "until": "soon"}).status_code == 422  # fmt: skip


def test_a_reader_changes_nothing(browser: TestClient, store: Store) -> None:
    sign_in(browser, "jan")
    token = csrf(browser)
    page = browser.get("/address", params={"address": SHOP}).text
    assert "/address/lift" not in page
    for one in PAGES:
        if one.role == "write":
            answer = browser.post(one.path, data={"csrf": token, "address": SHOP, "note": "x", "stream": "shop-news"})
            assert answer.status_code == 403, one.path
    assert not store.standing(SHOP).mailable


# What people do


def test_an_address_is_lifted_and_suppressed_with_a_reason(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    page = browser.get("/address", params={"address": SHOP}).text
    assert "No, we do not mail it" in page
    assert "550 5.1.1 nobody at shop" in page
    assert "the ledger has this message to this recipient" in page
    assert "test/rule" in page
    given = {**fields_of(page, "/address/lift"), "address": SHOP, "scope": "", "note": "asked on the phone"}
    answer = browser.post("/address/lift", data=given)
    page = browser.get(answer.headers["location"]).text
    assert "Lifted: mail goes there again." in page
    assert "Yes, we mail it" in page
    assert store.standing(SHOP).mailable
    acts = [(one.actor, one.action, one.note) for one in store.audit(SHOP)]
    assert acts[-1] == ("user ola", "lift", "asked on the phone")
    assert "asked on the phone" in page
    given = {**fields_of(page, "/address/suppress"), "address": SHOP, "scope": "marketing:shop", "note": "wants no news", "until": "2099-01-31"}  # fmt: skip
    page = browser.get(browser.post("/address/suppress", data=given).headers["location"]).text
    assert "Yes, with exceptions" in page
    assert "marketing of shop" in page
    assert store.standing(SHOP).suppressions[0].until is not None


def test_the_card_of_a_customer_lifts_too(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    page = browser.get("/customer", params={"customer": "shop-7"}).text
    assert "An address cannot be mailed" in page
    given = {**fields_of(page, "/address/lift"), "address": SHOP, "note": "asked"}
    answer = browser.post("/address/lift", data=given)
    assert answer.headers["location"] == "/customer?customer=shop-7&done=lifted"
    assert "Yes, we mail it" in browser.get(answer.headers["location"]).text
    assert "Nothing is known of this customer" in browser.get("/customer", params={"customer": "x"}).text


def test_advice_is_given_in_both_languages(browser: TestClient) -> None:
    """The page speaks the reader's language; the advice of the other one is there to be read out."""
    sign_in(browser, "ola")
    english = browser.get("/address", params={"address": SHOP}).text
    assert "this mailbox does not exist" in english
    assert "taka skrzynka nie istnieje" in english
    answer = browser.get("/address", params={"address": SHOP, "lang": "pl"})
    assert answer.headers["location"] == "/address?address=anna%40shop-mail.example"
    polish = browser.get(answer.headers["location"]).text
    assert '<html lang="pl">' in polish
    assert "Nie, nie wysyłamy" in polish
    assert "this mailbox does not exist" in polish
    assert '<html lang="en">' in browser.get("/", params={"lang": "en"}, follow_redirects=True).text


def test_every_word_is_there_in_polish() -> None:
    """Each text of the templates and of the code, with the same values to fill in, and none that nothing uses."""
    folder = Path(words.__file__).parent
    used = set()
    for template in folder.glob("templates/*.html"):
        used |= set(re.findall(r'\b_\("([^"]+)"', template.read_text("utf-8")))
    for module in folder.glob("*.py"):
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                place = {"Refused": 1, "_error": 2, "self": 0}.get(name)
                text = node.args[place] if place is not None and len(node.args) > place else None
                used |= {text.value} if isinstance(text, ast.Constant) else set()
    for table in (words.TRUST, words.LEVEL, words.WHY_IT_WAITS, words._SCOPES, visit._DONE):
        used |= set(table.values())
    used |= {"delivered", "waiting", "deferred", "softbounce", "hardbounce", "spambounce"}  # the parts of the charts
    polish = words.polish()
    assert len(used) > 200
    assert used - polish.keys() == set()
    assert polish.keys() - used == set()
    for english, text in polish.items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", text)), english


def test_a_search_leads_to_what_its_words_name(browser: TestClient) -> None:
    sign_in(browser, "ola")
    found = {
        words: browser.get("/search", params={"q": words}).headers["location"]
        for words in (SHOP, " shop.1@shop.example ", "<unknown@shop.example>", "shop-7", "")
    }
    assert list(found.values()) == [
        "/address?address=anna%40shop-mail.example",
        "/message?id=shop.1%40shop.example",
        "/message?id=unknown%40shop.example",
        "/customer?customer=shop-7",
        "/",
    ]


def test_a_message_has_its_trail(browser: TestClient) -> None:
    sign_in(browser, "ola")
    page = browser.get("/message", params={"id": "shop.1@shop.example"}).text
    assert SHOP in page
    assert "550 5.1.1 nobody at shop" in page
    assert "user-unknown" in page
    assert "No such message is in the ledger" in browser.get("/message", params={"id": "x@y.example"}).text


def test_streams_are_stopped_and_released_with_a_reason(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    page = browser.get("/streams").text
    given = {**fields_of(page, "/streams/stop"), "stream": "shop-news", "note": "wrong prices"}
    page = browser.get(browser.post("/streams/stop", data=given).headers["location"]).text
    assert "The stream is stopped." in page
    assert "stopped by user ola: wrong prices" in page
    assert not store.may_send("shop-news")
    assert "stream shop-news is stopped" in browser.get("/").text
    assert browser.post("/streams/stop", data=given).status_code == 409
    given = {**fields_of(page, "/streams/release"), "note": "prices corrected"}
    assert given["stream"] == "shop-news"
    browser.post("/streams/release", data=given)
    assert store.may_send("shop-news")
    assert browser.post("/streams/stop", data={**given, "stream": "unknown"}).status_code == 404


def test_thresholds_stand_beside_the_rates(database_url: str, clock: Clock) -> None:
    with Store(database_url, clock=clock) as store:
        for number in range(600):
            store_row(store, number, clock)
        for number in range(40):
            store.record([make_message(make_outcome("spam-content", recipient=f"p{number}@mail.example", message_id=f"{number}@shop.example"))])  # fmt: skip
        store.make_user("ola", PASSWORD)
        with serving(store) as browser:
            sign_in(browser, "ola")
            page = " ".join(re.sub("<[^>]+>", " ", browser.get("/streams").text).split())
            assert "spambounce 6.67 % ▲ above the threshold 40 600 1.0 % 2.0 %" in page


def store_row(store: Store, number: int, clock: Clock) -> None:
    store.record_sent(f"{number}@shop.example", f"p{number}@mail.example", stream="news", sent_at=clock().isoformat())


def test_requests_are_accepted_and_rejected(browser: TestClient, store: Store) -> None:
    for number in (1, 2):
        store.record_sent(f"r{number}@shop.example", f"r{number}@x.example", stream="shop-news", sender="shop")
        raw = f"From: r{number}@x.example\nTo: news@shop.example\nSubject: unsubscribe\nMessage-ID: <u{number}@x.example>\n\nPlease unsubscribe me\n"  # fmt: skip
        store.ingest(raw.encode())
    waiting = list(store.requests())
    assert len(waiting) == 2
    sign_in(browser, "ola")
    assert "Unsubscribe requests that wait for a decision: 2" in browser.get("/").text
    page = browser.get("/review").text
    given = {**fields_of(page, "/review/accept"), "note": "read it"}
    for one, path in zip(waiting, ("/review/accept", "/review/reject"), strict=True):
        assert browser.post(path, data={**given, "request": str(one.id)}).status_code == 303
    assert [(one.state, one.decided_by) for one in store.requests(None)] == [
        ("accepted", "user ola"),
        ("rejected", "user ola"),
    ]
    assert store.standing("r1@x.example").suppressions
    assert "No request waits." in browser.get("/review").text


# Looking


def test_the_overview_counts_today_and_backs_its_charts_by_tables(browser: TestClient, store: Store) -> None:
    store.note_poll("bounces")
    sign_in(browser, "ola")
    page = browser.get("/").text
    plain = " ".join(re.sub("<[^>]+>", " ", page).split())
    assert "Reported today" in plain
    assert "2 hardbounce" in plain
    assert "of 2 messages of the last 7 days arrived" in plain
    assert re.search(r"bounces \d{4}-\d\d-\d\d \d\d:\d\d just now 2", plain)
    assert page.count("<figure") == 2
    assert page.count('<svg viewBox="0 0 440') == page.count("The numbers as a table") == 2
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    cells = re.search(rf'<th scope="row">{today}</th>(.*?)</tr>', page)
    assert cells is not None
    assert re.sub("<[^>]+>", " ", cells[1]).split() == ["2", "0", "0", "0", "0", "0", "2", "0", "0"]


def test_an_empty_database_says_what_to_do(database_url: str) -> None:
    with Store(database_url) as store:
        store.make_user("ola", PASSWORD)
        with serving(store) as browser:
            sign_in(browser, "ola")
            page = browser.get("/").text
            assert "Nothing was recorded in the last 14 days" in page
            assert "bounceparse poll" in page
            for path, told in (
                ("/log", "Nothing is recorded that fits"),
                ("/streams", "No stream is known"),
                ("/providers", "No report of these days named a provider"),
                ("/held", "Nothing is held"),
                ("/review", "No request waits"),
                ("/address?address=a@b.example", "We never mailed this address"),
            ):
                assert told in browser.get(path).text, path


def test_the_log_filters_and_exports(browser: TestClient, store: Store) -> None:
    said = {"recipient": SHOP, "message_id": "shop.1@shop.example"}
    store.record([make_message(make_outcome("mailbox-full", **said)), make_message(make_outcome("abuse", **said), account="complaints")])  # fmt: skip
    sign_in(browser, "ola")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    wanted: dict[str, tuple[dict[str, str], int]] = {
        "all": ({}, 4),
        "status": ({"status": "hardbounce"}, 2),
        "reason": ({"reason": "mailbox-full"}, 1),
        "stream": ({"stream": "shop-news"}, 3),
        "provider": ({"provider": "gmail"}, 2),
        "mailbox": ({"mailbox": "complaints"}, 1),
        "address": ({"address": SHOP.upper()}, 3),
        "customer": ({"customer": "shop-7"}, 3),
        "day": ({"since": today, "until": today}, 4),
        "past": ({"until": "2020-01-01"}, 0),
        "both": ({"status": "hardbounce", "address": GARDEN}, 1),
        "unknown": ({"status": "nonsense"}, 4),
    }
    for name, (query, number) in wanted.items():
        page = browser.get("/log", params=query).text
        assert page.count('href="/outcome?id=') == number, name
        answer = browser.get("/log/export", params={**query, "format": "csv"})
        assert len(list(csv.DictReader(io.StringIO(answer.text)))) == number, name
        assert "attachment" in answer.headers["content-disposition"]
        answer = browser.get("/log/export", params={**query, "format": "jsonl"})
        assert len(answer.text.splitlines()) == number, name
    assert browser.get("/log", params={"since": "yesterday"}).status_code == 422


def test_the_log_goes_on_page_by_page(browser: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it looks through many that are not wanted: it says how far it looked, and nothing is passed over."""
    from bounceparse.db import panel

    monkeypatch.setattr(panel, "SCAN", 30)
    messages = [
        make_message(
            make_outcome("mailbox-full" if number % 40 else "virus", recipient=f"n{number}@x.example", message_id=None)
        )
        for number in range(130)
    ]
    store.record(messages)
    sign_in(browser, "ola")
    for query, number in (
        ({}, 132),
        ({"reason": "virus"}, 4),
        ({"status": "hardbounce"}, 2),
        ({"reason": "undefined"}, 0),
    ):
        seen: list[str] = []
        target, pages = f"/log?{'&'.join(f'{name}={value}' for name, value in query.items())}", 0
        while target:
            page = browser.get(target).text
            seen += re.findall(r'href="/outcome\?id=(\d+)"', page)
            following = re.search(r'rel="next" href="([^"]+)"', page)
            target, pages = following[1].replace("&amp;", "&") if following else "", pages + 1
            assert pages < 20
        assert len(seen) == len(set(seen)) == number, query
        assert seen == sorted(seen, key=int, reverse=True)


def test_an_outcome_tells_all_of_itself(browser: TestClient, store: Store) -> None:
    sign_in(browser, "ola")
    number = next(iter(store.outcomes())).id
    page = browser.get("/outcome", params={"id": number}).text
    for told in ("550 5.1.1 nobody at shop", "test/rule", "mx.example.pl", SHOP, "shop-7", "correlated"):
        assert told in page, told
    for strange in ("0", "999999", "x", "-1", "9" * 30, ""):
        assert browser.get("/outcome", params={"id": strange}).status_code == 404


def test_providers_show_their_typical_reasons(browser: TestClient, store: Store) -> None:
    for number in range(3):
        store.record([make_message(make_outcome("blocklisted", recipient=f"b{number}@x.example", provider="gmail", message_id=None))])  # fmt: skip
    sign_in(browser, "ola")
    plain = " ".join(re.sub("<[^>]+>", " ", browser.get("/providers").text).split())
    assert "gmail 5 blocklisted 60 % user-unknown 40 % 0 0 0 2 3 0" in plain


def test_held_mail_is_explained(browser: TestClient, store: Store) -> None:
    raw = b"From: mailer-daemon@mx.example\r\nSubject: failure notice\r\n\r\nHi. This is the qmail-send program at mx.example.\r\n\r\n<jan@x.example>:\r\n550 5.1.1 no such user\r\n"  # fmt: skip
    report = Report(Kind.OTHER, None, (), ())
    store.record_held([ReadMessage(Place("bounces", "INBOX", 7, 9), b"h" * 32, len(raw), report, (), error="ValueError: x", raw=raw)])  # fmt: skip
    sign_in(browser, "ola")
    assert "Messages that could not be read: 1" in browser.get("/").text
    page = browser.get("/held").text
    target = re.search(r'href="(/held/one\?id=\d+)"', page)
    assert target is not None
    page = browser.get(target[1]).text
    for told in ("ValueError: x", "qmail", "user-unknown", "no such user", "text/plain", "UID 9"):
        assert told in page, told
    assert browser.get("/held/one", params={"id": 999}).status_code == 404


# Tenants


def test_a_tenant_sees_and_touches_its_own_alone(browser: TestClient, store: Store) -> None:
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


HOSTILE = """"'><script>alert(document.domain)</script><img src=x onerror=alert(1)>{{7*7}}</title></textarea>\u202egnp.exe\x1b[31m"""


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


class _Shape(HTMLParser):
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


def all_pages(
    browser: TestClient, store: Store, address: str, customer: str, message: str
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


def test_no_page_runs_what_a_mail_says(browser: TestClient, store: Store) -> None:
    """Script in every field, all pages: it is shown as text, and changes neither elements nor the direction of text."""
    hostile_store(store)
    sign_in(browser, "ola")
    seen, shown = set(), set()
    for path, page in all_pages(browser, store, f'"{HOSTILE}"@x.example', HOSTILE, f"0{HOSTILE}@shop.example"):
        seen.add(path)
        shape = _Shape()
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
    shape = _Shape()
    shape.feed(error.text)
    assert shape.bad == []


def test_no_cell_of_the_export_is_a_formula(browser: TestClient, store: Store) -> None:
    store.record([make_message(make_outcome(recipient="f@x.example", diagnostic='=HYPERLINK("https://evil.example")', message_id=None))])  # fmt: skip
    sign_in(browser, "ola")
    rows = list(csv.DictReader(io.StringIO(browser.get("/log/export").text)))
    assert rows[-1]["diagnostic"].startswith("'=")


def test_every_answer_forbids_scripts_frames_and_keeping(browser: TestClient) -> None:
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


def test_the_api_beside_it_still_asks_for_its_token(browser: TestClient) -> None:
    """A session of the panel opens nothing of the API."""
    sign_in(browser, "ola")
    for path in ("/v1/stats", "/metrics", "/v1/openapi.json", "/nothing", "//v1/stats"):
        assert browser.get(path).status_code in (401, 404), path
        assert "hardbounce" not in browser.get(path).text


def test_without_the_panel_its_paths_are_closed(store: Store) -> None:
    client = TestClient(create_app(store), follow_redirects=False)
    assert {client.get(path).status_code for path in ("/", "/login", "/log", "/static/panel.css")} == {401}


def test_an_answer_waits_for_no_acknowledgement() -> None:
    """Connections of the socket that `serve` listens on send at once, not 40 ms later."""
    with listen("127.0.0.1", 0) as listening, socket.create_connection(listening.getsockname()):
        accepted, _ = listening.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_fault_shows_nothing_of_itself(browser: TestClient, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(browser, "ola")

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("a secret path")

    monkeypatch.setattr(store, "log", broken)
    answer = browser.get("/log")
    assert answer.status_code == 500
    assert "a secret path" not in answer.text
    assert "its log says more" in answer.text


# Counting behind the pages


def test_a_page_never_waits_for_a_long_count() -> None:
    """It says that it is being counted, then shows the old numbers while new ones are counted."""
    from threading import Event

    from bounceparse.web.panel.figures import Figures

    now, gate, calls = 0.0, Event(), []
    figures = Figures(clock=lambda: now)

    def count() -> int:
        nonlocal now
        calls.append(1)
        assert gate.wait(20)
        now += 2.0
        return len(calls)

    assert figures.get("k", count) is None
    assert figures.get("k", count) is None
    gate.set()
    while (found := figures.get("k", count)) is None:
        pass
    assert (found.value, len(calls)) == (1, 1)
    now += 30
    assert figures.get("k", count).value == 1  # type: ignore[union-attr]
    gate.clear()
    now += 20
    old = figures.get("k", count)
    assert (old.value, old.age) == (1, 50.0)  # type: ignore[union-attr]
    gate.set()
    while figures.get("k", count).value == 1:  # type: ignore[union-attr]
        pass
    assert len(calls) == 2
    figures.close()


def test_a_short_count_is_never_old() -> None:
    from bounceparse.web.panel.figures import Figures

    figures, calls = Figures(), []
    for number in (1, 2, 3):
        found = figures.get("k", lambda: calls.append(1) or len(calls))  # type: ignore[func-returns-value]
        assert found is not None
        assert found.value == number
    figures.close()


def test_a_count_that_fails_is_tried_again() -> None:
    from bounceparse.web.panel.figures import Figures

    figures = Figures()
    with pytest.raises(ConfigError):
        figures.get("k", _raising(ConfigError("x")))
    found = figures.get("k", lambda: 7)
    assert found is not None
    assert found.value == 7
    figures.close()


def _raising(error: Exception) -> Callable[[], Any]:
    def count() -> Any:
        raise error

    return count


# Users, by the command line


def cli(url: str, *arguments: str, given: str = "") -> Any:
    return CliRunner().invoke(main, ["users", *arguments], env={"BOUNCEPARSE_DATABASE__URL": url}, input=given)


def test_users_are_made_listed_disabled_by_commands(database_url: str) -> None:
    assert cli(database_url, "new", "ola", "--role", "write", given=f"{PASSWORD}\n").exit_code == 0
    made = cli(database_url, "new", "jan", "--sender", "garden", "--generate")
    assert made.exit_code == 0
    with Store(database_url) as store:
        assert store.sign_in("ola", PASSWORD)
        assert store.sign_in("jan", made.stdout.strip())
        assert [(one.name, one.role, one.sender) for one in store.users()] == [
            ("jan", "read", "garden"),
            ("ola", "write", None),
        ]
        assert cli(database_url, "disable", "ola").exit_code == 0
        assert store.sign_in("ola", PASSWORD) is None
        assert cli(database_url, "enable", "ola").exit_code == 0
        assert cli(database_url, "password", "ola", given="another good password\n").exit_code == 0
        assert store.sign_in("ola", PASSWORD) is None
        assert store.sign_in("ola", "another good password")
        acts = [one.action for one in store.audit("ola")]
        assert acts == ["new user", "disable user", "enable user", "new password"]
    assert '"role": "write"' in cli(database_url, "list", "--json").stdout
    assert "garden" in cli(database_url, "list").stdout


def test_what_is_wrong_with_a_user_is_said(database_url: str) -> None:
    cli(database_url, "new", "ola", given=f"{PASSWORD}\n")
    for arguments, given, told in (
        (("new", "ola"), PASSWORD, "already"),
        (("new", "Ola!"), PASSWORD, "no name of a user"),
        (("new", "jan"), "short", "12 to 1000 characters"),
        (("new", "jan"), "", "no password came"),
        (("disable", "nobody"), "", "there is no user"),
        (("password", "nobody"), PASSWORD, "there is no user"),
    ):
        result = cli(database_url, *arguments, given=given)
        assert (result.exit_code, told in result.stderr) == (1, True), arguments


def test_a_notice_is_no_status_that_is_left_out(store: Store) -> None:
    """The pages know every status that an outcome can have."""
    from bounceparse.web.panel.visit import templates

    assert set(templates().globals["statuses"]) == set(Status) - {Status.INJECTED}

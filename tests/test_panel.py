"""What the panel shows, and what people do with it."""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from outcome_factory import make_message, make_outcome
from panel_client import (
    GARDEN,
    PASSWORD,
    SHOP,
    browser,
    clock,
    fields_of,
    quick_passwords,
    serving,
    sign_in,
    store,
)
from panel_data import Clock

from bounceparse.db import Store
from bounceparse.errors import ConfigError
from bounceparse.outcomes import Status
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import Kind, Report
from bounceparse.web.panel import visit, words
from bounceparse.web.panel.charts import stacked

__all__ = ["browser", "clock", "quick_passwords", "store"]


# What people do


def test_an_address_is_lifted_and_suppressed_with_a_reason(browser: httpx.Client, store: Store) -> None:
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


def test_the_card_of_a_customer_lifts_too(browser: httpx.Client, store: Store) -> None:
    sign_in(browser, "ola")
    page = browser.get("/customer", params={"customer": "shop-7"}).text
    assert "An address cannot be mailed" in page
    given = {**fields_of(page, "/address/lift"), "address": SHOP, "note": "asked"}
    answer = browser.post("/address/lift", data=given)
    assert answer.headers["location"] == "/customer?customer=shop-7&done=lifted"
    assert "Yes, we mail it" in browser.get(answer.headers["location"]).text
    assert "Nothing is known of this customer" in browser.get("/customer", params={"customer": "x"}).text


def test_advice_is_given_in_both_languages(browser: httpx.Client) -> None:
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
    for table in (words.TRUST, words.LEVEL, words.WHY_IT_WAITS, words._SCOPES, words._NAMELESS, visit._DONE):
        used |= set(table.values())
    used |= {"delivered", "waiting", "deferred", "softbounce", "hardbounce", "spambounce"}  # the parts of the charts
    polish = words.polish()
    assert len(used) > 200
    assert used - polish.keys() == set()
    assert polish.keys() - used == set()
    for english, text in polish.items():
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", text)), english


def test_a_search_leads_to_what_its_words_name(browser: httpx.Client) -> None:
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


def test_a_message_has_its_trail(browser: httpx.Client) -> None:
    sign_in(browser, "ola")
    page = browser.get("/message", params={"id": "shop.1@shop.example"}).text
    assert SHOP in page
    assert "550 5.1.1 nobody at shop" in page
    assert "user-unknown" in page
    assert "No such message is in the ledger" in browser.get("/message", params={"id": "x@y.example"}).text


def test_streams_are_stopped_and_released_with_a_reason(browser: httpx.Client, store: Store) -> None:
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


def test_requests_are_accepted_and_rejected(browser: httpx.Client, store: Store) -> None:
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


def test_the_overview_counts_today_and_backs_its_charts_by_tables(browser: httpx.Client, store: Store) -> None:
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


def test_the_log_filters_and_exports(browser: httpx.Client, store: Store) -> None:
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


def test_the_log_goes_on_page_by_page(browser: httpx.Client, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_outcome_tells_all_of_itself(browser: httpx.Client, store: Store) -> None:
    sign_in(browser, "ola")
    number = next(iter(store.outcomes())).id
    page = browser.get("/outcome", params={"id": number}).text
    for told in ("550 5.1.1 nobody at shop", "test/rule", "mx.example.pl", SHOP, "shop-7", "correlated"):
        assert told in page, told
    for strange in ("0", "999999", "x", "-1", "9" * 30, ""):
        assert browser.get("/outcome", params={"id": strange}).status_code == 404


def test_providers_show_their_typical_reasons(browser: httpx.Client, store: Store) -> None:
    for number in range(3):
        store.record([make_message(make_outcome("blocklisted", recipient=f"b{number}@x.example", provider="gmail", message_id=None))])  # fmt: skip
    sign_in(browser, "ola")
    plain = " ".join(re.sub("<[^>]+>", " ", browser.get("/providers").text).split())
    assert "gmail 5 blocklisted 60 % user-unknown 40 % 0 0 0 2 3 0" in plain


def test_held_mail_is_explained(browser: httpx.Client, store: Store) -> None:
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


# Charts


def test_bars_stand_on_each_other_in_proportion() -> None:
    """What a chart draws is what its table says: heights as the numbers, nothing above the highest line, no gap."""
    days = [f"2026-11-{day:02}" for day in range(1, 15)]
    parts = {
        "hardbounce": [day % 5 for day in range(14)],
        "softbounce": [3 * day for day in range(14)],
        "none": [0] * 14,
    }
    drawn = stacked(days, parts)
    assert drawn.names == ("hardbounce", "softbounce")
    bottom, top = drawn.lines[0].at, drawn.lines[-1].at
    assert [line.text for line in drawn.lines] == ["0", "25", "50"]
    for day in days:
        bars = [bar for bar in drawn.bars if bar.label == day]
        foot = bottom
        for bar in bars:
            assert bar.value == parts[bar.name][days.index(day)]
            assert bar.height == pytest.approx((bottom - top) * bar.value / 50, abs=0.02)
            assert bar.y + bar.height == pytest.approx(foot, abs=0.03)
            foot = bar.y
        assert foot >= top
    shares = stacked(days, parts, share=True)
    assert [line.text for line in shares.lines] == ["0 %", "50 %", "100 %"]
    assert all(
        sum(bar.height for bar in shares.bars if bar.label == day) == pytest.approx(bottom - top, abs=0.05)
        for day in days[1:]
    )
    assert stacked(days, {}).bars == ()
    assert stacked([], {"ok": []}).names == ()


# Counting behind the pages


def test_a_page_never_waits_for_a_long_count() -> None:
    """It says that it is being counted, then shows the old numbers while new ones are counted."""
    from threading import Event

    from bounceparse.web.panel.figures import Figures

    now, gate, calls = 0.0, Event(), []
    figures = Figures(0.05, clock=lambda: now)

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

    figures, calls = Figures(20), []
    for number in (1, 2, 3):
        found = figures.get("k", lambda: calls.append(1) or len(calls))  # type: ignore[func-returns-value]
        assert found is not None
        assert found.value == number
    figures.close()


def test_a_count_that_fails_is_tried_again() -> None:
    from bounceparse.web.panel.figures import Figures

    figures = Figures(20)
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


def test_a_notice_is_no_status_that_is_left_out(store: Store) -> None:
    """The pages know every status that an outcome can have."""
    from bounceparse.web.panel.visit import templates

    assert set(templates().globals["statuses"]) == set(Status) - {Status.INJECTED}

"""Signing in to the panel, its sessions and its forms; users on the command line."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from panel_client import (
    PASSWORD,
    SHOP,
    browser,
    clock,
    csrf,
    fields_of,
    quick_passwords,
    serving,
    sign_in,
    store,
)
from panel_data import Clock

from bounceparse.cli import main
from bounceparse.db import Store, users
from bounceparse.web.panel.app import PAGES
from bounceparse.web.panel.throttle import Throttle
from bounceparse.web.panel.visit import PanelSettings

__all__ = ["browser", "clock", "quick_passwords", "store"]


# Signing in


def test_every_page_asks_who_you_are(browser: httpx.Client) -> None:
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


def test_a_user_signs_in_goes_on_and_signs_out(browser: httpx.Client, store: Store) -> None:
    asked = browser.get("/address", params={"address": SHOP})
    page = browser.get(asked.headers["location"])
    given = {**fields_of(page.text, "/login"), "name": "Ola ", "password": PASSWORD}
    answer = browser.post("/login", data=given)
    assert (answer.status_code, answer.headers["location"]) == (303, "/address?address=anna%40shop-mail.example")
    assert "No, we do not mail it" in browser.get(answer.headers["location"]).text
    assert browser.get("/login").headers["location"] == "/"
    assert browser.post("/logout", data={"csrf": csrf(browser)}).headers["location"] == "/login"
    assert browser.get("/").status_code == 303


def test_signing_out_ends_the_session_in_the_database(browser: httpx.Client, store: Store) -> None:
    sign_in(browser, "ola")
    stolen = browser.cookies["bounceparse"]
    browser.post("/logout", data={"csrf": csrf(browser)})
    browser.cookies.set("bounceparse", stolen)
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)"]
)
def test_signing_in_leads_to_no_other_site(browser: httpx.Client, target: str) -> None:
    assert sign_in(browser, "ola", next=target).headers["location"] == "/"


def test_a_session_ends_after_twelve_hours_and_prune_forgets_it(
    browser: httpx.Client, store: Store, clock: Clock
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


def test_wrong_passwords_unknown_and_disabled_users_are_answered_alike(browser: httpx.Client, store: Store) -> None:
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


def test_a_disabled_user_and_one_with_another_password_are_out_at_once(browser: httpx.Client, store: Store) -> None:
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


def test_sign_ins_that_fail_are_throttled(browser: httpx.Client) -> None:
    """After five failures even the right password has to wait, and says how long; others are not kept out."""
    assert [sign_in(browser, "ola", "wrong").status_code for _ in range(5)] == [401] * 5
    answer = sign_in(browser, "ola")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 900
    assert sign_in(browser, "jan").status_code == 303


def test_each_failure_doubles_the_wait_up_to_a_quarter_of_an_hour() -> None:
    """Once one has waited, one try is free; one that succeeds forgets them, and so does an hour."""
    now = 0.0
    throttle = Throttle(clock=lambda: now)
    waits = []
    for _ in range(16):
        assert throttle.begin("ola", "192.0.2.1") == 0
        waits.append(throttle.begin("ola", "192.0.2.1"))
        now += waits[-1]
    assert waits == [0, 0, 5, 10, 20, 40, 80, 160, 320, 640, *[900.0] * 6]
    throttle.succeed("ola", "192.0.2.1")
    assert [throttle.begin("ola", "192.0.2.1") for _ in range(6)] == [0] * 5 + [5]
    now += 4000
    assert [throttle.begin("ola", "192.0.2.1") for _ in range(6)] == [0] * 5 + [5]


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


def test_a_link_from_elsewhere_finds_its_page(browser: httpx.Client) -> None:
    """Strict cookies do not come with a click on another site: the page asks once more by itself, as its own."""
    answer = browser.get("/log", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert 'http-equiv="refresh"' in answer.text
    assert browser.get("/log", headers={"sec-fetch-site": "same-origin"}).status_code == 303


# Forms


def test_a_form_without_its_token_changes_nothing(browser: httpx.Client, store: Store) -> None:
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
        for header in ({"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "same-site"}):
            assert browser.post(page.path, data={**given, "csrf": mine}, headers=header).status_code == 403, page.path
    assert not store.standing(SHOP).mailable
    assert not store.may_send("shop-news")
    own = {"origin": "https://behind-a-proxy.example", "sec-fetch-site": "same-origin"}
    lifted = browser.post("/address/lift", data={**given, "csrf": mine}, headers=own)
    assert lifted.status_code == 303
    assert store.standing(SHOP).mailable


def test_a_form_that_cannot_be_read_is_refused(browser: httpx.Client) -> None:
    sign_in(browser, "ola")
    token = csrf(browser)
    assert browser.post("/address/lift", content=b"csrf=" + b"x" * 70_000).status_code == 413
    assert browser.post("/address/lift", content=b"\xff\xfe").status_code == 422
    assert browser.post("/address/lift", data={"csrf": token, "address": "no address", "note": "x"}).status_code == 422
    assert browser.post("/address/lift", data={"csrf": token, "address": SHOP, "note": " "}).status_code == 422
    assert browser.post("/review/accept", data={"csrf": token, "request": "x"}).status_code == 422
    assert browser.post("/review/accept", data={"csrf": token, "request": "77"}).status_code == 409
    assert browser.post("/address/suppress", data={"csrf": token, "address": SHOP, "note": "x", "until": "soon"}).status_code == 422  # fmt: skip


def test_a_reader_changes_nothing(browser: httpx.Client, store: Store) -> None:
    sign_in(browser, "jan")
    token = csrf(browser)
    page = browser.get("/address", params={"address": SHOP}).text
    assert "/address/lift" not in page
    for one in PAGES:
        if one.role == "write":
            answer = browser.post(one.path, data={"csrf": token, "address": SHOP, "note": "x", "stream": "shop-news"})
            assert answer.status_code == 403, one.path
    assert not store.standing(SHOP).mailable


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

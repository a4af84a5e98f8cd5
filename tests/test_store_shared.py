"""Backscatter, streams, customers who correct their address, and faults of the connection, on both databases."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from outcome_factory import NOW, make_message, make_outcome
from test_store_ledger import DAY, Clock

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.db import backscatter as backscatter_module
from bounceparse.errors import StoreError
from bounceparse.outcomes import Status


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database_url: str, clock: Clock) -> Iterator[Store]:
    with Store(database_url, clock=clock) as store:
        yield store


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", database_url)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    return done.output


def stray(number: int, **fields: object) -> object:
    return make_message(
        make_outcome(recipient=f"x{number}@other.example", message_id=f"{number}@forged.example"), **fields
    )


# -- backscatter


def test_an_unmatched_report_is_backscatter_after_the_window(timed: Store, clock: Clock) -> None:
    """For 14 days it waits and is counted; then it has its own line and no rate counts it."""
    timed.record_sent("1@s.example", "jan@example.pl")
    timed.record([stray(1), make_message(make_outcome("abuse", "y@other.example"))])
    clock.now += 14 * DAY - timedelta(seconds=1)
    assert (timed.backscatter().count, timed.backscatter().waiting) == (0, 1)
    assert {line.group for line in timed.stats()} == {"user-unknown", "abuse"}
    clock.now += timedelta(seconds=2)
    assert (timed.backscatter().count, timed.backscatter().waiting) == (1, 0)
    assert {line.group for line in timed.stats()} == {"abuse"}  # a complaint is no bounce


def test_without_a_ledger_nothing_is_backscatter(timed: Store, clock: Clock) -> None:
    """Who keeps no ledger still sees the reports counted."""
    timed.record([stray(1)])
    clock.now += 20 * DAY
    assert timed.backscatter().count == 0
    assert [line.total for line in timed.stats()] == [1]


def test_a_match_within_the_window_is_none(timed: Store, clock: Clock) -> None:
    """What the nightly import explains never becomes backscatter."""
    timed.record([stray(1)])
    clock.now += 13 * DAY
    timed.record_sent("1@forged.example", "x1@other.example")
    clock.now += 13 * DAY
    assert timed.backscatter().count == 0
    assert [line.total for line in timed.stats()] == [1]


@pytest.fixture
def small_flood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backscatter_module, "FLOOD_LEAST", 10)


def test_a_flood_is_told_once_a_day(timed: Store, clock: Clock, small_flood: None) -> None:
    """Many unmatched reports in a day, far more than usual: an alert for people, looked for once an hour."""
    for number in range(7):
        timed.record([stray(100 + number)])
        timed.record_sent(f"{number}@s.example", "jan@example.pl")
        timed.settle()
        clock.now += DAY
    assert timed.backscatter().alert is None
    timed.record([stray(number) for number in range(12)])
    clock.now += timedelta(hours=2)
    timed.record_sent("new@s.example", "jan@example.pl")
    told = []
    for _ in range(10):
        timed.check_health()
        timed.tell_alerts(lambda one: told.append(one.alert))
        clock.now += timedelta(minutes=50)
    found = timed.backscatter()
    assert (found.flood, found.day, found.usual) == (True, 12, 1.0)
    assert [one.kind for one in told] == ["backscatter"]
    assert "12 delivery reports" in told[0].text


def test_reports_that_wait_for_the_nightly_import_are_no_flood(timed: Store, clock: Clock, small_flood: None) -> None:
    """Only what came before the ledger last grew can be called unmatched."""
    timed.record_sent("1@s.example", "jan@example.pl")
    clock.now += timedelta(hours=3)
    timed.record([stray(number) for number in range(50)])
    assert timed.backscatter().alert is None
    clock.now += timedelta(hours=3)
    timed.record_sent("2@s.example", "jan@example.pl")
    assert timed.backscatter().flood


def test_stats_have_a_line_for_backscatter(configured: Path, timed: Store, clock: Clock, small_flood: None) -> None:
    """Beside the table, in both forms, and the alert on standard error."""
    timed.record_sent("1@s.example", "jan@example.pl")
    timed.record([stray(number) for number in range(11)])
    timed.record_sent("2@s.example", "jan@example.pl")  # 2026-03: by today's clock of the command long past
    shown = run("stats")
    assert "backscatter: 11 delivery reports" in shown
    assert "a flood of backscatter: 11" in shown
    assert '{"backscatter": 11, "flood": true}' in run("stats", "--json")


# -- streams


def test_a_stream_is_set_and_listed(configured: Path, timed: Store) -> None:
    """What the command sets counts at once: category and sender."""
    timed.record_sent("1@s.example", "jan@example.pl", stream="news", sender="a")
    timed.record([make_message(make_outcome("abuse", message_id="1@s.example"))])
    assert list(timed.mailable(["jan@example.pl"], "news")) == []
    assert run("streams", "list").splitlines()[1].split()[:4] == ["news", "a", "marketing", "ok"]
    run("streams", "set", "news", "--category", "transactional")
    assert list(timed.mailable(["jan@example.pl"], "news")) == ["jan@example.pl"]
    run("streams", "set", "orders", "--sender", "a", "--category", "marketing")
    assert list(timed.mailable(["jan@example.pl"], "orders")) == []
    assert '{"name": "orders", "sender": "a", "category": "marketing", ' in run("streams", "list", "--json")


def test_a_stream_of_another_sender_takes_its_complaints_along(timed: Store) -> None:
    """Who was silenced by mistake is not, and the tenant that it concerns is."""
    timed.record_sent("1@s.example", "jan@example.pl", stream="news", sender="a")
    timed.record_sent("2@s.example", "ewa@example.pl", stream="other", sender="a")
    timed.record([make_message(make_outcome("abuse", message_id="1@s.example"))])
    timed.set_stream("news", sender="b")
    assert [one.scope for one in timed.suppressions()] == ["marketing:b"]
    assert list(timed.mailable(["jan@example.pl"], "other")) == ["jan@example.pl"]


def test_setting_nothing_is_refused(configured: Path, timed: Store) -> None:
    """The command says what to give."""
    assert CliRunner().invoke(main, ["streams", "set", "news"]).exit_code == 1
    assert timed.streams() == []


# -- customers


def fail(store: Store, address: str, message_id: str, at: object) -> None:
    store.record_sent(message_id, address, customer="c7", sent_at=at)
    store.record([make_message(make_outcome(recipient=address, message_id=message_id, occurred_at=at))])


def test_correcting_the_address_clears_the_alert(configured: Path, timed: Store, clock: Clock) -> None:
    """The card raises an alert for a dead address until the customer is mailed at a new one."""
    fail(timed, "jna@example.pl", "1@s.example", NOW - DAY)
    assert timed.customer("c7").alert
    assert "ask the customer for the right one" in run("customer", "c7")
    timed.record_sent("2@s.example", "jan@example.pl", customer="c7", sent_at=NOW)
    card = timed.customer("c7")
    assert (card.alert, dict(card.replaced)) == (False, {"jna@example.pl": "jan@example.pl"})
    assert "jna@example.pl  replaced by jan@example.pl: nothing to do" in run("customer", "c7")
    assert "zastąpiony przez jan@example.pl" in run("customer", "c7", "--lang", "pl")
    assert '"alert": false' in run("customer", "c7", "--json")


def test_a_second_address_that_was_there_before_clears_nothing(timed: Store) -> None:
    """Mail to the office does not mend the private address."""
    timed.record_sent("0@s.example", "office@example.pl", customer="c7", sent_at=NOW - 9 * DAY)
    fail(timed, "jan@example.pl", "1@s.example", NOW - DAY)
    timed.record_sent("2@s.example", "office@example.pl", customer="c7", sent_at=NOW)
    assert timed.customer("c7").alert


def test_a_new_address_that_fails_too_raises_the_alert_again(timed: Store) -> None:
    """Only an address that may be mailed replaces another."""
    fail(timed, "jna@example.pl", "1@s.example", NOW - 2 * DAY)
    fail(timed, "jann@example.pl", "2@s.example", NOW - DAY)
    assert timed.customer("c7").alert
    timed.record_sent("3@s.example", "jan@example.pl", customer="c7", sent_at=NOW)
    assert not timed.customer("c7").alert


# -- the command line on both databases


def test_the_commands_work_on_either_database(configured: Path) -> None:
    """From the ledger to the card, suppressions included."""
    Path("sent.csv").write_text("message_id,recipient,customer\n1@shop.example,user1@example.pl,4711\n")
    from bounces import dsn

    Path("bounce.eml").write_bytes(dsn(1))
    run("db", "upgrade")
    run("db", "check")
    run("sent", "import", "sent.csv")
    run("sent", "record", "--message-id", "2@shop.example", "--recipient", "user2@example.pl")
    assert "1 outcomes (1 new)" in run("replay", "bounce.eml")
    assert "hardbounce" in run("outcomes", "--status", "hardbounce")
    assert "mail is sent: no" in run("address", "user1@example.pl")
    assert "user-unknown" in run("customer", "4711")
    assert "user-unknown" in run("stats", "--by", "reason")
    run("suppressions", "add", "@other.example")
    assert "@other.example" in run("suppressions", "list")
    run("suppressions", "lift", "user1@example.pl")
    assert "mail is sent: yes" in run("address", "user1@example.pl")
    run("prune")


# -- faults


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:geheim@host:port/db", "mysql://u:geheim@host/db", "geheim://u:geheim@[/db", "postgresql:u:geheim"],
)
def test_a_wrong_url_is_told_without_its_password(url: str) -> None:
    """Whatever is wrong with it: nothing that stood before the host is repeated."""
    with pytest.raises(StoreError) as refused:
        Store(url)
    assert "u:geheim" not in str(refused.value)


def test_a_missing_driver_is_told_with_its_remedy() -> None:
    """PostgreSQL without psycopg names what to install."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from bounceparse.db import Store\n"
        "try: Store('postgresql+psycopg://u@h/d')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("StoreError")
    assert "pip install 'bounceparse[postgresql]'" in done.stdout


def test_a_copy_by_another_route_is_merged_when_its_row_comes_late(timed: Store) -> None:
    """Two reports of one failure that waited for the ledger are one event when it arrives."""
    for account in ("bounces", "fbl"):
        timed.record([make_message(make_outcome(occurred_at=NOW - DAY), account=account)])
    assert [line.total for line in timed.stats()] == [2]
    timed.record_sent("1@shop.example", "jan@example.pl")
    assert [line.total for line in timed.stats()] == [1]
    assert [one.outcome.status for one in timed.outcomes()] == [Status.HARDBOUNCE]

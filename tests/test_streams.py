"""Streams: rates of what was sent, the stop and its release, alerts, and the commands, on both databases."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from outcome_factory import NOW, make_message, make_outcome
from test_store_ledger import DAY, Clock

from bounceparse.cli import main
from bounceparse.db import SentMessage, Store, health
from bounceparse.db.alerts import OpenAlert
from bounceparse.db.locks import hold_lock
from bounceparse.db.tables import events, requests, sent
from bounceparse.errors import ConfigError
from bounceparse.health import Cohort, HealthSettings, Level, Thresholds
from bounceparse.outcomes import Status

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    with Store(database_url, clock=clock) as store:
        yield store


def send(store: Store, stream: str | None, at: datetime, *fates: tuple[int, str, str | None], name: str = "") -> None:
    """Put messages into the ledger: so many of each status and reason."""
    rows = [
        SentMessage(
            message_id=f"{name}{stream}.{at.timestamp()}.{status}.{reason}.{number}@shop.example",
            recipient=f"r{number}@example.pl", from_address="news@shop.example", stream=stream, sent_at=at,
            status=status, reason=reason, status_at=None if status == "injected" else at,
        )
        for count, status, reason in fates
        for number in range(count)
    ]  # fmt: skip
    store.import_sent(rows)


def mark(store: Store, stream: str, limit: int, **values: Any) -> None:
    """Change columns of some messages of a stream that nothing was heard of."""
    some = sa.select(sent.c.id).where(sent.c.stream == stream, sent.c.status == "injected").limit(limit)
    with store._database.write() as connection:
        ids = connection.execute(some).scalars().all()
        connection.execute(sa.update(sent).where(sent.c.id.in_(ids)).values(**values))


def health_of(store: Store, name: str) -> health.StreamHealth:
    return next(one for one in store.health().streams if one.name == name)


def told(store: Store) -> list[tuple[str, str]]:
    """Kind and subject of the alerts that are due now; they have been told then."""
    heard: list[OpenAlert] = []
    store.tell_alerts(heard.append)
    return [(one.alert.kind, one.alert.subject) for one in heard]


BAD = (60, "hardbounce", "user-unknown")
GOOD = (440, "injected", None)


# -- rates


def test_a_cohort_holds_what_is_known_of_what_was_sent(store: Store) -> None:
    """Confirmed and presumed apart, refusals by what they mean, complaints beside the status."""
    send(
        store, "news", NOW - HOUR, (10, "injected", None), (4, "ok", "delivered"), (3, "deferred", "greylisted"),
        (2, "softbounce", "mailbox-full"), (1, "hardbounce", "user-unknown"), (5, "spambounce", "blocklisted"),
        (6, "spambounce", "auth-fail-dmarc"), (7, "spambounce", "recipient-blocks-sender"),
    )  # fmt: skip
    mark(store, "news", 2, status="ok", presumed=True)
    mark(store, "news", 1, status="softbounce", presumed=True, reason="greylisted")
    mark(store, "news", 3, complained_at=NOW, unsubscribed_at=NOW)
    assert store.rates("stream") == {
        "news": Cohort(
            injected=38, delivered=4, presumed=2, deferred=3, softbounce=2, presumed_softbounce=1, hardbounce=1,
            spambounce=18, setup=6, choice=7, complaint=3, unsubscribe=3,
        )
    }  # fmt: skip
    assert store.rates("stream")["news"].waiting == 7


def test_cohorts_are_by_the_time_of_sending(store: Store) -> None:
    """A bounce of today for mail of last week is last week's."""
    send(store, "news", NOW - 7 * DAY, (3, "injected", None))
    send(store, "news", NOW - HOUR, (2, "injected", None))
    store.record([make_message(make_outcome(recipient="r0@example.pl", message_id=_id("news", NOW - 7 * DAY, 0)))])
    assert store.rates("stream", NOW - DAY) == {"news": Cohort(injected=2)}
    assert store.rates("day") == {
        "2026-02-22": Cohort(injected=3, hardbounce=1, presumed=2),
        "2026-03-01": Cohort(injected=2),
    }


def _id(stream: str | None, at: datetime, number: int) -> str:
    return f"{stream}.{at.timestamp()}.injected.None.{number}@shop.example"


def test_a_days_mail_is_that_of_its_day_in_utc(store: Store) -> None:
    """Wherever the server and its database are."""
    send(store, "news", datetime.fromisoformat("2026-02-01T00:30:00+02:00"), (1, "injected", None))
    assert list(store.rates("day")) == ["2026-01-31"]


def test_the_provider_of_a_domain_is_the_one_that_most_reports_tell(store: Store) -> None:
    """All mail to the domain is the denominator, also what was never reported; an unknown domain is its own group."""
    for number, domain in enumerate(["a.example"] * 5 + ["b.example"] * 2):
        store.record_sent(f"{number}@s.example", f"r{number}@{domain}", stream="news", sent_at=NOW)
    for number, provider in ((0, "google"), (1, "google"), (2, "microsoft")):
        told = make_outcome(recipient=f"r{number}@a.example", message_id=f"{number}@s.example", provider=provider)
        store.record([make_message(told)])
    forged = make_outcome(recipient="r5@b.example", message_id="77@s.example", provider="google")
    store.record([make_message(forged)])
    assert store.rates("provider") == {"google": Cohort(injected=5, hardbounce=3), "b.example": Cohort(injected=2)}
    assert set(store.rates("domain")) == {"a.example", "b.example"}


def test_without_a_ledger_there_are_no_rates(store: Store) -> None:
    """And an unknown grouping is refused."""
    assert store.rates("stream") == {}
    with pytest.raises(ConfigError):
        store.rates("colour")


def test_judging_reads_the_days_mail_by_an_index(store: Store) -> None:
    """However long the ledger is."""
    asked: list[str] = []
    engine = store._database.engine
    sa.event.listen(engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))  # type: ignore[arg-type]
    store.check_health()
    scans = [(query, values) for query, values in asked if "FROM bounceparse_sent" in query]
    assert len(scans) == 2
    if store._database.is_sqlite:
        with engine.connect() as connection:
            for query, values in scans:
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all()
                assert "ix_bounceparse_sent_sent_at" in str(plan)


# -- stop and release


def test_a_stream_that_bounces_too_much_stops_and_the_others_go_on(store: Store) -> None:
    """May it send? One row tells; nobody who was never judged is stopped."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    send(store, "orders", NOW - HOUR, (500, "injected", None), (20, "hardbounce", "user-unknown"))
    assert store.may_send("news")
    assert store.check_health()
    assert (store.may_send("news"), store.may_send("orders"), store.may_send("never-heard-of")) == (False, True, True)
    found = health_of(store, "news")
    assert (found.level, found.since, found.checked_at) == (Level.STOP, NOW, NOW)
    assert found.why == "hardbounce 12.00 %: 60 of 500 (stop above 10 %)"
    assert store.health().level is Level.STOP


def test_other_services_see_the_level_in_the_view(store: Store) -> None:
    """Of a stream that was never judged too."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    store.check_health()
    store.set_stream("orders")
    with store._database.read() as connection:
        rows = connection.execute(sa.text("SELECT name, level, why FROM bounceparse_v1_streams ORDER BY name")).all()
    assert [tuple(row) for row in rows] == [
        ("news", "stop", "hardbounce 12.00 %: 60 of 500 (stop above 10 %)"),
        ("orders", "ok", ""),
    ]


def test_a_stop_holds_until_a_person_releases_it(store: Store, clock: Clock) -> None:
    """However well it looks later; since and why stay those of the stop."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    store.check_health()
    clock.now += 3 * DAY
    store.check_health()
    found = health_of(store, "news")
    assert (found.level, found.since, found.cohort.injected) == (Level.STOP, NOW, 0)
    store.release_stream("news", by="ola", note="list cleaned")
    assert store.may_send("news")
    found = health_of(store, "news")
    assert (found.level, found.why, found.released_at, found.released_by, found.note) == (
        Level.OK, "", clock.now, "ola", "list cleaned",
    )  # fmt: skip


def test_what_came_before_its_release_never_stops_it_again(store: Store, clock: Clock) -> None:
    """Though it is of the same day; what it sends from then on may."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    store.check_health()
    store.release_stream("news", by="ola", note="list cleaned")
    store.check_health()
    assert store.may_send("news")
    clock.now += HOUR
    send(store, "news", NOW + timedelta(minutes=10), (450, "injected", None), (10, "hardbounce", "user-unknown"))
    mark(store, "news", 200, status="hardbounce", reason="user-unknown")  # late bounces of the mail from before
    store.check_health()
    assert store.may_send("news")
    send(store, "news", NOW + timedelta(minutes=20), (100, "hardbounce", "user-unknown"))
    store.check_health()
    assert not store.may_send("news")


def test_a_stream_is_stopped_by_hand(store: Store, clock: Clock) -> None:
    """With a note, and only one that is there."""
    store.set_stream("news")
    store.stop_stream("news", by="ola", note="wrong prices")
    assert not store.may_send("news")
    assert health_of(store, "news").why == "stopped by ola: wrong prices"
    store.check_health()
    assert not store.may_send("news")
    with pytest.raises(ConfigError, match="stopped already"):
        store.stop_stream("news", by="ola", note="again")
    with pytest.raises(ConfigError, match="no stream 'nwes'"):
        store.stop_stream("nwes", by="ola", note="typo")
    store.release_stream("news", by="ola", note="mended")
    with pytest.raises(ConfigError, match="not stopped"):
        store.release_stream("news", by="ola", note="again")


def test_who_stopped_and_released_is_in_the_audit_trail(store: Store) -> None:
    """With the note, and what the stop was for."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    store.check_health()
    store.release_stream("news", by="ola", note="list cleaned")
    store.stop_stream("news", by="jan", note="wrong prices")
    with store._database.read() as connection:
        query = "SELECT at, actor, action, subject, scope, note, detail FROM bounceparse_audit ORDER BY id"
        rows = connection.execute(sa.text(query)).all()
    assert [tuple(row)[1:] for row in rows] == [
        ("ola", "release", "news", "stream", "list cleaned", "hardbounce 12.00 %: 60 of 500 (stop above 10 %)"),
        ("jan", "stop", "news", "stream", "wrong prices", None),
    ]


@pytest.mark.parametrize("decision", ["stop", "release"])
def test_what_a_person_decides_while_streams_are_judged_stands(
    store: Store, monkeypatch: pytest.MonkeyPatch, decision: str
) -> None:
    """The look at the ledger holds no lock: a release or a stop in the meantime is not undone by what was seen before."""
    send(store, "news", NOW - HOUR, *((GOOD, BAD) if decision == "release" else (GOOD,)))
    store.check_health()
    look = health.look

    def look_and_decide(*arguments: Any) -> health.Look:
        found = look(*arguments)
        act = store.release_stream if decision == "release" else store.stop_stream
        act("news", by="ola", note="now")
        return found

    monkeypatch.setattr(health, "look", look_and_decide)
    store.check_health()
    assert store.may_send("news") is (decision == "release")


def test_mail_without_a_stream_is_judged_too(store: Store) -> None:
    """Who names no streams is protected as well."""
    send(store, None, NOW - HOUR, GOOD, BAD)
    store.check_health()
    assert not store.may_send(None)
    store.release_stream("", by="ola", note="list cleaned")
    assert store.may_send(None)


def test_each_stream_has_its_own_thresholds(database_url: str, clock: Clock) -> None:
    """Beside those of all."""
    settings = HealthSettings(streams={"news": Thresholds(hardbounce_stop=50.0)})
    with Store(database_url, clock=clock, health=settings) as store:
        send(store, "news", NOW - HOUR, GOOD, BAD)
        send(store, "orders", NOW - HOUR, GOOD, BAD)
        store.check_health()
        assert (store.may_send("news"), store.may_send("orders")) == (True, False)


def test_a_warning_lasts_until_the_rate_has_fallen_well_below(store: Store, clock: Clock) -> None:
    """Between 80 % of the threshold and the threshold nothing changes, in the database too."""
    levels = []
    for good in (500, 125, 100):  # 30 of 530, of 655, of 755: 5.66, 4.58 and 3.97 %
        send(store, "news", clock.now, (good, "injected", None), name=str(good))
        send(store, "news", clock.now, (30 if good == 500 else 0, "hardbounce", "user-unknown"))
        store.check_health()
        levels.append((health_of(store, "news").level, told(store)))
        clock.now += HOUR
    warned = [("stream-warn", "news")]
    assert levels == [(Level.WARN, warned), (Level.WARN, []), (Level.OK, [])]


def test_polls_judge_no_more_often_than_asked(store: Store, clock: Clock) -> None:
    """Every five minutes, say; asked without that it judges at once."""
    every = timedelta(minutes=5)
    assert store.check_health(at_most_every=every)
    clock.now += timedelta(minutes=4)
    assert not store.check_health(at_most_every=every)
    assert store.check_health()
    clock.now += timedelta(minutes=5)
    assert store.check_health(at_most_every=every)


# -- alerts


def test_a_stop_is_told_once_then_daily_until_its_release(store: Store, clock: Clock) -> None:
    """A second stop is told at once, also on the same day."""
    send(store, "news", NOW - HOUR, GOOD, BAD)
    store.check_health()
    heard = [told(store), told(store)]
    for hours in (23, 2, 24):
        clock.now += hours * HOUR
        store.check_health()
        heard.append(told(store))
    stop = [("stream-stop", "news")]
    assert heard == [stop, [], [], stop, stop]
    store.release_stream("news", by="ola", note="list cleaned")
    store.check_health()
    assert (told(store), store.health().alerts) == ([], ())
    store.stop_stream("news", by="ola", note="again")
    assert told(store) == stop


def test_a_warning_that_becomes_a_stop_is_told_anew(store: Store) -> None:
    """And the warning ends."""
    send(store, "news", NOW - HOUR, (470, "injected", None), (30, "hardbounce", "user-unknown"))
    store.check_health()
    assert told(store) == [("stream-warn", "news")]
    mark(store, "news", 30, status="hardbounce", reason="user-unknown")
    store.check_health()
    assert told(store) == [("stream-stop", "news")]
    assert [one.alert.kind for one in store.health().alerts] == ["stream-stop"]


def test_a_warning_that_comes_and_goes_is_told_once_a_day(store: Store, clock: Clock) -> None:
    """A From domain whose last failure is over a day old has recovered; what comes back is news after a day."""
    heard = []
    for number, hours in enumerate((0, 26, 2, 30)):
        clock.now += hours * HOUR
        store.check_health()  # ends what has lasted until now
        _fail_authentication(store, number)
        store.check_health()
        heard.append(told(store))
    alert = [("authentication", "shop.example")]
    assert heard == [alert, alert, [], alert]


def _fail_authentication(store: Store, number: int, reason: str = "auth-fail-dkim", trusted: bool = True) -> None:
    message_id = f"a{number}@s.example"
    if trusted:
        store.record_sent(message_id, "jan@example.pl", stream="news", from_address="news@shop.example")
    store.record([make_message(make_outcome(reason, message_id=message_id))])


def test_the_first_refusal_for_authentication_is_told_at_once(store: Store) -> None:
    """By its From domain; one that nobody can match is of somebody who forges it, and shall be refused."""
    _fail_authentication(store, 1, trusted=False)
    _fail_authentication(store, 2, "ptr-missing")
    store.record_sent("w@s.example", "ewa@example.pl", from_address="news@shop.example")
    waiting = make_outcome(
        "auth-fail-spf", recipient="ewa@example.pl", message_id="w@s.example", status=Status.DEFERRED
    )
    store.record([make_message(waiting)])
    store.check_health()
    assert told(store) == []
    _fail_authentication(store, 3)
    _fail_authentication(store, 4, "auth-fail-spf")
    store.check_health()
    assert told(store) == [("authentication", "shop.example")]
    assert "(auth-fail-dkim, auth-fail-spf; 2 in 24 hours)" in store.health().alerts[0].alert.text


def test_a_refusal_that_only_the_mail_servers_log_tells_is_told_too(store: Store) -> None:
    """Many servers refuse in the session: no report comes then."""
    send(store, "news", NOW - HOUR, (3, "spambounce", "auth-fail-dmarc"), (5, "spambounce", "ptr-missing"))
    store.check_health()
    assert told(store) == [("authentication", "shop.example")]
    assert "(auth-fail-dmarc; 3 in 24 hours)" in store.health().alerts[0].alert.text
    store.record([make_message(make_outcome("auth-fail-dmarc", recipient="r0@example.pl", message_id=_refused(0)))])
    store.check_health()
    assert "; 3 in 24 hours" in store.health().alerts[0].alert.text  # the same event by another route


def _refused(number: int) -> str:
    return f"news.{(NOW - HOUR).timestamp()}.spambounce.auth-fail-dmarc.{number}@shop.example"


def test_a_stream_whose_reports_come_nowhere_is_told(database_url: str, clock: Clock) -> None:
    """A thousand messages in a day, and nothing in its mailbox; where none is named, in any."""
    settings = HealthSettings(returns_to={"news": "bounces-news"})
    with Store(database_url, clock=clock, health=settings) as store:
        send(store, "orders", NOW - HOUR, (999, "injected", None))
        store.check_health()
        assert told(store) == []
        send(store, "orders", NOW - HOUR, (1, "injected", None), name="more")
        send(store, "news", NOW - HOUR, (1000, "injected", None))
        store.check_health()
        assert told(store) == [("silent-mailbox", "news"), ("silent-mailbox", "orders")]
        store.record([make_message(make_outcome(), account="bounces")])
        store.check_health()
        assert [one.alert.subject for one in store.health().alerts] == ["news"]
        store.record([make_message(make_outcome(), account="bounces-news")])
        store.check_health()
        assert store.health().alerts == ()


def test_a_mailbox_that_no_poll_reads_is_told(database_url: str, clock: Clock) -> None:
    """After a day without success, counted from the first look where there never was one."""
    with Store(database_url, clock=clock, health=HealthSettings(mailboxes=("bounces", "fbl"))) as store:
        store.note_poll("fbl")
        store.check_health()
        assert told(store) == []
        clock.now += 25 * HOUR
        store.check_health()
        assert told(store) == [("unpolled", "bounces"), ("unpolled", "fbl")]
        store.note_poll("bounces")
        store.check_health()
        assert [one.alert.text for one in store.health().alerts] == [
            "mailbox fbl: not polled to its end since 2026-03-01 12:00 UTC: run `bounceparse doctor`"
        ]


def test_requests_that_wait_and_mass_events_that_are_open_are_told(store: Store, clock: Clock) -> None:
    """By the same door."""
    with store._database.write() as connection:
        event = {"provider": "google", "reason": "user-unknown", "state": "open", "count": 61}
        connection.execute(sa.insert(events).values(**event, began_at=NOW, last_at=NOW, release_at=NOW + 3 * DAY))
        connection.execute(sa.insert(requests).values(**_REQUEST))
    clock.now += 25 * HOUR
    store.check_health()
    assert told(store) == [("review", ""), ("mass-event", "google user-unknown")]
    with store._database.write() as connection:
        connection.execute(sa.update(events).values(state="discarded"))
        connection.execute(sa.update(requests).values(state="rejected"))
    store.check_health()
    assert store.health().alerts == ()


_REQUEST = {
    "report_key": b"k", "state": "pending", "why": "words", "scopes": "marketing:", "mailbox": "unsubscribe",
    "recorded_at": NOW,
}  # fmt: skip


def test_an_alert_whose_telling_fails_stays_due(store: Store) -> None:
    """And those behind it: nothing is lost."""
    store.set_stream("a")
    store.set_stream("b")
    for name in ("a", "b"):
        store.stop_stream(name, by="ola", note="test")

    def fail(one: OpenAlert) -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.tell_alerts(fail)
    assert told(store) == [("stream-stop", "a"), ("stream-stop", "b")]


def test_no_transaction_is_open_while_an_alert_is_told(store: Store, database_url: str) -> None:
    """A command may take its time, and ask the database itself."""
    store.set_stream("news")
    store.stop_stream("news", by="ola", note="test")
    with Store(database_url) as other:
        assert store.tell_alerts(lambda one: other.set_stream("orders")) == 1


def test_two_processes_do_not_both_tell(store: Store) -> None:
    """While one is at it, the other leaves it alone."""
    store.set_stream("news")
    store.stop_stream("news", by="ola", note="test")
    with hold_lock(store._database, "", "alerts"):
        assert told(store) == []
    assert told(store) == [("stream-stop", "news")]


# -- the commands


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose alert command writes the events down."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "alert"
    script.write_text(f"#!/bin/sh\ncat >> {tmp_path}/told\n")
    script.chmod(0o700)
    (tmp_path / "bounceparse.toml").write_text(
        f'[database]\nurl = "{database_url}"\n[alert]\ncommand = ["{script}"]\n[stream.orders.health]\nhardbounce_stop = 20\n'
    )
    return tmp_path


def run(*arguments: str, status: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, prog_name="bounceparse")
    assert result.exit_code == status, result.output
    return result


def words(result: Result) -> list[str]:
    """The lines, with one blank between words."""
    return [" ".join(line.split()) for line in result.stdout.splitlines()]


def heard(folder: Path) -> list[tuple[str, str]]:
    """What the alert command has been told so far."""
    path = folder / "told"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(event["kind"], event["subject"]) for event in map(json.loads, lines)]


@pytest.fixture
def real(database_url: str) -> Iterator[Store]:
    """A store with the clock that the commands have."""
    with Store(database_url) as store:
        yield store


def test_health_ends_with_a_status_for_monitoring(configured: Path, real: Store) -> None:
    """0, 1 or 2; in both forms, and the command is told once."""
    assert run("health").stdout == "ok: 0 streams, nothing to tell\n"
    now = datetime.now(NOW.tzinfo) - HOUR
    send(real, "orders", now, GOOD, BAD)  # has a threshold of its own
    assert "warn" in run("health", status=1).stdout
    send(real, "news", now, GOOD, BAD)
    assert "stream news is stopped: hardbounce 12.00 %" in run("health", status=2).stdout
    shown = json.loads(run("health", "--json", status=2).stdout)
    assert shown["level"] == "stop"
    assert {one["name"]: one["level"] for one in shown["streams"]} == {"news": "stop", "orders": "warn"}
    assert shown["streams"][0]["sent"]["injected"] == 500
    assert [one["kind"] for one in shown["alerts"]] == ["stream-warn", "stream-stop"]
    assert heard(configured) == [("stream-warn", "orders"), ("stream-stop", "news")]


def test_streams_are_listed_stopped_and_released(configured: Path, real: Store) -> None:
    """With level, volume, rates and why; a note is needed, the operating system's user is noted."""
    send(real, "news", datetime.now(NOW.tzinfo) - HOUR, GOOD, BAD)
    run("health", status=2)
    assert words(run("streams", "list")) == [
        "stream sender category level sent hardbounce % spambounce % complaint %",
        "news marketing stop 500 12.00 0.00 0.00",
        "stream news: hardbounce 12.00 %: 60 of 500 (stop above 10 %)",
    ]
    assert "Missing option '--note'" in run("streams", "release", "news", status=2).output
    run("streams", "release", "news", "--note", "list cleaned")
    row = json.loads(run("streams", "list", "--json").stdout)
    assert (row["level"], row["note"], row["rates"]["hardbounce"]) == ("ok", "list cleaned", 12.0)
    assert row["released_by"]
    run("streams", "stop", "news", "--note", "wrong prices", "--by", "ola")
    assert not real.may_send("news")
    assert "is stopped already" in run("streams", "stop", "news", "--note", "x", status=1).output


def test_stats_by_stream_show_rates_with_their_denominators(configured: Path, real: Store) -> None:
    """Only columns that something is in; those of the ledger, and outcomes of no message beside them."""
    send(real, "news", datetime.now(NOW.tzinfo) - HOUR, (90, "injected", None), (10, "hardbounce", "user-unknown"))
    real.record([make_message(make_outcome(message_id="unknown@s.example"))])
    assert words(run("stats", "--by", "stream")) == [
        "stream injected waiting hardbounce hardbounce % spambounce % complaint %",
        "news 100 90 10 10.00 0.00 0.00",
        "total 100 90 10 10.00 0.00 0.00",
        "",
        "1 outcomes are of none of these: `bounceparse outcomes --json` shows them",
    ]
    rows = [json.loads(line) for line in run("stats", "--by", "stream", "--json").stdout.splitlines()]
    assert [(row["stream"], row["total"], row["sent"] and row["sent"]["injected"]) for row in rows] == [
        ("news", 0, 100), (None, 1, None),
    ]  # fmt: skip
    for by in ("provider", "domain", "day"):
        assert "10.00" in run("stats", "--by", by).stdout


def test_killed_between_telling_and_noting_it_tells_again(configured: Path, real: Store) -> None:
    """The real command, killed by its own alert script the first time: told twice rather than never, then no more."""
    send(real, "news", datetime.now(NOW.tzinfo) - HOUR, GOOD, BAD)
    (configured / "alert").write_text(
        f"#!/bin/sh\ncat >> {configured}/told\n[ -e killed ] || {{ touch killed; kill -9 $PPID; }}\n"
    )
    command = [sys.executable, "-m", "bounceparse", "health"]
    ended = [subprocess.run(command, capture_output=True, check=False, timeout=60).returncode for _ in range(3)]
    assert ended == [-9, 2, 2]
    assert heard(configured) == [("stream-stop", "news")] * 2


def test_an_alert_command_that_fails_stops_nothing(configured: Path, real: Store) -> None:
    """It is complained of, the status is that of the streams, and the alert is told the next time."""
    send(real, "news", datetime.now(NOW.tzinfo) - HOUR, GOOD, BAD)
    script = (configured / "alert").read_text()
    (configured / "alert").write_text("#!/bin/sh\nexit 9\n")
    result = run("health", status=2)
    assert "[alert] command ended with status 9" in result.stderr
    (configured / "alert").write_text(script)
    run("health", status=2)
    assert heard(configured) == [("stream-stop", "news")]


def test_a_poll_judges_the_streams_and_runs_the_command(configured: Path, real: Store) -> None:
    """At its end, whatever became of the mailboxes; a dry run does neither."""
    pytest.importorskip("pymap", reason="pip install 'bounceparse[demo]'")
    from bounceparse.cli.demo_server import PASSWORD, serve

    send(real, "news", datetime.now(NOW.tzinfo) - HOUR, GOOD, BAD)
    with serve({"bounces@shop.example": []}) as port, (configured / "bounceparse.toml").open("a") as file:
        file.write(
            f'[mailbox.bounces]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
            f'username = "bounces@shop.example"\npassword = "{PASSWORD}"\n'
        )
        file.close()
        (configured / "bounceparse.toml").chmod(0o600)
        run("poll", "--dry-run")
        assert (real.may_send("news"), heard(configured)) == (True, [])
        run("poll")
        assert (real.may_send("news"), heard(configured)) == (False, [("stream-stop", "news")])
        run("poll")
        assert len(heard(configured)) == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[stream.news]\nmailbox = "nowhere"\n', "[stream.news] mailbox: no mailbox nowhere: known are none"),
        ("[stream.news.health]\nhardbounce = 3\n", "unknown key: known are complaint_stop"),
        ("[health]\nhardbounce_stop = 150\n", "hardbounce_stop"),
    ],
)
def test_what_the_configuration_cannot_mean_is_refused(configured: Path, text: str, told: str) -> None:
    """With the key and what may stand there."""
    path = configured / "bounceparse.toml"
    path.write_text(path.read_text().split("[alert]")[0] + text)
    assert told in run("health", status=1).output

"""The life of a message: what is told, what is taken back, and what silence comes to, on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import NewDatabase
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from outcome_factory import NOW, make_message, make_outcome

from bounceparse.cli import main
from bounceparse.db import SentMessage, Store, recording, sweeping
from bounceparse.db.reclassify import _REWRITTEN
from bounceparse.db.tables import outcomes, sent
from bounceparse.life import Life, Word, decide
from bounceparse.outcomes import REASONS, Outcome, Status, Trust
from bounceparse.policy import Policy
from bounceparse.reading import ReadMessage
from bounceparse.reports import DeliveryReport, RecipientReport

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIFE = Life(timedelta(hours=48), {"slow": 5 * DAY, "quick": HOUR})
DUE = timedelta(hours=72)
"""How long after the last word silence says something, where nothing else is set."""


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database_url: str, clock: Clock) -> Iterator[Store]:
    """A store whose time stands at NOW, with streams that take longer or less long than others."""
    with Store(database_url, policy=Policy(life=LIFE), clock=clock) as store:
        yield store


def _rows(store: Store) -> list[Any]:
    with store._database.read() as connection:
        return list(connection.execute(sa.select(sent).order_by(sent.c.id)).all())


def _fates(store: Store) -> dict[str, tuple[str, bool]]:
    return {row.recipient: (row.status, row.presumed) for row in _rows(store)}


def _defer(
    store: Store,
    at: datetime,
    recipient: str = "jan@example.pl",
    reason: str = "mailbox-full",
    until: datetime | None = None,
) -> None:
    outcome = make_outcome(reason, recipient, status=Status.DEFERRED, occurred_at=at)
    store.record([_report(outcome, until)])


def _report(outcome: Outcome, until: datetime | None) -> ReadMessage:
    """A message that reports the outcome, with Will-Retry-Until."""
    message = make_message(outcome)
    if until is None or not isinstance(item := message.report.items[0], DeliveryReport):
        return message
    item = replace(item, recipients=(RecipientReport(will_retry_until=format_datetime(until)),))
    return replace(message, report=replace(message.report, items=(item,)))


# The rules.


def test_the_word_that_stands_does_not_depend_on_the_order() -> None:
    """Failed beats ok and deferred in either order; of the same rank the later word, of the same time the first told."""
    ok, full = Word("ok", "delivered", NOW), Word("softbounce", "mailbox-full", NOW - DAY)
    delayed, gone = Word("deferred", "no-answer", NOW), Word("hardbounce", "user-unknown", NOW - 2 * DAY)
    assert decide([ok, full, delayed]) == decide([delayed, full, ok]) == full
    assert decide([gone, full]) == decide([full, gone]) == gone
    later = full._replace(at=NOW, reason="no-answer")
    assert decide([full, later]) == decide([later, full]) == later
    assert decide([full, full._replace(reason="no-answer")]) == full
    assert decide([]) is None


# Silence.


def test_silence_is_presumed_delivery(timed: Store, clock: Clock) -> None:
    """72 hours after a message was sent, not before; reason and time are those of no word."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW)
    clock.now += DUE - timedelta(seconds=1)
    assert timed.sweep() == (0, 0)
    clock.now += timedelta(seconds=1)
    assert timed.sweep() == (1, 0)
    (row,) = _rows(timed)
    assert (row.status, row.presumed, row.reason, row.status_at) == ("ok", True, None, None)
    assert timed.sweep() == (0, 0)


def test_a_deferral_without_an_end_is_presumed_a_softbounce(timed: Store, clock: Clock) -> None:
    """With the reason it waited for, and the time of the deferral."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW)
    _defer(timed, NOW)
    clock.now += DUE - timedelta(seconds=1)
    assert timed.sweep() == (0, 0)
    clock.now += timedelta(seconds=1)
    assert timed.sweep() == (0, 1)
    (row,) = _rows(timed)
    assert (row.status, row.presumed, row.reason, row.status_at) == ("softbounce", True, "mailbox-full", NOW)


def test_a_server_that_says_how_long_it_tries_is_waited_for(timed: Store, clock: Clock) -> None:
    """The later of Will-Retry-Until and the retry window holds; a later deferral brings its own."""
    for recipient, hours in (("long@example.pl", 100), ("short@example.pl", 4)):
        timed.record_sent("1@shop.example", recipient, sent_at=NOW)
        _defer(timed, NOW - HOUR, recipient, until=NOW + 300 * HOUR)
        _defer(timed, NOW, recipient, until=NOW + hours * HOUR)
    clock.now += DUE
    timed.sweep()
    assert _fates(timed) == {"long@example.pl": ("deferred", False), "short@example.pl": ("softbounce", True)}
    clock.now = NOW + 124 * HOUR
    timed.sweep()
    assert _fates(timed)["long@example.pl"] == ("softbounce", True)


@pytest.mark.parametrize(("stream", "hours"), [(None, 72), ("other", 72), ("slow", 144), ("quick", 25)])
def test_a_stream_has_its_own_window(timed: Store, clock: Clock, stream: str | None, hours: int) -> None:
    """Silence and deferrals are measured by the retry window of the stream."""
    for recipient in ("silent@example.pl", "deferred@example.pl"):
        timed.record_sent("1@shop.example", recipient, stream=stream, sent_at=NOW)
    _defer(timed, NOW, "deferred@example.pl")
    clock.now += hours * HOUR - timedelta(seconds=1)
    assert timed.sweep() == (0, 0)
    clock.now += timedelta(seconds=1)
    assert timed.sweep() == (1, 1)


def test_what_is_presumed_yields_to_what_is_told(timed: Store, clock: Clock) -> None:
    """Presumed ok to anything, a deferral too; a presumed softbounce to a delivery, a failure and a deferral that is newer."""
    told = {"ok": "delivered", "deferred": "no-answer", "softbounce": "no-answer", "hardbounce": "user-unknown"}
    for status in told:
        for before in ("silent", "deferred"):
            timed.record_sent("1@shop.example", f"{status}@{before}.example", sent_at=NOW)
        _defer(timed, NOW, f"{status}@deferred.example")
    clock.now += DUE
    assert timed.sweep() == (4, 4)
    for status, reason in told.items():
        for before in ("silent", "deferred"):
            outcome = make_outcome(reason, f"{status}@{before}.example", status=Status(status), occurred_at=clock.now)
            timed.record([make_message(outcome)])
    assert _fates(timed) == {f"{status}@{before}.example": (status, False) for status in told for before in ("silent", "deferred")}  # fmt: skip
    _defer(timed, NOW - DAY, "hardbounce@silent.example")
    assert _fates(timed)["hardbounce@silent.example"] == ("hardbounce", False)


def test_an_older_deferral_does_not_wake_a_message_up(timed: Store, clock: Clock) -> None:
    """It tells nothing that was not known when the message was given up."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW - DAY)
    _defer(timed, NOW)
    clock.now += DUE
    timed.sweep()
    _defer(timed, NOW - HOUR, reason="no-answer")
    (row,) = _rows(timed)
    assert (row.status, row.presumed, row.reason) == ("softbounce", True, "mailbox-full")


def test_what_is_presumed_counts_for_nothing(timed: Store, clock: Clock) -> None:
    """Presumed deliveries clear no counts, presumed softbounces make none, and neither is an outcome."""
    for days in (20, 14, 8, 2):
        timed.record_sent(f"{days}@s.example", "jan@example.pl", sent_at=NOW - days * DAY)
    for name, days in (("a", 19), ("b", 11), ("c", 5)):
        timed.record_sent(f"{name}@s.example", "jan@example.pl", sent_at=NOW - days * DAY)
    for number in range(5):
        timed.record_sent(f"d{number}@s.example", "ewa@example.pl", sent_at=NOW - number * 5 * DAY)
        delayed = make_outcome("mailbox-full", "ewa@example.pl", message_id=f"d{number}@s.example",
                               status=Status.DEFERRED, occurred_at=NOW - number * 5 * DAY)  # fmt: skip
        timed.record([make_message(delayed)])
    for days in (20, 14, 8):
        full = make_outcome("mailbox-full", message_id=f"{days}@s.example", occurred_at=NOW - days * DAY)
        timed.record([make_message(full)])
    clock.now += 4 * DAY
    timed.sweep()
    assert {status for status, presumed in _fates(timed).values() if presumed} == {"ok", "softbounce"}
    assert timed.standing("ewa@example.pl").mailable
    assert {one.outcome.status for one in timed.history("ewa@example.pl")} == {"deferred"}
    full = make_outcome("mailbox-full", message_id="2@s.example", occurred_at=NOW - 2 * DAY)
    timed.record([make_message(full)])
    assert not timed.standing("jan@example.pl").mailable, "a presumed delivery cleared the counts"
    assert timed.standing("ewa@example.pl").mailable


def test_the_log_tells_as_reports_do(timed: Store, clock: Clock) -> None:
    """A deferral of the log waits as long; what the log said stands again when a report is taken back."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW, status="deferred", reason="no-answer")
    timed.record_sent("2@shop.example", "ewa@example.pl", sent_at=NOW)
    timed.record_sent(
        "2@shop.example", "ewa@example.pl", status="deferred", reason="mailbox-full", status_at=NOW + HOUR
    )
    clock.now += DUE
    assert timed.sweep() == (0, 1)
    clock.now += HOUR
    assert timed.sweep() == (0, 1)
    assert [(row.reason, row.presumed) for row in _rows(timed)] == [("no-answer", True), ("mailbox-full", True)]
    timed.record_sent("2@shop.example", "ewa@example.pl", status="ok", status_at=clock.now)
    assert _fates(timed)["ewa@example.pl"] == ("ok", False)


def test_a_report_taken_back_leaves_what_was_before(timed: Store, clock: Clock) -> None:
    """A bounce that proves to be another recipient's gives back the log's word, the presumption, the complaint."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW, status="ok", status_at=NOW + HOUR)
    timed.record_sent("2@shop.example", "jan@example.pl", sent_at=NOW)
    timed.record_sent("3@shop.example", "jan@example.pl", sent_at=NOW)
    delayed = make_outcome("no-answer", message_id="3@shop.example", status=Status.DEFERRED, occurred_at=NOW + HOUR)
    complaint = make_outcome("abuse", message_id="2@shop.example", occurred_at=NOW + 2 * HOUR)
    clock.now += DUE + HOUR
    timed.record([make_message(delayed), make_message(complaint)])
    timed.sweep()
    before = _rows(timed)
    assert [(row.status, row.presumed) for row in before] == [("ok", False), ("ok", True), ("softbounce", True)]
    for number in (1, 2, 3):
        gone = make_outcome(recipient="ewa@example.pl", message_id=f"{number}@shop.example", occurred_at=clock.now)
        early = make_outcome("abuse", "ewa@example.pl", message_id=f"{number}@shop.example", occurred_at=NOW + HOUR)
        timed.record([make_message(gone), make_message(early)])
    assert {row.status for row in _rows(timed)} == {"softbounce"}
    for number in (1, 2, 3):
        timed.record_sent(f"{number}@shop.example", "ewa@example.pl")
    after = _rows(timed)
    assert after[:3] == before
    assert {row.status for row in after[3:]} == {"hardbounce"}


def test_a_forged_word_is_none(timed: Store) -> None:
    """Neither a forged report nor one that is not proven moves a status, though it names the message."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW)
    timed.record([make_message(make_outcome("mailbox-full", occurred_at=NOW))])
    for trust in (Trust.FORGED, Trust.UNVERIFIED):
        _rewrite(timed, lambda row: True, status="hardbounce", classified_status="hardbounce", trust=trust.value)
        assert _fates(timed) == {"jan@example.pl": ("injected", False)}
    _rewrite(timed, lambda row: True, status="complaint", classified_status="complaint", trust=Trust.FORGED.value)
    assert _rows(timed)[0].complained_at is None


# The sweep.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows a transaction."""
    monkeypatch.setattr(sweeping, "WINDOW", 2)
    monkeypatch.setattr(sweeping, "WAITING", 2)


def _fill(store: Store, count: int) -> None:
    """Silent and deferred messages, in turns, five of each sent at one time."""
    rows = [
        SentMessage(message_id=f"{n}@s.example", recipient=f"u{n}@example.pl", stream=("slow", None, "quick")[n % 3],
                    sent_at=NOW - n // 10 * HOUR, status="deferred" if n % 2 else "injected",
                    status_at=NOW - n // 10 * HOUR, reason="no-answer" if n % 2 else None)
        for n in range(count)
    ]  # fmt: skip
    store.import_sent(rows)


@pytest.mark.usefixtures("small")
def test_a_poll_does_a_bounded_part_and_the_next_goes_on(timed: Store, clock: Clock) -> None:
    """Each poll presumes a few; all is done in the end, by polls or by one sweep, and no row twice."""
    _fill(timed, 100)
    clock.now += 200 * HOUR
    done, polls = 0, 0
    while (now_done := sum(presumed for _, presumed in _fates(timed).values())) < 100:
        assert now_done - done <= 10 * 2 * (3 + 1)  # steps, rows, walks
        assert polls < 60
        done, polls = now_done, polls + 1
        timed.settle()
    assert polls > 2
    assert timed.sweep() == (0, 0)


@pytest.mark.usefixtures("small")
def test_a_sweep_that_was_interrupted_goes_on(timed: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a transaction did stays, what it did not do is done by the next sweep."""
    _fill(timed, 60)
    clock.now += 200 * HOUR
    take = sweeping.take_step
    calls: list[None] = []

    def fail(*given: Any) -> Any:
        calls.append(None)
        if len(calls) % 7 == 0:
            raise RuntimeError("pulled plug")
        return take(*given)

    monkeypatch.setattr(sweeping, "take_step", fail)
    for _ in range(100):
        try:
            timed.sweep()
            break
        except RuntimeError:
            continue
    assert {presumed for _, presumed in _fates(timed).values()} == {True}


@pytest.mark.usefixtures("small")
def test_rows_that_come_late_are_not_forgotten(timed: Store, clock: Clock) -> None:
    """A ledger of old messages imported behind the sweep: silence has said its word before they came."""
    _fill(timed, 20)
    clock.now += 200 * HOUR
    timed.sweep()
    timed.record_sent("old@s.example", "old@example.pl", sent_at=NOW - 100 * DAY)
    timed.record_sent("slow@s.example", "slow@example.pl", sent_at=clock.now - 100 * HOUR, stream="slow")
    bounce = make_outcome(recipient="late@example.pl", message_id="late@s.example", occurred_at=NOW - 99 * DAY)
    timed.record([make_message(bounce)])
    timed.record_sent("late@s.example", "late@example.pl", sent_at=NOW - 100 * DAY)
    with timed._database.write() as connection:
        written = {"message_id": "v@s.example", "recipient": "v@example.pl", "sent_at": NOW - 100 * DAY}
        connection.execute(sa.insert(sa.table("bounceparse_inbox", *map(sa.column, (*written, "status")))).values(
            **{**written, "sent_at": str(written["sent_at"]) if timed._database.is_sqlite else written["sent_at"]}, status="injected"))  # fmt: skip
    timed.settle()
    fates = _fates(timed)
    assert fates["old@example.pl"] == fates["v@example.pl"] == ("ok", True)
    assert fates["late@example.pl"] == ("hardbounce", False)
    assert fates["slow@example.pl"] == ("injected", False)
    clock.now += 50 * HOUR
    timed.sweep()
    assert _fates(timed)["slow@example.pl"] == ("ok", True)


@pytest.mark.usefixtures("small")
def test_other_windows_leave_nobody_behind(database_url: str, clock: Clock) -> None:
    """A stream that is given another window, shorter or longer, or none of its own any more, is swept by that."""
    lives = [
        Life(48 * HOUR, {"slow": 10 * DAY}),
        Life(48 * HOUR),
        Life(24 * HOUR, {"quick": HOUR, "slow": 3 * DAY}),
        Life(10 * DAY, {"slow": HOUR}),
        LIFE,
    ]
    for number, life in enumerate(lives):
        with Store(database_url, policy=Policy(life=life), clock=clock) as store:
            for stream in (None, "slow", "quick"):
                for hours in range(0, 24, 5):
                    name = f"{number}.{stream}.{hours}@s.example"
                    store.record_sent(name, "jan@example.pl", stream=stream, sent_at=clock.now - hours * HOUR)
            for _ in range(3):
                clock.now += 30 * HOUR
                store.sweep()
                for row in _rows(store):
                    assert row.presumed or not life.is_silent(row.sent_at, row.stream, clock.now)
    with Store(database_url, policy=Policy(life=LIFE), clock=clock) as store:
        clock.now += 11 * DAY
        store.sweep()
        assert {row.presumed for row in _rows(store)} == {True}
        with store._database.read() as connection:
            names = connection.execute(sa.text("SELECT name FROM bounceparse_state WHERE name LIKE 'life:%'")).scalars()
            assert len(set(names)) == 6, "walks of windows that are gone are still noted"


def test_nothing_to_do_takes_no_turn_of_the_writers(
    timed: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that has nothing to presume only reads."""
    _fill(timed, 30)
    clock.now += 200 * HOUR
    timed.sweep()
    timed.record_sent("new@s.example", "new@example.pl", sent_at=clock.now)
    _defer(timed, clock.now, "new@example.pl")
    monkeypatch.setattr(timed._database, "write", None)
    assert timed.sweep() == (0, 0)


def test_a_sweep_reads_along_indexes(timed: Store, clock: Clock) -> None:
    """No statement of it scans the ledger."""
    _fill(timed, 30)
    clock.now += 200 * HOUR
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if "bounceparse_sent" in statement:
            seen.append((statement, parameters))

    sa.event.listen(timed._database.engine, "before_cursor_execute", note)
    timed.sweep()
    timed.sweep()
    sa.event.remove(timed._database.engine, "before_cursor_execute", note)
    assert len(seen) > 8
    sqlite = timed._database.is_sqlite
    with timed._database.write() as connection:
        if not sqlite:
            connection.execute(sa.text("SET LOCAL enable_seqscan = off"))  # a small table is scanned whatever there is
        for statement, parameters in seen:
            query = f"EXPLAIN {'QUERY PLAN' if sqlite else ''} {statement}"
            plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(query, parameters))
            assert "ix_bounceparse_sent_" in plan, f"{statement}\n{plan}"
            assert "SCAN bounceparse_sent\n" not in plan + "\n", f"{statement}\n{plan}"
            assert "Seq Scan" not in plan, f"{statement}\n{plan}"
            assert "TEMP B-TREE" not in plan, f"{statement}\n{plan}"


# What people see.


def test_the_view_shows_what_is_presumed(timed: Store, clock: Clock) -> None:
    """Services see the flag, and how long a server tries."""
    timed.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW)
    clock.now += DUE
    timed.sweep()
    with timed._database.read() as connection:
        row = connection.execute(sa.text("SELECT status, presumed, retry_until FROM bounceparse_v1_sent")).one()
    assert (row.status, bool(row.presumed), row.retry_until) == ("ok", True, None)


def _configure(folder: Path, database_url: str, extra: str = "") -> list[str]:
    path = folder / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n{extra}')
    return ["--config", str(path)]


def _run(*words: str) -> str:
    result = CliRunner().invoke(main, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_sweep_tells_what_it_presumed(database_url: str, tmp_path: Path) -> None:
    """By the windows of the configuration, for people and for programs; the cards show it as presumed."""
    config = _configure(tmp_path, database_url, '[life]\nretry_window = "1h"\n[stream.slow]\nretry_window = "9000d"\n')
    with Store(database_url, policy=Policy(life=Life(10_000 * DAY))) as store:
        for recipient, stream in (
            ("jan@example.pl", "orders"),
            ("ewa@example.pl", "orders"),
            ("ola@example.pl", "slow"),
        ):
            store.record_sent("1@shop.example", recipient, customer="c7", stream=stream, sent_at=NOW)
        _defer(store, NOW, "ewa@example.pl")
    assert json.loads(_run(*config, "sweep", "--json")) == {"presumed_ok": 1, "presumed_softbounce": 1}
    assert _run(*config, "sweep") == "0 messages presumed delivered, 0 presumed bounced\n"
    card = json.loads(_run(*config, "customer", "c7", "--json"))
    assert {one["recipient"]: (one["status"], one["presumed"]) for one in card["sent"]} == {
        "jan@example.pl": ("ok", True),
        "ewa@example.pl": ("softbounce", True),
        "ola@example.pl": ("injected", False),
    }
    assert "softbounce (presumed)" in _run(*config, "customer", "c7")
    assert "softbounce (presumed)" in _run(*config, "address", "ewa@example.pl")
    assert "ok (przypuszczalnie)" in _run(*config, "address", "jan@example.pl", "--lang", "pl")
    (shown,) = json.loads(_run(*config, "address", "jan@example.pl", "--json"))["sent"]
    assert (shown["status"], shown["presumed"]) == ("ok", True)


def test_a_replay_sweeps_as_a_poll_does(database_url: str, tmp_path: Path) -> None:
    """Whatever settles the store presumes what has become due."""
    config = _configure(tmp_path, database_url)
    with Store(database_url, policy=Policy(life=Life(10_000 * DAY))) as store:
        store.record_sent("1@shop.example", "jan@example.pl", sent_at=NOW)
        (tmp_path / "mail").mkdir()
        _run(*config, "replay", str(tmp_path / "mail"))
        assert _fates(store) == {"jan@example.pl": ("ok", True)}


# All of it, in any order.


def _rewrite(store: Store, which: Callable[[Any], bool], **columns: Any) -> None:
    """Write outcomes anew, as reclassifying does."""
    with store._database.write() as connection:
        rows = [row for row in connection.execute(sa.select(outcomes).order_by(outcomes.c.id)) if which(row)]
        changed = [{**row._asdict(), **columns, "before": row} for row in rows]
        recording.rewrite(connection, changed, store._policy, store._clock(), _REWRITTEN)


STREAM_OF = {"a": None, "b": "slow", "c": "quick"}
PEOPLE = ("jan@example.pl", "ewa@example.pl")
TOLD = [
    ("deferred", "no-answer"),
    ("deferred", "mailbox-full"),
    ("ok", "delivered"),
    ("softbounce", "mailbox-full"),
    ("softbounce", "no-answer"),
    ("spambounce", "policy"),
    ("hardbounce", "user-unknown"),
]
ANSWERS = [("complaint", "abuse"), ("unsubscribe", "unsubscribe-request"), ("notice", "auto-reply")]
HIGHEST_FIRST = ("hardbounce", "spambounce", "softbounce", "ok", "deferred")
_messages = st.sampled_from(sorted(STREAM_OF))
_people = st.sampled_from(PEOPLE)
_hours = st.integers(0, 150).map(lambda hours: hours * HOUR)


class Lives(RuleBasedStateMachine):
    """Three messages to two people, told of by reports, the log and silence.

    Each example has messages of its own in one database, and time goes on from one to the next.
    """

    store: Store
    clock: Clock
    example = 0

    @initialize()
    def begin(self) -> None:
        type(self).example += 1
        self.clock.now += 30 * DAY
        self.store.sweep()
        self.sent: dict[tuple[str, str], datetime] = {}
        self.log: dict[tuple[str, str], list[tuple[str, str | None, datetime]]] = {}
        self.swept = False

    def _id(self, name: str) -> str:
        return f"{name}{self.example}@s.example"

    @rule(name=_messages, to=_people, ago=_hours, word=st.sampled_from([None, None, *TOLD]), told=_hours)
    def write_ledger(self, name: str, to: str, ago: timedelta, word: tuple[str, str] | None, told: timedelta) -> None:
        """The sender's row, or one of the mail server's log, once or again, before or after reports."""
        at = self.clock.now - ago
        columns: dict[str, Any] = {"sent_at": at, "stream": STREAM_OF[name]}
        if word is not None:
            columns |= {"status": word[0], "reason": word[1], "status_at": self.clock.now - told}
            self.log.setdefault((name, to), []).append((*word, self.clock.now - told))
        self.store.record_sent(self._id(name), to, **columns)
        self.sent.setdefault((name, to), at)
        self.swept = False

    @rule(name=_messages, to=_people, word=st.sampled_from([*TOLD, *ANSWERS]), ago=_hours, tries=st.none() | _hours)
    def report(self, name: str, to: str, word: tuple[str, str], ago: timedelta, tries: timedelta | None) -> None:
        """A report, which may be matched at once, later, to a forward first, or never."""
        status, reason = word
        outcome = make_outcome(
            reason, to, status=Status(status), message_id=self._id(name), occurred_at=self.clock.now - ago
        )
        self.store.record([make_message(outcome)])
        self.swept = False

    @rule(
        pick=st.integers(0, 30), word=st.sampled_from([*TOLD, *ANSWERS]), trust=st.sampled_from([None, None, "forged"])
    )
    def reclassify(self, pick: int, word: tuple[str, str], trust: str | None) -> None:
        """A report says something else under today's rules, or proves to be forged."""
        status, reason = word
        fault = REASONS[reason].fault
        columns = {
            "status": status,
            "classified_status": status,
            "reason": reason,
            "fault": fault.value if fault else None,
        }
        mine = self._outcomes()
        if mine:
            chosen = mine[pick % len(mine)].id
            _rewrite(self.store, lambda row: row.id == chosen, **columns, **({"trust": trust} if trust else {}))
            self.swept = False

    @rule(hours=st.integers(1, 60))
    def wait(self, hours: int) -> None:
        self.clock.now += hours * HOUR
        self.swept = False

    @rule()
    def sweep(self) -> None:
        self.store.sweep()
        self.swept = True

    @rule()
    def poll(self) -> None:
        self.store.settle()

    def _outcomes(self) -> list[Any]:
        with self.store._database.read() as connection:
            mine = outcomes.c.message_id.like(f"_{self.example}@s.example")
            return list(connection.execute(sa.select(outcomes).where(mine).order_by(outcomes.c.seq)).all())

    @precondition(lambda self: bool(self.sent))
    @invariant()
    def every_status_is_what_the_rules_say(self) -> None:
        with self.store._database.read() as connection:
            mine = sent.c.message_id.like(f"_{self.example}@s.example")
            rows = connection.execute(sa.select(sent).where(mine)).all()
        assert len(rows) == len(self.sent)
        reports = self._outcomes()
        for row in rows:
            self._check(row, (row.message_id[0], row.recipient), [one for one in reports if one.sent_id == row.id])

    def _check(self, row: Any, name: tuple[str, str], told: list[Any]) -> None:
        proven = [one for one in told if one.trust in ("verified", "correlated", "forwarded")]
        words = [(*word, None) for word in self.log.get(name, ())]
        words += [
            (one.status, one.reason, one.event_at, one.will_retry_until if one.status == "deferred" else None)
            for one in proven
            if one.status in HIGHEST_FIRST
        ]
        words.sort(key=lambda word: (HIGHEST_FIRST.index(word[0]), -word[2].timestamp()))
        window = LIFE.by_stream.get(STREAM_OF[name[0]] or "", LIFE.retry_window)
        if not words:
            assert (row.reason, row.status_at) == (None, None)
            due = self.sent[name] + window + DAY <= self.clock.now
            plain, presumed = "injected", "ok"
        else:
            best = [word for word in words if word[0] == words[0][0] and word[2] == words[0][2]]
            assert (row.reason, row.status_at, row.retry_until) in [word[1:] for word in best]
            until = max(row.status_at + window, row.retry_until or row.status_at)
            due = words[0][0] == "deferred" and until + DAY <= self.clock.now
            plain, presumed = words[0][0], "softbounce"
        allowed = {(presumed, True)} if due and self.swept else {(plain, False)}
        if due:
            allowed.add((presumed, True))
        assert (row.status, row.presumed) in allowed
        for column, status in (("complained_at", "complaint"), ("unsubscribed_at", "unsubscribe")):
            times = [one.event_at for one in told if one.status == status and one.trust != "forged"]
            assert getattr(row, column) == min(times, default=None)


@pytest.mark.usefixtures("small")
def test_the_status_is_what_the_rules_say_of_all_facts_in_any_order(new_url: NewDatabase) -> None:
    """Reports, matching again, reclassifying, the log, complaints, waiting and sweeping, walked at random."""
    clock = Clock()
    with Store(new_url(), policy=Policy(life=LIFE), clock=clock) as store:
        machine = type("LivesHere", (Lives,), {"store": store, "clock": clock})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=30,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

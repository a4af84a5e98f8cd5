"""The store on SQLite and PostgreSQL: idempotent recording, the seam of the poller, faults, locks."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from databases import drop_database, migrated_database
from outcome_factory import NOW, make_message, make_outcome

from bounceparse.db import Store, upgrade
from bounceparse.db.types import time_text
from bounceparse.errors import MailboxLocked, StoreError
from bounceparse.ingest import Recorded
from bounceparse.outcomes import Evidence, Outcome
from bounceparse.reading import Place


def test_recording_twice_adds_nothing(store: Store) -> None:
    """The second record of a batch finds every message and outcome."""
    batch = [make_message(make_outcome(), make_outcome("mailbox-full", "ewa@example.pl")), make_message()]
    assert store.record(batch) == Recorded(2, 2, 2)
    assert store.record(batch) == Recorded(0, 2, 0)
    assert len(list(store.outcomes())) == 2


def test_copies_of_a_report_share_outcomes(store: Store) -> None:
    """The same report in another folder, mailbox or UIDVALIDITY is a message of its own with the same outcomes."""
    first = make_message(make_outcome())
    places = [Place("bounces", "Archive", 7, 1), Place("fbl", "INBOX", 7, 1), Place("bounces", "INBOX", 8, 1)]
    assert store.record([first, *(replace(first, place=place) for place in places)]) == Recorded(4, 4, 1)


def test_one_report_may_tell_the_same_recipient_twice(store: Store) -> None:
    """Outcomes of one report differ by their place in it."""
    assert store.record([make_message(make_outcome(), make_outcome())]).new_outcomes == 2


def test_what_decides_later_enters_no_key(store: Store) -> None:
    """The same report classified otherwise is still the same outcome."""
    first = make_message(make_outcome())
    store.record([first])
    assert store.record([replace(first, outcomes=(make_outcome("mailbox-full"),))]).new_outcomes == 0


def test_an_empty_batch_is_nothing(store: Store) -> None:
    """A poll that found nothing writes nothing."""
    assert store.record([]) == Recorded()


def test_every_field_comes_back(store: Store) -> None:
    """An outcome is read as it was recorded, its time in UTC."""
    texts = {
        name: f"{name} żółć"
        for name in Outcome.__dataclass_fields__
        if name
        not in (
            "status",
            "reason",
            "fault",
            "recipient",
            "action",
            "smtp_code",
            "smtp_phase",
            "occurred_at",
            "evidence",
        )
    }
    occurred_at = datetime(2026, 1, 2, 10, 0, 0, 123, tzinfo=timezone(timedelta(hours=1)))
    outcome = make_outcome(**texts, smtp_code=550, occurred_at=occurred_at, evidence=Evidence("r", "p", "m", None))
    store.record([make_message(outcome)])
    (recorded,) = store.outcomes()
    assert recorded.outcome == outcome
    assert recorded.outcome.occurred_at is not None
    assert recorded.outcome.occurred_at.tzinfo is UTC
    assert recorded.to_json() | {"recorded_at": None} == outcome.to_json() | {
        "occurred_at": "2026-01-02T09:00:00.000123+00:00",
        "mailbox": "bounces",
        "recorded_at": None,
        "trust": "unverified",
        "matched_by": None,
        "match_evidence": None,
        "reporter_auth": None,
        "stream": None,
        "customer": None,
    }


def test_text_that_cannot_be_stored_is_replaced(store: Store) -> None:
    """NUL and lone surrogates become U+FFFD in outcomes, messages and the ledger alike."""
    bad = "a\x00b\udc80c"
    message = make_message(
        make_outcome(diagnostic=bad, message_id=f"{bad}@shop.example", recipient=f"{bad}@example.pl")
    )
    store.record([replace(message, error=None, report=replace(message.report, subject=bad))])
    store.record_sent(f"{bad}@shop.example", f"{bad}@example.pl", subject=bad, stream=bad, sender=bad)
    (recorded,) = store.outcomes()
    assert recorded.outcome.diagnostic == "a\ufffdb\ufffdc"
    assert recorded.trust == "correlated"


@pytest.mark.parametrize(
    "occurred_at",
    [
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5))),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
        datetime(2026, 1, 1),
    ],
)
def test_a_time_outside_the_calendar_is_dropped(store: Store, occurred_at: datetime) -> None:
    """A date that has no form in UTC stops nothing; the time of recording stands in for it."""
    store.record([make_message(make_outcome(occurred_at=occurred_at))])
    (recorded,) = store.outcomes()
    assert recorded.outcome.occurred_at is None


def test_numbers_above_32_bits_fit(store: Store) -> None:
    """UIDVALIDITY and UID above 2^31 occur."""
    place = Place("bounces", "INBOX", 2**32 - 1, 2**32 - 1)
    store.record([make_message(place=place)])
    assert store.known_uids("bounces", "INBOX", 2**32 - 1) == {2**32 - 1}


def test_seam_of_the_poller(store: Store) -> None:
    """Known, pending and marked follow the states of a message; held messages are never pending."""
    good = [make_message(make_outcome(), place=Place("bounces", "INBOX", 7, uid)) for uid in (3, 1, 2)]
    held = make_message(place=Place("bounces", "INBOX", 7, 4), error="boom", raw=b"raw bytes")
    store.record([*good, held, make_message(place=Place("bounces", "Other", 7, 9))])
    assert store.known_uids("bounces", "INBOX", 7) == {1, 2, 3, 4}
    assert store.known_uids("bounces", "INBOX", 8) == set()
    assert store.pending_marks("bounces", "INBOX", 7) == [1, 2, 3]
    store.note_marked("bounces", "INBOX", 7, [1, 3])
    assert store.pending_marks("bounces", "INBOX", 7) == [2]
    assert [(one.uid, one.error, one.raw) for one in store.held()] == [(4, "boom", b"raw bytes")]


def test_replayed_messages_are_known_by_source_and_content(store: Store) -> None:
    """Without a UID the same source with other content is another message."""
    first = make_message(make_outcome(), place=Place("replay", "-"))
    second = make_message(make_outcome(), place=Place("replay", "-"))
    assert store.record([first, second, first]).messages == 2


def test_raw_is_kept_when_asked(database_url: str) -> None:
    """Only held messages keep their bytes, unless keep_raw asks for all."""
    with Store(database_url, keep_raw=True) as store:
        assert store.record([make_message(raw=b"x" * 1000)]).messages == 1


def test_thousands_of_recipients_in_one_report(store: Store) -> None:
    """A report of 10,000 recipients is one transaction like any other."""
    outcomes = [
        make_outcome(recipient=f"u{number}@example.pl", message_id="c@shop.example") for number in range(10_000)
    ]
    assert store.record([make_message(*outcomes)]) == Recorded(1, 10_000, 10_000)
    assert sum(1 for _ in store.outcomes()) == 10_000


def test_outcomes_are_filtered_and_oldest_first(store: Store) -> None:
    """Since, status, address, customer and mailbox narrow the answer."""
    store.record([make_message(make_outcome("mailbox-full", f"u{number}@example.pl")) for number in range(3)])
    store.record([make_message(make_outcome(recipient="Jan@EXAMPLE.pl"), account="other")])
    assert [one.outcome.recipient for one in store.outcomes(status="softbounce")] == [
        "u0@example.pl",
        "u1@example.pl",
        "u2@example.pl",
    ]
    assert len(list(store.outcomes(address="jan@example.pl"))) == 1
    assert len(list(store.outcomes(mailbox="other"))) == 1
    assert list(store.outcomes(since=datetime.now(UTC) + timedelta(minutes=1))) == []
    assert list(store.outcomes(customer="nobody")) == []
    numbers = [one.seq for one in store.outcomes()]
    assert numbers == sorted(set(numbers))


def test_stats_count_by_group_and_status(store: Store) -> None:
    """Every outcome is counted once in its group."""
    store.record(
        [make_message(make_outcome(), make_outcome("mailbox-full"), make_outcome("mailbox-full", "x@other.example"))]
    )
    assert [(line.group, dict(line.statuses)) for line in store.stats("reason")] == [
        ("mailbox-full", {"softbounce": 2}),
        ("user-unknown", {"hardbounce": 1}),
    ]
    assert [(line.group, line.total) for line in store.stats("domain")] == [("example.pl", 2), ("other.example", 1)]


def test_threads_share_a_store(store: Store) -> None:
    """Several threads may record and read at once; nothing is lost or doubled."""
    messages = [make_message(make_outcome(recipient=f"u{number}@example.pl")) for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: store.record(messages[number * 10 : number * 10 + 20]), range(20)))
    assert sum(one.new_outcomes for one in results) == 200
    assert len({one.seq for one in store.outcomes()}) == 200


def _seqs_seen(url: str, stop: threading.Event) -> list[int]:
    """What a reader with the cursor "all since my last seq" sees while others write."""
    seen: list[int] = []
    with Store(url) as store:
        while True:
            ending = stop.is_set()
            last = max(seen, default=0)
            seen += sorted(one.seq for one in store.outcomes() if one.seq > last)
            if ending:
                return seen


def test_a_reader_with_a_cursor_misses_nothing(database_url: str) -> None:
    """Numbers appear in the order of commits, so a row that commits late is never behind the cursor."""
    stop = threading.Event()
    with ThreadPoolExecutor(4) as pool, Store(database_url) as store:
        reader = pool.submit(_seqs_seen, database_url, stop)

        def write(writer: int) -> None:
            for number in range(15):
                store.record([make_message(make_outcome(recipient=f"u{writer}-{number}@example.pl"))])

        list(pool.map(write, range(3)))
        stop.set()
        assert len(reader.result()) == len({one.seq for one in store.outcomes()}) == 45


def test_a_failure_writes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is one transaction: what fails at its end undoes its beginning."""

    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("bounceparse.db.recording.update_standing", fail)
    with pytest.raises(RuntimeError):
        store.record([make_message(make_outcome())])
    monkeypatch.undo()
    assert list(store.outcomes()) == []
    assert store.stats("status") == []


_WRITER = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from outcome_factory import make_message, make_outcome
from bounceparse.db import Store, recording
store = Store(sys.argv[1])
store.record([make_message(make_outcome())])
recording.update_standing = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.record([make_message(make_outcome())])
"""


def test_kill_leaves_whole_batches(database_url: str) -> None:
    """kill -9 within a transaction leaves what was committed before, and the next run goes on."""
    command = [sys.executable, "-c", _WRITER, database_url, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True, timeout=60).returncode == -signal.SIGKILL
    with Store(database_url) as store:
        assert len(list(store.outcomes())) == 1
        assert store.record([make_message(make_outcome())]).new_outcomes == 1


def test_a_lock_is_held_by_one(database_url: str) -> None:
    """The second to ask is refused at once; another folder is free; after release it is free again."""
    with Store(database_url) as one, Store(database_url) as other:
        with one.lock("bounces", "INBOX"):
            with pytest.raises(MailboxLocked) as refused, other.lock("bounces", "INBOX"):
                pass
            assert refused.value.temporary
            with other.lock("bounces", "Archive"):
                pass
        with other.lock("bounces", "INBOX"):
            pass


def _hold(url: str, ready: multiprocessing.synchronize.Event) -> None:
    with Store(url).lock("bounces", "INBOX"):
        ready.set()
        signal.pause()


def test_a_killed_holder_frees_its_lock(database_url: str) -> None:
    """After kill -9 of a poll the next one gets the lock."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    holder = context.Process(target=_hold, args=(database_url, ready))
    holder.start()
    assert ready.wait(30)
    with Store(database_url) as store:
        with pytest.raises(MailboxLocked), store.lock("bounces", "INBOX"):
            pass
        os.kill(holder.pid or 0, signal.SIGKILL)
        holder.join(10)
        for _ in range(100):
            try:
                with store.lock("bounces", "INBOX"):
                    return
            except MailboxLocked:
                threading.Event().wait(0.05)
        pytest.fail("the lock outlived its holder")


def test_a_fault_inside_the_lock_is_passed_on(store: Store) -> None:
    """The lock is released, and tells the body's error as it was."""
    with pytest.raises(ZeroDivisionError), store.lock("bounces", "INBOX"):
        raise ZeroDivisionError
    with store.lock("bounces", "INBOX"):
        pass


def test_a_locked_sqlite_database_is_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds the database makes a temporary StoreError."""
    url = f"sqlite:///{tmp_path}/b.db"
    upgrade(url)
    monkeypatch.setattr("bounceparse.db.engine._BUSY_SECONDS", 0)
    monkeypatch.setattr("bounceparse.db.engine._PRAGMAS", ("busy_timeout = 10",))
    with Store(url) as store:
        holder = sqlite3.connect(tmp_path / "b.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError) as refused:
            store.record([make_message(make_outcome())])
        holder.close()
        assert refused.value.temporary
        assert store.record([make_message(make_outcome())]).new_outcomes == 1


def test_a_server_that_is_gone_is_temporary() -> None:
    """Nobody listens: waiting may help."""
    with pytest.raises(StoreError) as refused:
        Store("postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    assert refused.value.temporary
    assert "secret" not in str(refused.value)


def test_a_missing_database_is_not_temporary(postgresql: str) -> None:
    """A name that does not exist needs a person."""
    with pytest.raises(StoreError, match="does not exist") as refused:
        Store(postgresql.format("nothing_here"))
    assert not refused.value.temporary


@pytest.mark.parametrize("url", ["mysql://x/y", "sqlite://", "no url", "sqlite:///:memory:"])
def test_urls_that_cannot_serve_are_refused(url: str) -> None:
    """The error says what to write instead."""
    with pytest.raises(StoreError, match=r"sqlite:///PATH|supported"):
        Store(url)


def test_a_database_that_is_no_database(tmp_path: Path) -> None:
    """A file of another kind is told, not overwritten."""
    path = tmp_path / "b.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        Store(f"sqlite:///{path}")
    assert path.read_bytes().startswith(b"this is")


_DSN = b"""From: MAILER-DAEMON@mx.example.pl
To: bounces@shop.example
Subject: Undelivered Mail Returned to Sender
Date: Fri, 2 Jan 2026 10:00:00 +0100
Message-ID: <dsn1@mx.example.pl>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.pl

Final-Recipient: rfc822; jan@example.pl
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b
Content-Type: message/rfc822-headers

Message-ID: <1@shop.example>
From: shop@shop.example
To: jan@example.pl

--b--
"""


def test_ingest_reads_matches_and_records_raw_bytes(store: Store) -> None:
    """From the bytes of a bounce to the standing of the address in one call; again adds nothing."""
    store.record_sent("1@shop.example", "jan@example.pl", customer="c7")
    assert store.ingest(_DSN, source="upload") == Recorded(1, 1, 1)
    assert store.ingest(_DSN, source="upload") == Recorded(0, 1, 0)
    (found,) = store.outcomes(customer="c7")
    assert (found.outcome.reason, found.trust) == ("user-unknown", "correlated")
    assert not store.standing("jan@example.pl").mailable


def test_standing_outlives_a_server_that_ends_its_connections(postgresql: str) -> None:
    """What asked before the server was restarted asks again by a new connection."""
    url = migrated_database(postgresql)
    try:
        with Store(url) as store:
            store.suppress("jan@example.pl")
            assert not store.standing("jan@example.pl").mailable
            with store._database.transaction(write=False) as connection:
                ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                others = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                assert connection.exec_driver_sql(f"{ended} {others}").scalar_one() >= 1
            assert not store.standing("jan@example.pl").mailable
    finally:
        drop_database(postgresql, url)


def test_mailable_streams(store: Store) -> None:
    """An endless source of addresses is read as the answers are taken."""
    store.suppress("u1@example.pl")
    answers = store.mailable((f"u{number}@example.pl" for number in itertools.count()), "any")
    assert list(itertools.islice(answers, 3)) == ["u0@example.pl", "u2@example.pl", "u3@example.pl"]


def test_sqlite_times_sort_as_text() -> None:
    """Times are as long as each other, in UTC."""
    whole = NOW.replace(microsecond=0)
    assert time_text(whole) < time_text(whole + timedelta(microseconds=1)) < time_text(whole + timedelta(seconds=1))
    assert time_text(whole.astimezone(timezone(timedelta(hours=2)))) == time_text(whole)
    with pytest.raises(ValueError, match="zone"):
        time_text(datetime(2026, 1, 1))

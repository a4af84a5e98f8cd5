"""Many pollers, one PostgreSQL: a poller that lost its lock records nothing, and a dead one's mailboxes are taken over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import sqlalchemy as sa
from databases import drop_database, migrated_database, migrated_sqlite, running_postgresql
from outcome_factory import make_message, make_outcome

from bounceparse.db import Store, locks, recording
from bounceparse.db.engine import NOTICE_THE_DEAD
from bounceparse.errors import LockLost, MailboxLocked, StoreError
from bounceparse.reading import Place, ReadMessage

BOX = ("bounces", "INBOX")
LOCKS = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
ENOUGH = 60
"""Seconds in which everything here has happened; mostly it takes far less."""


def _message(uid: int) -> ReadMessage:
    outcome = make_outcome(recipient=f"u{uid}@example.pl", message_id=f"{uid}@s.example")
    return replace(make_message(outcome), place=Place(*BOX, 7, uid))


@pytest.fixture
def url(postgresql: str) -> Iterator[str]:
    made = migrated_database(postgresql)
    yield made
    drop_database(postgresql, made)


@pytest.fixture
def pair(url: str) -> Iterator[tuple[Store, Store]]:
    """Two hosts' stores on one database."""
    with Store(url) as first, Store(url) as second:
        yield first, second


def _query(store: Store, query: str) -> list[Any]:
    with store._database.read() as connection:
        return list(connection.execute(sa.text(query)).all())


def _break_lock(store: Store) -> None:
    """What a cut connection comes to: the server ends the session that holds the lock, and no other."""
    (holder,) = _query(store, LOCKS)
    _query(store, f"SELECT pg_terminate_backend({holder.pid})")
    deadline = time.monotonic() + ENOUGH
    while _query(store, LOCKS):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _uids(store: Store) -> set[int]:
    return store.known_uids(*BOX, 7)


def test_a_poller_that_lost_its_lock_records_nothing(pair: tuple[Store, Store]) -> None:
    """Not once another has taken over: nothing of its batch is there, and no mark is noted."""
    first, second = pair
    with first.lock(*BOX):
        first.record([_message(1)])
        _break_lock(second)
        with second.lock(*BOX):
            with pytest.raises(LockLost, match="taken this mailbox over") as caught:
                first.record([_message(2)])
            assert caught.value.temporary
            with pytest.raises(LockLost):
                first.note_marked(*BOX, 7, [1])
            second.record([_message(3)])
            assert _uids(second) == {1, 3}
            assert second.pending_marks(*BOX, 7) == [1, 3]
        with pytest.raises(LockLost):
            first.record([_message(4)])
    with first.lock(*BOX):
        first.record([_message(2)])
    assert _uids(first) == {1, 2, 3}


def test_a_lost_lock_that_nobody_took_hinders_nobody(pair: tuple[Store, Store]) -> None:
    """While the number is its own a poller is the only one, whatever became of its lock."""
    first, second = pair
    with first.lock(*BOX):
        _break_lock(second)
        first.record([_message(1)])
    with second.lock("bounces", "Other"):
        first.record([_message(2)])
    assert _uids(first) == {1, 2}


def test_other_mailboxes_are_not_fenced(pair: tuple[Store, Store]) -> None:
    """A takeover of one mailbox leaves the others of both hosts, and what needs no lock, alone."""
    first, second = pair
    with first.lock("bounces", "Other"), first.lock(*BOX), second.lock("fbl", "INBOX"):
        first.record([replace(_message(1), place=Place("bounces", "Other", 7, 1))])
        second.record([replace(_message(2), place=Place("fbl", "INBOX", 7, 1))])
        second.record([replace(_message(3), place=Place("replay", "/tmp/x", 0, 1))])
    assert len(_query(first, "SELECT 1 FROM bounceparse_messages")) == 3
    assert [row.fence for row in _query(first, "SELECT fence FROM bounceparse_fences")] == [1, 1, 1]


def test_what_the_old_holder_is_committing_is_there_before_the_new_one_looks(
    pair: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new holder waits for a commit that passed the fence, and leaves the mailbox alone when that takes long."""
    first, second = pair
    monkeypatch.setattr(locks, "_PATIENCE", "300ms")
    inside, go_on = Event(), Event()
    record = recording.record_messages

    def slowly(*given: Any, **more: Any) -> Any:
        inside.set()
        assert go_on.wait(ENOUGH)
        return record(*given, **more)

    monkeypatch.setattr(recording, "record_messages", slowly)
    with first.lock(*BOX):
        committing = Thread(target=first.record, args=([_message(1)],))
        committing.start()
        assert inside.wait(ENOUGH)
        _break_lock(second)
        with pytest.raises(MailboxLocked, match="still recording"), second.lock(*BOX):
            pass
        go_on.set()
        committing.join(ENOUGH)
        with second.lock(*BOX):
            assert _uids(second) == {1}


def test_one_process_holds_a_mailbox_once(pair: tuple[Store, Store]) -> None:
    """Also when the lock is lost: the number of a new holder never lets the old one pass."""
    first, second = pair
    with first.lock(*BOX):
        _break_lock(second)
        with pytest.raises(MailboxLocked), first.lock(*BOX):
            pass
        first.record([_message(1)])


def test_sqlite_needs_no_fence(tmp_path: Path) -> None:
    """Its lock is the kernel's and cannot be lost."""
    with Store(migrated_sqlite(tmp_path / "b.db")) as store, store.lock(*BOX):
        store.record([_message(1)])
        assert _query(store, "SELECT * FROM bounceparse_fences") == []


# Processes that are cut off.

HOLDER = """
import sys
sys.path.insert(0, {tests!r})
from bounceparse.db import Store, engine, locks
from test_fence import BOX, _message
engine.NOTICE_THE_DEAD = locks.NOTICE_THE_DEAD = {settings!r}
engine._STALLED = "SET LOCAL idle_in_transaction_session_timeout = '2s'"
store = Store({url!r})
with store.lock(*BOX):
    store.record([_message(1)])
    if {within}:
        with store._database.write():
            print("inside", flush=True)
            sys.stdin.readline()
    print("held", flush=True)
    sys.stdin.readline()
    try:
        store.record([_message(2)])
        print("recorded", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
"""
QUICKLY = re.sub(r"= \d+", "= 1", NOTICE_THE_DEAD).replace("tcp_user_timeout = 1", "tcp_user_timeout = 3000")


@contextmanager
def _holder(url: str, *prefix: str, within: bool = False) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock of the mailbox, and records another message when it is told to."""
    program = HOLDER.format(tests=str(Path(__file__).parent), url=url, settings=QUICKLY, within=within)
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=ENOUGH)


def _read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go on\n")
    process.stdin.flush()


def _take_over(store: Store) -> None:
    """Take the mailbox as soon as it is free, and record what is new in it."""
    deadline = time.monotonic() + ENOUGH
    while True:
        try:
            with store.lock(*BOX):
                store.record([_message(3)])
                return
        except (MailboxLocked, StoreError):
            assert time.monotonic() < deadline, "the mailbox was not freed"
            time.sleep(0.1)


def test_the_server_gives_up_a_silent_holder_within_a_minute() -> None:
    """Idle, interval and count of its questions, and the time that an answer may stay unacknowledged."""
    idle, interval, count, unacknowledged = map(int, re.findall(r"= (\d+)", NOTICE_THE_DEAD))
    assert idle + interval * count <= 60
    assert unacknowledged <= 60_000


def test_a_killed_holder_is_taken_over(url: str) -> None:
    """``kill -9`` frees the mailbox."""
    with Store(url) as store, _holder(url) as process:
        assert _read(process) == "held"
        with pytest.raises(MailboxLocked), store.lock(*BOX):
            pass
        process.kill()
        _take_over(store)
        assert _uids(store) == {1, 3}


def test_a_holder_stopped_in_a_transaction_holds_nobody_up(url: str) -> None:
    """The others go on when it has done nothing for a while, and it commits nothing when it wakes up."""
    with Store(url) as store, _holder(url, within=True) as process:
        assert _read(process) == "inside"
        os.kill(process.pid, signal.SIGSTOP)
        store.record([replace(_message(9), place=Place("fbl", "INBOX", 7, 9))])
        os.kill(process.pid, signal.SIGCONT)
        _tell(process)
        assert _read(process) == ""
        _take_over(store)
        assert _uids(store) == {1, 3}


@contextmanager
def _other_host() -> Iterator[tuple[list[str], str, str] | None]:
    """A network namespace beside ours, as another host on a cable: what runs a command there, our end, our address on it.

    None where this machine allows none (that takes root, and iproute2).
    """
    name, end = f"bp{os.getpid()}", f"bpv{os.getpid()}"
    ours, theirs = "198.18.0.1", "198.18.0.2"  # RFC 2544: no network has these
    steps = [
        f"ip netns add {name}",
        f"ip link add {end} type veth peer name eth0 netns {name}",
        f"ip addr add {ours}/30 dev {end}",
        f"ip link set {end} up",
        f"ip -n {name} addr add {theirs}/30 dev eth0",
        f"ip -n {name} link set eth0 up",
    ]
    try:
        try:
            for step in steps:
                subprocess.run(step.split(), check=True, capture_output=True, timeout=ENOUGH)
        except (OSError, subprocess.CalledProcessError):
            yield None
            return
        yield ["ip", "netns", "exec", name], end, ours
    finally:
        for step in (f"ip link del {end}", f"ip netns del {name}"):
            with suppress(OSError):
                subprocess.run(step.split(), check=False, capture_output=True, timeout=ENOUGH)


def test_a_holder_behind_a_cut_cable_is_taken_over_and_comes_back_too_late() -> None:
    """The server frees what a host held that nobody hears any more; connected again, it finds the mailbox taken.

    Without network namespaces the holder is cut off by the server, at once.
    """
    with _other_host() as host:
        listen = f"-c listen_addresses={host[2]}" if host else ""
        with running_postgresql(listen) as server:
            url = remote = migrated_database(server)
            folder = Path(str(sa.make_url(url).query["host"]))
            with Store(url) as store:
                if host:
                    with (folder / "data" / "pg_hba.conf").open("a") as hba:
                        hba.write("host all all 198.18.0.0/30 trust\n")
                    _query(store, "SELECT pg_reload_conf()")
                    remote = sa.make_url(url).set(host=host[2], query={}).render_as_string(hide_password=False)
                with _holder(remote, *(host[0] if host else ())) as process:
                    assert _read(process) == "held"
                    with pytest.raises(MailboxLocked), store.lock(*BOX):
                        pass
                    _cut(store, host[1] if host else None)
                    _take_over(store)
                    if host:
                        subprocess.run(["ip", "link", "set", host[1], "up"], check=True)
                    _tell(process)
                    assert _read(process) in ("LockLost", "StoreError")
                    assert _uids(store) == {1, 3}


def _cut(store: Store, end: str | None) -> None:
    if end:
        subprocess.run(["ip", "link", "set", end, "down"], check=True)
    else:
        theirs = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        _query(store, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")

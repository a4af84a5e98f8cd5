"""``poll --watch``: mail is recorded as it comes, whatever the server does; signals are obeyed; systemd is told."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bounces import dsn
from servers import PASSWORD, USER, Dovecot, running_dovecot, scripted

from bounceparse.db import Store
from bounceparse.errors import BounceparseError, MailboxError
from bounceparse.ingest import PollResult
from bounceparse.mailboxes import watching
from bounceparse.mailboxes.imap import open_mailbox
from bounceparse.mailboxes.watching import POLL_EVERY, pause_after, watch


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


@pytest.fixture
def folder() -> str:
    """The name of a folder that no other test uses."""
    return f"W{uuid.uuid4().hex}"


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return answer


def count(store: Store) -> int:
    return sum(line.total for line in store.stats())


@contextmanager
def watching_thread(account: Any, store: Store, **settings: Any) -> Iterator[list[BounceparseError | None]]:
    """A watch in a thread; gives what it tells of each poll. Ends it, and checks that it does end."""
    stop = threading.Event()
    told: list[BounceparseError | None] = []

    def tell(result: PollResult, error: BounceparseError | None) -> None:
        told.append(error)

    thread = threading.Thread(target=watch, args=(account, store, stop, tell), kwargs=settings)
    thread.start()
    try:
        yield told
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()


def test_mail_is_recorded_as_it_comes(dovecot: Dovecot, store: Store, folder: str) -> None:
    """The server tells of it by IDLE: nothing waits for the next round."""
    dovecot.load([dsn(1)], folder)
    with watching_thread(dovecot.account(folder=folder), store, every=3600) as told:
        assert wait_until(lambda: count(store) == 1)
        with dovecot.client() as other:
            other.append(folder, dsn(2))
        assert wait_until(lambda: count(store) == 2)
    assert set(told) == {None}


def test_without_idle_it_polls_all_the_same(store: Store) -> None:
    """Every so many seconds."""
    with running_dovecot(capability="IMAP4rev1 UIDPLUS") as plain:
        plain.load([dsn(1)])
        with watching_thread(plain.account(), store, every=0.1):
            assert wait_until(lambda: count(store) == 1)
            plain.load([dsn(2)])
            assert wait_until(lambda: count(store) == 2)


def test_idle_is_renewed_before_a_server_tires_of_it(store: Store) -> None:
    """Ended and begun again with each round, a poll in between (RFC 2177: at least every 29 minutes)."""
    tags: list[str] = []

    def reply(tag: str, command: str, connection: socket.socket) -> str | None:
        if command.startswith("CAPABILITY"):
            return f"* CAPABILITY IMAP4rev1 UIDPLUS IDLE\r\n{tag} OK done\r\n"
        if command.startswith("IDLE"):
            tags.append(tag)
            return "+ idling\r\n"
        return f"{tags[-1]} OK done\r\n" if tag == "DONE" else None

    assert POLL_EVERY < 300  # some drop a connection that is silent for so long
    with scripted(reply) as server, watching_thread(server.account(), store, every=0.1) as told:
        assert wait_until(lambda: len(tags) >= 4)
    assert set(told) == {None} and len(told) >= 3
    assert sum("UID SEARCH" in command for command in server.commands) >= 3
    assert sum("LOGIN" in command for command in server.commands) == 1


def test_a_server_that_is_restarted_again_and_again_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each fault is told and the connection made anew; all mail is recorded once."""
    monkeypatch.setattr(watching, "_FIRST_PAUSE", {True: 0.05, False: 0.05})
    monkeypatch.setattr(watching, "_LONGEST_PAUSE", {True: 0.2, False: 0.2})
    with running_dovecot() as server, watching_thread(server.account(), store, every=3600) as told:
        for number in range(1, 5):
            server.load([dsn(2 * number)])
            server.stop()
            server.load([dsn(2 * number + 1)])
            server.start()
        assert wait_until(lambda: count(store) == 8)
        assert wait_until(lambda: server.flags() == ["S"] * 8)
    assert any(told)
    assert all(error is None or error.temporary for error in told)


def test_a_stop_is_obeyed_after_the_batch_at_hand(dovecot: Dovecot, store: Store, folder: str) -> None:
    """The rest is for the next poll."""
    dovecot.load([dsn(number) for number in range(1, 41)], folder)
    stop = threading.Event()
    account = dovecot.account(folder=folder, batch_messages=10)
    record = store.record

    def record_and_stop(messages: Any) -> Any:
        stop.set()
        return record(messages)

    store.record = record_and_stop  # type: ignore[method-assign]
    watch(account, store, stop, lambda result, error: None)
    assert count(store) == 10
    with open_mailbox(account) as mailbox, store.lock("bounces", folder):
        assert len(mailbox.uids()) == 40
    assert sorted(dovecot.flags(folder)) == [""] * 30 + ["S"] * 10


def test_a_connection_that_ends_while_waiting_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By BYE or without a word; it is no reason to spin."""
    monkeypatch.setattr(watching, "_FIRST_PAUSE", {True: 3600.0, False: 3600.0})
    for words in (b"+ idling\r\n* BYE Server shutting down\r\n", b"+ idling\r\n"):

        def reply(tag: str, command: str, connection: socket.socket, words: bytes = words) -> str | bytes | None:
            if command.startswith("CAPABILITY"):
                return f"* CAPABILITY IMAP4rev1 UIDPLUS IDLE\r\n{tag} OK done\r\n"
            if command.startswith("IDLE"):
                connection.sendall(words)
                connection.shutdown(socket.SHUT_RDWR)
                return ""
            return None

        with scripted(reply) as server, watching_thread(server.account(name=f"x{len(words)}"), store) as told:
            assert wait_until(lambda told=told: any(told))  # type: ignore[misc]
            assert [error.temporary for error in told if error] == [True]


def test_a_bug_of_ours_is_told_and_does_not_end_the_watch(
    dovecot: Dovecot, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause it tries again."""
    monkeypatch.setattr(watching, "_FIRST_PAUSE", {True: 0.01, False: 0.01})
    monkeypatch.setattr(watching, "poll_account", lambda *_, **__: 1 / 0)
    with watching_thread(dovecot.account(), store) as told:
        assert wait_until(lambda: len(told) >= 3)
    assert "ZeroDivisionError" in str(told[0])


def test_pauses_grow_differ_and_heed_the_server() -> None:
    """Twice as long each time up to a limit, never less than asked for."""
    busy = MailboxError("busy", temporary=True)
    for faults, most in ((1, 5), (2, 10), (3, 20), (50, 300)):
        pauses = {pause_after(busy, faults) for _ in range(50)}
        assert all(most / 2 <= pause <= most for pause in pauses)
        assert len(pauses) > 1
    assert pause_after(MailboxError("throttled", temporary=True, retry_after=900), 1) == 900
    assert pause_after(MailboxError("refused"), 50) >= 1800


@pytest.fixture
def configured(dovecot: Dovecot, database_url: str, folder: str, tmp_path: Path) -> Path:
    """A configuration that watches the folder."""
    path = tmp_path / "bounceparse.toml"
    path.write_text(
        f'[database]\nurl = "{database_url}"\n[mailbox.bounces]\nhost = "127.0.0.1"\nport = {dovecot.plain}\n'
        f'tls = "none"\nusername = "{USER}"\npassword = "{PASSWORD}"\nfolder = "{folder}"\n'
    )
    path.chmod(0o600)
    return path


def next_word(listener: socket.socket) -> bytes:
    """What systemd is told next, besides signs of life."""
    while (word := listener.recv(100)) == b"WATCHDOG=1":
        pass
    return word


def test_signals_and_systemd(
    dovecot: Dovecot,
    store: Store,
    folder: str,
    configured: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGHUP reads the configuration again, a bad one changes nothing, SIGTERM ends it with status 0."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    listener.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    dovecot.load([dsn(1)], folder)
    dovecot.load([dsn(2)], f"{folder}2")
    process = subprocess.Popen(
        [sys.executable, "-m", "bounceparse", "--config", str(configured), "poll", "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert next_word(listener) == b"READY=1"
        assert wait_until(lambda: count(store) == 1)
        assert wait_until(lambda: "bounces" in store.last_polls())  # the heartbeat
        text = configured.read_text()
        configured.write_text("nonsense")
        process.send_signal(signal.SIGHUP)
        assert [next_word(listener), next_word(listener)] == [b"RELOADING=1", b"READY=1"]
        configured.write_text(text.replace(folder, f"{folder}2"))
        process.send_signal(signal.SIGHUP)
        assert [next_word(listener), next_word(listener)] == [b"RELOADING=1", b"READY=1"]
        assert wait_until(lambda: count(store) == 2)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert next_word(listener) == b"STOPPING=1"
    finally:
        process.kill()
        listener.close()
    assert process.returncode == 0
    assert out.decode().count("1 recorded") == 2
    assert err.decode().count("\n") == 1 and "going on with the old configuration" in err.decode()

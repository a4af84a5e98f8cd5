"""Whatever goes wrong in a poll, seen from the command line: nothing is flagged that is not recorded, the exit status says
whether waiting helps, one line says what to do, and the next poll ends as an undisturbed one.

The kinds of faults one by one are in ``test_imap_faults.py`` and ``test_crash_databases.py``.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bounces import dsn
from click.testing import CliRunner, Result
from crashes import state
from databases import migrated_database, migrated_sqlite, running_postgresql
from servers import PASSWORD, USER, Reply, Scripted, running_dovecot, skip

from bounceparse import config
from bounceparse.cli import main
from bounceparse.db import engine


class Bounces(Scripted):
    """A scripted server whose folder holds three different bounces, and that knows which of them were flagged."""

    def __init__(self) -> None:
        self.fault: Reply = lambda *_: None
        self.flagged: set[int] = set()
        super().__init__(lambda *given: self.fault(*given))

    def healthy(self, tag: str, command: str) -> bytes:
        """As the scripted server, for the UIDs that are asked for."""
        asked = re.match(r"UID (?:FETCH|STORE) ([\d,:]+) ", command)
        uids = [uid for one in asked[1].split(",") for uid in _range(one)] if asked else []
        if "STORE" in command:
            self.flagged |= set(uids)
        told = self.size if "RFC822.SIZE" in command else self.message if "BODY.PEEK" in command else None
        if told is None:
            return super().healthy(tag, command)
        return b"".join(map(told, uids)) + f"{tag} OK done\r\n".encode()

    def size(self, uid: int) -> bytes:
        return b"* %d FETCH (UID %d RFC822.SIZE %d)\r\n" % (uid, uid, len(mail(uid)))

    def message(self, uid: int) -> bytes:
        return b"* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n" % (uid, uid, len(mail(uid)), mail(uid))


def _range(text: str) -> range:
    first, _, last = text.partition(":")
    return range(int(first), int(last or first) + 1)


def mail(uid: int) -> bytes:
    return dsn(uid).replace(b"\n", b"\r\n")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bounces]:
    """The server, a configuration that names it, and accounts that fetch one message at a time under short clocks."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    accounts = config.imap_accounts

    def hasty(*given: Any) -> Any:
        return [replace(one, batch_messages=1, read_timeout=3, batch_timeout=4) for one in accounts(*given)]

    monkeypatch.setattr(config, "imap_accounts", hasty)
    bounces = Bounces()
    configure(bounces.port)
    yield bounces
    bounces.close()


def configure(port: int, more: str = 'tls = "none"\n', host: str = "127.0.0.1") -> None:
    path = Path("bounceparse.toml")
    path.write_text(
        f'[mailbox.bounces]\nhost = "{host}"\nport = {port}\nusername = "{USER}"\npassword = "{PASSWORD}"\n{more}'
    )
    path.chmod(0o600)


def poll(url: str) -> Result:
    return CliRunner().invoke(main, ["poll"], env={"BOUNCEPARSE_DATABASE__URL": url})


def suffers(url: str, status: int, told: str) -> None:
    """A poll ends with this exit status and one line on standard error, which says this."""
    done = poll(url)
    assert (done.exit_code, done.exception if done.exit_code not in (1, 75) else None) == (status, None), done.output
    assert done.stderr.startswith("bounceparse: ") and done.stderr.count("\n") == 1, done.stderr
    assert told in done.stderr and "Traceback" not in done.stderr, done.stderr


def nothing_is_flagged_that_is_not_recorded(server: Bounces, url: str) -> None:
    assert server.flagged <= {int(row[1]) for row in state(url)["messages"]}


def ends_well(server: Bounces, url: str) -> None:
    """The next poll records and flags the rest; one more finds nothing."""
    server.fault = lambda *_: None
    done = poll(url)
    assert (done.exit_code, done.stderr) == (0, "")
    rows = state(url)
    assert [len(rows[name]) for name in ("messages", "outcomes")] == [3, 3]
    assert {row[1] for row in rows["outcomes"]} == {f"user{number}@example.pl" for number in (1, 2, 3)}
    assert server.flagged == {1, 2, 3}
    assert "0 fetched" in poll(url).stdout


# -- the mail server

Answer = Callable[[Bounces, str, socket.socket], str | bytes]


def _drop(server: Bounces, tag: str, connection: socket.socket) -> bytes:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise OSError


def _cut(words: bytes) -> Answer:
    def answer(server: Bounces, tag: str, connection: socket.socket) -> bytes:
        connection.sendall(words)
        connection.shutdown(socket.SHUT_RDWR)
        return b""

    return answer


def _drip(server: Bounces, tag: str, connection: socket.socket) -> bytes:
    """Twenty bytes a second."""
    connection.sendall(b"* 2 FETCH (UID 2 BODY[] {1000}\r\n")
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)
    return b")\r\n"


def _lies(size: int) -> Answer:
    """The literal is announced with another size than it has."""

    def answer(server: Bounces, tag: str, connection: socket.socket) -> bytes:
        told = server.message(2).replace(b"{%d}" % len(mail(2)), b"{%d}" % (len(mail(2)) + size))
        return told + f"{tag} OK done\r\n".encode()

    return answer


def _says(words: str) -> Answer:
    return lambda server, tag, connection: words.replace("TAG", tag)


FAULTS: dict[str, tuple[str, Answer, int, str]] = {
    "BYE in mid-fetch": ("BODY.PEEK", _cut(b"* BYE Server shutting down\r\n"), 75, "the next poll tries again"),
    "RST in mid-fetch": ("BODY.PEEK", _drop, 75, "the next poll tries again"),
    "silence in mid-fetch": ("BODY.PEEK", _says(""), 75, "no answer in time"),
    "a cut literal": ("BODY.PEEK", _cut(b"* 2 FETCH (UID 2 BODY[] {9999}\r\nabc"), 75, "the next poll tries again"),
    "a literal that is longer": ("BODY.PEEK", _lies(-300), 75, "the next poll tries again"),
    "a literal that is shorter": ("BODY.PEEK", _lies(300), 75, "the next poll tries again"),
    "a literal of 60 GB": ("BODY.PEEK", _says("* 2 FETCH (UID 2 BODY[] {60000000000}\r\nabc"), 75, "make sense"),
    "a drip": ("BODY.PEEK", _drip, 75, "took more than"),
    "RST while flagging": ("STORE", _drop, 75, "the next poll tries again"),
    "BYE at login": ("LOGIN", _cut(b"* BYE Too many connections\r\n"), 75, "close some, or poll less often"),
    "Microsoft's throttle": (
        "BODY.PEEK", _says("TAG BAD Request is throttled. Suggested Backoff Time: 299962 milliseconds\r\n"), 75,
        "asks for a pause",
    ),
    "Gmail's quota": (
        "BODY.PEEK", _says("TAG NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n"), 75, "wait",
    ),
    "Gmail's connections": (
        "LOGIN", _says("TAG NO [ALERT] Too many simultaneous connections. (Failure)\r\n"), 75, "close some",
    ),
    "a refused login": ("LOGIN", _says("TAG NO [AUTHENTICATIONFAILED] Invalid credentials\r\n"), 1, "check username"),
    "a login that fails for now": ("LOGIN", _says("TAG NO [UNAVAILABLE] Temporary authentication failure\r\n"), 75, "again"),
    "a folder that has gone": ("SELECT", _says("TAG NO [NONEXISTENT] Unknown Mailbox: INBOX\r\n"), 1, "create it"),
    "no keyword": (
        "SELECT", _says("* 3 EXISTS\r\n* OK [UIDVALIDITY 9] v\r\n* OK [PERMANENTFLAGS ()] p\r\nTAG OK x\r\n"), 1, "right",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_mail_server_that_fails_in_mid_poll_loses_and_doubles_nothing(
    server: Bounces, database_url: str, name: str
) -> None:
    """At the second message, where the fault is one of fetching: the first is recorded by then."""
    at, answer, status, told = FAULTS[name]
    seen = []

    def fault(tag: str, command: str, connection: socket.socket) -> str | bytes | None:
        seen.append(at in command)
        return answer(server, tag, connection) if seen[-1] and sum(seen) >= (2 if at == "BODY.PEEK" else 1) else None

    server.fault = fault
    suffers(database_url, status, told)
    nothing_is_flagged_that_is_not_recorded(server, database_url)
    assert (len(state(database_url)["messages"]) > 0) == (at in ("BODY.PEEK", "STORE"))
    ends_well(server, database_url)


def test_answers_that_nobody_asked_for_change_nothing(server: Bounces, database_url: str) -> None:
    """Flags of others, new mail, another literal's worth of nothing, between the answers that were asked for."""

    def fault(tag: str, command: str, connection: socket.socket) -> bytes | None:
        if "BODY.PEEK" not in command:
            return None
        noise = b"* 9 FETCH (FLAGS (\\Seen))\r\n* 4 EXISTS\r\n* 1 RECENT\r\n* OK [HIGHESTMODSEQ 9] x\r\n"
        return noise + server.healthy(tag, command)[: -len(f"{tag} OK done\r\n")] + noise + f"{tag} OK x\r\n".encode()

    server.fault = fault
    assert poll(database_url).exit_code == 0
    ends_well(server, database_url)


def test_a_body_that_is_not_handed_out_is_told_and_fetched_later(server: Bounces, database_url: str) -> None:
    """NIL for one message: the others are recorded, and a line says how many are missing."""

    def fault(tag: str, command: str, connection: socket.socket) -> bytes | None:
        nil = b"* 2 FETCH (UID 2 BODY[] NIL)\r\n" + f"{tag} OK done\r\n".encode()
        return nil if "FETCH 2 (UID BODY.PEEK" in command else None

    server.fault = fault
    done = poll(database_url)
    assert (done.exit_code, "2 fetched" in done.stdout) == (0, True), done.output
    assert "no body of UID 2:" in done.stderr and done.stderr.count("\n") == 1
    assert server.flagged == {1, 3}
    ends_well(server, database_url)


def test_a_certificate_that_does_not_verify_needs_a_person(server: Bounces, database_url: str) -> None:
    """No password is sent."""
    with running_dovecot() as dovecot:
        configure(dovecot.tls, host="localhost", more="")
        suffers(database_url, 1, "the certificate does not verify")
        assert "login" not in (dovecot.root / "log").read_text().partition("Login:")[1]
    configure(server.port)
    ends_well(server, database_url)


# -- the database


def in_mid_poll(server: Bounces, happens: Callable[[], object]) -> None:
    """When the second message is asked for."""
    seen = []

    def fault(tag: str, command: str, connection: socket.socket) -> None:
        if "BODY.PEEK" in command:
            seen.append(command)
            if len(seen) == 2:
                happens()

    server.fault = fault


def test_a_locked_sqlite_file(server: Bounces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program holds the write lock for longer than we wait."""
    url = migrated_sqlite(tmp_path / "b.db")
    monkeypatch.setattr(engine, "_PRAGMAS", ("busy_timeout = 100", *engine._PRAGMAS[1:]))
    other = sa.create_engine(url, connect_args={"check_same_thread": False}).connect()
    in_mid_poll(server, lambda: other.exec_driver_sql("BEGIN IMMEDIATE"))
    suffers(url, 75, "locked by another program: try again")
    other.rollback()
    other.close()
    nothing_is_flagged_that_is_not_recorded(server, url)
    ends_well(server, url)


def test_an_sqlite_file_that_vanishes(server: Bounces, tmp_path: Path) -> None:
    """Its name leads nowhere: what was recorded so far is in the file that was moved away."""
    url = migrated_sqlite(tmp_path / "b.db")
    (tmp_path / "away").mkdir()

    def move(source: Path, target: Path) -> None:
        for file in list(source.glob("b.db*")):
            shutil.move(file, target / file.name)

    in_mid_poll(server, lambda: move(tmp_path, tmp_path / "away"))
    suffers(url, 1, "b.db")  # "was moved or deleted", or "there is no database", as the transaction was begun before
    for file in tmp_path.glob("b.db*"):
        file.unlink()
    move(tmp_path / "away", tmp_path)
    nothing_is_flagged_that_is_not_recorded(server, url)
    ends_well(server, url)


def test_a_full_disk(server: Bounces, tmp_path: Path) -> None:
    """A file system of its own, full from the second message on, and later with room again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        skip("a small file system can be mounted by root only")
    try:
        url = migrated_sqlite(disk / "b.db")

        def fill() -> None:
            with suppress(OSError), (disk / "ballast").open("wb", buffering=0) as ballast:
                while True:
                    ballast.write(b"\0" * 4096)

        in_mid_poll(server, fill)
        suffers(url, 75, "make room")
        (disk / "ballast").unlink()
        nothing_is_flagged_that_is_not_recorded(server, url)
        ends_well(server, url)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[str]:
    """A server that may be stopped, which the one of the other tests may not."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        skip("PostgreSQL is not installed: apt-get install postgresql")
    with running_postgresql("-c fsync=off") as server:
        yield server


def control(server: str, *words: str) -> None:
    """``pg_ctl``, as the user that the server runs as."""
    folder = server.rpartition("host=")[2]
    binary = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))[-1]
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    command = [*prefix, str(binary), "-D", f"{folder}/data", "-l", f"{folder}/log", "-w", *words]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_postgresql_that_is_restarted(server: Bounces, own_postgresql: str, mode: str) -> None:
    """As an upgrade does, or a crash: the poll ends or goes on with new connections, as it can."""
    url = migrated_database(own_postgresql)
    in_mid_poll(server, lambda: control(own_postgresql, "-m", mode, "restart"))
    suffers(url, 75, "try again")
    nothing_is_flagged_that_is_not_recorded(server, url)
    ends_well(server, url)


def test_a_postgresql_that_is_stopped(server: Bounces, own_postgresql: str) -> None:
    """Polls fail until it is there again."""
    url = migrated_database(own_postgresql)
    in_mid_poll(server, lambda: control(own_postgresql, "-m", "fast", "stop"))
    try:
        suffers(url, 75, "try again")
        suffers(url, 75, "try again")
    finally:
        control(own_postgresql, "restart")  # with the options that it had
    nothing_is_flagged_that_is_not_recorded(server, url)
    ends_well(server, url)


def test_a_postgresql_database_that_is_dropped(server: Bounces, own_postgresql: str) -> None:
    """That needs a person."""
    url = migrated_database(own_postgresql)
    admin = sa.create_engine(own_postgresql.format("postgres"), isolation_level="AUTOCOMMIT")

    def drop() -> None:
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {sa.make_url(url).database} WITH (FORCE)"))

    in_mid_poll(server, drop)
    done = poll(url)
    admin.dispose()
    assert done.exit_code == 1
    assert "does not exist: check user, password and database" in done.stderr.splitlines()[-1]
    assert server.flagged <= {1}

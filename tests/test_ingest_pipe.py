"""Mail that a mail server hands over a pipe."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from bounces import dsn

from bounceparse.db import Store
from bounceparse.web.lmtp import serving


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> str:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n')
    return str(path)


def pipe(config: str, raw: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "bounceparse", "--config", config, "ingest", *words]
    return subprocess.run(command, input=raw, capture_output=True, timeout=120, check=False)


def test_a_piped_message_is_recorded_once(config: str, database_url: str) -> None:
    """With the "From " line that some mail servers put before it, and without."""
    first = pipe(config, dsn(1), "--mailbox", "bounces", "--json")
    assert (first.returncode, json.loads(first.stdout)["new_outcomes"]) == (0, 1)
    again = pipe(config, b"From mailer Fri Jan  2 10:00:00 2026\n" + dsn(1), "--mailbox", "bounces", "--json")
    assert (again.returncode, json.loads(again.stdout)["new_outcomes"]) == (0, 0)
    with Store(database_url) as store:
        assert [(one.mailbox, one.outcome.reason) for one in store.outcomes()] == [("bounces", "user-unknown")]


def test_an_empty_pipe_is_refused(config: str) -> None:
    assert pipe(config, b"\n").returncode == 1


def test_any_bytes_are_taken_and_nothing_is_printed(config: str) -> None:
    """What a pipe's command prints, a mail server may send back to the sender."""
    taken = pipe(config, b"\xff\x00\r\n\r\n\x80")
    assert (taken.returncode, taken.stdout, taken.stderr) == (0, b"", b"")


def test_a_database_that_is_away_makes_the_mail_server_try_again(tmp_path: Path) -> None:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "postgresql+psycopg://nobody@/none?host={tmp_path}"\n')
    assert pipe(str(path), dsn(1)).returncode == 75


def test_a_report_is_not_returned_for_a_mistake_of_ours(tmp_path: Path, empty_url: str) -> None:
    """A mail server returns what fails for good to its sender, and reports have none: they would be lost."""
    path = tmp_path / "bounceparse.toml"
    assert pipe(str(path), dsn(1)).returncode == 75  # no configuration
    path.write_text(f'[database]\nurl = "{empty_url}"\n')
    refused = pipe(str(path), dsn(1))
    assert refused.returncode == 75
    assert b"db upgrade" in refused.stderr


class Peer:
    """A mail server that hands mail over by LMTP."""

    def __init__(self, host: str, port: int) -> None:
        self.peer = socket.create_connection((host, port), 60)
        self.lines = self.peer.makefile("rb")
        assert self.answer() == b"220"
        assert self.ask(b"LHLO mx.example.pl\r\n") == b"250"

    def answer(self) -> bytes:
        """The status of the next answer."""
        line = self.lines.readline()
        while line[3:4] == b"-":
            line = self.lines.readline()
        return line[:3]

    def ask(self, text: bytes) -> bytes:
        self.peer.sendall(text)
        return self.answer()

    def hand_over(self, raw: bytes, recipients: int = 2) -> list[bytes]:
        """The answers for each recipient of a message."""
        assert self.ask(b"MAIL FROM:<>\r\n") == b"250"
        for number in range(1, recipients + 1):
            assert self.ask(f"RCPT TO:<b+{number}@bounces.example>\r\n".encode()) == b"250"
        assert self.ask(b"DATA\r\n") == b"354"
        self.peer.sendall(raw.replace(b"\n", b"\r\n") + b".\r\n")
        return [self.answer() for _ in range(recipients)]

    def close(self) -> None:
        assert self.ask(b"QUIT\r\n") == b"221"
        self.peer.close()


def test_lmtp_answers_once_for_each_recipient_when_it_is_recorded(store: Store) -> None:
    """RFC 2033 section 4.2; the second time it adds nothing."""
    with serving(store, "127.0.0.1", 0, mailbox="bounces") as port, closing(Peer("127.0.0.1", port)) as peer:
        assert peer.hand_over(dsn(1)) == [b"250", b"250"]
        assert peer.hand_over(dsn(1)) == [b"250", b"250"]
    assert [(one.mailbox, one.outcome.reason) for one in store.outcomes()] == [("bounces", "user-unknown")]


def test_lmtp_has_mail_kept_while_the_database_is_away(
    store: Store, database_url: str, request: pytest.FixtureRequest
) -> None:
    """451 for each recipient: the mail server tries again, and then it is recorded."""
    with serving(store, "127.0.0.1", 0) as port, closing(Peer("127.0.0.1", port)) as peer:
        if database_url.startswith("sqlite"):
            path = Path(database_url.removeprefix("sqlite:///"))
            path.rename(path.with_suffix(".away"))
            assert peer.hand_over(dsn(1)) == [b"451", b"451"]
            path.with_suffix(".away").rename(path)
        else:
            with closed_database(request.getfixturevalue("postgresql"), database_url):
                assert peer.hand_over(dsn(1)) == [b"451", b"451"]
        assert peer.hand_over(dsn(1)) == [b"250", b"250"]
    assert len(list(store.outcomes())) == 1


@contextmanager
def closed_database(server: str, url: str) -> Iterator[None]:
    """A PostgreSQL that lets nobody in while this lasts, and has shown all others out."""
    name = sa.make_url(url).database
    engine = sa.create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(sa.text(ended), {"name": name})
        try:
            yield
        finally:
            connection.execute(sa.text(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))
    engine.dispose()


def test_lmtp_has_mail_kept_whatever_goes_wrong(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours too: what a mail server is told is permanent, it returns, and a report has no sender to return to."""
    with serving(store, "127.0.0.1", 0) as port, closing(Peer("127.0.0.1", port)) as peer:
        with monkeypatch.context() as broken:
            broken.setattr(store, "ingest", lambda *_, **__: 1 / 0)
            assert peer.hand_over(dsn(1)) == [b"451", b"451"]
        assert peer.hand_over(dsn(1)) == [b"250", b"250"]


def test_lmtp_is_served_by_command_on_loopback_alone(config: str) -> None:
    command = [sys.executable, "-m", "bounceparse", "--config", config, "ingest", "--lmtp"]
    refused = subprocess.run([*command, "0.0.0.0:0"], capture_output=True, timeout=120, check=False)
    assert refused.returncode == 2
    for listen, host in (("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")):
        with subprocess.Popen([*command, listen], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            with closing(Peer(host, port)) as peer:
                assert peer.hand_over(dsn(1), 1) == [b"250"]
            process.terminate()
            assert process.wait(60) == 0


def test_lmtp_without_its_extra_says_which(config: str) -> None:
    code = "import sys; sys.modules['aiosmtpd'] = None; from bounceparse.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--config", config, "ingest", "--lmtp", "127.0.0.1:0"]
    refused = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert refused.returncode == 1
    assert b"pip install 'bounceparse[web]'" in refused.stderr

"""Mail that a mail server hands over a pipe."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
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


def test_lmtp_answers_once_for_each_recipient_when_it_is_recorded(store: Store) -> None:
    """RFC 2033 section 4.2."""
    with (
        serving(store, "127.0.0.1", 0, mailbox="bounces") as port,
        socket.create_connection(("127.0.0.1", port)) as peer,
    ):
        lines = peer.makefile("rb")

        def ask(text: bytes) -> bytes:
            peer.sendall(text)
            line = lines.readline()
            while line[3:4] == b"-":
                line = lines.readline()
            return line[:3]

        assert lines.readline()[:3] == b"220"
        assert ask(b"LHLO mx.example.pl\r\n") == b"250"
        for _ in range(2):  # the second time it adds nothing
            assert ask(b"MAIL FROM:<>\r\n") == b"250"
            assert ask(b"RCPT TO:<b+1@bounces.example>\r\n") == b"250"
            assert ask(b"RCPT TO:<b+2@bounces.example>\r\n") == b"250"
            assert ask(b"DATA\r\n") == b"354"
            assert ask(dsn(1).replace(b"\n", b"\r\n") + b".\r\n") == b"250"
            assert lines.readline()[:3] == b"250"
        assert ask(b"QUIT\r\n") == b"221"
    assert [(one.mailbox, one.outcome.reason) for one in store.outcomes()] == [("bounces", "user-unknown")]


def test_lmtp_is_served_by_command_on_loopback_alone(config: str) -> None:
    command = [sys.executable, "-m", "bounceparse", "--config", config, "ingest", "--lmtp"]
    refused = subprocess.run([*command, "0.0.0.0:0"], capture_output=True, timeout=120, check=False)
    assert refused.returncode == 2
    with subprocess.Popen([*command, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as peer:
            assert peer.recv(1000).startswith(b"220")
        process.terminate()
        assert process.wait(60) == 0

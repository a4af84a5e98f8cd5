"""Mail that a mail server hands over a pipe."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from bounces import dsn

from bounceparse.db import Store


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

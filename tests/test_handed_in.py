"""Mailboxes that are not polled: mail servers hand their mail to `bounceparse ingest`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bounceparse.cli import main
from bounceparse.config import build_health, imap_accounts, load_settings
from bounceparse.db import Store
from bounceparse.errors import ConfigError

CONFIG = """
[mailbox.bounces]
polled = false
recipient_headers = ["Delivered-To"]

[signing]
keys = "1 2026-01-01 aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
return_path = "b+{token}@bounces.example.com"
"""


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n{CONFIG}', "utf-8")
    return path


def run(config: Path, *words: str, mail: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *words], input=mail)


def test_a_bounce_handed_in_is_verified_by_its_return_path(config: Path, database_url: str) -> None:
    """The mailbox's settings hold for it, though nothing polls it."""
    words = ("headers", "--json", "--message-id", "1@shop.example", "--recipient", "jan@example.net")
    told = json.loads(run(config, *words).stdout)
    bounce = f"Delivered-To: {told['return_path']}\nSubject: Undelivered\n\n<jan@example.net>: 550 5.1.1 no such user\n"
    assert run(config, "ingest", "--mailbox", "bounces", mail=bounce.encode()).exit_code == 0
    with Store(database_url) as store:
        assert [(row.trust, row.mailbox, row.outcome.recipient) for row in store.outcomes()] == [
            ("verified", "bounces", "jan@example.net")
        ]


def test_a_poll_has_nothing_to_open_and_does_the_rest(config: Path) -> None:
    """Silence is presumed, alerts are told: an installation without any IMAP runs `poll` too."""
    polled = run(config, "poll")
    assert (polled.exit_code, polled.stderr) == (0, "")
    assert "bounces" not in run(config, "doctor").stderr


def test_no_poll_of_it_is_missed(config: Path) -> None:
    assert build_health(load_settings(config)).mailboxes == ()
    assert imap_accounts(load_settings(config)) == []


@pytest.mark.parametrize("words", [("poll", "--mailbox", "bounces"), ("poll", "--watch")])
def test_who_asks_to_poll_it_is_told(config: Path, words: tuple[str, ...]) -> None:
    asked = run(config, *words)
    assert asked.exit_code == 1
    assert "polled = false" in asked.stderr


@pytest.mark.parametrize("key", ["host", "password", "username"])
def test_a_server_that_is_not_used_is_a_mistake(tmp_path: Path, key: str) -> None:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[mailbox.bounces]\npolled = false\n{key} = "x"\n', "utf-8")
    with pytest.raises(ConfigError, match=rf"\[mailbox\] bounces: polled = false: {key} is not used"):
        load_settings(path)


def test_the_environment_can_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUNCEPARSE_MAILBOX__BOUNCES__POLLED", "false")
    assert imap_accounts(load_settings()) == []

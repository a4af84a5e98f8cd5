"""The tutorials, tried out as they stand: their commands in their order, their configuration against real servers."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from bounces import dsn
from click.testing import CliRunner
from documents import ROOT, Block, blocks_of
from servers import PASSWORD, USER, running_dovecot
from test_imap_oauth2 import Provider

from bounceparse.cli import main
from bounceparse.config import imap_accounts, load_settings
from bounceparse.db import Store
from bounceparse.mailboxes.imap import open_mailbox


def tutorial(name: str) -> list[Block]:
    return blocks_of(ROOT / f"docs/tutorials/{name}.md")


def test_cron_in_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From no database to a suppressed address, by the tutorial's own lines; only the server's address is ours."""
    page = tutorial("cron")
    (config,) = (block.text for block in page if block.language == "toml")
    (csv,) = (block.text for block in page if block.language == "csv")
    password = tmp_path / "bounces.password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    (tmp_path / "bounceparse.toml").write_text(config.replace("/etc/bounceparse/bounces.password", str(password)))
    (tmp_path / "sent.csv").write_text(csv)
    (tmp_path / "addresses.txt").write_text("jan@example.com\nola@example.com\n")
    lines = [line for block in page if block.language == "sh" for line in block.text.replace("\\\n", "").splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bounceparse ")]
    bounce = dsn(1).replace(b"user1@example.pl", b"jan@example.com").replace(b"<1@shop", b"<20261122.1@shop")
    with running_dovecot() as dovecot:
        dovecot.load([bounce])
        environment = {
            "BOUNCEPARSE_DATABASE__URL": f"sqlite:///{tmp_path}/bounceparse.db",
            "BOUNCEPARSE_MAILBOX__BOUNCES__HOST": "localhost",
            "BOUNCEPARSE_MAILBOX__BOUNCES__PORT": str(dovecot.tls),
            "BOUNCEPARSE_MAILBOX__BOUNCES__CA_FILE": str(dovecot.ca_file),
            "BOUNCEPARSE_MAILBOX__BOUNCES__USERNAME": USER,
        }
        monkeypatch.chdir(tmp_path)
        said = {}
        for words in commands:
            done = CliRunner().invoke(main, words, env=environment)
            assert (done.exit_code, done.stderr) == (0, ""), f"bounceparse {' '.join(words)}: {done.stderr}"
            said[" ".join(words)] = done.stdout
        assert len(dovecot.flags()) == 1 and "S" in dovecot.flags()[0]
    assert "user-unknown" in said["outcomes --since 1d"] and "hardbounce" in said["outcomes --since 1d"]
    assert "does not exist" in said["address jan@example.com"]
    assert "jan@example.com" in said["suppressions list"]
    assert said["suppressions check addresses.txt --stream orders"] == "jan@example.com\n"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server
        server.shutdown()


@pytest.mark.parametrize("name", ["outlook.office365.com", "imap.gmail.com"])
def test_oauth2_logs_in(name: str, provider: Provider, tmp_path: Path) -> None:
    """The tables for Microsoft 365 and Gmail, at a token server and a Dovecot of ours: no key is missing or wrong."""
    (block,) = (
        one.text
        for one in tutorial("microsoft-365-and-gmail")
        if f'host = "{name}"' in one.text and "client_secret_file" in one.text
    )
    for file, secret in (("bounces.secret", "hush"), ("bounces.token", "refresh-1")):
        (tmp_path / file).write_text(f"{secret}\n")
        (tmp_path / file).chmod(0o600)
    block = block.replace("/etc/bounceparse/", "").replace(name, "localhost")
    block = re.sub(r'token_url = ".*"', f'token_url = "{provider.url}"', block)
    with running_dovecot(introspection=provider.server_port) as dovecot:
        block = block.replace(
            "[mailbox.bounces]\n", f'[mailbox.bounces]\nport = {dovecot.tls}\nca_file = "{dovecot.ca_file}"\n'
        )
        (tmp_path / "bounceparse.toml").write_text(block, "utf-8")
        (account,) = imap_accounts(load_settings(tmp_path / "bounceparse.toml"))
        dovecot.load([dsn(1)])
        with open_mailbox(account) as mailbox:
            assert len(mailbox.uids()) == 1
    assert provider.asked[0]["client_id"] == "CLIENT-ID"


# What an example names by number or by a past time is not there, and the command says so in one line.
_ABSENT = re.compile(r"(events|review|held) (discard|release|accept|reject|show) \d+|suppressions lift --reason")
_PAGES = ["proof", "unsubscribing", "suppressions", "streams", "verdicts"]


@pytest.mark.parametrize("name", _PAGES)
def test_the_commands_of_a_page_run_in_their_order(
    name: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a database that knows the address, the stream and the files that the pages speak of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "addresses.txt").write_text("jan@example.com\n")
    (tmp_path / "list.csv").write_text("address,reason\newa@example.com,user-unknown\n")
    page = blocks_of(ROOT / f"docs/{name}.md")
    signing = [block.text for block in page if block.language == "toml" and "[signing]" in block.text]
    config = signing[0] if signing else '[signing]\nkey_file = "bounceparse.keys"\n'
    (tmp_path / "bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n{config}', "utf-8")
    (tmp_path / "bounce.eml").write_bytes(dsn(1))
    with Store(database_url) as store:
        store.record_sent("20261122.1@shop.example", "jan@example.com", stream="news")
    if name != "unsubscribing":
        assert CliRunner().invoke(main, ["keys", "new"]).exit_code == 0
    lines = [line for block in page if block.language == "sh" for line in block.text.replace("\\\n", "").splitlines()]
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bounceparse ")]
    for words in (words for words in commands if words[0] != "serve"):
        done = CliRunner().invoke(main, words)
        told = f"bounceparse {' '.join(words)}: {done.output}"
        if _ABSENT.match(" ".join(words)):
            assert done.exit_code == 1 and done.output.count("\n") == 1, told
        else:
            assert done.exit_code == 0, told

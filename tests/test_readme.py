"""The README as a new user follows it: its programs give what they show, its commands run in their order."""

from __future__ import annotations

import doctest
import re
import shlex
from pathlib import Path

import pytest
from bounces import dsn
from click.testing import CliRunner
from documents import ROOT, blocks_of
from servers import PASSWORD, USER, running_dovecot

from bounceparse.cli import main

PAGE = blocks_of(ROOT / "README.md")


def test_the_python_examples_give_what_they_show(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the database that they name, and on PostgreSQL in its place."""
    monkeypatch.chdir(tmp_path)
    source = "\n".join(block.text for block in PAGE if block.language == "python")
    assert "sqlite:///bounceparse.db" in source
    source = source.replace("sqlite:///bounceparse.db", empty_url)
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    assert len(test.examples) > 10
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


def prepare(folder: Path) -> None:
    """What a reader has: a list of what was sent, a bounce, samples with labels and an older run over them."""
    bounce = dsn(1).replace(b"user1@example.pl", b"jan@example.com")
    (folder / "sent.csv").write_text("message_id,recipient,customer\n1@shop.example,jan@example.com,4711\n")
    (folder / "bounce.eml").write_bytes(bounce)
    (folder / "bounces.mbox").write_bytes(b"From mx Fri Jan  2 10:00:00 2026\n" + bounce)
    rules = next(one.text for one in blocks_of(ROOT / "docs/verdicts.md") if one.text.startswith("[[rule]]"))
    (folder / "own-rules.toml").write_text(rules, "utf-8")
    (folder / "samples/own/mails").mkdir(parents=True)
    (folder / "samples/own/mails/1.eml").write_bytes(bounce)
    label = '{"file": "own/mails/1.eml", "kind": ["delivery"], "outcomes": [{"recipient": "jan@example.com"}]}\n'
    (folder / "samples/own/labels.jsonl").write_text(label)
    run("evaluate", "--save", "before.json", "samples")


def run(*words: str) -> str:
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, f"bounceparse {' '.join(words)}: {done.output}"
    return done.stdout


def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them but the demo, which has tests of its own, and what serves for ever; only the mailbox is ours."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path)
    (config,) = (block.text for block in PAGE if block.language == "toml")
    lines = [line for block in PAGE if block.language == "sh" for line in block.text.splitlines()]
    lines += re.findall(r"`(bounceparse parse [^`]*)`", (ROOT / "README.md").read_text("utf-8"))
    commands = [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("bounceparse ")]
    commands.remove(["demo"])
    assert len(commands) >= 15
    said = {}
    with running_dovecot() as dovecot:
        dovecot.load([(tmp_path / "bounce.eml").read_bytes()])
        for name, value in {
            "DATABASE__URL": f"sqlite:///{tmp_path}/bounceparse.db",
            "MAILBOX__BOUNCES__HOST": "localhost",
            "MAILBOX__BOUNCES__PORT": str(dovecot.tls),
            "MAILBOX__BOUNCES__CA_FILE": str(dovecot.ca_file),
            "MAILBOX__BOUNCES__USERNAME": USER,
            "MAILBOX__BOUNCES__PASSWORD": PASSWORD,
        }.items():
            monkeypatch.setenv(f"BOUNCEPARSE_{name}", value)
        for words in commands:
            said[" ".join(words)] = run(*words)
            if words == ["init"]:
                (tmp_path / "bounceparse.toml").write_text(config, "utf-8")
    assert "user-unknown" in said["outcomes --since 1d"]
    assert "does not exist" in said["address jan@example.com"] and "jan@example.com" in said["customer 4711"]
    assert '"hardbounce"' in said["parse --json bounces.mbox"]


def test_the_statuses_are_those_of_the_reference() -> None:
    """The README's short table names each status once, in the order of the code."""
    from bounceparse.outcomes import Status

    table = (ROOT / "README.md").read_text("utf-8").partition("| status | meaning |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(Status)

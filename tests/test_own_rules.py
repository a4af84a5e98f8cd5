"""Rules of the operator's own, named in the configuration: they decide in every command that reads mail."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from bounces import dsn
from click.testing import CliRunner, Result

from bounceparse.cli import main
from bounceparse.config import load_settings
from bounceparse.db import Store
from bounceparse.evaluate import read_labels
from bounceparse.reading import Place, Unread, read_batches
from bounceparse.rules import load_rules

OWN = """
[[rule]]
id = "own/unknown-user"
reason = "policy"
text = 'user unknown'
code = 550
examples = ["550 5.1.1 User unknown"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a rule file beside it, and a bounce that the rule is for; the working directory is another."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "bounceparse.toml").write_text('[database]\nurl = "sqlite:///b.db"\n[rules]\nfiles = ["own.toml"]\n')
    (tmp_path / "1.eml").write_bytes(dsn(1))
    return tmp_path


@pytest.fixture
def store(folder: Path, database_url: str) -> Iterator[Store]:
    """A database, in the configuration too."""
    config = folder / "bounceparse.toml"
    config.write_text(config.read_text().replace("sqlite:///b.db", database_url))
    with Store(database_url) as store:
        yield store


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("--config", "../bounceparse.toml", *arguments), prog_name="bounceparse")


def test_rule_files_are_relative_to_the_configuration(folder: Path) -> None:
    """The working directory of cron does not matter."""
    assert load_settings(folder / "bounceparse.toml").rules.files == (folder / "own.toml",)


def test_the_environment_may_name_rule_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several are parted by commas."""
    monkeypatch.setenv("BOUNCEPARSE_RULES__FILES", "/a.toml,/b.toml")
    assert load_settings(folder / "bounceparse.toml").rules.files == (Path("/a.toml"), Path("/b.toml"))


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_parse_takes_the_rules_of_a_configuration_that_is_named(jobs: str) -> None:
    """In this process and in workers."""
    result = run("parse", "--json", "--jobs", jobs, "../1.eml")
    (outcome,) = json.loads(result.stdout)["outcomes"]
    assert (outcome["reason"], outcome["evidence"]["rule"]) == ("policy", "own/unknown-user")


def test_parse_without_a_named_configuration_takes_the_packaged_rules(folder: Path) -> None:
    """The same mail gives the same answer everywhere, whatever lies in the working directory."""
    (folder / "work/bounceparse.toml").write_text('[rules]\nfiles = ["../own.toml"]\n')
    result = CliRunner().invoke(main, ["parse", "--json", "../1.eml"])
    assert json.loads(result.stdout)["outcomes"][0]["reason"] == "user-unknown"


def test_replay_records_by_the_operators_rules(store: Store) -> None:
    """What is recorded is what the rules in force say."""
    assert run("replay", "../1.eml").exit_code == 0
    assert [row.outcome.evidence.rule for row in store.outcomes()] == ["own/unknown-user"]


def test_readers_in_other_processes_have_the_operators_rules(folder: Path) -> None:
    """A poll of many messages reads in a pool; its workers decide as this process does."""
    batches = ([Unread(Place("a", "INBOX", 1, number), dsn(number), 1)] for number in range(1, 9))
    read = list(read_batches(batches, 2, load_rules([folder / "own.toml"])))
    assert len(read) == 8
    assert {message.outcomes[0].evidence.rule for (message,) in read} == {"own/unknown-user"}


def test_rules_check_covers_the_files_of_the_configuration(folder: Path) -> None:
    """A rule whose example reaches another rule is told with its file and id."""
    assert run("rules", "check").exit_code == 1  # it takes the packaged example "550 5.1.1 User unknown"
    (folder / "own.toml").write_text(OWN.replace("'user unknown'", "'frobnicated'"))
    result = run("rules", "check")
    assert result.exit_code == 1
    assert "own.toml: rule own/unknown-user: example" in result.stderr
    (folder / "own.toml").write_text(
        OWN.replace("'user unknown'", "'frobnicated'").replace("User unknown", "frobnicated")
    )
    assert run("rules", "check").exit_code == 0
    assert "own/unknown-user" in run("rules", "list").stdout


@pytest.mark.parametrize("command", [("parse", "../1.eml"), ("replay", "../1.eml"), ("rules", "check"), ("poll",)])
def test_a_fault_in_a_rule_file_is_told_with_file_and_id(folder: Path, command: tuple[str, ...]) -> None:
    """Nothing is read by half of the rules: the command ends before it begins."""
    (folder / "own.toml").write_text(OWN.replace('"policy"', '"polcy"'))
    if command == ("poll",):
        with (folder / "bounceparse.toml").open("a") as file:
            file.write('[mailbox.a]\nhost = "localhost"\nusername = "a"\npassword = "b"\n')
    result = run(*command)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "/own.toml: rule own/unknown-user: unknown reason 'polcy'" in result.stderr


def test_a_rule_file_that_is_not_there_is_told(folder: Path) -> None:
    """By its path; doctor finds it too."""
    (folder / "own.toml").unlink()
    assert "own.toml: cannot be read" in run("parse", "../1.eml").stderr
    assert "own.toml: cannot be read" in run("doctor").stdout


VERDICTS = Path(__file__).parent.parent / "docs/verdicts.md"


def test_the_documented_rule_file_is_one(tmp_path: Path) -> None:
    """It loads, and its example reaches its rule through the whole set."""
    block = re.search(r"```toml\n(\[\[rule\]\].*?)```", VERDICTS.read_text("utf-8"), re.DOTALL)
    assert block
    (tmp_path / "documented.toml").write_text(block[1], "utf-8")
    rules = load_rules([tmp_path / "documented.toml"])
    assert [problem for problem in rules.check() if "documented.toml" in problem] == []


def test_the_documented_label_is_one(tmp_path: Path) -> None:
    block = re.search(r"```json\n(.*?)```", VERDICTS.read_text("utf-8"), re.DOTALL)
    assert block
    (tmp_path / "own").mkdir()
    (tmp_path / "own/labels.jsonl").write_text(block[1], "utf-8")
    assert read_labels(tmp_path)[0].message_ids == ("1@shop.example",)

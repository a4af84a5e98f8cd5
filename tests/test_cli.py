"""The command line's own manners: help, laziness, errors, what may reach a terminal, and the commands without a database."""

from __future__ import annotations

import io
import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from bounceparse.cli import COMMANDS, main
from bounceparse.cli.options import Moment
from bounceparse.cli.output import json_line, plain
from bounceparse.cli.sent import read_rows
from bounceparse.errors import ConfigError, MailboxError


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the machine's own configuration."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=stdin, prog_name="bounceparse")


def all_commands() -> list[tuple[str, ...]]:
    context = click.Context(main)
    found: list[tuple[str, ...]] = []
    for name in COMMANDS:
        command = main.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, inner) for inner in command.commands]
    return found


@pytest.mark.parametrize("words", all_commands(), ids=" ".join)
def test_every_command_has_help_with_an_example(words: tuple[str, ...]) -> None:
    result = run(*words, "--help")
    assert result.exit_code == 0
    assert f"Example: {'bounceparse' if words != ('completion',) else 'eval'}" in result.output
    assert " ".join(words) in result.output.split("Example:")[1].replace("\n", " ")


def test_the_overview_names_every_command_without_loading_one() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from bounceparse.cli import main, COMMANDS\n"
        "text = CliRunner().invoke(main, ['--help']).output\n"
        "assert all(name in text for name in COMMANDS)\n"
        "print([m for m in sys.modules if m.startswith('bounceparse.cli.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(eval(done.stdout)) == {"bounceparse.cli.output", "bounceparse.cli.session"}


def test_parse_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(b"Subject: hi\n\nhello\n")
    heavy = "sqlmodel sqlalchemy alembic imapclient rich pydantic mailparser dateutil"
    code = (
        "import sys; from click.testing import CliRunner; from bounceparse.cli import main\n"
        "assert CliRunner().invoke(main, ['parse', '--json', 'mail.eml']).exit_code == 0\n"
        f"print([name for name in '{heavy}'.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[]\n"


def test_an_unknown_command_is_a_usage_error() -> None:
    assert run("pool").exit_code == 2


def test_python_m_bounceparse_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bounceparse", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("bounceparse ")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a: b: c"), 1),
        (MailboxError("no answer", temporary=True), 75),
        (PermissionError(13, "Permission denied", "x"), 1),
        (OSError(28, "No space left on device"), 75),
    ],
    ids=["configuration", "temporary", "permission", "full disk"],
)
def test_an_expected_fault_is_one_line_and_an_exit_status(
    error: Exception, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object) -> None:
        raise error

    monkeypatch.setattr("bounceparse.cli.session.Session.settings", property(fail))
    result = run("db", "upgrade")
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("bounceparse: ")


def test_a_missing_configuration_tells_the_next_step() -> None:
    result = run("db", "check")
    assert result.exit_code == 1
    assert "bounceparse init" in result.stderr


def test_init_writes_a_private_file_and_says_what_is_next(tmp_path: Path) -> None:
    result = run("init")
    assert result.exit_code == 0
    assert stat.S_IMODE((tmp_path / "bounceparse.toml").stat().st_mode) == 0o600
    assert "bounceparse doctor" in result.output


def test_init_never_overwrites_silently(tmp_path: Path) -> None:
    path = tmp_path / "bounceparse.toml"
    path.write_text("mine")
    result = run("init")
    assert (result.exit_code, path.read_text()) == (1, "mine")
    assert "--force" in result.stderr
    assert run("init", "--force").exit_code == 0
    assert path.read_text() != "mine"


def test_the_database_commands_on_a_fresh_database(empty_url: str, tmp_path: Path) -> None:
    (tmp_path / "bounceparse.toml").write_text(f'[database]\nurl = "{empty_url}"\n')
    before = run("db", "check")
    assert (before.exit_code, "run `bounceparse db upgrade`" in before.stderr) == (1, True)
    assert run("db", "upgrade").exit_code == 0
    assert run("db", "check").exit_code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_of_the_shell(shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_BOUNCEPARSE_COMPLETE={shell}_complete" in result.output


def test_completion_knows_commands_even_with_the_variable_set() -> None:
    environment = {"_BOUNCEPARSE_COMPLETE": "bash_complete", "COMP_WORDS": "bounceparse su", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "bounceparse"],
        capture_output=True,
        text=True,
        env={**environment, "PATH": ""},
        check=False,
    )
    assert "suppressions" in done.stdout


@pytest.mark.parametrize("char", ["\x1b", "\x07", "\r", "\n", "\x7f", "\x9b", "\u202e", "\u2066", "\ud800", "\x00"])
def test_no_character_that_a_terminal_obeys_is_printed(char: str) -> None:
    assert plain(f"a{char}b") == "a�b"
    line = json_line({"text": f"a{char}b"}).decode()
    assert char not in line.rstrip("\n")
    assert line.count("\n") == 1


def test_json_keeps_every_other_character() -> None:
    text = "zażółć \x1b[31m 日本 \u2028"
    line = json_line({"text": text})
    assert json.loads(line) == {"text": text}
    assert "zażółć".encode() in line


def test_times_are_iso_or_ago() -> None:
    moment = Moment()
    assert moment.convert("2026-01-02T03:04:05+01:00", None, None) == datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    two_days_ago = datetime.now(UTC) - timedelta(days=2)
    assert abs(moment.convert("2d", None, None) - two_days_ago) < timedelta(minutes=1)


@pytest.mark.parametrize("text", ["yesterday", "7", "7y", "999999w", ""])
def test_what_is_no_time_is_a_usage_error(text: str) -> None:
    with pytest.raises(click.BadParameter):
        Moment().convert(text, None, None)


def test_ledger_rows_of_csv_carry_the_line_they_end_on() -> None:
    text = (
        'message_id,Recipient,subject\n1@x,a@example.com,"two\nlines"\n2@x,b@example.com\n3@x,c@example.com,s,extra\n'
    )
    rows = list(read_rows(io.StringIO(text)))
    assert rows[0] == (3, {"message_id": "1@x", "recipient": "a@example.com", "subject": "two\nlines"})
    assert rows[1] == (4, {"message_id": "2@x", "recipient": "b@example.com"})
    assert rows[2] == (5, "more values than the heading has columns")


def test_ledger_rows_of_csv_parted_by_semicolons() -> None:
    assert list(read_rows(io.StringIO("message_id;recipient\n1@x;a@example.com\n"))) == [
        (2, {"message_id": "1@x", "recipient": "a@example.com"})
    ]


def test_ledger_rows_of_json_lines_and_what_is_none() -> None:
    rows = list(read_rows(io.StringIO('{"message_id": "1@x"}\n\nno\n[1]\n')))
    assert rows[0] == (1, {"message_id": "1@x"})
    assert rows[1][0] == 3
    assert "no JSON" in str(rows[1][1])
    assert "a row is an object" in str(rows[2][1])


def test_an_empty_ledger_file_has_no_rows() -> None:
    assert list(read_rows(io.StringIO(""))) == []

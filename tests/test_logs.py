"""What is logged: no password, token or address above debug, nothing a terminal obeys, one JSON object a line."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from click.testing import CliRunner
from databases import migrated_sqlite
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.cli import main
from bounceparse.cli.output import complain
from bounceparse.logs import log_event, mask_addresses, mask_secrets, set_up

TOKEN = "ae" * 14 + "b"


MONKEY = pytest.MonkeyPatch()


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Leave the logger and standard error as they were."""
    logger = logging.getLogger("bounceparse")
    before = logger.handlers[:], logger.propagate, logger.level
    yield
    MONKEY.undo()
    logger.handlers[:], logger.propagate, logger.level = before


def logged(form: str = "text", level: str | None = None, addresses: bool = False) -> StringIO:
    set_up(form, level, addresses=addresses)
    out = StringIO()
    MONKEY.setattr("sys.stderr", out)
    return out


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("to jan@example.com: no", "to j***@example.com: no"),
        ("<jan.kowalski+x@mail.example.com>", "<j***@mail.example.com>"),
        (f"bounces+{TOKEN}@s.example", "b***@s.example"),
        ('"jan kowalski"@example.com', "***@example.com"),
        ("jan@bücher.example, ola@example.pl", "j***@bücher.example, o***@example.pl"),
        ("no address @ all", "no address @ all"),
    ],
)
def test_addresses_are_cut_to_their_first_letter(text: str, masked: str) -> None:
    assert mask_addresses(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter22",
        "PASSWORD: 'hunter22'",
        'client_secret = "hunter22"',
        '{"refresh_token": "hunter22"}',
        "Authorization: Bearer hunter22hunter22",
        "postgresql+psycopg://user:hunter22@db/x",
        "auth failed, access_token=hunter22&scope=x",
    ],
)
def test_secrets_are_never_shown(text: str) -> None:
    assert "hunter22" not in mask_secrets(text)


def test_signed_tokens_are_never_shown() -> None:
    """Who reads the log must not be able to unsubscribe others."""
    assert TOKEN not in mask_secrets(f"https://shop.example/u/{TOKEN}?x")
    assert TOKEN.upper() not in mask_secrets(f"POST /u/{TOKEN.upper()}")


def test_plain_words_stay() -> None:
    for text in ("the token is expired", "password_command printed nothing", "see `bounceparse keys new`"):
        assert mask_secrets(text) == text


@given(st.text(max_size=300))
def test_masking_ends_and_leaves_no_address(text: str) -> None:
    """Whatever mail brings."""
    masked = mask_addresses(mask_secrets(f"{text} jan.kowalski@example.com"))
    assert "jan.kowalski" not in masked


def test_only_debug_shows_addresses_unless_asked() -> None:
    """And not even that shows secrets."""
    for level, addresses, shown in (("info", False, False), ("debug", False, True), ("warning", True, True)):
        out = logged(level="debug", addresses=addresses)
        logging.getLogger("bounceparse.x").log(
            getattr(logging, level.upper()), "%s refused, password=hunter22", "jan@example.com"
        )
        assert ("jan@example.com" in out.getvalue()) is shown
        assert "hunter22" not in out.getvalue()


def test_a_traceback_is_masked_too() -> None:
    out = logged()
    try:
        raise ValueError("jan@example.com")
    except ValueError:
        logging.getLogger("bounceparse").error("failed", exc_info=True)
    assert "ValueError" in out.getvalue() and "jan@" not in out.getvalue()


def test_json_is_an_object_a_line() -> None:
    """With the event's name and fields, masked as the message is; several lines of text stay one object."""
    out = logged("json")
    log_event("poll", "two\nlines of jan@example.com", mailbox="bounces", new=3, words="ola@example.com")
    (line,) = out.getvalue().splitlines()
    found = json.loads(line)
    assert {"time", "level", "logger"} <= set(found)
    assert (found["event"], found["mailbox"], found["new"]) == ("poll", "bounces", 3)
    assert (found["message"], found["words"]) == ("two\nlines of j***@example.com", "o***@example.com")


def test_text_obeys_no_terminal() -> None:
    out = logged()
    logging.getLogger("bounceparse").warning("bad \x1b[2J words\nsecond")
    assert out.getvalue() == "bounceparse: bad �[2J words\nbounceparse: second\n"


def test_faults_are_events_where_machines_read(capsys: pytest.CaptureFixture[str]) -> None:
    out = logged("json")
    complain("mailbox bounces: login of jan@example.com refused")
    assert json.loads(out.getvalue())["message"] == "mailbox bounces: login of j***@example.com refused"
    assert capsys.readouterr().err == ""


def test_levels() -> None:
    """People hear of what is wrong, machines of what happens too."""
    for form, heard in (("text", False), ("json", True)):
        out = logged(form)
        log_event("poll", "done")
        assert bool(out.getvalue()) is heard


def test_the_configuration_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll of a mailbox that cannot be reached tells so as JSON, without its user's address."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    migrated_sqlite(tmp_path / "b.db")
    box = '[mailbox.bounces]\nhost = "127.0.0.1"\nport = 1\nusername = "jan@example.com"\npassword = "hunter22"\n'
    config = Path("bounceparse.toml")
    config.write_text(f'[database]\nurl = "sqlite:///b.db"\n[log]\nformat = "json"\n{box}')
    config.chmod(0o600)
    done = CliRunner().invoke(main, ["poll"])
    assert done.exit_code == 75, done.output
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert {one["event"] for one in found} == {"fault", "poll"}
    told = next(one for one in found if one["event"] == "poll")
    assert (told["mailbox"], told["result"], told["temporary"], told["level"]) == ("bounces", "failed", True, "info")
    assert "hunter22" not in done.stderr and "jan@example.com" not in done.stderr
    config.write_text('[log]\nformat = "xml"\n')
    assert "format" in CliRunner().invoke(main, ["poll"]).stderr


def test_an_import_sets_up_nothing() -> None:
    """Services that use the library keep their own logging."""
    code = "import bounceparse, bounceparse.db, logging; print(logging.getLogger('bounceparse').handlers, logging.root.handlers)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[] []\n"

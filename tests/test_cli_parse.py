"""``parse``: the JSON lines that other programs rely on, and which inputs it takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bounceparse.cli import main

BOUNCE = b"""\
From: MAILER-DAEMON@mx.example.net
Date: Fri, 02 Jan 2026 10:00:05 +0100
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net
Arrival-Date: Fri, 02 Jan 2026 10:00:00 +0100

Final-Recipient: rfc822; jan@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <jan@example.com>: no such user here

Final-Recipient: rfc822; ola@example.com
Action: delayed
Status: 4.2.2
Diagnostic-Code: smtp; 452 4.2.2 mailbox over quota

--b
Content-Type: text/rfc822-headers

Message-ID: <20260102.1@shop.example>
Subject: =?utf-8?q?Za=C5=BC=C3=B3=C5=82=C4=87?=
To: jan@example.com, ola@example.com

--b--
"""
NOTHING = b"From: ola@example.com\nSubject: Lunch?\n\nToday?\n"


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, stdin: bytes | None = None) -> Result:
    result = CliRunner().invoke(main, ["parse", *arguments], input=stdin, prog_name="bounceparse")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def objects(result: Result) -> list[dict[str, Any]]:
    raw = result.stdout_bytes
    assert raw.endswith(b"\n") or not raw
    return [json.loads(line) for line in raw.decode("utf-8", "strict").split("\n")[:-1]]


def test_the_object_of_a_message() -> None:
    Path("1.eml").write_bytes(BOUNCE)
    result = run("--json", "1.eml")
    assert result.exit_code == 0
    (answer,) = objects(result)
    assert list(answer) == ["source", "kind", "dialect", "defects", "outcomes"]
    assert (answer["source"], answer["kind"], answer["dialect"], answer["defects"]) == (
        "1.eml",
        "delivery",
        "rfc3464",
        [],
    )
    first, second = answer["outcomes"]
    evidence = first.pop("evidence")
    assert first == {
        "status": "hardbounce",
        "reason": "user-unknown",
        "fault": "recipient",
        "recipient": "jan@example.com",
        "original_recipient": None,
        "final_recipient": "jan@example.com",
        "message_id": "20260102.1@shop.example",
        "envelope_id": None,
        "feedback_id": None,
        "list_id": None,
        "action": "failed",
        "enhanced_status": "5.1.1",
        "smtp_code": 550,
        "diagnostic": "550 5.1.1 <jan@example.com>: no such user here",
        "smtp_phase": None,
        "reporting_mta": "mx.example.net",
        "remote_mta": None,
        "sending_ip": None,
        "provider": None,
        "blocklist": None,
        "help_url": None,
        "subject": "Zażółć",
        "occurred_at": "2026-01-02T10:00:00+01:00",
    }
    assert set(evidence) == {"rule", "part", "matched", "dialect"}
    assert (second["status"], second["recipient"], second["smtp_code"]) == ("deferred", "ola@example.com", 452)


def test_a_mail_that_reports_nothing_has_no_outcomes() -> None:
    (answer,) = objects(run("--json", "-", stdin=NOTHING))
    assert answer == {"source": "-", "kind": "other", "dialect": None, "defects": [], "outcomes": []}


def test_a_folder_is_read_in_order_and_an_mbox_is_numbered() -> None:
    Path("in/b").mkdir(parents=True)
    Path("in/b/2").write_bytes(NOTHING)
    Path("in/a").write_bytes(BOUNCE)
    entry = b"From x@example.com Fri Jan  2 10:00:00 2026\n"
    Path("in/c.mbox").write_bytes(entry + BOUNCE + b"\n" + entry + NOTHING)
    sources = [answer["source"] for answer in objects(run("--json", "in"))]
    assert sources == ["in/a", "in/b/2", "in/c.mbox#1", "in/c.mbox#2"]


def test_what_cannot_be_opened_is_told_and_does_not_stop_the_rest() -> None:
    Path("1.eml").write_bytes(BOUNCE)
    result = run("--json", "gone.eml", "1.eml")
    assert (result.exit_code, len(objects(result))) == (1, 1)
    assert result.stderr.startswith("bounceparse: gone.eml: ")


def test_no_path_is_a_usage_error() -> None:
    assert run("--json").exit_code == 2


def test_a_readers_own_fault_costs_one_message_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(mail: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bounceparse.reading.read_report", fail)
    Path("1.eml").write_bytes(BOUNCE)
    Path("2.eml").write_bytes(BOUNCE)
    result = run("--json", "1.eml", "2.eml")
    assert [(answer["kind"], answer["outcomes"]) for answer in objects(result)] == [("other", []), ("other", [])]


def test_several_processes_answer_the_same_in_the_same_order() -> None:
    Path("in").mkdir()
    for number in range(150):  # more than two batches
        Path(f"in/{number:03}.eml").write_bytes(BOUNCE if number % 3 else NOTHING)
    one = run("--json", "in")
    two = run("--json", "--jobs", "2", "in")
    assert len(objects(one)) == 150
    assert two.stdout_bytes == one.stdout_bytes


def test_the_answer_has_no_lone_surrogate_and_is_one_line() -> None:
    raw = BOUNCE.replace(b"no such user here", b"no such user \xed\xa0\x80 here \xe2\x80\xa8 \x85")
    (answer,) = objects(run("--json", "-", stdin=raw))
    assert "no such user" in answer["outcomes"][0]["diagnostic"]


def test_a_file_name_that_is_no_utf8_does_not_stop_us(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    try:
        Path(b"in/\xff.eml".decode("utf-8", "surrogateescape")).write_bytes(BOUNCE)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (answer,) = objects(run("--json", "in"))
    assert answer["source"] == "in/\ufffd.eml"


def test_people_get_a_line_an_outcome() -> None:
    Path("1.eml").write_bytes(BOUNCE)
    Path("2.eml").write_bytes(NOTHING)
    lines = [line.split() for line in run("1.eml", "2.eml").stdout.splitlines()]
    assert lines == [
        ["status", "reason", "recipient", "source"],
        ["hardbounce", "user-unknown", "jan@example.com", "1.eml"],
        ["deferred", "mailbox-full", "ola@example.com", "1.eml"],
        ["-", "reports", "nothing", "-", "2.eml"],
    ]


def test_escapes_in_a_mail_do_not_reach_the_terminal() -> None:
    Path("1.eml").write_bytes(
        BOUNCE.replace(b"rfc822; jan@", b'rfc822; "\x1b[31mjan"@').replace(b"no such", b"\x1b[2J no such")
    )
    for arguments in (["1.eml"], ["--json", "1.eml"]):
        assert b"\x1b" not in run(*arguments).stdout_bytes

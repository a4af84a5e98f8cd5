"""The commands that write and read the database: ledger, outcomes, cards, stats, suppressions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bounceparse.advice import LANGUAGES, NO_BOUNCE, PAUSED, _texts, advice
from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.outcomes import REASONS

ESCAPE = "\x1b]0;owned\x07"
PARSE_KEYS = [
    "status", "reason", "fault", "recipient", "original_recipient", "final_recipient", "message_id", "envelope_id",
    "feedback_id", "list_id", "action", "enhanced_status", "smtp_code", "diagnostic", "smtp_phase", "reporting_mta",
    "remote_mta", "sending_ip", "provider", "blocklist", "help_url", "subject", "occurred_at", "evidence",
]  # fmt: skip


def bounce(recipient: str, message_id: str, diagnostic: str, subject: str = "Your order") -> bytes:
    return f"""\
From: MAILER-DAEMON@mx.example.net
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; {recipient}
Action: failed
Status: 5.0.0
Diagnostic-Code: smtp; {diagnostic}

--b
Content-Type: text/rfc822-headers

Message-ID: <{message_id}>
To: {recipient}
Subject: {subject}

--b--
""".encode()


@pytest.fixture(autouse=True)
def store(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty database with a configuration in the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n')
    with Store(database_url) as store:
        yield store


@pytest.fixture
def dead_address(store: Store) -> str:
    """An address that is suppressed: the ledger knows the message, and the report proves it."""
    store.record_sent(
        "1@shop.example", "jan@example.com", customer="4711", stream="orders", subject=f"Your order{ESCAPE}"
    )
    store.ingest(
        bounce("jan@example.com", "1@shop.example", f"550 5.1.1 no such user here {ESCAPE}", f"Your order{ESCAPE}")
    )
    return "jan@example.com"


def run(*arguments: str, stdin: str | None = None, status: int = 0) -> Result:
    result = CliRunner().invoke(main, arguments, input=stdin, prog_name="bounceparse")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == status, result.output
    return result


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# -- the ledger


def test_import_reports_bad_rows_with_their_line_and_goes_on(store: Store) -> None:
    Path("sent.csv").write_text(
        "message_id,recipient,category\n1@shop.example,jan@example.com,\n,x@example.com,\n"
        "2@shop.example,ola@example.com,spam\n3@shop.example,ola@example.com,marketing\n"
    )
    result = run("sent", "import", "sent.csv", status=1)
    assert result.stdout == "2 new, 0 known already, 2 refused\n"
    assert [line.split(": ")[2] for line in result.stderr.splitlines()] == ["line 3", "line 4"]


def test_import_again_adds_nothing() -> None:
    rows = '{"message_id": "1@shop.example", "recipient": "jan@example.com", "sent_at": "2026-01-02T10:00:00+01:00"}\n'
    assert run("sent", "import", "-", stdin=rows).stdout == "1 new, 0 known already, 0 refused\n"
    assert run("sent", "import", "-", stdin=rows).stdout == "0 new, 1 known already, 0 refused\n"


def test_a_ledger_row_that_comes_late_matches_what_is_recorded(store: Store) -> None:
    store.ingest(bounce("jan@example.com", "1@shop.example", "550 5.1.1 no such user here"))
    assert objects(run("outcomes", "--json"))[0]["trust"] == "unverified"
    run("sent", "record", "--message-id", "<1@shop.example>", "--recipient", "jan@example.com", "--customer", "4711")
    row = objects(run("outcomes", "--json"))[0]
    assert (row["trust"], row["customer"]) == ("correlated", "4711")


def test_record_takes_every_column_of_the_ledger(store: Store) -> None:
    options = ["provider-id", "envelope-id", "from", "subject", "stream", "sender", "list-id", "customer"]
    columns = [word for name in options for word in (f"--{name}", f"{name}@example.com")]
    columns += ["--category", "transactional", "--sent-at", "2026-01-02T10:00:00Z"]
    run("sent", "record", "--message-id", "1@shop.example", "--recipient", "jan@example.com", *columns)
    sent = store.customer("customer@example.com").sent[0]
    assert (sent.stream, sent.subject, sent.sent_at) == (
        "stream@example.com",
        "subject@example.com",
        datetime.fromisoformat("2026-01-02T10:00:00Z"),
    )


# -- what is recorded


def test_outcomes_json_has_the_fields_of_parse_and_what_recording_added(dead_address: str) -> None:
    row = objects(run("outcomes", "--json"))[0]
    added = ["mailbox", "recorded_at", "trust", "matched_by", "match_evidence", "reporter_auth", "stream", "customer"]
    assert set(row) == {*PARSE_KEYS, *added}
    assert (row["status"], row["recipient"], row["stream"]) == ("hardbounce", dead_address, "orders")


def test_outcomes_are_narrowed_by_status_and_time(dead_address: str) -> None:
    assert len(objects(run("outcomes", "--json", "--status", "hardbounce", "--since", "1h"))) == 1
    assert run("outcomes", "--json", "--status", "complaint").stdout == ""
    assert run("outcomes", "--json", "--since", "2999-01-01").stdout == ""


@pytest.mark.parametrize(
    "command",
    ["outcomes", "outcomes --json", "address jan@example.com", "customer 4711", "customer 4711 --json", "stats"],
)
def test_nothing_that_a_mail_wrote_reaches_the_terminal_as_a_command(command: str, dead_address: str) -> None:
    output = run(*command.split()).stdout
    assert "hardbounce" in output
    assert not {"\x1b", "\x07"} & set(output)


def test_stats_count_by_group_and_status(dead_address: str) -> None:
    row = objects(run("stats", "--by", "stream", "--json"))[0]
    assert (row["stream"], row["total"], row["statuses"]) == ("orders", 1, {"hardbounce": 1})
    assert (row["sent"]["injected"], row["sent"]["hardbounce"], row["rates"]["hardbounce"]) == (1, 1, 100.0)
    shown = [line.split() for line in run("stats", "--by", "mailbox").stdout.splitlines()]
    assert shown == [["mailbox", "hardbounce", "total"], ["(not", "known)", "1", "1"], ["total", "1", "1"]]


# -- cards


def test_the_card_of_a_dead_address_says_that_it_is_not_mailed_and_why(dead_address: str) -> None:
    card = run("address", dead_address).stdout
    assert "mail is sent: no" in card
    assert "user-unknown" in card
    assert "550 5.1.1 no such user here" in card
    assert "misspelled" in card
    polish = run("address", dead_address, "--lang", "pl").stdout
    assert "wysyłamy: nie" in polish
    assert "literówka" in polish or "wpisany z błędem" in polish


def test_the_card_as_json_carries_the_advice_and_the_history(dead_address: str) -> None:
    card = objects(run("address", dead_address, "--json", "--lang", "pl"))[0]
    assert (card["mailable"], card["reason"], card["scope"]) == (False, "user-unknown", "all")
    assert card["advice"] == advice("user-unknown", "pl")
    assert [row["status"] for row in card["outcomes"]] == ["hardbounce"]


def test_an_address_without_a_bounce_gets_the_advice_to_look_into_spam() -> None:
    card = run("address", "ola@example.com").stdout
    assert "mail is sent: yes" in card
    assert "spam and trash" in card


def test_what_happened_lately_is_told_though_nothing_is_suppressed(store: Store) -> None:
    store.ingest(bounce("ola@example.com", "2@shop.example", "452 4.2.2 mailbox over quota"))
    card = objects(run("address", "ola@example.com", "--json"))[0]
    assert (card["mailable"], card["reason"]) == (True, None)
    assert card["advice"] == advice("mailbox-full")


def test_the_card_of_a_customer_covers_all_addresses(store: Store, dead_address: str) -> None:
    store.record_sent("2@shop.example", "jan.office@example.com", customer="4711")
    card = objects(run("customer", "4711", "--json"))[0]
    assert {row["address"]: row["mailable"] for row in card["addresses"]} == {
        "jan@example.com": False,
        "jan.office@example.com": True,
    }
    assert {row["status"] for row in card["sent"]} == {"hardbounce", "injected"}
    shown = run("customer", "4711").stdout
    assert "jan.office@example.com" in shown
    assert "nothing is known" in run("customer", "0815").stdout


# -- suppressions


def test_a_suppression_is_listed_and_can_be_lifted_for_good(dead_address: str, store: Store) -> None:
    listed = objects(run("suppressions", "list", "--json"))
    assert [(row["subject"], row["reason"]) for row in listed] == [(dead_address, "user-unknown")]
    assert dead_address in run("suppressions", "list").stdout
    run("suppressions", "lift", dead_address, "--note", "address corrected")
    assert run("suppressions", "list", "--json").stdout == ""
    run("suppressions", "lift", dead_address, status=1)
    assert store.standing(dead_address).mailable


def test_an_address_is_suppressed_by_hand_in_a_scope(store: Store) -> None:
    run("suppressions", "add", "Ola@Example.com", "--scope", "list:news.shop.example", "--until", "2999-01-01")
    assert store.standing("ola@example.com").mailable
    assert not store.standing("ola@example.com", "news.shop.example").mailable


@pytest.mark.parametrize("arguments", [["ola"], ["ola@"], ["o la@example.com"], ["ola@example.com", "--scope", "some"]])
def test_what_is_no_address_or_scope_is_refused(arguments: list[str]) -> None:
    assert run("suppressions", "add", *arguments, status=1).stderr.count("\n") == 1


def test_export_and_import_are_inverse(store: Store, tmp_path: Path) -> None:
    run("suppressions", "add", "@example.org")
    run("suppressions", "add", "=cmd@example.com", "--scope", "sender:shop", "--until", "2999-01-01T00:00:00Z")
    exported = run("suppressions", "export").stdout
    assert "\n=" not in exported and "\n@" not in exported  # what a spreadsheet would run
    for row in list(store.suppressions()):
        store.lift(row.subject)
    Path("in.csv").write_text(exported)
    assert run("suppressions", "import", "in.csv").stdout == "2 suppressed, 0 refused\n"
    assert {(row.subject, row.scope, row.until is None) for row in store.suppressions()} == {
        ("@example.org", "all", True),
        ("=cmd@example.com", "sender:shop", False),
    }


def test_import_takes_bare_addresses_and_reports_what_is_none() -> None:
    result = run("suppressions", "import", "-", stdin="jan@example.com\nnobody\n\n@example.org\n", status=1)
    assert result.stdout == "2 suppressed, 1 refused\n"
    assert "line 2" in result.stderr


def test_check_parts_a_list_into_mailable_and_not(dead_address: str) -> None:
    addresses = f"ola@example.com\n{dead_address}\n"
    assert run("suppressions", "check", "-", "--stream", "orders", stdin=addresses).stdout == f"{dead_address}\n"
    shown = run("suppressions", "check", "-", "--stream", "orders", "--mailable", stdin=addresses).stdout
    assert shown == "ola@example.com\n"


# -- advice


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_is_advice_for_every_reason_and_for_none(language: str) -> None:
    assert set(_texts()) == {*REASONS, NO_BOUNCE, PAUSED, "manual"}
    for reason in [None, *_texts()]:
        text = advice(reason, language)
        assert text.endswith(".")
        assert 60 < len(text) < 400, reason


def test_the_polish_advice_is_polish() -> None:
    for reason in _texts():
        assert set(advice(reason, "pl")) & set("ąćęłńóśźż"), reason

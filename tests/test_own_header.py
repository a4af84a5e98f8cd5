"""A header of the sender's own, named by configuration, leads from a returned message back to the ledger."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from click.testing import CliRunner

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.explain import explain
from bounceparse.parse import parse
from bounceparse.reading import Place, read_message
from bounceparse.reports import OriginalMessage
from bounceparse.rules import load_rules

REPORT = b"""\
Return-Path: <>
From: MAILER-DAEMON@mx.example.net
To: news@shop.example
Subject: Undelivered Mail Returned to Sender
Message-ID: <r1@mx.example.net>
X-Order-Id: outer-77
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

<jan@example.pl>: user unknown

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; jan@example.pl
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 user unknown

--b
Content-Type: message/rfc822

From: news@shop.example
To: jan@example.pl
x-order-ID: order-1042
Message-ID: <relay.7@relay.example>

X-Order-Id: body-99
--b--
"""


def original(raw: bytes, own_header: str | None) -> OriginalMessage:
    (item,) = parse(raw, own_header=own_header).items
    found: OriginalMessage = item.original
    return found


def test_the_header_is_read_from_the_returned_header_whatever_its_case() -> None:
    """The returned message's own value counts, not the report's and not one that its text quotes."""
    assert original(REPORT, "X-Order-Id").own_id == "order-1042"


def test_without_a_name_nothing_is_read() -> None:
    """What nobody named is nobody's id."""
    assert original(REPORT, None).own_id is None


def test_a_value_in_the_body_of_the_returned_mail_never_counts() -> None:
    """What a recipient can write into a body proves nothing."""
    assert original(REPORT.replace(b"x-order-ID: order-1042\n", b""), "X-Order-Id").own_id is None


def test_it_survives_the_way_to_another_process() -> None:
    """Mail is read in worker processes."""
    message = read_message(Place("a", "b", 1, 1), REPORT, len(REPORT), load_rules(own_header="X-Order-Id"))
    (item,) = pickle.loads(pickle.dumps(message)).report.items
    assert item.original.own_id == "order-1042"


@pytest.mark.parametrize("column", ["message_id", "provider_id", "envelope_id"])
def test_it_is_looked_up_as_each_id_that_the_ledger_has(store: Store, column: str) -> None:
    """A relay has replaced the Message-ID: our own header still finds the message."""
    rules = load_rules(own_header="X-Order-Id")
    columns = {"provider_id": "p"} | ({column: "order-1042"} if column != "message_id" else {})
    store.record_sent("order-1042" if column == "message_id" else "1@shop.example", "jan@example.pl", **columns)
    store.record([read_message(Place("a", "b", 1, 1), REPORT, len(REPORT), rules)])
    (found,) = store.outcomes()
    assert (found.matched_by, found.trust) == ("own-id", "correlated")


@pytest.mark.parametrize("column", ["message_id", "provider_id", "envelope_id"])
def test_a_row_of_the_ledger_that_comes_later_is_found_by_it(store: Store, column: str) -> None:
    """The report comes before the nightly import: the next poll finds the message."""
    store.record([read_message(Place("a", "b", 1, 1), REPORT, len(REPORT), load_rules(own_header="X-Order-Id"))])
    columns = {"provider_id": "p"} | ({column: "order-1042"} if column != "message_id" else {})
    store.record_sent("order-1042" if column == "message_id" else "1@shop.example", "jan@example.pl", **columns)
    store.settle()
    (found,) = store.outcomes()
    assert (found.matched_by, found.trust) == ("own-id", "correlated")


def test_the_configuration_names_it(tmp_path: Path) -> None:
    """`[rules] own_header` reaches what `replay` reads."""
    (tmp_path / "bounceparse.toml").write_text(
        '[database]\nurl = "sqlite:///b.db"\n[rules]\nown_header = "X-Order-Id"\n', encoding="utf-8"
    )
    (tmp_path / "1.eml").write_bytes(REPORT)
    config = ["--config", str(tmp_path / "bounceparse.toml")]
    runner = CliRunner()
    row = json.dumps({"message_id": "1@shop.example", "recipient": "jan@example.pl", "provider_id": "order-1042"})
    (tmp_path / "sent.jsonl").write_text(row + "\n", encoding="utf-8")
    assert runner.invoke(main, [*config, "db", "upgrade"]).exit_code == 0
    assert runner.invoke(main, [*config, "sent", "import", str(tmp_path / "sent.jsonl")]).exit_code == 0
    assert runner.invoke(main, [*config, "replay", str(tmp_path / "1.eml")]).exit_code == 0
    told = runner.invoke(main, [*config, "outcomes", "--json"])
    assert json.loads(told.output)["matched_by"] == "own-id"


def test_a_name_that_no_header_can_have_is_refused(tmp_path: Path) -> None:
    """RFC 5322 section 2.2: a field name has neither spaces nor a colon."""
    (tmp_path / "bounceparse.toml").write_text('[rules]\nown_header = "X-Order-Id:"\n', encoding="utf-8")
    told = CliRunner().invoke(main, ["--config", str(tmp_path / "bounceparse.toml"), "rules", "check"])
    assert told.exit_code == 1
    assert "own_header" in told.output


def test_explain_names_it_among_the_clues() -> None:
    """A person sees which ids lead back to the sent message."""
    (reasoning,) = explain(REPORT, load_rules(own_header="X-Order-Id")).reasonings
    assert ("own-id", "order-1042") in {(clue.source, clue.value) for clue in reasoning.clues.ladder}

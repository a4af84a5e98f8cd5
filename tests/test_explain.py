"""``explain``: the rule with its line, the span, the candidates that lost, the way of the mail; safe on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bounces import dsn
from click.testing import CliRunner, Result

from bounceparse.classify import classify
from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.explain import explain, find_line
from bounceparse.mime import Mail
from bounceparse.parse import parse
from bounceparse.rules import packaged_rules

CORPUS = Path(__file__).parent.parent / "corpus"
MAILS = sorted(CORPUS.rglob("*.eml"))

BOUNCE = b"""\
Received: from mx2.shop.example (mx2.shop.example [192.0.2.2]) by mx.shop.example with LMTP id 2;
\tWed, 04 Nov 2026 10:01:30 +0100
Received: from out.example.net (out.example.net [192.0.2.1]) by mx2.shop.example with ESMTP id 1;
\tWed, 04 Nov 2026 10:00:00 +0100
From: MAILER-DAEMON@mx.example.net
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain; charset=utf-8

Your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; jan@example.com
Action: failed
Status: 5.0.0
Remote-MTA: dns; aspmx.l.google.com
Diagnostic-Code: smtp; 452 4.2.2 The email account that you tried to reach is over quota \x1b]0;owned\x07

--b
Content-Type: message/rfc822

Received: from app.shop.example (app.shop.example [192.0.2.9]) by out.shop.example with ESMTPS id 0;
\tWed, 04 Nov 2026 08:59:00 +0000
Message-ID: <1@shop.example>
To: jan@example.com

Hello
--b--
"""


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but one that a test writes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("1.eml").write_bytes(BOUNCE)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("explain", *arguments), prog_name="bounceparse")


def test_the_rule_that_decided_is_told_with_file_and_line() -> None:
    """The line named holds the rule's id."""
    (reasoning,) = explain(BOUNCE).reasonings
    assert reasoning.rule is not None
    assert reasoning.line is not None
    assert reasoning.rule.id == reasoning.outcome.evidence.rule
    line = Path(reasoning.rule.file).read_text("utf-8").splitlines()[reasoning.line - 1]
    assert f'"{reasoning.rule.id}"' in line


def test_every_packaged_rule_has_a_line() -> None:
    """However a file is written, its rules can be found in it, each on a line of its own."""
    lines = [(rule.file, find_line(rule)) for rule in packaged_rules().rules]
    assert len(lines) == len(set(lines)) > 400
    assert all(line for _, line in lines)


def test_the_span_is_shown_with_what_stands_around_it() -> None:
    """The three pieces put together stand in the report."""
    (reasoning,) = explain(BOUNCE).reasonings
    before, matched, after = reasoning.context
    assert matched == reasoning.outcome.evidence.matched
    assert before.endswith(("smtp; 452 4.2.2 ", "tried to reach is ", "The email account that you tried to reach "))
    assert after


def test_what_lost_is_told_with_its_reason() -> None:
    """The code would have said the same, the Status field nothing; words go before both."""
    (reasoning,) = explain(BOUNCE).reasonings
    why = {lost.candidate.rule.id: lost.why for lost in reasoning.lost}
    assert why["iana/x.2.2"] == "the server's words were asked before"
    assert reasoning.source == "the server's words"


def test_a_rule_whose_condition_does_not_hold_says_which() -> None:
    """``find_unmet`` speaks of codes, phase and host."""
    raw = BOUNCE.replace(b"452 4.2.2 The email account that you tried to reach is over quota", b"550 unknown user")
    (reasoning,) = explain(raw).reasonings
    assert any(lost.why.startswith("is for a refusal in MAIL") for lost in reasoning.lost)


def test_a_passing_failure_is_no_hardbounce_and_explain_says_why() -> None:
    """The step from the reason to the status is told where it is not the usual one."""
    raw = BOUNCE.replace(b"452 4.2.2 The email account that you tried to reach is over quota", b"450 unknown user")
    (reasoning,) = explain(raw).reasonings
    assert reasoning.outcome.status == "softbounce"
    assert reasoning.steps == (
        "user-unknown is a hardbounce, but the codes say that it is a passing failure: softbounce",
    )


def test_explain_agrees_with_classify_and_knows_every_deciding_rule() -> None:
    """Over the whole corpus: the same outcomes, and each packaged rule that decided is found among the candidates;
    what stands before it did not decide for a reason that can be told."""
    packaged = {rule.id for rule in packaged_rules().rules}
    decided = 0
    for path in MAILS:
        raw = path.read_bytes()
        found = explain(raw)
        assert tuple(one.outcome for one in found.reasonings) == classify(parse(raw)), path
        for one in found.reasonings:
            rule = one.outcome.evidence.rule
            assert (one.rule.id if one.rule else None) == (rule if rule in packaged else None), path
            assert all(lost.why for lost in one.lost), path
            assert one.steps, path
            decided += one.rule is not None
    assert decided > 150


def test_the_ways_of_report_and_original_are_told_with_delays() -> None:
    """RFC 5321 section 4.4: the first hop stands last in the header; zones are compared in UTC."""
    found = explain(BOUNCE)
    assert [(hop.receiver, hop.delay) for hop in found.hops] == [("mx2.shop.example", None), ("mx.shop.example", 90.0)]
    assert found.hops[1].at == "2026-11-04T09:01:30+00:00"
    assert [hop.receiver for hop in found.original_hops] == ["out.shop.example"]


def test_received_fields_are_told_without_mail_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """The words themselves remain, oldest first."""
    monkeypatch.setitem(sys.modules, "mailparser", None)
    hops = explain(BOUNCE).hops
    assert [hop.sender.split()[1] for hop in hops if hop.sender] == ["out.example.net", "mx2.shop.example"]


def test_parts_are_a_tree() -> None:
    """Depth first, the returned message inside its part."""
    assert [(part.depth, part.content_type) for part in explain(BOUNCE).parts] == [
        (0, "multipart/report"),
        (1, "text/plain"),
        (1, "message/delivery-status"),
        (1, "message/rfc822"),
        (2, "text/plain"),
    ]


def test_other_dialects_that_claim_a_mail_are_named() -> None:
    """The one that read it stands first among those that would."""
    found = explain((CORPUS / "qmail").glob("*.eml").__next__().read_bytes())
    assert found.claims[0] == found.report.dialect
    assert len(found.claims) > 1


@pytest.mark.parametrize(
    "raw", [b"", b"\0" * 100, b"Received: \n" * 5000, b"Received: (((" + b"(" * 100_000 + b"\n\nx"]
)
def test_any_bytes_are_explained(raw: bytes) -> None:
    """Like parse, explain answers for everything."""
    found = explain(raw)
    assert found.report == parse(raw)
    assert len(found.hops) <= 50


def test_nothing_of_a_mail_reaches_the_terminal_as_a_command() -> None:
    """The diagnostic holds an escape sequence that would set the window's title."""
    result = run("1.eml")
    assert result.exit_code == 0
    assert "over quota" in result.output
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


def test_a_terminal_gets_the_same_facts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables are drawn there; only our own styles send escapes."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    assert main(["explain", "1.eml"], standalone_mode=False) in (0, None)
    shown = capsys.readouterr().out
    assert "gmail" in shown or "over quota" in shown
    assert "]0;owned\x07" not in shown


def test_json_is_one_object_a_message(tmp_path: Path) -> None:
    """A machine gets all candidates, the span and the clues."""
    result = run("--json", "1.eml", "1.eml")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["source"] for row in rows] == ["1.eml", "1.eml"]
    (outcome,) = rows[0]["outcomes"]
    assert outcome["rule"]["rule"] == outcome["evidence"]["rule"]
    assert outcome["rule"]["file"].endswith(".toml")
    assert outcome["clues"] == [{"key": "message-id", "value": "1@shop.example", "source": "message-id:returned"}]
    assert {"rule", "file", "line", "reason", "source", "part", "matched", "why"} == set(outcome["lost"][0])
    assert rows[0]["parts"][0]["content_type"] == "multipart/report"


def test_what_cannot_be_opened_is_told_and_the_rest_goes_on() -> None:
    """Exit status 1, as with parse."""
    result = run("gone.eml", "1.eml")
    assert result.exit_code == 1
    assert "gone.eml: cannot be read" in result.stderr
    assert "outcome 1" in result.stdout


def test_the_operators_rules_are_explained_with_their_file(tmp_path: Path) -> None:
    """explain takes the rules of the configuration in force: it is asked why poll decided as it did."""
    Path("own.toml").write_text(
        '\n[[rule]]\nid = "own/quota"\nreason = "policy"\ntext = "is over quota"\nexamples = ["452 is over quota"]\n'
    )
    Path("bounceparse.toml").write_text('[rules]\nfiles = ["own.toml"]\n')
    result = run("--json", "1.eml")
    rule = json.loads(result.stdout)["outcomes"][0]["rule"]
    assert rule["reason"] in ("policy", "mailbox-full")
    lost = json.loads(result.stdout)["outcomes"][0]["lost"]
    own = rule if rule["rule"] == "own/quota" else next(one for one in lost if one["rule"] == "own/quota")
    assert (own["file"], own["line"]) == (str(tmp_path / "own.toml"), 3)


def test_mail_without_an_outcome_is_explained_too() -> None:
    """Parts and way are told, and that nothing is reported."""
    mail = Mail((CORPUS / "quiet").glob("*.eml").__next__().read_bytes())
    found = explain(mail.buffer)
    assert found.reasonings == ()
    assert found.parts


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A database in the configuration, with the message that the bounce is about in its ledger."""
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n')
    with Store(database_url) as store:
        store.record_sent("1@shop.example", "user1@example.pl", customer="7", stream="orders")
        Path("dead.eml").write_bytes(dsn(1))
        yield store


def test_the_store_tells_trust_policy_and_standing(store: Store) -> None:
    """What recording would come to; nothing is recorded by asking."""
    result = run("--store", "dead.eml")
    assert result.exit_code == 0
    assert "not yet: what follows is what would be" in result.stdout
    assert "correlated (by message-id:returned: 1@shop.example)" in result.stdout
    assert "counts as dead-address of the address, which acts after 2 on 2 days, 1 when proven" in result.stdout
    assert "all suppressed for dead-address since" in result.stdout
    assert list(store.outcomes()) == []
    assert store.standing("user1@example.pl").mailable


def test_what_is_recorded_already_is_told_as_it_is(store: Store) -> None:
    """The JSON holds the recorded row; a report without a match counts for what unproven ones count."""
    store.ingest(dsn(1))
    Path("stranger.eml").write_bytes(dsn(2))
    rows = [json.loads(line) for line in run("--store", "--json", "dead.eml", "stranger.eml").stdout.splitlines()]
    (known,), (stranger,) = (row["recording"] for row in rows)
    assert (known["is_known"], known["trust"], known["customer"]) == (True, "correlated", "7")
    assert (known["causes"], known["mailable"]) == (["dead-address"], False)
    assert (stranger["is_known"], stranger["trust"], stranger["mailable"]) == (False, "unverified", True)
    assert len(list(store.outcomes())) == 1


def test_what_no_line_of_the_policy_takes_is_told(store: Store) -> None:
    """An auto-reply counts for nothing; a mail that reports nothing has nothing to record."""
    name = str(next((CORPUS / "autoreply").glob("*.eml")))
    assert "not counted: no line of the policy takes it" in run("--store", name).stdout
    assert run("--store", str(next((CORPUS / "quiet").glob("*.eml")))).exit_code == 0

"""Reclassifying: kept reports read by other rules, on both databases: what changes, what follows, what is kept."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from bounces import dsn
from click.testing import CliRunner, Result
from outcome_factory import make_outcome

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.db.engine import Database
from bounceparse.db.reclassify import Difference, Verdict
from bounceparse.db.tables import history, messages, outcomes, sent
from bounceparse.outcomes import REASONS, Status
from bounceparse.reading import Place, ReadMessage, read_message
from bounceparse.rules import RuleSet, load_rules

CORPUS = Path(__file__).parent.parent / "corpus"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = """
[[rule]]
id = "own/unknown-user"
reason = "policy"
text = 'user unknown'
examples = ["550 5.1.1 User unknown"]
"""
TO_POLICY = (Verdict("hardbounce", "user-unknown"), Verdict("spambounce", "policy"))


@pytest.fixture
def store(database_url: str) -> Any:
    """A store that keeps the reports."""
    with Store(database_url, keep_raw=True, clock=lambda: NOW) as opened:
        yield opened


@pytest.fixture
def rules(tmp_path: Path) -> RuleSet:
    """Rules by which an unknown user is a matter of policy."""
    (tmp_path / "own.toml").write_text(OWN)
    return load_rules([tmp_path / "own.toml"])


def differences(store: Store, rules: RuleSet | None = None, **options: Any) -> list[Difference]:
    return [one for page in store.reclassify(rules=rules, **options) for one in page.differences]


def verdicts(store: Store) -> list[Verdict]:
    return [Verdict(row.outcome.status, row.outcome.reason) for row in store.outcomes()]


def rows(url: str, table: sa.Table) -> list[sa.Row[Any]]:
    database = Database(url)
    with database.read() as connection:
        found = list(connection.execute(sa.select(table).order_by(table.c.id)))
    database.close()
    return found


def execute(url: str, statement: sa.Executable) -> None:
    database = Database(url)
    with database.write() as connection:
        connection.execute(statement)
    database.close()


def test_other_rules_give_other_outcomes(store: Store, rules: RuleSet) -> None:
    """Rows are changed in place: nothing is doubled, and the key is the same."""
    store.ingest(dsn(1))
    store.ingest(dsn(2))
    found = differences(store, rules)
    assert [(one.before, one.after) for one in found] == [TO_POLICY, TO_POLICY]
    assert verdicts(store) == [TO_POLICY[1]] * 2
    assert [row.outcome.evidence.rule for row in store.outcomes()] == ["own/unknown-user"] * 2


def test_keys_and_times_of_recording_stay(store: Store, rules: RuleSet, database_url: str) -> None:
    """Outcome keys hold nothing that a rule decides; seq is renewed, so that readers with a cursor see the change."""
    store.ingest(dsn(1))
    (before,) = rows(database_url, outcomes)
    differences(store, rules)
    (after,) = rows(database_url, outcomes)
    assert (after.id, after.key, after.recorded_at, after.mailbox) == (
        before.id,
        before.key,
        before.recorded_at,
        before.mailbox,
    )
    assert after.seq > before.seq
    assert store.ingest(dsn(1)).new_outcomes == 0


def test_doing_it_again_changes_nothing(store: Store, rules: RuleSet, database_url: str) -> None:
    """Neither by the same rules nor, at first, by those that recorded."""
    store.ingest(dsn(1))
    assert differences(store) == []
    assert len(differences(store, rules)) == 1
    before = rows(database_url, outcomes)
    assert differences(store, rules) == []
    assert rows(database_url, outcomes) == before
    assert len(rows(database_url, history)) == 1


def test_a_dry_run_tells_the_same_and_writes_nothing(store: Store, rules: RuleSet, database_url: str) -> None:
    store.ingest(dsn(1))
    before = rows(database_url, outcomes)
    planned = differences(store, rules, dry_run=True)
    assert rows(database_url, outcomes) == before
    assert rows(database_url, history) == []
    assert planned == differences(store, rules)


def test_what_was_is_kept(store: Store, rules: RuleSet, database_url: str) -> None:
    """Status, reason, all former values, when and by which version; going back adds a second line."""
    store.ingest(dsn(1))
    differences(store, rules)
    differences(store)
    first, second = rows(database_url, history)
    (outcome,) = rows(database_url, outcomes)
    assert (first.status, first.reason, second.status, second.reason) == (*TO_POLICY[0], *TO_POLICY[1])
    assert (first.outcome_id, first.changed_at) == (outcome.id, NOW)
    assert first.version
    changed = json.loads(first.changed)
    assert changed["fault"] == "recipient"
    assert set(changed) >= {"status", "classified_status", "reason", "fault", "evidence_rule"}
    assert "recipient" not in changed
    assert verdicts(store) == [TO_POLICY[0]]


def test_standing_and_ledger_follow(store: Store, rules: RuleSet, database_url: str) -> None:
    """An address that was suppressed may be mailed again, and the sent message has the new status; and back."""
    store.record_sent("1@shop.example", "user1@example.pl", stream="orders", customer="7")
    store.ingest(dsn(1))
    assert not store.standing("user1@example.pl").mailable
    differences(store, rules)
    assert store.standing("user1@example.pl").mailable
    (row,) = rows(database_url, sent)
    assert (row.status, row.reason) == TO_POLICY[1]
    (outcome,) = store.outcomes()
    assert (outcome.trust, outcome.customer, outcome.stream) == ("correlated", "7", "orders")
    differences(store)
    assert not store.standing("user1@example.pl").mailable
    assert rows(database_url, sent)[0].status == "hardbounce"


def test_a_match_outlives_its_ledger_row(store: Store, rules: RuleSet, database_url: str) -> None:
    """The ledger is pruned before outcomes are: reading again does not lose what was proven."""
    store.record_sent("1@shop.example", "user1@example.pl", customer="7")
    store.ingest(dsn(1))
    execute(database_url, sa.delete(sent))
    differences(store, rules)
    (outcome,) = store.outcomes()
    assert (outcome.trust, outcome.customer, outcome.outcome.reason) == ("correlated", "7", "policy")


def test_what_the_mail_servers_log_told_stays(store: Store, rules: RuleSet, database_url: str) -> None:
    """A deferral that is classified anew does not undo a delivery that was told by the log."""
    store.record_sent("1@shop.example", "user1@example.pl")
    store.ingest(dsn(1).replace(b"Action: failed", b"Action: delayed"))
    store.record_sent("1@shop.example", "user1@example.pl", status="ok", status_at=NOW - timedelta(hours=1))
    assert len(differences(store, rules)) == 1
    assert rows(database_url, sent)[0].status == "ok"


def test_since_leaves_out_what_was_recorded_before(store: Store, rules: RuleSet) -> None:
    store.ingest(dsn(1))
    assert differences(store, rules, since=NOW + timedelta(seconds=1)) == []
    assert store.count_kept(NOW + timedelta(seconds=1)) == 0
    assert store.count_kept(NOW) == 1
    assert len(differences(store, rules, since=NOW)) == 1


def test_a_report_that_came_twice_is_compared_once(store: Store, rules: RuleSet) -> None:
    """Two mailboxes keep the report, one row holds its outcome."""
    store.ingest(dsn(1), account="a")
    store.ingest(dsn(1), account="b")
    assert len(differences(store, rules, dry_run=True)) == 1
    assert len(differences(store, rules)) == 1


def test_what_is_no_longer_the_report_is_left_alone(store: Store, rules: RuleSet, database_url: str) -> None:
    """Other bytes say something else; none say nothing."""
    store.ingest(dsn(1))
    store.ingest(dsn(2))
    other = dsn(1).replace(b"user1@", b"user9@")
    execute(database_url, sa.update(messages).where(messages.c.id == 1).values(raw=zlib.compress(other)))
    execute(database_url, sa.update(messages).where(messages.c.id == 2).values(raw=None))
    pages = list(store.reclassify(rules=rules))
    assert [(page.read, page.unread, page.differences) for page in pages] == [(0, 1, ())]


def test_the_beginning_of_a_report_is_enough(store: Store, rules: RuleSet, database_url: str) -> None:
    """What stood further down stays as it was recorded, and a recipient that is not found any more loses nothing."""
    raw = dsn(1)
    store.ingest(raw)
    kept = raw[: raw.index(b"--b\nContent-Type: text/rfc822-headers")]
    execute(database_url, sa.update(messages).values(raw=zlib.compress(kept)))
    (found,) = differences(store, rules)
    assert (found.before, found.after) == TO_POLICY
    (outcome,) = store.outcomes()
    assert (outcome.outcome.message_id, outcome.outcome.subject) == ("1@shop.example", "Hello")
    without_words = raw[: raw.index(b"Diagnostic-Code")]
    for cut in (without_words, raw[:200]):
        execute(database_url, sa.update(messages).values(raw=zlib.compress(cut)))
        assert differences(store) == []


def test_many_pages_are_read(store: Store, rules: RuleSet) -> None:
    """Each page is a transaction; the last one is not full."""
    store.record([read_message(Place("a", "INBOX", 1, number), dsn(number), 1) for number in range(1, 121)])
    pages = list(store.reclassify(rules=rules))
    assert [page.read for page in pages] == [50, 50, 20]
    assert set(verdicts(store)) == {TO_POLICY[1]}


def misread(store: Store, raw: bytes, change: Callable[[ReadMessage], ReadMessage]) -> None:
    """Record a report as a worse reader would have read it."""
    store.record([change(read_message(Place("a", "INBOX", 1, 1), raw, len(raw)))])


def test_a_recipient_that_todays_reader_finds_is_filled_in(store: Store, database_url: str) -> None:
    """The row stays, and a copy of the report that comes later finds it by today's key."""
    store.record_sent("1@shop.example", "user1@example.pl", customer="7")
    store.record_sent("1@shop.example", "other@example.pl", customer="8")

    def without_recipient(message: ReadMessage) -> ReadMessage:
        (outcome,) = message.outcomes
        return replace(message, outcomes=(replace(outcome, recipient=None, final_recipient=None),))

    misread(store, dsn(1), without_recipient)
    (before,) = rows(database_url, outcomes)
    (found,) = differences(store)
    assert {"key", "recipient", "final_recipient", "customer"} <= set(found.columns)
    (after,) = rows(database_url, outcomes)
    assert (after.id, after.recipient, after.customer, after.trust) == (
        before.id,
        "user1@example.pl",
        "7",
        "correlated",
    )
    assert store.ingest(dsn(1), account="b").new_outcomes == 0
    assert differences(store) == []


def test_an_outcome_that_was_overlooked_is_recorded(store: Store) -> None:
    misread(store, dsn(1), lambda message: replace(message, outcomes=()))
    (found,) = differences(store, dry_run=True)
    assert (found.outcome_id, found.before, found.after) == (None, None, TO_POLICY[0])
    assert list(store.outcomes()) == []
    differences(store)
    assert verdicts(store) == [TO_POLICY[0]]
    assert differences(store) == []


def test_an_outcome_that_is_told_no_more_becomes_a_notice(store: Store, database_url: str) -> None:
    """Services may have read its row: it stays, counts for nothing, and the address may be mailed."""
    raw = b"From: jan@example.com\nSubject: Hello\nDate: Sun, 1 Mar 2026 10:00:00 +0000\n\nGood morning\n"
    read = read_message(Place("a", "INBOX", 1, 1), dsn(1), 1)
    store.record_sent("1@shop.example", "user1@example.pl")
    misread(store, raw, lambda message: replace(message, outcomes=read.outcomes, report=read.report))
    assert not store.standing("user1@example.pl").mailable
    (found,) = differences(store)
    assert found.after == Verdict("notice", "other-report")
    assert store.standing("user1@example.pl").mailable
    assert rows(database_url, sent)[0].status == "injected"
    assert differences(store) == []
    assert REASONS["other-report"].status == "notice"


def test_a_complaint_that_was_none_is_taken_back_from_the_ledger(store: Store, database_url: str) -> None:
    """The time of the complaint stands beside the status and is cleared with it."""
    store.record_sent("1@shop.example", "user1@example.pl")
    right = read_message(Place("a", "INBOX", 1, 1), dsn(1), 1)
    wrong = tuple(replace(one, status=Status.COMPLAINT, reason="abuse", fault=None) for one in right.outcomes)
    misread(store, dsn(1), lambda message: replace(message, outcomes=wrong))
    assert rows(database_url, sent)[0].complained_at is not None
    assert len(differences(store)) == 1
    row = rows(database_url, sent)[0]
    assert (row.complained_at, row.status) == (None, "hardbounce")


UNSUBSCRIBE = b"""\
From: jan@example.com
To: news@shop.example
Subject: unsubscribe
Date: Sun, 1 Mar 2026 10:00:00 +0000
Message-ID: <9@example.com>

"""


def test_a_request_that_was_overlooked_waits_for_a_person(store: Store) -> None:
    """It was recorded as an auto-reply; without proof it is to be reviewed as a new one would be."""
    reply = replace(make_outcome("auto-reply", "jan@example.com"), final_recipient=None)
    misread(store, UNSUBSCRIBE, lambda message: replace(message, outcomes=(reply,)))
    (found,) = differences(store, dry_run=True)
    assert found.after == Verdict("unsubscribe", "unsubscribe-request")
    assert list(store.requests()) == []
    differences(store)
    (waiting,) = store.requests()
    assert (waiting.address, waiting.state) == ("jan@example.com", "pending")
    assert differences(store) == []


def test_what_proved_a_request_when_it_came_stands(store: Store, database_url: str) -> None:
    """Nothing changes by the same rules, whatever tokens, ledger and headers would prove today."""
    store.record_sent("1@shop.example", "jan@example.com", stream="offers")
    store.ingest(UNSUBSCRIBE)
    for path in sorted((CORPUS / "feedback").glob("*.eml")):
        store.ingest(path.read_bytes(), source=path.name)
    execute(database_url, sa.delete(sent))
    assert differences(store) == []


@pytest.fixture
def folder(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose rules have changed since three reports were recorded and kept."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n[rules]\nfiles = ["own.toml"]\n')
    Path("own.toml").write_text(OWN)
    with Store(database_url, keep_raw=True) as store:
        for number in (1, 2, 3):
            store.ingest(dsn(number))
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("reclassify", *arguments), prog_name="bounceparse")


def test_the_command_shows_what_changes_as_a_table(folder: Path) -> None:
    result = run("--dry-run")
    assert result.exit_code == 0
    heading, line = result.stdout.splitlines()[:2]
    assert heading.split() == ["before", "after", "examples", "outcomes"]
    assert line.startswith("hardbounce user-unknown  spambounce policy  user1@example.pl, user2@example.pl,")
    assert line.endswith("3")
    assert "3 outcomes would change" in result.stdout
    assert "3 outcomes changed" in run().stdout
    assert "0 outcomes changed" in run().stdout


def test_the_command_prints_json_a_change(folder: Path) -> None:
    found = [json.loads(line) for line in run("--json").stdout.splitlines()]
    assert len(found) == 3
    assert found[0]["before"] == ["hardbounce", "user-unknown"]
    assert found[0]["after"] == ["spambounce", "policy"]


def test_since_is_taken_by_the_command(folder: Path) -> None:
    assert "0 reports read again" in run("--since", "2099-01-01").stdout
    assert "3 reports read again" in run("--since", "1d").stdout

"""``sent import``: rows and logs into the ledger, as often as one likes, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from outcome_factory import make_message, make_outcome
from test_store_ledger import _sent

from bounceparse.cli import main
from bounceparse.db import SentMessage, Store, ledger_store
from bounceparse.maillog import LogCounts, read_postfix

NOW = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A configuration in the working directory for a fresh database of each kind."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n')
    with Store(database_url) as opened:
        yield opened


def run(*arguments: str, status: int = 0) -> Any:
    result = CliRunner().invoke(main, arguments, prog_name="bounceparse")
    assert result.exit_code == status, result.output + repr(result.exception)
    return result


def log_rows(lines: list[str] | str, now: datetime = NOW, counts: LogCounts | None = None) -> list[Any]:
    lines = lines.splitlines() if isinstance(lines, str) else lines
    return [row for _, row in read_postfix(lines, now, counts or LogCounts())]


@pytest.fixture
def log(datadir: Path) -> str:
    """What a real Postfix 3.7 wrote about eleven messages."""
    return (datadir / "postfix.log").read_text()


# -- rows


def write_csv(path: Path, count: int) -> None:
    rows = "".join(f'{n}@shop.example,u{n}@example.pl,"Order ""{n}""\nof today"\n' for n in range(count))
    path.write_text(f"\ufeffMessage_ID,recipient,subject\n{rows}")


def test_a_large_import_is_read_in_batches_and_repeated_without_harm(
    configured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows over many transactions, quoted line ends among them, arrive once each."""
    monkeypatch.setattr(ledger_store, "IMPORT_BATCH", 300)
    write_csv(tmp_path / "sent.csv", 2500)
    assert run("sent", "import", "sent.csv").stdout == "2500 new, 0 known already, 0 refused\n"
    assert run("sent", "import", "sent.csv").stdout == "0 new, 2500 known already, 0 refused\n"
    ledger = _sent(configured)
    assert len(ledger) == 2500
    assert ledger["u7@example.pl"].subject == 'Order "7"\nof today'


@pytest.mark.parametrize("batch", [50, 400])
def test_a_repeated_row_in_one_batch_completes_the_first(configured: Store, batch: int) -> None:
    """Whether a batch is copied or inserted, its rows for the same message and recipient become one."""
    rows = [SentMessage(message_id=f"{n}@s.example", recipient=f"u{n}@example.pl", status="ok") for n in range(batch)]
    more = [
        SentMessage(message_id="<3@S.example>", recipient="U3@example.pl", customer="c3", status="deferred"),
        SentMessage(message_id="4@s.example", recipient="u4@example.pl", customer="c4", status="hardbounce"),
    ]
    assert configured.import_sent(rows + more) == (batch, 2)
    ledger = _sent(configured)
    assert (ledger["u3@example.pl"].customer, ledger["u3@example.pl"].status) == ("c3", "ok")
    assert (ledger["u4@example.pl"].customer, ledger["u4@example.pl"].status) == ("c4", "hardbounce")


def test_text_that_cannot_be_stored_is_replaced_in_a_copied_batch(configured: Store) -> None:
    """NUL and lone surrogates do not stop an import."""
    rows = [
        SentMessage(message_id=f"{n}@s.example", recipient=f"u{n}@example.pl", subject="a\x00\udc80")
        for n in range(300)
    ]
    assert configured.import_sent(rows) == (300, 0)
    assert _sent(configured)["u5@example.pl"].subject == "a\ufffd\ufffd"


class _PowerCut(Exception):
    pass


def interrupt(store: Store, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Let an import fail when it has committed so many batches."""
    done: list[int] = []
    add = Store._add_sent

    def add_or_fail(self: Store, *arguments: Any) -> int:
        if len(done) == after:
            raise _PowerCut
        done.append(1)
        return add(self, *arguments)

    monkeypatch.setattr(Store, "_add_sent", add_or_fail)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_interrupted_import_goes_on_where_it_stopped(
    configured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """The next import of the same file reads only what was not committed; a bad row is told with its own line."""
    path = tmp_path / "sent"
    if form == "csv":
        path.write_text(
            "message_id,recipient\n" + "".join(f"{n}@s.example,u{n}@example.pl\n" for n in range(999)) + ",x\n"
        )
        bad = 1001
    else:
        path.write_text(
            "".join(f'{{"message_id": "{n}@s.example", "recipient": "u{n}@e.pl"}}\n' for n in range(999)) + "{}\n"
        )
        bad = 1000
    monkeypatch.setattr(ledger_store, "IMPORT_BATCH", 100)
    with monkeypatch.context() as patch:
        interrupt(configured, patch, after=6)
        result = CliRunner().invoke(main, ["sent", "import", "sent"], prog_name="bounceparse")
        assert isinstance(result.exception, _PowerCut)
    assert len(_sent(configured)) == 600
    result = run("sent", "import", "sent", status=1)
    assert result.stdout == "399 new, 0 known already, 1 refused\n"
    assert "goes on at byte" in result.stderr
    assert f"line {bad}: " in result.stderr
    assert run("sent", "import", "sent", status=1).stdout == "0 new, 999 known already, 1 refused\n"


@pytest.mark.parametrize("change", ["--from-start", "edited"])
def test_a_position_is_used_only_for_the_very_file(
    configured: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A file that was changed since, or that shall be read anew, is read from its start."""
    write_csv(tmp_path / "sent.csv", 500)
    monkeypatch.setattr(ledger_store, "IMPORT_BATCH", 100)
    with monkeypatch.context() as patch:
        interrupt(configured, patch, after=2)
        CliRunner().invoke(main, ["sent", "import", "sent.csv"], prog_name="bounceparse")
    if change == "edited":
        write_csv(tmp_path / "sent.csv", 501)
    options = [change] if change.startswith("--") else []
    again = run("sent", "import", *options, "sent.csv")
    assert "goes on" not in again.stderr
    assert " 200 known already" in again.stdout


# -- a Postfix log


def test_a_postfix_log_becomes_rows(configured: Store, log: str, tmp_path: Path) -> None:
    """Delivered, deferred, refused, expired: the ledger's status and reason, and the next server's id."""
    (tmp_path / "mail.log").write_text(log)
    assert run("sent", "import", "--from", "postfix-log", "mail.log").stdout.endswith("0 refused\n")
    told = {row.recipient: (row.status, row.reason, row.provider_id) for row in _sent(configured).values()}
    assert told == {
        "jan@example.pl": ("ok", "delivered", "0000004A10"),
        "nobody@example.pl": ("hardbounce", "user-unknown", None),
        "full@example.pl": ("softbounce", "mailbox-full", None),
        "ewa@example.pl": ("ok", "delivered", "0000004A12"),
        "grey@example.pl": ("ok", "delivered", "0000004A1D"),
        "slow@example.pl": ("softbounce", "mailbox-full", None),
        "ola@example.net": ("ok", "delivered", "0102018fa2b3c4d5-5e6f7a8b-000000"),
        "piotr@example.org": ("spambounce", "spam-content", None),
        "info@shop.example": ("ok", "delivered", "0000004A15"),
        "anna@unreachable.example": ("softbounce", "dns-failure", None),
        "Jan.Kowalski+x@example.pl": ("ok", "delivered", "0000004A16"),
    }
    assert run("sent", "import", "--from", "postfix-log", "mail.log").stdout.startswith("0 new, ")


def test_a_failure_in_the_log_suppresses_nobody(configured: Store, log: str, tmp_path: Path) -> None:
    """The log moves the ledger's status; an address is judged by what was reported about it."""
    (tmp_path / "mail.log").write_text(log)
    run("sent", "import", "--from", "postfix-log", "mail.log")
    configured.settle()
    assert configured.standing("nobody@example.pl").mailable


def test_a_dead_member_of_an_alias_is_a_softbounce_of_the_alias(log: str) -> None:
    """``orig_to`` is the address that we mailed; others behind it may get the mail."""
    expanded = log.replace("to=<nobody@example.pl>, ", "to=<nobody@example.pl>, orig_to=<team@example.net>, ")
    (row,) = [row for row in log_rows(expanded) if row["recipient"] == "team@example.net"]
    assert (row["status"], row["reason"]) == ("softbounce", "user-unknown")


def test_times_are_the_logs(log: str) -> None:
    """The traditional form has no year: it is the last one in which the time is not ahead."""
    first = log_rows(log)[0]
    assert first["status_at"] == datetime(2026, 11, 22, 1, 34, 59).astimezone()
    assert log_rows(log, now=datetime(2026, 3, 1, tzinfo=UTC))[0]["status_at"].year == 2025
    iso = log.replace("Nov 22 01:34:59 mail", "2026-11-22T01:34:59.250000+01:00 mail")
    assert log_rows(iso)[0]["status_at"] == datetime(2026, 11, 22, 0, 34, 59, 250000, tzinfo=UTC)


def test_an_attempt_of_a_message_in_an_older_log_is_counted(log: str) -> None:
    """Without the cleanup line nobody knows the Message-ID."""
    counts = LogCounts()
    rows = log_rows([line for line in log.splitlines() if "message-id=<2026.1@" not in line], counts=counts)
    assert counts.unknown == 1
    assert "<2026.1@shop.example>" not in {row["message_id"] for row in rows}


def test_a_content_filter_is_no_delivery(log: str) -> None:
    """What is handed to a filter on this machine is delivered only by the message that comes back from it."""
    filtered = log.replace("relay=mx.example.pl[192.0.2.10]:2527", "relay=127.0.0.1[127.0.0.1]:10024")
    assert "jan@example.pl" not in {row["recipient"] for row in log_rows(filtered)}


def test_lines_of_other_programs_and_broken_lines_are_passed_over(log: str) -> None:
    """A syslog holds more than Postfix."""
    noise = [
        "", "postfix", "Nov 22 01:34:59 mail sshd[1]: message-id=<x@y>", "Feb 30 99:00:00 mail postfix/smtp[1]: 8DF4023CB75: to=<",
        "Nov 22 01:34:59 mail postfix/smtp[1]: NOQUEUE: reject: to=<x@y>", "\ufffd" * 100,
    ]  # fmt: skip
    mixed = [line for pair in log.splitlines() for line in (*noise, pair)]
    assert log_rows(mixed) == log_rows(log)


def test_a_message_of_the_null_sender_is_left_out(log: str) -> None:
    """Bounces are no mail of ours that anybody waits for."""
    assert not {"root@example.pl", "bounces@shop.example"} & {row["recipient"] for row in log_rows(log)}


def test_a_report_for_a_message_of_the_log_is_matched(configured: Store, log: str, tmp_path: Path) -> None:
    """A log alone is a ledger: by Message-ID and by the provider's id."""
    (tmp_path / "mail.log").write_text(log)
    run("sent", "import", "--from", "postfix-log", "mail.log")
    bounced = make_outcome(recipient="ola@example.net", message_id="0102018fa2b3c4d5-5e6f7a8b-000000@mail.example.net")
    configured.record([make_message(bounced), make_message(make_outcome(message_id="2026.1@shop.example"))])
    assert {(one.outcome.recipient, one.trust) for one in configured.outcomes()} == {
        ("ola@example.net", "correlated"),
        ("jan@example.pl", "correlated"),
    }

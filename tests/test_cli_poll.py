"""``poll``, ``replay`` and ``doctor`` from the command line, against an IMAP server in this process and both databases."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from databases import NewDatabase

from bounceparse.cli import main
from bounceparse.db import Store, upgrade
from bounceparse.errors import MailboxError
from bounceparse.mailboxes.imap import ImapMailbox
from bounceparse.mailboxes.session import Quota

pytest.importorskip("pymap", reason="pip install 'bounceparse[demo]'")

from bounceparse.cli.demo_server import PASSWORD, serve

USER = "bounces@shop.example"


def bounce(number: int) -> bytes:
    return f"""\
From: MAILER-DAEMON@mx.example.net
To: {USER}
Subject: Undelivered Mail Returned to Sender
Message-ID: <{number}@mx.example.net>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.net

Final-Recipient: rfc822; jan{number}@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <jan{number}@example.com>: no such user here

--b
Content-Type: text/rfc822-headers

Message-ID: <sent-{number}@shop.example>
To: jan{number}@example.com

--b--
""".replace("\n", "\r\n").encode()


@pytest.fixture
def port(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server with three bounces in a mailbox, a configuration that names it, and an environment with the database."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", database_url)
    with serve({USER: [bounce(1), bounce(2), bounce(3)]}) as port:
        configure(port)
        yield port


def configure(port: int, more: str = "", password: str = PASSWORD) -> None:
    Path("bounceparse.toml").write_text(
        f'[mailbox.bounces]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
        f'username = "{USER}"\npassword = "{password}"\n{more}'
    )
    Path("bounceparse.toml").chmod(0o600)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, prog_name="bounceparse")


def lines(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_poll_records_and_marks_and_a_second_finds_nothing_new(port: int) -> None:
    first = run("poll", "--json")
    counts = {"messages": 3, "outcomes": 3, "new_outcomes": 3, "marked": 3, "failed": 0, "error": None}
    assert (first.exit_code, lines(first)) == (0, [{"mailbox": "bounces", "fetched": 3, **counts}])
    second = run("poll", "--json")
    assert [(row["fetched"], row["new_outcomes"]) for row in lines(second)] == [(0, 0)]


def test_a_dry_run_reads_and_writes_nothing(port: int) -> None:
    dry = lines(run("poll", "--dry-run", "--json"))[0]
    assert (dry["fetched"], dry["outcomes"], dry["messages"], dry["marked"]) == (3, 3, 0, 0)
    assert lines(run("poll", "--json"))[0]["messages"] == 3


def test_a_mailbox_that_fails_does_not_stop_the_others(port: int) -> None:
    other = (
        '[mailbox.a-first]\nhost = "127.0.0.1"\nport = 1\ntls = "none"\nusername = "x"\npassword_command = "echo x"\n'
    )
    text = Path("bounceparse.toml").read_text().replace("[mailbox.bounces]", f"{other}[mailbox.bounces]")
    Path("bounceparse.toml").write_text(text)
    result = run("poll", "--json")
    failed, polled = lines(result)
    assert (failed["mailbox"], failed["fetched"]) == ("a-first", 0)
    assert "a-first" in str(failed["error"])
    assert (polled["mailbox"], polled["messages"]) == ("bounces", 3)
    assert result.exit_code == 75  # nobody listens there: that passes by itself
    assert result.stderr.count("\n") == 1


def test_a_refused_login_needs_a_person(port: int) -> None:
    configure(port, password="wrong")
    result = run("poll")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "mailbox bounces" in result.stderr


def test_a_locked_mailbox_is_skipped(port: int, store: Store) -> None:
    with store.lock("bounces", "INBOX"):
        result = run("poll")
    assert (result.exit_code, result.stdout) == (75, "")
    assert result.stderr.strip().endswith("skipped")


def test_only_the_mailbox_that_is_named_is_polled(port: int) -> None:
    configure(port, '[mailbox.other]\nhost = "127.0.0.1"\nport = 1\ntls = "none"\nusername = "x"\npassword = "x"\n')
    assert run("poll", "--mailbox", "bounces").exit_code == 0
    unknown = run("poll", "--mailbox", "bouncse")
    assert (unknown.exit_code, "known are bounces, other" in unknown.stderr) == (1, True)


def test_a_database_without_a_schema_is_told_before_any_mailbox_is_touched(
    port: int, new_url: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_url(empty=True)
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", url)
    result = run("poll")
    assert result.exit_code == 1
    assert "bounceparse db upgrade" in result.stderr
    upgrade(url)
    assert lines(run("poll", "--json"))[0]["messages"] == 3


def test_a_message_that_cannot_be_read_is_told_and_held(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(mail: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("bounceparse.reading.read_report", fail)
    result = run("poll", "--json")
    assert (lines(result)[0]["failed"], lines(result)[0]["marked"]) == (3, 0)
    assert "3 messages could not be read" in result.stderr


@pytest.mark.parametrize("confirmation", [("doctor", "--confirm", "bounces"), ("poll", "--go")])
def test_a_guarded_folder_is_only_looked_at_until_a_person_confirms(
    port: int, store: Store, confirmation: tuple[str, ...]
) -> None:
    """Both ways of confirming do; the poll says how many messages look like reports, and what would become of them."""
    configure(port, 'first_poll = "guard"\nafter = "delete"\n')
    for _ in range(2):
        held = run("poll", "--json")
        assert (held.exit_code, lines(held)[0]["messages"], lines(held)[0]["marked"]) == (1, 0, 0)
        assert "3 messages would be recorded (3 of them look like reports, with 3 outcomes) and deleted" in held.stderr
        assert "doctor --confirm bounces" in held.stderr and "--go" in held.stderr
    assert run(*confirmation).exit_code == 0
    polls = [run("poll", "--json"), run("poll", "--json")]
    assert [poll.exit_code for poll in polls] == [0, 0]
    assert len(list(store.outcomes())) == 3
    assert lines(polls[1])[0]["fetched"] == 0


def test_another_consequence_is_confirmed_anew(port: int) -> None:
    """Who agreed to flags has not agreed to deletion; the confirmation of the one does not undo the other's."""
    configure(port, 'first_poll = "guard"\n')
    assert run("poll", "--go").exit_code == 0
    configure(port, 'first_poll = "guard"\nafter = "nothing"\n')
    assert run("poll").exit_code == 0
    configure(port, 'first_poll = "guard"\nkeep_days = 0\n')
    told = run("poll")
    assert (told.exit_code, told.stderr) == (0, "")  # there is nothing new to be asked about
    assert "confirmed" in run("doctor", "--confirm", "bounces").stdout


def test_held_messages_are_listed_shown_and_retried(port: int, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the reader's fault is mended, a retry records them and the next poll marks them."""
    with monkeypatch.context() as broken:
        broken.setattr("bounceparse.reading.classify", lambda *_: 1 / 0)
        assert lines(run("poll", "--json"))[0]["failed"] == 3
        again = run("held", "retry")
        assert (again.exit_code, again.stdout) == (1, "0 recorded, 3 still held\n")
    held = lines(run("held", "list", "--json"))
    assert [row["uid"] for row in held] == [row["uid"] for row in held if "ZeroDivisionError" in str(row["error"])]
    assert len(held) == 3
    assert "ZeroDivisionError" in run("held", "list").stdout
    first = str(held[0]["id"])
    assert run("held", "show", first).stdout_bytes == bounce(1)
    assert run("held", "show", "99").exit_code == 1
    assert run("held", "retry", first).stdout == "1 recorded, 0 still held\n"
    assert run("held", "retry").stdout == "2 recorded, 0 still held\n"
    assert (lines(run("held", "list", "--json")), len(list(store.outcomes()))) == ([], 3)
    assert lines(run("poll", "--json"))[0]["marked"] == 3


def test_what_the_server_wants_people_to_know_is_told_even_when_the_poll_fails(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: ImapMailbox, uids: object) -> object:
        self.alerts.append("[ALERT] disk nearly full")
        raise MailboxError("broken off", temporary=True)

    monkeypatch.setattr(ImapMailbox, "fetch", fail)
    result = run("poll")
    assert (result.exit_code, "disk nearly full" in result.stderr) == (75, True)


def test_doctor_warns_of_a_mailbox_that_is_80_percent_full(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for used, status in ((79, 0), (80, 1)):
        monkeypatch.setattr(ImapMailbox, "quotas", lambda self, used=used: [Quota("STORAGE", used, 100)])
        result = run("doctor")
        assert (result.exit_code, f"STORAGE {used} of 100 ({used}%)" in result.stdout) == (status, True)
        assert ("set keep_days" in result.stdout) is (status == 1)


def test_an_empty_guarded_folder_needs_nobody(port: int) -> None:
    with serve({USER: []}) as empty:
        configure(empty, 'first_poll = "guard"\n')
        assert run("poll").exit_code == 0


def test_doctor_finds_all_in_order(port: int) -> None:
    result = run("doctor")
    assert result.exit_code == 0
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("ok")] == [
        "configuration",
        "database",
        "mailbox",
    ]
    assert "3 messages in INBOX" in result.stdout


def test_doctor_names_what_is_wrong_and_goes_on(
    port: int, new_url: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(port, '[mailbox.other]\nhost = "127.0.0.1"\nport = 1\ntls = "none"\nusername = "x"\npassword = "x"\n')
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", new_url(empty=True))
    Path("bounceparse.toml").chmod(0o644)
    result = run("doctor")
    wrong = [line for line in result.stdout.splitlines() if line.startswith("wrong")]
    assert result.exit_code == 1
    assert ["chmod 600" in wrong[0], "db upgrade" in wrong[1], "mailbox other" in wrong[2]] == [True, True, True]
    assert "ok    mailbox bounces" in result.stdout


def test_replay_records_saved_mail_and_again_adds_nothing(port: int) -> None:
    Path("saved").mkdir()
    for number in (1, 2):
        Path(f"saved/{number}.eml").write_bytes(bounce(number))
    first = lines(run("replay", "--json", "saved"))[0]
    assert (first["messages"], first["new_outcomes"]) == (2, 2)
    again = lines(run("replay", "--json", "saved"))[0]
    assert (again["messages"], again["new_outcomes"]) == (0, 0)


def test_what_was_replayed_and_is_then_polled_is_not_doubled(port: int) -> None:
    Path("1.eml").write_bytes(bounce(1))
    run("replay", "1.eml")
    polled = lines(run("poll", "--json"))[0]
    assert (polled["messages"], polled["outcomes"], polled["new_outcomes"]) == (3, 3, 2)


def test_replay_of_what_cannot_be_opened_goes_on_and_says_so(port: int) -> None:
    Path("1.eml").write_bytes(bounce(1))
    result = run("replay", "--json", "gone.eml", "1.eml")
    assert (result.exit_code, lines(result)[0]["messages"]) == (1, 1)
    assert "gone.eml" in result.stderr

"""``bounceparse doctor``: what it looks at, what it says, and the status that monitoring reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from databases import migrated_sqlite
from servers import PASSWORD as DOVECOT_PASSWORD
from servers import USER as DOVECOT_USER
from servers import Dovecot, running_dovecot

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.mailboxes.probe import make_probe

pytest.importorskip("pymap", reason="pip install 'bounceparse[demo]'")

from bounceparse.cli.demo_server import PASSWORD, serve

USER = "bounces@shop.example"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


def findings(*arguments: str) -> tuple[str, list[tuple[str, str]]]:
    done = run("--json", *arguments)
    row = json.loads(done.stdout)
    assert row["exit"] == done.exit_code
    return row["status"], [(one["level"], one["text"]) for one in row["findings"]]


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    migrated_sqlite(tmp_path / "b.db")
    Path("b.db").chmod(0o600)
    with serve({USER: []}) as port:
        configure(port)
        yield port


def configure(port: int, more: str = "", rest: str = "") -> None:
    config = Path("bounceparse.toml")
    config.write_text(
        f'[database]\nurl = "sqlite:///b.db"\n{more}[mailbox.bounces]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\n'
        f'username = "{USER}"\npassword = "{PASSWORD}"\n{rest}'
    )
    config.chmod(0o600)


def polled(ago: timedelta, name: str = "bounces") -> None:
    with Store("sqlite:///b.db", clock=lambda: datetime.now(UTC) - ago) as store:
        store.note_poll(name)


def test_all_is_well_and_says_so_to_machines(port: int) -> None:
    polled(timedelta(minutes=3))
    status, found = findings()
    assert status == "ok" and {level for level, _ in found} == {"ok"}
    told = " ".join(text for _, text in found)
    assert "last polled" in told and "database" in told and "messages in INBOX" in told


def test_sqlite_is_said_to_be_for_one_host(port: int) -> None:
    """Its locks are files that other hosts do not see; PostgreSQL's are not."""
    assert any("SQLite: poll from one host only" in text for _, text in findings()[1])


def test_a_mailbox_that_nobody_polls_any_more_is_told(port: int) -> None:
    """After a day, unless [health] unpolled says otherwise; one that never was polled is only new."""
    assert ("note", "never polled") in [(level, text[17:29]) for level, text in findings()[1]]
    polled(timedelta(hours=25))
    status, found = findings()
    assert status == "wrong" and any("cron" in text for level, text in found if level == "wrong")
    configure(port, '[health]\nunpolled = "48h"\n')
    assert findings()[0] == "ok"
    configure(port, rest='role = "unsubscribe"\n')
    assert any("requests wait" in text for level, text in findings()[1] if level == "wrong")


def test_what_may_pass_by_itself_is_temporary(port: int) -> None:
    """75 for monitoring that wants to wait; anything that needs a person is 1."""
    configure(1)
    polled(timedelta(0))
    assert (findings()[0], run().exit_code) == ("temporary", 75)
    Path("bounceparse.toml").chmod(0o644)
    assert (findings()[0], run().exit_code) == ("wrong", 1)


def test_files_that_others_may_read_are_told(port: int) -> None:
    """A configuration with a password is wrong, keys are refused, a database is worth a note."""
    polled(timedelta(0))
    configure(port, '[signing]\nkey_file = "k"\n')
    CliRunner().invoke(main, ["keys", "new"])
    for path, mode, level in (("bounceparse.toml", 0o640, "wrong"), ("k", 0o640, "wrong"), ("b.db", 0o604, "note")):
        before = Path(path).stat().st_mode
        Path(path).chmod(mode)
        assert {(found, "chmod" in text) for found, text in findings()[1] if found != "ok"} == {(level, True)}
        Path(path).chmod(before)
    assert findings()[0] == "ok"


def test_an_old_key_is_worth_a_note(port: int) -> None:
    polled(timedelta(0))
    configure(port, '[signing]\nkey_file = "k"\n')
    CliRunner().invoke(main, ["keys", "new"])
    Path("k").write_text(Path("k").read_text().replace(str(datetime.now(UTC).date()), "2020-01-01"))
    assert [(level, "keys rotate" in text) for level, text in findings()[1] if level != "ok"] == [("note", True)]


@pytest.mark.parametrize(("seconds", "status"), [(30, "ok"), (600, "wrong"), (-600, "wrong")])
def test_a_clock_that_is_wrong_is_told(port: int, monkeypatch: pytest.MonkeyPatch, seconds: int, status: str) -> None:
    """Measured against the database's server, where that is another machine."""
    polled(timedelta(0))
    monkeypatch.setattr(Store, "database_time", lambda self: datetime.now(UTC) + timedelta(seconds=seconds))
    told, found = findings()
    assert told == status and any("clock:" in text for _, text in found) is (status == "wrong")


def test_the_database_tells_its_time(store: Store) -> None:
    """PostgreSQL does, aware; SQLite has no clock but ours."""
    found = store.database_time()
    assert found is None or abs(found - datetime.now(UTC)) < timedelta(minutes=1)


# -- the probe


def rows_of(table: str) -> int:
    with Store("sqlite:///b.db") as store, store._database.read() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM bounceparse_{table}").scalar_one())


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


NOISE = [b"Subject: kept\r\n\r\nof somebody else\r\n"] * 3


@pytest.fixture
def mailbox(dovecot: Dovecot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dovecot:
    """Dovecot with three unseen messages of others in a folder of their own."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    migrated_sqlite(tmp_path / "b.db")
    dovecot.folder = f"T{tmp_path.name}"  # type: ignore[attr-defined]
    with dovecot.client() as client:
        client.create_folder(dovecot.folder)  # type: ignore[attr-defined]
        for mail in NOISE:
            client.append(dovecot.folder, mail)  # type: ignore[attr-defined]
    return dovecot


def probing(server: Dovecot, after: str, *, where: str = "") -> Result:
    config = Path("bounceparse.toml")
    config.write_text(
        f'[database]\nurl = "sqlite:///b.db"\n[mailbox.bounces]\nhost = "127.0.0.1"\nport = {server.plain}\n'
        f'tls = "none"\nusername = "{DOVECOT_USER}"\npassword = "{DOVECOT_PASSWORD}"\n'
        f'folder = "{server.folder}"\nafter = "{after}"\n{where}'  # type: ignore[attr-defined]
    )
    config.chmod(0o600)
    return run("--probe")


def messages(server: Dovecot, folder: str) -> list[tuple[int, tuple[bytes, ...]]]:
    with server.client() as client:
        if not client.folder_exists(folder):
            return []
        client.select_folder(folder, readonly=True)
        found = client.fetch(client.search(), ["FLAGS"])
        return [(uid, tuple(flag for flag in data[b"FLAGS"] if flag != rb"\Recent")) for uid, data in found.items()]


@pytest.mark.parametrize("after", ["seen", "nothing", "delete", "keyword:Done", "move:DoneByProbe"])
def test_a_probe_goes_the_whole_way_and_leaves_nothing(mailbox: Dovecot, after: str) -> None:
    """Whatever is done to messages; those of others are not even looked at."""
    folder = mailbox.folder  # type: ignore[attr-defined]
    before = messages(mailbox, folder)
    for _ in range(2):
        told = probing(mailbox, after)
        assert told.exit_code == 0, told.output
        assert "reached the database" in told.stdout and f"after = {after}" in told.stdout
        assert messages(mailbox, folder) == before and messages(mailbox, "DoneByProbe") == []
        for table in ("messages", "outcomes", "standing", "outbox", "audit"):
            assert rows_of(table) == 0, table


def test_a_probe_that_a_crash_left_is_removed_by_the_next(mailbox: Dovecot) -> None:
    """From the folder and from the database."""
    folder = mailbox.folder  # type: ignore[attr-defined]
    left = make_probe(datetime.now(UTC))
    with mailbox.client() as client:
        client.append(folder, left.raw)
    with Store("sqlite:///b.db") as store:
        store.ingest(left.raw)
        assert store.history(left.address)
    assert probing(mailbox, "seen").exit_code == 0
    assert len(messages(mailbox, folder)) == len(NOISE) and rows_of("outcomes") == 0


def test_a_probe_that_gets_lost_is_told(mailbox: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's filter takes it before the poll."""
    monkeypatch.setattr("bounceparse.mailboxes.probe.OneMessage.uids", lambda self: [])
    told = probing(mailbox, "seen")
    assert told.exit_code == 1 and "not found in the database" in told.stdout


def test_a_mailbox_that_cannot_be_reached_is_told_and_the_others_are_probed(mailbox: Dovecot) -> None:
    other = '[mailbox.aaa]\nhost = "127.0.0.1"\nport = 1\ntls = "none"\nusername = "u"\npassword = "p"\n'
    told = probing(mailbox, "seen", where=other)
    assert told.exit_code == 75 and "reached the database" in told.stdout and "aaa" in told.stdout


def test_a_mail_server_with_a_wrong_clock_is_told(mailbox: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "bounceparse.mailboxes.probe.arrived_at", lambda box, uid: datetime.now(UTC) + timedelta(hours=1)
    )
    told = probing(mailbox, "seen")
    assert told.exit_code == 1 and "clock:" in told.stdout

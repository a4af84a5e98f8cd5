"""Polls of the command line against a real Dovecot and both databases: killed, in parallel, and with readers of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from bounces import dsn, dsns
from crashes import poll_in_child, state
from databases import migrated_sqlite
from servers import PASSWORD, USER, Dovecot, running_dovecot

from bounceparse.db import Store
from bounceparse.ingest import poll_mailbox
from bounceparse.mailboxes.imap import open_mailbox

CORPUS = Path(__file__).parent.parent / "corpus"


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


def configure(path: Path, dovecot: Dovecot, url: str, folders: Sequence[str]) -> list[str]:
    """A configuration that polls each of the folders as a mailbox of its own; the command that uses it."""
    boxes = "".join(
        f'[mailbox.box{number}]\nhost = "127.0.0.1"\nport = {dovecot.plain}\ntls = "none"\nusername = "{USER}"\n'
        f'password = "{PASSWORD}"\nfolder = "{folder}"\n'
        for number, folder in enumerate(folders)
    )
    path.write_text(f'[database]\nurl = "{url}"\n{boxes}')
    path.chmod(0o600)
    return [sys.executable, "-m", "bounceparse", "--config", str(path), "poll"]


def count(url: str) -> Callable[[], int]:
    """A function that counts the message rows."""
    engine = sa.create_engine(url)

    def rows() -> int:
        with engine.connect() as connection:
            return int(connection.execute(sa.text("SELECT count(*) FROM bounceparse_messages")).scalar_one())

    return rows


@contextmanager
def started(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.wait(30)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_until(true: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not (answer := true()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return answer


def test_after_kill_9_the_next_poll_works_at_once_and_no_process_is_left(
    dovecot: Dovecot, database_url: str, tmp_path: Path
) -> None:
    """Killed while its readers are at work: they end, the lock is free, and nothing is lost or doubled."""
    folder = f"Killed{database_url.partition(':')[0]}"
    dovecot.load(dsns(3000), folder)
    command = configure(tmp_path / "b.toml", dovecot, database_url, [folder])
    rows = count(database_url)
    with started(command) as poll:
        assert wait_until(lambda: rows() >= 1000)
        assert wait_until(lambda: len(children(poll.pid)) >= 2)
        workers = children(poll.pid)
        poll.send_signal(signal.SIGKILL)
        poll.wait(30)
    assert 1000 <= rows() < 3000
    again = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (again.returncode, again.stderr) == (0, "")
    assert wait_until(lambda: not any(map(is_running, workers)))
    assert [len(state(database_url)[name]) for name in ("messages", "outcomes")] == [3000, 3000]
    assert all(marked for *_, marked in state(database_url)["messages"])
    assert dovecot.flags(folder) == ["S"] * 3000


def test_ten_kills_in_a_drain_of_every_kind_of_mail_end_as_an_undisturbed_poll(
    dovecot: Dovecot, database_url: str, tmp_path: Path
) -> None:
    """The whole corpus; the kills fall on seeded steps and each lands before the drain is done."""
    mails = [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml"))]
    assert len(mails) > 300
    folder = f"Corpus{database_url.partition(':')[0]}"
    dovecot.load(mails, folder)
    account = dovecot.account(folder=folder, after="move:Done" + folder, batch_messages=8)
    random = Random(folder)
    for kill in range(10):
        assert poll_in_child(account, database_url, random.randint(6, 20)) is None, f"kill {kill} did not land"
    assert 0 < len(dovecot.names(folder)) < len(mails)
    with Store(database_url) as store, open_mailbox(account) as mailbox:
        poll_mailbox(mailbox, store)
    assert dovecot.names(folder) == []
    assert len(dovecot.names("Done" + folder)) == len(mails)
    calm = migrated_sqlite(tmp_path / "calm.db")
    dovecot.load(mails, "Calm" + folder)
    with Store(calm) as store, open_mailbox(dovecot.account(folder="Calm" + folder)) as mailbox:
        poll_mailbox(mailbox, store)
    assert state(database_url) == state(calm)


def test_two_pollers_in_parallel_lose_and_double_nothing(dovecot: Dovecot, database_url: str, tmp_path: Path) -> None:
    """Both poll the same four folders, from either end, two of which hold copies of the same mails."""
    kind = database_url.partition(":")[0]
    folders = [f"P{kind}{number}" for number in range(4)]
    for number, folder in enumerate(folders[:3]):
        dovecot.load([dsn(1000 * number + one) for one in range(1, 301)], folder)
    dovecot.load([dsn(one) for one in range(1, 301)], folders[3])
    command = configure(tmp_path / "b.toml", dovecot, database_url, folders)
    reverse = configure(tmp_path / "r.toml", dovecot, database_url, folders)
    text = (tmp_path / "r.toml").read_text().split("[mailbox.")
    (tmp_path / "r.toml").write_text(text[0] + "".join(f"[mailbox.{box}" for box in reversed(text[1:])))
    with started(command) as one, started(reverse) as other:
        errors = [poll.communicate(timeout=120)[1].decode() for poll in (one, other)]
    assert {one.returncode, other.returncode} <= {0, 75}, errors
    assert all(line.endswith("skipped") for text in errors for line in text.splitlines()), errors
    assert subprocess.run(command, timeout=120, check=False, capture_output=True).returncode == 0
    found = state(database_url)
    assert len(found["messages"]) == len(set(found["messages"])) == 1200
    assert len(found["outcomes"]) == len({key for key, *_ in found["outcomes"]}) == 900
    assert all(dovecot.flags(folder) == ["S"] * 300 for folder in folders)

"""Databases that fail in the middle of a poll: nothing is marked that is not recorded, and the next poll repairs it.

Each test is about a fault of the one database or the other, as its name says, but for the last.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from bounces import dsns
from crashes import state
from databases import migrated_database, migrated_sqlite
from servers import Dovecot, running_dovecot

from bounceparse.db import Store, engine
from bounceparse.errors import MailboxError, StoreError
from bounceparse.ingest import PollResult, Progress, poll_mailbox
from bounceparse.mailboxes.imap import open_mailbox


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


@pytest.fixture
def folder(dovecot: Dovecot, request: pytest.FixtureRequest) -> str:
    """A folder of 40 bounces."""
    dovecot.load(dsns(40), request.node.name)
    return str(request.node.name)


def poll(dovecot: Dovecot, folder: str, url: str, progress: Progress | None = None) -> PollResult:
    """Poll in batches of 10, and delete what is recorded."""
    account = dovecot.account(folder=folder, after="delete", batch_messages=10)
    with Store(url) as store, open_mailbox(account) as mailbox:
        return poll_mailbox(mailbox, store, progress=progress)


def fail(dovecot: Dovecot, folder: str, url: str, happens: Callable[[], None]) -> StoreError:
    """What a poll raises when ``happens`` comes about after its first batch."""

    def once(result: PollResult, total: int | None) -> None:
        if result.fetched == 10:
            happens()

    with pytest.raises(StoreError) as caught:
        poll(dovecot, folder, url, once)
    return caught.value


def end_well(dovecot: Dovecot, folder: str, url: str, already: int) -> None:
    """The rest is still in the folder; the next poll records it and all is there once."""
    assert len(dovecot.names(folder)) == 40 - already
    assert poll(dovecot, folder, url).new_outcomes == 40 - already
    assert len(state(url)["outcomes"]) == 40
    assert dovecot.names(folder) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_sqlite_file_that_vanishes_is_noticed_before_anything_is_marked(
    dovecot: Dovecot, folder: str, tmp_path: Path, replaced: bool
) -> None:
    """SQLite itself would go on writing into the file that no longer has a name."""
    url = migrated_sqlite(tmp_path / "a.db")
    keep = tmp_path / "moved"
    keep.mkdir()

    def move_away() -> None:
        for file in tmp_path.glob("a.db*"):
            shutil.move(file, keep / file.name)
        if replaced:
            migrated_sqlite(tmp_path / "a.db")

    error = fail(dovecot, folder, url, move_away)
    assert not error.temporary
    assert ("was moved or deleted" if replaced else "there is no database at") in str(error)
    for file in tmp_path.glob("a.db*"):
        file.unlink()
    for file in keep.iterdir():
        shutil.move(file, tmp_path / file.name)
    assert len(dovecot.names(folder)) == 30
    poll(dovecot, folder, url)
    assert len(state(url)["outcomes"]) == 40


def test_a_disk_too_full_for_sqlite_is_temporary(
    dovecot: Dovecot, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is undone, no message is held for it, and the next poll with room goes on."""
    url = migrated_sqlite(tmp_path / "a.db")
    pages = sa.create_engine(url).connect().execute(sa.text("PRAGMA page_count")).scalar_one()
    with monkeypatch.context() as small:
        small.setattr(engine, "_PRAGMAS", (*engine._PRAGMAS, f"max_page_count = {pages + 1}"))
        with pytest.raises(StoreError, match="full") as caught:
            poll(dovecot, folder, url)
    assert caught.value.temporary
    assert state(url)["messages"] == []
    end_well(dovecot, folder, url, 0)


def test_a_locked_sqlite_file_is_temporary(
    dovecot: Dovecot, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the write lock for longer than we wait."""
    url = migrated_sqlite(tmp_path / "a.db")
    monkeypatch.setattr(engine, "_PRAGMAS", ("busy_timeout = 100", *engine._PRAGMAS[1:]))
    other = sa.create_engine(url).connect()
    error = fail(dovecot, folder, url, lambda: other.exec_driver_sql("BEGIN IMMEDIATE") and None)
    assert error.temporary
    assert "locked by another program" in str(error)
    other.rollback()
    other.close()
    end_well(dovecot, folder, url, 10)


def test_a_postgresql_that_ends_our_connections_is_temporary(
    dovecot: Dovecot, folder: str, request: pytest.FixtureRequest
) -> None:
    """As a restart does: the lock's connection too; the error of the poll is told, not that of letting go."""
    url = _fresh_postgresql(request)
    other = sa.create_engine(url, isolation_level="AUTOCOMMIT")

    def terminate() -> None:
        with other.connect() as connection:
            connection.execute(
                sa.text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )

    account = dovecot.account(folder=folder, after="delete", batch_messages=10)
    with Store(url) as store, open_mailbox(account) as mailbox:
        real = store.record

        def record(messages: object) -> object:
            done = real(messages)  # type: ignore[arg-type]
            terminate()
            return done

        store.record = record  # type: ignore[method-assign,assignment]
        with pytest.raises((StoreError, MailboxError)) as caught:
            store.note_marked = _in_one_transaction(store, terminate)  # type: ignore[method-assign]
            poll_mailbox(mailbox, store)  # type: ignore[arg-type]
    assert caught.value.temporary
    poll(dovecot, folder, url)
    assert len(state(url)["outcomes"]) == 40
    assert dovecot.names(folder) == []
    other.dispose()


def _in_one_transaction(store: Store, happens: Callable[[], None]) -> Callable[..., None]:
    """A ``note_marked`` whose connection is cut while its transaction is open."""

    def note_marked(*_: object) -> None:
        with store._database.write() as connection:
            happens()
            connection.execute(sa.text("SELECT 1"))

    return note_marked


def test_a_postgresql_database_that_is_dropped_needs_a_person(
    dovecot: Dovecot, folder: str, request: pytest.FixtureRequest
) -> None:
    """Nothing is marked that it had not recorded."""
    url = _fresh_postgresql(request)
    name = sa.make_url(url).database
    server = request.getfixturevalue("postgresql").format("postgres")

    def drop() -> None:
        admin = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()

    error = fail(dovecot, folder, url, drop)
    assert not error.temporary
    assert "does not exist" in str(error)
    assert len(dovecot.names(folder)) == 30


def _fresh_postgresql(request: pytest.FixtureRequest) -> str:
    return migrated_database(request.getfixturevalue("postgresql"))


def test_a_folder_that_is_renamed_while_it_is_polled_loses_nothing(
    dovecot: Dovecot, folder: str, database_url: str
) -> None:
    """The connection breaks or the folder is gone; under its new name the rest is read."""

    def rename(result: PollResult, total: int | None) -> None:
        if result.fetched == 10:
            subprocess.run(["mv", str(dovecot.maildir(folder)), str(dovecot.maildir(f"{folder}2"))], check=True)

    with suppress(MailboxError):
        poll(dovecot, folder, database_url, rename)
    for name in (folder, f"{folder}2"):
        try:
            poll(dovecot, name, database_url)
        except MailboxError as error:
            assert name == folder and not error.temporary
    assert len(state(database_url)["outcomes"]) == 40

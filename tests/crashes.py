"""Polls that die by ``kill -9`` at a step of one's choice, and what a database holds after them."""

from __future__ import annotations

import os
import shutil
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from imaplib import IMAP4
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from databases import migrated_database, migrated_sqlite

from bounceparse.db import Store
from bounceparse.db.engine import Database
from bounceparse.db.tables import METADATA
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.imap import open_mailbox
from bounceparse.mailboxes.polling import poll_account

_FAILED = 254


class Databases:
    """A migrated database whose ledger knows what was sent, SQLite or PostgreSQL at ``server``, fresh as often as asked.

    SQLite is copied; on PostgreSQL, where that takes too long, one database is put back to what it was.
    """

    def __init__(self, folder: Path, server: str | None, sent: Sequence[tuple[str, str]]) -> None:
        self.folder = folder
        self.template = migrated_database(server) if server else migrated_sqlite(folder / "template.db")
        with Store(self.template) as store:
            for message_id, recipient in sent:
                store.record_sent(message_id, recipient, stream="shop", category="transactional")
        self._rows: dict[sa.Table, list[dict[str, Any]]] = {}
        if server:
            with self._transaction() as connection:
                for table in METADATA.sorted_tables:
                    self._rows[table] = [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def fresh(self) -> str:
        """The URL of a database as it was at first."""
        if not self._rows:
            path = self.folder / f"{uuid.uuid4().hex}.db"
            shutil.copy(self.folder / "template.db", path)
            return f"sqlite:///{path}"
        with self._transaction() as connection:
            for table, rows in self._rows.items():
                connection.execute(sa.delete(table))
                if rows:
                    connection.execute(sa.insert(table), rows)
        return self.template

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
        engine = sa.create_engine(self.template)
        try:
            with engine.begin() as connection:
                yield connection
        finally:
            engine.dispose()


_STATE = {
    "messages": "SELECT account, uid, key, error, marked_at IS NOT NULL FROM bounceparse_messages",
    "outcomes": "SELECT key, recipient, status, reason, trust, stream FROM bounceparse_outcomes",
    "sent": "SELECT message_id, recipient, status, reason FROM bounceparse_sent",
    "standing": "SELECT subject, scope, cause, status, reason, count FROM bounceparse_standing",
}


def state(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that polls have written, without what depends on the moment or the folder."""
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                name: sorted(
                    (tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in rows), key=repr
                )
                for name, query in _STATE.items()
                for rows in [connection.execute(sa.text(query)).all()]
            }
    finally:
        engine.dispose()


def poll_in_child(account: ImapAccount, url: str, die_at: int = 0) -> int | None:
    """Poll in a process of its own that kills itself at step ``die_at``; the number of its steps, None when killed.

    The steps, from the first search on: each line has just been sent to the IMAP server, each commit is about to be made,
    each commit has been made.
    """
    child = os.fork()
    if child == 0:
        status = _FAILED
        try:
            with _counted_steps(die_at) as count, Store(url) as store, open_mailbox(account) as mailbox:
                poll_account(mailbox, store)
                status = count()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert os.WEXITSTATUS(status) != _FAILED
    return os.WEXITSTATUS(status)


@contextmanager
def _counted_steps(die_at: int) -> Iterator[Callable[[], int]]:
    steps = 0
    searched = False

    def step() -> None:
        nonlocal steps
        steps += searched
        if steps == die_at and searched:
            os.kill(os.getpid(), signal.SIGKILL)

    send, write = IMAP4.send, Database.write

    def dying_send(self: IMAP4, data: bytes) -> None:
        nonlocal searched
        send(self, data)  # type: ignore[arg-type]
        searched = searched or b"SEARCH" in data
        step()

    @contextmanager
    def dying_write(self: Database, **given: bool) -> Iterator[sa.Connection]:
        with write(self, **given) as connection:
            yield connection
            step()
        step()

    IMAP4.send, Database.write = dying_send, dying_write  # type: ignore[assignment,method-assign]
    yield lambda: steps

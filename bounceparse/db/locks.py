"""One poller a mailbox: a lock that dies with its holder, ``kill -9`` and a pulled cable included.

On PostgreSQL a lock may die before its holder does, when the connection that holds it breaks while the others live. So
whoever gets a lock also gets a number, its *fence*, one higher than the last holder's; and each transaction that records
for a mailbox sees first that the number is still its own. It keeps others from raising it until it has committed: what
is committed is there before the next holder looks, and what comes later is refused. On SQLite the lock is the kernel's,
which no living holder loses; that is why such a database is for one host.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from bounceparse.db.engine import KEEPALIVE, NOTICE_THE_DEAD, Database
from bounceparse.db.tables import fences
from bounceparse.db.types import storable
from bounceparse.errors import LockLost, MailboxLocked, StoreError

_PATIENCE = "5s"
"""How long a new holder waits for the old one's last commit, before it leaves the mailbox to the next poll."""


class Fence(NamedTuple):
    """The number under which a mailbox is held."""

    name: str
    number: int


@contextmanager
def hold_lock(database: Database, account: str, folder: str) -> Iterator[Fence | None]:
    """Hold the lock of a mailbox; raises :class:`MailboxLocked` at once when another poller has it.

    Gives the fence for :func:`check_fences`, None where none is needed.
    """
    if database.is_sqlite:
        with _hold_file(database, account, folder):
            yield None
    else:
        with _hold_advisory(database, account, folder) as fence:
            yield fence


def check_fences(connection: Connection, held: Iterable[Fence]) -> None:
    """Raise :class:`LockLost` unless these are the numbers in force, and keep them in force until the transaction ends."""
    numbers = {fence.name: fence.number for fence in held}
    if not numbers:
        return
    for row in connection.execute(sa.select(fences).where(fences.c.name.in_(numbers)).with_for_update(read=True)):
        if row.fence != numbers[row.name]:
            raise LockLost(
                f"{' '.join(row.name.splitlines())}: {row.holder} has taken this mailbox over, since the connection that"
                " held its lock broke: nothing is lost, it records what is new"
            )


@contextmanager
def _hold_file(database: Database, account: str, folder: str) -> Iterator[None]:
    """``flock`` on a file beside the database. The file stays: removing it would let two holders in."""
    name = hashlib.sha256(f"{account}\n{folder}".encode("utf-8", "replace")).hexdigest()[:12]
    path = database.path.with_name(f"{database.path.name}.{name}.lock")
    try:
        file = path.open("ab")
    except OSError as error:
        raise StoreError(f"the lock {path} cannot be made: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MailboxLocked(f"{account} {folder}: another poll is at work") from None
        yield


@contextmanager
def _hold_advisory(database: Database, account: str, folder: str) -> Iterator[Fence]:
    """An advisory lock on a connection of its own: it must outlive the transactions of the poll, and end with it."""
    digest = hashlib.sha256(f"bounceparse\n{account}\n{folder}".encode("utf-8", "replace")).digest()
    number = int.from_bytes(digest[:8], "big", signed=True)
    engine = sa.create_engine(
        database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=KEEPALIVE, use_native_hstore=False
    )
    with database.faults():
        connection = engine.connect()
    try:
        with database.faults():
            connection.exec_driver_sql(f"{NOTICE_THE_DEAD}; SET lock_timeout = '{_PATIENCE}'")
            held = connection.execute(sa.text("SELECT pg_try_advisory_lock(:number)"), {"number": number}).scalar()
        if not held:
            raise MailboxLocked(f"{account} {folder}: another poll is at work")
        yield _take_fence(database, connection, account, folder)
    finally:
        with suppress(sa.exc.SQLAlchemyError):  # a connection that has broken holds no lock
            connection.close()


_TAKE = sa.text(
    "INSERT INTO bounceparse_fences (name, fence, holder, taken_at) VALUES (:name, 1, :holder, now())"
    " ON CONFLICT (name) DO UPDATE SET fence = bounceparse_fences.fence + 1, holder = excluded.holder,"
    " taken_at = excluded.taken_at RETURNING fence"
)
_LOCK_NOT_AVAILABLE = "55P03"


def _take_fence(database: Database, connection: Connection, account: str, folder: str) -> Fence:
    name = storable(f"{account}\n{folder}")
    holder = f"{socket.gethostname()}, process {os.getpid()},"
    try:
        with database.faults():
            return Fence(name, connection.execute(_TAKE, {"name": name, "holder": holder}).scalar_one())
    except StoreError as error:
        if getattr(getattr(error.__cause__, "orig", None), "sqlstate", None) != _LOCK_NOT_AVAILABLE:
            raise
        raise MailboxLocked(f"{account} {folder}: a poll that lost its lock is still recording") from None

"""One poller a mailbox: a lock that dies with its holder, ``kill -9`` and a pulled cable included."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from bounceparse.db.engine import KEEPALIVE, Database
from bounceparse.errors import MailboxLocked, StoreError

# The server asks a silent holder whether it is still there, and frees the lock of one that is gone after 50 seconds.
_SERVER_KEEPALIVE = {"tcp_keepalives_idle": 20, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


@contextmanager
def hold_lock(database: Database, account: str, folder: str) -> Iterator[None]:
    """Hold the lock of a mailbox; raises :class:`MailboxLocked` at once when another poller has it."""
    holder = _hold_file if database.is_sqlite else _hold_advisory
    with holder(database, account, folder):
        yield


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
def _hold_advisory(database: Database, account: str, folder: str) -> Iterator[None]:
    """An advisory lock on a connection of its own: it must outlive the transactions of the poll, and end with it."""
    digest = hashlib.sha256(f"bounceparse\n{account}\n{folder}".encode("utf-8", "replace")).digest()
    number = int.from_bytes(digest[:8], "big", signed=True)
    engine = sa.create_engine(database.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=KEEPALIVE)
    with database.faults():
        connection = engine.connect()
    try:
        with database.faults():
            for name, value in _SERVER_KEEPALIVE.items():
                connection.exec_driver_sql(f"SET {name} = {value}")
            held = connection.execute(sa.text("SELECT pg_try_advisory_lock(:number)"), {"number": number}).scalar()
        if not held:
            raise MailboxLocked(f"{account} {folder}: another poll is at work")
        yield
    finally:
        with suppress(sa.exc.SQLAlchemyError):  # a connection that has broken holds no lock
            connection.close()

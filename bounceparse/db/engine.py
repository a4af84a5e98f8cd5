"""A database URL -> :class:`Database`: connections, transactions, and faults told as ``StoreError``.

Writers stand in one line (``BEGIN IMMEDIATE`` on SQLite, the row lock of ``state.seq`` on PostgreSQL): batches never
deadlock on ledger rows, and ``seq`` grows in the order of commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url

from bounceparse.errors import BounceparseError, SchemaError, StoreError

T = TypeVar("T")
_BUSY_SECONDS = 30
_PRAGMAS = (
    f"busy_timeout = {_BUSY_SECONDS * 1000}",
    "journal_mode = WAL",
    "synchronous = FULL",  # a commit must survive a power cut: the mailbox is marked right after it
    "secure_delete = ON",  # what prune clears is overwritten; the default of most builds
    "cache_size = -65536",  # KiB: the indexes of a million rows stay in memory during an import
)
UPGRADE = "run `bounceparse db upgrade`"
# Dead peers are noticed within two minutes, so that a pulled cable frees what the connection held.
KEEPALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 15, "keepalives_count": 4}
# PostgreSQL's classes for what a person must put right: login refused, no such database, no such role, no privilege.
_PERMANENT = ("28", "3D", "42501")


class Database:
    """An engine with the two kinds of transaction that the store uses.

    ``url`` is a SQLAlchemy URL of SQLite (a file) or PostgreSQL (psycopg). With ``create`` a missing SQLite file is
    made, else it is a :class:`SchemaError`. ``around`` is entered in each transaction that writes, and left before the
    commit: what it writes stands or falls with the rest. Usable from several threads.
    """

    def __init__(
        self,
        url: str,
        *,
        create: bool = False,
        around: Callable[[Connection], AbstractContextManager[None]] | None = None,
    ) -> None:
        self._around = around or (lambda connection: nullcontext())
        self.url = _parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        if self.is_sqlite:
            self.path = Path(self.url.database or "")
            self._create = create
            self._require_some_file()
            self.engine = _sqlite_engine(self.url)
            self._lookups: Engine | None = None
        else:
            self.engine = _postgresql_engine(self.url)
            self._lookups = sa.create_engine(self.url, connect_args=KEEPALIVE, isolation_level="AUTOCOMMIT")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; it sees one state of the database."""
        with self.transaction(write=False) as connection:
            yield connection

    @contextmanager
    def write(self, *, wait: bool = True, by_key: bool = False, fresh: bool = False) -> Iterator[Connection]:
        """A transaction that writes, alone; it is committed when the block ends and rolled back when it raises.

        Without ``wait`` it raises a temporary ``StoreError`` at once where another writer is at work. ``by_key`` says
        that it looks at single rows: PostgreSQL would read a whole table that has grown since it was last analysed.
        ``fresh`` says that what it inserts is new, so that it may raise :class:`DuplicateError` where it is not.
        """
        with self.transaction(write=True, wait=wait) as connection:
            if not self.is_sqlite:
                seek = f"{_BY_INDEX}; " if by_key else ""
                connection.exec_driver_sql(f"{_STALLED}; {seek}{_LINE_UP}{'' if wait else ' NOWAIT'}")
                connection = connection.execution_options(bounceparse_fresh=fresh)
            with self._around(connection):
                yield connection

    def look_up(self, ask: Callable[[Connection], T]) -> T:
        """What ``ask`` answers by one statement that reads: it needs no transaction of its own.

        On PostgreSQL one round trip, where :meth:`read` takes several. A connection that has broken since it was last
        used is replaced once.
        """
        if self._lookups is None:
            with self.read() as connection:
                return ask(connection)
        with self.faults():
            for _ in range(2):
                try:
                    with self._lookups.connect() as connection:
                        return ask(connection)
                except exc.DBAPIError as error:
                    if not error.connection_invalidated:
                        raise
                    broken = error
            raise broken

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
        if self._lookups is not None:
            self._lookups.dispose()

    @contextmanager
    def transaction(self, *, write: bool, wait: bool = True) -> Iterator[Connection]:
        """A bare transaction; ``read`` and ``write`` are what the store uses, migrations this one."""
        self._require_some_file()
        with self.faults(), self.engine.connect() as connection:
            if not self.is_sqlite and not write:
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.execution_options(bounceparse_write=write, bounceparse_wait=wait).begin():
                yield connection
                if write and self.is_sqlite:
                    self._require_file(connection)

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Tell the driver's faults as :class:`StoreError`, with the remedy and whether waiting helps."""
        try:
            yield
        except BounceparseError:
            raise
        except exc.NoSuchModuleError as error:
            raise StoreError(f"{self.name}: no such kind of database: {error}") from error
        except exc.ProgrammingError as error:
            if _sqlstate(error) == "42P01":
                raise SchemaError(f"{self.name} has no tables of bounceparse: {UPGRADE}") from error
            raise StoreError(f"{self.name}: {_words(error)}") from error
        except (exc.OperationalError, exc.InterfaceError, exc.InternalError) as error:
            raise self._operational(error) from error
        except exc.TimeoutError as error:
            raise StoreError(f"{self.name}: all connections are busy", temporary=True) from error
        except exc.DatabaseError as error:
            kind = DuplicateError if _sqlstate(error) == _UNIQUE_VIOLATION else StoreError
            raise kind(f"{self.name}: {_words(error)}") from error

    def _require_some_file(self) -> None:
        """Raise where SQLite would make an empty file."""
        if self.is_sqlite and not self._create and not self.path.exists():
            raise SchemaError(f"there is no database at {self.path}: {UPGRADE}")

    def _require_file(self, connection: Connection) -> None:
        """Raise unless the file still has its name: SQLite would go on writing into one that was moved or deleted."""
        if connection.info["file"] != _file_identity(self.path):
            self.engine.dispose()
            raise SchemaError(f"{self.name} was moved or deleted while it was in use: put it back")

    @property
    def name(self) -> str:
        """The URL without its password."""
        return self.url.render_as_string(hide_password=True)

    def _operational(self, error: exc.DBAPIError) -> StoreError:
        words = _words(error)
        if "no such table" in words:
            return SchemaError(f"{self.name} has no tables of bounceparse: {UPGRADE}")
        if self.is_sqlite:
            if "locked" in words or "busy" in words:
                return StoreError(f"{self.name} is locked by another program: try again", temporary=True)
            if "disk is full" in words:
                return StoreError(f"{self.name}: {words}: make room", temporary=True)
            return StoreError(f"{self.name}: {words}")
        code = _sqlstate(error) or ""
        permanent = code.startswith(_PERMANENT) or any(
            told in words for told in ("authentication failed", "does not exist", "no pg_hba.conf entry")
        )
        remedy = "check user, password and database in its URL" if permanent else "try again"
        return StoreError(f"{self.name}: {words.rstrip('.')}: {remedy}", temporary=not permanent)


class DuplicateError(StoreError):
    """A row that was inserted as a new one is there already."""


_UNIQUE_VIOLATION = "23505"
# The server asks a silent client whether it is still there, and gives up one that is gone after 50 seconds, whether or not
# an answer was under way to it: what it held is free then.
NOTICE_THE_DEAD = (
    "SET tcp_keepalives_idle = 20; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;"
    " SET tcp_user_timeout = 50000; SET jit = off"
)
# A writer that does nothing for so long has been stopped or cut off: all others wait for it.
_STALLED = "SET LOCAL idle_in_transaction_session_timeout = '50s'"
_BY_INDEX = "SET LOCAL enable_seqscan = off"
_LINE_UP = "SELECT value FROM bounceparse_state WHERE name = 'seq' FOR UPDATE"


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        raise StoreError(
            f"{_without_password(text)} is no database URL: write sqlite:///PATH or postgresql+psycopg://USER@HOST/DB"
        ) from None
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise StoreError(f"{url.render_as_string(hide_password=True)}: SQLite and PostgreSQL are supported")
    if not url.database or url.database == ":memory:":
        raise StoreError("SQLite needs a file: write sqlite:///PATH")
    return url


def shown_url(text: str) -> str:
    """A database URL as it may be shown: without its password."""
    try:
        return make_url(text).render_as_string(hide_password=True)
    except (exc.ArgumentError, ValueError):
        return _without_password(text)


def _without_password(text: str) -> str:
    """What may be shown of a URL that nobody could parse: the scheme, and what stands behind the last ``@``."""
    scheme, colon, rest = text.partition(":")
    host = rest.rpartition("@")[2] if "@" in rest else ""
    return f"{scheme}:...{host}" if colon else repr(text)


def _postgresql_engine(url: URL) -> Engine:
    try:
        # without hstore, which would be asked for at each connect
        engine = sa.create_engine(url, connect_args=KEEPALIVE, pool_pre_ping=True, use_native_hstore=False)
    except ImportError as error:
        raise StoreError(f"PostgreSQL needs a driver ({error}): pip install 'bounceparse[postgresql]'") from error

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        connection.autocommit = True
        connection.execute(NOTICE_THE_DEAD)
        connection.autocommit = False

    return engine


def _sqlite_engine(url: URL) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself, so DDL is transactional too
        for pragma in _PRAGMAS:
            connection.execute(f"PRAGMA {pragma}")
        record.info["file"] = _file_identity(Path(url.database or ""))

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("bounceparse_write"):
            connection.exec_driver_sql("BEGIN")
        elif options.get("bounceparse_wait", True):
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            finally:
                connection.exec_driver_sql(f"PRAGMA {_PRAGMAS[0]}")

    return engine


def _file_identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _sqlstate(error: exc.DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _words(error: exc.DBAPIError) -> str:
    """The driver's own words on one line."""
    return " ".join(str(error.orig).split())


def chunks(values: Sequence[T], size: int = 1000) -> Iterator[Sequence[T]]:
    """``values`` in pieces that fit a statement's IN list."""
    return (values[start : start + size] for start in range(0, len(values), size))

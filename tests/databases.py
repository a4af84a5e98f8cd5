"""Databases for tests: a fresh, migrated SQLite file and a fresh, migrated PostgreSQL database.

Every test that records anything takes one of the fixtures ``database_url``, ``store`` or ``empty_url`` and so runs on
both. A migrated database is a copy of one that was migrated once a session: it takes milliseconds.

PostgreSQL is started once a session, on a Unix socket in a temporary folder; as root it runs as user postgres. Without
an installed server its tests are skipped, unless BOUNCEPARSE_TEST_ALL=1 makes that a failure.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from bounceparse.db import Store, upgrade


def _find_binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a running server, without a database name."""
    if _find_binaries() is None:
        reason = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("BOUNCEPARSE_TEST_ALL") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with running_postgresql("-c fsync=off -c full_page_writes=off") as server:  # no test cuts the power
        yield server


@contextmanager
def running_postgresql(options: str = "") -> Iterator[str]:
    """The URL of a new server with further ``options``, without a database name; it ends with the block."""
    binaries = _find_binaries()
    assert binaries is not None
    as_root = os.getuid() == 0
    prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if as_root else []
    folder = Path(tempfile.mkdtemp(prefix="bounceparse-pg-"))
    cluster = folder / "data"
    if as_root:
        shutil.chown(folder, "postgres", "postgres")

    def run(*command: str) -> None:
        subprocess.run([*prefix, *command], check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=120)

    try:
        run(str(binaries / "initdb"), "-D", str(cluster), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        own = f"-c listen_addresses='' -c unix_socket_directories={folder} -c max_connections=50 {options}"
        run(str(binaries / "pg_ctl"), "-D", str(cluster), "-o", own, "-l", str(folder / "log"), "-w", "start")
        try:
            yield f"postgresql+psycopg://postgres@/{{}}?host={folder}"
        finally:
            run(str(binaries / "pg_ctl"), "-D", str(cluster), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _administering(server: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(server.format("postgres"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def new_database(server: str, template: str = "template1") -> str:
    """The URL of a new database on a PostgreSQL, a copy of ``template``: without tables unless that has some."""
    name = f"t{uuid.uuid4().hex}"
    with _administering(server) as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    return server.format(name)


def drop_database(server: str, url: str) -> None:
    """Drop a database, whoever is still connected to it; it may be gone already."""
    with _administering(server) as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)"))


def migrated_database(server: str) -> str:
    """The URL of a new database on a PostgreSQL, with our schema."""
    return new_database(server, _migrated_template(server))


@functools.cache
def _migrated_template(server: str) -> str:
    url = new_database(server)
    upgrade(url)
    return str(sa.make_url(url).database)


@functools.cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        upgrade(f"sqlite:///{folder}/b.db")
        return Path(folder, "b.db").read_bytes()


def migrated_sqlite(path: Path) -> str:
    """The URL of a new SQLite file with our schema: for tests of what only SQLite does, and for helpers."""
    path.write_bytes(_migrated_file())
    return f"sqlite:///{path}"


NewDatabase = Callable[..., str]


@pytest.fixture(params=["sqlite", "postgresql"])
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewDatabase]:
    """Makes databases of one kind: ``new_url()`` is the URL of one with our schema, ``new_url(empty=True)`` without."""
    made: list[str] = []

    def on_sqlite(*, empty: bool = False) -> str:
        path = tmp_path / f"bounceparse{len(made) or ''}.db"
        made.append(f"sqlite:///{path}" if empty else migrated_sqlite(path))
        return made[-1]

    def on_postgresql(*, empty: bool = False) -> str:
        made.append(new_database(server) if empty else migrated_database(server))
        return made[-1]

    if request.param == "sqlite":
        yield on_sqlite
        return
    server = request.getfixturevalue("postgresql")
    yield on_postgresql
    for url in made:
        drop_database(server, url)


@pytest.fixture
def empty_url(new_url: NewDatabase) -> str:
    """The URL of a database without tables."""
    return new_url(empty=True)


@pytest.fixture
def database_url(new_url: NewDatabase) -> str:
    """The URL of a database with our schema."""
    return new_url()


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store on a fresh database of each kind."""
    with Store(database_url) as opened:
        yield opened

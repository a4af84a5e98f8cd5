"""The schema: what upgrade makes is what the models say, other people's tables stay, a killed step leaves no trace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from bounceparse.db import SchemaState, Store, check, schema, upgrade
from bounceparse.db.engine import Database
from bounceparse.db.schema import downgrade
from bounceparse.db.tables import METADATA, PREFIX, SCHEMA_VERSION, VERSION_TABLE, whole_metadata
from bounceparse.errors import SchemaError, StoreError


def _tables(url: str) -> set[str]:
    database = Database(url, create=True)
    names = set(sa.inspect(database.engine).get_table_names())
    database.close()
    return names


def _run(url: str, *statements: str) -> None:
    database = Database(url, create=True)
    with database.transaction(write=True) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    database.close()


def _differences(url: str) -> list[object]:
    """What autogenerate would propose, asked as ``env.py`` asks."""
    database = Database(url)
    with database.read() as connection:
        options = {
            "include_name": lambda name, kind, _: kind != "table" or (name or "").startswith(PREFIX),
            "version_table": VERSION_TABLE,
            "compare_type": True,
        }
        found = compare_metadata(MigrationContext.configure(connection, opts=options), whole_metadata())
    database.close()
    return found


def test_migrated_schema_equals_the_models(database_url: str) -> None:
    """Autogenerate proposes nothing for a database that upgrade made."""
    assert _differences(database_url) == []


def test_a_difference_would_be_seen(database_url: str) -> None:
    """The comparison above can fail."""
    _run(database_url, "ALTER TABLE bounceparse_sent ADD COLUMN extra TEXT")
    assert _differences(database_url) != []


def test_schema_version_is_the_newest_revision() -> None:
    """The constant that a store compares is the head of the migrations."""
    assert ScriptDirectory.from_config(schema._config()).get_current_head() == SCHEMA_VERSION


def test_all_tables_bear_the_prefix(database_url: str) -> None:
    """Nothing of ours can clash with another application's names."""
    assert _tables(database_url) == {*METADATA.tables, VERSION_TABLE}
    assert all(name.startswith(PREFIX) for name in _tables(database_url))


def test_foreign_tables_are_left_alone(empty_url: str) -> None:
    """Upgrade, autogenerate and downgrade neither touch nor propose anything for other tables."""
    _run(
        empty_url,
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT)",
        "INSERT INTO orders VALUES (1, 'x')",
        "CREATE TABLE alembic_version (version_num TEXT)",
        "INSERT INTO alembic_version VALUES ('theirs')",
    )
    upgrade(empty_url)
    assert _differences(empty_url) == []
    downgrade(empty_url)
    assert _tables(empty_url) == {"orders", "alembic_version", VERSION_TABLE}
    database = Database(empty_url)
    with database.read() as connection:
        assert connection.execute(sa.text("SELECT note FROM orders")).scalars().all() == ["x"]
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalars().all() == ["theirs"]
    database.close()


def test_check_tells_the_states(empty_url: str) -> None:
    """Empty, current, behind and ahead are told apart, and upgrade is idempotent."""
    assert check(empty_url) is SchemaState.EMPTY
    upgrade(empty_url)
    upgrade(empty_url)
    assert check(empty_url) is SchemaState.CURRENT
    for version, state in (("0000", SchemaState.BEHIND), ("9999", SchemaState.AHEAD)):
        _run(empty_url, f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")
        assert check(empty_url) is state
    downgrade_target = SchemaState.EMPTY
    _run(empty_url, f"DELETE FROM {VERSION_TABLE}")
    assert check(empty_url) is downgrade_target


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_store_refuses_another_schema(database_url: str, version: str) -> None:
    """A store on a schema of another version says what to do and does not start."""
    _run(database_url, f"UPDATE {VERSION_TABLE} SET version_num = '{version}'")
    with pytest.raises(SchemaError, match="upgrade"):
        Store(database_url)


def test_store_does_not_create_a_database(empty_url: str, tmp_path: Path) -> None:
    """A store on an empty database raises, names the command, and leaves nothing behind."""
    with pytest.raises(SchemaError, match="bounceparse db upgrade"):
        Store(empty_url)
    assert not list(tmp_path.iterdir())


def test_failed_migration_leaves_the_old_schema(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of an upgrade is one transaction: a step that fails undoes those before it."""
    _run(empty_url, "CREATE TABLE bounceparse_streams (name TEXT)")  # the last table to be made is in the way
    with pytest.raises(StoreError):
        upgrade(empty_url)
    assert _tables(empty_url) == {"bounceparse_streams"}


_KILLED = """
import os, signal, sys
from alembic.operations import Operations
from bounceparse.db import upgrade
made = Operations.create_table
def create_table(self, name, *columns, **options):
    if name == "bounceparse_standing":
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, name, *columns, **options)
import alembic.op
alembic.op.create_table = lambda name, *columns, **options: create_table(alembic.op._proxy, name, *columns, **options)
upgrade(sys.argv[1])
"""


def test_killed_migration_leaves_the_old_schema(empty_url: str) -> None:
    """kill -9 in the middle of an upgrade leaves no table, and the next upgrade succeeds."""
    killed = subprocess.run([sys.executable, "-c", _KILLED, empty_url], capture_output=True, timeout=60)
    assert killed.returncode == -9, killed.stderr
    assert _tables(empty_url) == set()
    upgrade(empty_url)
    assert check(empty_url) is SchemaState.CURRENT


def test_opening_a_store_does_not_import_alembic(database_url: str) -> None:
    """A poll never pays for the migrations."""
    code = "import sys; from bounceparse.db import Store; Store(sys.argv[1]).settle(); print('alembic' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, database_url], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "False"


def test_rows_of_the_first_schema_survive_the_upgrade(empty_url: str) -> None:
    """Standing gets its cursor, the ledger's ids may be NULL, no row is lost, and the downgrade takes it back."""
    upgrade(empty_url, "0001")
    stands = "(subject, scope, cause, status, reason, since, count, last_at, origin)"
    values = "('{}@example.pl', 'all', 'manual', 'manual', 'manual', '2026-01-01 00:00:00.000000+00:00', 1, '2026-01-01 00:00:00.000000+00:00', 'manual')"
    _run(
        empty_url,
        "UPDATE bounceparse_state SET value = 5 WHERE name = 'seq'",
        *(f"INSERT INTO bounceparse_standing {stands} VALUES {values.format(name)}" for name in "abc"),
        "INSERT INTO bounceparse_sent (message_id, message_key, recipient, recipient_key, domain_key, status)"
        " VALUES ('1@s.example', '1@s.example', 'a@example.pl', 'a@example.pl', 'example.pl', 'injected')",
    )
    upgrade(empty_url)
    with Store(empty_url) as store:
        assert [one.subject for one in store.suppressions()] == ["a@example.pl", "b@example.pl", "c@example.pl"]
        store.suppress("d@example.pl")
    database = Database(empty_url)
    with database.read() as connection:
        seqs = connection.execute(sa.text("SELECT seq FROM bounceparse_v1_standing ORDER BY id")).scalars().all()
        assert seqs == [6, 7, 8, 9]
        assert connection.execute(sa.text("SELECT recipient FROM bounceparse_v1_sent")).scalars().all() == [
            "a@example.pl"
        ]
    database.close()
    downgrade(empty_url, "0001")
    _run(empty_url, f"INSERT INTO bounceparse_standing {stands} VALUES {values.format('e')}")


def test_rebuilt_tables_keep_their_indexes_whole(tmp_path: Path) -> None:
    """Autogenerate does not look at the condition of a partial index: SQLite's own words do."""
    urls = [f"sqlite:///{tmp_path}/{name}.db" for name in ("migrated", "made")]
    upgrade(urls[0])
    database = Database(urls[1], create=True)
    whole_metadata().create_all(database.engine)
    database.close()
    found = []
    for url in urls:
        database = Database(url)
        with database.read() as connection:
            query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
            found.append({" ".join(sql.split()) for sql in connection.execute(sa.text(query)).scalars()})
        database.close()
    assert found[0] == found[1]
    assert any("WHERE" in sql for sql in found[0])

"""The schema's version: ``upgrade`` brings a database up to date, ``check`` says where it stands.

Only ``upgrade`` and ``downgrade`` import Alembic; opening a store compares one row with a constant.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.engine import UPGRADE, Database
from bounceparse.db.tables import SCHEMA_VERSION, VERSION_TABLE
from bounceparse.db.views import create_views, drop_views
from bounceparse.errors import SchemaError

if TYPE_CHECKING:
    from alembic.config import Config


_VERSION = f"SELECT version_num FROM {VERSION_TABLE}"  # noqa: S608


class SchemaState(StrEnum):
    """Where a database stands."""

    CURRENT = "current"
    BEHIND = "behind"
    AHEAD = "ahead"  # a newer bounceparse has upgraded it
    EMPTY = "empty"  # none of our tables


def upgrade(url: str, revision: str = "head") -> None:
    """Create or upgrade our tables in the database at ``url``; other tables are left alone.

    All steps are one transaction: killed half-way, the old schema stays. Raises ``StoreError``.
    """
    _migrate(url, "upgrade", revision)


def downgrade(url: str, revision: str = "base") -> None:
    """Take the schema back to ``revision``; ``base`` drops all our tables. Raises ``StoreError``."""
    _migrate(url, "downgrade", revision)


def check(url: str) -> SchemaState:
    """Where the database at ``url`` stands; a missing SQLite file is empty. Raises ``StoreError`` when unreachable."""
    try:
        database = Database(url)
    except SchemaError:
        return SchemaState.EMPTY
    try:
        with database.read() as connection:
            return state_of(connection)
    finally:
        database.close()


def state_of(connection: Connection) -> SchemaState:
    """As :func:`check`, on an open connection."""
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return SchemaState.EMPTY
    version = connection.exec_driver_sql(_VERSION).scalar()
    if version is None:
        return SchemaState.EMPTY
    if version == SCHEMA_VERSION:
        return SchemaState.CURRENT
    return SchemaState.BEHIND if version < SCHEMA_VERSION else SchemaState.AHEAD


def require_current(database: Database) -> None:
    """Raise :class:`SchemaError` with the remedy unless the schema is the one that this version needs."""
    if _version(database) == SCHEMA_VERSION:
        return
    with database.read() as connection:
        found = state_of(connection)
    if found is SchemaState.EMPTY:
        raise SchemaError(f"{database.name} has no tables of bounceparse: {UPGRADE}")
    if found is SchemaState.BEHIND:
        raise SchemaError(f"{database.name} was made by an older bounceparse: {UPGRADE}")
    if found is SchemaState.AHEAD:
        raise SchemaError(f"{database.name} was upgraded by a newer bounceparse: upgrade this program too")


def _version(database: Database) -> str | None:
    """The version that stands in the database, None where there is none: asked so, it takes no look at the catalogue."""
    try:
        with database.read() as connection:
            return connection.exec_driver_sql(_VERSION).scalar()
    except SchemaError:
        return None


def _migrate(url: str, direction: str, revision: str) -> None:
    from alembic import command

    database = Database(url, create=True)
    try:
        with database.transaction(write=True) as connection:
            if database.is_sqlite or direction == "downgrade":
                drop_views(connection)  # no table can be rebuilt or dropped under a view
            config = _config()
            config.attributes["connection"] = connection
            getattr(command, direction)(config, revision)
            if state_of(connection) is SchemaState.CURRENT:
                create_views(connection)
    finally:
        database.close()


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config

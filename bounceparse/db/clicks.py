"""One-click requests that must not wait for another writer: kept at once, recorded as soon as that one is done.

On PostgreSQL the row goes past the line in which writers stand. SQLite lets one writer at a time into a file, so there the
table lies in a file of its own beside the database. What is kept has been answered and must survive any crash.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from bounceparse.db.engine import Database
from bounceparse.db.tables import clicks


class Click(NamedTuple):
    """A one-click request that was answered: its row and its token."""

    id: int
    token: str


class Clicks:
    """The requests that were answered and are not recorded yet."""

    def __init__(self, database: Database) -> None:
        self._main = database
        self._beside: Database | None = None

    @property
    def path(self) -> Path | None:
        """The file beside an SQLite database."""
        return self._main.path.with_name(f"{self._main.path.name}-clicks") if self._main.is_sqlite else None

    def add(self, token: str, now: datetime) -> None:
        """Keep a request; when this returns it is on disk."""
        with self._database().transaction(write=True) as connection:
            connection.execute(sa.insert(clicks).values(token=token, clicked_at=now))

    def waiting(self) -> list[Click]:
        """What is kept, oldest first."""
        if self.path is not None and not self.path.exists():
            return []
        with self._database().transaction(write=False) as connection:
            return [Click(*row) for row in connection.execute(_WAITING)]

    def drop(self, done: list[Click]) -> None:
        """Forget requests that are recorded."""
        with self._database().transaction(write=True) as connection:
            connection.execute(sa.delete(clicks).where(clicks.c.id.in_([one.id for one in done])))

    def close(self) -> None:
        """Close the connections to the file beside."""
        if self._beside is not None:
            self._beside.close()

    def _database(self) -> Database:
        if self.path is None:
            return self._main
        if self._beside is None:
            beside = Database(f"sqlite:///{self.path}", create=True)
            with beside.transaction(write=True) as connection:
                clicks.create(connection, checkfirst=True)
            self._beside = beside
        return self._beside


_WAITING = sa.select(clicks.c.id, clicks.c.token).order_by(clicks.c.id).limit(1000)

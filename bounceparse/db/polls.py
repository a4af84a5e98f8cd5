"""What polls and people leave for the next poll: confirmed folders, the time of the last poll, held messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.numbers import set_number
from bounceparse.db.tables import messages, state
from bounceparse.db.types import storable
from bounceparse.reading import Place

_POLLED = "polled\n"
_AWAITED = "awaited\n"


def confirm(connection: Connection, account: str, folder: str, consequence: str, now: datetime) -> None:
    """Note that a person agrees to what a poll does in this folder."""
    set_number(connection, _confirmed(account, folder, consequence), int(now.timestamp()))


def is_confirmed(connection: Connection, account: str, folder: str, consequence: str) -> bool:
    """Whether a person has agreed to that."""
    name = _confirmed(account, folder, consequence)
    return connection.execute(sa.select(state.c.value).where(state.c.name == name)).scalar() is not None


def _confirmed(account: str, folder: str, consequence: str) -> str:
    return storable(f"confirmed\n{account}\n{folder}\n{consequence}")


def note_poll(connection: Connection, account: str, now: datetime) -> None:
    """Note that a mailbox was polled to its end."""
    set_number(connection, _POLLED + account, int(now.timestamp()))


def last_polls(connection: Connection) -> dict[str, datetime]:
    """When each mailbox was last polled to its end."""
    return _times(connection, _POLLED)


def await_polls(connection: Connection, accounts: Iterable[str], now: datetime) -> None:
    """Note since when mailboxes that were never polled are to be polled: from the first time that this is called."""
    known = awaited_since(connection).keys() | last_polls(connection).keys()
    for account in accounts:
        if account not in known:
            set_number(connection, _AWAITED + account, int(now.timestamp()))


def awaited_since(connection: Connection) -> dict[str, datetime]:
    """Since when mailboxes wait, or waited, for their first poll."""
    return _times(connection, _AWAITED)


def _times(connection: Connection, prefix: str) -> dict[str, datetime]:
    rows = connection.execute(sa.select(state).where(state.c.name.startswith(prefix, autoescape=True)))
    return {row.name.removeprefix(prefix): datetime.fromtimestamp(row.value, UTC) for row in rows}


def drop_held(connection: Connection, places: Iterable[Place]) -> None:
    """Forget the held rows of messages that are about to be recorded again."""
    for place in places:
        connection.execute(
            sa.delete(messages).where(
                messages.c.account == place.account,
                messages.c.folder == place.folder,
                messages.c.uidvalidity == place.uidvalidity,
                messages.c.uid == place.uid,
                messages.c.error.is_not(None),
            )
        )

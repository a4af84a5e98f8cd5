"""The tokens that were given out: which message to whom each is of, kept longer than the ledger."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.clues import Key, message_key
from bounceparse.db.bulk import insert_new
from bounceparse.db.ledger import Ledger
from bounceparse.db.listed import listed
from bounceparse.db.tables import tokens
from bounceparse.db.types import stored_key
from bounceparse.match import Lookup, Sent
from bounceparse.verp import TOKEN_IDS


def free_token_id(connection: Connection) -> int:
    """A token id that no message is known by."""
    while find_token(connection, token_id := secrets.randbelow(TOKEN_IDS)):
        pass
    return token_id


def token_row(token_id: int, message_id: str, recipient: str, now: datetime, **of: str | None) -> dict[str, Any]:
    """A row of ``tokens``; ``of``: stream and list_id."""
    return {
        "id": token_id,
        "message_id": message_id.strip().strip("<>"),
        "message_key": message_key(message_id) or message_id,
        "recipient": recipient,
        "recipient_key": stored_key(recipient),
        "stream": of.get("stream"),
        "list_id": of.get("list_id"),
        "created_at": now,
    }


def new_token(connection: Connection, message_id: str, recipient: str, now: datetime, **of: str | None) -> int:
    """The id of the token of a message to a recipient, a new one where it has none; ``of`` as in :func:`token_row`."""
    row = token_row(0, message_id, recipient, now, **of)
    same = sa.select(tokens.c.id).where(
        tokens.c.message_key == row["message_key"], tokens.c.recipient_key == row["recipient_key"]
    )
    while (known := connection.execute(same).scalar()) is None:
        insert_new(connection, tokens, [{**row, "id": free_token_id(connection)}])
    return int(known)


def find_token(connection: Connection, token_id: int) -> bool:
    """Whether a message is known by this token id."""
    return connection.execute(sa.select(tokens.c.id).where(tokens.c.id == token_id)).first() is not None


_KNOWN = sa.select(tokens).where(listed(tokens.c.id))


def messages_of_tokens(connection: Connection, ids: Iterable[int | None]) -> dict[int, Sent]:
    """The message that each token is of: the ledger's row, else what the token itself was made for."""
    wanted = sorted({one for one in ids if one is not None})
    rows = connection.execute(_KNOWN, {"listed": wanted}).all() if wanted else []
    if not rows:
        return {}
    lookups = {row.id: Lookup(Key.MESSAGE_ID, row.message_key, (row.recipient_key,)) for row in rows}
    found = Ledger(connection).find(lookups.values())
    known = {}
    for row in rows:
        answer = found.get(lookups[row.id])
        mine = [one for one in answer.rows if one.recipient_key == row.recipient_key] if answer else []
        known[row.id] = mine[0] if mine else _made_for(row)
    return known


def _made_for(row: sa.Row[Any]) -> Sent:
    blank = dict.fromkeys(Sent._fields)
    told = {name: getattr(row, name) for name in ("message_id", "recipient", "recipient_key", "stream", "list_id")}
    return Sent(**{**blank, **told})

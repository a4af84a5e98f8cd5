"""The bearer tokens of the API. Only the SHA-256 of a token is kept: it has 256 random bits, so no slow hash is needed."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.audit import note_audit
from bounceparse.db.tables import api_tokens
from bounceparse.errors import ConfigError

SCOPES = ("read", "write", "ingest")
"""What a token may allow: to ask, to change standings and streams, to hand in mail."""
_FORM = re.compile(r"bp_[A-Za-z0-9_-]{43}", re.ASCII)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
USED_AGAIN = timedelta(hours=1)
"""How exact ``used_at`` is: a write for every request would queue behind the polls."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A token as it is kept; ``sender`` is the tenant whose streams alone it sees and touches, None for all."""

    id: int
    name: str
    scopes: frozenset[str]
    sender: str | None
    created_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


def make_token(
    connection: Connection, name: str, scopes: Collection[str], sender: str | None, now: datetime, by: str
) -> str:
    """Make a token and return it: it is never to be had again. Raises ``ConfigError`` for a name that is taken."""
    _check(name, scopes, sender)
    if connection.execute(sa.select(api_tokens.c.id).where(api_tokens.c.name == name)).first():
        raise ConfigError(f"there is a token {name!r} already (a revoked one keeps its name): choose another name")
    token = f"bp_{secrets.token_urlsafe(32)}"
    ordered = " ".join(one for one in SCOPES if one in scopes)
    connection.execute(
        sa.insert(api_tokens).values(name=name, hash=_hash(token), scopes=ordered, sender=sender, created_at=now)
    )
    note_audit(connection, now, by, "new token", name, sender, detail=ordered)
    return token


def _check(name: str, scopes: Collection[str], sender: str | None) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a token: lower-case letters, digits, dots and dashes, 63 at most")
    if not scopes or set(scopes) - set(SCOPES):
        raise ConfigError(f"a token needs scopes: one or more of {', '.join(SCOPES)}")
    if sender is not None and "ingest" in scopes:
        raise ConfigError("a token of one sender cannot have the scope ingest: a report may be about anybody's mail")


def find_api_token(connection: Connection, token: str) -> ApiToken | None:
    """The token that stands; None for one that is unknown or revoked."""
    if not _FORM.fullmatch(token):
        return None
    found = connection.execute(sa.select(api_tokens).where(api_tokens.c.hash == _hash(token))).first()
    return _token(found) if found is not None and found.revoked_at is None else None


def note_used(connection: Connection, token_id: int, now: datetime) -> None:
    """Note when a token was used."""
    connection.execute(sa.update(api_tokens).where(api_tokens.c.id == token_id).values(used_at=now))


def list_tokens(connection: Connection) -> list[ApiToken]:
    """All tokens, revoked ones too, by name."""
    return [_token(row) for row in connection.execute(sa.select(api_tokens).order_by(api_tokens.c.name))]


def revoke_token(connection: Connection, name: str, now: datetime, by: str) -> None:
    """Make a token worthless from now on. Raises ``ConfigError`` where there is none of this name that stands."""
    stands = api_tokens.c.name == name, api_tokens.c.revoked_at.is_(None)
    if not connection.execute(sa.update(api_tokens).where(*stands).values(revoked_at=now)).rowcount:
        raise ConfigError(f"there is no token {name!r} to revoke: see `bounceparse tokens list`")
    note_audit(connection, now, by, "revoke token", name)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("ascii")).digest()


def _token(row: sa.Row[tuple[object, ...]]) -> ApiToken:
    return ApiToken(
        id=row.id,
        name=row.name,
        scopes=frozenset(row.scopes.split()),
        sender=row.sender,
        created_at=row.created_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )

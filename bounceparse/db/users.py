"""Who signs in to the panel: users, their passwords as scrypt hashes, and the sessions of those signed in.

Of a session the SHA-256 of its token is kept, which has 256 random bits; of a password a salted scrypt hash with its cost.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.audit import note_audit
from bounceparse.db.tables import sessions, users
from bounceparse.errors import ConfigError

ROLES = ("read", "write")
"""What a user may do: look, or also lift, suppress, release, stop and decide."""
SHORTEST, LONGEST = 12, 1000
"""Characters of a password."""
SESSION = timedelta(hours=12)
"""How long one sign-in lasts."""
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,62}", re.ASCII)
_COST = (15, 8, 3)
"""log2(N), r and p of scrypt: 32 MiB, a quarter of a second."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signs in; ``sender`` is the tenant whose streams alone they see and touch, None for all."""

    name: str
    role: str
    sender: str | None
    created_at: datetime
    disabled_at: datetime | None

    @property
    def may_write(self) -> bool:
        """Whether they may change anything."""
        return self.role == "write"


# Passwords


def hash_password(password: str, cost: tuple[int, int, int] | None = None) -> str:
    """A salted hash of a password, with what is needed to check it."""
    cost = cost or _COST
    salt = secrets.token_bytes(16)
    return "$".join(("scrypt", *map(str, cost), _text(salt), _text(_scrypt(password, salt, cost))))


def check_password(password: str, stored: str | None) -> bool:
    """Whether it is the password of a stored hash. Without one it takes as long and is False: nobody learns who is a user."""
    _, log_n, r, p, salt, wanted = (stored or _nobody()).split("$")
    found = _scrypt(password, base64.b64decode(salt), (int(log_n), int(r), int(p)))
    return hmac.compare_digest(found, base64.b64decode(wanted)) and stored is not None


@cache
def _nobody() -> str:
    return hash_password(secrets.token_hex())


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    log_n, r, p = cost
    text = unicodedata.normalize("NFKC", password[:LONGEST]).encode("utf-8", "replace")
    memory = 128 * r * (2**log_n + p + 2)
    return hashlib.scrypt(text, salt=salt, n=2**log_n, r=r, p=p, maxmem=2 * memory, dklen=32)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def require_password(password: str) -> None:
    """Raise ``ConfigError`` for a password that is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"a password has {SHORTEST} to {LONGEST} characters: several words make a good one")


# Users


def add_user(
    connection: Connection, name: str, stored: str, role: str, sender: str | None, now: datetime, by: str
) -> None:
    """Make a user with a hashed password. Raises ``ConfigError`` for a name that is taken, or none."""
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a user: lower-case letters, digits, dots, dashes and @, 63 at most")
    if role not in ROLES:
        raise ConfigError(f"a user's role is one of {', '.join(ROLES)}")
    if connection.execute(sa.select(users.c.name).where(users.c.name == name)).first():
        raise ConfigError(
            f"there is a user {name!r} already: `bounceparse users password {name}` sets another password"
        )
    connection.execute(sa.insert(users).values(name=name, password=stored, role=role, sender=sender, created_at=now))
    note_audit(connection, now, by, "new user", name, sender, detail=role)


def list_users(connection: Connection) -> list[User]:
    """All users, by name."""
    return [User(*row) for row in connection.execute(sa.select(*_COLUMNS).order_by(users.c.name))]


def has_users(connection: Connection) -> bool:
    """Whether anybody may sign in."""
    return connection.execute(sa.select(users.c.name).where(users.c.disabled_at.is_(None)).limit(1)).first() is not None


def change_user(connection: Connection, name: str, action: str, now: datetime, by: str, **values: object) -> None:
    """Change a user's columns and end their sessions. Raises ``ConfigError`` where there is no such user."""
    if not connection.execute(sa.update(users).where(users.c.name == name).values(**values)).rowcount:
        raise ConfigError(f"there is no user {name!r}: see `bounceparse users list`")
    connection.execute(sa.delete(sessions).where(sessions.c.name == name))
    note_audit(connection, now, by, action, name)


_COLUMNS = [users.c[name] for name in User.__dataclass_fields__]


# Sessions


def stored_password(connection: Connection, name: str) -> str | None:
    """The hashed password of a user who may sign in."""
    query = sa.select(users.c.password).where(users.c.name == name, users.c.disabled_at.is_(None))
    return connection.execute(query).scalar()


def open_session(connection: Connection, name: str, now: datetime) -> str:
    """The token of a new session; those that have run out go."""
    forget_sessions(connection, now)
    token = secrets.token_urlsafe(32)
    connection.execute(
        sa.insert(sessions).values(hash=_hash(token), name=name, created_at=now, expires_at=now + SESSION)
    )
    return token


def find_session(connection: Connection, token: str, now: datetime) -> User | None:
    """Whose session it is; None where it has run out or been ended, or the user was disabled."""
    query = (
        sa.select(*_COLUMNS)
        .select_from(sessions.join(users, users.c.name == sessions.c.name))
        .where(sessions.c.hash == _hash(token), sessions.c.expires_at > now, users.c.disabled_at.is_(None))
    )
    row = connection.execute(query).first()
    return None if row is None else User(*row)


def end_session(connection: Connection, token: str) -> None:
    """End a session; one that is unknown is no matter."""
    connection.execute(sa.delete(sessions).where(sessions.c.hash == _hash(token)))


def forget_sessions(connection: Connection, now: datetime, *, dry_run: bool = False) -> int:
    """Delete the sessions that have run out, or only count them; returns how many."""
    over = sessions.c.expires_at <= now
    if dry_run:
        return int(connection.execute(sa.select(sa.func.count()).select_from(sessions).where(over)).scalar_one())
    return connection.execute(sa.delete(sessions).where(over)).rowcount


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()

"""Signed tokens: the id of a sent message in a form that nobody can guess, for return paths and headers.

A token is 29 characters of lower-case base32 (RFC 4648 section 6, no padding) that survive case folding and, in a return
path, SRS: 18 bytes of key id (1), token id (5), expiry in days since 1970 (2) and the first 80 bits of HMAC-SHA-256 (10)
over those 8 bytes and the domain that carries the token. Each purpose has a key of its own, derived from the secret, so a
token taken from one place is worth nothing in another. There is no address in it.

    >>> keyring = Keyring((Key(1, bytes(32), date(2026, 1, 1)),))
    >>> token = sign(keyring, Purpose.RETURN_PATH, 4711, "bounces.example", expires=date(2026, 2, 1))
    >>> verify(keyring, Purpose.RETURN_PATH, token.upper(), "Bounces.Example", today=date(2026, 1, 15)).verdict
    <Verdict.VALID: 'valid'>
    >>> verify(keyring, Purpose.UNSUBSCRIBE, token, today=date(2026, 1, 15)).verdict
    <Verdict.BAD_MAC: 'bad-mac'>
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

from bounceparse.addresses import domain_key
from bounceparse.errors import ConfigError
from bounceparse.lazy import pattern

TOKEN_LENGTH = 29
TOKEN_IDS = 2**40
"""Token ids are below this."""

_TOKEN = pattern(r"[a-z2-7]{29}", re.ASCII)
_CANDIDATE = pattern(r"(?<![a-z0-9])[a-z2-7]{29}(?![a-z0-9])", re.IGNORECASE | re.ASCII)
_EPOCH = date(1970, 1, 1)
_NEVER = 0xFFFF
_SECRET_BYTES = 32
_MAC_BYTES = 10
_MOST_KEYS = 255
_MOST_CANDIDATES = 20
_HASHING = "hashing"
"""What stands for a number in the line of a key that only hashes."""


class Purpose(StrEnum):
    """Where a token stands; the names are part of what is signed."""

    RETURN_PATH = "return-path"
    MESSAGE_ID = "message-id"
    UNSUBSCRIBE = "unsubscribe"
    FEEDBACK = "feedback-id"
    ENVELOPE_ID = "envelope-id"


class Verdict(StrEnum):
    """What a token is worth. Only the first proves anything."""

    VALID = "valid"
    EXPIRED = "expired"  # it was ours; honoured in unsubscribe requests alone
    UNKNOWN_ID = "unknown-id"  # it holds, but no message is known by it; told by those who look
    UNKNOWN_KEY = "unknown-key"  # its key is not, or no longer, in the keyring
    BAD_MAC = "bad-mac"  # forged, taken from another place, or not spelled as we spell
    UNSIGNED = "unsigned"  # no token at all


class Reading(NamedTuple):
    """A token, verified. ``token_id`` is None unless the signature holds; ``expires`` is None for one that never does."""

    verdict: Verdict
    token_id: int | None = None
    key_id: int | None = None
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A secret of at least 32 random bytes, its number (1 to 255) and the day it was made."""

    id: int
    secret: bytes
    created: date

    def __repr__(self) -> str:
        return f"Key({self.id}, ..., {self.created})"


@dataclass(frozen=True, slots=True)
class Keyring:
    """The keys in the order in which they were made: the last one signs, all of them verify.

    ``hashing`` is a key that was dropped, so that it signs and verifies nothing, but that hashes of addresses rest on.
    """

    keys: tuple[Key, ...] = ()
    hashing: Key | None = None

    def find(self, key_id: int) -> Key | None:
        """The key of this number."""
        return next((key for key in self.keys if key.id == key_id), None)


def sign(keyring: Keyring, purpose: Purpose, token_id: int, domain: str = "", *, expires: date | None = None) -> str:
    """The token for ``token_id`` (0 to 2**40 - 1): 29 characters.

    ``domain`` is the domain of the address or Message-ID that carries it, empty where nothing does. ``expires`` is the
    last day on which it is valid, None for never. Raises ``ConfigError`` when there is no key, ``ValueError`` for an id
    or a day out of range.
    """
    if not keyring.keys:
        raise ConfigError("there is no key to sign with: make one with `bounceparse keys new`")
    day = _NEVER if expires is None else (expires - _EPOCH).days
    if not 0 <= token_id < TOKEN_IDS or not 0 <= day <= _NEVER:
        raise ValueError("a token holds an id below 2**40 and a day from 1970 to 2149")
    key = keyring.keys[-1]
    payload = bytes([key.id]) + token_id.to_bytes(5, "big") + day.to_bytes(2, "big")
    return _encode(payload + _mac(key.secret, purpose, payload, domain))


def verify(keyring: Keyring, purpose: Purpose, token: str, domain: str = "", *, today: date) -> Reading:
    """What ``token`` is worth on the day ``today``; upper and lower case are the same."""
    token = token.lower()
    if not _TOKEN.fullmatch(token):
        return Reading(Verdict.UNSIGNED)
    raw = base64.b32decode(token.upper() + "===")
    payload, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
    key = keyring.find(payload[0])
    if key is None:
        return Reading(Verdict.UNKNOWN_KEY, key_id=payload[0])
    expected = _mac(key.secret, purpose, payload, domain)
    if not hmac.compare_digest(mac, expected) or not hmac.compare_digest(token, _encode(raw)):
        return Reading(Verdict.BAD_MAC, key_id=key.id)
    day = int.from_bytes(payload[6:], "big")
    expires = None if day == _NEVER else _EPOCH + timedelta(day)
    verdict = Verdict.EXPIRED if expires is not None and expires < today else Verdict.VALID
    return Reading(verdict, int.from_bytes(payload[1:6], "big"), key.id, expires)


def find_tokens(text: str) -> list[str]:
    """What is spelled like a token in ``text`` (an address, a subject, a line), lower case, in order, each once."""
    found = (match[0].lower() for _, match in zip(range(_MOST_CANDIDATES), _CANDIDATE.finditer(text), strict=False))
    return list(dict.fromkeys(found))


def best_reading(
    keyring: Keyring, purpose: Purpose, places: Iterable[tuple[str, str]], *, today: date
) -> Reading | None:
    """The best of the tokens at ``places``, pairs of text and carrying domain; None where none is spelled like one.

    A valid one wins over an expired one, that over an unknown key, that over a forgery.
    """
    order = list(Verdict)
    readings = [
        verify(keyring, purpose, token, domain, today=today) for text, domain in places for token in find_tokens(text)
    ]
    return min(readings, key=lambda one: order.index(one.verdict), default=None)


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw).decode("ascii").rstrip("=").lower()


def _mac(secret: bytes, purpose: Purpose, payload: bytes, domain: str) -> bytes:
    key = _purpose_key(secret, purpose)
    return hmac.digest(key, payload + domain_key(domain).encode("utf-8", "replace"), "sha256")[:_MAC_BYTES]


@lru_cache(maxsize=64)
def _purpose_key(secret: bytes, purpose: Purpose) -> bytes:
    return hmac.digest(secret, b"bounceparse token 1 " + purpose.encode(), "sha256")


# The keys file: a line a key: number (or "hashing"), day made, secret in base32.


def add_key(keyring: Keyring, today: date) -> Keyring:
    """``keyring`` with a new key, which signs from now on. Raises ``ConfigError`` when all 255 numbers are taken."""
    taken = {key.id for key in keyring.keys}
    latest = keyring.keys[-1].id if keyring.keys else 0
    ids = ((latest + step) % _MOST_KEYS + 1 for step in range(_MOST_KEYS))
    key_id = next((one for one in ids if one not in taken), None)
    if key_id is None:
        raise ConfigError("all 255 key numbers are taken: drop keys whose tokens are no longer needed")
    return replace(keyring, keys=(*keyring.keys, Key(key_id, secrets.token_bytes(_SECRET_BYTES), today)))


def drop_key(keyring: Keyring, key_id: int) -> Keyring:
    """``keyring`` without a key: its tokens prove nothing any more. Raises ``ConfigError`` for the one that signs."""
    if keyring.find(key_id) is None:
        raise ConfigError(f"there is no key {key_id}: `bounceparse keys list` shows them")
    if keyring.keys[-1].id == key_id:
        raise ConfigError(f"key {key_id} is the one that signs: make a new one first with `bounceparse keys rotate`")
    rest = tuple(key for key in keyring.keys if key.id != key_id)
    # Hashes of addresses rest on the oldest key for good: without it nobody could find what they stand for.
    oldest = keyring.keys[0] if keyring.keys[0].id == key_id else None
    return Keyring(rest, keyring.hashing or oldest)


def format_keys(keyring: Keyring) -> str:
    """The text of a keys file."""
    lines = [f"{key.id} {key.created.isoformat()} {_encode(key.secret)}" for key in keyring.keys]
    if (old := keyring.hashing) is not None:
        lines.insert(0, f"{_HASHING} {old.created.isoformat()} {_encode(old.secret)}")
    return "# Keys of bounceparse: number, day made, secret. The last one signs. Keep this file secret.\n" + "".join(
        f"{line}\n" for line in lines
    )


def parse_keys(text: str) -> Keyring:
    """The keyring that a keys file's text holds; lines may be parted by ``;`` too. Raises ``ConfigError``, without secrets."""
    keys: list[Key] = []
    hashing: Key | None = None
    for number, line in enumerate(text.replace(";", "\n").splitlines(), 1):
        words = line.partition("#")[0].split()
        if words and words[0] == _HASHING:
            hashing = _parse_key(["1", *words[1:]], number)
        elif words:
            keys.append(_parse_key(words, number))
    if len({key.id for key in keys}) != len(keys):
        raise ConfigError("two keys have the same number")
    return Keyring(tuple(keys), hashing)


def _parse_key(words: list[str], line: int) -> Key:
    try:
        key_id, day, secret = words
        key = Key(int(key_id), _decode_secret(secret), date.fromisoformat(day))
    except (ValueError, binascii.Error):
        raise ConfigError(f"line {line} is no key: it has a number, a day and a secret in base32") from None
    if not 1 <= key.id <= _MOST_KEYS or len(key.secret) < _SECRET_BYTES:
        raise ConfigError(f"line {line} is no key: numbers are 1 to 255, secrets have at least 32 bytes")
    return key


def _decode_secret(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))

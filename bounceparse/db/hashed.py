"""Keyed hashes that stand for addresses which are to be forgotten, but still not mailed.

A hash is told from an address by having no ``@``. It comes from the oldest key of the keyring, by HMAC-SHA-256 with a key
derived for this purpose alone: a new key changes nothing, and one that is dropped stays in the keys file for hashing.
Whoever has the keys can ask whether a given address is meant, and nobody can read an address out of a hash.
"""

from __future__ import annotations

import base64
import hmac
from functools import lru_cache

from bounceparse.verp import Key, Keyring

PREFIX = "hash:"
_BYTES = 20


def hashed_subject(keyring: Keyring, key: str) -> str | None:
    """What stands for the address of this key (``db.types.stored_key``); None without keys, and for what is no address.

    A domain (``@example.com``) names nobody and is never hashed.
    """
    secret = hashing_key(keyring)
    if secret is None or key.startswith(("@", PREFIX)):
        return None
    digest = hmac.digest(_derived(secret.secret), key.encode("utf-8", "replace"), "sha256")[:_BYTES]
    return PREFIX + base64.b32encode(digest).decode("ascii").lower()


def hashing_key(keyring: Keyring) -> Key | None:
    """The key that hashes."""
    return keyring.hashing or (keyring.keys[0] if keyring.keys else None)


def is_hashed(subject: str) -> bool:
    """Whether a subject is such a hash."""
    return subject.startswith(PREFIX) and "@" not in subject


@lru_cache(maxsize=8)
def _derived(secret: bytes) -> bytes:
    return hmac.digest(secret, b"bounceparse hashed address 1", "sha256")

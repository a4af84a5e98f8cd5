"""Signatures of events, as the specification Standard Webhooks has them (HMAC-SHA256, scheme ``v1``)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Sequence

from bounceparse.errors import ConfigError

_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64


def new_secret() -> str:
    """A secret of 256 random bits, as both sides are given it."""
    return _PREFIX + base64.b64encode(os.urandom(32)).decode()


def read_secret(text: str) -> bytes:
    """The key of a secret ``whsec_BASE64`` of 24 to 64 bytes; raises ``ConfigError`` for anything else."""
    if text.startswith(_PREFIX):
        try:
            given = text.removeprefix(_PREFIX).rstrip("=")
            key = base64.b64decode(given + "=" * (-len(given) % 4), validate=True)
        except binascii.Error:
            key = b""
        if _SHORTEST <= len(key) <= _LONGEST:
            return key
    raise ConfigError("no secret: write whsec_ and 24 to 64 bytes in base64, as `bounceparse webhooks secret` makes it")


def sign(keys: Sequence[bytes], event_id: str, seconds: int, body: bytes) -> str:
    """The value of ``webhook-signature``: one signature a key, so that a receiver may know the old key or the new one."""
    signed = f"{event_id}.{seconds}.".encode() + body
    made = (base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys)
    return " ".join(f"v1,{one}" for one in made)

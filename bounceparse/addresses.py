"""Mail addresses: cleaning what reports write, and the key under which an address is known (RFC 5321, 6531, 6533).

Two spellings matter: the one received, kept for people, and the *address key* (NFC, local part lower-cased, domain as
lower-case A-label), under which ledger, standing, imports and hashes meet.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from bounceparse.lazy import pattern

# Deliberately wider than RFC 5321: reports name addresses that no server would take, and that is why they bounced.
_LOCAL_STOP = pattern(
    r"[\s<>()\[\]\\,;:@\"\x00-\x1f\u3001\u3002\u3008-\u3011\uff08\uff09\uff0c\uff1a\uff1b«»“”„]"
)  # what ends an unquoted local part, read from the right
_QUOTED_LOCAL = pattern(r"\"(?:[^\"\\\n]|\\.){0,64}\"\Z")
_DOMAIN = pattern(r"\[[\w.:]{1,80}\]|[\w-]{1,63}(?:\.[\w-]{1,63}){0,30}\.?")
_CONTROL = pattern(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")  # no part of any address, and a database takes no NUL
_LOCAL_CAP = 256
_MANY = 100
_PLAIN = pattern(
    r"\s*+(?:(?:rfc822|RFC822)\s*+;\s*+)?+<?([\w.+=-]{1,128}+)@([A-Za-z0-9.-]{1,255}[A-Za-z0-9])>?\s*+", re.ASCII
)
_UNITEXT = pattern(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_XTEXT = pattern(r"\+([0-9A-Fa-f]{2})")
_PLACEHOLDERS = frozenset(
    [
        "redacted",
        "hashed",
        "removed",
        "undisclosed",
        "nobody",
        "unknown-recipient",
        "recipient-address-suppressed",
        "blocked-by-mailer-daemon",
    ]
)


def find_addresses(text: str) -> list[str]:
    """The addresses that stand in running text, cleaned, in order, each once."""
    short = text.count("@") == 1 and ("<" in text or _PLAIN.fullmatch(text))
    if short and (single := clean_address(text)) and "@" in single:
        return [single]
    return list(dict.fromkeys(cleaned for _, found in _scan(text[:65_536]) if (cleaned := clean_address(found))))


def place_of(address: str, text: str) -> int:
    """Where ``address`` stands in ``text`` first, -1 for nowhere; a text of many addresses is gone through once for all."""
    places = _places(text) if "@" in address else None
    return text.find(address) if places is None else places.get(address, -1)


@lru_cache(maxsize=2)
def _places(text: str) -> dict[str, int] | None:
    """What looks like an address in ``text``, as it is spelled there, and where it stands first; None for few."""
    if text.count("@") <= _MANY:
        return None
    places: dict[str, int] = {}
    for at, address in _scan(text):
        places.setdefault(address.rstrip("."), at)
    return places


def _scan(text: str) -> Iterator[tuple[int, str]]:
    """What looks like an address and where, from each @ outwards: linear, where a pattern over the text would not be."""
    at = text.find("@")
    while at >= 0:
        left = text[max(0, at - _LOCAL_CAP) : at]
        if left.endswith('"'):
            quoted = _QUOTED_LOCAL.search(left[-70:])
            local = quoted[0] if quoted else ""
        else:
            stop = _LOCAL_STOP.search(left[::-1])
            local = left[len(left) - stop.start() :] if stop else left
        domain = _DOMAIN.match(text, at + 1)
        if local and domain:
            yield at - len(local), f"{local}@{domain[0]}"
        at = text.find("@", domain.end() if domain else at + 1)


_OR_NAME = pattern(r"/\w{1,16}=")  # RFC 2156: the attributes of an X.400 name, which may have spaces


def clean_address(value: str | None) -> str | None:
    """The address in a field's or a line's value, domain lower-cased; None where there is none.

    Undoes what reports wrap around it: a type (``rfc822;``), angle brackets, quotes, a comment, a display name, a
    source route, ``utf-8`` escapes of RFC 6533 section 3, ``mailto:``. A bare local part is kept (Mailman, Exchange).
    """
    if not value:
        return None
    if plain := _PLAIN.fullmatch(value):  # what nearly all fields hold
        local, domain = plain.groups()
        return f"{local}@{domain.lower()}"
    value = _unwrap(_untype(value[:2000]))
    if not value.isprintable():
        value = _CONTROL.sub("", value)
    if not value or len(value) > 1000:
        return None
    local, at, domain = value.rpartition("@")
    if not at:
        return value if " " not in value or _OR_NAME.match(value) else None
    if " " in value and not local.startswith('"'):
        bare = next(_scan(value), None)
        if bare is None:
            return None
        local, _, domain = bare[1].rpartition("@")
    domain = domain.rstrip(".").lower()
    return f"{local}@{domain}" if local and domain else None


def _untype(value: str) -> str:
    """``value`` without an address type in front of it, RFC 6533's escapes undone."""
    kind, semicolon, rest = value.partition(";")
    if not semicolon or "@" in kind or "<" in kind:
        return value
    return _UNITEXT.sub(_unescape, rest) if kind.strip().lower() == "utf-8" and "\\x{" in rest else rest


def _unwrap(value: str) -> str:
    """What stands inside angle brackets, quotes, a comment's neighbourhood, a scheme or a source route."""
    value = value.strip()
    if "<" in value:
        inner = value[value.rfind("<") + 1 :] if value.count("<") == 1 else value[value.find("<") + 1 :].lstrip("<")
        value = inner.partition(">")[0] or value.partition("<")[0]
    elif "(" in value and (bare := next(_scan(value), None)):
        value = bare[1]
    value = value.strip().strip("<>,;") if value.startswith('"') else value.strip().strip("'\"`<>,;").strip()
    for prefix in ("mailto:", "smtp:"):  # SMTP: is Exchange's address type
        if value[: len(prefix)].lower() == prefix:
            value = value[len(prefix) :]
    if value.startswith("@") and ":" in value:  # a source route: @relay.example:jan@example.pl
        value = value.rpartition(":")[2]
    return value


def _unescape(found: re.Match[str]) -> str:
    point = int(found[1], 16)
    return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else found[0]


def decode_xtext(value: str) -> str:
    """``value`` with xtext (RFC 3461 section 4) undone; a ``+`` that begins no hex pair stays."""
    return _XTEXT.sub(lambda found: chr(int(found[1], 16)), value) if "+" in value else value


def is_nobody(address: str | None) -> bool:
    """Whether an address is none: empty, ``*.invalid`` (RFC 2606) or "undisclosed recipients"."""
    if not address:
        return True
    lower = address.lower()
    if "invalid" not in lower and "undisclosed" not in lower:
        return False
    local, _, domain = lower.rpartition("@")
    return domain == "invalid" or domain.endswith(".invalid") or "undisclosed" in (local or domain)


def is_placeholder(address: str | None) -> bool:
    """Whether an address only stands in for one that was masked: redacted, hashed, or is none at all."""
    if not address or is_nobody(address):
        return True
    local, at, _ = address.lower().rpartition("@")
    local = local if at else address.lower()
    return (
        local in _PLACEHOLDERS
        or (len(local) > 0 and not local.strip("x") and (len(local) > 1 or not at))
        or not local.strip("*")
    )


def address_key(address: str) -> str:
    """The key of an address: NFC, local part lower-cased, domain as lower-case A-label (design: address key)."""
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return unicodedata.normalize("NFC", domain).lower()
    if address.isascii():
        return f"{local}@{domain}".lower()
    return f"{unicodedata.normalize('NFC', local).lower()}@{domain_key(domain)}"


def domain_key(domain: str) -> str:
    """A domain as lower-case A-label (RFC 5890); as lower-case text where IDNA has no form for it."""
    domain = unicodedata.normalize("NFC", domain).rstrip(".").lower()
    if domain.isascii():
        return domain
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        return domain

"""Where a text or a raw message names an address, in any of the spellings that mail and URLs give it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable

from bounceparse.addresses import address_key

_BEFORE = r"(?:(?<![\w.+-])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f]{2}))"
"""What precedes an address: nothing that could belong to a longer one, but escapes of JSON and URLs may."""
_AFTER = r"(?![\w-]|\.\w)"
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{40,}\r?\n)*[A-Za-z0-9+/]{20,}={0,2}")
_LONGEST_BLOCK = 4_000_000


class Mentions:
    """Finds one address. ``forms`` are what a database is asked for, ``locals`` what each of them holds, which is quicker
    to ask first; :meth:`replace` and :meth:`stands_in` decide.
    """

    def __init__(self, address: str) -> None:
        plain, embedded = _forms([address, address_key(address)])
        self.forms = sorted({one.lower() for form in plain + embedded for one in (form, _in_json(form))})
        local = address_key(address).rpartition("@")[0]
        self.locals = sorted({local, _in_json(local), address.strip().rpartition("@")[0].lower()})
        either = "|".join(re.escape(form) for form in _each(plain))
        inside = "|".join(re.escape(form) for form in _each(embedded))
        self._pattern = re.compile(rf"{_BEFORE}(?:{either}){_AFTER}|(?<!\w)(?:{inside})(?!\w)", re.IGNORECASE)
        self._bytes = [form.encode() for form in self.forms]

    def replace(self, text: str, by: str) -> str:
        """``text`` with the address replaced wherever it stands."""
        return self._pattern.sub(by, text)

    def stands_in(self, raw: bytes) -> bool:
        """Whether a message names the address, also under quoted-printable or base64."""
        return any(self._names(text) for text in _readings(raw))

    def _names(self, raw: bytes) -> bool:
        lowered = raw.lower()
        if not any(form in lowered for form in self._bytes):
            return False
        return self._pattern.search(raw.decode("utf-8", "replace")) is not None


def _forms(addresses: Iterable[str]) -> tuple[list[str], list[str]]:
    """The spellings of an address as such, and those in which identifiers carry it (VERP, SRS, URLs, xtext)."""
    plain: dict[str, None] = {}
    embedded: dict[str, None] = {}
    for address in addresses:
        local, at, domain = address.strip().rpartition("@")
        for one in _domain_forms(domain):
            plain[f"{local}{at}{one}"] = None
            for form in (
                f"{local}={one}",
                f"{one}={local}",
                f"{local}%40{one}",
                f"{local}+40{one}",
                f"{local}=40{one}",
            ):
                embedded[form] = None
    return list(plain), list(embedded)


def _domain_forms(domain: str) -> list[str]:
    """A domain as it is, and as U-label where it is an A-label."""
    if "xn--" not in domain.lower():
        return [domain]
    import idna

    try:
        return [domain, idna.decode(domain)]
    except idna.IDNAError:
        return [domain]


def _each(forms: Iterable[str]) -> list[str]:
    """The forms and their escapes in JSON, the longest first."""
    return sorted({one for form in forms for one in (form, _in_json(form))}, key=len, reverse=True)


def _in_json(form: str) -> str:
    return json.dumps(form)[1:-1]


def _readings(raw: bytes) -> Iterable[bytes]:
    """A message as it is, with quoted-printable undone, and what its base64 holds."""
    yield raw
    if b"=40" in raw or b"=\n" in raw or b"=\r\n" in raw:
        yield raw.replace(b"=\r\n", b"").replace(b"=\n", b"").replace(b"=40", b"@")
    for found in _BASE64.finditer(raw):
        block = b"".join(found[0].split())[:_LONGEST_BLOCK]
        try:
            yield base64.b64decode(block[: len(block) // 4 * 4])
        except binascii.Error:
            continue

"""Bytes and markup -> text: charsets, encoded-words (RFC 2047), base64, HTML. Damage costs only what it touches."""

from __future__ import annotations

import binascii
import codecs
import re
from typing import Any

from bounceparse.lazy import pattern

_WORD = pattern(r"=\?([\w.:+-]{1,40})(?:\*[\w-]*)?\?([bBqQ])\?([^?]*)\?=(\s+(?==\?))?", re.ASCII)
# Codecs that are no charsets: quadratic, escaping or not text.
_NO_CHARSETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined"})
_ASCII_CHARSETS = frozenset(("us-ascii", "utf-8", "UTF-8", "US-ASCII", "iso-8859-1", "ISO-8859-1", "windows-1252"))
_CHARSET_ALIASES = {
    "unicode-1-1-utf-7": "utf-7",  # Exchange 2000 and Hotmail of its time
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "x-sjis": "cp932",
    "shift_jis": "cp932",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "ks_c_5601-1987": "cp949",
    "iso-8859-1": "cp1252",
    "us-ascii": "",
    "ascii": "",
    "unknown-8bit": "",
    "x-unknown": "",
    "ansi_x3.4-1968": "",
}


def collapse(text: str) -> str:
    """``text`` with each run of white space turned into one space and the ends stripped."""
    return " ".join(text.split())


def decode_bytes(raw: bytes, charset: str = "") -> str:
    """Text of ``raw``: by ``charset`` where it is known, else as UTF-8, ISO-2022-JP or Windows-1252, whichever fits."""
    if raw.isascii() and (not charset or charset in _ASCII_CHARSETS) and b"\x1b$" not in raw:
        return raw.decode("ascii")
    charset = charset.strip("'\" ").lower()
    charset = _CHARSET_ALIASES.get(charset, charset)
    if charset and charset not in _NO_CHARSETS:
        try:
            name = codecs.lookup(charset).name
            if name not in _NO_CHARSETS:
                text = raw.decode(charset, "replace")
                return whole(text) if name == "utf-7" else text  # the only one that yields lone surrogates
        except (LookupError, ValueError, UnicodeError):
            pass
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")
    if "\x1b$" in text:  # ISO-2022-JP is pure ASCII on the wire: Domino writes it unlabelled
        return raw.decode("iso2022_jp", "replace")
    return text


def whole(text: str) -> str:
    """``text`` with U+FFFD for each lone surrogate, which neither UTF-8 nor a database can hold; pairs are joined."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def whole_json(value: Any) -> Any:
    """What JSON was read to, with every string as :func:`whole` makes it and no NUL: ``\\u`` may write either."""
    if isinstance(value, str):
        return whole(value).replace("\x00", "")
    if isinstance(value, list):
        return [whole_json(one) for one in value]
    if isinstance(value, dict):
        return {whole_json(name): whole_json(one) for name, one in value.items()}
    return value


def decode_words(value: str) -> str:
    """``value`` with its encoded-words (RFC 2047) decoded; malformed ones stay as they are."""
    if "=?" not in value:
        return value
    out: list[str] = []
    at = 0
    held: tuple[str, bytes] | None = (
        None  # adjacent words of one charset are joined before decoding: bytes may be split
    )
    for word in _WORD.finditer(value):
        if held and word.start() > at:
            out.append(decode_bytes(held[1], held[0]))
            held = None
        out.append(value[at : word.start()])
        raw = _word_bytes(word[2], word[3])
        if held and held[0] == word[1]:
            held = (held[0], held[1] + raw)
        else:
            if held:
                out.append(decode_bytes(held[1], held[0]))
            held = (word[1], raw)
        at = word.end()
    if held:
        out.append(decode_bytes(held[1], held[0]))
    out.append(value[at:])
    return "".join(out)


def _word_bytes(encoding: str, payload: str) -> bytes:
    raw = payload.encode("utf-8", "replace")
    if encoding in "qQ":
        return binascii.a2b_qp(raw.replace(b"_", b" "))
    return decode_base64(raw)


def decode_base64(raw: bytes) -> bytes:
    """Decoded base64, as much of it as there is: damage and missing padding cost only what they touch."""
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", raw.partition(b"=")[0] if raw.rstrip().endswith(b"=") else raw)
    try:
        return binascii.a2b_base64(clean[: len(clean) // 4 * 4] + _padded(clean[len(clean) // 4 * 4 :]))
    except binascii.Error:
        return b""


def _padded(tail: bytes) -> bytes:
    return tail + b"=" * (4 - len(tail)) if len(tail) > 1 else b""


def html_to_text(markup: str) -> str:
    """The readable text of HTML: tags dropped, blocks on lines of their own, entities resolved, scripts left out."""
    for name in ("style", "script", "head", "title"):
        markup = _without_element(markup, name)
    markup = _COMMENT_START.sub(" ", markup) if "<!--" in markup and "-->" not in markup else _without_comments(markup)
    markup = _BLOCK_TAG.sub("\n", _single_spaced(markup))
    text = _TAG.sub(" ", markup)
    if "&" in text:
        from html import unescape

        text = unescape(text)
    return text.replace("\xa0", " ")


_COMMENT_START = pattern("<!--")
_BLOCK_TAG = pattern(r"</?(?:br|p|div|tr|li|h[1-6]|table|pre|blockquote|ul|ol|hr)\b[^<>]*>", re.IGNORECASE)
_TAG = pattern(r"<[a-zA-Z/!?][^<>]*>")


def _single_spaced(markup: str) -> str:
    """``markup`` with each run of white space turned into one space, those at the ends too."""
    before, behind = " " * markup[:1].isspace(), " " * markup[-1:].isspace()
    text = " ".join(markup.split())
    return f"{before}{text}{behind}" if text else before


def _without_comments(markup: str) -> str:
    out, at = [], 0
    while (begin := markup.find("<!--", at)) >= 0 and (end := markup.find("-->", begin)) >= 0:
        out.append(markup[at:begin])
        at = end + 3
    out.append(markup[at:])
    return "".join(out)


def _without_element(markup: str, name: str) -> str:
    lower, out, at = markup.lower(), [], 0
    if len(lower) != len(markup):  # a letter whose lower case is longer would shift every offset
        lower = markup
    while (begin := lower.find("<" + name, at)) >= 0 and (end := lower.find("</" + name, begin)) >= 0:
        out.append(markup[at:begin])
        closed = lower.find(">", end)
        at = closed + 1 if closed >= 0 else len(markup)
    out.append(markup[at:])
    return "".join(out)

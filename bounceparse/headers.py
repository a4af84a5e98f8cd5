"""Header blocks in bytes -> fields as text (RFC 5322 section 2.2, RFC 2047), found when somebody asks for one.

A block is lower-cased once and searched with ``bytes.find``; only the field that is asked for is unfolded and decoded.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bounceparse.decoding import collapse, decode_bytes, decode_words
from bounceparse.lazy import dataclass, pattern


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds for what one message may cost; what lies beyond is not read and noted as a defect.

    Attributes (bytes where nothing else is said): ``size`` of the whole message, ``header`` of one header block,
    ``text`` of one decoded text, ``depth`` of nested parts, ``parts`` in number, ``recipients`` in number.
    """

    size: int = 32_000_000
    header: int = 262_144
    text: int = 65_536
    depth: int = 16
    parts: int = 400
    recipients: int = 10_000


_VALUE_CAP = 16_384  # of one header field that is decoded
_LONG = 1_000_000  # characters
_CONTINUES = (b" ", b"\t")  # a space or a tab folds a header field (RFC 5322 section 2.2.3)
# What a header block mostly begins with: told without a pattern
USUAL_FIRST = (b"Content-Type:", b"Content-Description:", b"Return-Path:", b"Received:", b"From:", b"Date:")
MBOX_LINES = (b"From ", b">From ", b'"From ')  # what an mbox puts on top
FIELD_LINE = pattern(rb"[!-9;-~]+[ \t]*:")
ENCODED = ("base64", "quoted-printable")
_ENCODING = pattern(rb"\ncontent-transfer-encoding:([^\n]*(?:\n[ \t][^\n]*)*)")
_TYPE = pattern(rb"\s*([\w!#$&^.+-]+/[\w!#$&^.+-]+)", re.ASCII)
# A logical line: a field's name and colon, or nothing, then the rest with its indented continuation lines.
_LOGICAL = pattern(r"(?:([A-Za-z][!-9;-~]*)[ \t]*:(?!//))?([^\n]*(?:\n[ \t][^\n]*)*)\n?", re.ASCII)


def parse_fields(text: str) -> list[tuple[str, str]]:
    """Header-style fields of one block of text: (lower-case name, unfolded value) in order.

    A line that is no field and is not indented continues the field above it: MessageLabs and nullmailer do not indent
    the following lines of a multi-line Diagnostic-Code.
    """
    fields: list[tuple[str, str]] = []
    if "\x00" in text:
        text = text.replace("\x00", "")
    # what is long has many lines, which need not all be there at once
    lines = _LOGICAL.findall(text) if len(text) < _LONG else (found.groups("") for found in _LOGICAL.finditer(text))
    for name, value in lines:
        value = value[:_VALUE_CAP].strip()
        if "\n" in value:
            value = collapse(value)
        if name:
            fields.append((name.lower(), value))
        elif value and fields:
            last, before = fields[-1]
            if len(before) < _VALUE_CAP:
                fields[-1] = (last, f"{before} {value}" if before else value)
    return fields


_TYPES: dict[bytes, str] = {}


def _media_type(raw: bytes) -> str:
    """A media type in lower case; the few that occur are remembered, a hostile sender's many are not."""
    name = raw.lower().decode("ascii")
    if len(_TYPES) < 256:
        _TYPES[raw] = name
    return name


def find_type(head: bytes, buffer: bytes, start: int, end: int) -> str | None:
    """The media type that a lower-case header block names; ``start`` is where it stands in ``buffer``. None without one."""
    at = head.find(b"\ncontent-type:")
    if at < 0:
        return None
    semicolon = head.find(b";", at + 14, at + 60)
    kind = _TYPES.get(head[at + 14 : semicolon].strip()) if semicolon > 0 else None
    if kind is None:
        # the buffer has not the newline that the block begins with: hence 13, not 14
        found = _TYPE.match(buffer, start + at + 13, end)
        kind = (_TYPES.get(found[1]) or _media_type(found[1])) if found else None
    return kind


class Head(NamedTuple):
    """A short header block: in lower case, its media type, its transfer encoding.

    ``plain``: whether the text below it stands as it is, which of an attachment is not said.
    """

    lower: bytes
    kind: str | None
    encoding: str
    plain: bool


_SHORT_HEAD = 400  # bytes
MOST_HEADS = 1000
HEADS: dict[bytes, Head] = {}
NO_HEAD = Head(b"\n", None, "", True)


def read_head(written: bytes) -> Head | None:
    """The header block ``written``; None for what is no such block.

    Each mail system writes the headers of its parts in its own unchanging way, so they are remembered.
    """
    if not written.startswith(USUAL_FIRST) and (written.startswith(MBOX_LINES) or not FIELD_LINE.match(written)):
        return None
    lower = b"\n" + written.lower() + b"\n"
    at = lower.find(b"\ncontent-type:")
    found = _TYPE.match(lower, at + 14) if at >= 0 else None
    if found is None and at >= 0:
        return None  # perhaps a blank line was put behind its colon
    encoded = _ENCODING.search(lower)
    if len(HEADS) >= MOST_HEADS:
        HEADS.clear()
    encoding = encoded[1].strip().decode("ascii", "replace") if encoded else ""
    odd = encoding in ENCODED or b"attachment" in lower or b"tf-7" in lower or b"utf7" in lower
    head = HEADS[written] = Head(lower, found[1].decode("ascii") if found else None, encoding, not odd)
    return head


_KEYS: dict[str, bytes] = {}


def _key(name: str) -> bytes:
    """What to look for in a lower-case header block; the names asked for are the program's own, hence few."""
    return _KEYS.setdefault(name, b"\n" + name.encode() + b":")


class Reading:
    """What the parts of one message share while it is read: the limits, the defects found, the number of parts."""

    __slots__ = ("defects", "limits", "own_header", "parts", "short")

    def __init__(self, limits: Limits, own_header: str | None) -> None:
        self.limits, self.own_header = limits, own_header
        self.defects: list[str] = []
        self.parts = 0
        self.short = _SHORT_HEAD if limits.header > _SHORT_HEAD else limits.header

    def note(self, defect: str) -> None:
        """Record a defect, once."""
        if defect not in self.defects:
            self.defects.append(defect)

    def count_part(self) -> bool:
        """Count one more part; False (and a defect) when there are too many."""
        self.parts += 1
        if self.parts > self.limits.parts:
            self.note("too-many-parts")
            return False
        return True


class Fields:
    """A header block: a slice of a buffer whose line ends are LF; ``reading`` is what it shares with its message."""

    __slots__ = ("_head", "buffer", "reading", "start")

    def __init__(self, buffer: bytes, start: int, end: int, reading: Reading) -> None:
        self.buffer, self.start, self.reading = buffer, start, reading
        self._head = b"\n" + buffer[start:end].lower()

    def _span(self, name: str, at: int = 0) -> tuple[int, int] | None:
        """Offsets into ``_head`` of the value of the next field called ``name`` (lower case) from ``at`` on."""
        head = self._head
        key = _KEYS.get(name) or _key(name)
        at = head.find(key, at)
        if at < 0:
            return None
        begin = at + len(key)
        stop = head.find(b"\n", begin)
        while stop >= 0 and head.startswith(_CONTINUES, stop + 1):
            stop = head.find(b"\n", stop + 1)
        return begin, stop if stop >= 0 else len(head)

    def raw(self, name: str) -> bytes | None:
        """The first field called ``name`` (given in lower case) as bytes, folding kept; None where there is none."""
        span = self._span(name)
        # _head carries one newline that the buffer has not
        return None if span is None else self.buffer[self.start + span[0] - 1 : self.start + span[1] - 1]

    def get(self, name: str) -> str | None:
        """The first field called ``name`` (lower case): unfolded, encoded-words decoded, white space collapsed."""
        head = self._head
        key = _KEYS.get(name) or _key(name)
        at = head.find(key)
        if at < 0:
            return None
        begin = at + len(key)
        stop = head.find(b"\n", begin)
        if stop < 0 or head.startswith(_CONTINUES, stop + 1):
            raw = self.raw(name) or b""
        else:  # a field on one line: what nearly all are
            shift = self.start - 1
            raw = self.buffer[shift + begin : shift + stop]
        if raw.isascii():
            text = raw.decode("ascii")
            if text.isprintable() and "?" not in text and len(text) < _VALUE_CAP:  # nothing to decode or to unfold
                return " ".join(text.split()) if "  " in text else text.strip(" ")
        return _decode_field(raw)

    def line(self, name: str) -> str | None:
        """The whole first field called ``name`` as it is spelled, its name included, decoded as :meth:`get` does."""
        span = self._span(name)
        if span is None:
            return None
        begin = self.start + span[0] - 2 - len(name)
        return _decode_field(self.buffer[begin : self.start + span[1] - 1])

    def get_all(self, name: str, most: int = 50) -> list[str]:
        """All fields called ``name`` in order, as :meth:`get` gives them; at most ``most``."""
        values: list[str] = []
        at = 0
        while len(values) < most and (span := self._span(name, at)):
            values.append(_decode_field(self.buffer[self.start + span[0] - 1 : self.start + span[1] - 1]))
            at = span[1]
        return values

    def has(self, name: str) -> bool:
        """Whether there is a field called ``name`` (lower case)."""
        return (_KEYS.get(name) or _key(name)) in self._head

    def header_text(self) -> str:
        """The header block as text, folding kept, as it was spelled."""
        return decode_bytes(self.buffer[self.start : self.start + len(self._head) - 1])

    @property
    def lower_head(self) -> bytes:
        """The header block in lower case with a newline before its first field: for cheap tests by substring."""
        return self._head


def usual_fields(buffer: bytes, start: int, end: int, reading: Reading) -> Fields | None:
    """The header block at ``start`` of a message that ends at ``end``, None where anything about it is odd."""
    blank = buffer.find(b"\n\n", start, end)
    stop = blank + 1 if blank >= 0 else end
    if stop - start > reading.limits.header:
        return None
    if not buffer.startswith(USUAL_FIRST, start) and (
        buffer.startswith(MBOX_LINES, start) or not FIELD_LINE.match(buffer, start, min(end, start + 1000))
    ):
        return None
    return Fields(buffer, start, stop, reading)


def _is_plain(raw: bytes) -> bool:
    """Whether bytes are text as they stand: no encoded-word, no NUL, no ISO-2022-JP, nothing but ASCII."""
    # one byte is looked for much faster than two: hence the first "?"
    return raw.isascii() and (b"?" not in raw or b"=?" not in raw) and b"\x1b" not in raw and b"\x00" not in raw


def _decode_field(raw: bytes) -> str:
    if len(raw) < _VALUE_CAP and _is_plain(raw):
        return " ".join(raw.decode("ascii").split())  # what nearly all fields are
    value = decode_bytes(raw[:_VALUE_CAP])
    if "\n" in value:  # folding before encoded-words must go first: RFC 2047 section 2
        value = " ".join(value.split())
    return collapse(decode_words(value).replace("\x00", ""))

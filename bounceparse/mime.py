"""bytes -> :class:`Mail`: header fields, parts and texts, cut from the bytes only when somebody asks (RFC 5322, 2045-2047).

Parsing is the cost of the whole product, so nothing is decoded before a reader wants it: the header block is lower-cased
once and searched with ``bytes.find``, parts are offsets into one buffer, bodies are decoded on demand. Everything answers
for any bytes: limits and malformations become slugs in ``Mail.defects``, never exceptions.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from bounceparse.decoding import collapse, decode_base64, decode_bytes, decode_words, html_to_text
from bounceparse.lazy import dataclass, pattern

if TYPE_CHECKING:
    from email.message import Message

__all__ = [
    "Entity",
    "Limits",
    "Mail",
    "collapse",
    "decode_bytes",
    "decode_words",
    "html_to_text",
    "parse_fields",
    "report_key",
]


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


_USUAL = Limits()
_VALUE_CAP = 16_384  # of one header field that is decoded
_LONG = 1_000_000  # characters
_BLANK = pattern(rb"[\n \t\r]*")
_LONE_CR = pattern(rb"\r(?!\n)")
_CONTINUES = (b" ", b"\t")  # a space or a tab folds a header field (RFC 5322 section 2.2.3)
# What a header block mostly begins with: told without a pattern
_USUAL_FIRST = (b"Content-Type:", b"Content-Description:", b"Return-Path:", b"Received:", b"From:", b"Date:")
ENCODED = ("base64", "quoted-printable")
_MBOX_LINES = (b"From ", b">From ", b'"From ')  # what an mbox puts on top
_ENCODING = pattern(rb"\ncontent-transfer-encoding:([^\n]*(?:\n[ \t][^\n]*)*)")
_FIELD_LINE = pattern(rb"[!-9;-~]+[ \t]*:")
_TYPE = pattern(rb"\s*([\w!#$&^.+-]+/[\w!#$&^.+-]+)", re.ASCII)
_PARAM = pattern(r';\s*([^\s=;"]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))', re.DOTALL)
_PLAIN_BOUNDARY = pattern(
    rb'[\s\w/.+-]{1,99}(?:;\s*(?!boundary)[\w-]{1,64}\s*=\s*(?:[^\s;"]{0,99}|"[^"\\]{0,99}")\s*){0,9};\s*boundary\s*=\s*(?:"([^"\\\n\x80-\xff]+)"|([!#-:<-~]+))\s*(?:;|\Z)',
    re.IGNORECASE | re.ASCII,
)
# What follows a boundary on its line; anything else makes it the beginning of a longer, inner one.
_BOUNDARY_END = pattern(rb"--|[ \t\r]*(?:\n|\Z)")
_BOUNDARY_USUALLY_ENDS = (b"\n", b"--")
_BOUNDARY_GUESS = pattern(rb"^--([^\n]{1,200})\n(?=content-)", re.IGNORECASE | re.MULTILINE)
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


def _end_of_blank(buffer: bytes, begin: int, end: int) -> int:
    """Where the white space that stands at ``begin`` ends."""
    found = _BLANK.match(buffer, begin, end)
    return found.end() if found else begin


_TYPES: dict[bytes, str] = {}


def _media_type(raw: bytes) -> str:
    """A media type in lower case; the few that occur are remembered, a hostile sender's many are not."""
    name = raw.lower().decode("ascii")
    if len(_TYPES) < 256:
        _TYPES[raw] = name
    return name


class Head(NamedTuple):
    """A short header block: in lower case, its media type, its transfer encoding.

    ``plain``: whether the text below it stands as it is, which of an attachment is not said.
    """

    lower: bytes
    kind: str | None
    encoding: str
    plain: bool


_BEFORE_BOUNDARY: set[bytes] = set()  # what stands before the boundary in Content-Type: each system writes its own
_SHORT_HEAD = 400  # bytes
_MOST_HEADS = 1000
_HEADS: dict[bytes, Head] = {}
_NO_HEAD = Head(b"\n", None, "", True)


def _read_head(written: bytes) -> Head | None:
    """The header block ``written``; None for what is no such block.

    Each mail system writes the headers of its parts in its own unchanging way, so they are remembered.
    """
    if not written.startswith(_USUAL_FIRST) and (written.startswith(_MBOX_LINES) or not _FIELD_LINE.match(written)):
        return None
    lower = b"\n" + written.lower() + b"\n"
    at = lower.find(b"\ncontent-type:")
    found = _TYPE.match(lower, at + 14) if at >= 0 else None
    if found is None and at >= 0:
        return None  # perhaps a blank line was put behind its colon
    encoded = _ENCODING.search(lower)
    if len(_HEADS) >= _MOST_HEADS:
        _HEADS.clear()
    encoding = encoded[1].strip().decode("ascii", "replace") if encoded else ""
    odd = encoding in ENCODED or b"attachment" in lower or b"tf-7" in lower or b"utf7" in lower
    head = _HEADS[written] = Head(lower, found[1].decode("ascii") if found else None, encoding, not odd)
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


class Entity(Fields):
    """A message or a part of one: a header block and a body, both slices of one buffer whose line ends are LF.

    ``reading`` is what it shares with all parts of its message, ``content_type`` its media type in lower case.
    """

    __slots__ = (
        "_below",
        "_children",
        "_encoding",
        "_params",
        "body_at",
        "content_type",
        "depth",
        "end",
    )

    def __init__(
        self, buffer: bytes, start: int, end: int, reading: Reading, depth: int, default: str = "text/plain"
    ) -> None:
        self.buffer, self.start, self.end, self.reading, self.depth = buffer, start, end, reading, depth
        self._children: tuple[Entity, ...] | None = None
        self._below: tuple[Entity, ...] | None = None
        self._params: dict[str, str] | None = None
        blank = buffer.find(b"\n\n", start, end)
        if 0 < blank - start <= reading.short:
            written = buffer[start:blank]
            known = _HEADS.get(written) or _read_head(written)
            if known is not None:
                self._head, kind, encoding, _ = known
                self._encoding: str | None = encoding
                self.content_type: str = kind or default
                self.body_at = blank + 2
                return
        self._find_head(blank)
        self._encoding = None
        # the buffer has not the newline that _head begins with: hence 13, not 14
        head = self._head
        at = head.find(b"\ncontent-type:")
        if at < 0:
            self.content_type = default
            return
        semicolon = head.find(b";", at + 14, at + 60)
        kind = _TYPES.get(head[at + 14 : semicolon].strip()) if semicolon > 0 else None
        if kind is None:
            found = _TYPE.match(buffer, self.start + at + 13, end)
            kind = (_TYPES.get(found[1]) or _media_type(found[1])) if found else default
        self.content_type = kind

    def _find_head(self, blank: int) -> None:
        """Set where the header block begins and ends; ``blank`` is where the first blank line stands, if any does."""
        buffer, start, end = self.buffer, self.start, self.end
        if buffer.startswith(_MBOX_LINES, start):
            line_end = buffer.find(b"\n", start, end)
            self.start = start = line_end + 1 if line_end >= 0 else end
            blank = buffer.find(b"\n\n", start, end)
        if not buffer.startswith(_USUAL_FIRST, start) and (
            buffer.startswith(b"\n", start) or not _FIELD_LINE.match(buffer, start, min(end, start + 1000))
        ):
            self.body_at = start + 1 if buffer.startswith(b"\n", start) else start
            self._head = b"\n"
            return
        self.body_at = end if blank < 0 else blank + 2
        stop = self.body_at - 1 if blank >= 0 else end
        limit = self.reading.limits.header
        if stop - start > limit:
            self.reading.note("header-too-long")
            stop = start + limit
        self._head = b"\n" + buffer[start:stop].lower()

    @property
    def params(self) -> dict[str, str]:
        """The parameters of Content-Type by lower-case name, quotes undone."""
        if self._params is None:
            value = decode_bytes((self.raw("content-type") or b"")[:4096])
            params: dict[str, str] = {}
            for name, quoted, bare in _PARAM.findall(value) if ";" in value else ():
                key = name.lower().partition("*")[0]  # RFC 2231 continuations: name*0=, name*1=
                text = quoted.replace("\\", "") if quoted else bare
                params[key] = params.get(key, "") + text if "*" in name else params.get(key, text)
            self._params = params
        return self._params

    @property
    def children(self) -> tuple[Entity, ...]:
        """The parts of a multipart, the message inside a ``message/rfc822``; empty for anything else."""
        if self._children is None:
            kind = self.content_type
            if not kind.startswith(("multipart/", "message/")):
                self._children = ()
            elif self.depth >= self.reading.limits.depth:
                self.reading.note("too-deep")
                self._children = ()
            elif kind in ("message/rfc822", "message/global", "message/news"):
                self._children = self._inner_message()
            else:
                self._children = tuple(self._cut_parts()) if kind.startswith("multipart/") else ()
        return self._children

    def _inner_message(self) -> tuple[Entity, ...]:
        buffer, begin, end = self.buffer, self.body_at, self.end
        if self.has("content-transfer-encoding") and self.encoding in ("base64", "quoted-printable"):
            buffer = self.payload()
            begin, end = 0, len(buffer)
        begin = _end_of_blank(buffer, begin, end)
        if begin < end and self.reading.count_part():
            return (Entity(buffer, begin, end, self.reading, self.depth + 1),)
        return ()

    def _cut_parts(self) -> list[Entity]:
        buffer, end, reading, depth = self.buffer, self.end, self.reading, self.depth + 1
        default = "message/rfc822" if self.content_type == "multipart/digest" else "text/plain"
        parts: list[Entity] = []
        delimiter, at = self._first_delimiter()
        size = len(delimiter)
        find, starts_with = buffer.find, buffer.startswith
        while at >= 0:
            at += size
            if starts_with(b"\n", at, end):
                line_end = at
            elif starts_with(b"--", at) or (line_end := find(b"\n", at, end)) < 0:
                break
            following = find(delimiter, line_end, end)
            while following >= 0 and not (
                starts_with(_BOUNDARY_USUALLY_ENDS, following + size, end)
                or _BOUNDARY_END.match(buffer, following + size, end)
            ):
                following = find(delimiter, following + size, end)
            if line_end == at or buffer[at:line_end].isspace():
                if not reading.count_part():
                    break
                stop = following if following > line_end else (end if following < 0 else line_end + 1)
                parts.append(Entity(buffer, line_end + 1, stop, reading, depth, default))
            at = following
        return parts

    def usual_parts(self) -> list[tuple[int, int, Head]] | None:
        """The parts of a multipart that is written as nearly all are: where each body begins and ends, and its header.

        None where anything is odd, or beyond a limit; :attr:`children` answers for any.
        """
        buffer, end, limits = self.buffer, self.end, self.reading.limits
        boundary = self._boundary()
        if not boundary or self.content_type == "multipart/digest" or self.depth + 3 > limits.depth:
            return None
        parts: list[tuple[int, int, Head]] = []
        delimiter = b"\n--" + boundary
        size, short = len(delimiter), self.reading.short
        find = buffer.find
        at = find(delimiter, self.body_at - 1, end)
        while at >= 0:
            at += size + 1
            if not buffer.startswith(b"\n", at - 1):
                if not buffer.startswith(b"--", at - 1):
                    return None
                break
            following = find(delimiter, at - 1, end)
            stop = following if following >= 0 else end
            blank = find(b"\n\n", at, stop)
            if blank - at > short or blank < at:
                if not buffer.startswith(b"\n", at):
                    return None
                blank = at
            written = buffer[at:blank]
            head = _HEADS.get(written) or _read_head(written)
            if head is not None:
                parts.append((blank + 2, stop, head))
            elif buffer.startswith(b"\n", at):
                parts.append((at + 1, stop, _NO_HEAD))
            else:
                return None
            if len(parts) * 2 > limits.parts:
                return None
            at = following
        return parts

    def _boundary(self) -> bytes:
        """The boundary parameter; read by one pattern where Content-Type is written as nearly all write it."""
        value = self.raw("content-type") or b""
        before, found, behind = value.partition(b'boundary="')
        if found and before in _BEFORE_BOUNDARY:
            boundary, closed, rest = behind.partition(b'"')
            if (
                closed
                and boundary
                and not rest
                and boundary.isascii()
                and b"\\" not in boundary
                and b"\n" not in boundary
            ):
                return boundary.rstrip()
        plain = _PLAIN_BOUNDARY.match(value)
        if plain:
            if len(_BEFORE_BOUNDARY) < _MOST_HEADS and plain.start(1) == len(before) + 10:
                _BEFORE_BOUNDARY.add(before)
            return (plain[1] or plain[2]).rstrip()
        return self.params.get("boundary", "").encode("utf-8", "replace").rstrip()

    def _first_delimiter(self) -> tuple[bytes, int]:
        """The delimiter with the newline before it, and where it first stands; -1 where there is none."""
        buffer, end = self.buffer, self.end
        boundary = self._boundary()
        at = buffer.find(b"\n--" + boundary, max(self.body_at - 1, 0), end) if boundary else -1
        if at >= 0:
            return b"\n--" + boundary, at
        guess = _BOUNDARY_GUESS.search(buffer, self.body_at, min(end, self.body_at + 16_384))
        if guess is None:
            return b"", -1
        self.reading.note("boundary-missing")
        return b"\n--" + guess[1].rstrip(), guess.start() - 1

    def walk(self, *, into_messages: bool = False) -> Iterable[Entity]:
        """This entity and the parts below it, depth first; into enclosed messages only when asked."""
        if into_messages:
            return self._descend(True)
        return (self, *self.below)

    @property
    def below(self) -> tuple[Entity, ...]:
        """The parts below this entity, depth first, enclosed messages whole."""
        if self._below is None:  # of the whole mail many ask
            children = self.children
            for child in children:
                if child.content_type.startswith("multipart/"):
                    self._below = tuple(self._descend(False))[1:]
                    break
            else:
                self._below = children
        return self._below

    def _descend(self, into_messages: bool) -> Iterator[Entity]:
        if not self.content_type.startswith("multipart/") and not into_messages and self.depth:
            yield self
            return
        stack: list[Entity] = [self]
        while stack:
            entity = stack.pop()
            yield entity
            if into_messages or entity is self or not entity.content_type.startswith("message/"):
                stack.extend(reversed(entity.children))

    @property
    def encoding(self) -> str:
        """The Content-Transfer-Encoding in lower case, empty where there is none."""
        if self._encoding is None:
            raw = self.raw("content-transfer-encoding")
            self._encoding = raw.strip().lower().decode("ascii", "replace") if raw else ""
        return self._encoding

    @property
    def is_attachment(self) -> bool:
        """Whether Content-Disposition says so (RFC 2183)."""
        return b"attachment" in (self.raw("content-disposition") or b"").lower()

    def payload(self, most: int | None = None) -> bytes:
        """The body with its transfer encoding undone; ``most`` bounds the encoded bytes that are looked at."""
        end = self.end if most is None else min(self.end, self.body_at + most)
        raw = self.buffer[self.body_at : end]
        encoding = self.encoding
        if encoding == "base64":
            return decode_base64(raw).replace(b"\r\n", b"\n")
        if encoding == "quoted-printable":
            return a2b_qp(raw).replace(b"\r\n", b"\n")
        return raw

    def decode(self, payload: bytes) -> str:
        """``payload`` as text in this part's charset; the parameter is only looked up where it matters."""
        head = self._head  # a "+" is one where the charset is UTF-7
        plain = payload.isascii() and b"\x1b" not in payload and b"tf-7" not in head and b"utf7" not in head
        return payload.decode("ascii") if plain else decode_bytes(payload, self.params.get("charset", ""))

    def plain_text(self) -> str | None:
        """The body where it is the text as it stands, as mostly: plain ASCII without NUL; None where it is not."""
        if self.encoding in ENCODED or b"tf-7" in self._head or b"utf7" in self._head:
            return None
        raw = self.buffer[self.body_at : self.end]
        return raw.decode("ascii") if raw.isascii() and b"\x1b" not in raw and b"\x00" not in raw else None

    def text(self) -> str:
        """The body as text: transfer encoding and charset undone, HTML turned into text, capped at ``limits.text``."""
        cap = self.reading.limits.text
        is_html = self.content_type == "text/html"
        size = self.end - self.body_at
        if size <= cap and not is_html and (plain := self.plain_text()) is not None:
            return plain
        if size > cap * (4 if is_html else 2):
            self.reading.note("text-too-long")
        text = self.decode(self.payload(cap * (4 if is_html else 2)))
        if "\x00" in text:
            text = text.replace("\x00", "")
        return (html_to_text(text) if is_html else text)[:cap]


def usual_fields(buffer: bytes, start: int, end: int, reading: Reading) -> Fields | None:
    """The header block at ``start`` of a message that ends at ``end``, None where anything about it is odd."""
    blank = buffer.find(b"\n\n", start, end)
    stop = blank + 1 if blank >= 0 else end
    if stop - start > reading.limits.header:
        return None
    if not buffer.startswith(_USUAL_FIRST, start) and (
        buffer.startswith(_MBOX_LINES, start) or not _FIELD_LINE.match(buffer, start, min(end, start + 1000))
    ):
        return None
    return Fields(buffer, start, stop, reading)


def usual_text(mail: Entity, part: tuple[int, int, Head]) -> str | None:
    """The text of one of :meth:`Entity.usual_parts`; None where it is empty, long, damaged or not text as it stands."""
    begin, end, head = part
    raw = mail.buffer[begin:end]
    if not raw or not head.plain or end - begin > mail.reading.limits.text or b"\x1b" in raw or b"\x00" in raw:
        return None
    if raw.isascii():
        return raw.decode("ascii")
    return None


class Mail(Entity):
    """A whole message. ``defects`` collects what was wrong with it, each slug once, in order of discovery.

    ``own_header`` names the header by which the sender knows its own messages again, in lower case.
    """

    __slots__ = ("_known", "_readable", "defects", "limits")

    def __init__(self, raw: bytes, limits: Limits = _USUAL, own_header: str | None = None) -> None:
        reading = Reading(limits, own_header)
        self.limits, self.defects = limits, reading.defects
        self._readable: str | None = None
        self._known: dict[str, str | None] = {}
        buffer = bytes(raw)
        if len(buffer) > limits.size:
            buffer = buffer[: limits.size]
            reading.note("truncated")
        if b"\r" in buffer:
            # to drop all CR takes a third of the time of replacing CRLF
            lone = _LONE_CR.search(buffer)
            buffer = buffer.replace(b"\r\n", b"\n") if lone else buffer.replace(b"\r", b"")
            if b"\n" not in buffer:
                buffer = buffer.replace(b"\r", b"\n")
                reading.note("cr-line-ends")
        start = 3 if buffer.startswith(b"\xef\xbb\xbf") else 0  # a byte order mark
        if buffer.startswith((b"\n", b" ", b"\t", b"\r"), start):
            start = _end_of_blank(buffer, start, len(buffer))
        super().__init__(buffer, start, len(buffer), reading, 0)

    def note(self, defect: str) -> None:
        """Record a defect, once."""
        self.reading.note(defect)

    def get(self, name: str) -> str | None:
        """As :meth:`Fields.get`; of the whole message many ask for the same few fields."""
        known = self._known
        if name not in known:
            known[name] = super().get(name)
        return known[name]

    def set_readable(self, text: str) -> None:
        """Tell what :attr:`readable` is, where a reader has found it on its way."""
        self._readable = text

    @property
    def readable(self) -> str:
        """What a person reads: the text parts outside enclosed messages and attachments, capped at ``limits.text``.

        Of alternatives the plain text counts, unless it is empty. Line structure is kept.
        """
        if self._readable is None:
            self._readable = _readable(self)[: self.limits.text]
        return self._readable


def _readable(mail: Mail) -> str:
    parts = [
        part
        for part in mail.below or (mail,)
        if (part.content_type in ("text/plain", "text/html") or part is mail)
        and not (b"attachment" in part.lower_head and part is not mail and part.is_attachment)
    ]
    plain: list[str] = []
    rich: list[str] = []
    if sum([part.end - part.body_at for part in parts]) <= mail.limits.text:  # then none cuts another off
        plain = [part.text() for part in parts if part.content_type != "text/html"]
        rich_parts = parts if not any(text and not text.isspace() for text in plain) else []
        rich = [part.text() for part in rich_parts if part.content_type == "text/html"]
    else:
        size = 0
        for part in parts:
            text = part.text()
            size += len(text)
            (rich if part.content_type == "text/html" else plain).append(text)
            if size > mail.limits.text:
                break
    for text in plain:
        if text and not text.isspace():
            return "\n".join(plain)
    return "\n".join(rich)


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


def to_stdlib(mail: Mail, most: int) -> Message | None:
    """``mail`` parsed by the standard library, cut after ``most`` bytes, for those who want its type; None if it gives up."""
    from email import message_from_bytes

    try:
        return message_from_bytes(mail.buffer[mail.start : mail.start + most])
    except Exception:  # the parser has a history of tripping over malformed headers
        return None


def report_key(mail: Mail) -> bytes:
    """SHA-256 over From, Date, Message-ID and the body, line ends left out (design: Keys).

    Nothing that a store or another route adds enters it. Besides line ends, NUL and 0x80 are left out: Dovecot turns
    the one into the other when it hands out a message.
    """
    from hashlib import sha256

    digest = sha256()
    for name in ("from", "date", "message-id"):
        digest.update(b"".join((mail.raw(name) or b"").split()).translate(None, _STORE_NOISE) + b"\n")
    digest.update(mail.buffer[mail.body_at :].translate(None, _STORE_NOISE))
    return digest.digest()


_STORE_NOISE = b"\r\n\x00\x80"

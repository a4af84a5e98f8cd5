"""bytes -> :class:`Mail`: header fields, parts and texts, cut from the bytes only when somebody asks (RFC 5322, 2045-2046).

Parsing is the cost of the whole product, so nothing is decoded before a reader wants it: header blocks are searched with
``bytes.find`` (:mod:`bounceparse.headers`), parts are offsets into one buffer, bodies are decoded on demand. Everything
answers for any bytes: limits and malformations become slugs in ``Mail.defects``, never exceptions.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bounceparse.decoding import decode_base64, decode_bytes, html_to_text
from bounceparse.headers import (
    ENCODED,
    FIELD_LINE,
    HEADS,
    MBOX_LINES,
    MOST_HEADS,
    NO_HEAD,
    USUAL_FIRST,
    Fields,
    Head,
    Limits,
    Reading,
    find_type,
    read_head,
)
from bounceparse.lazy import pattern

if TYPE_CHECKING:
    from email.message import Message

_USUAL = Limits()
_BEFORE_BOUNDARY: set[bytes] = set()  # what stands before the boundary in Content-Type: each system writes its own
_BLANK = pattern(rb"[\n \t\r]*")
_LONE_CR = pattern(rb"\r(?!\n)")
_PARAM = pattern(r';\s*([^\s=;"]{1,64})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))', re.DOTALL)
_PLAIN_BOUNDARY = pattern(
    rb'[\s\w/.+-]{1,99}(?:;\s*(?!boundary)[\w-]{1,64}\s*=\s*(?:[^\s;"]{0,99}|"[^"\\]{0,99}")\s*){0,9};\s*boundary\s*=\s*(?:"([^"\\\n\x80-\xff]+)"|([!#-:<-~]+))\s*(?:;|\Z)',
    re.IGNORECASE | re.ASCII,
)
# What follows a boundary on its line; anything else makes it the beginning of a longer, inner one.
_BOUNDARY_END = pattern(rb"--|[ \t\r]*(?:\n|\Z)")
_BOUNDARY_USUALLY_ENDS = (b"\n", b"--")
_BOUNDARY_GUESS = pattern(rb"^--([^\n]{1,200})\n(?=content-)", re.IGNORECASE | re.MULTILINE)


def _end_of_blank(buffer: bytes, begin: int, end: int) -> int:
    """Where the white space that stands at ``begin`` ends."""
    found = _BLANK.match(buffer, begin, end)
    return found.end() if found else begin


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
            known = HEADS.get(written) or read_head(written)
            if known is not None:
                self._head, kind, encoding, _ = known
                self._encoding: str | None = encoding
                self.content_type: str = kind or default
                self.body_at = blank + 2
                return
        self._find_head(blank)
        self._encoding = None
        self.content_type = find_type(self._head, buffer, self.start, end) or default

    def _find_head(self, blank: int) -> None:
        """Set where the header block begins and ends; ``blank`` is where the first blank line stands, if any does."""
        buffer, start, end = self.buffer, self.start, self.end
        if buffer.startswith(MBOX_LINES, start):
            line_end = buffer.find(b"\n", start, end)
            self.start = start = line_end + 1 if line_end >= 0 else end
            blank = buffer.find(b"\n\n", start, end)
        if not buffer.startswith(USUAL_FIRST, start) and (
            buffer.startswith(b"\n", start) or not FIELD_LINE.match(buffer, start, min(end, start + 1000))
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
            head = HEADS.get(written) or read_head(written)
            if head is not None:
                parts.append((blank + 2, stop, head))
            elif buffer.startswith(b"\n", at):
                parts.append((at + 1, stop, NO_HEAD))
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
            if len(_BEFORE_BOUNDARY) < MOST_HEADS and plain.start(1) == len(before) + 10:
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

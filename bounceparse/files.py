"""Paths -> (source, raw message): the one reader of single mails, folders, mbox files, Maildirs and standard input.

* A file holds one message, whatever its name, unless its first line begins with ``From ``: then it is an mbox
  (RFC 4155; ``>From `` quoting is undone), and each line ``From SENDER DATE`` begins a message. Their sources are
  ``path#1``, ``path#2``, ..., or ``path`` when there is only one.
* A folder is read recursively, sorted by path, every regular file; links are not followed. A folder with ``cur`` and
  ``new`` is a Maildir: of its own files only those two folders' are messages; folders inside it that are Maildirs
  follow.
* ``-`` is standard input.

Everything is streamed. Of a message larger than ``most`` bytes only the first ``most`` and one are handed out, so that
its reader can tell that it was cut.
"""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

from bounceparse.errors import InputError
from bounceparse.headers import Limits
from bounceparse.lazy import pattern

__all__ = ["STDIN", "Source", "read_files"]

STDIN = "-"

_CHUNK = 1 << 20
_LINE = 1000  # a longer line begins no message
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK = rb"\d{1,2}:\d\d(?::\d\d)?"
_FROM_LINE = pattern(
    rb"From (?:[^\n]{0,800}? )?(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? +"
    rb"(?:" + _MONTH + rb" +\d{1,2}|\d{1,2} +" + _MONTH + rb")\b,? +"
    rb"(?:" + _CLOCK + rb"(?: [A-Za-z0-9+-]{1,6}){0,2}? \d{4}|\d{4} " + _CLOCK + rb")\b"
)
_QUOTED_FROM = pattern(rb"^>(?=>*From )", re.MULTILINE)


class Source(NamedTuple):
    """One message and where it came from: its path as the input was named, with ``#N`` inside an mbox."""

    source: str
    raw: bytes


def read_files(
    paths: Iterable[str | os.PathLike[str]],
    on_error: Callable[[InputError], None],
    *,
    most: int = Limits().size,
) -> Iterator[Source]:
    """The messages of ``paths`` in order. What cannot be opened or read goes to ``on_error`` and the rest goes on."""
    for path in paths:
        name = os.fspath(path)
        if name == STDIN:
            yield from _read_open(STDIN, sys.stdin.buffer, on_error, most)
            continue
        for file in _files(name, on_error):
            try:
                stream = open(file, "rb", buffering=0)  # noqa: SIM115, PTH123 - closed below, chunks are large
            except OSError as error:
                on_error(_cannot_read(file, error))
                continue
            with stream:
                yield from _read_open(file, stream, on_error, most)


def _files(path: str, on_error: Callable[[InputError], None]) -> Iterator[str]:
    """The files that ``path`` stands for: itself, or those below it, links left out."""
    if not Path(path).is_dir():
        yield path
        return
    folders = [path]
    while folders:
        entry = folders.pop()
        if not stat.S_ISDIR(_mode(entry)) and entry != path:
            yield entry
            continue
        try:
            names = sorted(os.listdir(entry), reverse=True)  # noqa: PTH208 - names, on a stack
        except OSError as error:
            on_error(_cannot_read(entry, error))
            continue
        below = [os.path.join(entry, name) for name in names]  # noqa: PTH118 - keeps the spelling given
        if _is_maildir(entry):
            below = [folder for folder in below if folder.endswith(("/cur", "/new")) or _is_maildir(folder)]
        folders.extend(child for child in below if stat.S_IFMT(_mode(child)) in (stat.S_IFDIR, stat.S_IFREG))


def _is_maildir(path: str) -> bool:
    return all(stat.S_ISDIR(_mode(f"{path}/{name}")) for name in ("cur", "new"))


def _mode(path: str) -> int:
    """The mode of ``path`` itself, a link not followed; 0 where there is none."""
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _cannot_read(path: str, error: OSError) -> InputError:
    return InputError(f"{path}: cannot be read: {error.strerror or error}")


def _read_open(
    name: str, stream: BinaryIO | io.FileIO, on_error: Callable[[InputError], None], most: int
) -> Iterator[Source]:
    try:
        chunks = iter(lambda: stream.read(_CHUNK) or b"", b"")
        head = next(chunks, b"")
        while 0 < len(head) < 5 and (more := next(chunks, b"")):  # a pipe may begin with less than a word
            head += more
        if head.startswith(b"From "):
            yield from _numbered(name, _split_mbox(head, chunks, most))
            return
        message = bytearray(head[: most + 1])
        for chunk in chunks:
            message += chunk[: most + 1 - len(message)]
            if len(message) > most:
                break
        yield Source(name, bytes(message))
    except OSError as error:
        on_error(_cannot_read(name, error))


def _numbered(path: str, messages: Iterator[bytes]) -> Iterator[Source]:
    first = next(messages)
    number = 1
    for message in messages:
        if number == 1:
            yield Source(f"{path}#1", first)
        number += 1
        yield Source(f"{path}#{number}", message)
    if number == 1:
        yield Source(path, first)


def _split_mbox(head: bytes, chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """The messages of an mbox, ``From `` lines and quoting removed, each cut at ``most`` bytes and one."""
    message = bytearray()
    buffer = b""
    for chunk in chain((head,), chunks, (b"",)):
        ended = not chunk
        buffer += chunk
        start = at = 0
        while (found := buffer.find(b"\nFrom ", at)) >= 0:
            if not ended and found + _LINE > len(buffer):
                break  # the line may go on in the next chunk
            at = found + 1
            if _FROM_LINE.match(buffer, at, at + _LINE):
                message += buffer[start : min(at, start + most + 1 - len(message))]
                yield _unquoted(message)
                message.clear()
                start = at
        keep = len(buffer) if ended else found if found >= 0 else max(start, len(buffer) - len(b"\nFrom"))
        message += buffer[start : min(keep, start + max(most + 1 - len(message), 0))]
        buffer = buffer[keep:]
    yield _unquoted(message)


def _unquoted(message: bytearray) -> bytes:
    """A message of an mbox as it was: without its ``From `` line and the empty line after it, quoting undone."""
    line_end = message.find(b"\n")
    raw = bytes(message[line_end + 1 :]) if line_end >= 0 else b""
    if b">From " in raw:
        raw = _QUOTED_FROM.sub(b"", raw)
    for ending in (b"\r\n\r\n", b"\n\n"):
        if raw.endswith(ending):
            return raw[: -len(ending) // 2]
    return raw

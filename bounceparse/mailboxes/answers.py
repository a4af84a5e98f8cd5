"""FETCH answers as imaplib hands them out -> sizes and bodies by UID (RFC 9051 section 7.5.2).

A client library's full parser costs more than everything else that is done with a message, so only the two items that
are asked for are looked for. An answer without them is one that nobody asked for, and is passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bounceparse.lazy import pattern

__all__ = ["bodies", "sizes", "uid_set"]

Answer = Sequence[bytes | tuple[bytes, bytes] | None]
"""imaplib's form: an answer with a literal is a tuple (words before it, literal) and a tail of its own."""

_UID = pattern(rb"[ (]UID (\d{1,10})\b", re.IGNORECASE)
_SIZE = pattern(rb"[ (]RFC822\.SIZE (\d{1,19})\b", re.IGNORECASE)
_BODY_LITERAL = pattern(rb"[ (]BODY\[\](?:<\d+>)? ~?\{\d+\+?\}$", re.IGNORECASE)
_BODY_QUOTED = pattern(rb'[ (]BODY\[\](?:<\d+>)? "((?:[^"\\]|\\.)*)"', re.IGNORECASE)


def uid_set(uids: Iterable[int]) -> str:
    """The shortest sequence-set of exactly these ascending UIDs: ``1:3,7``. A range spans no UID that was not given."""
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and ranges[-1][1] == uid - 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ranges)


def sizes(answer: Answer) -> dict[int, int]:
    """RFC822.SIZE by UID."""
    found: dict[int, int] = {}
    for words in answer:
        if isinstance(words, bytes) and (uid := _UID.search(words)) and (size := _SIZE.search(words)):
            found[int(uid[1])] = int(size[1])
    return found


def bodies(answer: Answer) -> dict[int, bytes]:
    """The bodies by UID. An answer with no body, or with NIL for one, is left out."""
    found: dict[int, bytes] = {}
    body: bytes | None = None  # whose UID is still to come: it may stand after the literal
    for words in answer:
        if isinstance(words, tuple):
            if not _BODY_LITERAL.search(words[0]):
                continue
            if uid := _UID.search(words[0]):
                found[int(uid[1])] = words[1]
            else:
                body = words[1]
        elif words is not None and body is not None:
            if uid := _UID.search(words):
                found[int(uid[1])] = body
            body = None
        elif words is not None and (quoted := _BODY_QUOTED.search(words)) and (uid := _UID.search(words)):
            found[int(uid[1])] = re.sub(rb"\\(.)", rb"\1", quoted[1])
    return found

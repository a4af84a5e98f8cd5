"""Mail -> :class:`OriginalMessage`: what a report tells of the message it is about.

The order is facts: the returned message or headers, the status part's own Message-ID fields, a header block pasted into
the text after a marker, In-Reply-To, References. The body of the returned mail is never searched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from bounceparse.addresses import clean_address, find_addresses
from bounceparse.decoding import collapse
from bounceparse.headers import Fields
from bounceparse.lazy import deferring, pattern
from bounceparse.mime import Entity, Mail
from bounceparse.reports import OriginalMessage

_MESSAGE_TYPES = ("message/rfc822", "message/global", "message/news")
_HEADER_TYPES = (
    "text/rfc822-headers",
    "message/rfc822-headers",
    "message/global-headers",
    "text/rfc822-header",
    "text/rfc822",
)
RETURNED_TYPES = frozenset((*_MESSAGE_TYPES, *_HEADER_TYPES))
_ID = pattern(r"<([^<>\s][^<>]*)>")
# What every outcome tells is read at once
_deferred = deferring(OriginalMessage, "message_id", "message_id_from", "subject", "list_id", "feedback_id")


def clean_message_id(value: str | None) -> str | None:
    """The id in a Message-ID field's value: what stands between the first angle brackets, else the bare word.

    White space inside, left by folding, is dropped. None where nothing usable is left.
    """
    if not value:
        return None
    if value[0] == "<" and value[-1] == ">" and " " not in value and value.count("<") == 1 == value.count(">"):
        text = value[1:-1]  # what nearly all fields hold
        if text.isprintable():
            return text or None
    found = _ID.search(value)
    text = "".join((found[1] if found else value.strip().strip("<>").partition(" ")[0]).split())
    return text or None


def find_returned(container: Entity) -> Entity | None:
    """The entity below ``container`` whose headers are those of the original message: an enclosed message or headers."""
    for entity in container.below:
        if entity.content_type in _MESSAGE_TYPES:
            inner = entity.children
            if inner:
                return inner[0]
        elif entity.content_type in _HEADER_TYPES:
            return headers_as_entity(entity)
    return None


def headers_as_entity(part: Entity) -> Entity:
    """A part that holds a header block (``text/rfc822-headers``) read as the message it belongs to."""
    raw = part.payload()
    raw = raw.lstrip(b"\n \t")
    return Entity(raw, 0, len(raw), part.reading, part.depth + 1)


_HEADER_BLOCK = pattern(r"^[ \t>]*Message-I[Dd][ \t]*:[ \t]*\S", re.MULTILINE | re.IGNORECASE)
_HEADER_LINE = pattern(r"(?:[\w-]+[ \t]*:|[ \t]+\S)", re.ASCII)


def find_in_text(text: str, mail: Mail) -> Entity | None:
    """A block of header fields with a Message-ID that somebody pasted into running text, None where there is none."""
    found = _HEADER_BLOCK.search(text)
    if found is None:
        return None
    begin = found.start()
    for _ in range(60):  # upwards over the lines that look like header fields
        line_start = text.rfind("\n", 0, max(begin - 1, 0)) + 1
        if begin == 0 or not _HEADER_LINE.match(text, line_start, begin):
            break
        begin = line_start
    end = text.find("\n\n", found.end())
    block = text[begin : end if end >= 0 else len(text)]
    return text_as_entity(
        "\n".join(line.lstrip("> ") if line[:1] in "> " and ":" in line[:40] else line for line in block.split("\n")),
        mail,
    )


def text_as_entity(text: str, mail: Mail) -> Entity:
    """A header block that stands in running text (after "--- Below this line is a copy ...") read as a message."""
    raw = text.strip("\n").encode("utf-8", "replace")
    return Entity(raw, 0, len(raw), mail.reading, mail.depth + 1)


def read_original(returned: Fields | None, mail: Mail, status_id: str | None = None) -> OriginalMessage:
    """What ``returned`` (an entity of headers) tells, completed by ``status_id`` and the report's own In-Reply-To.

    ``status_id`` is a Message-ID that the status part itself names (Gmail's X-Original-Message-ID, RFC 8098's
    Original-Message-ID): it wins over the returned headers. What no outcome tells is read when somebody asks for it.
    """
    message_id: str | None
    where: str | None
    if status_id:
        message_id, where = status_id, "status"
    elif returned is not None and (own := clean_message_id(returned.get("message-id"))):
        message_id, where = own, "returned"
    else:
        message_id, where = _find_answered(mail)
    if returned is None:
        return OriginalMessage(message_id, where)
    return _deferred(
        lambda name: _READERS[name](returned),
        message_id,
        where,
        returned.get("subject"),
        _list_id(returned.get("list-id")),
        returned.get("feedback-id"),
    )


def _find_answered(mail: Mail) -> tuple[str | None, str | None]:
    """The id of the message that ``mail`` answers, and the field that tells it."""
    for name in ("x-ms-exchange-parent-message-id", "in-reply-to", "references"):
        value = mail.get(name)
        if value:
            ids = _ID.findall(value)
            message_id = clean_message_id(ids[-1] if ids and name == "references" else value)
            if message_id and "@" in message_id:
                return message_id, name
    return None, None


def _list_id(value: str | None) -> str | None:
    """The identifier of a List-Id field (RFC 2919): what stands in angle brackets, else all of it."""
    if not value:
        return None
    found = _ID.search(value)
    return collapse(found[1] if found else value) or None


def _squeeze(value: str | None) -> str | None:
    """CFBL-Feedback-ID without white space, which is not significant (RFC 9477 section 5)."""
    return "".join(value.split()) if value else None


_ID_CAP = 998  # characters: the longest line of a header (RFC 5322 section 2.1.1)


def _own_id(entity: Fields) -> str | None:
    """What the header holds that the sender has named as its own."""
    name = entity.reading.own_header
    value = entity.get(name) if name else None
    return value.strip()[:_ID_CAP] or None if value else None


# Further headers that other modules ask for by name
_KEPT = (
    "x-hmxmroriginalrecipient",
    "list-unsubscribe-post",
    "delivered-to",
    "x-original-to",
    "envelope-to",
    "x-mailer",
)
# How each field of an OriginalMessage is read from the returned headers
_READERS: Mapping[str, Callable[[Fields], Any]] = {
    "from_address": lambda entity: clean_address(entity.get("from")),
    "to_addresses": lambda entity: tuple(find_addresses(entity.get("to") or "")),
    "return_path": lambda entity: clean_address(entity.get("return-path")),
    "date": lambda entity: entity.get("date"),
    "list_unsubscribe": lambda entity: entity.get("list-unsubscribe"),
    "cfbl_feedback_id": lambda entity: _squeeze(entity.get("cfbl-feedback-id")),
    "own_id": _own_id,
    "headers": lambda entity: {name: value for name in _KEPT if (value := entity.get(name)) is not None},
}

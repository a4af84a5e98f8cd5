"""bytes -> :class:`Report`: the standard formats first, then the dialects.

``parse`` answers for any bytes and never raises; what it would complain of goes into ``Report.defects``. The order of the
tests is facts': reports by the type of their parts, then requests, then prose, and auto-replies before guesses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bounceparse.addresses import clean_address
from bounceparse.dialects import fill, read_prose
from bounceparse.formats.arf import may_hold_feedback, read_feedback_reports
from bounceparse.formats.autoreply import read_autoreply
from bounceparse.formats.dsn import read_delivery_reports
from bounceparse.formats.mdn import read_disposition
from bounceparse.formats.notices import read_notice
from bounceparse.formats.sns import read_sns
from bounceparse.formats.unsubscribe import find_hint, read_unsubscribe
from bounceparse.formats.xarf import read_xarf
from bounceparse.headers import Limits
from bounceparse.lazy import deferring
from bounceparse.mime import Mail
from bounceparse.reports import KIND_OF_ITEM, Item, Kind, Report
from bounceparse.returned import clean_message_id

_DEFAULT_LIMITS = Limits()
_deferred = deferring(Report, "kind", "dialect", "defects", "items", "hint")
_MOST_WRAPPERS = 3  # a bounce forwarded by one who had it forwarded; deeper is nobody's bounce
# Headers by which a server says to whom it delivered a message
_DELIVERED_TO = ("delivered-to", "x-original-to", "envelope-to", "x-envelope-to", "x-rcpt-to", "x-forwarded-to", "to")


def parse(raw: bytes, *, limits: Limits = _DEFAULT_LIMITS, own_header: str | None = None) -> Report:
    """Read one message.

    ``raw`` is the message as it was stored, with line ends of any kind; ``limits`` bounds what is looked at;
    ``own_header`` names a header of your own (``X-Order-Id``) whose value in a returned message goes to
    :attr:`OriginalMessage.own_id`. Returns a :class:`Report`, whose kind is ``other`` for a mail that reports nothing.
    """
    return read_report(Mail(raw, limits, own_header.lower() if own_header else None))


def read_report(mail: Mail) -> Report:
    """Read a message that is already cut into a :class:`Mail`."""
    dialect, items = _read_items(mail, _MOST_WRAPPERS)
    return _deferred(
        lambda name: _READERS[name](mail),
        _kind(items),
        dialect,
        tuple(mail.defects),
        items,
        None if items else find_hint(mail),
    )


def _kind(items: tuple[Item, ...]) -> Kind:
    if len(items) == 1:
        return KIND_OF_ITEM[type(items[0])]
    kinds = {KIND_OF_ITEM[type(item)] for item in items}
    return next((kind for kind in Kind if kind in kinds), Kind.OTHER)


def _addressed_to(mail: Mail) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name in _DELIVERED_TO:
        values = mail.get_all(name, 1 if name == "to" else 10)
        found += [(name, address) for value in values if (address := clean_address(value))]
    return tuple(found)


# How the fields of a Report are read that are about the report itself, when somebody asks for them
_READERS: Mapping[str, Callable[[Mail], Any]] = {
    "from_address": lambda mail: clean_address(mail.get("from")),
    "subject": lambda mail: mail.get("subject"),
    "date": lambda mail: mail.get("date"),
    "message_id": lambda mail: clean_message_id(mail.get("message-id")),
    "addressed_to": _addressed_to,
    "authentication_results": lambda mail: tuple(mail.get_all("authentication-results", 10)),
}


def _read_items(mail: Mail, wrappers: int) -> tuple[str | None, tuple[Item, ...]]:
    """The format or dialect that read the mail, and what it reports."""
    reports = read_delivery_reports(mail)
    if len(reports) == 1 and (mail.content_type == "multipart/report" or not may_hold_feedback(mail)):
        return "rfc3464", (fill(mail, reports[0]),)
    items: list[Item] = [fill(mail, report) for report in reports]
    dialect = "rfc3464" if items else None
    if not items or mail.content_type != "multipart/report":
        feedback = read_feedback_reports(mail)
        if feedback:
            dialect = dialect or "arf"
            items.extend(feedback)
        elif disposition := read_disposition(mail):
            dialect = dialect or "mdn"
            items.append(disposition)
    if items:
        return dialect, tuple(items)
    readers: tuple[tuple[str, Callable[[Mail], Item | None]], ...] = (
        ("xarf", read_xarf),
        ("amazon-sns", read_sns),
        ("unsubscribe", read_unsubscribe),
    )
    for name, reader in readers:
        item = reader(mail)
        if item is not None:
            return name, (item,)
    prose = read_prose(mail)
    if prose is not None:
        return prose[0], (prose[1],)
    return _read_other(mail, wrappers)


def _read_other(mail: Mail, wrappers: int) -> tuple[str | None, tuple[Item, ...]]:
    """What is no bounce itself: known notices, an auto-reply, or a wrapper around an enclosed report."""
    notice = read_notice(mail)
    if notice is not None:
        return "notice", (notice,)
    autoreply = read_autoreply(mail)
    if autoreply is not None:
        return "rfc3834", (autoreply,)
    return _read_enclosed(mail, wrappers) if wrappers else (None, ())


def _read_enclosed(mail: Mail, wrappers: int) -> tuple[str | None, tuple[Item, ...]]:
    """A report that somebody forwarded as an attachment; only reports count there, the rest is somebody's mail."""
    for part in mail.walk():
        if part.content_type != "message/rfc822" or not part.children:
            continue
        inner = part.children[0]
        wrapped = Mail(inner.buffer[inner.start : inner.end], mail.limits, mail.reading.own_header)
        dialect, items = _read_items(wrapped, wrappers - 1)
        if items and _kind(items) in (Kind.DELIVERY, Kind.FEEDBACK):
            mail.note("forwarded")
            for defect in wrapped.defects:
                mail.note(defect)
            return dialect, items
    return None, ()

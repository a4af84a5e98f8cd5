"""bytes -> :class:`Report`: the standard formats first, then the dialects.

``parse`` answers for any bytes and never raises; what it would complain of goes into ``Report.defects``.
"""

from __future__ import annotations

from bounceparse.addresses import clean_address
from bounceparse.formats.dsn import read_delivery_reports
from bounceparse.mime import Limits, Mail
from bounceparse.reports import KIND_OF_ITEM, Item, Kind, Report


def parse(raw: bytes, *, limits: Limits = Limits()) -> Report:
    """Read one message.

    ``raw`` is the message as it was stored, line ends of any kind; ``limits`` bounds what is looked at. Returns a
    :class:`Report`, whose kind is ``other`` for a mail that reports nothing.
    """
    return read_report(Mail(raw, limits))


def read_report(mail: Mail) -> Report:
    """Read a message that is already cut into a :class:`Mail`."""
    dialect, items = _read_items(mail)
    return Report(
        kind=_kind(items),
        dialect=dialect,
        defects=tuple(mail.defects),
        items=items,
        from_address=clean_address(mail.get("from")),
        subject=mail.get("subject"),
        date=mail.get("date"),
        message_id=mail.get("message-id"),
    )


def _kind(items: tuple[Item, ...]) -> Kind:
    kinds = {KIND_OF_ITEM[type(item)] for item in items}
    return next((kind for kind in Kind if kind in kinds), Kind.OTHER)


def _read_items(mail: Mail) -> tuple[str | None, tuple[Item, ...]]:
    reports = read_delivery_reports(mail)
    if reports:
        return "rfc3464", reports
    return None, ()

"""Mail -> :class:`DispositionReport`: message disposition notifications (RFC 8098, older 2298 and 3798).

Declines when there is no ``message/disposition-notification`` part. Sieve's ``reject`` (RFC 5429 section 2.2) is told as
an MDN too: ``refusal`` marks it.
"""

from __future__ import annotations

import re

from bounceparse.addresses import clean_address
from bounceparse.decoding import collapse, decode_bytes
from bounceparse.headers import parse_fields
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import DispositionReport
from bounceparse.returned import clean_message_id, find_returned, read_original

_PART_TYPES = ("message/disposition-notification", "message/global-disposition-notification")
_REFUSED = pattern(r"\b(?:automatically )?(?:rejected|refused|not accepted)\b", re.IGNORECASE)


def read_disposition(mail: Mail) -> DispositionReport | None:
    """The notification in ``mail``, None where there is none."""
    part = next((entity for entity in mail.walk() if entity.content_type in _PART_TYPES), None)
    if part is None:
        return None
    fields: dict[str, str] = {}
    for name, value in parse_fields(decode_bytes(part.payload(65_536))):
        fields.setdefault(name, value)
    mode, _, written = fields.get("disposition", "").partition(";")
    written = collapse(written.partition("/")[0]) or collapse(mode)
    disposition = written.lower()
    automatic = "automatic" in mode.lower()
    original = clean_address(fields.get("original-recipient"))
    recipient = original or clean_address(fields.get("final-recipient")) or clean_address(mail.get("from"))
    text = mail.readable
    return DispositionReport(
        recipient=recipient,
        disposition=disposition or "displayed",
        original=read_original(find_returned(mail), mail, clean_message_id(fields.get("original-message-id"))),
        text=text,
        error=fields.get("error") or fields.get("failure") or None,
        automatic=automatic,
        reporting_ua=fields.get("reporting-ua"),
        refusal=_is_refusal(mail, disposition, automatic, text),
        written=written,
    )


def _is_refusal(mail: Mail, disposition: str, automatic: bool, text: str) -> bool:
    """Sieve reject answers "deleted" by an automatic action and says that it refused (Dovecot Pigeonhole, Cyrus)."""
    if not automatic or disposition not in ("deleted", "denied", "failed", "dispatched"):
        return False
    return "rejected" in (mail.get("auto-submitted") or "").lower() or bool(_REFUSED.search(text[:2000]))

"""Mail -> :class:`FeedbackReport`: abuse reports in ARF (RFC 5965, 6430, 6591, 9477) and Microsoft's JMRP forward.

Declines when there is neither a ``message/feedback-report`` part nor JMRP's ``complaint about message from`` subject
over an enclosed message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from bounceparse.addresses import clean_address, find_addresses, is_placeholder
from bounceparse.decoding import collapse, decode_bytes
from bounceparse.headers import parse_fields
from bounceparse.lazy import pattern
from bounceparse.mime import Entity, Mail
from bounceparse.reports import FeedbackReport
from bounceparse.returned import clean_message_id, find_in_text, find_returned, read_original

_ID_IN_TEXT = pattern(r"\bmessage-?id:?\s+(?:of\s+)?<?([^\s<>]+@[^\s<>]+)", re.IGNORECASE)
# RFC 6590 section 3: a keyed hash in base64, or as many write it in hexadecimal, stands for the local part.
_HASHED_LOCAL = pattern(r"(?:[0-9a-f]{32,64}|[A-Za-z0-9+/]{20,86}={1,2})@", re.IGNORECASE)
_FOR = pattern(r"\bfor\s+<([^<>\s]{1,256}@[^<>\s]{1,255})>", re.IGNORECASE)
_MAX_RECIPIENTS = 1000
_MOST_FIELDS = 2000
_DELIVERED_HEADERS = ("x-hmxmroriginalrecipient", "delivered-to", "x-original-to", "envelope-to", "apparently-to")
_TYPES = {"spam": "abuse", "dkim": "auth-failure", "miscategorized": "not-spam", "opt-out-list": "opt-out"}
_JMRP_SUBJECT = "complaint about message from"
# What one of :func:`read_feedback_reports` and of dispositions has, unless it is encoded
_MARKS = (b"feedback-report", b"x-hmxmroriginalrecipient", b"disposition-notification", b"base64", b"quoted-printable")
_TRAP_SUBJECT = pattern(r"\s*spam ?trap ?hit\b", re.IGNORECASE)
# Fields that an RFC defines: 5965, 6430, 6591, 6692, 9991, and the drafts' Removal-Recipient; others are extensions.
_KNOWN = frozenset(
    [
        "feedback-type",
        "user-agent",
        "version",
        "original-envelope-id",
        "original-mail-from",
        "arrival-date",
        "received-date",
        "reporting-mta",
        "source-ip",
        "source-port",
        "incidents",
        "authentication-results",
        "original-rcpt-to",
        "reported-domain",
        "reported-uri",
        "auth-failure",
        "delivery-result",
        "identity-alignment",
        "dkim-domain",
        "dkim-identity",
        "dkim-selector",
        "dkim-selector-dns",
        "dkim-canonicalized-header",
        "dkim-canonicalized-body",
        "dkim-adsp-dns",
        "spf-dns",
        "removal-recipient",
    ]
)
_REPORT_FIELDS = ("feedback-type", "source-ip", "user-agent", "reported-domain", "original-mail-from")


def may_hold_feedback(mail: Mail) -> bool:
    """Whether a mail that holds a delivery report may hold one of feedback or disposition too: a look at the bytes."""
    lower = mail.buffer.lower()
    for mark in _MARKS:
        if mark in lower:
            return True
    return _JMRP_SUBJECT in (mail.get("subject") or "").lower()


def read_feedback_reports(mail: Mail) -> tuple[FeedbackReport, ...]:
    """Every feedback report that the mail holds outside enclosed messages, in order; empty where there is none."""
    reports = [_read(mail, part) for part in mail.walk() if part.content_type == "message/feedback-report"]
    if reports:
        return tuple(reports)
    if jmrp := _read_jmrp(mail):
        return (jmrp,)
    if (
        b"feedback-report" in mail.lower_head
        and mail.params.get("report-type", "").lower() == "feedback-report"
        and (mistyped := _read_mistyped(mail))
    ):
        return (mistyped,)
    return ()


def _read(mail: Mail, part: Entity) -> FeedbackReport:
    return _build(mail, parse_fields(decode_bytes(part.payload(1_000_000)).strip("\n")))


def _read_mistyped(mail: Mail) -> FeedbackReport | None:
    """A feedback report whose fields stand in a part of another type, under a top level that says what it is."""
    for part in mail.walk():
        if part.content_type.startswith(("text/", "application/octet")):
            fields = parse_fields(part.text().strip("\n"))
            names = {name for name, _ in fields}
            if "feedback-type" in names and names & set(_REPORT_FIELDS[1:]):
                mail.note("feedback-part-mistyped")
                return _build(mail, fields)
    return None


def _build(mail: Mail, pairs: list[tuple[str, str]]) -> FeedbackReport:
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields.setdefault(name, collapse(value))
    returned = find_returned(mail)
    status_id = clean_message_id(fields.get("original-message-id"))
    own_id = clean_message_id(returned.get("message-id")) if returned else None
    if returned is None and status_id is None:
        returned = find_in_text(mail.readable, mail)
    if own_id is None and status_id is None and (told := _ID_IN_TEXT.search(mail.readable)):
        status_id = told[1].rstrip(".,;")  # AOL names it in the human part only
    original = read_original(returned, mail, None if own_id else status_id)
    recipients, source = _recipients(pairs, returned)
    if "arrival-date" in fields and "received-date" in fields:
        mail.note("arrival-date-twice")  # the one is the older name of the other
    feedback_type = (fields.get("feedback-type") or "abuse").strip().lower()
    return FeedbackReport(
        feedback_type=_TYPES.get(feedback_type, feedback_type),
        recipients=recipients,
        recipients_from=source,
        original=original,
        user_agent=fields.get("user-agent") or fields.get("feedback-agent"),
        version=fields.get("version"),
        original_mail_from=clean_address(fields.get("original-mail-from")),
        arrival_date=fields.get("arrival-date") or fields.get("received-date"),
        reporting_mta=fields.get("reporting-mta", "").rpartition(";")[2].strip() or None,
        source_ip=fields.get("source-ip") or None,
        source_port=_number(fields.get("source-port"), 0, 65535) or None,
        incidents=_number(fields.get("incidents"), 1, 2**32 - 1),
        envelope_id=fields.get("original-envelope-id") or None,
        authentication_results=_all(pairs, "authentication-results"),
        reported_domains=_all(pairs, "reported-domain"),
        reported_uris=_all(pairs, "reported-uri"),
        auth_failure=fields.get("auth-failure", "").lower() or None,
        delivery_result=fields.get("delivery-result", "").lower() or None,
        identity_alignment=fields.get("identity-alignment", "").lower() or None,
        fields=fields,
        extensions=tuple((name, collapse(value)) for name, value in pairs[:_MOST_FIELDS] if name not in _KNOWN),
        trap=_is_trap(mail, fields),
    )


def _all(pairs: list[tuple[str, str]], wanted: str) -> tuple[str, ...]:
    """Every value of a field that may be given many times; empty ones (Yahoo) are dropped."""
    return tuple(text for name, value in pairs[:_MOST_FIELDS] if name == wanted and (text := collapse(value)))


def _is_trap(mail: Mail, fields: Mapping[str, str]) -> bool:
    """SpamCop masks who complained, Validity and Abusix say that it was a trap."""
    return (
        fields.get("abuse-type", "").lower().startswith(("trap", "spamtrap"))
        or b"\nx-spamcop-" in mail.lower_head
        or bool(_TRAP_SUBJECT.match(mail.get("subject") or ""))
    )


def _number(value: str | None, default: int, most: int) -> int:
    """An unsigned decimal number, ``default`` where it is missing or malformed (RFC 5965 section 3.2)."""
    return min(int(value), most) if value and value.isascii() and value.isdigit() and len(value) < 11 else default


def _recipients(pairs: list[tuple[str, str]], returned: Entity | None) -> tuple[tuple[str, ...], str | None]:
    """Who complained, with the field that says so: facts' recovery order, placeholders dropped."""
    for wanted in ("removal-recipient", "original-rcpt-to", "original-recipient"):
        values = [value for name, value in pairs if name == wanted][:_MAX_RECIPIENTS]
        found = [a for value in values if (a := clean_address(value)) and not is_masked(a)]
        if found:
            return tuple(dict.fromkeys(found)), wanted
    return _recipient_of(returned) if returned else ((), None)


def _recipient_of(returned: Entity) -> tuple[tuple[str, ...], str | None]:
    """The recipient that the returned headers tell: a delivery header's, the last hop's, else a To that names exactly one."""
    for name in _DELIVERED_HEADERS:
        address = clean_address(returned.get(name))
        if address and not is_masked(address):
            return (address,), name
    if address := _received_for(returned):
        return (address,), "received"
    to = find_addresses(returned.get("to") or "")
    return ((to[0],), "to") if len(to) == 1 and not is_masked(to[0]) else ((), None)


def _received_for(returned: Entity) -> str | None:
    """The recipient that the lowest Received line tells: the lower, the nearer to the sender and the less rewritten.

    What went to the sender's own domain was a hop on the way out, to a list or an archive.
    """
    sender = (clean_address(returned.get("from")) or "").rpartition("@")[2]
    for value in reversed(returned.get_all("received", 30)):
        if (found := _FOR.search(value)) and (address := clean_address(found[1])):
            domain = address.rpartition("@")[2]
            if not is_masked(address) and (not sender or domain != sender):
                return address
    return None


def is_masked(address: str) -> bool:
    """Whether an address is a placeholder or a hash for one (RFC 6590): it names nobody."""
    return "@" not in address or is_placeholder(address) or bool(_HASHED_LOCAL.match(address))


def _read_jmrp(mail: Mail) -> FeedbackReport | None:
    """Microsoft's loop until mid 2026: the message itself inside multipart/mixed, no report part."""
    returned = mail if mail.has("x-hmxmroriginalrecipient") else find_returned(mail)
    if returned is None:
        return None
    hotmail = clean_address(returned.get("x-hmxmroriginalrecipient"))
    subject = (mail.get("subject") or "").lower()
    if not hotmail and not subject.startswith(_JMRP_SUBJECT):
        return None
    return FeedbackReport(
        feedback_type="abuse",
        recipients=(hotmail,) if hotmail and not is_masked(hotmail) else (),
        recipients_from="x-hmxmroriginalrecipient" if hotmail else None,
        original=read_original(returned, mail),
        source_ip=returned.get("x-reporter-ip") or None,
    )

"""Mail -> :class:`FeedbackReport` or :class:`Notice`: X-ARF 0.1 and 0.2, XARF 1 to 4 (its JSON successors) in mail.

Declines without an ``X-ARF``/``X-XARF`` header or a JSON part that calls itself XARF. Only reports about mail (spam) are
complaints; log-in attacks, malware and the like are notices.
"""

from __future__ import annotations

import binascii
from typing import Any

from bounceparse.addresses import clean_address, is_placeholder
from bounceparse.decoding import collapse, whole_json
from bounceparse.headers import parse_fields
from bounceparse.mime import Entity, Mail
from bounceparse.reports import FeedbackReport, Notice, OriginalMessage
from bounceparse.returned import clean_message_id, find_returned, read_original, text_as_entity

_MAIL_TYPES = ("spam", "bulk_messaging", "abuse", "unsolicited")
_JSON_TYPES = ("application/json", "application/xarf+json")
_TRAP_SOURCES = ("spamtrap", "spam_trap", "trap", "honeypot")
_JSON_CAP = 4_000_000
_MOST_SAMPLES = 20


def read_xarf(mail: Mail) -> FeedbackReport | Notice | None:
    """The X-ARF or XARF report in ``mail``, None where there is none."""
    if mail.has("x-arf") or mail.has("x-xarf"):
        secure = "secure" in (mail.get("x-xarf") or "").lower()  # the report may be enclosed in a signed message
        for part in mail.walk(into_messages=secure):
            if part.content_type in ("text/plain", *_JSON_TYPES) and part is not mail:
                report = _read_json(mail, part) or _read_fields(mail, part)
                if report:
                    return report
        return Notice("other-report", mail.line("x-xarf") or mail.line("x-arf") or "", "headers")
    for part in mail.walk():
        if part.content_type in _JSON_TYPES and (found := _read_json(mail, part)):
            return found
    return None


def _read_fields(mail: Mail, part: Entity) -> FeedbackReport | Notice | None:
    """The YAML part of X-ARF 0.1 and 0.2, which is plain ``Name: value`` lines."""
    fields = {name: value.strip("'\"") for name, value in parse_fields(part.text().lstrip("-\n"))}
    if not fields.get("report-type") or not fields.get("category"):
        return None
    if fields["category"].lower() != "abuse" or "spam" not in fields["report-type"].lower():
        return Notice("other-report", collapse(fields["report-type"]), "text")
    return FeedbackReport(
        feedback_type="abuse",
        original=read_original(find_returned(mail), mail),
        user_agent=fields.get("user-agent"),
        version=fields.get("version"),
        arrival_date=fields.get("date"),
        source_ip=fields.get("source"),
        fields=fields,
    )


def _read_json(mail: Mail, part: Entity) -> FeedbackReport | Notice | None:
    import json

    try:
        report = whole_json(json.loads(part.payload(_JSON_CAP)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(report, dict):
        return None
    if isinstance(report.get("ReporterInfo"), dict) and isinstance(report.get("Report"), dict):
        return _read_older(mail, part, report)
    if not isinstance(report.get("xarf_version"), str):
        return None
    kind = str(report.get("type", "")).lower()
    if report.get("category") != "messaging" or kind not in _MAIL_TYPES:
        return _notice(mail, part, report["xarf_version"])
    recipient = clean_address(_text(report.get("smtp_to")))
    return FeedbackReport(
        feedback_type="abuse",
        recipients=(recipient,) if recipient and not is_placeholder(recipient) else (),
        recipients_from="smtp_to" if recipient else None,
        original=_evidence(mail, report),
        version=report["xarf_version"],
        original_mail_from=clean_address(_text(report.get("smtp_from"))),
        arrival_date=_text(report.get("timestamp")),
        source_ip=_text(report.get("source_identifier")),
        fields=_strings(report),
        trap=str(report.get("evidence_source", "")).lower() in _TRAP_SOURCES,
    )


def _notice(mail: Mail, part: Entity, words: str) -> Notice:
    """A report that is not about mail; a part that is no text is told by the header alone."""
    if part.content_type == "text/plain" and words:
        return Notice("other-report", words, "text")
    return Notice("other-report", mail.line("content-type") or "", "headers")


def _read_older(mail: Mail, part: Entity, wrapper: dict[str, Any]) -> FeedbackReport | Notice:
    """XARF 1 to 3: ``ReporterInfo`` and ``Report`` side by side, names in camel case."""
    report = wrapper["Report"]
    version = _text(wrapper.get("Version")) or ""
    kind = str(report.get("ReportType", "")).lower()
    if kind not in _MAIL_TYPES:
        return _notice(mail, part, version)
    recipient = clean_address(_text(report.get("SmtpRcptToAddress")))
    known = recipient is not None and not is_placeholder(recipient)
    samples = report.get("Samples")
    evidence = [
        {"content_type": one.get("ContentType"), "payload": one.get("Payload")}
        for one in (samples[:_MOST_SAMPLES] if isinstance(samples, list) else ())
        if isinstance(one, dict)
    ]
    return FeedbackReport(
        feedback_type="abuse",
        recipients=(recipient,) if recipient and known else (),
        recipients_from="SmtpRcptToAddress" if known else None,
        original=_evidence(mail, {"message_id": report.get("SmtpMessageId"), "evidence": evidence}),
        version=version or None,
        original_mail_from=clean_address(_text(report.get("SmtpMailFromAddress"))),
        arrival_date=_text(report.get("Date")),
        source_ip=_text(report.get("SourceIp")),
        fields=_strings(report),
    )


def _strings(report: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in report.items() if isinstance(value, str)}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _evidence(mail: Mail, report: dict[str, Any]) -> OriginalMessage:
    """The original from the first ``message/rfc822`` sample (RFC 9477: it holds Message-ID and CFBL-Feedback-ID)."""
    message_id = clean_message_id(_text(report.get("message_id")))
    samples = report.get("evidence")
    for sample in samples[:_MOST_SAMPLES] if isinstance(samples, list) else ():
        if isinstance(sample, dict) and str(sample.get("content_type", "")).startswith(("message/", "text/rfc822")):
            try:
                raw = binascii.a2b_base64(str(sample.get("payload", "")))
            except (binascii.Error, ValueError):
                continue
            entity = text_as_entity(raw.decode("utf-8", "replace").replace("\r\n", "\n"), mail)
            return read_original(entity, mail, message_id)
    return read_original(None, mail, message_id)

"""Mail -> items: Amazon SES notifications that SNS sends as mail, one JSON object in the text.

Declines without SNS's header or when the text holds no SES notification. SES's own words: ``notificationType`` (or
``eventType``) is Bounce, Complaint, Delivery or DeliveryDelay; ``mail.messageId`` is SES's id, the sender's own
Message-ID stands in ``mail.commonHeaders`` or ``mail.headers`` where the notification includes headers.
"""

from __future__ import annotations

from typing import Any

from bounceparse.addresses import clean_address
from bounceparse.codes import Action
from bounceparse.decoding import collapse, whole_json
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport, FeedbackReport, OriginalMessage, RecipientReport
from bounceparse.returned import clean_message_id

_FOLD = pattern(r"!\n ?|\n ")  # a relay that folds at 998 octets leaves "!" and a new line
_MOST_RECIPIENTS = 1000


def read_sns(mail: Mail) -> DeliveryReport | FeedbackReport | None:
    """The SES notification in ``mail``, None where there is none."""
    if not mail.has("x-amz-sns-message-id") and b"notificationtype" not in mail.lower_head:
        return None
    text = mail.readable
    import json

    begin = text.find("{")
    if begin < 0:
        return None
    for candidate in (text[begin:], _FOLD.sub("", text[begin:])):
        try:
            event = whole_json(json.JSONDecoder(strict=False).raw_decode(candidate)[0])
        except (ValueError, RecursionError):
            continue
        return _read_event(event, text) if isinstance(event, dict) else None
    return None


def _read_event(event: dict[str, Any], text: str) -> DeliveryReport | FeedbackReport | None:
    import json

    if isinstance(event.get("Message"), str):  # SNS's envelope around the notification (raw delivery is off)
        try:
            event = whole_json(json.loads(event["Message"]))
        except (ValueError, RecursionError):
            return None
        if not isinstance(event, dict):
            return None
    kind = str(event.get("notificationType") or event.get("eventType") or "").lower()
    original, envelope_id = _original(event.get("mail"))
    if kind == "complaint":
        return _complaint(_dict(event.get("complaint")), original, envelope_id)
    readers = {"bounce": _bounce, "delivery": _delivery, "deliverydelay": _delay}
    if kind not in readers:
        return None
    body = _dict(event.get("deliveryDelay" if kind == "deliverydelay" else kind))
    return DeliveryReport(
        recipients=tuple(readers[kind](body)),
        original=original,
        reporting_mta=_host(body.get("reportingMTA")),
        envelope_id=envelope_id,
        arrival_date=_string(body.get("timestamp")),
        text=text,
    )


def _bounce(body: dict[str, Any]) -> list[RecipientReport]:
    kind = f"{body.get('bounceType', '')} {body.get('bounceSubType', '')}".strip()
    return [_recipient(row, Action.FAILED, kind, body) for row in _rows(body.get("bouncedRecipients"))]


def _delay(body: dict[str, Any]) -> list[RecipientReport]:
    kind = str(body.get("delayType", ""))
    return [_recipient(row, Action.DELAYED, kind, body) for row in _rows(body.get("delayedRecipients"))]


def _delivery(body: dict[str, Any]) -> list[RecipientReport]:
    addresses = body.get("recipients")
    rows = [{"emailAddress": a} for a in addresses[:_MOST_RECIPIENTS]] if isinstance(addresses, list) else []
    return [_recipient({**row, "diagnosticCode": body.get("smtpResponse")}, Action.DELIVERED, "", body) for row in rows]


def _recipient(row: dict[str, Any], action: Action, kind: str, body: dict[str, Any]) -> RecipientReport:
    address = clean_address(_string(row.get("emailAddress")))
    diagnostic = collapse(_string(row.get("diagnosticCode")) or "")[:4096]
    if diagnostic.lower().startswith("smtp;"):
        diagnostic = diagnostic[5:].strip()
    return RecipientReport(
        recipient=address,
        final_recipient=address,
        action=action,
        status=_string(row.get("status")),
        diagnostic=diagnostic or None,
        text=kind or None,
        part="text",
        remote_mta=_string(body.get("remoteMtaIp")),
        last_attempt_date=_string(body.get("timestamp")),
    )


def _complaint(body: dict[str, Any], original: OriginalMessage, envelope_id: str | None) -> FeedbackReport:
    found = [clean_address(_string(row.get("emailAddress"))) for row in _rows(body.get("complainedRecipients"))]
    return FeedbackReport(
        feedback_type=(_string(body.get("complaintFeedbackType")) or "abuse").lower(),
        recipients=tuple(address for address in found if address),
        recipients_from="complainedRecipients",
        original=original,
        user_agent=_string(body.get("userAgent")),
        arrival_date=_string(body.get("arrivalDate")) or _string(body.get("timestamp")),
        envelope_id=envelope_id,
        fields={name: value for name, value in body.items() if isinstance(value, str)},
    )


def _original(value: Any) -> tuple[OriginalMessage, str | None]:
    """What ``mail`` tells of the sent message, and SES's own id for it."""
    mail = _dict(value)
    headers = {str(row.get("name", "")).lower(): str(row.get("value", "")) for row in _rows(mail.get("headers"))}
    common = _dict(mail.get("commonHeaders"))
    ses_id = _string(mail.get("messageId"))
    message_id = clean_message_id(headers.get("message-id") or _string(common.get("messageId")))
    destination = mail.get("destination")
    to = destination[:_MOST_RECIPIENTS] if isinstance(destination, list) else []
    return (
        OriginalMessage(
            message_id=message_id or ses_id,
            message_id_from="status" if message_id or ses_id else None,
            from_address=clean_address(_string(mail.get("source"))),
            to_addresses=tuple(a for item in to if (a := clean_address(_string(item)))),
            subject=_string(common.get("subject")),
            date=_string(mail.get("timestamp")),
            list_unsubscribe=headers.get("list-unsubscribe"),
            feedback_id=headers.get("feedback-id"),
        ),
        ses_id,
    )


def _host(value: Any) -> str | None:
    text = _string(value)
    return text.rpartition(";")[2].strip() or None if text else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _rows(value: Any) -> list[dict[str, Any]]:
    return [row for row in value[:_MOST_RECIPIENTS] if isinstance(row, dict)] if isinstance(value, list) else []

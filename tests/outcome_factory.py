"""Outcomes and read messages made by hand, for tests of the store, matching and policy."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from itertools import count
from typing import Any

from bounceparse.codes import Action
from bounceparse.outcomes import REASONS, Evidence, Outcome, Status
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import DeliveryReport, FeedbackReport, Kind, OriginalMessage, RecipientReport, Report

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
_numbers = count(1)


def make_outcome(reason: str = "user-unknown", recipient: str | None = "jan@example.pl", **fields: Any) -> Outcome:
    """A final outcome of this reason, as ``classify`` would give it."""
    row = REASONS[reason]
    values: dict[str, Any] = {
        name: None
        for name in Outcome.__dataclass_fields__
        if name not in ("status", "reason", "fault", "recipient", "evidence")
    }
    values |= {
        "status": row.status,
        "reason": reason,
        "fault": row.fault,
        "recipient": recipient,
        "final_recipient": recipient,
        "message_id": "1@shop.example",
        "action": Action.FAILED if row.fault else None,
        "enhanced_status": "5.0.0" if row.status in (Status.HARDBOUNCE, Status.SPAMBOUNCE) else None,
        "diagnostic": "550 no",
        "reporting_mta": "mx.example.pl",
        "evidence": Evidence("test/rule", "delivery-status", "no", "rfc3464"),
    }
    return Outcome(**(values | fields))


def make_message(*outcomes: Outcome, key: bytes | None = None, account: str = "bounces", **fields: Any) -> ReadMessage:
    """A message that reports these outcomes, in a place of its own."""
    number = next(_numbers)
    first = outcomes[0] if outcomes else None
    original = OriginalMessage(
        message_id=first.message_id if first else None, message_id_from="returned", from_address="shop@shop.example"
    )
    if first is not None and first.status is Status.COMPLAINT:
        kind, item = Kind.FEEDBACK, FeedbackReport(first.reason, original=original)
    else:
        kind, item = Kind.DELIVERY, DeliveryReport((RecipientReport(),), original)  # type: ignore[assignment]
    values: dict[str, Any] = {
        "place": Place(account, "INBOX", 7, number),
        "key": key or hashlib.sha256(str(number).encode()).digest(),
        "size": 1000,
        "report": Report(kind, "rfc3464", (), (item,)),
        "outcomes": outcomes,
    }
    return ReadMessage(**(values | fields))

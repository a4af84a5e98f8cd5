"""What we conclude from a report: one :class:`Outcome` a recipient, with its :class:`Evidence`.

The words are the senders' own (EmailLabs' statuses). Which reason has which fault and leads to which status is the one
table :data:`REASONS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from bounceparse.codes import Action, Phase
from bounceparse.lazy import dataclass


class Status(StrEnum):
    """What became of a message, in the sender's vocabulary. A closed list."""

    INJECTED = "injected"
    OK = "ok"
    DEFERRED = "deferred"
    SOFTBOUNCE = "softbounce"
    HARDBOUNCE = "hardbounce"
    SPAMBOUNCE = "spambounce"
    COMPLAINT = "complaint"
    UNSUBSCRIBE = "unsubscribe"
    NOTICE = "notice"


class Fault(StrEnum):
    """Whose matter a failure is."""

    RECIPIENT = "recipient"
    NETWORK = "network"
    MESSAGE = "message"
    SENDER = "sender"
    UNKNOWN = "unknown"


class Trust(StrEnum):
    """What proves that an outcome is about a message of ours (design: the trust table), best first."""

    VERIFIED = "verified"  # our signature is in it and holds
    CORRELATED = "correlated"  # the ledger knows the message, and the recipient is one of its recipients
    FORWARDED = "forwarded"  # it proves a message of ours, but the address is not one that we mailed
    UNVERIFIED = "unverified"  # no proof
    FORGED = "forged"  # a signature of ours that is wrong


class ReasonRow(NamedTuple):
    """A line of :data:`REASONS`."""

    fault: Fault | None
    status: Status


def _rows(fault: Fault | None, status: Status, slugs: str) -> dict[str, ReasonRow]:
    return {slug: ReasonRow(fault, status) for slug in slugs.split()}


REASONS: Mapping[str, ReasonRow] = {
    **_rows(
        Fault.RECIPIENT,
        Status.HARDBOUNCE,
        "user-unknown bad-address-syntax address-ambiguous address-moved mailbox-disabled owner-changed bad-domain null-mx",
    ),
    **_rows(Fault.RECIPIENT, Status.SOFTBOUNCE, "mailbox-full"),
    **_rows(Fault.RECIPIENT, Status.SPAMBOUNCE, "recipient-restricted recipient-blocks-sender"),
    **_rows(
        Fault.NETWORK,
        Status.SOFTBOUNCE,
        "no-answer bad-connection dns-failure unroutable congestion mail-loop expired system-full system-down"
        " feature-unsupported misconfigured protocol-error relay-denied greylisted too-many-recipients"
        " recipient-rate-limited list-expansion challenge priority",
    ),
    **_rows(Fault.MESSAGE, Status.SOFTBOUNCE, "message-too-big smtputf8-unsupported"),
    **_rows(Fault.MESSAGE, Status.SPAMBOUNCE, "content-error virus attachment-banned"),
    **_rows(
        Fault.SENDER,
        Status.SPAMBOUNCE,
        "spam-content blocklisted bad-reputation rate-limited policy auth-fail-spf auth-fail-dkim auth-fail-dmarc"
        " auth-fail-arc auth-fail-multiple auth-required tls-required crypto ptr-missing sender-rejected"
        " sender-address-bad",
    ),
    **_rows(Fault.UNKNOWN, Status.SOFTBOUNCE, "undefined"),
    **_rows(None, Status.COMPLAINT, "abuse fraud"),
    **_rows(None, Status.UNSUBSCRIBE, "opt-out one-click unsubscribe-request"),
    **_rows(
        None,
        Status.NOTICE,
        "virus-report other-report not-spam auth-failure auto-reply read-receipt challenge-mail address-change",
    ),
    **_rows(None, Status.OK, "delivered relayed expanded"),
}
"""Every reason slug with its fault and the status of a *final* failure (design: the closed list). A deferral keeps the
reason and has status ``deferred``."""


ASSUMED = "assumed"
"""The part of an :class:`Evidence` that quotes nothing."""


class Evidence(NamedTuple):
    """What a verdict rests on.

    ``matched`` stands in the decoded, whitespace-collapsed text of ``part`` (``delivery-status``, ``text``, ``subject``,
    ``headers``, ``feedback-report``, ``disposition-notification``); ``rule`` is the id of the rule that decided. Where the
    mail does not say what its kind of report says as a rule, ``part`` is ``assumed``, and ``matched`` what was assumed.
    """

    rule: str
    part: str
    matched: str
    dialect: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened to one recipient of one sent message. The field names are those of ``parse --json``."""

    status: Status
    reason: str
    fault: Fault | None
    recipient: str | None
    original_recipient: str | None
    final_recipient: str | None
    message_id: str | None
    envelope_id: str | None
    feedback_id: str | None
    list_id: str | None
    action: Action | None
    enhanced_status: str | None
    smtp_code: int | None
    diagnostic: str | None
    smtp_phase: Phase | None
    reporting_mta: str | None
    remote_mta: str | None
    sending_ip: str | None
    provider: str | None
    blocklist: str | None
    help_url: str | None
    subject: str | None
    occurred_at: datetime | None
    evidence: Evidence

    def to_json(self) -> dict[str, Any]:
        """The object of ``parse --json``: plain values, times as ISO 8601 with their offset."""
        row: dict[str, Any] = {name: getattr(self, name) for name in _NAMES}
        row["occurred_at"] = self.occurred_at.isoformat() if self.occurred_at else None
        row["evidence"] = self.evidence._asdict()
        return row


_NAMES = Outcome.__match_args__

"""Outcomes <-> rows: what is written of an outcome, and :class:`RecordedOutcome`, what is read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.engine import Row

from bounceparse.addresses import domain_key
from bounceparse.causes import DOMAIN_REASONS
from bounceparse.clues import Clue, Clues, Key, from_domain, ladder, message_key
from bounceparse.codes import Action, Phase
from bounceparse.dates import parse_date
from bounceparse.db.types import storable, storable_time, stored_key
from bounceparse.match import Match, matched_status
from bounceparse.outcomes import Evidence, Fault, Outcome, Status, Trust
from bounceparse.reading import ReadMessage
from bounceparse.reports import DeliveryReport, FeedbackReport, Item, OriginalMessage, RecipientReport
from bounceparse.rewriting import find_provider_id, find_verp_recipient
from bounceparse.signatures import TokenSettings, envelope_recipients


class NewOutcome(NamedTuple):
    """An outcome on its way into the database, with its key and what of the report it came from.

    ``told`` is the recipient's part of a delivery report; ``envelope`` the addresses to which our own server says that it
    delivered the report.
    """

    key: bytes
    message: ReadMessage
    outcome: Outcome
    item: Item | None
    told: RecipientReport | None = None
    envelope: tuple[str, ...] = ()

    @property
    def original(self) -> OriginalMessage | None:
        """What the report tells of the message that it is about."""
        return getattr(self.item, "original", None)

    def clues(self) -> Clues:
        """What may lead to the sent message."""
        outcome, original = self.outcome, self.original
        found = ladder(
            message_key(outcome.message_id),
            original.message_id_from if original is not None else None,
            outcome.envelope_id,
            (outcome.original_recipient, outcome.recipient, outcome.final_recipient),
            self.own_id,
        )
        steps = found.ladder
        if provider_id := self.provider_id:
            steps = (*steps, Clue(Key.MESSAGE_ID, provider_id, "provider-id"))
        recipients = tuple([storable(recipient) for recipient in found.recipients])
        hint = None if recipients else self._hint()
        return Clues(
            steps, recipients, hint, outcome.subject, self.at, storable(found.failing) if found.failing else None
        )

    @property
    def own_id(self) -> str | None:
        """What the sender's own header in the returned message held."""
        return storable(self.original.own_id) if self.original is not None and self.original.own_id else None

    @property
    def provider_id(self) -> str | None:
        """The provider's id in the return path that it gave the message."""
        returned = self.original.return_path if self.original is not None else None
        return find_provider_id(returned) if returned else None

    @property
    def at(self) -> datetime | None:
        """When it happened, as far as that is told."""
        return storable_time(self.outcome.occurred_at)

    def _hint(self) -> str | None:
        """The recipient that an unsigned VERP address names: of the envelope, else of the returned message."""
        returned = self.original.return_path if self.original is not None else None
        found = (find_verp_recipient(address) for address in (*self.envelope, returned or ""))
        return next((stored_key(one) for one in found if one), None)


@dataclass(frozen=True, slots=True)
class RecordedOutcome:
    """An outcome as it is recorded.

    Attributes:
        id, seq: its row; ``seq`` grows in the order of commits and is renewed when the row changes.
        outcome: as classified, times in UTC; ``recipient`` and ``status`` are what was recorded (the ledger's address,
            at most a softbounce for a forward).
        mailbox: the account in which the report came in; the source of a replay has none of its own.
        recorded_at: when, in UTC.
        trust, matched_by, match_evidence: how far it is proven to be about mail of ours, and by what.
        reporter_auth: what our own server found of the reporter's authenticity; it supports and proves nothing.
        stream, customer: of the sent message.
    """

    id: int
    seq: int
    outcome: Outcome
    mailbox: str
    recorded_at: datetime
    trust: Trust
    matched_by: str | None
    match_evidence: str | None
    reporter_auth: str | None
    stream: str | None
    customer: str | None

    def to_json(self) -> dict[str, Any]:
        """The object of ``outcomes --json``: the fields of ``parse --json`` in UTC and what recording added."""
        return {
            **self.outcome.to_json(),
            "mailbox": self.mailbox,
            "recorded_at": self.recorded_at.isoformat(),
            "trust": self.trust.value,
            "matched_by": self.matched_by,
            "match_evidence": self.match_evidence,
            "reporter_auth": self.reporter_auth,
            "stream": self.stream,
            "customer": self.customer,
        }


def new_outcomes(message: ReadMessage, settings: TokenSettings = TokenSettings()) -> list[NewOutcome]:  # noqa: B008
    """The outcomes of a message with their keys.

    An outcome's key is SHA-256 over the report key, the final recipient and the outcome's place in the report: nothing
    that a rule, the ledger or the policy decides.
    """
    if not message.outcomes:
        return []
    envelope = envelope_recipients(message.report, message.raw, message.place.account, settings)
    sources = _sources(message)
    found = []
    for place, outcome in enumerate(message.outcomes):
        named = outcome.final_recipient or outcome.recipient or ""
        digest = hashlib.sha256(message.key)
        digest.update(f"\n{place}\n{named}".encode("utf-8", "surrogatepass"))
        item, told = sources[min(place, len(sources) - 1)] if sources else (None, None)
        found.append(NewOutcome(digest.digest(), message, outcome, item, told, envelope))
    return found


def _sources(message: ReadMessage) -> list[tuple[Item, RecipientReport | None]]:
    """What each outcome of a message came from: ``classify`` makes them in the order of the items and their recipients."""
    found: list[tuple[Item, RecipientReport | None]] = []
    for item in message.report.items:
        if isinstance(item, DeliveryReport):
            found += [(item, told) for told in item.recipients or (None,)]
        elif isinstance(item, FeedbackReport):
            found += [(item, None)] * max(1, len(item.recipients))
        else:
            found.append((item, None))
    return found


def outcome_row(new: NewOutcome, found: Match, seq: int, now: datetime) -> dict[str, Any]:
    """The row of ``outcomes`` for a new outcome and its match.

    What its token and its reporter's authenticity prove is written by :func:`bounceparse.db.requests.mark_rows`.
    """
    outcome = new.outcome
    original = new.original
    evidence = outcome.evidence
    occurred_at = new.at
    return {
        "seq": seq,
        "key": new.key,
        "report_key": new.message.key,
        "kind": new.message.report.kind.value,
        "classified_status": outcome.status.value,
        "reason": outcome.reason,
        "fault": outcome.fault.value if outcome.fault else None,
        "reported_recipient": outcome.recipient,
        "original_recipient": outcome.original_recipient,
        "final_recipient": outcome.final_recipient,
        "message_id": outcome.message_id,
        "envelope_id": outcome.envelope_id,
        "feedback_id": outcome.feedback_id,
        "action": outcome.action.value if outcome.action else None,
        "enhanced_status": outcome.enhanced_status,
        "smtp_code": outcome.smtp_code,
        "diagnostic": outcome.diagnostic,
        "smtp_phase": outcome.smtp_phase.value if outcome.smtp_phase else None,
        "reporting_mta": outcome.reporting_mta,
        "remote_mta": outcome.remote_mta,
        "sending_ip": outcome.sending_ip,
        "provider": outcome.provider,
        "blocklist": outcome.blocklist,
        "help_url": outcome.help_url,
        "subject": outcome.subject,
        "occurred_at": occurred_at,
        "evidence_rule": evidence.rule,
        "evidence_part": evidence.part,
        "evidence_matched": evidence.matched,
        "evidence_dialect": evidence.dialect,
        "mailbox": new.message.place.account,
        "recorded_at": now,
        "message_key": message_key(outcome.message_id),
        "message_id_from": original.message_id_from if original is not None else None,
        "of_domain": outcome.reason in DOMAIN_REASONS,
        "event_at": occurred_at if occurred_at is not None and occurred_at < now else now,
        "is_copy": False,
        "own_id": new.own_id or new.provider_id,
        "will_retry_until": _will_retry_until(new.told),
        **matched_columns(found, outcome.status, outcome.recipient, outcome.list_id, from_domain(original)),
    }


def _will_retry_until(told: RecipientReport | None) -> datetime | None:
    """Until when the reporting server says that it goes on trying (RFC 3464 section 2.3.9)."""
    text = told.will_retry_until if told is not None else None
    return storable_time(parse_date(text)) if text else None


def matched_columns(
    found: Match, status: Status, recipient: str | None, list_id: str | None, returned_from: str | None
) -> dict[str, Any]:
    """The columns that a match decides; matching again writes these and no others."""
    row = found.sent
    if row is None:
        key = stored_key(recipient) if recipient else None
        from_ = returned_from
    else:
        key, recipient, list_id = row.recipient_key, row.recipient, list_id or row.list_id
        from_ = domain_key(row.from_address.rpartition("@")[2]) if row.from_address else returned_from
    return {
        "status": matched_status(status, found).value,
        "recipient": recipient,
        "list_id": list_id,
        "trust": found.trust.value,
        "matched_by": found.matched_by,
        "match_evidence": found.evidence,
        "shared": found.shared,
        "sent_id": row.id if row else None,
        "stream": row.stream if row else None,
        "customer": row.customer if row else None,
        "address_key": key,
        "domain_key": key.rpartition("@")[2] if key and "@" in key else None,
        "from_domain": from_,
    }


def event_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What copies of one event by two routes share: sent message, recipient, kind, reporter and day."""
    reporter = row["reporting_mta"] or row["remote_mta"]
    return row["sent_id"], row["address_key"], row["status"], reporter, row["event_at"].date()


_FAILED = frozenset(("softbounce", "spambounce", "hardbounce"))
_MOST_EVENTS: Mapping[str, int] = {"failed": 1, "ok": 1}
_MOST = 5


def limited_event(row: Mapping[str, Any]) -> tuple[int, str] | None:
    """What a token can tell only so often: its id and the kind of event; None where nothing limits it.

    A message fails once, whatever the later reports of a replay say. Complaints and requests are never cut off.
    """
    status = row["status"]
    proven = row["trust"] in (Trust.VERIFIED, Trust.FORWARDED)
    if row["token_id"] is None or not proven or status in ("complaint", "unsubscribe"):
        return None
    return row["token_id"], "failed" if status in _FAILED else status


def is_replay(event: tuple[int, str] | None, told: Mapping[tuple[int, str], int]) -> bool:
    """Whether a token has told an event often enough; ``told`` counts what was told."""
    return event is not None and told.get(event, 0) >= _MOST_EVENTS.get(event[1], _MOST)


_PLAIN = tuple(f.name for f in fields(Outcome) if f.name not in ("status", "fault", "action", "smtp_phase", "evidence"))


def recorded_outcome(row: Row[Any]) -> RecordedOutcome:
    """A row of ``outcomes`` read back."""
    columns = row._mapping
    outcome = Outcome(
        status=Status(row.status),
        fault=Fault(row.fault) if row.fault else None,
        action=Action(row.action) if row.action else None,
        smtp_phase=Phase(row.smtp_phase) if row.smtp_phase else None,
        evidence=Evidence(row.evidence_rule, row.evidence_part, row.evidence_matched, row.evidence_dialect),
        **{name: columns[name] for name in _PLAIN},
    )
    return RecordedOutcome(
        id=row.id,
        seq=row.seq,
        outcome=outcome,
        mailbox=row.mailbox,
        recorded_at=row.recorded_at,
        trust=Trust(row.trust),
        matched_by=row.matched_by,
        match_evidence=row.match_evidence,
        reporter_auth=row.reporter_auth,
        stream=row.stream,
        customer=row.customer,
    )

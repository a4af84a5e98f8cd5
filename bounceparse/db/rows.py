"""Outcomes <-> rows: what is written of an outcome, and :class:`RecordedOutcome`, what is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Row

from bounceparse.addresses import domain_key
from bounceparse.clues import from_domain
from bounceparse.codes import Action, Phase
from bounceparse.db.types import stored_key
from bounceparse.drafts import NewOutcome, told_columns
from bounceparse.match import Match, matched_status
from bounceparse.outcomes import Evidence, Fault, Outcome, Status, Trust


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


def outcome_row(new: NewOutcome, found: Match, seq: int, now: datetime) -> dict[str, Any]:
    """The row of ``outcomes`` for a new outcome and its match.

    What its token and its reporter's authenticity prove is written by :func:`bounceparse.db.requests.mark_rows`.
    """
    return matched_row(told_columns(new), from_domain(new.original), found, seq, now)


def matched_row(
    told: Mapping[str, Any], returned_from: str | None, found: Match, seq: int, now: datetime
) -> dict[str, Any]:
    """As :func:`outcome_row`, from :func:`told_columns` and the domain of the returned message's From."""
    occurred_at = told["occurred_at"]
    status = Status(told["classified_status"])
    return {
        **told,
        "seq": seq,
        "recorded_at": now,
        "event_at": occurred_at if occurred_at is not None and occurred_at < now else now,
        "is_copy": False,
        **matched_columns(found, status, told["reported_recipient"], told["list_id"], returned_from),
    }


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

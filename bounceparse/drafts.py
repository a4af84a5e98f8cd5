"""What recording makes of a read message before it asks the database: rows but for their match, clues, signatures.

It is made where the message is read, which may be a worker process: of most reports nothing else need come back from
there, neither the report nor what nobody has asked of it yet.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, NamedTuple

from bounceparse.causes import DOMAIN_REASONS
from bounceparse.clues import Clue, Clues, Key, from_domain, ladder, message_key
from bounceparse.dates import parse_date
from bounceparse.outcomes import Outcome, Status
from bounceparse.reading import ReadMessage
from bounceparse.reports import (
    DeliveryReport,
    FeedbackReport,
    Item,
    Kind,
    OriginalMessage,
    RecipientReport,
    Report,
    UnsubscribeRequest,
)
from bounceparse.requests import RequestSettings, reporter_auth
from bounceparse.rewriting import find_provider_id, find_verp_recipient
from bounceparse.signatures import Signature, TokenSettings, envelope_recipients, find_signature
from bounceparse.stored import storable, storable_time, stored_key

ASKING = (Status.UNSUBSCRIBE, Status.COMPLAINT)


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


class DraftOutcome(NamedTuple):
    """A new outcome as far as its report decides it.

    Attributes:
        columns: see :func:`~bounceparse.drafts.told_columns`.
        returned_from: the domain of the returned message's From.
        by_hand: whether a person passed the report on.
        whole: the outcome itself where more is asked of it: of requests and complaints.
    """

    key: bytes
    columns: dict[str, Any]
    clues: Clues
    returned_from: str | None
    signature: Signature | None
    reporter_auth: str | None
    by_hand: bool
    whole: NewOutcome | None


class Draft(NamedTuple):
    """A message's row but for the time of recording, and its outcomes."""

    row: dict[str, Any]
    outcomes: tuple[DraftOutcome, ...]


@dataclass(frozen=True, slots=True)
class Drafter:
    """Makes drafts: what workers are given, with ``today`` for the expiry of tokens."""

    settings: RequestSettings
    raw_limit: int
    today: date

    def __call__(self, message: ReadMessage) -> ReadMessage:
        """``message`` with its draft, and without the report where nothing more is asked of it."""
        if message.prepared is not None:
            return message
        draft = Draft(
            _message_row(message, self.raw_limit),
            tuple([draft_outcome(new, self.settings, self.today) for new in new_outcomes(message, self.settings)]),
        )
        if message.report.hint or any(one.whole is not None for one in draft.outcomes):
            return replace(message, prepared=draft)
        return replace(message, prepared=draft, report=_ELSEWHERE, outcomes=())


_ELSEWHERE = Report(Kind.OTHER, None, (), ())


def draft_of(message: ReadMessage) -> Draft:
    """The draft that a :class:`Drafter` made."""
    draft = message.prepared
    assert isinstance(draft, Draft)
    return draft


def draft_outcome(new: NewOutcome, settings: RequestSettings, today: date) -> DraftOutcome:
    """What the report decides of a new outcome."""
    message = new.message
    signature = None
    if new.item is not None and settings.keyring.keys:
        signature = find_signature(new.item, message.report, new.envelope, settings, today)
    asks = new.outcome.status in ASKING or isinstance(new.item, UnsubscribeRequest)
    return DraftOutcome(
        new.key,
        told_columns(new),
        new.clues(),
        from_domain(new.original),
        signature,
        reporter_auth(message.report, message.place.account, settings),
        "forwarded" in message.report.defects,
        new if asks else None,
    )


def _message_row(one: ReadMessage, raw_limit: int) -> dict[str, Any]:
    """A held message keeps its bytes: it is to be read again when the reader's fault is mended."""
    kept = one.raw[:raw_limit] if one.error is None else one.raw
    return {
        "account": one.place.account,
        "folder": one.place.folder,
        "uidvalidity": one.place.uidvalidity,
        "uid": one.place.uid,
        "key": one.key,
        "size": one.size,
        "kind": one.report.kind.value,
        "dialect": one.report.dialect,
        "defects": " ".join(one.report.defects),
        "from_address": one.report.from_address,
        "subject": one.report.subject,
        "error": one.error,
        "raw": zlib.compress(kept, 1) if kept else None,
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


def told_columns(new: NewOutcome) -> dict[str, Any]:
    """The columns that the report alone decides."""
    outcome = new.outcome
    original = new.original
    evidence = outcome.evidence
    return {
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
        "list_id": outcome.list_id,
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
        "occurred_at": new.at,
        "evidence_rule": evidence.rule,
        "evidence_part": evidence.part,
        "evidence_matched": evidence.matched,
        "evidence_dialect": evidence.dialect,
        "mailbox": new.message.place.account,
        "message_key": message_key(outcome.message_id),
        "message_id_from": original.message_id_from if original is not None else None,
        "of_domain": outcome.reason in DOMAIN_REASONS,
        "own_id": new.own_id or new.provider_id,
        "will_retry_until": _will_retry_until(new.told),
    }


def _will_retry_until(told: RecipientReport | None) -> datetime | None:
    """Until when the reporting server says that it goes on trying (RFC 3464 section 2.3.9)."""
    text = told.will_retry_until if told is not None else None
    return storable_time(parse_date(text)) if text else None

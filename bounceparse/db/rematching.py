"""Recorded outcomes that nothing has settled -> those whose match is another one now: rows of the ledger came late."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.clues import Clues, ladder
from bounceparse.db.ledger import Ledger
from bounceparse.db.proving import BY_HAND, NOBODY, UNAUTHENTICATED, Proven, distrust_hands, match_sender, settle
from bounceparse.db.requests import resolve, waiting_for_address
from bounceparse.db.rows import matched_columns
from bounceparse.db.tokens import messages_of_tokens
from bounceparse.match import ENVELOPE, Match, Sent, match
from bounceparse.outcomes import Status
from bounceparse.signatures import Signature
from bounceparse.verp import Verdict

_SPENT = (Verdict.EXPIRED.value, Verdict.UNKNOWN_KEY.value)


def match_again(connection: Connection, unsettled: Sequence[sa.Row[Any]], now: datetime) -> list[dict[str, Any]]:
    """The rows whose match is another now, with their new columns and the row as it was under ``before``.

    A request that waited for its token's message, or for its address, acts by itself then and waits no longer.
    """
    rows = [row for row in unsettled if not _is_final(row)]
    known = messages_of_tokens(connection, [row.token_id for row in rows])
    waiting = _waiting_for_address(connection, rows)
    clues = [_clues(row) for row in rows]
    changed, acting = [], []
    for row, one, found in zip(rows, clues, match(clues, Ledger(connection)), strict=True):
        proven = _prove(connection, row, one, found, known, waiting)
        if not _differs(row, proven.match):
            continue
        changed.append(_changed(row, proven))
        if row.classified_status == Status.UNSUBSCRIBE and proven.authenticated:
            acting.append(bytes(row.report_key))
    resolve(connection, acting, now, "its message is known now")
    return changed


def _is_final(row: sa.Row[Any]) -> bool:
    """Whether no later row of the ledger can mend what a row's match lacks."""
    evidence = row.match_evidence or ""
    if evidence == BY_HAND:
        return row.token_id is None
    return evidence == UNAUTHENTICATED or (row.matched_by in ENVELOPE and evidence.startswith(_SPENT))


def _clues(row: sa.Row[Any]) -> Clues:
    recipients = (row.original_recipient, row.reported_recipient, row.final_recipient)
    found = ladder(row.message_key, row.message_id_from, row.envelope_id, recipients, row.own_id)
    hint = row.match_evidence if row.matched_by == "verp" and not found.recipients else None
    return Clues(found.ladder, found.recipients, hint, row.subject, row.event_at, found.failing)


def _prove(
    connection: Connection,
    row: sa.Row[Any],
    clues: Clues,
    found: Match,
    known: Mapping[int, Sent],
    waiting: set[bytes],
) -> Proven:
    if bytes(row.report_key) in waiting and found.sent is None:
        acting = match_sender(connection, row.reported_recipient)
        return Proven(acting, authenticated=True) if isinstance(acting, Match) else Proven(found)
    proven = settle(_signature(row), known, found, Clues((), ()) if row.kind == "unsubscribe" else clues)
    if row.match_evidence == BY_HAND:
        proven = distrust_hands(proven)
    return proven._replace(authenticated=proven.authenticated or row.authenticated)


def _signature(row: sa.Row[Any]) -> Signature | None:
    """The token that a row carried: its id is kept, and whether it had expired when it came."""
    if row.token_id is None:
        return None
    source = row.matched_by if (row.matched_by or "").startswith("token:") else "token"
    expired = (row.match_evidence or "").startswith(Verdict.EXPIRED.value) or source.endswith(":expired")
    return Signature(source.removesuffix(":expired"), Verdict.EXPIRED if expired else Verdict.VALID, row.token_id)


def _waiting_for_address(connection: Connection, rows: Sequence[sa.Row[Any]]) -> set[bytes]:
    asked = [bytes(row.report_key) for row in rows if row.classified_status == Status.UNSUBSCRIBE and not row.sent_id]
    return waiting_for_address(connection, asked)


def _differs(row: sa.Row[Any], found: Match) -> bool:
    """Whether a match says more than what is recorded; a weak one that is gone is no news."""
    if found.sent is None:
        return False
    return (found.trust, found.sent.id, found.matched_by) != (row.trust, row.sent_id, row.matched_by)


def _changed(row: sa.Row[Any], proven: Proven) -> dict[str, Any]:
    status = Status(row.classified_status)
    columns = matched_columns(proven.match, status, row.reported_recipient, row.list_id, row.from_domain)
    nobody = NOBODY if row.anonymous else {}
    asks = status in (Status.UNSUBSCRIBE, Status.COMPLAINT)
    return {**row._asdict(), **columns, **nobody, "authenticated": asks and proven.authenticated, "before": row}

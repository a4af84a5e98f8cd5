"""Unsubscribe requests in the database: one-click requests as messages, and those that wait for a person."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.classify import classify
from bounceparse.db import manual
from bounceparse.db.audit import note_audit
from bounceparse.db.bulk import insert_new
from bounceparse.db.proving import UNKNOWN_ADDRESS, Proven, latest_by_sender
from bounceparse.db.tables import messages, requests, standing, streams, tokens
from bounceparse.db.types import stored_key
from bounceparse.drafts import NewOutcome
from bounceparse.errors import ConfigError
from bounceparse.match import UNMATCHED, Sent
from bounceparse.outcomes import Status, Trust
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import Kind, Report, UnsubscribeRequest

ONE_CLICK = "one-click"
"""The account under which one-click requests are recorded."""
PAGE = 500
_ITSELF = "bounceparse"
"""Who decided a request that acts after all."""


@dataclass(frozen=True, slots=True)
class WaitingRequest:
    """A request that waits for a person, or that a person has decided.

    Attributes:
        id: its number, for ``review``.
        state: ``pending``, ``accepted`` or ``rejected``.
        why: why it did not act by itself: ``unproven``, ``forged-token``, ``unknown-token``, ``several-senders``,
            ``unknown-address``, ``not-to-us``, ``transactional`` or ``words``.
        address: who asks: the From address. ``scopes``: what accepting it suppresses, parted by spaces.
        subject, words: what the mail says. ``mailbox``: where it came in.
        recorded_at, decided_at, decided_by, note: when it came, and what was decided.
    """

    id: int
    state: str
    why: str
    address: str | None
    scopes: str
    subject: str | None
    words: str | None
    mailbox: str
    recorded_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    note: str | None


def one_click_message(connection: Connection, token: str, token_id: int) -> ReadMessage:
    """A one-click request as a read message: the same one until a person lifts what it led to."""
    recipient = sa.select(tokens.c.recipient_key).where(tokens.c.id == token_id).scalar_subquery()
    lifted = sa.select(sa.func.max(standing.c.forgiven_at)).where(standing.c.subject == recipient)
    key = sha256(f"one-click\n{token_id}\n{connection.execute(lifted).scalar()}".encode()).digest()
    item = UnsubscribeRequest(None, None, "List-Unsubscribe=One-Click", "text", "one-click", tokens=(token,))
    report = Report(Kind.UNSUBSCRIBE, "one-click", (), (item,))
    return ReadMessage(Place(ONE_CLICK, ""), key, 0, report, classify(report))


def is_recorded(connection: Connection, message: ReadMessage) -> bool:
    """Whether this very message is recorded."""
    same = sa.select(messages.c.id).where(
        messages.c.account == message.place.account,
        messages.c.folder == "",
        messages.c.key == message.key,
        sa.text("uid = 0"),
    )
    return connection.execute(same).first() is not None


# What waits for a person


def note_waiting(
    connection: Connection,
    batch: Iterable[ReadMessage],
    fresh: Sequence[NewOutcome],
    proven: Sequence[Proven],
    now: datetime,
) -> None:
    """Write the requests of new outcomes that do not act, and mails that only speak of it; each report once."""
    waiting = {
        new.message.key: _waiting(
            connection, new.message, one, new.outcome.recipient, new.outcome.evidence.matched, now
        )
        for new, one in zip(fresh, proven, strict=True)
        if one.why is not None and new.outcome.status is Status.UNSUBSCRIBE
    }
    for message in batch:
        if message.report.hint and message.key not in waiting:
            spoken = Proven(UNMATCHED, why="words")
            waiting[message.key] = _waiting(
                connection, message, spoken, message.report.from_address, message.report.hint, now
            )
    if waiting:
        insert_new(connection, requests, list(waiting.values()))


def _waiting(
    connection: Connection, message: ReadMessage, proven: Proven, address: str | None, words: str, now: datetime
) -> dict[str, Any]:
    found = proven.match
    correlated = found.sent is not None and found.trust is Trust.CORRELATED
    rows = [found.sent] if correlated and found.sent else latest_by_sender(connection, address)
    return {
        "report_key": message.key,
        "state": "pending",
        "why": proven.why,
        "address": address,
        "scopes": " ".join(dict.fromkeys(_scope(connection, row) for row in rows)) or "marketing:",
        "subject": message.report.subject,
        "words": words[:500],
        "mailbox": message.place.account,
        "recorded_at": now,
        "decided_at": None,
        "decided_by": None,
        "note": None,
    }


def _scope(connection: Connection, row: Sent) -> str:
    if row.list_id and " " not in row.list_id:
        return f"list:{row.list_id}"
    sender = connection.execute(sa.select(streams.c.sender).where(streams.c.name == row.stream)).scalar()
    return f"marketing:{(sender or '').replace(' ', '')}"


_COLUMNS = [requests.c[name] for name in WaitingRequest.__dataclass_fields__]


def waiting_requests(connection: Connection, state: str | None, after: int) -> list[WaitingRequest]:
    """Up to :data:`PAGE` requests in a state (None: any) with an id above ``after``, oldest first."""
    query = sa.select(*_COLUMNS).where(requests.c.id > after).order_by(requests.c.id).limit(PAGE)
    if state is not None:
        query = query.where(requests.c.state == state)
    return [WaitingRequest(*row) for row in connection.execute(query)]


def count_waiting(connection: Connection, since: datetime) -> int:
    """How many requests have waited since before ``since``."""
    query = sa.select(sa.func.count()).where(requests.c.state == "pending", requests.c.recorded_at < since)
    return int(connection.execute(query).scalar_one())


def decide(
    connection: Connection,
    request_id: int,
    now: datetime,
    *,
    accept: bool,
    by: str,
    note: str | None,
    address: str | None,
    scope: str | None,
) -> WaitingRequest:
    """Accept a request, which suppresses its address in its scopes, or reject it. Raises ``ConfigError`` if it is no more pending."""
    row = connection.execute(sa.select(*_COLUMNS).where(requests.c.id == request_id)).first()
    if row is None:
        raise ConfigError(f"there is no request {request_id}: `bounceparse review list` shows them")
    found = WaitingRequest(*row)
    if found.state != "pending":
        raise ConfigError(f"request {request_id} is {found.state} already")
    address = address or found.address
    if accept and not address:
        raise ConfigError(f"request {request_id} names no address: say which with --address")
    for one in (scope or found.scopes).split() if accept else ():
        manual.suppress(
            connection, str(address), now, reason="unsubscribe-request", scope=one, until=None, note=note,
            cause="unsubscribe", status=Status.UNSUBSCRIBE.value,
        )  # fmt: skip
    decided = {"state": "accepted" if accept else "rejected", "decided_at": now, "decided_by": by, "note": note}
    connection.execute(sa.update(requests).where(requests.c.id == request_id).values(**decided))
    action, subject = "accept request" if accept else "reject request", stored_key(address or "")
    note_audit(connection, now, by, action, subject, scope or found.scopes, note, f"request {request_id}")
    return found


def resolve(connection: Connection, report_keys: Iterable[bytes], now: datetime, note: str) -> None:
    """Take requests off the list of those that wait: they act by themselves now."""
    decided = {"state": "accepted", "decided_at": now, "decided_by": _ITSELF, "note": note}
    keys = sorted(set(report_keys))
    if keys:
        pending = sa.and_(requests.c.report_key.in_(keys), requests.c.state == "pending")
        connection.execute(sa.update(requests).where(pending).values(**decided))


def waiting_for_address(connection: Connection, report_keys: Iterable[bytes]) -> set[bytes]:
    """Those of these reports whose request waits because no message to its address was known."""
    pending = sa.and_(requests.c.state == "pending", requests.c.why == UNKNOWN_ADDRESS)
    keys = sorted(set(report_keys))
    found = sa.select(requests.c.report_key).where(pending, requests.c.report_key.in_(keys))
    return {bytes(key) for key in connection.execute(found).scalars()} if keys else set()

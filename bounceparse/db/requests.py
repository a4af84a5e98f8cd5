"""Unsubscribe requests and complaints in the database: the tokens they carry, what proves them, what waits for a person."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.classify import classify
from bounceparse.clues import Key, message_key
from bounceparse.db import manual
from bounceparse.db.bulk import insert_new
from bounceparse.db.engine import chunks
from bounceparse.db.ledger import Ledger
from bounceparse.db.rows import NewOutcome
from bounceparse.db.tables import messages, requests, sent, standing, streams, tokens
from bounceparse.db.types import stored_key
from bounceparse.errors import ConfigError
from bounceparse.match import Lookup, Match, Sent
from bounceparse.outcomes import Status, Trust
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import FeedbackReport, Item, Kind, Report, UnsubscribeRequest
from bounceparse.requests import RequestSettings, is_authenticated, is_for_requests, is_signed, read_token
from bounceparse.verp import TOKEN_IDS, Purpose, Reading, Verdict

ONE_CLICK = "one-click"
"""The account under which one-click requests are recorded."""
PAGE = 500
_ASKING = (Status.UNSUBSCRIBE.value, Status.COMPLAINT.value)
_NO_ONE = ("address_key", "domain_key", "recipient", "message_key")


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


class Proven(NamedTuple):
    """An outcome's match with what its request proves.

    ``why`` says why an unsubscribe request waits, None where it acts. ``anonymous`` is a complaint that suppresses nobody.
    """

    match: Match
    authenticated: bool = False
    why: str | None = None
    anonymous: bool = False


# Tokens


def new_token(connection: Connection, message_id: str, recipient: str, now: datetime, **of: str | None) -> int:
    """The id of the token of a message to a recipient, a new one where it has none; ``of``: stream and list_id."""
    row = {
        "message_id": message_id.strip().strip("<>"),
        "message_key": message_key(message_id) or message_id,
        "recipient": recipient,
        "recipient_key": stored_key(recipient),
    }
    same = sa.select(tokens.c.id).where(
        tokens.c.message_key == row["message_key"], tokens.c.recipient_key == row["recipient_key"]
    )
    while True:
        known = connection.execute(same).scalar()
        if known is not None:
            return int(known)
        drawn = {**row, "stream": of.get("stream"), "list_id": of.get("list_id"), "created_at": now}
        insert_new(connection, tokens, [{"id": secrets.randbelow(TOKEN_IDS), **drawn}])  # a number taken is drawn again


def find_token(connection: Connection, token_id: int) -> bool:
    """Whether a message is known by this token id."""
    return connection.execute(sa.select(tokens.c.id).where(tokens.c.id == token_id)).first() is not None


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


# What proves a request


def check_signatures(batch: Iterable[ReadMessage], settings: RequestSettings) -> RequestSettings:
    """``settings`` with the messages whose DKIM signature holds, where that is to be checked: before any transaction."""
    found = [
        message.key
        for message in batch
        if message.place.account in settings.check_dkim
        and any(outcome.status in _ASKING for outcome in message.outcomes)
        and not is_authenticated(message.report, message.place.account, settings)
        and is_signed(message.report, message.raw)
    ]
    return replace(settings, authentic=frozenset(found)) if found else settings


def prove(
    connection: Connection,
    fresh: Sequence[NewOutcome],
    matches: Sequence[Match],
    settings: RequestSettings,
    now: datetime,
) -> list[Proven]:
    """What each new outcome's request proves; other outcomes keep their match."""
    asking = {place: item for place, new in enumerate(fresh) if (item := _item_of(new)) is not None}
    if not asking:
        return [Proven(match) for match in matches]
    readings = {
        place: read_token(item, fresh[place].message.report, settings.keyring, now.date())
        for place, item in asking.items()
    }
    known = _rows_of_tokens(connection, [one.token_id for one in readings.values() if one and one.token_id is not None])
    proven = []
    for place, (new, match) in enumerate(zip(fresh, matches, strict=True)):
        item = asking.get(place)
        if item is None:
            proven.append(Proven(match))
            continue
        found = _by_token(readings[place], known, match, item)
        if found is None and isinstance(item, FeedbackReport):
            found = _complaint(new, item, match, settings)
        proven.append(found or _by_sender(connection, new, match, settings))
    return proven


def _item_of(new: NewOutcome) -> Item | None:
    """The request or the report that an outcome came from."""
    if new.outcome.status not in _ASKING:
        return None
    kinds = (UnsubscribeRequest, FeedbackReport)
    return next((item for item in new.message.report.items if isinstance(item, kinds)), None)


def _rows_of_tokens(connection: Connection, ids: Sequence[int]) -> dict[int, Sent]:
    """The message that each token is of: the ledger's row, else what the token itself was made for."""
    rows = [
        row
        for part in chunks(sorted(set(ids)))
        for row in connection.execute(sa.select(tokens).where(tokens.c.id.in_(part)))
    ]
    lookups = {row.id: Lookup(Key.MESSAGE_ID, row.message_key, (row.recipient_key,)) for row in rows}
    found = Ledger(connection).find(lookups.values())
    known = {}
    for row in rows:
        answer = found.get(lookups[row.id])
        mine = [one for one in answer.rows if one.recipient_key == row.recipient_key] if answer else []
        known[row.id] = mine[0] if mine else _made_for(row)
    return known


def _made_for(row: sa.Row[Any]) -> Sent:
    blank = dict.fromkeys(Sent._fields)
    told = {name: getattr(row, name) for name in ("message_id", "recipient", "recipient_key", "stream", "list_id")}
    return Sent(**{**blank, **told})


def _by_token(reading: Reading | None, known: Mapping[int, Sent], match: Match, item: Item) -> Proven | None:
    """What the token proves; None where there is none that is ours, or an old one that only says so."""
    if reading is None:
        return None
    purpose = Purpose.UNSUBSCRIBE if isinstance(item, UnsubscribeRequest) else Purpose.FEEDBACK
    source, row = f"token:{purpose}", known.get(reading.token_id) if reading.token_id is not None else None
    if reading.verdict is Verdict.BAD_MAC:
        forged = match._replace(trust=Trust.FORGED, matched_by=source, evidence=reading.verdict.value)
        return Proven(forged, why="forged-token")
    if row is None:
        return Proven(match, why="unknown-token") if reading.token_id is not None else None
    if reading.verdict is Verdict.VALID:
        return Proven(Match(row, Trust.VERIFIED, source, str(reading.token_id)), authenticated=True)
    if purpose is Purpose.UNSUBSCRIBE:  # expired: a late opt-out is honoured
        return Proven(Match(row, Trust.UNVERIFIED, f"{source}:expired", str(reading.token_id)), authenticated=True)
    return None


def _complaint(new: NewOutcome, item: FeedbackReport, match: Match, settings: RequestSettings) -> Proven:
    """A complaint without a token of ours: that of a trap suppresses nobody, that of RFC 9477 must be authentic."""
    message = new.message
    if item.trap:
        return Proven(match, anonymous=True)
    checked = message.place.account in settings.authserv_ids or message.place.account in settings.check_dkim
    if item.original.cfbl_feedback_id and checked and not _is_authentic(message, settings):
        return Proven(match._replace(trust=Trust.UNVERIFIED))
    return Proven(match)


def _is_authentic(message: ReadMessage, settings: RequestSettings) -> bool:
    return message.key in settings.authentic or is_authenticated(message.report, message.place.account, settings)


def _by_sender(connection: Connection, new: NewOutcome, match: Match, settings: RequestSettings) -> Proven:
    """A request without a token acts for the From address, when that is proven and the request was meant as one."""
    message = new.message
    row = match.sent if match.trust is Trust.CORRELATED else None
    if not is_for_requests(message.report, message.place.account, settings):
        return Proven(match, why="not-to-us")
    if not _is_authentic(message, settings):
        return Proven(match, why="unproven")
    if row is not None:
        transactional = _category(connection, row.stream) == "transactional"
        return Proven(match, why="transactional") if transactional else Proven(match, authenticated=True)
    senders = latest_by_sender(connection, new.outcome.recipient)
    if len(senders) != 1:
        return Proven(match, why="several-senders" if senders else "unknown-address")
    found = Match(senders[0], Trust.UNVERIFIED, "from", new.outcome.recipient)
    return Proven(found, authenticated=True)


def _category(connection: Connection, stream: str | None) -> str:
    category = connection.execute(sa.select(streams.c.category).where(streams.c.name == stream)).scalar()
    return str(category or "marketing")


_MARKETING_TO = (
    sa.select(*[sent.c[name] for name in Sent._fields], sa.func.coalesce(streams.c.sender, "").label("sender"))
    .select_from(sent.outerjoin(streams, streams.c.name == sent.c.stream))
    .where(sent.c.recipient_key == sa.bindparam("address"), sa.func.coalesce(streams.c.category, "") != "transactional")
    .order_by(sent.c.sent_at.desc(), sent.c.id.desc())
    .limit(1000)
)


def latest_by_sender(connection: Connection, address: str | None) -> list[Sent]:
    """The latest marketing message to an address of each sender that wrote to it, newest first."""
    if not address:
        return []
    found: dict[str, Sent] = {}
    for row in connection.execute(_MARKETING_TO, {"address": stored_key(address)}):
        found.setdefault(row.sender, Sent(*row[: len(Sent._fields)]))
    return list(found.values())


def mark_rows(rows: Sequence[dict[str, Any]], proven: Sequence[Proven]) -> None:
    """Write what was proven into the rows of outcomes."""
    for row, one in zip(rows, proven, strict=True):
        row["authenticated"] = one.authenticated
        if one.anonymous:
            row.update(dict.fromkeys(_NO_ONE))


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
        new.message.key: _waiting(connection, new.message, one.why, one.match, new.outcome.evidence.matched, now)
        for new, one in zip(fresh, proven, strict=True)
        if one.why is not None and new.outcome.status is Status.UNSUBSCRIBE
    }
    for message in batch:
        if message.report.hint and message.key not in waiting:
            waiting[message.key] = _waiting(connection, message, "words", Match(), message.report.hint, now)
    if waiting:
        insert_new(connection, requests, list(waiting.values()))


def _waiting(
    connection: Connection, message: ReadMessage, why: str, match: Match, words: str, now: datetime
) -> dict[str, Any]:
    address = message.report.from_address
    rows = (
        [match.sent]
        if match.sent is not None and match.trust is Trust.CORRELATED
        else latest_by_sender(connection, address)
    )
    return {
        "report_key": message.key,
        "state": "pending",
        "why": why,
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
    by: str | None,
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
    return found

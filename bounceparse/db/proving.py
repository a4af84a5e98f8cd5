"""What proves an outcome: a token of ours, the ledger, and of a complaint or a request also who sends it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.clues import Clues
from bounceparse.db.ledger import Ledger
from bounceparse.db.tables import sent, streams
from bounceparse.db.tokens import messages_of_tokens
from bounceparse.db.types import stored_key
from bounceparse.drafts import ASKING, DraftOutcome, NewOutcome
from bounceparse.match import Match, Sent, match, settle_by_signature
from bounceparse.outcomes import Status, Trust
from bounceparse.reading import ReadMessage
from bounceparse.reports import FeedbackReport, UnsubscribeRequest
from bounceparse.requests import (
    RequestSettings,
    from_domain,
    is_authenticated,
    is_for_requests,
    is_signed,
)
from bounceparse.signatures import Signature
from bounceparse.verp import Purpose, Verdict

_UNSUBSCRIBE = f"token:{Purpose.UNSUBSCRIBE}"
UNAUTHENTICATED = "unauthenticated"
"""The evidence of a complaint that must be authentic for its own From domain and is not (RFC 9477 section 4)."""
BY_HAND = "forwarded-by-hand"
"""The evidence of a bounce that came through a person's hands, who can write what they like: only a token proves it."""
UNKNOWN_ADDRESS = "unknown-address"
NOBODY: Mapping[str, None] = dict.fromkeys(("address_key", "domain_key", "recipient"))
"""The columns of an outcome that is about no address."""
UNCOUNTED: Mapping[str, None] = dict.fromkeys(("address_key", "domain_key"))
"""The columns of an outcome that counts for no address, though it names one."""


class Proven(NamedTuple):
    """An outcome's match with what its request proves.

    ``authenticated`` tells that a token of ours that holds, or who asks, proves it; ``why`` why an unsubscribe request
    waits, None where it acts. ``anonymous`` is a complaint that suppresses nobody. ``token_id`` is that of a token whose
    signature holds, whether or not its message is known.
    """

    match: Match
    authenticated: bool = False
    why: str | None = None
    anonymous: bool = False
    token_id: int | None = None
    reporter_auth: str | None = None


def check_signatures(batch: Iterable[ReadMessage], settings: RequestSettings) -> RequestSettings:
    """``settings`` with the messages whose DKIM signature holds, where that is to be checked: before any transaction."""
    found = [
        message.key
        for message in batch
        if message.place.account in settings.check_dkim
        and any(outcome.status in ASKING for outcome in message.outcomes)
        and not is_authenticated(message.report, message.place.account, settings)
        and is_signed(message.report, message.raw)
    ]
    return replace(settings, authentic=frozenset(found)) if found else settings


def prove(connection: Connection, fresh: Sequence[DraftOutcome], settings: RequestSettings) -> list[Proven]:
    """What proves each new outcome: its token, else the ledger, and of a request also who asks."""
    known = messages_of_tokens(connection, [one.signature.token_id for one in fresh if one.signature])
    proven = []
    for new, found in zip(fresh, match([one.clues for one in fresh], Ledger(connection)), strict=True):
        asking = new.whole
        named = Clues((), ()) if asking is not None and isinstance(asking.item, UnsubscribeRequest) else new.clues
        told = settle(new.signature, known, found, named)
        if asking is not None:
            told = told._replace(reporter_auth=_reporter_auth(asking.message, new.reporter_auth, settings))
        elif new.reporter_auth is not None:
            told = told._replace(reporter_auth=new.reporter_auth)
        if asking is not None and asking.outcome.status in ASKING:
            told = _prove_request(connection, asking, told, settings)
        elif new.by_hand:
            told = distrust_hands(told)
        proven.append(told)
    return proven


def distrust_hands(proven: Proven) -> Proven:
    """A bounce that a person forwards is recorded, and proves something only by a token that holds."""
    if proven.match.trust in (Trust.VERIFIED, Trust.FORGED):
        return proven
    return proven._replace(match=Match(None, Trust.UNVERIFIED, proven.match.matched_by, BY_HAND))


def settle(signature: Signature | None, known: Mapping[int, Sent], ladder: Match, clues: Clues) -> Proven:
    """What a token, if there is one, makes of the ladder's match; ``known`` are the messages of tokens."""
    if signature is None:
        return Proven(ladder)
    row = known.get(signature.token_id) if signature.token_id is not None else None
    if row is not None and signature.verdict is Verdict.EXPIRED and signature.source == _UNSUBSCRIBE:
        late = Match(row, Trust.UNVERIFIED, f"{_UNSUBSCRIBE}:expired", str(signature.token_id))
        return Proven(late, authenticated=True, token_id=signature.token_id)  # a late opt-out is honoured
    found = settle_by_signature(signature, row, ladder, clues.recipients, clues.failing)
    holds = row is not None and signature.verdict is Verdict.VALID
    return Proven(found, authenticated=holds, token_id=signature.token_id)


def _reporter_auth(message: ReadMessage, told: str | None, settings: RequestSettings) -> str | None:
    """What was found of the reporter's authenticity: ``told`` by our own server, or by checking the signature here."""
    if message.key in settings.authentic:
        return f"dkim=pass header.from={from_domain(message.report)}"
    return told


def _prove_request(connection: Connection, new: NewOutcome, proven: Proven, settings: RequestSettings) -> Proven:
    """Whether a complaint or a request acts, on whom, and why a request waits."""
    if isinstance(new.item, FeedbackReport):
        proven = _prove_feedback(new, new.item, proven, settings)
    elif isinstance(new.item, UnsubscribeRequest) and not proven.authenticated:
        if proven.match.trust is Trust.FORGED:
            return proven._replace(why="forged-token")
        if proven.token_id is not None:
            return proven._replace(why="unknown-token")
        return _by_sender(connection, new, proven, settings)
    return proven


def _prove_feedback(new: NewOutcome, item: FeedbackReport, proven: Proven, settings: RequestSettings) -> Proven:
    """That of a trap is about nobody, that of RFC 9477 must be authentic unless it has our token."""
    message = new.message
    if item.trap:
        proven = proven._replace(anonymous=True)
    if proven.authenticated:
        return proven
    forged = proven.match.trust is Trust.FORGED
    if new.outcome.status is Status.UNSUBSCRIBE:
        return proven._replace(why="forged-token" if forged else "unknown-token" if proven.token_id else "unproven")
    if forged or proven.token_id is not None:
        return proven
    checked = message.place.account in settings.authserv_ids or message.place.account in settings.check_dkim
    if not (item.original.cfbl_feedback_id and checked) or _is_authentic(message, settings):
        return proven
    return proven._replace(match=Match(None, Trust.UNVERIFIED, proven.match.matched_by, UNAUTHENTICATED))


def _is_authentic(message: ReadMessage, settings: RequestSettings) -> bool:
    return message.key in settings.authentic or is_authenticated(message.report, message.place.account, settings)


def _by_sender(connection: Connection, new: NewOutcome, proven: Proven, settings: RequestSettings) -> Proven:
    """A request without a token acts for the From address, when that is proven and the request was meant as one."""
    message, found = new.message, proven.match
    row = found.sent if found.trust is Trust.CORRELATED else None
    if not is_for_requests(message.report, message.place.account, settings):
        return proven._replace(why="not-to-us")
    if not _is_authentic(message, settings):
        return proven._replace(why="unproven")
    if row is not None:
        transactional = _category(connection, row.stream) == "transactional"
        return proven._replace(why="transactional") if transactional else proven._replace(authenticated=True)
    acting = match_sender(connection, new.outcome.recipient)
    if isinstance(acting, str):
        return proven._replace(why=acting)
    return proven._replace(match=acting, authenticated=True)


def match_sender(connection: Connection, address: str | None) -> Match | str:
    """The match of a request that is known to come from ``address``, else why a person must look at it."""
    senders = latest_by_sender(connection, address)
    if len(senders) != 1:
        return "several-senders" if senders else UNKNOWN_ADDRESS
    return Match(senders[0], Trust.UNVERIFIED, "from", address)


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
        row["authenticated"] = one.authenticated and row["status"] in ASKING
        row["token_id"] = one.token_id
        row["reporter_auth"] = one.reporter_auth
        row["anonymous"] = one.anonymous
        if one.anonymous:
            row.update(NOBODY)
        elif one.match.evidence == BY_HAND:
            row.update(UNCOUNTED)

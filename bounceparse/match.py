"""Clues + what was sent -> :class:`Match`: the sent message that an outcome is about, and how far that is proven.

The ledger is asked once for a whole batch (:class:`SentMail`), and once more for what no id leads to. Signed tokens go
before the ledger and alone make a match ``verified`` or ``forged`` (:func:`settle_by_signature`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from bounceparse.clues import Clue, Clues, Key, is_same_mailbox
from bounceparse.outcomes import Status, Trust
from bounceparse.signatures import Signature
from bounceparse.verp import Purpose, Verdict

WEAK_WINDOW = timedelta(days=14)
"""How long before an event a message may have been sent that recipient and subject alone lead to."""
_CLOCKS = timedelta(days=1)  # what the clocks of two servers may differ by


class Sent(NamedTuple):
    """One row of the ledger: a message to one recipient."""

    id: int
    message_id: str
    recipient: str
    recipient_key: str
    from_address: str | None
    stream: str | None
    list_id: str | None
    customer: str | None
    sent_at: datetime | None


class Lookup(NamedTuple):
    """A question to the ledger: the rows of the message that ``value`` names, for these recipients.

    ``at`` is the time of the event, where it matters: mail that was sent long before it is no answer.
    """

    key: Key
    value: str
    recipients: tuple[str, ...]
    at: datetime | None = None


class Found(NamedTuple):
    """The ledger's answer.

    ``rows`` are those of the recipients asked for, or the message's only row where it has just one; ``shared`` tells
    that many recipients have this Message-ID.
    """

    rows: tuple[Sent, ...]
    shared: bool


class SentMail(Protocol):
    """The ledger, as matching needs it."""

    def find(self, lookups: Iterable[Lookup]) -> Mapping[Lookup, Found]:
        """Answer many lookups at once; what the ledger does not know is missing from the answer."""


class Match(NamedTuple):
    """What an outcome was matched to.

    Attributes:
        sent: the ledger's row, None where nothing proves that the report is about mail of ours.
        trust: how far it is proven (:class:`Trust`).
        matched_by: what led there: ``token:return-path`` and other places of tokens, ``envelope-id``,
            ``message-id:returned``, ``message-id:status``, ``own-id``, ``provider-id``, ``from``; or, without a row, what
            proves too little: a token that does not hold, ``recipient-subject``, ``verp``.
        evidence: the clue's value; of a token its verdict and id.
        shared: whether many recipients share the Message-ID, which then proves less.
    """

    sent: Sent | None = None
    trust: Trust = Trust.UNVERIFIED
    matched_by: str | None = None
    evidence: str | None = None
    shared: bool = False


UNMATCHED = Match()
_FAILED = frozenset({Status.HARDBOUNCE, Status.SPAMBOUNCE})


def match(clues: Sequence[Clues], sent_mail: SentMail) -> list[Match]:
    """The match of each of ``clues``, in order. Pure but for the questions to ``sent_mail``."""
    asked = [[(step, Lookup(step.key, step.value, one.wanted)) for step in one.ladder] for one in clues]
    found = sent_mail.find({lookup for steps in asked for _, lookup in steps})
    matches = [_match_one(one, steps, found) if found else UNMATCHED for one, steps in zip(clues, asked, strict=True)]
    _add_weak(matches, clues, sent_mail)
    return matches


def _match_one(one: Clues, steps: Sequence[tuple[Clue, Lookup]], found: Mapping[Lookup, Found]) -> Match:
    """The first clue that the ledger knows decides; one that names our recipient goes before one that does not."""
    forwarded = UNMATCHED
    for clue, lookup in steps:
        answer = found.get(lookup)
        if answer is None:
            continue
        row = _row_of(one.wanted, answer.rows)
        if row is not None:
            trust = Trust.CORRELATED if is_named(row, one.recipients, one.failing) else Trust.FORWARDED
            return Match(row, trust, clue.source, clue.value, answer.shared)
        if len(answer.rows) == 1 and not answer.shared and forwarded.sent is None:
            trust = Trust.FORWARDED if one.wanted else Trust.CORRELATED
            forwarded = Match(answer.rows[0], trust, clue.source, clue.value)
    return forwarded


def _row_of(recipients: tuple[str, ...], rows: tuple[Sent, ...]) -> Sent | None:
    """The row of the first of these recipients that has one."""
    by_key = {row.recipient_key: row for row in rows}
    return next((by_key[recipient] for recipient in recipients if recipient in by_key), None)


def _add_weak(matches: list[Match], clues: Sequence[Clues], sent_mail: SentMail) -> None:
    """Note beside what nothing proves which message it may be about: for people, it leads to no row of the ledger."""
    asked = {
        place: Lookup(Key.SUBJECT, one.subject, one.recipients, one.at)
        for place, (one, match) in enumerate(zip(clues, matches, strict=True))
        if match.sent is None and one.subject and one.at and one.recipients
    }
    found = sent_mail.find(set(asked.values())) if asked else {}
    for place, one in enumerate(clues):
        if matches[place].sent is not None:
            continue
        answer = found.get(asked[place]) if place in asked else None
        if one.hint:  # kept: it still tells who is meant when the message's rows come
            matches[place] = Match(None, Trust.UNVERIFIED, "verp", one.hint)
        elif answer and (row := _latest_before(answer.rows, one)):
            matches[place] = Match(None, Trust.UNVERIFIED, "recipient-subject", row.message_id)


def _latest_before(rows: Iterable[Sent], one: Clues) -> Sent | None:
    """The latest of these messages that may have led to the event."""
    at = one.at
    fitting = [row for row in rows if row.sent_at and at and at - WEAK_WINDOW <= row.sent_at <= at + _CLOCKS]
    return max(fitting, key=lambda row: row.sent_at or at, default=None)  # type: ignore[arg-type, return-value]


ENVELOPE = (f"token:{Purpose.RETURN_PATH}", f"token:{Purpose.ENVELOPE_ID}")
"""Where tokens stand that expire with what the mail server knows of a message."""


def settle_by_signature(
    signature: Signature | None,
    of_token: Sent | None,
    ladder: Match,
    recipients: tuple[str, ...],
    failing: str | None = None,
) -> Match:
    """The match of an outcome that carries a token: ``of_token`` is the message that it was made for, if one is known.

    The token binds message and recipient: for any other address it is a forward. One that is wrong is a forgery,
    whatever else is right. An envelope that has expired, or whose key is gone, is no report that could still come, and
    proves nothing either. A token whose message is not known yet leaves the decision to the ladder.
    """
    if signature is None:
        return ladder
    source, verdict, _ = signature
    if verdict is Verdict.BAD_MAC:
        return Match(None, Trust.FORGED, source, signature.evidence)
    if verdict is Verdict.VALID and of_token is not None:
        trust = Trust.VERIFIED if is_named(of_token, recipients, failing) else Trust.FORWARDED
        return Match(of_token, trust, source, signature.evidence)
    if ladder.sent is None or (source in ENVELOPE and verdict in (Verdict.EXPIRED, Verdict.UNKNOWN_KEY)):
        told = signature._replace(verdict=Verdict.UNKNOWN_ID) if verdict is Verdict.VALID else signature
        return Match(None, Trust.UNVERIFIED, source, told.evidence)
    return ladder


def is_named(row: Sent, recipients: tuple[str, ...], failing: str | None) -> bool:
    """Whether the report is about the address that we mailed: the one that fails is its mailbox, or none is named.

    A report may name our address as the original recipient and be about another: a member of an alias.
    """
    if failing is not None:
        return is_same_mailbox(row.recipient_key, failing)
    local = row.recipient_key.rpartition("@")[0]
    return not recipients or row.recipient_key in recipients or local in recipients


def matched_status(status: Status, found: Match) -> Status:
    """The status to record: a failure at an address that we did not mail is at most a softbounce for the one we did."""
    return forwarded_status(status) if found.trust is Trust.FORWARDED else status


def forwarded_status(status: Status) -> Status:
    """What a status at an address behind a forward or an alias is for the address that we mailed."""
    return Status.SOFTBOUNCE if status in _FAILED else status

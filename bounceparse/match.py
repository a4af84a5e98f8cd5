"""Clues + what was sent -> :class:`Match`: the sent message that an outcome is about, and how far that is proven.

The ledger is asked once for a whole batch (:class:`SentMail`). Signed tokens, when there are any, are judged before
the ledger and alone make a match ``verified`` or ``forged``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from bounceparse.clues import Clue, Clues, Key
from bounceparse.outcomes import Status, Trust


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
    """A question to the ledger: the rows of the message that ``value`` names, for these recipients."""

    key: Key
    value: str
    recipients: tuple[str, ...]


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
        matched_by: the clue that led there: ``envelope-id``, ``message-id:returned``, ``message-id:status``, ...
        evidence: the clue's value.
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
    """The match of each of ``clues``, in order. Pure but for the one question to ``sent_mail``."""
    asked = [[(step, Lookup(step.key, step.value, one.recipients)) for step in one.ladder] for one in clues]
    found = sent_mail.find({lookup for steps in asked for _, lookup in steps})
    if not found:
        return [UNMATCHED] * len(clues)
    return [_match_one(one.recipients, steps, found) for one, steps in zip(clues, asked, strict=True)]


def _match_one(
    recipients: tuple[str, ...], steps: Sequence[tuple[Clue, Lookup]], found: Mapping[Lookup, Found]
) -> Match:
    """The first clue that the ledger knows decides; one that names our recipient goes before one that does not."""
    forwarded = UNMATCHED
    for clue, lookup in steps:
        answer = found.get(lookup)
        if answer is None:
            continue
        row = _row_of(recipients, answer.rows)
        if row is not None:
            return Match(row, Trust.CORRELATED, clue.source, clue.value, answer.shared)
        if len(answer.rows) == 1 and not answer.shared and forwarded.sent is None:
            trust = Trust.FORWARDED if recipients else Trust.CORRELATED
            forwarded = Match(answer.rows[0], trust, clue.source, clue.value)
    return forwarded


def _row_of(recipients: tuple[str, ...], rows: tuple[Sent, ...]) -> Sent | None:
    """The row of the first of these recipients that has one."""
    by_key = {row.recipient_key: row for row in rows}
    return next((by_key[recipient] for recipient in recipients if recipient in by_key), None)


def matched_status(status: Status, found: Match) -> Status:
    """The status to record: a failure at an address that we did not mail is at most a softbounce for the one we did."""
    return Status.SOFTBOUNCE if found.trust is Trust.FORWARDED and status in _FAILED else status

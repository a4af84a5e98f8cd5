"""The life of a message to one recipient: injected -> deferred -> final, by what is told of it and by the clock.

What is told is a :class:`Word`: the sender or its mail server's log says one when it writes the ledger, every report that
is matched to the message says one. The status is what the words come to, whatever order they arrive in:

1. The word of the highest :data:`RANK` stands. A failure goes before ``ok``, since a server may take a mail and return it
   later; ``ok`` goes before ``deferred``; of failures the one that says more goes first, ``hardbounce`` before
   ``spambounce`` before ``softbounce``.
2. Of words of one rank the latest stands, by the time that it tells; of the same time, the one that was told first.
3. Only a proven word counts: its match is verified, correlated or forwarded. A failure behind a forward is a softbounce.
4. A complaint or an unsubscribe request is no word about delivery. It stands beside the status, with its earliest time.

Silence says something, too, and what it says is *presumed*: shown, never counted, and it resets nothing.

5. Without a word the message is ``injected``. When its stream's retry window and :data:`GRACE` are over since it was
   sent, it is presumed ``ok``: a failure would have been reported by now.
6. When the last word is ``deferred``, the server tries until the later of what it said itself (Will-Retry-Until) and the
   retry window after that word. :data:`GRACE` later the message is presumed a ``softbounce``, for the reason it waited for.
7. What is presumed lies over the words and is none itself: any new word is judged as if nothing were presumed. Reason and
   time of the status stay those of the last word.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from bounceparse.outcomes import Status, Trust

RANK: Mapping[str, int] = {
    Status.INJECTED: 0,
    Status.DEFERRED: 1,
    Status.OK: 2,
    Status.SOFTBOUNCE: 3,
    Status.SPAMBOUNCE: 4,
    Status.HARDBOUNCE: 5,
}
"""Rules 1 and 2: a status only moves up, so the order in which words arrive does not matter."""
PRESUMED: Mapping[str, str] = {Status.INJECTED: Status.OK, Status.DEFERRED: Status.SOFTBOUNCE}
"""What is presumed of a message that nothing more is heard of."""
GRACE = timedelta(hours=24)
"""How long the report of a server that has given up may take to arrive and to be read."""
_PROVEN = frozenset({Trust.VERIFIED.value, Trust.CORRELATED.value, Trust.FORWARDED.value})


class Word(NamedTuple):
    """What was told of a message: a delivery status, why, when, and how long the server goes on trying."""

    status: str
    reason: str | None
    at: datetime
    retry_until: datetime | None = None


class Fate(NamedTuple):
    """The status of a message, as a row of the ledger holds it; ``status_at`` is None while nothing was told."""

    status: str
    reason: str | None = None
    status_at: datetime | None = None
    retry_until: datetime | None = None
    presumed: bool = False


@dataclass(frozen=True, slots=True)
class Life:
    """How long mail servers try: ``retry_window`` for all streams but those in ``by_stream``."""

    retry_window: timedelta = timedelta(hours=48)
    by_stream: Mapping[str, timedelta] = field(default_factory=dict, hash=False)

    def window(self, stream: str | None) -> timedelta:
        """The retry window of a stream."""
        return self.by_stream.get(stream, self.retry_window) if stream else self.retry_window

    def is_silent(self, sent_at: datetime, stream: str | None, now: datetime) -> bool:
        """Whether a message without a word is presumed ``ok`` (rule 5)."""
        return sent_at <= now - GRACE - self.window(stream)

    def is_given_up(self, word: Word, stream: str | None, now: datetime) -> bool:
        """Whether a deferral is presumed to have ended in vain (rule 6)."""
        until = word.at + self.window(stream)
        return max(until, word.retry_until or until) <= now - GRACE


def is_word(trust: str) -> bool:
    """Whether a match is proof enough for what the report tells to count (rule 3)."""
    return trust in _PROVEN


def decide(words: Iterable[Word]) -> Word | None:
    """The word that stands (rules 1 and 2), None without any; ``words`` in the order in which they were told."""
    return max(words, key=lambda word: (RANK[word.status], word.at), default=None)


def find_fate(words: Iterable[Word], sent_at: datetime | None, stream: str | None, life: Life, now: datetime) -> Fate:
    """What the words and the silence after them come to at ``now``."""
    word = decide(words)
    if word is None:
        silent = sent_at is not None and life.is_silent(sent_at, stream, now)
        return Fate(Status.OK.value, presumed=True) if silent else Fate(Status.INJECTED.value)
    given_up = word.status == Status.DEFERRED and life.is_given_up(word, stream, now)
    status = PRESUMED[word.status] if given_up else word.status
    return Fate(str(status), word.reason, word.at, word.retry_until, given_up)

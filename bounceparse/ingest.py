"""Messages in, rows out: the loop that reads what a mailbox holds, records it, and only then marks it.

This module knows no IMAP and no SQL: a :class:`Mailbox` hands out raw messages, a :class:`Store` records them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from bounceparse.outcomes import Outcome
from bounceparse.reports import Report


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies. ``uidvalidity`` and ``uid`` are 0 for what was replayed or handed in; ``folder`` is then its source."""

    account: str
    folder: str
    uidvalidity: int = 0
    uid: int = 0


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message that was read: what :meth:`Store.record` writes in one transaction.

    Attributes:
        place: where it lies; unique in the store.
        key: the report key (32 bytes): the same for every copy of the same report.
        size: of the raw message in bytes.
        report, outcomes: what ``parse`` and ``classify`` made of it.
        raw: the message as fetched (possibly cut to a limit).
        error: why it could not be read: the message is then *held*, never deleted, and has no outcomes.
    """

    place: Place
    key: bytes
    size: int
    report: Report
    outcomes: tuple[Outcome, ...]
    raw: bytes = b""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What one :meth:`Store.record` did: message rows written, outcomes seen, outcomes that were new."""

    messages: int = 0
    outcomes: int = 0
    new_outcomes: int = 0

    def __add__(self, other: Recorded) -> Recorded:
        return Recorded(
            self.messages + other.messages, self.outcomes + other.outcomes, self.new_outcomes + other.new_outcomes
        )


class Store(Protocol):
    """What the loop needs of a database. Each method is one transaction, committed when it returns."""

    def lock(self, account: str, folder: str) -> AbstractContextManager[None]:
        """Hold the lock of a mailbox; raises ``MailboxLocked`` at once when somebody else has it."""

    def known_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The UIDs that are recorded, marked or not."""

    def pending_marks(self, account: str, folder: str, uidvalidity: int) -> list[int]:
        """The UIDs that are recorded but not yet noted as marked on the server (held messages left out)."""

    def record(self, messages: Sequence[ReadMessage]) -> Recorded:
        """Write message rows, outcomes (matched to the ledger), sent statuses and standing. Idempotent."""

    def note_marked(self, account: str, folder: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """Note that these messages are marked, moved or deleted on the server."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """One message as a mailbox handed it out; ``raw`` may be cut, ``size`` is the whole message's."""

    uid: int
    raw: bytes
    size: int


class Mailbox(Protocol):
    """An open folder of one account."""

    account: str
    folder: str
    uidvalidity: int

    def uids(self) -> list[int]:
        """All UIDs in the folder that are not marked as deleted, ascending."""

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        """The messages, in batches bounded in number and bytes; a UID that has gone is left out."""

    def mark(self, uids: Sequence[int]) -> None:
        """Do what ``after`` asks for: flag, move or delete these messages on the server."""

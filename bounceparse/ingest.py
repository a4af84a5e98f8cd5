"""Messages in, rows out: the loop that reads what a mailbox holds, records it, and only then marks it.

This module knows no IMAP and no SQL: a :class:`Mailbox` hands out raw messages, a :class:`Store` records them.

A message is in one of these states, told by the folder and the store alone; there is no other memory. *Recorded* means
that one transaction wrote the message row, its outcomes and what follows from them.

======== =================== ============== ============================================================================
state    in the folder       in the store   what the next poll does
======== =================== ============== ============================================================================
new      there               no row         fetches, reads and records it
held     there, untouched    row, error     nothing: it could not be read or recorded, and is never marked, moved or deleted
pending  there or gone       row, unmarked  marks it (again) and notes that; it is not fetched again
done     as ``after`` asks   row, marked    nothing, until it is older than ``keep_days``: then it deletes it
======== =================== ============== ============================================================================

What a crash, a lost connection or a lost database leaves behind, step by step:

* *SEARCH, FETCH, reading*: the message is still new. Nothing was written anywhere.
* *recording*: the transaction is undone, the message is still new. When the commit came through and only its answer was
  lost, the message is pending.
* *after the commit, before or during STORE*: pending. A flag that is set again stays set.
* *during MOVE*: pending, here or in the target already: what is gone from the folder cannot be moved again.
* *COPY, STORE of the deleted flag, UID EXPUNGE*, where the server has no MOVE: pending. A crash between COPY and STORE
  leaves a second copy in the target and nothing else; what has the flag already is not copied again.
* *STORE of the deleted flag, UID EXPUNGE*, to delete: pending, or done and overdue. The flag is set again and the
  message expunged.
* *after marking, before that is noted*: pending, too; the next poll marks in vain and notes it.

A batch that the store refuses for good is recorded one message at a time, and what it refuses then is held. A fault of
the store as a whole (locked, full, gone) ends the poll instead: no message is to blame for it.

A new UIDVALIDITY makes every message new. So does a copy in another folder. Both are recorded as messages of their own,
and their outcomes are the ones that are there, because an outcome's key is made from the report alone.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from bounceparse.errors import MailboxError, SchemaError, StoreError
from bounceparse.reading import Place, Prepare, ReadMessage, Unread, held, in_batches, read_batches
from bounceparse.reports import Kind
from bounceparse.rules import RuleSet

REPLAY = "replay"
"""The account of messages that were replayed from files."""

_BATCH = 500  # messages a transaction
_BATCH_BYTES = 8_000_000
_MARK_BATCH = 1000
_NOTE_BATCH = 1000
_MARKS_AHEAD = 2  # batches that are recorded and not marked yet


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

    @property
    def prepare(self) -> Prepare | None:
        """What is to be done with each message where it is read, before :meth:`record` gets it."""

    def lock(self, account: str, folder: str) -> AbstractContextManager[None]:
        """Hold the lock of a mailbox; raises ``MailboxLocked`` at once when somebody else has it."""

    def known_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The UIDs that are recorded, marked or not."""

    def pending_marks(self, account: str, folder: str, uidvalidity: int) -> list[int]:
        """The UIDs that are recorded but not yet noted as marked on the server (held messages left out)."""

    def marked_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The UIDs that are noted as marked on the server."""

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
    """A folder of one account. It may connect as late as at the first question: the lock comes before."""

    @property
    def account(self) -> str:
        """The account's name."""

    @property
    def folder(self) -> str:
        """The folder's name."""

    @property
    def uidvalidity(self) -> int:
        """What the folder's UIDs are valid for (RFC 9051 section 2.3.1.1)."""

    def uids(self) -> list[int]:
        """All UIDs in the folder that are not marked as deleted, ascending."""

    def overdue(self) -> list[int]:
        """The UIDs that are to be deleted if they are recorded, marked before or not: older than ``keep_days``."""

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        """The messages, in batches bounded in number and bytes; a UID that has gone is left out."""

    def mark(self, uids: Sequence[int]) -> None:
        """Do what ``after`` asks for: flag, move or delete these messages on the server. Those that are gone are done."""


@dataclass(slots=True)
class PollResult:
    """What one poll of a mailbox, or one replay, did.

    Attributes:
        mailbox: the account's name.
        fetched: messages that were fetched and read.
        messages: message rows that were written.
        outcomes, new_outcomes: outcomes that the messages told, and those that were not known before.
        marked: messages that were marked, moved or deleted on the server, or found gone.
        failed: messages that could not be read or recorded and are held.
        seconds: how long it took; 0 where it did not come to its end.
    """

    mailbox: str
    fetched: int = 0
    messages: int = 0
    outcomes: int = 0
    new_outcomes: int = 0
    marked: int = 0
    failed: int = 0
    seconds: float = field(default=0.0, compare=False)


Progress = Callable[[PollResult, int | None], None]
"""Called after each batch with the result so far and the number of messages in all, None where it is not known."""


def poll_mailbox(
    mailbox: Mailbox,
    store: Store,
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
    jobs: int = 1,
    rules: RuleSet | None = None,
) -> PollResult:
    """Record everything in ``mailbox`` that ``store`` does not know, then mark it on the server.

    A dry run fetches and reads but writes nothing, neither to the store nor to the server. ``jobs`` above 1 lets that
    many processes read when there is much to read; ``rules`` are the packaged ones unless given. Raises
    ``MailboxLocked``, ``MailboxError`` and ``StoreError``; what was recorded until then stays, and the next poll goes on
    from there.
    """
    account, folder = mailbox.account, mailbox.folder
    result = PollResult(account)
    with store.lock(account, folder), _Line(mailbox) as line:
        new = _new(mailbox, store)
        if not dry_run:
            result.marked += _mark(line, store, _due(mailbox, store))
        prepare = None if dry_run else store.prepare
        with _Marks(line, store, result) as marks:
            for messages in read_batches(line.fetch_ahead(_unread(mailbox, new)), jobs, rules, prepare):
                if dry_run:
                    _count(result, messages, Recorded(outcomes=sum(len(message.outcomes) for message in messages)))
                else:
                    recorded, messages = _record(store, messages)
                    _count(result, messages, recorded)
                    marks.add([message.place.uid for message in messages if message.error is None])
                if progress:
                    progress(result, len(new))
            marks.finish()
    return result


class _Line:
    """A mailbox whose commands go one by one through a thread of their own, so that a batch is fetched while another is
    read and recorded.

    After a fault no further command is given: what the connection, or one made anew, would say is not to be trusted.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox, self.uidvalidity = mailbox, mailbox.uidvalidity
        self._thread = ThreadPoolExecutor(1, "mailbox")
        self._fault: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def fetch_ahead(self, batches: Iterator[list[Unread]]) -> Iterator[list[Unread]]:
        """The batches, each fetched while the one before it is dealt with."""
        coming = self._thread.submit(self._do, next, batches, None)
        while (batch := coming.result()) is not None:
            coming = self._thread.submit(self._do, next, batches, None)
            yield batch

    def mark(self, uids: Sequence[int]) -> Future[None]:
        """Have :meth:`Mailbox.mark` done when what was asked for before is done."""
        return self._thread.submit(self._do, self.mailbox.mark, uids)

    def _do(self, command: Callable[..., Any], *arguments: Any) -> Any:
        if self._fault is not None:
            raise self._fault
        try:
            return command(*arguments)
        except BaseException as fault:
            self._fault = fault
            raise


class _Marks:
    """Marks what is recorded while the next batches are read, and notes it, many at a time.

    What a crash leaves marked and not noted is pending: the next poll marks it again.
    """

    def __init__(self, line: _Line, store: Store, result: PollResult) -> None:
        self._line, self._store, self._result = line, store, result
        self._coming: deque[tuple[Sequence[int], Future[None]]] = deque()
        self._marked: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        # What is marked by now need not be marked again, and a poll that is told to stop marks what it has recorded
        if isinstance(error, Exception) and not isinstance(error, StoreError):
            with suppress(MailboxError, StoreError):
                self._collect(0)
            with suppress(StoreError):
                self._note()

    def add(self, uids: Sequence[int]) -> None:
        """Have these marked. Raises what went wrong with marking others."""
        if uids:
            self._coming.append((uids, self._line.mark(uids)))
        self._collect(_MARKS_AHEAD)

    def finish(self) -> None:
        """Wait until all is marked, and note it."""
        self._collect(0)
        self._note()

    def _collect(self, most: int) -> None:
        while len(self._coming) > most or (self._coming and self._coming[0][1].done()):
            uids, marking = self._coming.popleft()
            marking.result()
            self._marked += uids
            self._result.marked += len(uids)
            if len(self._marked) >= _NOTE_BATCH:
                self._note()

    def _note(self) -> None:
        if self._marked:
            _note(self._line, self._store, self._marked)
            self._marked = []


@dataclass(frozen=True, slots=True)
class Survey:
    """What a folder holds that is not recorded: how many messages, and of those looked at, reports and outcomes."""

    new: int = 0
    read: int = 0
    reports: int = 0
    outcomes: int = 0


def survey(mailbox: Mailbox, store: Store, *, most: int = 500, rules: RuleSet | None = None) -> Survey:
    """Look at the newest ``most`` messages that are not recorded, and change nothing. Raises as ``poll_mailbox`` does."""
    with store.lock(mailbox.account, mailbox.folder):
        new = _new(mailbox, store)
        found = [message for batch in read_batches(_unread(mailbox, new[-most:]), 1, rules) for message in batch]
    reports = sum(message.report.kind is not Kind.OTHER for message in found)
    return Survey(len(new), len(found), reports, sum(len(message.outcomes) for message in found))


def _new(mailbox: Mailbox, store: Store) -> list[int]:
    known = store.known_uids(mailbox.account, mailbox.folder, mailbox.uidvalidity)
    return [uid for uid in mailbox.uids() if uid not in known]


def _unread(mailbox: Mailbox, uids: Sequence[int]) -> Iterator[list[Unread]]:
    account, folder, validity = mailbox.account, mailbox.folder, mailbox.uidvalidity
    for batch in mailbox.fetch(uids):
        yield [Unread(Place(account, folder, validity, found.uid), found.raw, found.size) for found in batch]


def _due(mailbox: Mailbox, store: Store) -> list[int]:
    """What an earlier poll left to be marked, and what was marked long ago and is to be deleted now."""
    place = mailbox.account, mailbox.folder, mailbox.uidvalidity
    pending = store.pending_marks(*place)
    overdue = mailbox.overdue()
    return sorted({*pending, *store.marked_uids(*place).intersection(overdue)}) if overdue else pending


def _record(store: Store, messages: list[ReadMessage]) -> tuple[Recorded, list[ReadMessage]]:
    """Record a batch; when that fails for good, one at a time, and hold the message that it fails for.

    Answers what was done and the messages as they were recorded. Raises what is wrong with the database as a whole.
    """
    try:
        return store.record(messages), messages
    except Exception as error:
        if _is_passing(error):
            raise
    total = Recorded()
    done: list[ReadMessage] = []
    for message in messages:
        recorded, message = _record_one(store, message)
        total += recorded
        done.append(message)
    return total, done


def _record_one(store: Store, message: ReadMessage) -> tuple[Recorded, ReadMessage]:
    try:
        return store.record([message]), message
    except Exception as error:
        if _is_passing(error):
            raise
        instead = held(message, error)
        try:
            return store.record([instead]), instead
        except Exception:  # not the message's fault: the database takes nothing
            raise error from None


def _is_passing(error: Exception) -> bool:
    """Whether the same batch may be recorded later, so that no message of it is to blame."""
    return isinstance(error, StoreError) and (error.temporary or isinstance(error, SchemaError))


def _mark(line: _Line, store: Store, uids: Sequence[int]) -> int:
    """Mark and note that, a bounded number at a time; answers how many."""
    for at in range(0, len(uids), _MARK_BATCH):
        part = uids[at : at + _MARK_BATCH]
        line.mark(part).result()
        _note(line, store, part)
    return len(uids)


def _note(line: _Line, store: Store, uids: Sequence[int]) -> None:
    if uids:
        store.note_marked(line.mailbox.account, line.mailbox.folder, line.uidvalidity, uids)


def _count(result: PollResult, messages: Sequence[ReadMessage], recorded: Recorded) -> None:
    result.fetched += len(messages)
    result.failed += sum(message.error is not None for message in messages)
    result.messages += recorded.messages
    result.outcomes += recorded.outcomes
    result.new_outcomes += recorded.new_outcomes


def replay(
    sources: Iterable[tuple[str, bytes]],
    store: Store,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    rules: RuleSet | None = None,
) -> PollResult:
    """Record saved messages, given as (source, raw) like those of ``files.read_files``, through the same pipeline.

    Replaying again records nothing new. Raises ``StoreError``; batches that were recorded until then stay.
    """
    result = PollResult(REPLAY)
    unread = (Unread(Place(REPLAY, _absolute(source)), raw, len(raw)) for source, raw in sources)
    prepare = _ByKey(store.prepare)
    for messages in read_batches(in_batches(unread, _BATCH, _BATCH_BYTES), jobs, rules, prepare):
        recorded, messages = _record(store, messages)
        _count(result, messages, recorded)
        if progress:
            progress(result, None)
    return result


def _absolute(source: str) -> str:
    """The same name for a file wherever it is replayed from."""
    return source if source.partition("#")[0] == "-" else os.path.abspath(source)  # noqa: PTH100 - may be no path


@dataclass(frozen=True, slots=True)
class _ByKey:
    """Gives a message a place that is its own, since a path alone is none: its content may change."""

    then: Prepare | None

    def __call__(self, message: ReadMessage) -> ReadMessage:
        uid = int.from_bytes(message.key[:8], "big") >> 1
        message = replace(message, place=replace(message.place, uid=uid))
        return message if self.then is None else self.then(message)

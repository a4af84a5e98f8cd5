"""Messages in, rows out: the loop that reads what a mailbox holds, records it, and only then marks it.

This module knows no IMAP and no SQL: a :class:`Mailbox` hands out raw messages, a :class:`Store` records them.

A message is in one of these states, told by the folder and the store alone; there is no other memory. *Recorded* means
that one transaction wrote the message row, its outcomes and what follows from them.

======== =================== ============== ============================================================================
state    in the folder       in the store   what the next poll does
======== =================== ============== ============================================================================
new      there               no row         fetches, reads and records it
held     there, untouched    row, error     nothing: it was recorded as unreadable, and is never marked, moved or deleted
pending  there or gone       row, unmarked  marks it (again) and notes that; it is not fetched again
done     as ``after`` asks   row, marked    nothing
======== =================== ============== ============================================================================

What a crash, a lost connection or a lost database leaves behind, step by step:

* *while fetching or reading*: the message is still new. Nothing was written anywhere.
* *while recording*: the transaction is undone, the message is still new. When the commit came through and only its
  answer was lost, the message is pending.
* *after the commit, before or while marking*: pending. Marking twice does no harm: a flag that is set stays set, a
  message that is gone cannot be moved or deleted again. A server without MOVE copies first: a crash between the copy
  and the deletion leaves a second copy in the target folder and nothing else.
* *after marking, before that is noted*: pending, too; the next poll marks in vain and notes it.

A new UIDVALIDITY makes every message new. So does a copy in another folder. Both are recorded as messages of their own,
and their outcomes are the ones that are there, because an outcome's key is made from the report alone.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bounceparse.classify import classify
from bounceparse.mime import Mail, report_key
from bounceparse.outcomes import Outcome
from bounceparse.parse import read_report
from bounceparse.reports import Kind, Report
from bounceparse.rules import RuleSet

if TYPE_CHECKING:
    from concurrent.futures import Future

REPLAY = "replay"
"""The account of messages that were replayed from files."""

_BATCH = 200  # messages a transaction
_BATCH_BYTES = 8_000_000
_MARK_BATCH = 1000
_BEFORE_POOL = 5  # batches that are read before workers are worth their start
_AHEAD = 2  # batches that wait for each worker


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies.

    For what was replayed, ``folder`` is its source, ``uidvalidity`` 0 and ``uid`` made from its key, so that a file
    whose content has changed is another message. For what was handed in, both numbers are 0.
    """

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

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        """The messages, in batches bounded in number and bytes; a UID that has gone is left out."""

    def mark(self, uids: Sequence[int]) -> Sequence[int]:
        """Do what ``after`` asks for: flag, move or delete these messages on the server.

        Returns those that are settled, the ones that are gone among them; the others are asked for again at the next
        poll, until they are old enough to be deleted.
        """


@dataclass(slots=True)
class PollResult:
    """What one poll of a mailbox, or one replay, did.

    Attributes:
        mailbox: the account's name.
        fetched: messages that were fetched and read.
        messages: message rows that were written.
        outcomes, new_outcomes: outcomes that the messages told, and those that were not known before.
        marked: messages that were marked, moved or deleted on the server, or found gone.
        failed: messages that could not be read and are held.
    """

    mailbox: str
    fetched: int = 0
    messages: int = 0
    outcomes: int = 0
    new_outcomes: int = 0
    marked: int = 0
    failed: int = 0


Progress = Callable[[PollResult, int | None], None]
"""Called after each batch with the result so far and the number of messages in all, None where it is not known."""


class Unread(NamedTuple):
    """A message on its way to a reader; ``size`` is the whole message's where ``raw`` was cut."""

    place: Place
    raw: bytes
    size: int


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
    with store.lock(account, folder):
        validity = mailbox.uidvalidity
        known = store.known_uids(account, folder, validity)
        new = [uid for uid in mailbox.uids() if uid not in known]
        if not dry_run:
            result.marked += _mark(mailbox, store, store.pending_marks(account, folder, validity))
        unread = (
            [Unread(Place(account, folder, validity, found.uid), found.raw, found.size) for found in batch]
            for batch in mailbox.fetch(new)
        )
        for messages in read_batches(unread, jobs, rules):
            if dry_run:
                _count(result, messages, Recorded(outcomes=sum(len(message.outcomes) for message in messages)))
            else:
                _count(result, messages, store.record(messages))
                readable = [message.place.uid for message in messages if message.error is None]
                result.marked += _mark(mailbox, store, readable)
            if progress:
                progress(result, len(new))
    return result


def _mark(mailbox: Mailbox, store: Store, uids: Sequence[int]) -> int:
    """Mark and note that, a bounded number at a time; answers how many are settled."""
    settled = 0
    for at in range(0, len(uids), _MARK_BATCH):
        done = mailbox.mark(uids[at : at + _MARK_BATCH])
        if done:
            store.note_marked(mailbox.account, mailbox.folder, mailbox.uidvalidity, done)
        settled += len(done)
    return settled


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
    for messages in read_batches(_batched(unread), jobs, rules):
        _count(result, messages, store.record([_placed_by_key(message) for message in messages]))
        if progress:
            progress(result, None)
    return result


def _absolute(source: str) -> str:
    """The same name for a file wherever it is replayed from."""
    return source if source.partition("#")[0] == "-" else os.path.abspath(source)  # noqa: PTH100 - may be no path


def _placed_by_key(message: ReadMessage) -> ReadMessage:
    """The message at a place that is its own: a path alone is none, its content may change."""
    uid = int.from_bytes(message.key[:8], "big") >> 1
    return replace(message, place=replace(message.place, uid=uid))


def _batched(unread: Iterable[Unread]) -> Iterator[list[Unread]]:
    batch: list[Unread] = []
    size = 0
    for message in unread:
        batch.append(message)
        size += len(message.raw)
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def read_message(place: Place, raw: bytes, size: int, rules: RuleSet | None = None) -> ReadMessage:
    """Read one message: parse and classify, by the packaged rules unless others are given.

    ``size`` is the whole message's in bytes, more than ``raw`` has where it was cut. Never raises: this is the one place
    where a reader's own bug is caught, and it makes a held message with ``error`` set.
    """
    try:
        mail = Mail(raw)
        report = read_report(mail)
        outcomes = classify(report, rules)
        key = report_key(mail)
    except Exception as error:
        return ReadMessage(place, sha256(raw).digest(), size, _UNREAD_REPORT, (), raw, _error_text(error))
    if size > len(raw) and "truncated" not in report.defects:
        report = replace(report, defects=(*report.defects, "truncated"))
    return ReadMessage(place, key, size, report, outcomes, raw)


_UNREAD_REPORT = Report(Kind.OTHER, None, ("unreadable",), ())


def _error_text(error: Exception) -> str:
    """What went wrong and where, without the message's own words, which may be anybody's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(frame.filename)}:{frame.lineno} ({frame.name})"  # noqa: PTH119


def read_batches(
    batches: Iterable[list[Unread]], jobs: int = 1, rules: RuleSet | None = None
) -> Iterator[list[ReadMessage]]:
    """The batches, read, in their order.

    The first ones are read here; when more follow and ``jobs`` is above 1, that many worker processes read the rest while
    this one goes on fetching and recording.
    """
    waiting = iter(batches)
    for batch in waiting if jobs <= 1 else islice(waiting, _BEFORE_POOL):
        yield [read_message(*message, rules) for message in batch]
    if jobs > 1 and (more := next(waiting, None)) is not None:
        yield from _read_in_pool(more, waiting, jobs, rules)


def _read_in_pool(
    first: list[Unread], others: Iterator[list[Unread]], jobs: int, rules: RuleSet | None
) -> Iterator[list[ReadMessage]]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawn: a forked worker would keep this process's locks and sockets when this process is killed
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=start_reader, initargs=(rules,)) as pool:
        under_way: deque[tuple[list[Unread], Future[list[ReadMessage]]]] = deque()
        batch: list[Unread] | None = first
        while batch is not None or under_way:
            if batch is not None:
                under_way.append((batch, pool.submit(_read_batch, batch)))
                batch = next(others, None)
            if batch is None or len(under_way) > jobs * _AHEAD:
                unread, answer = under_way.popleft()
                # the raw messages have not left this process and need not come back to it
                yield [replace(message, raw=sent.raw) for message, sent in zip(answer.result(), unread, strict=True)]


def _read_batch(batch: list[Unread]) -> list[ReadMessage]:
    return [replace(read_message(*message, reader_rules()), raw=b"") for message in batch]


_reader_rules: RuleSet | None = None


def start_reader(rules: RuleSet | None) -> None:
    """The initializer of a pool's workers: each keeps ``rules`` and ends when its parent does."""
    global _reader_rules
    _reader_rules = rules
    _end_with_parent()


def reader_rules() -> RuleSet | None:
    """The rules that this worker was started with."""
    return _reader_rules


def _end_with_parent() -> None:
    """Let this worker process end when its parent does, however that ends."""
    import signal
    from multiprocessing import parent_process
    from threading import Thread

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()

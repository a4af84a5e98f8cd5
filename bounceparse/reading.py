"""Raw messages in, read messages out: parse and classify, in this process or in several.

The one place where a reader's own bug is caught: the message that meets it is *held*.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from bounceparse.classify import classify
from bounceparse.mime import Mail, report_key
from bounceparse.outcomes import Outcome
from bounceparse.parse import read_report
from bounceparse.reports import Kind, Report

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from bounceparse.rules import RuleSet

_BEFORE_POOL = 1000  # messages that are read before workers are worth their start
_AHEAD = 2  # batches that wait for the workers
_PIECE = 50  # messages that a worker gets at once,
_PIECE_BYTES = 500_000  # or fewer when they are large
_MOST_SENT = 3_000_000  # bytes of a piece that is sent to a worker: on its way it exists several times
_MOST_WAITING = 16_000_000  # bytes of all batches that wait


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
        prepared: what a :data:`Prepare` made of it. Report and outcomes are then empty as far as nothing more is asked
            of them.
    """

    place: Place
    key: bytes
    size: int
    report: Report
    outcomes: tuple[Outcome, ...]
    raw: bytes = b""
    error: str | None = None
    prepared: object = None


Prepare = Callable[[ReadMessage], ReadMessage]
"""What a store does with a message beforehand, where that was read: picklable, for workers."""


class Unread(NamedTuple):
    """A message on its way to a reader; ``size`` is the whole message's where ``raw`` was cut."""

    place: Place
    raw: bytes
    size: int


class _HasRaw(Protocol):
    @property
    def raw(self) -> bytes: ...


M = TypeVar("M", bound=_HasRaw)
T = TypeVar("T")


def in_batches(messages: Iterable[M], count: int, size: int) -> Iterator[list[M]]:
    """``messages`` in lists that end at ``count`` of them, or at ``size`` bytes of raw mail."""
    batch: list[M] = []
    held = 0
    for message in messages:
        batch.append(message)
        held += len(message.raw)
        if len(batch) >= count or held >= size:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def read_message(place: Place, raw: bytes, size: int, rules: RuleSet | None = None) -> ReadMessage:
    """Read one message: parse and classify, by the packaged rules unless others are given.

    ``size`` is the whole message's in bytes, more than ``raw`` has where it was cut. Never raises: this is the one place
    where a reader's own bug is caught, and it makes a held message with ``error`` set.
    """
    try:
        mail = Mail(raw, own_header=rules.own_header if rules else None)
        report = read_report(mail)
        outcomes = classify(report, rules)
        key = report_key(mail)
    except Exception as error:
        return ReadMessage(place, sha256(raw).digest(), size, _UNREAD_REPORT, (), raw, _error_text(error))
    if size > len(raw) and "truncated" not in report.defects:
        report = replace(report, defects=(*report.defects, "truncated"))
    return ReadMessage(place, key, size, report, outcomes, raw)


def held(message: ReadMessage, error: Exception) -> ReadMessage:
    """``message`` as one that could not be recorded because of ``error``: nothing of it but its bytes."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    return replace(
        message, report=_UNREAD_REPORT, outcomes=(), prepared=None, error=f"not recorded: {_error_text(cause)}"
    )


_UNREAD_REPORT = Report(Kind.OTHER, None, ("unreadable",), ())


def _error_text(error: Exception) -> str:
    """What went wrong and where, without the message's own words, which may be anybody's."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {os.path.basename(frame.filename)}:{frame.lineno} ({frame.name})"  # noqa: PTH119


def read_batches(
    batches: Iterable[list[Unread]], jobs: int = 1, rules: RuleSet | None = None, prepare: Prepare | None = None
) -> Iterator[list[ReadMessage]]:
    """The batches, read and prepared, in their order; by ``jobs`` processes where there is much to read."""
    reader = _Reader(rules, prepare)
    return share_out(batches, jobs, reader.read, reader.read_away, _with_raw)


@dataclass(frozen=True, slots=True)
class _Reader:
    """How messages are read, here and in workers."""

    rules: RuleSet | None
    prepare: Prepare | None

    def read(self, batch: list[Unread]) -> list[ReadMessage]:
        found = [read_message(*message, self.rules) for message in batch]
        return found if self.prepare is None else [self.prepare(message) for message in found]

    def read_away(self, batch: list[Unread]) -> list[ReadMessage]:
        """As :meth:`read`, without the raw messages: they have not left the other process and need not come back."""
        return [replace(message, raw=b"") for message in self.read(batch)]


def _with_raw(piece: list[Unread], read: list[ReadMessage]) -> list[ReadMessage]:
    return [
        ReadMessage(one.place, one.key, one.size, one.report, one.outcomes, sent.raw, one.error, one.prepared)
        for one, sent in zip(read, piece, strict=True)
    ]


def share_out(
    batches: Iterable[list[M]],
    jobs: int,
    here: Callable[[list[M]], list[T]],
    away: Callable[[list[M]], list[T]],
    back: Callable[[list[M], list[T]], list[T]] = lambda piece, answer: answer,
) -> Iterator[list[T]]:
    """What ``here`` makes of the batches, in their order.

    The first ones are dealt with in this process; when more follow and ``jobs`` is above 1, that many workers do the same
    by ``away``, in pieces, while this process goes on: ``back`` takes a piece and what a worker made of it. ``away`` is
    pickled.
    """
    waiting = iter(batches)
    count = 0
    for batch in waiting:
        count += len(batch)
        if jobs > 1 and count > _BEFORE_POOL:
            yield from _by_workers(batch, waiting, jobs, here, away, back)
        else:
            yield here(batch)


def _by_workers(
    first: list[M],
    others: Iterator[list[M]],
    jobs: int,
    here: Callable[[list[M]], list[T]],
    away: Callable[[list[M]], list[T]],
    back: Callable[[list[M], list[T]], list[T]],
) -> Iterator[list[T]]:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawn: a forked worker would keep this process's locks and sockets when this process is killed
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(away,)) as pool:
        starting = [pool.submit(int) for _ in range(jobs)]
        under_way: deque[_Batch[M, T]] = deque()
        batch: list[M] | None = first
        while batch is not None or under_way:
            if batch is not None and not any(one.done() for one in starting):
                yield here(batch)  # until there is a worker
                batch = next(others, None)
                continue
            if batch is not None:
                under_way.append(_Batch.given(pool, batch))
                batch = next(others, None)
            if batch is None or len(under_way) > _AHEAD or sum(one.size for one in under_way) > _MOST_WAITING:
                yield under_way.popleft().answer(here, back)


class _Batch(Generic[M, T]):
    """A batch on its way through the workers, in pieces of bounded size."""

    def __init__(self, size: int, pieces: list[tuple[list[M], Future[list[T]] | None]]) -> None:
        self.size = size
        self._pieces = pieces

    @classmethod
    def given(cls, pool: ProcessPoolExecutor, batch: list[M]) -> _Batch[M, T]:
        """The batch, given to workers but for what is too large to be sent, which is to be dealt with here."""
        from concurrent.futures.process import BrokenProcessPool

        pieces: list[tuple[list[M], Future[list[T]] | None]] = []
        for piece in in_batches(batch, _PIECE, _PIECE_BYTES):
            future = None
            if sum(len(message.raw) for message in piece) <= _MOST_SENT:
                with suppress(BrokenProcessPool):
                    future = pool.submit(_work, piece)
            pieces.append((piece, future))
        return cls(sum(len(message.raw) for message in batch), pieces)

    def answer(self, here: Callable[[list[M]], list[T]], back: Callable[[list[M], list[T]], list[T]]) -> list[T]:
        """What became of the batch: what no worker got or gave back is dealt with here."""
        from concurrent.futures.process import BrokenProcessPool

        found: list[T] = []
        for piece, future in self._pieces:
            answer = None
            if future is not None:
                with suppress(BrokenProcessPool):  # workers may have died: somebody may end them for their memory
                    answer = back(piece, future.result())
            found += here(piece) if answer is None else answer
        return found


_worker: Callable[[Any], Any] | None = None


def _start_worker(away: Callable[[Any], Any]) -> None:
    """The initializer of a pool's workers: each keeps what it is to do, and ends when its parent does."""
    global _worker
    _worker = away
    _end_with_parent()


def _work(piece: Any) -> Any:
    assert _worker is not None
    return _worker(piece)


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

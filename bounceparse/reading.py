"""Raw messages in, read messages out: parse and classify, in this process or in several.

The one place where a reader's own bug is caught: the message that meets it is *held*.
"""

from __future__ import annotations

import os
import traceback
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from bounceparse.classify import classify
from bounceparse.mime import Mail, report_key
from bounceparse.outcomes import Outcome
from bounceparse.parse import read_report
from bounceparse.reports import Kind, Report

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

    from bounceparse.rules import RuleSet

_BEFORE_POOL = 5  # batches that are read before workers are worth their start
_AHEAD = 2  # batches that wait for each worker
_MOST_SENT = 3_000_000  # bytes of a batch that is sent to a worker: on its way it exists several times
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
    """

    place: Place
    key: bytes
    size: int
    report: Report
    outcomes: tuple[Outcome, ...]
    raw: bytes = b""
    error: str | None = None


class Unread(NamedTuple):
    """A message on its way to a reader; ``size`` is the whole message's where ``raw`` was cut."""

    place: Place
    raw: bytes
    size: int


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
    return replace(message, report=_UNREAD_REPORT, outcomes=(), error=f"not recorded: {_error_text(cause)}")


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
        under_way: deque[tuple[list[Unread], Future[list[ReadMessage]] | None]] = deque()
        batch: list[Unread] | None = first
        while batch is not None or under_way:
            if batch is not None:
                under_way.append((batch, _submit(pool, batch)))
                batch = next(others, None)
            if batch is None or len(under_way) > jobs * _AHEAD or _bytes(under_way) > _MOST_WAITING:
                unread, answer = under_way.popleft()
                yield _answer(unread, answer, rules)


def _bytes(under_way: Iterable[tuple[list[Unread], object]]) -> int:
    return sum(len(message.raw) for batch, _ in under_way for message in batch)


def _submit(pool: ProcessPoolExecutor, batch: list[Unread]) -> Future[list[ReadMessage]] | None:
    """The batch on its way to a worker; None where it is to be read here."""
    from concurrent.futures.process import BrokenProcessPool

    if _bytes([(batch, None)]) > _MOST_SENT:
        return None
    try:
        return pool.submit(_read_batch, batch)
    except BrokenProcessPool:
        return None


def _answer(unread: list[Unread], answer: Future[list[ReadMessage]] | None, rules: RuleSet | None) -> list[ReadMessage]:
    """What a worker read; what none got, and what died with them (somebody may end them for their memory), is read here."""
    from concurrent.futures.process import BrokenProcessPool

    try:
        if answer is not None:
            # the raw messages have not left this process and need not come back to it
            return [replace(message, raw=sent.raw) for message, sent in zip(answer.result(), unread, strict=True)]
    except BrokenProcessPool:
        pass
    return [read_message(*message, rules) for message in unread]


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

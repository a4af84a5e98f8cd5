"""ingest.py: the loop, against a mailbox and a store in memory that crash at every step in turn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from bounces import dsn, dsns

from bounceparse import ingest, reading
from bounceparse.errors import MailboxLocked, SchemaError, StoreError
from bounceparse.ingest import Fetched, PollResult, Recorded, Survey, poll_mailbox, replay, survey
from bounceparse.reading import Place, ReadMessage, read_message


class Crash(BaseException):
    """The process died here."""


@dataclass
class Steps:
    """Counts what is done to the outside world, and dies before or after the step it is told to."""

    die_before: int | None = None
    die_after: int | None = None
    count: int = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        self.count += 1
        if self.count == self.die_before:
            raise Crash
        yield
        if self.count == self.die_after:
            raise Crash


@dataclass
class Memory:
    """What survives a crash: the server's folders and the store's rows."""

    folder: dict[int, bytes] = field(default_factory=dict)
    flagged: set[int] = field(default_factory=set)
    target: list[bytes] = field(default_factory=list)
    rows: dict[Place, ReadMessage] = field(default_factory=dict)
    marked: set[Place] = field(default_factory=set)
    outcomes: dict[tuple[bytes, str | None], int] = field(default_factory=dict)
    locked: bool = False
    uidvalidity: int = 7


@dataclass
class MemoryStore:
    memory: Memory
    steps: Steps = field(default_factory=Steps)
    prepare = None

    @contextmanager
    def lock(self, account: str, folder: str) -> Iterator[None]:
        if self.memory.locked:
            raise MailboxLocked(f"{account} {folder}")
        yield

    def known_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        return {
            p.uid for p in self.memory.rows if (p.account, p.folder, p.uidvalidity) == (account, folder, uidvalidity)
        }

    def pending_marks(self, account: str, folder: str, uidvalidity: int) -> list[int]:
        return sorted(
            place.uid
            for place, row in self.memory.rows.items()
            if place.uidvalidity == uidvalidity and place not in self.memory.marked and row.error is None
        )

    def marked_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        return {place.uid for place in self.memory.marked if place.uidvalidity == uidvalidity}

    def record(self, messages: Sequence[ReadMessage]) -> Recorded:
        with self.steps.one():
            rows = {message.place: message for message in messages if message.place not in self.memory.rows}
            keys = [(message.key, outcome.recipient) for message in messages for outcome in message.outcomes]
            new = [key for key in dict.fromkeys(keys) if key not in self.memory.outcomes]
            self.memory.rows |= rows
            for key in new:
                self.memory.outcomes[key] = self.memory.outcomes.get(key, 0) + 1
            return Recorded(len(rows), len(keys), len(new))

    def note_marked(self, account: str, folder: str, uidvalidity: int, uids: Iterable[int]) -> None:
        with self.steps.one():
            self.memory.marked |= {Place(account, folder, uidvalidity, uid) for uid in uids}


@dataclass
class MemoryMailbox:
    memory: Memory
    steps: Steps = field(default_factory=Steps)
    after: str = "seen"
    account: str = "bounces"
    folder: str = "INBOX"
    batch: int = 3
    fetched: list[int] = field(default_factory=list)

    @property
    def uidvalidity(self) -> int:
        return self.memory.uidvalidity

    def uids(self) -> list[int]:
        return sorted(self.memory.folder)

    def overdue(self) -> list[int]:
        return []

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        for at in range(0, len(uids), self.batch):
            with self.steps.one():
                there = [uid for uid in uids[at : at + self.batch] if uid in self.memory.folder]
                self.fetched += there
                found = [Fetched(uid, self.memory.folder[uid], len(self.memory.folder[uid])) for uid in there]
            yield found

    def mark(self, uids: Sequence[int]) -> None:
        for uid in uids:
            with self.steps.one():
                if self.after == "seen":
                    self.memory.flagged.add(uid)
                elif self.after == "move" and uid in self.memory.folder:
                    self.memory.target.append(self.memory.folder.pop(uid))
                elif self.after == "delete":
                    self.memory.folder.pop(uid, None)


def filled(count: int = 8) -> Memory:
    return Memory(folder=dict(enumerate(dsns(count), 1)))


def poll(memory: Memory, steps: Steps | None = None, after: str = "seen") -> PollResult:
    steps = steps or Steps()
    return poll_mailbox(MemoryMailbox(memory, steps, after), MemoryStore(memory, steps))


def end_state(memory: Memory) -> object:
    return (
        sorted(memory.folder),
        sorted(memory.target),
        sorted(memory.flagged),
        sorted(place.uid for place in memory.rows),
        sorted(place.uid for place in memory.marked),
        sorted(memory.outcomes.items(), key=repr),
    )


def test_a_poll_records_everything_and_marks_it() -> None:
    """Every message gets a row and its outcomes, is marked, and the counts say so."""
    memory = filled(8)
    assert poll(memory) == PollResult("bounces", 8, 8, 8, 8, 8, 0)
    assert memory.flagged == set(range(1, 9))
    assert {recipient for _, recipient in memory.outcomes} == {f"user{number}@example.pl" for number in range(1, 9)}


def test_a_second_poll_fetches_nothing() -> None:
    """What is known is neither fetched nor marked again."""
    memory = filled()
    poll(memory)
    mailbox = MemoryMailbox(memory)
    assert poll_mailbox(mailbox, MemoryStore(memory)) == PollResult("bounces")
    assert mailbox.fetched == []


@pytest.mark.parametrize("after", ["seen", "move", "delete"])
@pytest.mark.parametrize("moment", ["die_before", "die_after"])
def test_a_crash_at_any_step_is_repaired_by_the_next_poll(
    after: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before or after each step, then polled to the end: the state is that of an undisturbed poll.

    Marks are noted every other batch, so that several are marked and not noted.
    """
    monkeypatch.setattr(ingest, "_NOTE_BATCH", 4)
    undisturbed = filled()
    steps = Steps()
    poll(undisturbed, steps, after)
    assert steps.count > 14
    for number in range(1, steps.count + 1):
        memory = filled()
        with pytest.raises(Crash):
            poll(memory, Steps(**{moment: number}), after)
        poll(memory, after=after)
        assert end_state(memory) == end_state(undisturbed), f"{moment} {number}"
        assert set(memory.outcomes.values()) == {1}


def test_a_message_is_never_marked_before_it_is_recorded() -> None:
    """At whatever step the process dies, everything that left the folder has a row."""
    for number in range(1, 40):
        memory = filled()
        try:
            poll(memory, Steps(die_after=number), "delete")
        except Crash:
            recorded = {place.uid for place in memory.rows}
            assert set(range(1, 9)) - set(memory.folder) <= recorded


def test_a_new_uidvalidity_reads_everything_again_and_doubles_no_outcome() -> None:
    """The messages are recorded at their new places; their outcomes are known."""
    memory = filled(4)
    poll(memory)
    memory.uidvalidity = 8
    assert poll(memory) == PollResult("bounces", 4, 4, 4, 0, 4, 0)
    assert len(memory.rows) == 8
    assert set(memory.outcomes.values()) == {1}


def test_copies_share_their_outcomes() -> None:
    """Two messages with the same content are two rows and one outcome."""
    memory = Memory(folder={1: dsn(1), 2: dsn(1).replace(b"\n", b"\r\n")})
    assert poll(memory) == PollResult("bounces", 2, 2, 2, 1, 2, 0)


def test_a_dry_run_writes_nothing() -> None:
    """It fetches, reads and counts."""
    memory = filled(4)
    result = poll_mailbox(MemoryMailbox(memory), MemoryStore(memory), dry_run=True)
    assert result == PollResult("bounces", fetched=4, outcomes=4)
    assert (memory.rows, memory.flagged, memory.marked) == ({}, set(), set())


def test_a_locked_mailbox_is_not_even_asked_for_its_uids() -> None:
    """The lock comes before anything is said to the server: one connection a mailbox."""

    class Untouchable(MemoryMailbox):
        @property
        def uidvalidity(self) -> int:
            raise AssertionError("connected before the lock was held")

    memory = filled()
    memory.locked = True
    with pytest.raises(MailboxLocked):
        poll_mailbox(Untouchable(memory), MemoryStore(memory))
    assert memory.rows == {}


def test_a_reader_that_fails_holds_its_message_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message is recorded with the error and left as it is, at the next poll too; the others are done."""

    def broken(mail: object) -> object:
        if b"user3@" in mail.buffer:  # type: ignore[attr-defined]
            raise IndexError("something of the message")
        return real(mail)  # type: ignore[arg-type]

    real = reading.read_report
    monkeypatch.setattr(reading, "read_report", broken)
    memory = filled(5)
    assert poll(memory, after="delete") == PollResult("bounces", 5, 5, 4, 4, 4, failed=1)
    (held,) = [message for message in memory.rows.values() if message.error]
    assert held.raw == memory.folder[3]
    assert held.error is not None
    assert held.error.startswith("IndexError in test_ingest.py:")
    assert "something" not in held.error
    assert poll(memory, after="delete") == PollResult("bounces")
    assert list(memory.folder) == [3]


def test_a_message_that_was_cut_says_so() -> None:
    """What is larger than what was fetched of it is noted as truncated."""
    whole = read_message(Place("a", "INBOX", 1, 1), dsn(1), len(dsn(1)))
    cut = read_message(Place("a", "INBOX", 1, 1), dsn(1), 10**8)
    assert "truncated" not in whole.report.defects
    assert "truncated" in cut.report.defects
    assert cut.size == 10**8


def test_what_was_marked_long_ago_and_is_overdue_is_marked_again() -> None:
    """Recorded messages only: one that could not be read is never deleted, nor one that is not recorded."""

    class Overdue(MemoryMailbox):
        def overdue(self) -> list[int]:
            return [1, 3, 9]

    memory = filled(3)
    assert poll(memory).marked == 3
    memory.marked.discard(Place("bounces", "INBOX", 7, 3))
    memory.rows[Place("bounces", "INBOX", 7, 3)] = replace(memory.rows[Place("bounces", "INBOX", 7, 3)], error="held")
    assert poll_mailbox(Overdue(memory, after="delete"), MemoryStore(memory)).marked == 1
    assert sorted(memory.folder) == [2, 3]


class Refusing(MemoryStore):
    """Records nothing that holds the outcome of ``user3``; ``error`` says why."""

    error: Exception = ValueError("poison")

    def record(self, messages: Sequence[ReadMessage]) -> Recorded:
        if any(outcome.recipient == "user3@example.pl" for message in messages for outcome in message.outcomes):
            raise self.error
        return super().record(messages)


def test_a_message_that_cannot_be_recorded_is_held_and_stops_nothing() -> None:
    """The rest of its batch and the batches behind it are recorded and marked; it is left where it is."""
    for error in (ValueError("poison"), StoreError("value out of range")):
        memory = filled(8)
        store = Refusing(memory)
        store.error = error
        result = poll_mailbox(MemoryMailbox(memory, after="delete"), store)
        assert result == PollResult("bounces", 8, 8, 7, 7, 7, failed=1)
        (held,) = [message for message in memory.rows.values() if message.error]
        assert (held.place.uid, held.raw, held.outcomes) == (3, memory.folder[3], ())
        assert held.error is not None and held.error.startswith(
            f"not recorded: {type(error).__name__} in test_ingest.py:"
        )
        assert list(memory.folder) == [3]
        assert poll(memory, after="delete") == PollResult("bounces")


@pytest.mark.parametrize("error", [StoreError("locked", temporary=True), SchemaError("too old")])
def test_a_database_that_takes_nothing_now_is_no_messages_fault(error: StoreError) -> None:
    """The poll ends, and nothing is held."""
    memory = filled(8)
    store = Refusing(memory)
    store.error = error
    with pytest.raises(StoreError):
        poll_mailbox(MemoryMailbox(memory, after="delete"), store)
    assert memory.rows == {}
    assert poll(memory, after="delete").new_outcomes == 8


def test_a_database_that_takes_nothing_for_good_holds_no_message() -> None:
    """A read-only database refuses every message: that is told, and nothing is marked."""

    class ReadOnly(MemoryStore):
        def record(self, messages: Sequence[ReadMessage]) -> Recorded:
            raise StoreError("attempt to write a readonly database")

    memory = filled(8)
    with pytest.raises(StoreError, match="readonly"):
        poll_mailbox(MemoryMailbox(memory, after="delete"), ReadOnly(memory))
    assert (len(memory.folder), memory.marked) == (8, set())


def test_replay_holds_what_cannot_be_recorded() -> None:
    """As a poll does."""
    store = Refusing(Memory())
    assert replay([(str(number), dsn(number)) for number in range(1, 6)], store) == PollResult(
        "replay", 5, 5, 4, 4, failed=1
    )


def test_a_survey_counts_and_changes_nothing() -> None:
    """The newest messages are looked at; the others are counted."""
    memory = filled(8)
    memory.folder[9] = b"Subject: lunch?\n\nAt noon.\n"
    assert survey(MemoryMailbox(memory), MemoryStore(memory), most=4) == Survey(new=9, read=4, reports=3, outcomes=3)
    assert (memory.rows, memory.flagged, memory.marked) == ({}, set(), set())


def test_progress_tells_what_is_done_and_how_much_there_is() -> None:
    """After each batch."""
    told: list[tuple[int, int | None]] = []
    memory = filled(8)
    poll_mailbox(
        MemoryMailbox(memory), MemoryStore(memory), progress=lambda result, total: told.append((result.fetched, total))
    )
    assert told == [(3, 8), (6, 8), (8, 8)]


def test_replay_is_idempotent_wherever_it_is_run_from(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same files add nothing, named relatively or not; a file with new content is another message."""
    memory = Memory()
    store = MemoryStore(memory)
    monkeypatch.chdir(str(tmp_path))
    sources = [("box#1", dsn(1)), ("box#2", dsn(2))]
    assert replay(sources, store) == PollResult("replay", 2, 2, 2, 2)
    assert replay([(f"{tmp_path}/{source}", raw) for source, raw in sources], store) == PollResult("replay", 2, 0, 2, 0)
    assert replay([("box#1", dsn(3))], store) == PollResult("replay", 1, 1, 1, 1)
    assert replay([("-", dsn(4)), ("-", dsn(5))], store) == PollResult("replay", 2, 2, 2, 2)
    assert all(place.account == "replay" and 0 < place.uid < 2**63 for place in memory.rows)


@pytest.fixture
def soon_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_BEFORE_POOL", 8)


@pytest.mark.usefixtures("soon_pooled")
def test_readers_in_other_processes_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order, content and raw bytes are those of one process."""
    monkeypatch.setattr(ingest, "_BATCH", 4)
    alone, pooled = Memory(), Memory()
    sources = [(f"/mail/{number}", dsn(number)) for number in range(50)]
    assert replay(sources, MemoryStore(alone)) == replay(sources, MemoryStore(pooled), jobs=2)
    assert list(pooled.rows) == list(alone.rows)
    assert pooled.rows == alone.rows


KILLED_REPLAY = """
import os, signal, sys
sys.path.insert(0, os.environ["TESTS"])
from bounces import dsn
from test_ingest import Memory, MemoryStore
from bounceparse import ingest, reading

def tell(result, total):
    import multiprocessing
    children = multiprocessing.active_children()
    if len(children) == 2:
        print(*(child.pid for child in children), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    ingest._BATCH, reading._BEFORE_POOL = 4, 8
    ingest.replay(((str(number), dsn(number)) for number in range(1000)), MemoryStore(Memory()), jobs=2, progress=tell)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """kill -9 leaves no process behind."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED_REPLAY)
    killed = subprocess.run(
        [sys.executable, str(script)],
        env=os.environ | {"TESTS": str(Path(__file__).parent)}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    workers = [Path(f"/proc/{pid}") for pid in killed.stdout.split()]
    assert len(workers) == 2
    for _ in range(600):
        left = [worker for worker in workers if worker.exists() and "State:\tZ" not in (worker / "status").read_text()]
        if not left:
            return
        time.sleep(0.05)
    pytest.fail(f"still there: {left}")


def test_little_work_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll of a few messages must not pay for workers."""
    refuse: Callable[..., object] = lambda *_: pytest.fail("a pool was started")  # noqa: E731
    monkeypatch.setattr(reading, "_by_workers", refuse)
    assert replay([(str(number), dsn(number)) for number in range(50)], MemoryStore(Memory()), jobs=8).fetched == 50


def test_messages_are_recorded_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes, so that a transaction and its memory stay small."""
    monkeypatch.setattr(ingest, "_BATCH", 4)
    monkeypatch.setattr(ingest, "_BATCH_BYTES", 5 * len(dsn(1)))
    sizes: list[int] = []

    class Watching(MemoryStore):
        def record(self, messages: Sequence[ReadMessage]) -> Recorded:
            sizes.append(len(messages))
            return super().record(messages)

    large = dsn(99, padding=10 * len(dsn(1)))
    sources = [dsn(1), dsn(2), dsn(3), dsn(4), dsn(5), large, dsn(6)]
    replay([(str(number), raw) for number, raw in enumerate(sources)], Watching(Memory()))
    assert sizes == [4, 2, 1]


def test_places_are_kept_apart_by_content_only_in_replay() -> None:
    """A polled message keeps its UID."""
    message = read_message(Place("a", "INBOX", 3, 5), dsn(1), 1)
    assert message.place == Place("a", "INBOX", 3, 5)
    assert replace(message, place=Place("b", "INBOX", 3, 5)).key == message.key

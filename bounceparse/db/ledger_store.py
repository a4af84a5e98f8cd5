"""The part of :class:`~bounceparse.db.store.Store` that knows what was sent: ledger, streams, matching again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from itertools import count, islice
from typing import TYPE_CHECKING, Any

from bounceparse import lazy
from bounceparse.db import applying, intake, recording, sweeping
from bounceparse.db.engine import Database, DuplicateError
from bounceparse.db.intake import ImportPosition
from bounceparse.db.ledger import SentMessage, parse_sent
from bounceparse.db.sweeping import Swept
from bounceparse.db.tables import sent
from bounceparse.db.types import stored_key
from bounceparse.policy import Policy

if TYPE_CHECKING:
    from bounceparse.db import queries
    from bounceparse.db.queries import SentStatus, Stream
else:  # a poll does without it
    queries = lazy.module("bounceparse.db.queries")

IMPORT_BATCH = 10_000
_STEPS_A_POLL = 10
"""How far a poll goes in presuming: 50,000 messages, which is 14 million a day at a poll every five minutes."""


class LedgerStore:
    """What was sent, and by which streams."""

    _database: Database
    _policy: Policy
    _clock: Callable[[], datetime]

    def record_sent(self, message_id: str, recipient: str, **columns: Any) -> None:
        """Record one message to one recipient; ``columns`` are further fields of :class:`SentMessage`.

        What is known already is completed. Outcomes that waited for this row are matched. Raises ``ConfigError`` for a
        column or value that the ledger does not have.
        """
        self.import_sent([parse_sent({"message_id": message_id, "recipient": recipient, **columns})])

    def import_sent(
        self,
        rows: Iterable[SentMessage],
        *,
        resume: ImportPosition | None = None,
    ) -> tuple[int, int]:
        """Record many, streaming, 10,000 a transaction: how many rows were new and how many known.

        Interrupted, it can be run again: what is known already is passed over. With ``resume`` the position that
        the source has reached is kept with each batch, for :meth:`import_position`.
        """
        new = known = 0
        source = iter(rows)
        # While one batch is written the next one is read: the database and this process work at the same time.
        with ThreadPoolExecutor(1) as writer:
            pending: Future[int] | None = None
            size = 0
            while batch := list(islice(source, IMPORT_BATCH)):
                reached = resume.reached() if resume is not None else 0
                prepared = intake.prepare(batch, self._policy.life, self._clock())
                if pending is not None:
                    new += (added := pending.result())
                    known += size - added
                pending, size = writer.submit(self._add_sent, prepared, resume, reached), len(batch)
            if pending is not None:
                new += (added := pending.result())
                known += size - added
        if resume is not None:
            with self._database.write() as connection:
                intake.forget_position(connection, resume)
        return new, known

    def _add_sent(self, batch: intake.Prepared, resume: ImportPosition | None, reached: int) -> int:
        def attempt(*, fresh: bool) -> int:
            with self._database.write(by_key=True, fresh=fresh) as connection:
                now = self._clock()
                added, keys = intake.add_sent(connection, batch, now)
                recording.rematch(connection, self._policy, now, keys, [row["id"] for row in batch.tokens])
                if resume is not None:
                    intake.note_position(connection, resume, reached)
            return added

        try:
            return attempt(fresh=True)
        except DuplicateError:
            return attempt(fresh=False)

    def import_position(self, resume: ImportPosition) -> int:
        """How far an import of this very source had come when it was interrupted; 0 when it was not."""
        with self._database.read() as connection:
            return intake.position(connection, resume)

    def streams(self) -> list[Stream]:
        """All streams, by name."""
        with self._database.read() as connection:
            return queries.list_streams(connection)

    def set_stream(self, name: str, *, sender: str | None = None, category: str | None = None) -> None:
        """Make a stream, or change what is given; its recipients' complaints and requests are judged anew.

        ``category`` is ``marketing`` or ``transactional``; raises ``ConfigError`` for anything else.
        """
        with self._database.write() as connection:
            intake.set_stream(connection, name, sender, category)
            applying.judge_stream(connection, name, self._policy, self._clock())

    def settle(self) -> int:
        """What each poll does beside reading: match again what waits for its ledger row, for 14 days.

        Returns how many outcomes changed. Also decides in which mailboxes proof is required (``trust = "auto"``), and
        presumes what silence says of messages, a bounded number of them (see :meth:`sweep`).
        """
        with self._database.write() as connection:
            changed = recording.settle(connection, self._policy, self._clock())
        self._sweep(range(_STEPS_A_POLL))
        return changed

    def sweep(self) -> Swept:
        """Presume what silence says of all messages that were heard of last, or sent, long enough ago.

        The rules are those of :mod:`bounceparse.life`; what is presumed counts for nothing. A few thousand rows a
        transaction; interrupted, the next poll goes on where it stopped.
        """
        return self._sweep(count(), rounds=2)

    def _sweep(self, steps: Iterable[int], rounds: int = 0) -> Swept:
        """Go so many steps; over deferred messages as long as some are due, or until all were passed in ``rounds`` rounds."""
        life, swept, left, due = self._policy.life, Swept(), rounds, True
        for _ in steps:
            now = self._clock()
            with self._database.read() as connection:
                found = sweeping.next_steps(connection, life, now, deferred=due or left > 0)
            if not found:
                break
            done = Swept()
            with self._database.write() as connection:
                for one in found:
                    done += sweeping.take_step(connection, one, life)
                    left -= one.ends_round
            swept, due = swept + done, done.softbounce > 0
        return swept

    def sent_to(self, address: str, latest: int = 5) -> tuple[SentStatus, ...]:
        """The ``latest`` messages to an address, newest first, with what became of them."""
        with self._database.read() as connection:
            return queries.latest_sent(connection, sent.c.recipient_key == stored_key(address), latest)

    def rematch(self) -> int:
        """Match all that is unsettled again, whether or not the ledger has grown; returns how many outcomes changed."""
        with self._database.write() as connection:
            return recording.rematch(connection, self._policy, self._clock())

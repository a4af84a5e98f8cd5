"""What sends events to endpoints needs of a database."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta

from sqlalchemy.engine import Connection

from bounceparse.db import deliveries, outbox
from bounceparse.db.deliveries import Attempt, DeadLetter, Delivery, EndpointState, Subscription
from bounceparse.db.locks import check_fences
from bounceparse.db.store import Store


class WebhookStore:
    """The events of a store on their way: what an endpoint takes, and what becomes of it.

    Usable from several threads; every method is one transaction and raises as :class:`~bounceparse.db.Store` does.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._database = store._database

    def now(self) -> datetime:
        """The time, by the store's clock."""
        return self._store._clock()

    def register(self, names: Collection[str]) -> None:
        """Have events written for these endpoints, by every process that writes to this database from now on."""
        with self._database.read() as connection:
            if deliveries.is_registered(connection, names):
                return
        with self._database.write() as connection:
            deliveries.register(connection, names)

    def stop_events(self) -> bool:
        """Have no more events written; False where none were. What was written is still sent."""
        with self._database.write() as connection:
            return outbox.disable(connection)

    def forget(self, name: str) -> int:
        """Drop what waits for an endpoint that is no more, and its dead letters; returns how many events."""
        with self._database.write() as connection:
            return deliveries.forget(connection, name)

    def endpoints(self) -> list[EndpointState]:
        """How the endpoints fare, by name."""
        with self._database.read() as connection:
            return deliveries.endpoint_states(connection)

    def sending_to(self, name: str) -> AbstractContextManager[None]:
        """Be the one who sends to an endpoint; raises ``MailboxLocked`` at once where another process is."""
        return self._store.lock(*_place(name))

    @contextmanager
    def _write(self, name: str) -> Iterator[Connection]:
        """A transaction of whoever sends to an endpoint: ``LockLost`` where another one does by now."""
        with self._database.write() as connection:
            check_fences(connection, self._store._held([_place(name)]))
            yield connection

    def has_work(self, name: str) -> bool:
        """Whether anything may be sent to an endpoint now."""
        now = self.now()
        return self._database.look_up(lambda connection: deliveries.has_work(connection, name, now))

    def due(self, wanted: Subscription) -> list[Delivery]:
        """The next events to send to an endpoint, up to :data:`~bounceparse.db.deliveries.PAGE`, in their order."""
        while True:
            now = self.now()
            with self._database.read() as connection:
                found = deliveries.due(connection, wanted.name, now)
                more = len(found) < deliveries.PAGE and deliveries.has_untaken(connection, wanted.name)
            if not more:
                return found
            with self._write(wanted.name) as connection:
                deliveries.take(connection, wanted, now)

    def note_attempts(self, name: str, attempts: Sequence[Attempt]) -> None:
        """Write what became of requests to an endpoint."""
        with self._write(name) as connection:
            deliveries.note_attempts(connection, name, attempts)

    def pause(self, name: str, until: datetime, give_up: timedelta, error: str) -> int:
        """Send nothing to an endpoint until then; what was due and has failed for as long as ``give_up`` is given up."""
        with self._write(name) as connection:
            return deliveries.pause(connection, name, self.now(), until, give_up, error)

    def down_since(self, name: str) -> datetime | None:
        """Since when an endpoint takes nothing; None while it does."""
        with self._database.read() as connection:
            return deliveries.down_since(connection, name)

    def dead_letters(self, name: str | None = None) -> Iterator[DeadLetter]:
        """The events that were given up, of one endpoint or all, oldest first."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = deliveries.dead_letters(connection, last, name)
            if not page:
                return
            last = page[-1].id
            yield from page

    def replay(self, name: str, ids: Collection[int] | None = None) -> int:
        """Have events that were given up sent again, all or those of these ids; returns how many."""
        with self._database.write() as connection:
            return deliveries.replay(connection, name, self.now(), ids)


def _place(name: str) -> tuple[str, str]:
    return "", f"webhook {name}"

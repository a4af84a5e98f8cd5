"""The part of :class:`~bounceparse.db.Store` that judges: today's policy over the past, and mass events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from bounceparse.db import applying, events
from bounceparse.db.audit import note_audit
from bounceparse.db.engine import Database
from bounceparse.policy import Policy

if TYPE_CHECKING:
    from bounceparse.db.applying import AppliedPage
    from bounceparse.db.events import MassEvent


class PolicyStore:
    """What the policy makes of all that is recorded."""

    _database: Database
    _policy: Policy
    _clock: Callable[[], datetime]

    def apply_policy(self, *, by: str = "library", dry_run: bool = False) -> Iterator[AppliedPage]:
        """Judge every address and domain anew by today's policy, and write what differs: a page, one transaction, a time.

        A dry run compares only. A run that was interrupted goes on where it was, unless the policy is another by now.
        Doing it again changes nothing more.
        """
        with self._database.read() as connection:
            after = 0 if dry_run else applying.reached(connection, self._policy)
        differences = 0
        while True:
            now = self._clock()
            with self._database.read() if dry_run else self._database.write() as connection:
                page = applying.apply_page(connection, self._policy, now, after, dry_run=dry_run)
                differences += len(page.differences)
                if page.last == after and not dry_run:
                    applying.note_reached(connection, self._policy, 0)
                    note_audit(connection, now, by, "apply policy", "*", detail=f"{differences} suppressions changed")
            if page.last == after:
                return
            after = page.last
            yield page

    def events(self, *, undecided: bool = False) -> Iterator[MassEvent]:
        """The mass events, oldest first; with ``undecided`` those alone whose addresses are paused."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = events.list_events(connection, last, undecided=undecided)
            yield from page
            if len(page) < events.PAGE:
                return
            last = page[-1].id

    def release_event(self, event_id: int, *, by: str = "library", note: str | None = None) -> MassEvent:
        """Suppress the addresses of a mass event now. Raises ``ConfigError`` when there is none that is open."""
        with self._database.write() as connection:
            return events.decide(connection, event_id, self._policy, self._clock(), discard=False, by=by, note=note)

    def discard_event(self, event_id: int, *, by: str = "library", note: str | None = None) -> MassEvent:
        """Mail the addresses of a mass event again: what happened in it never counts. Raises ``ConfigError`` likewise."""
        with self._database.write() as connection:
            return events.decide(connection, event_id, self._policy, self._clock(), discard=True, by=by, note=note)

    def release_expired(self) -> int:
        """Release the mass events that nobody decided in time; returns how many. Each poll does it."""
        with self._database.write() as connection:
            return events.release_expired(connection, self._clock())

    def undo_event(
        self,
        *,
        reason: str,
        since: datetime,
        until: datetime,
        provider: str | None = None,
        by: str = "library",
        note: str | None = None,
        dry_run: bool = False,
    ) -> list[str]:
        """Lift what the policy suppressed for a reason, at a provider, between two times; returns the addresses.

        What happened up to ``until`` never counts again for them. A dry run only says which they are.
        """
        with self._database.read() if dry_run else self._database.write() as connection:
            return events.undo_past(
                connection,
                self._policy,
                self._clock(),
                reason=reason,
                provider=provider,
                since=since,
                until=until,
                by=by,
                note=note,
                dry_run=dry_run,
            )

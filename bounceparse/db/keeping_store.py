"""The part of :class:`~bounceparse.db.Store` that keeps and forgets: retention, erasure, the audit trail."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import sqlalchemy as sa

from bounceparse import lazy
from bounceparse.db import figures
from bounceparse.db.audit import PAGE, AuditEntry, audit_page, note_audit
from bounceparse.db.backscatter import count_backscatter
from bounceparse.db.engine import Database
from bounceparse.db.figures import Figure
from bounceparse.db.hashed import hashed_subject, hashing_key
from bounceparse.db.intake import take_inbox
from bounceparse.db.types import stored_key
from bounceparse.db.users import forget_sessions
from bounceparse.errors import ConfigError, StoreError
from bounceparse.policy import Policy, Suppression
from bounceparse.requests import RequestSettings

if TYPE_CHECKING:
    from bounceparse.db import erase, mentions, probes, pseudonyms, retention, suppression_import
    from bounceparse.db.erase import Erasure
    from bounceparse.db.retention import Countable, Retention
else:  # a poll needs none of them
    erase, mentions, probes, pseudonyms, retention, suppression_import = (
        lazy.module(f"bounceparse.db.{name}")
        for name in ("erase", "mentions", "probes", "pseudonyms", "retention", "suppression_import")
    )

_IMPORT_BATCH = 1000
_PATIENCE = 10_000
"""Milliseconds that the rewriting of a file waits for other programs."""


class KeepingStore:
    """What is kept, for how long, and who did what to it."""

    _database: Database
    _policy: Policy
    _request_settings: RequestSettings
    _clock: Callable[[], datetime]

    def prune(self, keep: Retention | None = None, *, dry_run: bool = False) -> dict[str, int]:
        """Clear what has been kept long enough; returns how many rows of which kind. A dry run only counts them.

        Addresses become keyed hashes only where there is a key (:attr:`can_hash`).
        """
        keep, now = keep or retention.Retention(), self._clock()
        pruned = {}
        for rule in retention.retention_rules(keep, now):
            pruned[rule.name] = self._apply(rule, partial(retention.apply, rule=rule), dry_run=dry_run)
        if self.can_hash:
            hash_of = partial(hashed_subject, self._request_settings.keyring)
            for one in pseudonyms.address_rules(now - timedelta(days=keep.addresses_days)):
                pruned[one.name] = self._apply(
                    one, partial(pseudonyms.pseudonymise, rule=one, hash_of=hash_of), dry_run=dry_run
                )
        with self._database.read() if dry_run else self._database.write() as connection:
            pruned["sessions that have run out"] = forget_sessions(connection, now, dry_run=dry_run)
        return pruned

    @property
    def can_hash(self) -> bool:
        """Whether there is a key by which addresses can be replaced."""
        return hashing_key(self._request_settings.keyring) is not None

    def old_addresses(self, keep: Retention | None = None) -> int:
        """How many rows hold an address for longer than it is to be kept: what lacks a key, or the next run."""
        rules = pseudonyms.address_rules(self._clock() - timedelta(days=(keep or retention.Retention()).addresses_days))
        with self._database.read() as connection:
            return sum(retention.count(connection, rule) for rule in rules)

    def _apply(self, rule: Countable, change: Callable[..., int], *, dry_run: bool) -> int:
        with self._database.read() as connection:
            counted = retention.count(connection, rule)
            windows = list(retention.windows(connection, rule))
        for window in windows if counted and not dry_run else ():
            with self._database.write() as connection:
                change(connection, window=window)
        return counted

    def erase(self, address: str, *, by: str = "", note: str | None = None, dry_run: bool = False) -> Erasure:
        """Forget a person: the address becomes a keyed hash everywhere, and what is told of it goes.

        Suppressions that stand go on acting by the hash; reports that named the address can never be recorded again.
        Every table is read: it takes as long as that does. ``by`` and ``note`` go into the audit trail. A dry run only
        says what would be done. Raises ``ConfigError`` for what is no address, and without keys. What is cleared is
        gone from the file of a database only after :meth:`compact`.
        """
        key = stored_key(address)
        if key.startswith("@") or "@" not in key:
            raise ConfigError(f"{address!r} is no address: write jan@example.pl")
        subject = hashed_subject(self._request_settings.keyring, key)
        if subject is None:
            raise ConfigError("a suppression is kept as a keyed hash, and there is no key: run `bounceparse keys new`")
        person, now = erase.Person(key, subject, mentions.Mentions(address)), self._clock()
        if not dry_run:
            self._empty_inbox(now)
        with self._database.read() as connection:
            traces = erase.find_traces(connection, person)
        with self._database.read() if dry_run else self._database.write() as connection:
            return erase.erase_traces(connection, traces, person, now, actor=by, note=note, write=not dry_run)

    def _empty_inbox(self, now: datetime) -> None:
        taken = 1
        while taken:
            with self._database.write() as connection:
                taken = take_inbox(connection, self._policy.life, now)

    def compact(self) -> bool:
        """Rewrite an SQLite file, so that no byte of what was cleared is left in it or in its write-ahead log.

        False where another program uses the file, or on PostgreSQL, whose VACUUM is its administrator's. Takes the time
        and the space of a copy.
        """
        if not self._database.is_sqlite:
            return False
        connection = self._database.engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
            cursor.execute("VACUUM")
            (busy, *_) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        except sqlite3.OperationalError as error:
            if "locked" in str(error) or "busy" in str(error):
                return False
            raise StoreError(f"{self._database.name}: cannot be compacted: {error}") from error
        finally:
            connection.invalidate()  # its patience is not that of others
            connection.close()

    def import_suppressions(
        self, entries: Iterable[Suppression], *, source: str, by: str = "library", skip_lifted: bool = False
    ) -> tuple[int, int]:
        """Suppress many, streaming, 1,000 a transaction; returns how many were new and how many known.

        Their ``subject`` is an address in any spelling, ``@domain`` or a keyed hash. Doing it again changes nothing.
        What was lifted stands again, unless ``skip_lifted`` and the entry is older than the lifting. ``source`` and
        ``by`` go into the audit trail.
        """
        new = known = 0
        every = iter(entries)
        while batch := list(islice(every, _IMPORT_BATCH)):
            with self._database.write() as connection:
                added = suppression_import.import_suppressions(
                    connection, batch, self._clock(), skip_lifted=skip_lifted
                )
            new += added
            known += len(batch) - added
        with self._database.write() as connection:
            note_audit(connection, self._clock(), by, "import", source, detail=f"{new} suppressed, {known} known")
        return new, known

    def figures(self) -> list[Figure]:
        """What monitoring wants to know: totals, and how things stand now."""
        now = self._clock()
        with self._database.write() as connection:
            figures.count_new(connection)
        with self._database.read() as connection:
            flood = count_backscatter(connection, None, now)
            return [
                *figures.totals(connection),
                *figures.present(connection, now),
                Figure("backscatter", (), flood.day),
            ]

    def count_poll(self, mailbox: str, seconds: float, result: str) -> None:
        """Count a poll that has ended (``ok``, ``failed``, ``skipped``) after so many seconds, for :meth:`figures`."""
        labels = (mailbox, result)
        with self._database.write() as connection:
            figures.add_totals(connection, [Figure("polls", labels, 1), Figure("seconds", labels, seconds)])

    def forget_probes(self, domain: str) -> int:
        """Delete all that is recorded of addresses of this domain, which only probes have; returns how many outcomes."""
        with self._database.write() as connection:
            return probes.forget_probes(connection, domain)

    def database_time(self) -> datetime | None:
        """What time it is at the database's server; None where that is this machine's clock (SQLite)."""
        if self._database.is_sqlite:
            return None
        with self._database.read() as connection:
            now: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
            return now

    def audit(self, subject: str | None = None, since: datetime | None = None) -> Iterator[AuditEntry]:
        """Who did what, oldest first; of one ``subject`` (an address, ``@domain``, a stream), and not before ``since``."""
        subjects = [] if subject is None else self._audit_subjects(subject)
        last = 0
        while True:
            with self._database.read() as connection:
                page = audit_page(connection, last, subjects=subjects, since=since)
            yield from page
            if len(page) < PAGE:
                return
            last = page[-1].id

    def _audit_subjects(self, subject: str) -> list[str]:
        key = stored_key(subject)
        hashed = hashed_subject(self._request_settings.keyring, key)
        return [subject, key, *([hashed] if hashed else [])]

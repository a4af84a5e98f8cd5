"""The database as the rest of the program sees it: :class:`Store`, one transaction a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as package_version
from itertools import islice
from threading import Event, Lock
from types import TracebackType
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from bounceparse import lazy
from bounceparse.db import backscatter, polls, recording
from bounceparse.db.api_store import ApiStore
from bounceparse.db.backscatter import Backscatter
from bounceparse.db.clicks import Clicks
from bounceparse.db.engine import Database, DuplicateError, chunks
from bounceparse.db.health_store import HealthStore
from bounceparse.db.keeping_store import KeepingStore
from bounceparse.db.ledger_store import LedgerStore
from bounceparse.db.listed import listed
from bounceparse.db.locks import Fence, check_fences, hold_lock
from bounceparse.db.outbox import telling
from bounceparse.db.panel_store import PanelStore
from bounceparse.db.policy_store import PolicyStore
from bounceparse.db.proving import check_signatures
from bounceparse.db.request_store import RequestStore
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.schema import require_current
from bounceparse.db.standings import Standing, mailable, standing_of
from bounceparse.db.tables import messages, outcomes
from bounceparse.db.types import stored_key
from bounceparse.drafts import Drafter
from bounceparse.errors import ConfigError, MailboxLocked
from bounceparse.health import HealthSettings
from bounceparse.ingest import Recorded
from bounceparse.policy import Policy, Suppression
from bounceparse.reading import ReadMessage
from bounceparse.requests import NO_SETTINGS, RequestSettings
from bounceparse.rules import RuleSet

if TYPE_CHECKING:
    from bounceparse.db import manual, queries
    from bounceparse.db.preview import Preview
    from bounceparse.db.queries import CustomerCard, HeldMessage, Stats
    from bounceparse.db.reclassify import ReclassifiedPage
else:  # a poll needs none of them
    manual, queries = lazy.module("bounceparse.db.manual"), lazy.module("bounceparse.db.queries")

_CHECK_BATCH = 2000
_DOUBTFUL = 20  # batches behind one that was recorded already, which are looked at before they are written


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store(LedgerStore, PolicyStore, RequestStore, HealthStore, KeepingStore, ApiStore, PanelStore):
    """The outcomes, the ledger and the standing of addresses in one database.

    ``url`` is a SQLAlchemy URL: ``sqlite:///bounceparse.db`` or ``postgresql+psycopg://user@host/db``. The schema must
    be there (``bounceparse db upgrade``, or :func:`bounceparse.db.upgrade`). With ``keep_raw`` the first ``raw_limit``
    bytes of every message are kept, else only messages that could not be read. ``request_settings`` tells what proves
    an unsubscribe request, ``health`` what streams are judged by. ``clock`` gives the time.

    Synchronous; one instance serves several threads. Every method is one transaction (an iterator: one a page) and
    raises :class:`~bounceparse.errors.StoreError`, whose ``temporary`` says whether trying again helps;
    :class:`~bounceparse.errors.SchemaError` when the schema is not the one this version needs.
    """

    def __init__(
        self,
        url: str,
        *,
        policy: Policy | None = None,
        keep_raw: bool = False,
        raw_limit: int = 131_072,
        request_settings: RequestSettings = NO_SETTINGS,
        health: HealthSettings | None = None,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._database = Database(url, around=partial(telling, clock=clock))
        self._policy = policy or Policy()
        self._raw_limit = raw_limit if keep_raw else 0
        self._request_settings = request_settings
        self._keyring = request_settings.keyring
        self._health = health or HealthSettings()
        self._clock = clock
        self._fences: dict[tuple[str, str], Fence | None] = {}
        self._clicks = Clicks(self._database)
        self._taking = Lock()
        self._doubtful = 0
        self._closing = Event()
        try:
            require_current(self._database)
        except BaseException:
            self._database.close()
            raise

    def close(self) -> None:
        """Close all connections."""
        self._closing.set()
        if (taker := self._taker) is not None:
            taker.join()
        self._clicks.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What the loop needs (bounceparse.ingest.Store).

    @contextmanager
    def lock(self, account: str, folder: str) -> Iterator[None]:
        """Hold the lock of a mailbox; raises ``MailboxLocked`` at once when another poller has it.

        While it is held nothing is recorded for that mailbox, ``LockLost`` raised, once another poller has taken it over.
        """
        place = account, folder
        if place in self._fences:  # held here, though its lock may be lost
            raise MailboxLocked(f"{account} {folder}: another poll is at work")
        with hold_lock(self._database, account, folder) as fence:
            self._fences[place] = fence
            try:
                yield
            finally:
                del self._fences[place]

    def _held(self, places: Iterable[tuple[str, str]]) -> list[Fence]:
        """The fences of those of these mailboxes whose lock is held here."""
        return [fence for place in set(places) if (fence := self._fences.get(place)) is not None]

    def known_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The UIDs that are recorded, marked or not."""
        with self._database.read() as connection:
            return set(connection.execute(_uids(account, folder, uidvalidity)).scalars())

    def pending_marks(self, account: str, folder: str, uidvalidity: int) -> list[int]:
        """The UIDs that are recorded but not noted as marked on the server; held messages are left out."""
        pending = _uids(account, folder, uidvalidity).where(sa.text("marked_at IS NULL AND error IS NULL"))
        with self._database.read() as connection:
            return sorted(connection.execute(pending).scalars())

    def marked_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The UIDs that are noted as marked on the server."""
        marked = _uids(account, folder, uidvalidity).where(messages.c.marked_at.is_not(None))
        with self._database.read() as connection:
            return set(connection.execute(marked).scalars())

    @property
    def prepare(self) -> Drafter:
        """Makes of a message what recording needs; workers that read do it there."""
        return Drafter(self._request_settings, self._raw_limit, self._clock().date())

    def record(self, messages: Iterable[ReadMessage]) -> Recorded:
        """Write messages, outcomes (matched to the ledger), sent statuses and standing; idempotent."""
        return self._record(messages, wait=True)

    def _record(self, messages: Iterable[ReadMessage], *, wait: bool) -> Recorded:
        prepare = self.prepare
        batch = [prepare(message) for message in messages]
        if not batch:
            return Recorded()
        settings = check_signatures(batch, self._request_settings)
        held = self._held((one.place.account, one.place.folder) for one in batch)

        def attempt(*, fresh: bool) -> Recorded:
            with self._database.write(wait=wait, by_key=True, fresh=fresh) as connection:
                check_fences(connection, held)
                return recording.record_messages(
                    connection, batch, self._policy, self._clock(), raw_limit=self._raw_limit, settings=settings
                )

        if self._doubtful:
            self._doubtful -= 1
        else:
            try:
                return attempt(fresh=True)
            except DuplicateError:  # some of it is recorded, as with a replay that is repeated: so is what follows
                self._doubtful = _DOUBTFUL
        return attempt(fresh=False)

    def record_held(self, messages: Iterable[ReadMessage]) -> Recorded:
        """Record messages that were held and have been read again; their held rows are replaced."""
        batch = list(messages)
        with self._database.write() as connection:
            polls.drop_held(connection, (message.place for message in batch))
            return recording.record_messages(
                connection,
                batch,
                self._policy,
                self._clock(),
                raw_limit=self._raw_limit,
                settings=self._request_settings,
            )

    def settle(self) -> int:
        """What each poll does beside reading, and first the one-click requests that a crash left behind."""
        self.take_clicks()
        return super().settle()

    def note_marked(self, account: str, folder: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """Note that these messages are marked, moved or deleted on the server."""
        place = _place(account, folder, uidvalidity)
        # the bounds keep a scan of the index from looking at every message of the folder
        within = messages.c.uid.between(sa.bindparam("first"), sa.bindparam("last"))
        marked = sa.update(messages).where(*place, within, listed(messages.c.uid)).values(marked_at=self._clock())
        with self._database.write(by_key=True) as connection:
            check_fences(connection, self._held([(account, folder)]))
            for part in chunks(sorted(uids)):
                connection.execute(marked, {"listed": part, "first": part[0], "last": part[-1]})

    def confirm(self, account: str, folder: str, consequence: str) -> None:
        """Note that a person agrees to what polls do in this folder (``ImapAccount.consequence``)."""
        with self._database.write() as connection:
            polls.confirm(connection, account, folder, consequence, self._clock())

    def is_confirmed(self, account: str, folder: str, consequence: str) -> bool:
        """Whether a person has agreed to that."""
        with self._database.read() as connection:
            return polls.is_confirmed(connection, account, folder, consequence)

    def note_poll(self, account: str) -> None:
        """Note that this mailbox was polled to its end."""
        with self._database.write() as connection:
            polls.note_poll(connection, account, self._clock())

    def last_polls(self) -> dict[str, datetime]:
        """When each mailbox was last polled to its end."""
        with self._database.read() as connection:
            return polls.last_polls(connection)

    def preview(self, message: ReadMessage) -> tuple[Preview, ...]:
        """What recording a message comes to, or came to when it is recorded already; nothing is written."""
        from bounceparse.db.preview import preview

        settings = check_signatures([message], self._request_settings)
        now = self._clock()
        with self._database.write() as connection:
            return preview(
                connection,
                message,
                lambda: recording.record_messages(
                    connection, [message], self._policy, now, raw_limit=0, settings=settings
                ),
                lambda address: standing_of(connection, address, None, now, self._keyring),
                self._policy,
            )

    # Reports that were kept.

    def reclassify(
        self, since: datetime | None = None, *, rules: RuleSet | None = None, dry_run: bool = False
    ) -> Iterator[ReclassifiedPage]:
        """Read the reports that were kept again, by today's rules or ``rules``, and write what differs: a page a time.

        ``since`` leaves out what was recorded before it; a dry run compares only. Doing it again changes nothing more.
        """
        from bounceparse.db.reclassify import ReclassifiedPage, load_page, read_page, reclassify_page

        version = package_version("bounceparse")
        last = 0
        seen: set[bytes] = set()
        while True:
            with self._database.read() as connection:
                rows = load_page(connection, since, last)
            if not rows:
                return
            last = rows[-1].id
            read = read_page(rows, rules)
            with self._database.read() if dry_run else self._database.write() as connection:
                differences = reclassify_page(
                    connection,
                    read,
                    self._policy,
                    self._clock(),
                    version,
                    settings=self._request_settings,
                    seen=seen,
                    dry_run=dry_run,
                )
            yield ReclassifiedPage(last, len(read), len(rows) - len(read), differences)

    def count_kept(self, since: datetime | None = None) -> int:
        """How many reports :meth:`reclassify` would look at."""
        from bounceparse.db.reclassify import count_kept

        with self._database.read() as connection:
            return count_kept(connection, since)

    # Reports by hand.

    def ingest(self, raw: bytes, source: str | None = None, account: str = "") -> Recorded:
        """Read one raw message and record it; ``source`` names where it came from. The same mail again adds nothing."""
        from bounceparse.reading import Place, read_message

        place = Place(account=account, folder=source or "")
        return self.record([read_message(place, raw, len(raw))])

    # May we mail it?

    def standing(self, address: str, list: str | None = None) -> Standing:
        """The standing of an address; with ``list`` (a List-Id) also whether that list may be mailed to it."""
        now = self._clock()
        return self._database.look_up(lambda connection: standing_of(connection, address, list, now, self._keyring))

    def mailable(self, addresses: Iterable[str], stream: str, from_domain: str | None = None) -> Iterator[str]:
        """Those of ``addresses``, in order, that ``stream`` may mail; a stream that is unknown counts as marketing."""
        source = iter(addresses)
        while batch := list(islice(source, _CHECK_BATCH)):
            with self._database.read() as connection:
                allowed = mailable(connection, batch, stream, from_domain, self._clock(), self._keyring)
            yield from allowed

    def suppressions(self) -> Iterator[Suppression]:
        """All suppressions that stand now, oldest first."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = queries.suppressions(connection, self._clock(), last)
            if not page:
                return
            last = page[-1][0]
            yield from (one for _, one in page)

    def suppress(
        self,
        address: str,
        *,
        reason: str = "manual",
        scope: str = "all",
        until: datetime | None = None,
        by: str = "library",
        note: str | None = None,
    ) -> None:
        """Suppress an address, or a domain written ``@example.com``, by hand; it stands until lifted or ``until``.

        ``by`` and ``note`` say who and why, in the audit trail too.
        """
        with self._database.write() as connection:
            manual.suppress(
                connection, address, self._clock(), reason=reason, scope=scope, until=until, note=note, by=by
            )

    def lift(self, address: str, *, scope: str | None = None, by: str = "library", note: str | None = None) -> int:
        """Lift the suppressions of an address or ``@domain``; what led to them never counts again.

        ``scope`` limits it to one scope, ``by`` and ``note`` say who and why. Returns how many were lifted.
        """
        with self._database.write() as connection:
            return manual.lift(connection, address, self._clock(), scope=scope, by=by, note=note, keyring=self._keyring)

    # What is recorded.

    def outcomes(
        self,
        since: datetime | None = None,
        status: str | None = None,
        *,
        address: str | None = None,
        customer: str | None = None,
        mailbox: str | None = None,
        copies: bool = False,
    ) -> Iterator[RecordedOutcome]:
        """The outcomes recorded at or after ``since``, oldest first, without a limit.

        ``copies`` includes events that another route had reported already.
        """
        conditions = queries.outcome_conditions(
            since=since, status=status, address=address, customer=customer, mailbox=mailbox
        )
        last = 0
        while True:
            with self._database.read() as connection:
                page = queries.outcome_pages(connection, conditions, last, copies=copies)
            yield from page
            if len(page) < queries.PAGE:
                return
            last = page[-1].id

    def stats(self, by: str = "reason", since: datetime | None = None) -> list[Stats]:
        """Outcomes counted by ``stream``, ``domain``, ``provider``, ``reason``, ``status``, ``mailbox`` or ``day``.

        Backscatter is left out: :meth:`backscatter` counts it.
        """
        if by not in (*queries.GROUPS, "day"):
            raise ConfigError(f"stats by {by!r}: choose one of {', '.join(queries.GROUPS)}, day")
        with self._database.read() as connection:
            return queries.stats(connection, by, since, self._clock())

    def backscatter(self, since: datetime | None = None) -> Backscatter:
        """Delivery reports about mail that is not ours: how many, and whether they come in a flood."""
        with self._database.read() as connection:
            return backscatter.count_backscatter(connection, since, self._clock())

    def customer(self, customer: str) -> CustomerCard:
        """The card of a customer: addresses with their standing, the latest mail, the latest outcomes."""
        with self._database.read() as connection:
            return queries.customer_card(connection, customer, self._clock(), keyring=self._keyring)

    def history(self, address: str, latest: int = 20) -> tuple[RecordedOutcome, ...]:
        """The ``latest`` outcomes of an address, newest first."""
        with self._database.read() as connection:
            return queries.latest_outcomes(connection, outcomes.c.address_key == stored_key(address), latest)

    def held(self) -> Iterator[HeldMessage]:
        """The messages that could not be read, with their bytes, oldest first."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = queries.held_messages(connection, last)
            if not page:
                return
            yield from page
            last = page[-1].id


def _place(account: str, folder: str, uidvalidity: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        messages.c.account == account,
        messages.c.folder == folder,
        messages.c.uidvalidity == uidvalidity,
        sa.text("uid > 0"),  # type: ignore[return-value]
    )


def _uids(account: str, folder: str, uidvalidity: int) -> sa.Select[int]:
    return sa.select(messages.c.uid).where(*_place(account, folder, uidvalidity))

"""The part of :class:`~bounceparse.db.Store` that the panel asks: its users, and what its pages show.

``sender`` limits an answer to the streams of one tenant; None means all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from bounceparse import lazy
from bounceparse.db import polls
from bounceparse.db.api_store import of_sender
from bounceparse.db.backscatter import has_ledger
from bounceparse.db.engine import Database
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.tables import sent
from bounceparse.health import WINDOW, Cohort, HealthSettings, Thresholds
from bounceparse.verp import Keyring

if TYPE_CHECKING:
    from bounceparse.db import alerts, cards, health, panel, rates, users
    from bounceparse.db.alerts import OpenAlert
    from bounceparse.db.cards import AddressCard, CustomerCards
    from bounceparse.db.health import StreamLevel
    from bounceparse.db.panel import LogPage, ProviderReason, Wanted
    from bounceparse.db.queries import HeldMessage
    from bounceparse.db.users import User
else:  # a poll needs none of them
    alerts, cards, health, panel, rates, users = (
        lazy.module(f"bounceparse.db.{name}") for name in ("alerts", "cards", "health", "panel", "rates", "users")
    )


@dataclass(frozen=True, slots=True)
class Reported:
    """What was reported and sent of late.

    Attributes:
        today: the day (UTC) of the count.
        reports: by day (UTC) the outcomes of each status. ``mailboxes``: by mailbox those of the last 24 hours.
        sent: by day what was sent and what became of it; empty without a ledger.
    """

    today: date
    reports: Mapping[str, Mapping[str, int]]
    mailboxes: Mapping[str, int]
    sent: Mapping[str, Cohort]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a person should look at now, and how the polls go.

    Attributes:
        alerts: those that last. ``held``: messages that could not be read. ``pending``: requests that wait.
        polls: by mailbox when it was last polled to its end; None for one that never was.
    """

    alerts: tuple[OpenAlert, ...]
    held: int
    pending: int
    polls: Mapping[str, datetime | None]


class PanelStore:
    """What people see in a browser."""

    _database: Database
    _health: HealthSettings
    _keyring: Keyring
    _clock: Callable[[], datetime]

    # Users

    def make_user(
        self, name: str, password: str, *, role: str = "read", sender: str | None = None, by: str = "library"
    ) -> None:
        """Make a user of the panel with a role of ``read`` or ``write``. Raises ``ConfigError``."""
        users.require_password(password)
        stored = users.hash_password(password)
        with self._database.write() as connection:
            users.add_user(connection, name, stored, role, sender, self._clock(), by)

    def users(self) -> list[User]:
        """All users of the panel, by name."""
        with self._database.read() as connection:
            return users.list_users(connection)

    def has_users(self) -> bool:
        """Whether anybody may sign in to the panel."""
        with self._database.read() as connection:
            return users.has_users(connection)

    def set_password(self, name: str, password: str, *, by: str = "library") -> None:
        """Give a user another password and end their sessions. Raises ``ConfigError``."""
        users.require_password(password)
        stored = users.hash_password(password)
        with self._database.write() as connection:
            users.change_user(connection, name, "new password", self._clock(), by, password=stored)

    def disable_user(self, name: str, *, by: str = "library") -> None:
        """Keep a user out from now on and end their sessions. Raises ``ConfigError`` for one that is unknown."""
        with self._database.write() as connection:
            users.change_user(connection, name, "disable user", now := self._clock(), by, disabled_at=now)

    def enable_user(self, name: str, *, by: str = "library") -> None:
        """Let a disabled user sign in again. Raises ``ConfigError`` for one that is unknown."""
        with self._database.write() as connection:
            users.change_user(connection, name, "enable user", self._clock(), by, disabled_at=None)

    def sign_in(self, name: str, password: str) -> str | None:
        """The token of a new session; None where name and password do not fit. Takes a quarter of a second by design."""
        with self._database.read() as connection:
            stored = users.stored_password(connection, name)
        if not users.check_password(password, stored):
            return None
        with self._database.write() as connection:
            if users.stored_password(connection, name) != stored:  # disabled, or changed, meanwhile
                return None
            return users.open_session(connection, name, self._clock())

    def signed_in(self, token: str) -> User | None:
        """Whose session a token is of; None where it has run out or been ended."""
        now = self._clock()
        return self._database.look_up(lambda connection: users.find_session(connection, token, now))

    def sign_out(self, token: str) -> None:
        """End a session."""
        with self._database.write() as connection:
            users.end_session(connection, token)

    # Cards

    def address_card(self, address: str, latest: int, *, sender: str | None = None) -> AddressCard:
        """What is known of an address, with the ``latest`` messages, outcomes and acts of persons."""
        with self._database.read() as connection:
            return cards.address_card(connection, address, self._clock(), self._keyring, latest=latest, sender=sender)

    def customer_cards(self, customer: str, most: int, *, sender: str | None = None) -> CustomerCards:
        """What is known of a customer, with the latest outcome of ``most`` addresses at most."""
        with self._database.read() as connection:
            return cards.customer_cards(connection, customer, self._clock(), self._keyring, most=most, sender=sender)

    # The log

    def log_choices(self, *, sender: str | None = None) -> tuple[list[str], list[str]]:
        """The streams and the mailboxes that the log can be filtered by; a tenant is told no mailbox."""
        with self._database.read() as connection:
            known = [one for one in health.stream_levels(connection) if sender is None or one.sender == sender]
            mailboxes = sorted(polls.last_polls(connection)) if sender is None else []
            return [one.name for one in known if one.name], mailboxes

    def log(self, wanted: Wanted, *, before: int | None = None, limit: int = 50, sender: str | None = None) -> LogPage:
        """A page of what was recorded, newest first, below the id ``before``."""
        with self._database.read() as connection:
            return panel.log_page(connection, wanted, sender, before, limit)

    def export_log(self, wanted: Wanted, *, sender: str | None = None) -> Iterator[RecordedOutcome]:
        """All outcomes that are wanted, oldest first."""
        after = 0
        while True:
            with self._database.read() as connection:
                page = panel.export_page(connection, wanted, sender, after)
            if not page:
                return
            yield from page
            after = page[-1].id

    def outcome(self, outcome_id: int, *, sender: str | None = None) -> RecordedOutcome | None:
        """One outcome by its id."""
        with self._database.read() as connection:
            return panel.one_outcome(connection, outcome_id, sender)

    # Counts: these look at all outcomes, or all mail, of their time

    def reported(self, days: int, *, sender: str | None = None) -> Reported:
        """What was reported and sent in the last ``days`` days, today among them."""
        now = self._clock()
        since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days - 1)
        with self._database.read() as connection:
            of = of_sender(sent.c.stream, sender)
            return Reported(
                now.date(),
                panel.reports_by_day(connection, since, sender),
                panel.reports_by_mailbox(connection, now - timedelta(days=1)) if sender is None else {},
                rates.cohorts(connection, "day", since, *of) if has_ledger(connection) else {},
            )

    def provider_reasons(self, days: int, *, sender: str | None = None) -> list[ProviderReason]:
        """What was reported of each provider in the last ``days`` days, the most frequent first."""
        with self._database.read() as connection:
            return panel.provider_reasons(connection, self._clock() - timedelta(days=days), sender)

    def sent_by_stream(self, *, sender: str | None = None) -> dict[str, Cohort]:
        """What each stream sent in the time that it is judged by, and what became of it."""
        with self._database.read() as connection:
            return rates.cohorts(connection, "stream", self._clock() - WINDOW, *of_sender(sent.c.stream, sender))

    # What waits

    def waiting(self) -> Waiting:
        """What a person should look at, and when the mailboxes were last polled."""
        with self._database.read() as connection:
            known = polls.last_polls(connection)
            names = sorted({*known, *polls.awaited_since(connection), *self._health.mailboxes})
            return Waiting(
                tuple(alerts.open_alerts(connection)),
                panel.count_held(connection),
                panel.count_pending(connection),
                {name: known.get(name) for name in names},
            )

    def stream_levels(self, *, sender: str | None = None) -> list[StreamLevel]:
        """The streams by name and how each does as last judged."""
        with self._database.read() as connection:
            found = health.stream_levels(connection)
        return [one for one in found if sender is None or one.sender == sender]

    def thresholds(self, stream: str) -> Thresholds:
        """What a stream is judged by."""
        return self._health.limits_of(stream)

    def held_page(self, after: int, limit: int) -> list[HeldMessage]:
        """Messages that could not be read with an id above ``after``, oldest first; without their bytes."""
        with self._database.read() as connection:
            return panel.held_page(connection, after, limit)

    def held_message(self, message_id: int) -> HeldMessage | None:
        """One message that could not be read, with its bytes."""
        with self._database.read() as connection:
            return panel.held_message(connection, message_id)

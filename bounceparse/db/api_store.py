"""The part of :class:`~bounceparse.db.Store` that the API asks: its tokens, pages by cursor, and what one tenant may see.

``sender`` limits an answer to the streams of one tenant; None means all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from bounceparse import lazy
from bounceparse.clues import message_key
from bounceparse.db.backscatter import has_ledger
from bounceparse.db.engine import Database
from bounceparse.db.rows import RecordedOutcome, recorded_outcome
from bounceparse.db.standings import Standing, active, blocks, standing_of
from bounceparse.db.tables import UNSETTLED, outcomes, sent, standing, streams
from bounceparse.db.types import storable, stored_key
from bounceparse.errors import ConfigError, StoreError
from bounceparse.health import Cohort
from bounceparse.policy import Suppression
from bounceparse.verp import Keyring

if TYPE_CHECKING:
    from bounceparse.db import api_tokens, queries, rates
    from bounceparse.db.api_tokens import ApiToken
    from bounceparse.db.queries import CustomerCard, SentStatus, Stats
else:  # a poll needs none of them
    api_tokens, queries, rates = (lazy.module(f"bounceparse.db.{name}") for name in ("api_tokens", "queries", "rates"))

_MOST_TRAIL = 1000
"""Rows of a trail: a Message-ID that a whole campaign shares has more."""


class ApiStore:
    """What a service asks over HTTP."""

    _database: Database
    _clock: Callable[[], datetime]
    _keyring: Keyring

    def make_api_token(
        self, name: str, scopes: Collection[str], *, sender: str | None = None, by: str = "library"
    ) -> str:
        """Make a token with scopes of ``read``, ``write``, ``ingest``; it is told once. Raises ``ConfigError``."""
        with self._database.write() as connection:
            return api_tokens.make_token(connection, name, scopes, sender, self._clock(), by)

    def api_tokens(self) -> list[ApiToken]:
        """All tokens, by name."""
        with self._database.read() as connection:
            return api_tokens.list_tokens(connection)

    def revoke_api_token(self, name: str, *, by: str = "library") -> None:
        """Make a token worthless from now on. Raises ``ConfigError`` where none of this name stands."""
        with self._database.write() as connection:
            api_tokens.revoke_token(connection, name, self._clock(), by)

    def check_api_token(self, token: str) -> ApiToken | None:
        """Whose token it is; None for one that is unknown or revoked. Notes, once an hour, that it was used."""
        found = self._database.look_up(lambda connection: api_tokens.find_api_token(connection, token))
        now = self._clock()
        if found is not None and (found.used_at is None or now - found.used_at >= api_tokens.USED_AGAIN):
            with suppress(StoreError), self._database.write(wait=False) as connection:
                api_tokens.note_used(connection, found.id, now)
        return found

    def standing_for(self, address: str, list_id: str | None = None, *, sender: str | None = None) -> Standing:
        """The standing of an address, for a tenant by what reaches its mail, without the reports of others."""
        now = self._clock()
        found = self._database.look_up(lambda connection: standing_of(connection, address, list_id, now, self._keyring))
        return found if sender is None else of_tenant(found, list_id, sender, now)

    def outcome_page(
        self,
        after: int,
        limit: int,
        *,
        sender: str | None = None,
        stream: str | None = None,
        since: datetime | None = None,
        status: str | None = None,
        address: str | None = None,
        customer: str | None = None,
        mailbox: str | None = None,
    ) -> list[RecordedOutcome]:
        """Up to ``limit`` outcomes with a ``seq`` above ``after``, in its order; one that changed comes again."""
        conditions = queries.outcome_conditions(
            since=since, status=status, address=address, customer=customer, mailbox=mailbox
        )
        if stream is not None:
            conditions.append(outcomes.c.stream == stream)
        query = sa.select(outcomes).where(outcomes.c.seq > after, ~outcomes.c.is_copy, *conditions)
        query = query.where(*of_sender(outcomes.c.stream, sender)).order_by(outcomes.c.seq).limit(limit)
        with self._database.read() as connection:
            return [recorded_outcome(row) for row in connection.execute(query)]

    def history_of(self, address: str, latest: int, *, sender: str | None = None) -> tuple[RecordedOutcome, ...]:
        """The ``latest`` outcomes of an address, newest first."""
        theirs = sa.and_(outcomes.c.address_key == stored_key(address), *of_sender(outcomes.c.stream, sender))
        with self._database.read() as connection:
            return queries.latest_outcomes(connection, theirs, latest)

    def sent_to_of(self, address: str, latest: int, *, sender: str | None = None) -> tuple[SentStatus, ...]:
        """The ``latest`` messages to an address, newest first."""
        theirs = sa.and_(sent.c.recipient_key == stored_key(address), *of_sender(sent.c.stream, sender))
        with self._database.read() as connection:
            return queries.latest_sent(connection, theirs, latest)

    def customer_of(self, customer: str, *, sender: str | None = None) -> CustomerCard:
        """The card of a customer. Tenants may use the same numbers: with ``sender`` it is that one's customer."""
        within = None if sender is None else _streams_of(sender)
        with self._database.read() as connection:
            return queries.customer_card(connection, customer, self._clock(), keyring=self._keyring, within=within)

    def trail(
        self, message_id: str, *, sender: str | None = None
    ) -> tuple[tuple[SentStatus, ...], tuple[RecordedOutcome, ...]]:
        """A message by its Message-ID: a row for each recipient, and what was reported of it, oldest first."""
        key = message_key(message_id)
        if key is None:
            return (), ()
        key = storable(key)
        columns = [sent.c.id, *(sent.c[name] for name in queries.SentStatus.__dataclass_fields__)]
        mine = sa.select(*columns).where(sent.c.message_key == key, *of_sender(sent.c.stream, sender))
        with self._database.read() as connection:
            rows = connection.execute(mine.order_by(sent.c.recipient_key).limit(_MOST_TRAIL)).all()
            told: sa.ColumnElement[bool] = outcomes.c.sent_id.in_([row.id for row in rows])
            if sender is None:
                told = sa.or_(told, sa.and_(outcomes.c.message_key == key, sa.text(UNSETTLED)))
            query = sa.select(outcomes).where(told, ~outcomes.c.is_copy).order_by(outcomes.c.event_at, outcomes.c.id)
            found = tuple(recorded_outcome(row) for row in connection.execute(query.limit(_MOST_TRAIL)))
        return tuple(queries.SentStatus(*tuple(row)[1:]) for row in rows), found

    def suppression_page(self, after: int, limit: int, *, sender: str | None = None) -> list[tuple[int, Suppression]]:
        """Up to ``limit`` suppressions that stand now, with their ids, above the id ``after``.

        A tenant gets what is its own; that an address is dead is told where it is asked for, and not as a list.
        """
        columns = [standing.c[name] for name in Suppression.__dataclass_fields__]
        query = sa.select(standing.c.id, *columns).where(active(self._clock()), standing.c.id > after)
        if sender is not None:
            query = query.where(standing.c.scope.in_(own_scopes(sender)))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(standing.c.id).limit(limit)).all()
        return [(row.id, Suppression(*tuple(row)[1:])) for row in rows]

    def stats_of(self, by: str, since: datetime | None = None, *, sender: str | None = None) -> list[Stats]:
        """As :meth:`~bounceparse.db.Store.stats`."""
        if by not in (*queries.GROUPS, "day"):
            raise ConfigError(f"stats by {by!r}: choose one of {', '.join(queries.GROUPS)}, day")
        with self._database.read() as connection:
            return queries.stats(connection, by, since, self._clock(), *of_sender(outcomes.c.stream, sender))

    def rates_of(self, by: str, since: datetime | None = None, *, sender: str | None = None) -> dict[str, Cohort]:
        """As :meth:`~bounceparse.db.Store.rates`."""
        if by not in rates.GROUPS:
            raise ConfigError(f"rates by {by!r}: choose one of {', '.join(rates.GROUPS)}")
        with self._database.read() as connection:
            if not has_ledger(connection):
                return {}
            return rates.cohorts(connection, by, since, *of_sender(sent.c.stream, sender))

    def has_stream(self, name: str, sender: str | None = None) -> bool:
        """Whether there is such a stream, and of this tenant."""
        query = sa.select(streams.c.name).where(streams.c.name == storable(name))
        if sender is not None:
            query = query.where(streams.c.sender == sender)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None


def own_scopes(sender: str) -> tuple[str, str]:
    """The scopes of suppressions that are one tenant's."""
    return f"marketing:{sender}", f"sender:{sender}"


def of_tenant(found: Standing, list_id: str | None, sender: str, now: datetime) -> Standing:
    """A standing by what of it reaches a tenant's mail, without the reports of others."""
    visible = {"all", *own_scopes(sender), *([f"list:{list_id}"] if list_id else [])}
    rows = tuple(replace(one, outcome_id=None, event_id=None) for one in found.suppressions if one.scope in visible)
    if not rows:
        return Standing(found.address, mailable=True)
    first = rows[0]  # they are ordered by what decides
    return Standing(
        found.address,
        mailable=not blocks(first.scope, list_id),
        status=first.status,
        reason=first.reason,
        since=first.since,
        until=first.until,
        count=first.count,
        scope=first.scope,
        cause=first.cause,
        suppressions=rows,
        provider=first.provider,
        paused_until=first.paused_until if first.paused_until and first.paused_until > now else None,
    )


def _streams_of(sender: str) -> Any:
    return sa.select(streams.c.name).where(streams.c.sender == sender)


def of_sender(column: sa.Column[Any], sender: str | None) -> tuple[sa.ColumnElement[bool], ...]:
    """The condition that a stream is one tenant's; none where ``sender`` is None."""
    return () if sender is None else (column.in_(_streams_of(sender)),)

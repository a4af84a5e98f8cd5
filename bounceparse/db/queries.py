"""Questions about what is recorded: outcomes, rates, a customer's card, held messages, suppressions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.backscatter import has_ledger, is_backscatter
from bounceparse.db.rates import day_of
from bounceparse.db.rows import RecordedOutcome, recorded_outcome
from bounceparse.db.standings import NO_KEYS, Standing, active, standing_of
from bounceparse.db.tables import messages, outcomes, sent, standing, streams
from bounceparse.db.types import stored_key
from bounceparse.policy import Suppression
from bounceparse.reading import Place
from bounceparse.verp import Keyring

PAGE = 1000
GROUPS: Mapping[str, sa.ColumnElement[Any]] = {
    "stream": outcomes.c.stream,
    "domain": outcomes.c.domain_key,
    "provider": outcomes.c.provider,
    "reason": outcomes.c.reason,
    "status": outcomes.c.status,
    "mailbox": outcomes.c.mailbox,
}
"""What ``stats`` can group by, beside the ``day`` of the event."""


@dataclass(frozen=True, slots=True)
class Stats:
    """One line of ``stats``: how many outcomes of each status a group has. ``group`` is None where nothing is known."""

    group: str | None
    statuses: Mapping[str, int]

    @property
    def total(self) -> int:
        """All outcomes of the group."""
        return sum(self.statuses.values())


class Stream(NamedTuple):
    """What messages are sent by: ``sender`` is the tenant, ``category`` ``marketing`` or ``transactional``."""

    name: str
    sender: str
    category: str


@dataclass(frozen=True, slots=True)
class SentStatus:
    """A row of the ledger as a card shows it; ``presumed`` where silence alone says so."""

    message_id: str | None
    recipient: str
    subject: str | None
    stream: str | None
    sent_at: datetime | None
    status: str
    reason: str | None
    status_at: datetime | None
    complained_at: datetime | None
    unsubscribed_at: datetime | None
    presumed: bool


@dataclass(frozen=True, slots=True)
class CustomerCard:
    """All that is known of a customer: the addresses with their standing, the latest mail and what became of it.

    ``replaced`` names the addresses that are not mailed but need nobody's care, with the address that took their place:
    one that may be mailed and was first mailed after the old one had been suppressed.
    """

    customer: str
    addresses: tuple[Standing, ...]
    sent: tuple[SentStatus, ...]
    outcomes: tuple[RecordedOutcome, ...]
    replaced: Mapping[str, str] = field(default_factory=dict)

    @property
    def alert(self) -> bool:
        """Whether some address cannot be mailed and nobody has corrected it."""
        return any(not one.mailable and one.address not in self.replaced for one in self.addresses)


@dataclass(frozen=True, slots=True)
class HeldMessage:
    """A message that could not be read, with its bytes."""

    id: int
    account: str
    folder: str
    uidvalidity: int
    uid: int
    size: int
    error: str
    recorded_at: datetime
    raw: bytes

    @property
    def place(self) -> Place:
        """Where it lies."""
        return Place(self.account, self.folder, self.uidvalidity, self.uid)


def outcome_pages(
    connection: Connection, conditions: list[sa.ColumnElement[bool]], after: int, *, copies: bool
) -> list[RecordedOutcome]:
    """Up to :data:`PAGE` outcomes with an id above ``after``, oldest first."""
    query = sa.select(outcomes).where(outcomes.c.id > after, *conditions).order_by(outcomes.c.id).limit(PAGE)
    if not copies:
        query = query.where(~outcomes.c.is_copy)
    return [recorded_outcome(row) for row in connection.execute(query)]


def outcome_conditions(
    *,
    since: datetime | None,
    status: str | None,
    address: str | None,
    customer: str | None,
    mailbox: str | None,
) -> list[sa.ColumnElement[bool]]:
    """The conditions for outcomes recorded at or after ``since``, with these values."""
    values = {
        outcomes.c.status: status,
        outcomes.c.address_key: stored_key(address) if address else None,
        outcomes.c.customer: customer,
        outcomes.c.mailbox: mailbox,
    }
    conditions = [column == value for column, value in values.items() if value is not None]
    if since is not None:
        conditions.append(outcomes.c.recorded_at >= since)
    return conditions


def stats(
    connection: Connection, by: str, since: datetime | None, now: datetime, *conditions: sa.ColumnElement[bool]
) -> list[Stats]:
    """Outcomes counted by group and status, copies and backscatter left out, the largest group first."""
    group = day_of(connection, outcomes.c.event_at) if by == "day" else GROUPS[by]
    query = sa.select(group.label("name"), outcomes.c.status, sa.func.count()).where(~outcomes.c.is_copy, *conditions)
    if since is not None:
        query = query.where(outcomes.c.event_at >= since)
    if has_ledger(connection):
        query = query.where(~is_backscatter(now))
    counted: dict[str | None, dict[str, int]] = {}
    for name, status, count in connection.execute(query.group_by("name", outcomes.c.status)):
        counted.setdefault(name, {})[status] = count
    lines = [Stats(name, statuses) for name, statuses in counted.items()]
    return sorted(lines, key=lambda line: (-line.total, line.group or ""))


def list_streams(connection: Connection) -> list[Stream]:
    """All streams, by name."""
    return [Stream(*row) for row in connection.execute(sa.select(streams).order_by(streams.c.name))]


def customer_card(
    connection: Connection,
    customer: str,
    now: datetime,
    latest: int = 20,
    keyring: Keyring = NO_KEYS,
    within: sa.Select[Any] | None = None,
) -> CustomerCard:
    """The card of a customer, with the ``latest`` messages and outcomes, newest first; ``within`` selects the streams."""
    theirs: sa.ColumnElement[bool] = sent.c.customer == customer
    told: sa.ColumnElement[bool] = outcomes.c.sent_id.in_(
        sa.select(sent.c.id).where(theirs)
    )  # no index leads from a customer to outcomes
    if within is not None:
        theirs, told = theirs & sent.c.stream.in_(within), told & outcomes.c.stream.in_(within)
    last = sa.func.max(sent.c.sent_at)
    named = sa.select(sa.func.max(sent.c.recipient), sa.func.min(sent.c.sent_at)).where(theirs)
    first_mailed = {
        row[0]: row[1] for row in connection.execute(named.group_by(sent.c.recipient_key).order_by(last.desc()))
    }
    addresses = tuple(standing_of(connection, address, None, now, keyring) for address in first_mailed)
    return CustomerCard(
        customer,
        addresses,
        sent=latest_sent(connection, theirs, latest),
        outcomes=latest_outcomes(connection, told, latest),
        replaced=_replaced(addresses, first_mailed),
    )


def latest_sent(connection: Connection, condition: sa.ColumnElement[bool], latest: int) -> tuple[SentStatus, ...]:
    """The ``latest`` messages for which ``condition`` holds, newest first."""
    columns = [sent.c[name] for name in SentStatus.__dataclass_fields__]
    rows = connection.execute(sa.select(*columns).where(condition).order_by(sent.c.sent_at.desc()).limit(latest))
    return tuple(SentStatus(*row) for row in rows)


def _replaced(addresses: Iterable[Standing], first_mailed: Mapping[str, datetime | None]) -> dict[str, str]:
    """By address that is not mailed, the one that took its place; ``addresses`` are those mailed latest first."""
    good = [one.address for one in addresses if one.mailable]
    found = {}
    for old in addresses:
        if old.mailable or old.since is None:
            continue
        for new in good:
            first = first_mailed[new]
            if first is not None and first > old.since:
                found[old.address] = new
                break
    return found


def latest_outcomes(
    connection: Connection, condition: sa.ColumnElement[bool], latest: int
) -> tuple[RecordedOutcome, ...]:
    """The ``latest`` outcomes for which ``condition`` holds, newest first."""
    query = sa.select(outcomes).where(condition, ~outcomes.c.is_copy).order_by(outcomes.c.event_at.desc()).limit(latest)
    return tuple(recorded_outcome(row) for row in connection.execute(query))


def held_messages(connection: Connection, after: int) -> list[HeldMessage]:
    """Up to 100 messages that could not be read, with an id above ``after``, oldest first."""
    held = messages.c.error.is_not(None) & (messages.c.id > after)
    return [
        HeldMessage(
            row.id,
            row.account,
            row.folder,
            row.uidvalidity,
            row.uid,
            row.size,
            row.error,
            row.recorded_at,
            zlib.decompress(row.raw) if row.raw else b"",
        )
        for row in connection.execute(sa.select(messages).where(held).order_by(messages.c.id).limit(100))
    ]


def suppressions(connection: Connection, now: datetime, after: int) -> list[tuple[int, Suppression]]:
    """Up to :data:`PAGE` suppressions that stand now, with their ids, above the id ``after``."""
    columns = [standing.c[name] for name in Suppression.__dataclass_fields__]
    query = sa.select(standing.c.id, *columns).where(active(now), standing.c.id > after)
    rows = connection.execute(query.order_by(standing.c.id).limit(PAGE)).all()
    return [(row.id, Suppression(*tuple(row)[1:])) for row in rows]

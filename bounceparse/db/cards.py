"""The cards of the panel: what is known of an address, or of a customer, asked for in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db import queries
from bounceparse.db.api_store import of_sender, of_tenant
from bounceparse.db.audit import AuditEntry
from bounceparse.db.queries import CustomerCard, SentStatus
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.standings import Standing, standing_of
from bounceparse.db.tables import audit, outcomes, sent, streams
from bounceparse.db.types import stored_key
from bounceparse.verp import Keyring


@dataclass(frozen=True, slots=True)
class AddressCard:
    """What is known of an address, the latest first.

    ``acts`` are what persons did to it; none are told to a tenant. ``senders`` are those that a suppression may reach.
    """

    standing: Standing
    history: tuple[RecordedOutcome, ...]
    sent: tuple[SentStatus, ...]
    acts: tuple[AuditEntry, ...]
    senders: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CustomerCards:
    """The card of a customer, with the latest outcome of each address that has one, and the senders."""

    card: CustomerCard
    latest: Mapping[str, RecordedOutcome]
    senders: tuple[str, ...]


def address_card(
    connection: Connection, address: str, now: datetime, keyring: Keyring, *, latest: int, sender: str | None
) -> AddressCard:
    """The card of an address, for a tenant by what reaches its mail."""
    standing = standing_of(connection, address, None, now, keyring)
    theirs = sa.and_(sent.c.recipient_key == stored_key(address), *of_sender(sent.c.stream, sender))
    return AddressCard(
        standing if sender is None else of_tenant(standing, None, sender, now),
        _history(connection, address, latest, sender),
        queries.latest_sent(connection, theirs, latest),
        _acts(connection, address, latest) if sender is None else (),
        _senders(connection, sender),
    )


def customer_cards(
    connection: Connection, customer: str, now: datetime, keyring: Keyring, *, most: int, sender: str | None
) -> CustomerCards:
    """The card of a customer, for a tenant its own customer's; outcomes of ``most`` addresses at most."""
    within = None if sender is None else sa.select(streams.c.name).where(streams.c.sender == sender)
    card = queries.customer_card(connection, customer, now, keyring=keyring, within=within)
    if sender is not None:
        card = replace(card, addresses=tuple(of_tenant(one, None, sender, now) for one in card.addresses))
    latest = {one.address: _history(connection, one.address, 1, sender) for one in card.addresses[:most]}
    found = {address: rows[0] for address, rows in latest.items() if rows}
    return CustomerCards(card, found, _senders(connection, sender))


def _history(connection: Connection, address: str, latest: int, sender: str | None) -> tuple[RecordedOutcome, ...]:
    theirs = sa.and_(outcomes.c.address_key == stored_key(address), *of_sender(outcomes.c.stream, sender))
    return queries.latest_outcomes(connection, theirs, latest)


def _acts(connection: Connection, address: str, latest: int) -> tuple[AuditEntry, ...]:
    columns: list[Any] = [audit.c[name] for name in AuditEntry.__dataclass_fields__]
    query = sa.select(*columns).where(audit.c.subject.in_([address, stored_key(address)]))
    rows = connection.execute(query.order_by(audit.c.at.desc(), audit.c.id.desc()).limit(latest))
    return tuple(AuditEntry(*row) for row in rows)


def _senders(connection: Connection, sender: str | None) -> tuple[str, ...]:
    if sender is not None:
        return (sender,)
    query = sa.select(streams.c.sender).distinct().order_by(streams.c.sender).limit(100)
    return tuple(connection.execute(query).scalars())

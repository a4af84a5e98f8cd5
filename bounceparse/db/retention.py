"""How long what is kept: details and events some days, ids some months, addresses two years, statuses for good."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.deliveries import DELIVERED, PLACE
from bounceparse.db.standings import active
from bounceparse.db.tables import deliveries, history, messages, outbox, outcomes, requests, sent, standing, state

_WINDOW = 20_000
"""Ids looked at in one transaction: a poll never waits long for its turn."""


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days what is kept.

    Attributes:
        details_days: of reports: the raw message, subjects, the server's words, the evidence; of the ledger: subjects.
        keys_days: Message-IDs and other ids, by which a late report finds its message.
        addresses_days: addresses of statuses, after which keyed hashes stand for them (:mod:`~bounceparse.db.pseudonyms`).
        events_days: events that all endpoints have taken. Others, given up or waiting, go with the details that they hold.

    Statuses, reasons and times stay for good. A message that could not be read is no record yet and stays until it is;
    the words that a suppression in force rests on stay as long as it does, but for those that name its address.
    """

    details_days: int = 15
    keys_days: int = 180
    addresses_days: int = 730
    events_days: int = 7


class Rule(NamedTuple):
    """What becomes of the rows of ``table`` for which ``where`` holds: without ``values`` they go. ``name`` is for people."""

    name: str
    table: sa.Table
    where: sa.ColumnElement[bool]
    values: dict[str, Any]


def retention_rules(retention: Retention, now: datetime) -> list[Rule]:
    """All that is to be cleared at ``now``."""
    details = now - timedelta(days=retention.details_days)
    keys = now - timedelta(days=retention.keys_days)
    in_force = sa.select(standing.c.outcome_id).where(active(now), standing.c.outcome_id.is_not(None))
    return [
        _rule("raw messages", messages, sa.and_(messages.c.recorded_at < details, messages.c.error.is_(None)), "raw"),
        _rule(
            "details of messages",
            messages,
            sa.and_(messages.c.recorded_at < details, messages.c.error.is_(None)),
            "from_address subject",
        ),
        _rule(
            "details of outcomes",
            outcomes,
            sa.and_(outcomes.c.recorded_at < details, outcomes.c.id.not_in(in_force)),
            "diagnostic subject help_url evidence_matched reporter_auth",
        ),
        _rule(
            "details of decided requests",
            requests,
            sa.and_(requests.c.recorded_at < details, requests.c.state != "pending"),
            "subject words",
        ),
        _rule("details of reclassified outcomes", history, history.c.changed_at < details, "changed"),
        _rule("subjects of sent messages", sent, sent.c.sent_at < details, "subject"),
        _rule(
            "ids of outcomes",
            outcomes,
            outcomes.c.recorded_at < keys,
            "message_id message_key envelope_id feedback_id match_evidence own_id token_id",
        ),
        _rule(
            "ids of sent messages",
            sent,
            sent.c.sent_at < keys,
            "message_id message_key provider_id provider_key envelope_id",
        ),
        *_event_rules(now - timedelta(days=retention.events_days), min(details, now - _STILL_TRIED)),
    ]


_STILL_TRIED = timedelta(days=4)
"""An event is tried for three days: it goes no sooner, however short details are kept."""


def _event_rules(delivered: datetime, all_others: datetime) -> Iterator[Rule]:
    """Events, and what became of them, older than that: those that were delivered, and all others."""
    state_of = sa.select(deliveries.c.id).where(deliveries.c.outbox_id == outbox.c.id)
    unfinished = state_of.where(deliveries.c.state != DELIVERED).exists()
    taken = sa.select(sa.func.min(state.c.value)).where(state.c.name.startswith(PLACE)).scalar_subquery()
    old = sa.select(outbox.c.id).where(outbox.c.id == deliveries.c.outbox_id, outbox.c.created_at < all_others).exists()
    done = sa.and_(deliveries.c.state == DELIVERED, deliveries.c.delivered_at < delivered)
    yield Rule("deliveries of events", deliveries, sa.or_(done, old), {})
    finished = sa.and_(outbox.c.created_at < delivered, outbox.c.id <= taken, ~unfinished)
    yield Rule("events", outbox, sa.or_(finished, outbox.c.created_at < all_others), {})


_EMPTY = {"evidence_matched": "", "changed": "{}"}
"""What stands for nothing in columns that are never NULL."""


def _rule(name: str, table: sa.Table, where: sa.ColumnElement[bool], columns: str) -> Rule:
    """A rule that clears ``columns`` (parted by blanks) of the rows that still hold anything in them."""
    values = {column: _EMPTY.get(column) for column in columns.split()}
    held = [
        table.c[column].is_not(None) if empty is None else table.c[column] != empty for column, empty in values.items()
    ]
    return Rule(name, table, sa.and_(where, sa.or_(*held)), values)


class Countable(Protocol):
    """A rule of this module or of :mod:`~bounceparse.db.pseudonyms`."""

    @property
    def table(self) -> sa.Table: ...
    @property
    def where(self) -> sa.ColumnElement[bool]: ...


def count(connection: Connection, rule: Countable) -> int:
    """How many rows a rule would change."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(rule.table).where(rule.where)).scalar_one())


def windows(connection: Connection, rule: Countable) -> Iterator[tuple[int, int]]:
    """The ranges of ids (both ends included) in which the rule is to be applied, one a transaction."""
    ids = rule.table.c.id
    bounds = connection.execute(sa.select(sa.func.min(ids), sa.func.max(ids))).one()
    first, last = bounds[0], bounds[1]
    return ((start, start + _WINDOW - 1) for start in range(first, last + 1, _WINDOW)) if last else iter(())


def apply(connection: Connection, rule: Rule, window: tuple[int, int]) -> int:
    """Clear what a rule names within a range of ids; returns how many rows that were."""
    where = (rule.table.c.id.between(*window), rule.where)
    if not rule.values:
        return connection.execute(sa.delete(rule.table).where(*where)).rowcount
    return connection.execute(sa.update(rule.table).where(*where).values(**rule.values)).rowcount

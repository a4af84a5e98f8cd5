"""What became of the mail that was sent in some time, by stream, provider, domain or day: one cohort a group.

The ledger is the truth: nothing is counted beside it that could go out of step. A day's million of rows is grouped in
about a second, by the index on ``sent_at``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import outcomes, sent
from bounceparse.health import CHOICE_REASONS, SETUP_REASONS, Cohort
from bounceparse.outcomes import Status, Trust

GROUPS = ("stream", "provider", "domain", "day")
"""What cohorts can be grouped by."""


def _reason_in(reasons: frozenset[str]) -> sa.ColumnElement[bool]:
    return sa.and_(sent.c.status == Status.SPAMBOUNCE.value, sent.c.reason.in_(sorted(reasons)))


_FATE: sa.ColumnElement[str] = sa.case(
    (_reason_in(SETUP_REASONS), "setup"),
    (_reason_in(CHOICE_REASONS), "choice"),
    (sa.and_(sent.c.status == Status.OK.value, sent.c.presumed), "presumed"),
    (sent.c.status == Status.OK.value, "delivered"),
    (sa.and_(sent.c.status == Status.SOFTBOUNCE.value, sent.c.presumed), "presumed_softbounce"),
    else_=sent.c.status,
)
_COMPLAINED = sent.c.complained_at.is_not(None)
_UNSUBSCRIBED = sent.c.unsubscribed_at.is_not(None)
_ANSWERED = sa.or_(_COMPLAINED, _UNSUBSCRIBED)
_NOTHING_WRONG = (Status.INJECTED.value, Status.OK.value)


def cohorts(
    connection: Connection,
    by: str,
    since: datetime | None,
    *conditions: sa.ColumnElement[bool],
    delivered: bool = True,
) -> dict[str, Cohort]:
    """The cohorts of what was sent at or after ``since`` (None: ever) for which ``conditions`` hold, by group.

    A group is a stream ("" for messages without one), a provider (:func:`providers`; a domain whose provider no report
    has told stands for itself), a recipient domain (A-label) or a day (UTC, ``2026-01-31``). Without ``delivered`` the
    messages told or presumed delivered are left among those that nothing was heard of, which takes half the time.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL jit = off")  # compiling such a query takes as long as running it
    group = _group(connection, by).label("name")
    where = [sent.c.sent_at.is_not(None) if since is None else sent.c.sent_at >= since, *conditions]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    # Two scans: one sort of bare names and one of the few rows with more to tell take less than one sort of it all.
    for name, count in connection.execute(sa.select(group, sa.func.count()).where(*where).group_by("name")):
        counts[name or ""]["injected"] += count
    quiet = (Status.INJECTED.value,) if delivered else _NOTHING_WRONG
    columns = (group, _FATE.label("fate"), _COMPLAINED.label("complained"), _UNSUBSCRIBED.label("unsubscribed"))
    told = sa.select(*columns, sa.func.count()).where(*where, sa.or_(sent.c.status.not_in(quiet), _ANSWERED))
    told = told.group_by(*(column.name for column in columns))
    for name, fate, complained, unsubscribed, count in connection.execute(told):
        counts[name or ""] += _counted(
            fate, count, complained=complained, unsubscribed=unsubscribed, delivered=delivered
        )
    if by == "provider":
        counts = _by_provider(counts, providers(connection))
    return {name: Cohort(**counted) for name, counted in counts.items()}


def _counted(fate: str, count: int, *, complained: bool, unsubscribed: bool, delivered: bool) -> Counter[str]:
    found: Counter[str] = Counter()
    if fate in {"setup", "choice"}:
        found[Status.SPAMBOUNCE.value] += count
    if fate != Status.INJECTED and (delivered or fate not in {"delivered", "presumed"}):
        found[str(fate)] += count
    if complained:
        found["complaint"] += count
    if unsubscribed:
        found["unsubscribe"] += count
    return found


def day_of(connection: Connection, column: sa.Column[Any]) -> sa.ColumnElement[str]:
    """The day (UTC) of a time, as ``2026-01-31``."""
    if connection.dialect.name == "sqlite":
        return sa.func.substr(column, 1, 10, type_=sa.Text())
    return sa.func.to_char(sa.func.timezone("UTC", column), "YYYY-MM-DD", type_=sa.Text())


def _group(connection: Connection, by: str) -> sa.ColumnElement[Any]:
    if by == "day":
        return day_of(connection, sent.c.sent_at)
    return sent.c.stream if by == "stream" else sent.c.domain_key


def providers(connection: Connection) -> dict[str, str]:
    """The provider of each recipient domain, as most reports about mail of ours to that domain told."""
    query = (
        sa.select(outcomes.c.domain_key, outcomes.c.provider, sa.func.count())
        .where(
            outcomes.c.provider.is_not(None),
            outcomes.c.domain_key.is_not(None),
            outcomes.c.trust.in_((Trust.VERIFIED.value, Trust.CORRELATED.value)),
        )
        .group_by(outcomes.c.domain_key, outcomes.c.provider)
    )
    rows = sorted((count, provider, domain) for domain, provider, count in connection.execute(query))
    return {domain: provider for _, provider, domain in rows}  # the last, and so the most frequent, stays


def _by_provider(counts: Mapping[str, Counter[str]], known: Mapping[str, str]) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for domain, counted in counts.items():
        found[known.get(domain, domain)] += counted
    return found

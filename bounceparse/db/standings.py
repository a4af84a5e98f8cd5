"""The standing of addresses: "may we mail it?", for one address and for many."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.hashed import hashed_subject
from bounceparse.db.listed import listed
from bounceparse.db.tables import outcomes, standing, streams
from bounceparse.db.types import Utc, stored_key
from bounceparse.policy import Suppression, subject_of_domain
from bounceparse.verp import Keyring

NO_KEYS = Keyring()


@dataclass(frozen=True, slots=True)
class Ground:
    """What a suppression rests on: the latest report that counted for it.

    Attributes:
        occurred_at: when that happened, as the report tells it.
        diagnostic: the server's words; ``reporting_mta`` who reported it.
        rule, matched: the rule that decided, and the words of the report that it found.
        trust, matched_by: how far it is proven to be about mail of ours, and by what.
        message_id, mailbox: the message of ours, and the mailbox that the report came into.
        reporter_auth: what our own server found of the reporter's authenticity.
    """

    occurred_at: datetime | None
    diagnostic: str | None
    reporting_mta: str | None
    rule: str
    matched: str
    trust: str
    matched_by: str | None
    message_id: str | None
    mailbox: str
    reporter_auth: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """May we mail an address? The answer and what it rests on.

    Attributes:
        address: as asked; ``mailable`` is False where a suppression covers all that was asked about.
        status, reason, since, until, count, scope, cause, outcome_id: of the suppression that decides, or of the
            first restriction where it is mailable; None and 0 where nothing is known against it.
        suppressions: all that stand now, those of the domain too.
        provider, paused_until: with ``paused_until`` the address is paused, since many of the provider's failed at once.
        evidence: the report that the deciding suppression rests on; None for one made by hand or long past.
    """

    address: str
    mailable: bool
    status: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    count: int = 0
    scope: str | None = None
    cause: str | None = None
    outcome_id: int | None = None
    suppressions: tuple[Suppression, ...] = ()
    provider: str | None = None
    paused_until: datetime | None = None
    evidence: Ground | None = None

    def advice(self, language: str = "en") -> str:
        """What to tell the person who asks, in English (``en``) or Polish (``pl``)."""
        from bounceparse.advice import PAUSED, advice  # its texts are read from a file

        return advice(PAUSED if self.paused_until else self.reason, language)


_SUPPRESSION = [standing.c[name] for name in Suppression.__dataclass_fields__]
_GROUND = [
    outcomes.c.occurred_at,
    outcomes.c.diagnostic,
    outcomes.c.reporting_mta,
    outcomes.c.evidence_rule,
    outcomes.c.evidence_matched,
    outcomes.c.trust,
    outcomes.c.matched_by,
    outcomes.c.message_id,
    outcomes.c.mailbox,
    outcomes.c.reporter_auth,
]


def active(now: datetime) -> sa.ColumnElement[bool]:
    """The condition for a row of ``standing`` that acts at ``now``."""
    return sa.and_(standing.c.lifted_at.is_(None), sa.or_(standing.c.until.is_(None), standing.c.until > now))


_ACTIVE = sa.and_(
    standing.c.lifted_at.is_(None),
    sa.or_(standing.c.until.is_(None), standing.c.until > sa.bindparam("now", type_=Utc())),
)
_OF_ADDRESS = (
    sa.select(*_SUPPRESSION, outcomes.c.id, *_GROUND)
    .select_from(standing.outerjoin(outcomes, outcomes.c.id == standing.c.outcome_id))
    .where(listed(standing.c.subject), _ACTIVE)
    .order_by(standing.c.id)
)


def standing_of(
    connection: Connection, address: str, list_id: str | None, now: datetime, keyring: Keyring = NO_KEYS
) -> Standing:
    """The standing of one address; with ``list_id`` also whether that list, or marketing, may be mailed to it.

    One statement: a look into the index of subjects, and for what it finds one at the outcome that it rests on.
    """
    subjects = subjects_of(stored_key(address), keyring)
    rows = connection.execute(_OF_ADDRESS, {"listed": subjects, "now": now}).all()
    if not rows:
        return Standing(address, mailable=True)
    found = []
    for row in rows:
        suppression = Suppression(*row[: len(_SUPPRESSION)])
        ground = Ground(*row[len(_SUPPRESSION) + 1 :]) if row[len(_SUPPRESSION)] is not None else None
        found.append((suppression, ground))
    found.sort(key=lambda one: _weight(one[0], list_id, now))
    decisive, ground = found[0]
    paused = decisive.paused_until is not None and decisive.paused_until > now
    return Standing(
        address,
        mailable=not blocks(decisive.scope, list_id),
        status=decisive.status,
        reason=decisive.reason,
        since=decisive.since,
        until=decisive.until,
        count=decisive.count,
        scope=decisive.scope,
        cause=decisive.cause,
        outcome_id=decisive.outcome_id,
        suppressions=tuple(one for one, _ in found),
        provider=decisive.provider,
        paused_until=decisive.paused_until if paused else None,
        evidence=ground,
    )


def _weight(one: Suppression, list_id: str | None, now: datetime) -> tuple[bool, bool, bool, bool, float]:
    """Which of several decides comes first: one that blocks, for good, the address itself, for longest."""
    paused = one.paused_until is not None and one.paused_until > now
    ends = -one.until.timestamp() if one.until is not None else 0.0
    return not blocks(one.scope, list_id), paused, one.subject.startswith("@"), one.until is not None, ends


def subjects_of(key: str, keyring: Keyring = NO_KEYS) -> list[str]:
    """The subjects under which an address key may be suppressed: its own, its domain's, and its hash where there are keys."""
    _, at, domain = key.rpartition("@")
    subjects = [key, subject_of_domain(domain)] if at else [key]
    if keyring.keys or keyring.hashing:
        hashed = hashed_subject(keyring, key)
        return [*subjects, hashed] if hashed else subjects
    return subjects


def blocks(scope: str, list_id: str | None) -> bool:
    if scope == "all":
        return True
    return list_id is not None and (scope == f"list:{list_id}" or scope.startswith(("marketing:", "sender:")))


def mailable(
    connection: Connection,
    addresses: Sequence[str],
    stream: str,
    from_domain: str | None,
    now: datetime,
    keyring: Keyring = NO_KEYS,
) -> list[str]:
    """Those of ``addresses``, in order, that ``stream`` may mail."""
    row = connection.execute(sa.select(streams).where(streams.c.name == stream)).first()
    sender, category = (row.sender, row.category) if row is not None else ("", "marketing")
    scopes = {"all", f"sender:{sender}"}
    if category == "marketing":
        scopes.add(f"marketing:{sender}")
    if from_domain:
        scopes.add(f"from:{from_domain}")
    keyed = [(address, subjects_of(stored_key(address), keyring)) for address in addresses]
    blocked = _blocked(connection, {one for _, subjects in keyed for one in subjects}, scopes, now)
    return [address for address, subjects in keyed if blocked.isdisjoint(subjects)]


_SUBJECTS = sa.select(standing.c.subject).where(
    listed(standing.c.subject), _ACTIVE, standing.c.scope.in_(sa.bindparam("scopes", expanding=True))
)


def _blocked(connection: Connection, subjects: Collection[str], scopes: Collection[str], now: datetime) -> set[str]:
    given = {"listed": sorted(subjects), "scopes": sorted(scopes), "now": now}
    return set(connection.execute(_SUBJECTS, given).scalars())

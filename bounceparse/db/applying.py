"""Today's policy over all that is recorded: every address and domain judged anew, page by page.

A page is a range of outcomes, and judges the addresses and domains whose first outcome lies in it: each once, by its whole
history. A suppression whose outcomes are gone has nothing to be judged by, and stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.coverage import measure_coverage, read_coverage
from bounceparse.db.judging import find_changes, judge, judge_subjects, write_changes
from bounceparse.db.numbers import numbers, set_number
from bounceparse.db.tables import outcomes, standing
from bounceparse.outcomes import Status, Trust
from bounceparse.policy import NOT_COVERED, Policy, Suppression

PAGE = 2000
"""Outcomes a page, one transaction."""
_REACHED = "policy-apply"
_POLICY = "policy-apply-of"


@dataclass(frozen=True, slots=True)
class Judged:
    """A suppression that today's policy sees otherwise: ``before`` is None where none stood, ``after`` where none does."""

    before: Suppression | None
    after: Suppression | None
    now: datetime

    @property
    def subject(self) -> str:
        """The address key, or ``@domain``."""
        return self._either.subject

    @property
    def cause(self) -> str:
        """The line of the policy table."""
        return self._either.cause

    @property
    def effect(self) -> str:
        """What it means for the address: ``suppressed``, ``lifted`` or ``changed`` (its details, or one that has ended)."""
        before, after = self._acts(self.before), self._acts(self.after)
        return "changed" if before == after else "suppressed" if after else "lifted"

    @property
    def _either(self) -> Suppression:
        found = self.after or self.before
        assert found is not None  # nothing differs from nothing
        return found

    def _acts(self, one: Suppression | None) -> bool:
        return one is not None and (one.until is None or one.until > self.now)


@dataclass(frozen=True, slots=True)
class AppliedPage:
    """What one page came to: the id of its last outcome, the highest id there is, how many subjects were judged."""

    last: int
    highest: int
    subjects: int
    differences: tuple[Judged, ...]


_FIRSTS = """
SELECT o.{key} FROM bounceparse_outcomes o
WHERE o.id > :after AND o.id <= :last AND o.{key} IS NOT NULL{more}
  AND NOT EXISTS (SELECT 1 FROM bounceparse_outcomes e WHERE e.{key} = o.{key} AND e.id < o.id{earlier})
"""
_ADDRESSES = sa.text(_FIRSTS.format(key="address_key", more="", earlier=""))
_DOMAINS = sa.text(_FIRSTS.format(key="domain_key", more=" AND o.of_domain", earlier=" AND e.of_domain"))


def apply_page(connection: Connection, policy: Policy, now: datetime, after: int, *, dry_run: bool) -> AppliedPage:
    """Judge anew what the outcomes behind the one of id ``after`` are the first of; write it unless ``dry_run``."""
    ids = sa.select(outcomes.c.id).where(outcomes.c.id > after).order_by(outcomes.c.id).limit(PAGE).subquery()
    last = connection.execute(sa.select(sa.func.max(ids.c.id))).scalar() or after
    highest = connection.execute(sa.select(sa.func.max(outcomes.c.id))).scalar() or after
    between = {"after": after, "last": last}
    addresses = sorted(set(connection.execute(_ADDRESSES, between).scalars()))
    domains = sorted(set(connection.execute(_DOMAINS, between).scalars()))
    changes = find_changes(connection, addresses, domains, policy, read_coverage(connection), now)
    if not dry_run:
        write_changes(connection, changes, policy, now)
        note_reached(connection, policy, last)
    differences = tuple(Judged(change.before, change.after, now) for change in changes)
    return AppliedPage(last, highest, len(addresses) + len(domains), differences)


def reached(connection: Connection, policy: Policy) -> int:
    """The last outcome of the run that was interrupted; 0 where none was, or where the policy is another since."""
    values = numbers(connection)
    return values.get(_REACHED, 0) if values.get(_POLICY) == _fingerprint(policy) else 0


def note_reached(connection: Connection, policy: Policy, last: int) -> None:
    """Note how far a run has come; 0 when it is at its end."""
    set_number(connection, _POLICY, _fingerprint(policy))
    set_number(connection, _REACHED, last)


def _fingerprint(policy: Policy) -> int:
    """A number of 63 bits that differs for policies that differ."""
    table = [(replace(cause, reasons=frozenset()), sorted(cause.reasons)) for cause in policy.table]
    own = sorted(policy.streams.items()), sorted(policy.senders.items())
    told = repr((policy.trust, policy.complaint_stops_transactional, table, own))
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big") >> 1


# What follows from a change of the coverage, or of a stream.


def require_proof(connection: Connection, policy: Policy, now: datetime) -> None:
    """See where the ledger covers the reports by now, and take back what rests on unmatched ones there."""
    newly = measure_coverage(connection, now)
    if newly == NOT_COVERED:
        return
    there = sa.or_(
        sa.and_(outcomes.c.stream.is_(None), outcomes.c.mailbox.in_(newly.mailboxes)),
        outcomes.c.stream.in_(newly.streams),
    )
    stands = sa.select(standing.c.subject).where(standing.c.origin == "policy", standing.c.lifted_at.is_(None))
    unproven = sa.select(outcomes.c.address_key).where(
        there, outcomes.c.trust == Trust.UNVERIFIED, outcomes.c.address_key.in_(stands)
    )
    judge_subjects(connection, connection.execute(unproven.distinct()).scalars(), policy, now)


def judge_stream(connection: Connection, stream: str, policy: Policy, now: datetime) -> int:
    """Judge anew the addresses that answered mail of a stream, whose sender may be another now."""
    answered = sa.select(outcomes.c.address_key).where(
        outcomes.c.stream == stream,
        outcomes.c.status.in_((Status.COMPLAINT.value, Status.UNSUBSCRIBE.value)),
        outcomes.c.address_key.is_not(None),
    )
    addresses = set(connection.execute(answered.distinct()).scalars())
    return judge(connection, addresses, (), policy, read_coverage(connection), now)

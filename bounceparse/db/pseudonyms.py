"""Addresses of old statuses -> keyed hashes; statuses, reasons, times and counts stay what they were."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.bulk import execute_many
from bounceparse.db.hashed import PREFIX
from bounceparse.db.tables import audit, outcomes, requests, sent, standing
from bounceparse.db.types import stored_key

Hash = Callable[[str], str | None]
"""An address key -> what stands for it (``hashed_subject`` with a keyring)."""


class Rule(NamedTuple):
    """In the rows of ``table`` for which ``where`` holds, ``addresses`` are hashed; ``texts`` that name one are cleared."""

    name: str
    table: sa.Table
    where: sa.ColumnElement[bool]
    addresses: tuple[str, ...]
    texts: Mapping[str, Any]


def address_rules(cutoff: datetime) -> list[Rule]:
    """What is hashed of what is older than ``cutoff``.

    What a younger suppression of the same address rests on stays: judged without it, the suppression would end. The
    tokens of unsubscribe links stay too: they lead back for as long as the mail that carries them exists.
    """
    younger = sa.select(standing.c.id).where(
        standing.c.subject == outcomes.c.address_key, standing.c.lifted_at.is_(None), standing.c.last_at >= cutoff
    )
    old = sa.and_(standing.c.last_at < cutoff, standing.c.since < cutoff, ~standing.c.subject.startswith("@"))
    named = dict.fromkeys(("diagnostic", "subject", "help_url", "match_evidence"))
    return [
        _rule("addresses of suppressions", standing, old, ("subject",), {"note": None}),
        _rule(
            "addresses of outcomes",
            outcomes,
            sa.and_(outcomes.c.recorded_at < cutoff, ~sa.exists(younger)),
            ("address_key", "recipient", "reported_recipient", "original_recipient", "final_recipient"),
            {**named, "evidence_matched": ""},
        ),
        _rule("addresses of sent messages", sent, sent.c.sent_at < cutoff, ("recipient_key", "recipient"), {}),
        _rule(
            "addresses of requests",
            requests,
            sa.and_(requests.c.recorded_at < cutoff, requests.c.state != "pending"),
            ("address",),
            {"note": None},
        ),
        _rule(
            "addresses in the audit trail",
            audit,
            sa.and_(audit.c.at < cutoff, audit.c.subject.like("%_@%")),
            ("subject",),
            {"note": None, "detail": None},
        ),
    ]


def _rule(
    name: str, table: sa.Table, where: sa.ColumnElement[bool], addresses: tuple[str, ...], texts: Mapping[str, Any]
) -> Rule:
    plain = [sa.and_(table.c[one].is_not(None), ~table.c[one].startswith(PREFIX)) for one in addresses]
    return Rule(name, table, sa.and_(where, sa.or_(*plain)), addresses, texts)


def pseudonymise(connection: Connection, rule: Rule, window: tuple[int, int], hash_of: Hash) -> int:
    """Hash what a rule names within a range of ids; returns how many rows that were."""
    table = rule.table
    columns = [table.c[name] for name in ("id", *rule.addresses, *rule.texts)]
    found = connection.execute(sa.select(*columns).where(table.c.id.between(*window), rule.where)).all()
    rows = [_hashed(row._asdict(), rule, hash_of) for row in found]
    if table is standing:
        _part(connection, {row["b_subject"] for row in rows}, [row.id for row in found], rows)
    if rows:
        names = (*rule.addresses, *rule.texts)
        execute_many(connection, _UPDATES[table.name, names], rows)
    return len(rows)


def _hashed(row: Mapping[str, Any], rule: Rule, hash_of: Hash) -> dict[str, Any]:
    addresses = {row[name] for name in rule.addresses if row[name]}
    new: dict[str, Any] = {"b_id": row["id"]}
    for name in rule.addresses:
        value = row[name]
        # what cannot be hashed is a hash already
        new[f"b_{name}"] = value and (hash_of(stored_key(value)) or value)
    for name, empty in rule.texts.items():
        text = row[name]
        new[f"b_{name}"] = empty if text and _names_one(text, addresses) else text
    return new


def _names_one(text: str, addresses: Iterable[str]) -> bool:
    """Whether a text may tell of an address: it has one, or the local part of one of these."""
    lowered = text.lower()
    return "@" in text or any(one.rpartition("@")[0].lower() in lowered for one in addresses if "@" in one)


def _part(connection: Connection, subjects: set[str], ids: list[int], rows: list[dict[str, Any]]) -> None:
    """Of two suppressions that meet under one hash (same scope and cause) the one that acts stays, else the later one."""
    columns = [standing.c[name] for name in ("id", "subject", "scope", "cause", "lifted_at", "last_at")]
    old = connection.execute(sa.select(*columns).where(standing.c.subject.in_(subjects))).all()
    new = {row.id: row for row in connection.execute(sa.select(*columns).where(standing.c.id.in_(ids)))}
    under = {row["b_id"]: row["b_subject"] for row in rows}
    best: dict[tuple[str, str, str], Any] = {}
    for row in sorted([*old, *new.values()], key=lambda one: (one.lifted_at is None, one.last_at)):
        best[under.get(row.id, row.subject), row.scope, row.cause] = row
    kept = {row.id for row in best.values()}
    gone = [row.id for row in [*old, *new.values()] if row.id not in kept]
    if gone:
        connection.execute(sa.delete(standing).where(standing.c.id.in_(gone)))
        rows[:] = [row for row in rows if row["b_id"] in kept]


def _update(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("b_id"))
        .values({name: sa.bindparam(f"b_{name}", type_=table.c[name].type) for name in names})
    )


# A statement a rule, each made once: bulk writing keeps what it has compiled.
_UPDATES = {
    (rule.table.name, names): _update(rule.table, names)
    for rule in address_rules(datetime.max)
    for names in [(*rule.addresses, *rule.texts)]
}

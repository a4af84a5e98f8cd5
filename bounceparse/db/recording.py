"""Read messages -> rows, in one transaction: messages, outcomes matched to the ledger, sent statuses, standing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.applying import require_proof
from bounceparse.db.backscatter import REMATCH_WINDOW
from bounceparse.db.bulk import execute_many, insert_new
from bounceparse.db.coverage import read_coverage
from bounceparse.db.engine import chunks
from bounceparse.db.events import release_expired
from bounceparse.db.intake import take_inbox
from bounceparse.db.judging import judge, update_standing
from bounceparse.db.life import move_statuses, restore_statuses
from bounceparse.db.listed import listed
from bounceparse.db.numbers import LEDGER, REMATCHED, numbers, set_number, take_seq
from bounceparse.db.proving import Proven, mark_rows, prove
from bounceparse.db.rematching import match_again
from bounceparse.db.requests import note_waiting
from bounceparse.db.rows import event_key, is_replay, limited_event, matched_row
from bounceparse.db.tables import UNSETTLED, messages, outcomes
from bounceparse.db.tombstones import NOTHING_KEPT, erased_keys
from bounceparse.db.types import Utc
from bounceparse.drafts import Drafter, DraftOutcome, draft_of
from bounceparse.ingest import Recorded
from bounceparse.policy import Policy
from bounceparse.reading import ReadMessage
from bounceparse.requests import NO_SETTINGS, RequestSettings


def record_messages(
    connection: Connection,
    batch: Sequence[ReadMessage],
    policy: Policy,
    now: datetime,
    *,
    raw_limit: int,
    settings: RequestSettings = NO_SETTINGS,
) -> Recorded:
    """Write a batch. What is recorded already, here or from another mailbox, is not written again.

    Of a report that was erased only its place is noted, so that it is not fetched again.
    """
    drafter = Drafter(settings, raw_limit, now.date())
    batch = [drafter(one) for one in batch]
    rows = [{**draft_of(one).row, "recorded_at": now} for one in batch]
    if erased := erased_keys(connection, [one.key for one in batch]):
        batch = [one for one in batch if one.key not in erased]
        rows = [{**row, **NOTHING_KEPT} if row["key"] in erased else row for row in rows]
    written = insert_new(connection, messages, rows)
    told = [new for one in batch for new in draft_of(one).outcomes]
    every = {new.key: new for new in told}
    known = _known_keys(connection, list(every))
    fresh = [new for new in every.values() if new.key not in known]
    proven: list[Proven] = []
    if fresh:
        new_rows, proven = _outcome_rows(connection, fresh, settings, now)
        insert_new(connection, outcomes, new_rows)
        move_statuses(connection, new_rows)
        update_standing(connection, new_rows, policy, now)
    asked = [(new.whole, one) for new, one in zip(fresh, proven, strict=True) if new.whole is not None]
    note_waiting(connection, batch, [new for new, _ in asked], [one for _, one in asked], now)
    return Recorded(written, len(told), len(fresh))


def _known_keys(connection: Connection, keys: Sequence[bytes]) -> set[bytes]:
    known: set[bytes] = set()
    for part in chunks(keys):
        if connection.dialect.name == "sqlite":
            marks, given = f"IN ({', '.join('?' * len(part))})", tuple(part)
        else:
            marks, given = "= ANY (%s)", (list(part),)  # type: ignore[assignment]
        query = f"SELECT key FROM bounceparse_outcomes WHERE key {marks}"  # noqa: S608
        known.update(bytes(row[0]) for row in connection.exec_driver_sql(query, given))
    return known


def _outcome_rows(
    connection: Connection, fresh: Sequence[DraftOutcome], settings: RequestSettings, now: datetime
) -> tuple[list[dict[str, Any]], list[Proven]]:
    proven = prove(connection, fresh, settings)
    first = take_seq(connection, len(fresh))
    rows = [
        matched_row(new.columns, new.returned_from, found.match, first + place, now)
        for place, (new, found) in enumerate(zip(fresh, proven, strict=True))
    ]
    mark_rows(rows, proven)
    _mark_copies(connection, rows)
    return rows, proven


_EVENT = [
    outcomes.c[name]
    for name in (
        "id",
        "sent_id",
        "address_key",
        "status",
        "reporting_mta",
        "remote_mta",
        "event_at",
        "token_id",
        "trust",
    )
]
_EVENTS_OF_SENT = sa.select(*_EVENT).where(listed(outcomes.c.sent_id), ~outcomes.c.is_copy)
_EVENTS_OF_TOKENS = sa.select(*_EVENT).where(listed(outcomes.c.token_id), ~outcomes.c.is_copy)


def _mark_copies(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Mark events that another route has reported, and those beyond what one token can tell: the first rows stand for all."""
    matched = [row for row in rows if row["sent_id"] is not None or limited_event(row) is not None]
    own = {row.get("id") for row in matched}
    if not matched:
        return
    known = [row for row in _known_events(connection, matched) if row["id"] not in own]
    seen = {event_key(row) for row in known if row["sent_id"] is not None}
    told = Counter(kind for row in known if (kind := limited_event(row)) is not None)
    for row in matched:
        key, kind = event_key(row), limited_event(row)
        row["is_copy"] = (row["sent_id"] is not None and key in seen) or is_replay(kind, told)
        if not row["is_copy"]:
            seen.add(key)
            told.update(() if kind is None else (kind,))


def _known_events(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """The recorded events of the messages, and of the tokens, of these rows."""
    sent_ids = sorted({row["sent_id"] for row in rows if row["sent_id"] is not None})
    tokens = sorted({row["token_id"] for row in rows if row["token_id"] is not None and row["sent_id"] is None})
    found: dict[int, Mapping[str, Any]] = {}
    for query, ids in ((_EVENTS_OF_SENT, sent_ids), (_EVENTS_OF_TOKENS, tokens)):
        if ids:
            found.update((row["id"], row) for row in connection.execute(query, {"listed": ids}).mappings())  # type: ignore[misc]
    return list(found.values())


_UNSETTLED = [
    outcomes.c[name]
    for name in [
        "id",
        "kind",
        "status",
        "classified_status",
        "reported_recipient",
        "original_recipient",
        "final_recipient",
        "message_key",
        "message_id_from",
        "envelope_id",
        "list_id",
        "from_domain",
        "reporting_mta",
        "remote_mta",
        "event_at",
        "reason",
        "trust",
        "sent_id",
        "address_key",
        "domain_key",
        "mailbox",
        "smtp_code",
        "enhanced_status",
        "of_domain",
        "is_copy",
        "authenticated",
        "anonymous",
        "token_id",
        "own_id",
        "subject",
        "report_key",
        "matched_by",
        "match_evidence",
        "will_retry_until",
    ]
]


def rematch(
    connection: Connection,
    policy: Policy,
    now: datetime,
    keys: Iterable[str] | None = None,
    tokens: Iterable[int] = (),
) -> int:
    """Match again what is unsettled and younger than :data:`REMATCH_WINDOW`; return how many outcomes changed.

    ``keys`` and ``tokens`` limit it to outcomes with these message keys and token ids (rows that have just arrived).
    """
    changed = 0
    for unsettled in _unsettled(connection, now - REMATCH_WINDOW, keys, tokens):
        if unsettled and (rows := match_again(connection, unsettled, now)):
            rewrite(connection, rows, policy, now)
            changed += len(rows)
    return changed


_YOUNG = sa.select(*_UNSETTLED).where(sa.text(UNSETTLED), outcomes.c.recorded_at > sa.bindparam("since", type_=Utc()))
_ANY_UNSETTLED = sa.select(outcomes.c.id).where(sa.text(UNSETTLED)).limit(1)
_YOUNG_OF_KEYS = _YOUNG.where(listed(outcomes.c.message_key))
_YOUNG_OF_TOKENS = _YOUNG.where(listed(outcomes.c.token_id))
_YOUNG_AFTER = _YOUNG.where(outcomes.c.id > sa.bindparam("last")).order_by(outcomes.c.id).limit(1000)


def _unsettled(
    connection: Connection, since: datetime, keys: Iterable[str] | None, tokens: Iterable[int]
) -> Iterator[Sequence[sa.Row[Any]]]:
    if keys is not None:
        if connection.execute(_ANY_UNSETTLED).first() is None:
            return
        yield connection.execute(_YOUNG_OF_KEYS, {"since": since, "listed": sorted(keys)}).all()
        if listed_tokens := sorted(tokens):
            yield connection.execute(_YOUNG_OF_TOKENS, {"since": since, "listed": listed_tokens}).all()
        return
    last = 0
    while rows := connection.execute(_YOUNG_AFTER, {"since": since, "last": last}).all():
        yield rows
        last = rows[-1].id


def rewrite(
    connection: Connection,
    rows: list[dict[str, Any]],
    policy: Policy,
    now: datetime,
    names: tuple[str, ...] | None = None,
) -> None:
    """Write the columns ``names`` (those of a match) of changed outcomes, and undo what the old ones had done.

    Each row holds all columns that recording has for an outcome, its ``id``, and under ``before`` the row as it was.
    """
    names = names or _MATCHED
    _mark_copies(connection, rows)
    first = take_seq(connection, len(rows))
    execute_many(
        connection,
        _rewriting(names),
        [
            {"b_id": row["id"], "b_seq": first + place, **{f"b_{name}": row[name] for name in names}}
            for place, row in enumerate(rows)
        ],
        ("b_id",),
    )
    move_statuses(connection, rows)
    update_standing(connection, rows, policy, now)
    before = [row["before"] for row in rows]
    restore_statuses(connection, before, policy.life, now)
    judge(
        connection,
        {row.address_key for row in before if row.address_key},
        {row.domain_key for row in before if row.of_domain and row.domain_key},
        policy,
        read_coverage(connection),
        now,
    )


_MATCHED = (
    "is_copy",
    "authenticated",
    "status",
    "recipient",
    "list_id",
    "trust",
    "matched_by",
    "match_evidence",
    "shared",
    "sent_id",
    "stream",
    "customer",
    "address_key",
    "domain_key",
    "from_domain",
)


@cache
def _rewriting(names: tuple[str, ...]) -> sa.Update:
    return (
        sa.update(outcomes)
        .where(outcomes.c.id == sa.bindparam("b_id"))
        .values({name: sa.bindparam(f"b_{name}", type_=outcomes.c[name].type) for name in ("seq", *names)})
    )


def settle(connection: Connection, policy: Policy, now: datetime) -> int:
    """What each poll does beside reading: match again when the ledger has grown, and see whether it covers a mailbox.

    Returns how many outcomes found their message.
    """
    take_inbox(connection, policy.life, now)
    values = numbers(connection)
    changed = 0
    if values[LEDGER] != values[REMATCHED]:
        changed = rematch(connection, policy, now)
        set_number(connection, REMATCHED, values[LEDGER])
    require_proof(connection, policy, now)
    release_expired(connection, now)
    return changed

"""Reports that were kept -> what today's rules say of them, compared with what is recorded, and written.

An outcome keeps its row, its key and its match; its former values go to ``bounceparse_history``. Of a report whose
beginning alone was kept, the outcomes are judged anew whose deciding words are still there, and what stood further down
stays as it was recorded. Where today's reader finds other recipients in a whole report than it did,

* an outcome that names another recipient takes today's key, so that a copy of the report that comes later is known,
* an outcome that is new is recorded, and
* one that is told no more becomes a ``notice``, which nothing counts, since services may have read its row.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db import recording
from bounceparse.db.proving import BY_HAND, UNCOUNTED, Proven, mark_rows, prove
from bounceparse.db.requests import note_waiting
from bounceparse.db.rows import matched_columns, outcome_row
from bounceparse.db.tables import history, messages, outcomes
from bounceparse.db.types import storable
from bounceparse.diagnosis import UNDEFINED
from bounceparse.drafts import NewOutcome, draft_outcome, new_outcomes
from bounceparse.match import UNMATCHED, Match, matched_status
from bounceparse.outcomes import REASONS, Status, Trust
from bounceparse.policy import Policy
from bounceparse.reading import Place, ReadMessage, read_message
from bounceparse.requests import NO_SETTINGS, RequestSettings
from bounceparse.rules import RuleSet

PAGE = 50
"""Messages a page: their bytes are in memory at once."""
_WITHDRAWN = "other-report"
_ASKING = (Status.UNSUBSCRIBE, Status.COMPLAINT)
_KEPT = frozenset(("id", "seq", "mailbox", "recorded_at", "is_copy"))  # what reading again never changes
_MATCH_DECIDES = tuple(
    "recipient list_id trust matched_by match_evidence shared sent_id stream customer address_key domain_key"  # noqa: SIM905
    " from_domain".split()
)
_REWRITTEN = tuple(column.name for column in outcomes.c if column.name not in _KEPT or column.name == "is_copy")
_JUDGED = ("action", "diagnostic", "enhanced_status", "smtp_code", "evidence_dialect")
_VERDICT = frozenset(
    "status classified_status reason fault provider of_domain evidence_rule evidence_part evidence_matched".split()  # noqa: SIM905
)
_CLUES = ("message_key", "envelope_id", "own_id", "reported_recipient", "original_recipient", "final_recipient")


class Verdict(NamedTuple):
    """What an outcome says: status and reason. None stands for an outcome that is not there."""

    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Difference:
    """An outcome that today's rules see otherwise.

    Attributes:
        outcome_id: its row; None for one that is not recorded yet.
        recipient: as recorded.
        where: account, folder and UID (or source) of the report.
        before, after: None where the outcome is new.
        columns: everything that changes.
    """

    outcome_id: int | None
    recipient: str | None
    where: str
    before: Verdict | None
    after: Verdict
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReclassifiedPage:
    """What one page of kept reports came to.

    Attributes:
        last: the id of its last message.
        read: reports that were read again; ``unread``: those whose bytes are no longer the report that was recorded.
        differences: what is, or in a dry run would be, written.
    """

    last: int
    read: int
    unread: int
    differences: tuple[Difference, ...]


class Kept(NamedTuple):
    """A report that was kept, read by today's rules; ``whole`` where all of it was kept."""

    message: ReadMessage
    recorded_at: datetime
    whole: bool


def count_kept(connection: Connection, since: datetime | None) -> int:
    """How many reports are kept."""
    return int(connection.execute(sa.select(sa.func.count()).where(*_conditions(since))).scalar_one())


def load_page(connection: Connection, since: datetime | None, after: int) -> Sequence[sa.Row[Any]]:
    """The next kept messages, recorded at or after ``since``, with ids above ``after``."""
    page = sa.select(messages).where(*_conditions(since), messages.c.id > after).order_by(messages.c.id).limit(PAGE)
    return connection.execute(page).all()


def _conditions(since: datetime | None) -> list[sa.ColumnElement[bool]]:
    kept: list[sa.ColumnElement[bool]] = [messages.c.raw.is_not(None), messages.c.error.is_(None)]
    return kept if since is None else [*kept, messages.c.recorded_at >= since]


def read_page(rows: Sequence[sa.Row[Any]], rules: RuleSet | None) -> list[Kept]:
    """The messages of a page, read; without those whose bytes are no longer the report that was recorded."""
    found = []
    for row in rows:
        raw = zlib.decompress(row.raw)
        message = read_message(Place(row.account, row.folder, row.uidvalidity, row.uid), raw, row.size, rules)
        whole = len(raw) >= row.size
        if message.error is None and (message.key == bytes(row.key) or not whole):
            found.append(Kept(replace(message, key=bytes(row.key)), row.recorded_at, whole))
    return found


def reclassify_page(
    connection: Connection,
    read: Sequence[Kept],
    policy: Policy,
    now: datetime,
    version: str,
    *,
    settings: RequestSettings = NO_SETTINGS,
    seen: set[bytes],
    dry_run: bool,
) -> tuple[Difference, ...]:
    """Compare the messages of a page with what is recorded of them and, unless ``dry_run``, write what differs.

    ``seen`` holds the reports that were compared before: copies of a report share their outcomes.
    """
    recorded = _recorded(connection, read)
    differences: list[Difference] = []
    changes: list[dict[str, Any]] = []
    requests: list[tuple[NewOutcome, Proven]] = []
    fresh: list[ReadMessage] = []
    for message, _, whole in read:
        if message.key in seen:
            continue
        seen.add(message.key)
        pairs, added, gone = _pair(new_outcomes(message, settings), dict(recorded.get(message.key, {})), whole=whole)
        changed = [_withdrawn(row) for row in gone]
        for new, row in pairs:
            change, proven = _today(connection, new, row, settings, now, whole=whole)
            changed.append(change)
            requests += [(new, proven)] if proven else []
        changes += [row for row in changed if row is not None]
        differences += [_difference(row, message) for row in changed if row is not None]
        differences += [_addition(new) for new in added]
        fresh += [message] if added else []
    if not dry_run:
        _write(connection, changes, policy, now, version)
        note_waiting(connection, (), [new for new, _ in requests], [proven for _, proven in requests], now)
        recording.record_messages(connection, fresh, policy, now, raw_limit=0, settings=settings)
    return tuple(differences)


def _recorded(connection: Connection, read: Sequence[Kept]) -> dict[bytes, dict[bytes, sa.Row[Any]]]:
    """What is recorded of these reports, by report and key: what was written with them, or came with a copy before."""
    together = sa.and_(
        outcomes.c.recorded_at.in_({one.recorded_at for one in read}),
        outcomes.c.report_key.in_([one.message.key for one in read]),
    )
    before = outcomes.c.key.in_([new.key for one in read for new in new_outcomes(one.message)])
    found: dict[bytes, dict[bytes, sa.Row[Any]]] = {}
    for condition in (together, before):
        for row in connection.execute(sa.select(outcomes).where(condition).order_by(outcomes.c.id)):
            found.setdefault(bytes(row.report_key), {})[bytes(row.key)] = row
    return found


def _pair(
    today: Sequence[NewOutcome], known: dict[bytes, sa.Row[Any]], *, whole: bool
) -> tuple[list[tuple[NewOutcome, sa.Row[Any]]], Sequence[NewOutcome], Sequence[sa.Row[Any]]]:
    """Today's outcomes with their rows, by key and then in order; those without a row; rows that nothing tells today."""
    pairs = [(new, known.pop(new.key)) for new in today if new.key in known]
    if not whole:
        return pairs, (), ()
    left = [new for new in today if all(new is not paired for paired, _ in pairs)]
    rows = list(known.values())
    pairs += zip(left, rows, strict=False)
    return pairs, left[len(rows) :], rows[len(left) :]


def _today(
    connection: Connection, new: NewOutcome, row: sa.Row[Any], settings: RequestSettings, now: datetime, *, whole: bool
) -> tuple[dict[str, Any] | None, Proven | None]:
    """The row as it should be, with the row as it is under ``before``, None where they are the same.

    Also what a request proves that was not taken for one before: it acts, or waits for a person, as a new one would.
    """
    if new.outcome.status in _ASKING and row.classified_status != new.outcome.status:
        (proven,) = prove(connection, [draft_outcome(new, settings, now.date())], settings)
        found = outcome_row(new, proven.match, row.seq, row.recorded_at)
        mark_rows([found], [proven])
        return _as_change(found, row), proven
    found = outcome_row(new, UNMATCHED, row.seq, row.recorded_at)
    if not whole:
        if not _judges_anew(found, row):
            return None, None
        found = {**found, **{name: row._mapping[name] for name in found if name not in _VERDICT}}
    found.update(_matched(connection, found, new, row, settings))
    return _as_change(found, row), None


def _judges_anew(found: dict[str, Any], row: sa.Row[Any]) -> bool:
    """Whether the beginning of a report still holds the words that were judged, and another rule judges them now."""
    same_words = all(_plain(found[name]) == row._mapping[name] for name in _JUDGED)
    return same_words and found["reason"] != UNDEFINED and found["evidence_rule"] != row.evidence_rule


def _matched(
    connection: Connection, found: dict[str, Any], new: NewOutcome, row: sa.Row[Any], settings: RequestSettings
) -> dict[str, Any]:
    """The columns of the match: the recorded one stands, unless the clues have changed and lead to a message now."""
    before = row._mapping
    if new.outcome.status in _ASKING:  # what proved it when it came may be gone by now
        return {name: before[name] for name in (*_MATCH_DECIDES, "status", "authenticated")}
    if any(_plain(found[name]) != before[name] for name in _CLUES):
        # a token is as good as it was when it came
        (proven,) = prove(connection, [draft_outcome(new, settings, row.recorded_at.date())], settings)
        again = proven.match
        if again.sent is not None:
            return matched_columns(
                again, new.outcome.status, new.outcome.recipient, new.outcome.list_id, found["from_domain"]
            )
    status = matched_status(new.outcome.status, Match(trust=Trust(row.trust))).value
    if row.sent_id is None:
        uncounted = UNCOUNTED if row.match_evidence == BY_HAND else {}
        return {
            "status": status,
            **uncounted,
            **{name: before[name] for name in ("trust", "matched_by", "match_evidence")},
        }
    kept = {name: before[name] for name in _MATCH_DECIDES}
    return {**kept, "list_id": found["list_id"] or row.list_id, "status": status}


def _withdrawn(row: sa.Row[Any]) -> dict[str, Any] | None:
    """A row of which today's reading knows nothing."""
    status = REASONS[_WITHDRAWN].status.value
    told = {"status": status, "classified_status": status, "reason": _WITHDRAWN, "fault": None, "of_domain": False}
    return _as_change({**row._asdict(), **told}, row)


def _as_change(found: dict[str, Any], row: sa.Row[Any]) -> dict[str, Any] | None:
    before = row._mapping
    columns = [name for name in found if name not in _KEPT and _plain(found[name]) != before[name]]
    if not columns:
        return None
    kept = {name: before[name] for name in _KEPT}
    return {**before, **found, **kept, "before": row, "columns": tuple(columns)}  # what reading does not tell stays


def _plain(value: Any) -> Any:
    """A value as it comes back from the database."""
    return storable(value) if isinstance(value, str) else value


def _difference(row: dict[str, Any], message: ReadMessage) -> Difference:
    before = row["before"]
    return Difference(
        before.id,
        before.recipient,
        _where(message.place),
        Verdict(before.status, before.reason),
        Verdict(row["status"], row["reason"]),
        row["columns"],
    )


def _addition(new: NewOutcome) -> Difference:
    outcome = new.outcome
    after = Verdict(outcome.status.value, outcome.reason)
    return Difference(None, outcome.recipient, _where(new.message.place), None, after, ())


def _where(place: Place) -> str:
    return f"{place.account} {place.folder}" + (f" {place.uid}" if place.uidvalidity else "")


def _write(connection: Connection, changes: list[dict[str, Any]], policy: Policy, now: datetime, version: str) -> None:
    """Keep what was, then write what is, with all that follows for the ledger and the standing of addresses."""
    if not changes:
        return
    connection.execute(sa.insert(history), [_history_row(row, now, version) for row in changes])
    recording.rewrite(connection, changes, policy, now, _REWRITTEN)


def _history_row(row: dict[str, Any], now: datetime, version: str) -> dict[str, Any]:
    before = row["before"]._mapping
    changed = {name: before[name] for name in row["columns"]}
    return {
        "outcome_id": row["id"],
        "changed_at": now,
        "version": version,
        "status": before["status"],
        "reason": before["reason"],
        "changed": json.dumps(changed, default=_json_value, ensure_ascii=False),
    }


def _json_value(value: datetime | bytes) -> str:
    return value.isoformat() if isinstance(value, datetime) else bytes(value).hex()

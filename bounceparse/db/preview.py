"""What recording a message comes to: trust, the line of the policy that counts it, the standing that follows.

Found out by recording it, in a transaction that is undone: nothing else would be sure to answer as recording does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.causes import Cause
from bounceparse.db.judging import counting_causes
from bounceparse.db.rows import RecordedOutcome, recorded_outcome
from bounceparse.db.standings import Standing
from bounceparse.db.tables import outcomes
from bounceparse.drafts import new_outcomes
from bounceparse.policy import Policy
from bounceparse.reading import ReadMessage


@dataclass(frozen=True, slots=True)
class Preview:
    """What recording an outcome comes to.

    Attributes:
        recorded: the outcome as it is, or would be, recorded.
        is_known: whether it is recorded already.
        is_copy: whether another route has reported the same event, so that this one is not counted.
        causes: the lines of the policy that count it.
        standing: of its address once it is recorded; None where it names none.
    """

    recorded: RecordedOutcome
    is_known: bool
    is_copy: bool
    causes: tuple[Cause, ...]
    standing: Standing | None


def preview(
    connection: Connection,
    message: ReadMessage,
    record: Callable[[], object],
    standing: Callable[[str], Standing],
    policy: Policy,
) -> tuple[Preview, ...]:
    """The previews of a message's outcomes in their order; ``record`` records it, ``standing`` answers for an address."""
    keys = [new.key for new in new_outcomes(message)]
    query = sa.select(outcomes).where(outcomes.c.key.in_(keys))
    with connection.begin_nested() as attempt:
        known = {bytes(row.key) for row in connection.execute(query)}
        record()
        rows = {bytes(row.key): row for row in connection.execute(query)}
        found = tuple(
            Preview(
                recorded_outcome(row),
                key in known,
                row.is_copy,
                counting_causes(connection, row._asdict(), policy),
                standing(row.recipient) if row.recipient else None,
            )
            for key in keys
            if (row := rows.get(key)) is not None
        )
        attempt.rollback()
    return found

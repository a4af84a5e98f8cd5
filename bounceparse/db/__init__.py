"""The shared database: :class:`Store`, and ``upgrade`` and ``check`` for its schema."""

from typing import TYPE_CHECKING, Any

from bounceparse.db.ledger import SentMessage, parse_sent
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.schema import SchemaState, check, upgrade
from bounceparse.db.standings import Standing
from bounceparse.db.store import Store

if TYPE_CHECKING:
    from bounceparse.db.queries import CustomerCard, HeldMessage, SentStatus, Stats
    from bounceparse.db.retention import Retention

__all__ = [
    "CustomerCard",
    "HeldMessage",
    "RecordedOutcome",
    "Retention",
    "SchemaState",
    "SentMessage",
    "SentStatus",
    "Standing",
    "Stats",
    "Store",
    "check",
    "parse_sent",
    "upgrade",
]


def __getattr__(name: str) -> Any:
    """What a poll does without is imported when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Retention":
        from bounceparse.db.retention import Retention

        return Retention
    from bounceparse.db import queries

    return getattr(queries, name)

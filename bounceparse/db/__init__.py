"""The shared database: :class:`Store`, and ``upgrade`` and ``check`` for its schema."""

from bounceparse.db.ledger import SentMessage, parse_sent
from bounceparse.db.queries import CustomerCard, HeldMessage, SentStatus, Stats
from bounceparse.db.retention import Retention
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.schema import SchemaState, check, upgrade
from bounceparse.db.standings import Standing
from bounceparse.db.store import Store

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

"""What proves an outcome, the life of a message, mass events, stream health, alerts, audit, erasure, fences."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_ADDED = {
    "bounceparse_outcomes": (
        ("own_id", Text),
        ("token_id", sa.BigInteger),
        ("reporter_auth", Text),
        ("anonymous", sa.Boolean),
        ("will_retry_until", Utc),
    ),
    "bounceparse_sent": (
        ("retry_until", Utc),
        ("logged_status", Text),
        ("logged_reason", Text),
        ("logged_at", Utc),
    ),
    "bounceparse_standing": (("provider", Text), ("event_id", sa.BigInteger), ("paused_until", Utc)),
}
_INDEXES: tuple[tuple[str, str, list[str], str | None, bool], ...] = (
    ("ix_bounceparse_outcomes_token_id", "bounceparse_outcomes", ["token_id"], "token_id IS NOT NULL", False),
    ("ix_bounceparse_sent_sent_at", "bounceparse_sent", ["sent_at", "id"], None, False),
    ("ix_bounceparse_sent_deferred", "bounceparse_sent", ["status_at", "id"], "status = 'deferred'", False),
    (
        "ix_bounceparse_standing_provider",
        "bounceparse_standing",
        ["provider", "reason", "since"],
        "provider IS NOT NULL",
        False,
    ),
    ("ix_bounceparse_standing_event_id", "bounceparse_standing", ["event_id"], "event_id IS NOT NULL", False),
    ("ix_bounceparse_events_open", "bounceparse_events", ["provider", "reason"], "state = 'open'", False),
    ("uq_bounceparse_alerts_open", "bounceparse_alerts", ["kind", "subject"], "ended_at IS NULL", True),
    ("ix_bounceparse_alerts_began_at", "bounceparse_alerts", ["began_at"], None, False),
    ("ix_bounceparse_audit_subject", "bounceparse_audit", ["subject"], None, False),
)
_TABLES = ("clicks", "events", "health", "alerts", "audit", "tombstones", "fences")


def upgrade() -> None:
    for table, added in _ADDED.items():
        for name, kind in added:
            flag = kind is sa.Boolean
            default = sa.false() if flag else None
            op.add_column(table, sa.Column(name, kind(), nullable=not flag, server_default=default))
    _table("clicks", _id(), _text("token"), _time("clicked_at"))
    _table(
        "events",
        _id(),
        *(_text(name) for name in ("provider", "reason", "state")),
        *(_time(name) for name in ("began_at", "last_at", "release_at")),
        sa.Column("count", sa.Integer(), nullable=False),
        _time("decided_at", null=True),
        _text("decided_by", null=True),
        _text("note", null=True),
    )
    _table(
        "health",
        *(_text(name) for name in ("stream", "level", "why")),
        _time("since"),
        _time("checked_at"),
        _text("numbers"),
        _time("released_at", null=True),
        _text("released_by", null=True),
        _text("note", null=True),
        key="stream",
    )
    _table(
        "alerts",
        _id(),
        *(_text(name) for name in ("kind", "subject", "level", "text")),
        _time("began_at"),
        _time("told_at", null=True),
        _time("ended_at", null=True),
    )
    _table(
        "audit",
        _id(),
        _time("at"),
        *(_text(name) for name in ("actor", "action", "subject")),
        *(_text(name, null=True) for name in ("scope", "note", "detail")),
    )
    _table("tombstones", sa.Column("key", sa.LargeBinary(), nullable=False), _time("erased_at"), key="key")
    _table(
        "fences",
        _text("name"),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        _text("holder"),
        _time("taken_at"),
        key="name",
    )
    for name, table, columns, where, unique in _INDEXES:
        some = sa.text(where) if where else None
        op.create_index(name, table, columns, unique=unique, sqlite_where=some, postgresql_where=some)
    op.execute(_LOGGED)


# A status that no outcome told came from the mail server's log.
_LOGGED = """
UPDATE bounceparse_sent SET logged_status = status, logged_reason = reason, logged_at = status_at
WHERE status <> 'injected' AND status_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM bounceparse_outcomes o
    WHERE o.sent_id = bounceparse_sent.id AND o.status = bounceparse_sent.status AND o.event_at = bounceparse_sent.status_at
)
"""


def _table(name: str, *columns: sa.Column[Any], key: str = "id") -> None:
    op.create_table(f"bounceparse_{name}", *columns, sa.PrimaryKeyConstraint(key, name=f"pk_bounceparse_{name}"))


def _id() -> sa.Column[Any]:
    return sa.Column("id", BigId, nullable=False)


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Text(), nullable=null)


def _time(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Utc(), nullable=null)


def downgrade() -> None:
    for name, table, *_ in _INDEXES:
        op.drop_index(name, table)
    for name in _TABLES:
        op.drop_table(f"bounceparse_{name}")
    for table, added in _ADDED.items():
        with op.batch_alter_table(table) as batch:
            for name, _ in added:
                batch.drop_column(name)

"""What the services for others need: events on their way to endpoints, tokens of the API, users of the panel."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TABLES = ("outbox", "deliveries", "api_tokens", "users", "sessions")


def upgrade() -> None:
    _table(
        "outbox",
        sa.Column("id", BigId, nullable=False),
        *(_text(name) for name in ("event_id", "kind")),
        *(_text(name, null=True) for name in ("subject", "stream", "status")),
        _text("payload"),
        _time("created_at"),
        sa.UniqueConstraint("event_id", name="uq_bounceparse_outbox_event_id"),
    )
    _table(
        "deliveries",
        sa.Column("id", BigId, nullable=False),
        sa.Column("outbox_id", sa.BigInteger(), nullable=False),
        _text("endpoint"),
        _text("subject", null=True),
        _text("state"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("next_at"),
        _time("first_at", null=True),
        _time("delivered_at", null=True),
        _text("error", null=True),
        sa.UniqueConstraint("outbox_id", "endpoint", name="uq_bounceparse_deliveries_outbox_id"),
    )
    _some("waiting", "waiting", "outbox_id")
    _some("subject", "waiting", "subject", "outbox_id")
    _some("dead", "dead", "id")
    _table(
        "api_tokens",
        sa.Column("id", BigId, nullable=False),
        _text("name"),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        _text("scopes"),
        _text("sender", null=True),
        _time("created_at"),
        _time("used_at", null=True),
        _time("revoked_at", null=True),
        sa.UniqueConstraint("name", name="uq_bounceparse_api_tokens_name"),
        sa.UniqueConstraint("hash", name="uq_bounceparse_api_tokens_hash"),
    )
    _table(
        "users",
        *(_text(name) for name in ("name", "password", "role")),
        _text("sender", null=True),
        _time("created_at"),
        _time("disabled_at", null=True),
        key="name",
    )
    _table(
        "sessions",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        _text("name"),
        _time("created_at"),
        _time("expires_at"),
        key="hash",
    )
    held = sa.text("error IS NOT NULL")
    op.create_index(
        "ix_bounceparse_messages_held",
        "bounceparse_messages",
        ["id"],
        unique=False,
        sqlite_where=held,
        postgresql_where=held,
    )


def _table(name: str, *columns: sa.schema.SchemaItem, key: str = "id") -> None:
    op.create_table(f"bounceparse_{name}", *columns, sa.PrimaryKeyConstraint(key, name=f"pk_bounceparse_{name}"))


def _some(name: str, state: str, *columns: str) -> None:
    """An index over the deliveries of an endpoint that are in one state."""
    op.create_index(
        f"ix_bounceparse_deliveries_{name}",
        "bounceparse_deliveries",
        ["endpoint", *columns],
        unique=False,
        sqlite_where=sa.text(f"state = '{state}'"),
        postgresql_where=sa.text(f"state = '{state}'"),
    )


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Text(), nullable=null)


def _time(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, Utc(), nullable=null)


def downgrade() -> None:
    op.drop_index("ix_bounceparse_messages_held", "bounceparse_messages")
    for name in _TABLES:
        op.drop_table(f"bounceparse_{name}")

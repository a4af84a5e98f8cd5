"""What requests need: tokens that lead to a message, requests that wait for a person, proof of who asks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "bounceparse_outcomes", sa.Column("authenticated", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_table(
        "bounceparse_tokens",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("message_id", Text(), nullable=False),
        sa.Column("message_key", Text(), nullable=False),
        sa.Column("recipient", Text(), nullable=False),
        sa.Column("recipient_key", Text(), nullable=False),
        sa.Column("stream", Text(), nullable=True),
        sa.Column("list_id", Text(), nullable=True),
        sa.Column("created_at", Utc(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_tokens"),
        sa.UniqueConstraint("message_key", "recipient_key", name="uq_bounceparse_tokens_message"),
    )
    op.create_index("ix_bounceparse_tokens_recipient_key", "bounceparse_tokens", ["recipient_key"], unique=False)
    op.create_table(
        "bounceparse_requests",
        sa.Column("id", BigId, nullable=False),
        sa.Column("report_key", sa.LargeBinary(), nullable=False),
        sa.Column("state", Text(), nullable=False),
        sa.Column("why", Text(), nullable=False),
        sa.Column("address", Text(), nullable=True),
        sa.Column("scopes", Text(), nullable=False),
        sa.Column("subject", Text(), nullable=True),
        sa.Column("words", Text(), nullable=True),
        sa.Column("mailbox", Text(), nullable=False),
        sa.Column("recorded_at", Utc(), nullable=False),
        sa.Column("decided_at", Utc(), nullable=True),
        sa.Column("decided_by", Text(), nullable=True),
        sa.Column("note", Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_requests"),
        sa.UniqueConstraint("report_key", name="uq_bounceparse_requests_report_key"),
    )
    op.create_index(
        "ix_bounceparse_requests_pending",
        "bounceparse_requests",
        ["recorded_at"],
        unique=False,
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )


def downgrade() -> None:
    op.drop_table("bounceparse_requests")
    op.drop_table("bounceparse_tokens")
    with op.batch_alter_table("bounceparse_outcomes") as outcomes:
        outcomes.drop_column("authenticated")

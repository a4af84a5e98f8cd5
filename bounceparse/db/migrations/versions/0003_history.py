"""What outcomes were before they were reclassified."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bounceparse_history",
        sa.Column("id", BigId, nullable=False),
        sa.Column("outcome_id", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", Utc(), nullable=False),
        sa.Column("version", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("changed", Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_history"),
    )
    op.create_index("ix_bounceparse_history_outcome_id", "bounceparse_history", ["outcome_id"], unique=False)


def downgrade() -> None:
    op.drop_table("bounceparse_history")

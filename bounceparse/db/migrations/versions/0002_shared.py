"""What sharing needs: an inbox for other services' ledger rows, a cursor over standing, keys that can be pruned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_inbox()
    with op.batch_alter_table("bounceparse_sent") as sent:
        sent.alter_column("message_id", existing_type=Text(), nullable=True)
        sent.alter_column("message_key", existing_type=Text(), nullable=True)
    op.add_column("bounceparse_standing", sa.Column("seq", sa.BigInteger(), nullable=True))
    op.execute(
        "UPDATE bounceparse_state SET value = value + (SELECT count(*) FROM bounceparse_standing) WHERE name = 'seq'"
    )
    op.execute(
        "UPDATE bounceparse_standing SET seq = (SELECT value FROM bounceparse_state WHERE name = 'seq')"
        " - (SELECT count(*) FROM bounceparse_standing AS later WHERE later.id > bounceparse_standing.id)"
    )
    with op.batch_alter_table("bounceparse_standing") as standing:
        standing.alter_column("seq", existing_type=sa.BigInteger(), nullable=False)
    op.create_index("ix_bounceparse_standing_seq", "bounceparse_standing", ["seq"], unique=False)
    op.create_index(
        "ix_bounceparse_messages_kept",
        "bounceparse_messages",
        ["recorded_at"],
        unique=False,
        sqlite_where=sa.text("raw IS NOT NULL"),
        postgresql_where=sa.text("raw IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("ix_bounceparse_messages_kept", "bounceparse_messages")
    op.drop_index("ix_bounceparse_standing_seq", "bounceparse_standing")
    with op.batch_alter_table("bounceparse_standing") as standing:
        standing.drop_column("seq")
    op.execute("DELETE FROM bounceparse_sent WHERE message_key IS NULL")
    with op.batch_alter_table("bounceparse_sent") as sent:
        sent.alter_column("message_key", existing_type=Text(), nullable=False)
        sent.alter_column("message_id", existing_type=Text(), nullable=False)
    op.drop_table("bounceparse_inbox")


def _create_inbox() -> None:
    op.create_table(
        "bounceparse_inbox",
        sa.Column("id", BigId, nullable=False),
        sa.Column("message_id", Text(), nullable=False),
        sa.Column("recipient", Text(), nullable=False),
        *(
            sa.Column(name, Text(), nullable=True)
            for name in (
                "provider_id", "envelope_id", "from_address", "subject", "stream", "sender", "category", "list_id",
                "customer",
            )
        ),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=True),
        sa.Column("status_at", Utc(), nullable=True),
        sa.CheckConstraint(
            "status IN ('injected', 'deferred', 'ok', 'softbounce', 'spambounce', 'hardbounce')",
            name=op.f("ck_bounceparse_inbox_status"),
        ),
        sa.CheckConstraint("category IN ('marketing', 'transactional')", name=op.f("ck_bounceparse_inbox_category")),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_inbox"),
    )  # fmt: skip

"""The first schema: messages, outcomes, the ledger, streams, standing and state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from bounceparse.db.types import BigId, Text, Utc

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _create_messages()
    _create_outcomes()
    _create_sent()
    _create_standing()
    _create_state()
    _create_streams()
    # The row that writers lock; "ledger" counts imports, so that matching again knows whether anything is new.
    state = sa.table("bounceparse_state", sa.column("name"), sa.column("value"))
    op.bulk_insert(state, [{"name": name, "value": 0} for name in ("seq", "ledger", "rematched")])


def downgrade() -> None:
    op.drop_table("bounceparse_streams")
    op.drop_table("bounceparse_state")
    op.drop_table("bounceparse_standing")
    op.drop_table("bounceparse_sent")
    op.drop_table("bounceparse_outcomes")
    op.drop_table("bounceparse_messages")


def _create_messages() -> None:
    op.create_table(
        "bounceparse_messages",
        sa.Column("id", BigId, nullable=False),
        sa.Column("account", Text(), nullable=False),
        sa.Column("folder", Text(), nullable=False),
        sa.Column("uidvalidity", sa.BigInteger(), nullable=False),
        sa.Column("uid", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("dialect", Text(), nullable=True),
        sa.Column("defects", Text(), nullable=False),
        sa.Column("from_address", Text(), nullable=True),
        sa.Column("subject", Text(), nullable=True),
        sa.Column("error", Text(), nullable=True),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.Column("recorded_at", Utc(), nullable=False),
        sa.Column("marked_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_messages"),
    )
    op.create_index(
        "ix_bounceparse_messages_unmarked",
        "bounceparse_messages",
        ["account", "folder", "uidvalidity"],
        unique=False,
        sqlite_where=sa.text("marked_at IS NULL AND error IS NULL"),
        postgresql_where=sa.text("marked_at IS NULL AND error IS NULL"),
    )
    op.create_index(
        "uq_bounceparse_messages_source",
        "bounceparse_messages",
        ["account", "folder", "key"],
        unique=True,
        sqlite_where=sa.text("uid = 0"),
        postgresql_where=sa.text("uid = 0"),
    )
    op.create_index(
        "uq_bounceparse_messages_uid",
        "bounceparse_messages",
        ["account", "folder", "uidvalidity", "uid"],
        unique=True,
        sqlite_where=sa.text("uid > 0"),
        postgresql_where=sa.text("uid > 0"),
    )


def _create_outcomes() -> None:
    op.create_table(
        "bounceparse_outcomes",
        sa.Column("id", BigId, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("report_key", sa.LargeBinary(), nullable=False),
        sa.Column("kind", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("classified_status", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("fault", Text(), nullable=True),
        sa.Column("recipient", Text(), nullable=True),
        sa.Column("reported_recipient", Text(), nullable=True),
        sa.Column("original_recipient", Text(), nullable=True),
        sa.Column("final_recipient", Text(), nullable=True),
        sa.Column("message_id", Text(), nullable=True),
        sa.Column("envelope_id", Text(), nullable=True),
        sa.Column("feedback_id", Text(), nullable=True),
        sa.Column("list_id", Text(), nullable=True),
        sa.Column("action", Text(), nullable=True),
        sa.Column("enhanced_status", Text(), nullable=True),
        sa.Column("smtp_code", sa.Integer(), nullable=True),
        sa.Column("diagnostic", Text(), nullable=True),
        sa.Column("smtp_phase", Text(), nullable=True),
        sa.Column("reporting_mta", Text(), nullable=True),
        sa.Column("remote_mta", Text(), nullable=True),
        sa.Column("sending_ip", Text(), nullable=True),
        sa.Column("provider", Text(), nullable=True),
        sa.Column("blocklist", Text(), nullable=True),
        sa.Column("help_url", Text(), nullable=True),
        sa.Column("subject", Text(), nullable=True),
        sa.Column("occurred_at", Utc(), nullable=True),
        sa.Column("evidence_rule", Text(), nullable=False),
        sa.Column("evidence_part", Text(), nullable=False),
        sa.Column("evidence_matched", Text(), nullable=False),
        sa.Column("evidence_dialect", Text(), nullable=True),
        sa.Column("mailbox", Text(), nullable=False),
        sa.Column("recorded_at", Utc(), nullable=False),
        sa.Column("message_key", Text(), nullable=True),
        sa.Column("message_id_from", Text(), nullable=True),
        sa.Column("trust", Text(), nullable=False),
        sa.Column("matched_by", Text(), nullable=True),
        sa.Column("match_evidence", Text(), nullable=True),
        sa.Column("shared", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("sent_id", sa.BigInteger(), nullable=True),
        sa.Column("stream", Text(), nullable=True),
        sa.Column("customer", Text(), nullable=True),
        sa.Column("address_key", Text(), nullable=True),
        sa.Column("domain_key", Text(), nullable=True),
        sa.Column("from_domain", Text(), nullable=True),
        sa.Column("of_domain", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("event_at", Utc(), nullable=False),
        sa.Column("is_copy", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_outcomes"),
        sa.UniqueConstraint("key", name="uq_bounceparse_outcomes_key"),
    )
    op.create_index(
        "ix_bounceparse_outcomes_address_key",
        "bounceparse_outcomes",
        ["address_key"],
        unique=False,
        sqlite_where=sa.text("address_key IS NOT NULL"),
        postgresql_where=sa.text("address_key IS NOT NULL"),
    )
    op.create_index(
        "ix_bounceparse_outcomes_domain_key",
        "bounceparse_outcomes",
        ["domain_key"],
        unique=False,
        sqlite_where=sa.text("of_domain"),
        postgresql_where=sa.text("of_domain"),
    )
    op.create_index("ix_bounceparse_outcomes_recorded_at", "bounceparse_outcomes", ["recorded_at"], unique=False)
    op.create_index(
        "ix_bounceparse_outcomes_sent_id",
        "bounceparse_outcomes",
        ["sent_id"],
        unique=False,
        sqlite_where=sa.text("sent_id IS NOT NULL"),
        postgresql_where=sa.text("sent_id IS NOT NULL"),
    )
    op.create_index("ix_bounceparse_outcomes_seq", "bounceparse_outcomes", ["seq"], unique=False)
    op.create_index(
        "ix_bounceparse_outcomes_unsettled",
        "bounceparse_outcomes",
        ["message_key"],
        unique=False,
        sqlite_where=sa.text("trust IN ('unverified', 'forwarded')"),
        postgresql_where=sa.text("trust IN ('unverified', 'forwarded')"),
    )


def _create_sent() -> None:
    op.create_table(
        "bounceparse_sent",
        sa.Column("id", BigId, nullable=False),
        sa.Column("message_id", Text(), nullable=False),
        sa.Column("message_key", Text(), nullable=False),
        sa.Column("recipient", Text(), nullable=False),
        sa.Column("recipient_key", Text(), nullable=False),
        sa.Column("domain_key", Text(), nullable=False),
        sa.Column("provider_id", Text(), nullable=True),
        sa.Column("provider_key", Text(), nullable=True),
        sa.Column("envelope_id", Text(), nullable=True),
        sa.Column("from_address", Text(), nullable=True),
        sa.Column("subject", Text(), nullable=True),
        sa.Column("stream", Text(), nullable=True),
        sa.Column("list_id", Text(), nullable=True),
        sa.Column("customer", Text(), nullable=True),
        sa.Column("sent_at", Utc(), nullable=True),
        sa.Column("status", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=True),
        sa.Column("status_at", Utc(), nullable=True),
        sa.Column("presumed", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("complained_at", Utc(), nullable=True),
        sa.Column("unsubscribed_at", Utc(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_sent"),
        sa.UniqueConstraint("message_key", "recipient_key", name="uq_bounceparse_sent_message"),
    )
    op.create_index(
        "ix_bounceparse_sent_customer",
        "bounceparse_sent",
        ["customer"],
        unique=False,
        sqlite_where=sa.text("customer IS NOT NULL"),
        postgresql_where=sa.text("customer IS NOT NULL"),
    )
    op.create_index("ix_bounceparse_sent_domain_key", "bounceparse_sent", ["domain_key", "sent_at"], unique=False)
    op.create_index(
        "ix_bounceparse_sent_envelope_id",
        "bounceparse_sent",
        ["envelope_id", "recipient_key"],
        unique=False,
        sqlite_where=sa.text("envelope_id IS NOT NULL"),
        postgresql_where=sa.text("envelope_id IS NOT NULL"),
    )
    op.create_index(
        "ix_bounceparse_sent_provider_key",
        "bounceparse_sent",
        ["provider_key", "recipient_key"],
        unique=False,
        sqlite_where=sa.text("provider_key IS NOT NULL"),
        postgresql_where=sa.text("provider_key IS NOT NULL"),
    )
    op.create_index("ix_bounceparse_sent_recipient_key", "bounceparse_sent", ["recipient_key"], unique=False)


def _create_standing() -> None:
    op.create_table(
        "bounceparse_standing",
        sa.Column("id", BigId, nullable=False),
        sa.Column("subject", Text(), nullable=False),
        sa.Column("scope", Text(), nullable=False),
        sa.Column("cause", Text(), nullable=False),
        sa.Column("status", Text(), nullable=False),
        sa.Column("reason", Text(), nullable=False),
        sa.Column("since", Utc(), nullable=False),
        sa.Column("until", Utc(), nullable=True),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("last_at", Utc(), nullable=False),
        sa.Column("outcome_id", sa.BigInteger(), nullable=True),
        sa.Column("origin", Text(), nullable=False),
        sa.Column("note", Text(), nullable=True),
        sa.Column("forgiven_at", Utc(), nullable=True),
        sa.Column("lifted_at", Utc(), nullable=True),
        sa.Column("lifted_by", Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_bounceparse_standing"),
        sa.UniqueConstraint("subject", "scope", "cause", name="uq_bounceparse_standing_subject"),
    )


def _create_state() -> None:
    op.create_table(
        "bounceparse_state",
        sa.Column("name", Text(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_bounceparse_state"),
    )


def _create_streams() -> None:
    op.create_table(
        "bounceparse_streams",
        sa.Column("name", Text(), nullable=False),
        sa.Column("sender", Text(), nullable=False),
        sa.Column("category", Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_bounceparse_streams"),
    )

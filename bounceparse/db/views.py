"""The views that other services read, and the one that they write: stable names over tables that may change.

They are made anew at each ``bounceparse db upgrade``, beside the migrations: what they promise is their columns, which
``docs/database.md`` lists. New columns go to the end of a view, since PostgreSQL replaces it (and keeps what was
granted on it) only then. A migration that changes the type of a column which a view shows has to drop the view itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import inbox

VIEW_PREFIX = "bounceparse_v1_"
_OUTCOMES = [
    "seq",
    "id",
    "kind",
    "status",
    "reason",
    "fault",
    "recipient",
    "original_recipient",
    "final_recipient",
    "message_id",
    "envelope_id",
    "feedback_id",
    "list_id",
    "action",
    "enhanced_status",
    "smtp_code",
    "diagnostic",
    "smtp_phase",
    "reporting_mta",
    "remote_mta",
    "sending_ip",
    "provider",
    "blocklist",
    "help_url",
    "subject",
    "occurred_at",
    "event_at",
    "recorded_at",
    "mailbox",
    "trust",
    "matched_by",
    "match_evidence",
    "sent_id",
    "stream",
    "customer",
    "address_key",
    "domain_key",
    "is_copy",
    "evidence_rule",
    "evidence_part",
    "evidence_matched",
    "evidence_dialect",
]
_STANDING = [
    "seq",
    "id",
    "subject",
    "scope",
    "cause",
    "status",
    "reason",
    "since",
    "until",
    "count",
    "last_at",
    "outcome_id",
    "origin",
    "note",
    "lifted_at",
    "lifted_by",
]
_STANDING_ADDED = ("provider", "event_id", "paused_until")
_SENT = [
    "id",
    "message_id",
    "recipient",
    "recipient_key",
    "provider_id",
    "envelope_id",
    "from_address",
    "subject",
    "stream",
    "list_id",
    "customer",
    "sent_at",
    "status",
    "reason",
    "status_at",
    "complained_at",
    "unsubscribed_at",
]
_SENT_LATER = ["presumed", "retry_until"]
_STREAMS = ("name", "sender", "category", "level", "why", "since", "checked_at")
_NOW = {"sqlite": "strftime('%Y-%m-%d %H:%M:%f000+00:00', 'now')", "postgresql": "now()"}
_WRITTEN = tuple(column.name for column in inbox.columns if column.name != "id")
_TIMES = ("sent_at", "status_at")


def view_columns(name: str) -> tuple[str, ...]:
    """The columns of the view ``bounceparse_v1_NAME``, in order."""
    return {
        "outcomes": tuple(_OUTCOMES),
        "standing": (*_STANDING, "active", *_STANDING_ADDED),
        "sent": (*_SENT, "sender", "category", *_SENT_LATER),
        "streams": _STREAMS,
    }[name]


VIEWS = ("outcomes", "standing", "sent", "streams")


def _query(name: str, dialect: str) -> str:
    if name == "outcomes":
        return f"SELECT {', '.join(_OUTCOMES)} FROM bounceparse_outcomes"  # noqa: S608
    if name == "standing":
        active = f"lifted_at IS NULL AND (until IS NULL OR until > {_NOW[dialect]})"
        return (
            f"SELECT {', '.join(_STANDING)}, {active} AS active, {', '.join(_STANDING_ADDED)}"  # noqa: S608
            " FROM bounceparse_standing"
        )
    if name == "streams":
        return (
            "SELECT s.name, s.sender, s.category, COALESCE(h.level, 'ok') AS level, COALESCE(h.why, '') AS why,"
            " h.since, h.checked_at FROM bounceparse_streams s LEFT JOIN bounceparse_health h ON h.stream = s.name"
        )
    return _sent_query(dialect)


_SENT_ELSEWHERE = {"sender": "t.sender", "category": "t.category"}


def _sent_query(dialect: str) -> str:
    """The ledger, and after it what was written through the view and waits for the next poll, without an id."""
    missing = {"id": "BIGINT", **dict.fromkeys(("complained_at", "unsubscribed_at", "retry_until"), "TIMESTAMPTZ")}
    waiting = {name: "NULL" if dialect == "sqlite" else f"NULL::{kind}" for name, kind in missing.items()}
    waiting |= {"recipient_key": "lower(recipient)", "presumed": "FALSE"}
    names = view_columns("sent")
    return (
        f"SELECT {', '.join(_SENT_ELSEWHERE.get(name, f's.{name}') for name in names)}"  # noqa: S608
        " FROM bounceparse_sent s LEFT JOIN bounceparse_streams t ON t.name = s.stream"
        f" UNION ALL SELECT {', '.join(waiting.get(name, name) for name in names)} FROM bounceparse_inbox"
    )


def create_views(connection: Connection) -> None:
    """Make the views, or bring them up to date."""
    dialect = connection.dialect.name
    create = "CREATE VIEW" if dialect == "sqlite" else "CREATE OR REPLACE VIEW"
    for name in VIEWS:
        connection.exec_driver_sql(f"{create} {VIEW_PREFIX}{name} AS {_query(name, dialect)}")
    for statement in _SQLITE_TRIGGER if dialect == "sqlite" else _POSTGRESQL_TRIGGER:
        connection.exec_driver_sql(statement)


def drop_views(connection: Connection) -> None:
    """Drop the views and what writing through them needs."""
    for name in VIEWS:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {VIEW_PREFIX}{name}")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS bounceparse_v1_write_sent()")


def _values(names: Sequence[str]) -> str:
    return ", ".join("COALESCE(NEW.status, 'injected')" if name == "status" else f"NEW.{name}" for name in names)


_INSERT = f"INSERT INTO bounceparse_inbox ({', '.join(_WRITTEN)}) VALUES ({_values(_WRITTEN)})"  # noqa: S608
_SQLITE_TRIGGER = (
    "CREATE TRIGGER bounceparse_v1_sent_insert INSTEAD OF INSERT ON bounceparse_v1_sent BEGIN "
    + "".join(
        f"SELECT RAISE(ABORT, '{name} is no time like 2026-01-02 10:00:00+01:00')"
        f" WHERE NEW.{name} IS NOT NULL AND datetime(NEW.{name}) IS NULL; "
        for name in _TIMES
    )
    + f"{_INSERT}; END",
)
# The function runs as its owner: a service needs no right but INSERT on the view.
_POSTGRESQL_TRIGGER = (
    "CREATE OR REPLACE FUNCTION bounceparse_v1_write_sent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    f" SET search_path FROM CURRENT AS $$ BEGIN {_INSERT}; RETURN NEW; END $$",
    "REVOKE ALL ON FUNCTION bounceparse_v1_write_sent() FROM PUBLIC",
    "CREATE OR REPLACE TRIGGER bounceparse_v1_sent_insert INSTEAD OF INSERT ON bounceparse_v1_sent"
    " FOR EACH ROW EXECUTE FUNCTION bounceparse_v1_write_sent()",
)


def grants(connection: Connection, role: str, *, write: bool) -> list[str]:
    """The statements (PostgreSQL) that let ``role`` read the views, and with ``write`` write through ``_sent``."""
    quote = connection.dialect.identifier_preparer.quote
    schema = quote(str(connection.execute(sa.text("SELECT current_schema()")).scalar_one()))
    who = connection.dialect.identifier_preparer.quote_identifier(role)
    views = ", ".join(f"{schema}.{VIEW_PREFIX}{name}" for name in VIEWS)
    found = [f"GRANT USAGE ON SCHEMA {schema} TO {who};", f"GRANT SELECT ON {views} TO {who};"]
    if write:
        found.append(f"GRANT INSERT ON {schema}.{VIEW_PREFIX}sent TO {who};")
    return found

"""The schema. All tables are ``bounceparse_*`` and live in a :data:`METADATA` of their own.

A table is declared as SQLModel has it, but made without SQLModel, whose import takes longer than a poll that finds
nothing new; :mod:`bounceparse.db.models` makes SQLModel's classes of these.

Migrations must give the same schema (a test compares them). There are no foreign keys on purpose: ledger rows and raw
messages are pruned long before the outcomes that point to them, and bulk writes do not pay for checks.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

import sqlalchemy as sa

from bounceparse.db.types import BigId, Text, Utc

METADATA = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)
PREFIX = "bounceparse_"
VERSION_TABLE = "bounceparse_alembic_version"
SCHEMA_VERSION = "0006"
"""The revision that this code needs; a test says that it is the newest migration."""


UNSETTLED = "trust IN ('unverified', 'forwarded')"
"""Outcomes that a later ledger row may still settle. SQLite uses a partial index only for these very words."""
KNOWN_STATUS = "status IN ('injected', 'deferred', 'ok', 'softbounce', 'spambounce', 'hardbounce')"
KNOWN_CATEGORY = "category IN ('marketing', 'transactional')"


def _id() -> Any:
    return sa.Column(BigId, primary_key=True)


def _text(*, null: bool = False, **extra: Any) -> Any:
    return sa.Column(Text, nullable=null, **extra)


def _number(*, null: bool = False, big: bool = False) -> Any:
    return sa.Column(sa.BigInteger if big else sa.Integer, nullable=null)


def _time(*, null: bool = True) -> Any:
    return sa.Column(Utc, nullable=null)


def _flag() -> Any:
    return sa.Column(sa.Boolean, nullable=False, server_default=sa.false())


def _bytes(*, null: bool = False, unique: bool = False) -> Any:
    return sa.Column(sa.LargeBinary, nullable=null, unique=unique or None)


_CONDITIONS: dict[sa.Index, str] = {}


def _some(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """A partial index: over the rows for which ``where`` holds, once :func:`whole_metadata` is asked for."""
    index = sa.Index(name, *columns, unique=unique)
    _CONDITIONS[index] = where
    return index


def whole_metadata() -> sa.MetaData:
    """:data:`METADATA` with the conditions of its partial indexes, for what makes or compares tables.

    They are options of a dialect, and to name one loads it: a poll would load both databases' for nothing.
    """
    for index, where in _CONDITIONS.items():
        for dialect in ("sqlite", "postgresql"):
            index.dialect_options[dialect]["where"] = sa.text(where)
    return METADATA


def _key() -> Any:
    return sa.Column(sa.LargeBinary, primary_key=True)


def _given_id() -> Any:
    return sa.Column(sa.BigInteger, primary_key=True, autoincrement=False)


class Table:
    """What the declarations share: the columns of a class become :attr:`__table__`."""

    __tablename__: ClassVar[str]
    __table_args__: ClassVar[tuple[Any, ...]] = ()
    __table__: ClassVar[sa.Table]

    def __init_subclass__(cls) -> None:
        columns = []
        for name, column in vars(cls).items():
            if isinstance(column, sa.Column):
                column.name = column.key = name
                columns.append(column)
        cls.__table__ = sa.Table(cls.__tablename__, METADATA, *columns, *cls.__table_args__)


class MessageRow(Table):
    """A message that lay in a mailbox or was replayed. ``key`` is the report key; ``raw`` is zlib-compressed.

    ``uid`` is 0 for what was replayed, which is then known by its source and content.
    """

    __tablename__ = "bounceparse_messages"
    __table_args__ = (
        _some("uq_bounceparse_messages_uid", "account", "folder", "uidvalidity", "uid", where="uid > 0", unique=True),
        _some("uq_bounceparse_messages_source", "account", "folder", "key", where="uid = 0", unique=True),
        _some(
            "ix_bounceparse_messages_unmarked",
            "account",
            "folder",
            "uidvalidity",
            where="marked_at IS NULL AND error IS NULL",
        ),
        _some("ix_bounceparse_messages_kept", "recorded_at", where="raw IS NOT NULL"),
        _some("ix_bounceparse_messages_held", "id", where="error IS NOT NULL"),
    )
    id: int | None = _id()
    account: str = _text()
    folder: str = _text()
    uidvalidity: int = _number(big=True)
    uid: int = _number(big=True)
    key: bytes = _bytes()
    size: int = _number(big=True)
    kind: str = _text()
    dialect: str | None = _text(null=True)
    defects: str = _text()
    from_address: str | None = _text(null=True)
    subject: str | None = _text(null=True)
    error: str | None = _text(null=True)
    raw: bytes | None = _bytes(null=True)
    recorded_at: datetime = _time(null=False)
    marked_at: datetime | None = _time()


class OutcomeRow(Table):
    """One outcome, with what it was matched to.

    ``recipient`` is the ledger's spelling where it was matched, ``reported_recipient`` the report's. ``seq``
    grows in the order of commits and is renewed when a row changes, so "all since my last seq" misses nothing.
    ``status`` is ``classified_status`` but for a forwarded failure, which is at most a softbounce. ``address_key`` is
    the key of the address it counts for: the ledger's, else the report's. ``event_at`` is ``occurred_at`` or, where
    that is missing or lies ahead, ``recorded_at``. ``is_copy`` marks an event that another route has reported already.
    ``own_id`` is the sender's own header in the returned message, ``token_id`` what a signed token of ours names whose
    signature holds, ``reporter_auth`` what our server found of the reporter's authenticity. ``anonymous`` marks a trap's
    complaint: it counts for the stream and for no address.
    """

    __tablename__ = "bounceparse_outcomes"
    __table_args__ = (
        sa.Index("ix_bounceparse_outcomes_seq", "seq"),
        sa.Index("ix_bounceparse_outcomes_recorded_at", "recorded_at"),
        _some("ix_bounceparse_outcomes_address_key", "address_key", where="address_key IS NOT NULL"),
        _some("ix_bounceparse_outcomes_sent_id", "sent_id", where="sent_id IS NOT NULL"),
        _some("ix_bounceparse_outcomes_domain_key", "domain_key", where="of_domain"),
        _some("ix_bounceparse_outcomes_unsettled", "message_key", where=UNSETTLED),
        _some("ix_bounceparse_outcomes_token_id", "token_id", where="token_id IS NOT NULL"),
    )
    id: int | None = _id()
    seq: int = _number(big=True)
    key: bytes = _bytes(unique=True)
    report_key: bytes = _bytes()
    kind: str = _text()
    status: str = _text()
    classified_status: str = _text()
    reason: str = _text()
    fault: str | None = _text(null=True)
    recipient: str | None = _text(null=True)
    reported_recipient: str | None = _text(null=True)
    original_recipient: str | None = _text(null=True)
    final_recipient: str | None = _text(null=True)
    message_id: str | None = _text(null=True)
    envelope_id: str | None = _text(null=True)
    feedback_id: str | None = _text(null=True)
    list_id: str | None = _text(null=True)
    action: str | None = _text(null=True)
    enhanced_status: str | None = _text(null=True)
    smtp_code: int | None = _number(null=True)
    diagnostic: str | None = _text(null=True)
    smtp_phase: str | None = _text(null=True)
    reporting_mta: str | None = _text(null=True)
    remote_mta: str | None = _text(null=True)
    sending_ip: str | None = _text(null=True)
    provider: str | None = _text(null=True)
    blocklist: str | None = _text(null=True)
    help_url: str | None = _text(null=True)
    subject: str | None = _text(null=True)
    occurred_at: datetime | None = _time()
    evidence_rule: str = _text()
    evidence_part: str = _text()
    evidence_matched: str = _text()
    evidence_dialect: str | None = _text(null=True)
    mailbox: str = _text()
    recorded_at: datetime = _time(null=False)
    message_key: str | None = _text(null=True)
    message_id_from: str | None = _text(null=True)
    trust: str = _text()
    matched_by: str | None = _text(null=True)
    match_evidence: str | None = _text(null=True)
    shared: bool = _flag()
    sent_id: int | None = _number(null=True, big=True)
    stream: str | None = _text(null=True)
    customer: str | None = _text(null=True)
    address_key: str | None = _text(null=True)
    domain_key: str | None = _text(null=True)
    from_domain: str | None = _text(null=True)
    of_domain: bool = _flag()
    event_at: datetime = _time(null=False)
    is_copy: bool = _flag()
    authenticated: bool = _flag()
    own_id: str | None = _text(null=True)
    token_id: int | None = _number(null=True, big=True)
    reporter_auth: str | None = _text(null=True)
    anonymous: bool = _flag()
    will_retry_until: datetime | None = _time()


class SentRow(Table):
    """The ledger: one message to one recipient. Keys are what lookups compare; the spelling received stands beside.

    The delivery status and the two answers of a recipient stand apart: a complaint proves delivery. The ids and their
    keys are NULL in rows so old that no report is expected any more (``prune``). ``presumed`` marks a status that
    silence stands for, ``retry_until`` how long the reporting server said it would try, and ``logged_status`` what the
    sender or its mail server's log told, whatever reports have told since.
    """

    __tablename__ = "bounceparse_sent"
    __table_args__ = (
        sa.UniqueConstraint("message_key", "recipient_key", name="uq_bounceparse_sent_message"),
        sa.Index("ix_bounceparse_sent_recipient_key", "recipient_key"),
        sa.Index("ix_bounceparse_sent_domain_key", "domain_key", "sent_at"),
        sa.Index("ix_bounceparse_sent_sent_at", "sent_at", "id"),
        _some("ix_bounceparse_sent_deferred", "status_at", "id", where="status = 'deferred'"),
        _some("ix_bounceparse_sent_provider_key", "provider_key", "recipient_key", where="provider_key IS NOT NULL"),
        _some("ix_bounceparse_sent_envelope_id", "envelope_id", "recipient_key", where="envelope_id IS NOT NULL"),
        _some("ix_bounceparse_sent_customer", "customer", where="customer IS NOT NULL"),
    )
    id: int | None = _id()
    message_id: str | None = _text(null=True)
    message_key: str | None = _text(null=True)
    recipient: str = _text()
    recipient_key: str = _text()
    domain_key: str = _text()
    provider_id: str | None = _text(null=True)
    provider_key: str | None = _text(null=True)
    envelope_id: str | None = _text(null=True)
    from_address: str | None = _text(null=True)
    subject: str | None = _text(null=True)
    stream: str | None = _text(null=True)
    list_id: str | None = _text(null=True)
    customer: str | None = _text(null=True)
    sent_at: datetime | None = _time()
    status: str = _text()
    reason: str | None = _text(null=True)
    status_at: datetime | None = _time()
    presumed: bool = _flag()
    complained_at: datetime | None = _time()
    unsubscribed_at: datetime | None = _time()
    retry_until: datetime | None = _time()
    logged_status: str | None = _text(null=True)
    logged_reason: str | None = _text(null=True)
    logged_at: datetime | None = _time()


class InboxRow(Table):
    """What services wrote through the view ``bounceparse_v1_sent``: it enters the ledger at the next poll."""

    __tablename__ = "bounceparse_inbox"
    __table_args__ = (
        sa.CheckConstraint(KNOWN_STATUS, name="status"),
        sa.CheckConstraint(KNOWN_CATEGORY, name="category"),
    )
    id: int | None = _id()
    message_id: str = _text()
    recipient: str = _text()
    provider_id: str | None = _text(null=True)
    envelope_id: str | None = _text(null=True)
    from_address: str | None = _text(null=True)
    subject: str | None = _text(null=True)
    stream: str | None = _text(null=True)
    sender: str | None = _text(null=True)
    category: str | None = _text(null=True)
    list_id: str | None = _text(null=True)
    customer: str | None = _text(null=True)
    sent_at: datetime | None = _time()
    status: str = _text()
    reason: str | None = _text(null=True)
    status_at: datetime | None = _time()


class StreamRow(Table):
    """What messages are sent by: ``sender`` is the tenant, ``category`` ``marketing`` or ``transactional``."""

    __tablename__ = "bounceparse_streams"
    name: str = _text(primary_key=True)
    sender: str = _text()
    category: str = _text()


class StandingRow(Table):
    """Why an address, or a domain (``@example.com``), is not mailed; one row a subject, scope and cause.

    ``scope`` is ``all``, ``from:DOMAIN``, ``marketing:SENDER``, ``sender:SENDER`` or ``list:ID``. A lifted row stays,
    and what happened up to ``forgiven_at`` never counts again. ``seq`` is renewed when the row changes, as in outcomes.
    ``provider`` is the one that refused. With ``paused_until`` the row came up in the mass event ``event_id``: the address
    is not mailed, but becomes suppressed only then, unless a person discards the event. The subject of an erased or very
    old address is its keyed hash.
    """

    __tablename__ = "bounceparse_standing"
    __table_args__ = (
        sa.UniqueConstraint("subject", "scope", "cause", name="uq_bounceparse_standing_subject"),
        sa.Index("ix_bounceparse_standing_seq", "seq"),
        _some("ix_bounceparse_standing_provider", "provider", "reason", "since", where="provider IS NOT NULL"),
        _some("ix_bounceparse_standing_event_id", "event_id", where="event_id IS NOT NULL"),
    )
    id: int | None = _id()
    seq: int = _number(big=True)
    subject: str = _text()
    scope: str = _text()
    cause: str = _text()
    status: str = _text()
    reason: str = _text()
    since: datetime = _time(null=False)
    until: datetime | None = _time()
    count: int = _number()
    last_at: datetime = _time(null=False)
    outcome_id: int | None = _number(null=True, big=True)
    origin: str = _text()
    note: str | None = _text(null=True)
    forgiven_at: datetime | None = _time()
    lifted_at: datetime | None = _time()
    lifted_by: str | None = _text(null=True)
    provider: str | None = _text(null=True)
    event_id: int | None = _number(null=True, big=True)
    paused_until: datetime | None = _time()


class EventRow(Table):
    """Many suppressions at once from one provider for one reason, which more likely tell of a fault there than of many dead addresses.

    ``state`` is ``open``, ``released`` (they act now) or ``discarded`` (they never count).
    """

    __tablename__ = "bounceparse_events"
    __table_args__ = (_some("ix_bounceparse_events_open", "provider", "reason", where="state = 'open'"),)
    id: int | None = _id()
    provider: str = _text()
    reason: str = _text()
    state: str = _text()
    began_at: datetime = _time(null=False)
    last_at: datetime = _time(null=False)
    release_at: datetime = _time(null=False)
    count: int = _number()
    decided_at: datetime | None = _time()
    decided_by: str | None = _text(null=True)
    note: str | None = _text(null=True)


class HealthRow(Table):
    """How a stream does: ``level`` is ``ok``, ``warn`` or ``stop``; ``numbers`` holds what it was judged by, as JSON.

    A stop, by threshold or by hand, holds until a person releases it; what came before ``released_at`` never stops again.
    """

    __tablename__ = "bounceparse_health"
    stream: str = _text(primary_key=True)
    level: str = _text()
    why: str = _text()
    since: datetime = _time(null=False)
    checked_at: datetime = _time(null=False)
    numbers: str = _text()
    released_at: datetime | None = _time()
    released_by: str | None = _text(null=True)
    note: str | None = _text(null=True)


class AlertRow(Table):
    """Something that a person should know: told once an event (``kind`` and ``subject``), then daily while it lasts."""

    __tablename__ = "bounceparse_alerts"
    __table_args__ = (
        _some("uq_bounceparse_alerts_open", "kind", "subject", where="ended_at IS NULL", unique=True),
        sa.Index("ix_bounceparse_alerts_began_at", "began_at"),
    )
    id: int | None = _id()
    kind: str = _text()
    subject: str = _text()
    level: str = _text()
    text: str = _text()
    began_at: datetime = _time(null=False)
    told_at: datetime | None = _time()
    ended_at: datetime | None = _time()


class AuditRow(Table):
    """What a person did, or had done: who lifted, suppressed, released, stopped, erased or decided what, and why."""

    __tablename__ = "bounceparse_audit"
    __table_args__ = (sa.Index("ix_bounceparse_audit_subject", "subject"),)
    id: int | None = _id()
    at: datetime = _time(null=False)
    actor: str = _text()
    action: str = _text()
    subject: str = _text()
    scope: str | None = _text(null=True)
    note: str | None = _text(null=True)
    detail: str | None = _text(null=True)


class TombstoneRow(Table):
    """The report key of an erased message: a mailbox that still holds it cannot bring the person back."""

    __tablename__ = "bounceparse_tombstones"
    key: bytes = _key()
    erased_at: datetime = _time(null=False)


class FenceRow(Table):
    """How often the lock of a mailbox changed hands: a poller commits only while the number is the one it was given."""

    __tablename__ = "bounceparse_fences"
    name: str = _text(primary_key=True)
    fence: int = _number(big=True)
    holder: str = _text()
    taken_at: datetime = _time(null=False)


class HistoryRow(Table):
    """What an outcome was before reclassifying changed it: its status and reason, and all that changed as JSON.

    ``version`` is the bounceparse that found the present answer, ``changed`` the former values by column.
    """

    __tablename__ = "bounceparse_history"
    __table_args__ = (sa.Index("ix_bounceparse_history_outcome_id", "outcome_id"),)
    id: int | None = _id()
    outcome_id: int = _number(big=True)
    changed_at: datetime = _time(null=False)
    version: str = _text()
    status: str = _text()
    reason: str = _text()
    changed: str = _text()


class TokenRow(Table):
    """Which message to whom a signed token is of; kept as long as its token may come back, longer than the ledger."""

    __tablename__ = "bounceparse_tokens"
    __table_args__ = (
        sa.UniqueConstraint("message_key", "recipient_key", name="uq_bounceparse_tokens_message"),
        sa.Index("ix_bounceparse_tokens_recipient_key", "recipient_key"),
    )
    id: int | None = _given_id()
    message_id: str = _text()
    message_key: str = _text()
    recipient: str = _text()
    recipient_key: str = _text()
    stream: str | None = _text(null=True)
    list_id: str | None = _text(null=True)
    created_at: datetime = _time(null=False)


class ClickRow(Table):
    """A one-click request that was answered while another writer was at work; it is recorded after that one.

    On SQLite, where any writer waits for any other, the table in use lies in a file beside the database.
    """

    __tablename__ = "bounceparse_clicks"
    id: int | None = _id()
    token: str = _text()
    clicked_at: datetime = _time(null=False)


class RequestRow(Table):
    """An unsubscribe request that did not act by itself, or a mail that speaks of it, for a person to decide.

    ``state`` is ``pending``, ``accepted`` or ``rejected``; ``scopes`` what accepting suppresses, parted by spaces.
    """

    __tablename__ = "bounceparse_requests"
    __table_args__ = (
        sa.UniqueConstraint("report_key", name="uq_bounceparse_requests_report_key"),
        _some("ix_bounceparse_requests_pending", "recorded_at", where="state = 'pending'"),
    )
    id: int | None = _id()
    report_key: bytes = _bytes()
    state: str = _text()
    why: str = _text()
    address: str | None = _text(null=True)
    scopes: str = _text()
    subject: str | None = _text(null=True)
    words: str | None = _text(null=True)
    mailbox: str = _text()
    recorded_at: datetime = _time(null=False)
    decided_at: datetime | None = _time()
    decided_by: str | None = _text(null=True)
    note: str | None = _text(null=True)


class OutboxRow(Table):
    """An event for the configured endpoints, written in the transaction that made it so.

    ``id`` is the ``seq`` of the change: it grows in the order of commits and is never used again. ``kind`` is ``outcome``, ``standing`` or ``stream``; ``subject`` is what events are kept in order for: an address key,
    ``@domain`` or a stream. ``payload`` is the JSON that is sent, with the stable ``event_id`` in it.
    """

    __tablename__ = "bounceparse_outbox"
    __table_args__ = (sa.UniqueConstraint("event_id", name="uq_bounceparse_outbox_event_id"),)
    id: int | None = _id()
    event_id: str = _text()
    kind: str = _text()
    subject: str | None = _text(null=True)
    stream: str | None = _text(null=True)
    status: str | None = _text(null=True)
    payload: str = _text()
    created_at: datetime = _time(null=False)


class DeliveryRow(Table):
    """One event on its way to one endpoint: ``state`` is ``waiting``, ``delivered`` or ``dead``.

    ``attempts`` counts the requests that failed, the first at ``first_at``; the next is not made before ``next_at``.
    """

    __tablename__ = "bounceparse_deliveries"
    __table_args__ = (
        sa.UniqueConstraint("outbox_id", "endpoint", name="uq_bounceparse_deliveries_outbox_id"),
        _some("ix_bounceparse_deliveries_waiting", "endpoint", "outbox_id", where="state = 'waiting'"),
        _some("ix_bounceparse_deliveries_subject", "endpoint", "subject", "outbox_id", where="state = 'waiting'"),
        _some("ix_bounceparse_deliveries_dead", "endpoint", "id", where="state = 'dead'"),
    )
    id: int | None = _id()
    outbox_id: int = _number(big=True)
    endpoint: str = _text()
    subject: str | None = _text(null=True)
    state: str = _text()
    attempts: int = _number()
    next_at: datetime = _time(null=False)
    first_at: datetime | None = _time()
    delivered_at: datetime | None = _time()
    error: str | None = _text(null=True)


class ApiTokenRow(Table):
    """A bearer token of the API, by its SHA-256; ``sender`` limits it to the streams of one tenant."""

    __tablename__ = "bounceparse_api_tokens"
    __table_args__ = (sa.UniqueConstraint("name", name="uq_bounceparse_api_tokens_name"),)
    id: int | None = _id()
    name: str = _text()
    hash: bytes = _bytes(unique=True)
    scopes: str = _text()
    sender: str | None = _text(null=True)
    created_at: datetime = _time(null=False)
    used_at: datetime | None = _time()
    revoked_at: datetime | None = _time()


class UserRow(Table):
    """Somebody who signs in to the panel; ``password`` is a scrypt hash with its salt and cost, ``role`` read or write."""

    __tablename__ = "bounceparse_users"
    name: str = _text(primary_key=True)
    password: str = _text()
    role: str = _text()
    sender: str | None = _text(null=True)
    created_at: datetime = _time(null=False)
    disabled_at: datetime | None = _time()


class SessionRow(Table):
    """Somebody signed in: the SHA-256 of the cookie's value."""

    __tablename__ = "bounceparse_sessions"
    hash: bytes = _key()
    name: str = _text()
    created_at: datetime = _time(null=False)
    expires_at: datetime = _time(null=False)


class StateRow(Table):
    """Numbers that must survive: ``seq`` (its row is also the lock that puts writers in a line), ``ledger``, ..."""

    __tablename__ = "bounceparse_state"
    name: str = _text(primary_key=True)
    value: int = _number(big=True)


messages = MessageRow.__table__
outcomes = OutcomeRow.__table__
sent = SentRow.__table__
inbox = InboxRow.__table__
streams = StreamRow.__table__
standing = StandingRow.__table__
history = HistoryRow.__table__
tokens = TokenRow.__table__
requests = RequestRow.__table__
clicks = ClickRow.__table__
state = StateRow.__table__
events = EventRow.__table__
health = HealthRow.__table__
alerts = AlertRow.__table__
audit = AuditRow.__table__
tombstones = TombstoneRow.__table__
fences = FenceRow.__table__
outbox = OutboxRow.__table__
deliveries = DeliveryRow.__table__
api_tokens = ApiTokenRow.__table__
users = UserRow.__table__
sessions = SessionRow.__table__

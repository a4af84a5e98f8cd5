"""What the API takes and gives: the shapes of its OpenAPI document."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from bounceparse.codes import Action, Phase
from bounceparse.db.queries import SentStatus
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.standings import Standing
from bounceparse.db.types import storable_time
from bounceparse.health import Level
from bounceparse.outcomes import Fault, Status, Trust


def _in_utc(value: datetime) -> datetime:
    found = storable_time(value)
    if found is None:
        raise ValueError("this time lies outside what a calendar holds")
    return found


Moment = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""A time with its offset, kept in UTC."""
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Note = Annotated[str, Field(max_length=2000)]
Scope = Annotated[
    str,
    Field(
        pattern=r"^(all|(marketing|sender|list|from):[^\x00-\x1f\x7f-\xa0]*)$",
        max_length=500,
        description="all, marketing:SENDER, sender:SENDER, list:ID or from:DOMAIN",
        examples=["all", "marketing:shop"],
    ),
]
Subject = Annotated[
    str,
    Field(
        pattern=r"^[^\x00-\x20\x7f-\xa0,;]*@[^\x00-\x20\x7f-\xa0,;@]+$",
        max_length=320,
        description="An address, or a whole domain written @example.pl",
        examples=["jan@example.pl"],
    ),
]
Cursor = Annotated[int, Field(ge=0, le=2**63 - 1)]


class _Given(BaseModel):
    """What a client sends: nothing unknown in it."""

    model_config = ConfigDict(extra="forbid")


class _Told(BaseModel):
    """What is answered, read from the library's own dataclasses."""

    model_config = ConfigDict(from_attributes=True)


class Suppress(_Given):
    """Suppress an address; for a tenant its own mail by default, else all."""

    address: Subject
    scope: Scope | None = None
    until: Moment | None = None
    note: Note | None = None


class Lift(_Given):
    """Lift what stands against an address, in one scope or in all that the token may touch."""

    address: Subject
    scope: Scope | None = None
    note: Note | None = None


class SuppressCustomer(_Given):
    """Suppress all addresses of a customer."""

    customer: Text
    scope: Scope | None = None
    until: Moment | None = None
    note: Note | None = None


class LiftCustomer(_Given):
    """Lift what stands against all addresses of a customer."""

    customer: Text
    scope: Scope | None = None
    note: Note | None = None


class Check(_Given):
    """Addresses that a stream is going to mail; one that is unknown counts as marketing."""

    addresses: Annotated[list[Annotated[str, Field(max_length=1000)]], Field(max_length=10_000)]
    stream: Text
    from_domain: Annotated[str, Field(max_length=255)] | None = None


class StreamNote(_Given):
    """A stream by its name ("" for mail without one), and why."""

    stream: Annotated[str, Field(max_length=1000)]
    note: Annotated[str, Field(min_length=1, max_length=2000)]


class Changed(_Told):
    """How many suppressions were made or lifted."""

    changed: int


class Imported(_Told):
    """What became of a list."""

    suppressed: int
    known: int
    refused: list[dict[str, Any]]


class Checked(_Told):
    """The addresses as given, in order, those that may be mailed and those that must not."""

    mailable: list[str]
    suppressed: list[str]


class SuppressionOut(_Told):
    """One suppression that stands."""

    subject: str
    scope: str
    cause: str
    status: str
    reason: str
    since: datetime
    until: datetime | None
    count: int
    last_at: datetime
    paused_until: datetime | None
    event_id: int | None


class SuppressionPage(_Told):
    """A page; ``next`` is the cursor of what follows, null at the end."""

    suppressions: list[SuppressionOut]
    next: int | None


class GroundOut(_Told):
    """The report that a suppression rests on."""

    occurred_at: datetime | None
    diagnostic: str | None
    reporting_mta: str | None
    rule: str
    matched: str
    trust: str
    matched_by: str | None
    message_id: str | None
    mailbox: str
    reporter_auth: str | None


class StandingOut(_Told):
    """May we mail it?"""

    address: str
    mailable: bool
    status: str | None
    reason: str | None
    since: datetime | None
    until: datetime | None
    count: int
    scope: str | None
    cause: str | None
    provider: str | None
    paused_until: datetime | None
    evidence: GroundOut | None
    suppressions: list[SuppressionOut]
    advice: str
    replaced_by: str | None = None

    @classmethod
    def of(cls, one: Standing, language: str, replaced_by: str | None = None) -> StandingOut:
        """The shape of a standing, with advice in a language."""
        names = [name for name in cls.model_fields if name not in ("advice", "replaced_by")]
        values = {name: getattr(one, name) for name in names}
        told = {"advice": one.advice(language), "replaced_by": replaced_by}
        return cls.model_validate({**values, **told}, from_attributes=True)


class EvidenceOut(_Told):
    """What of the report decided."""

    rule: str
    part: str
    matched: str
    dialect: str | None


class OutcomeOut(_Told):
    """One recorded outcome: the fields of `outcomes --json`, and its ``id`` and ``seq``."""

    id: int
    seq: int
    status: Status
    reason: str
    fault: Fault | None
    recipient: str | None
    original_recipient: str | None
    final_recipient: str | None
    message_id: str | None
    envelope_id: str | None
    feedback_id: str | None
    list_id: str | None
    action: Action | None
    enhanced_status: str | None
    smtp_code: int | None
    diagnostic: str | None
    smtp_phase: Phase | None
    reporting_mta: str | None
    remote_mta: str | None
    sending_ip: str | None
    provider: str | None
    blocklist: str | None
    help_url: str | None
    subject: str | None
    occurred_at: datetime | None
    evidence: EvidenceOut
    mailbox: str
    recorded_at: datetime
    trust: Trust
    matched_by: str | None
    match_evidence: str | None
    reporter_auth: str | None
    stream: str | None
    customer: str | None

    @classmethod
    def of(cls, one: RecordedOutcome) -> OutcomeOut:
        """The shape of a recorded outcome."""
        return cls.model_validate({"id": one.id, "seq": one.seq, **one.to_json()})


class OutcomePage(_Told):
    """A page, in the order of ``seq``; ``next`` is the cursor of what follows, and of what will be recorded later."""

    outcomes: list[OutcomeOut]
    next: int
    more: bool


class SentOut(_Told):
    """A message to one recipient, and what became of it."""

    message_id: str | None
    recipient: str
    subject: str | None
    stream: str | None
    sent_at: datetime | None
    status: str
    reason: str | None
    status_at: datetime | None
    presumed: bool
    complained_at: datetime | None
    unsubscribed_at: datetime | None

    @classmethod
    def of(cls, one: SentStatus) -> SentOut:
        """The shape of a row of the ledger."""
        return cls.model_validate(one)


class History(_Told):
    """The latest messages and outcomes of an address, newest first."""

    address: str
    sent: list[SentOut]
    outcomes: list[OutcomeOut]


class CustomerOut(_Told):
    """The card of a customer."""

    customer: str
    alert: bool
    addresses: list[StandingOut]
    sent: list[SentOut]
    outcomes: list[OutcomeOut]


class MessageOut(_Told):
    """A message: a row for each recipient (1,000 at most), and its trail, oldest first."""

    message_id: str
    sent: list[SentOut]
    outcomes: list[OutcomeOut]


class StreamOut(_Told):
    """A stream: how it does, what it sent in 24 hours, and the rates of that in percent."""

    name: str
    sender: str
    category: str
    level: Level
    may_send: bool
    why: str
    since: datetime | None
    checked_at: datetime | None
    released_at: datetime | None
    released_by: str | None
    note: str | None
    sent: dict[str, int]
    rates: dict[str, float | None]


class StatsOut(_Told):
    """A group: the outcomes reported of it, and by stream, provider, domain and day what was sent and its rates."""

    group: str | None
    total: int
    statuses: dict[str, int]
    sent: dict[str, int] | None
    rates: dict[str, float | None] | None


class AlertOut(_Told):
    """Something that a person should know."""

    kind: str
    subject: str
    level: Level
    text: str


class HealthOut(_Told):
    """How all is; ``polls`` says when each mailbox was last polled to its end."""

    level: Level
    alerts: list[AlertOut]
    polls: dict[str, datetime]


class IngestedOut(_Told):
    """What was recorded: the same mail again adds nothing."""

    messages: int
    outcomes: int
    new_outcomes: int


Language = Literal["en", "pl"]

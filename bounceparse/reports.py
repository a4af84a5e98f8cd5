"""What a message says: frozen values that ``formats`` and ``dialects`` fill and ``classify`` judges.

Nothing here is an opinion. What was not written is None, never a guess. Addresses keep the spelling received, domains
are lower-cased, angle brackets and address types (``rfc822;``) are gone; Message-IDs stand without angle brackets;
texts are decoded, their white space is collapsed and their length capped; dates stay as they were written.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from bounceparse.codes import Action, Phase
from bounceparse.lazy import Deferred, dataclass, field

_NOTHING: Mapping[str, str] = {}  # a mappingproxy could not be handed from one process to another


class Kind(StrEnum):
    """What a report is; a report's kind is the first of these that its items hold."""

    DELIVERY = "delivery"
    FEEDBACK = "feedback"
    UNSUBSCRIBE = "unsubscribe"
    DISPOSITION = "disposition"
    CHALLENGE = "challenge"
    AUTOREPLY = "autoreply"
    NOTICE = "notice"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class OriginalMessage(Deferred):
    """What a report tells of the message it is about, mostly from the returned headers.

    Attributes:
        message_id: its Message-ID.
        message_id_from: where that stood: ``returned``, ``status``, ``text``, ``in-reply-to`` or ``references``.
        from_address, to_address, return_path: addresses of its header.
        to_addresses: all addresses of its To field, in order.
        subject, date: as they stood, decoded.
        list_id, feedback_id, list_unsubscribe, cfbl_feedback_id: the headers of these names.
        headers: further returned headers by lower-case name (``x-hmxmroriginalrecipient``, ``delivered-to``).
        own_id: what the header holds that the sender has named as its own (``[rules] own_header``).
    """

    message_id: str | None = None
    message_id_from: str | None = None
    from_address: str | None = None
    to_addresses: tuple[str, ...] = ()
    return_path: str | None = None
    subject: str | None = None
    date: str | None = None
    list_id: str | None = None
    feedback_id: str | None = None
    list_unsubscribe: str | None = None
    cfbl_feedback_id: str | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    own_id: str | None = None


@dataclass(frozen=True, slots=True)
class RecipientReport:
    """What a delivery report says of one recipient.

    Attributes:
        recipient: the address as the sender knew it: Original-Recipient, else Final-Recipient, else the text's.
        original_recipient, final_recipient: the fields of RFC 3464 sections 2.3.1 and 2.3.2.
        action: the Action field, or what the prose plainly says (failed, delayed); None where neither is told.
        status: the Status field's code as written (``5.1.1``), comment dropped.
        diagnostic: the words of the server that refused, reply codes included, without the ``smtp;`` type.
        diagnostic_type: ``smtp``, ``x-unix``, ``x-postfix`` ..., lower case.
        text: what the human-readable part says of this recipient where that tells more than ``diagnostic``.
        part: where ``diagnostic`` stands: ``delivery-status`` or ``text``.
        remote_mta: the host whose words ``diagnostic`` holds.
        phase: the phase of the dialogue where the report's structure tells it.
        last_attempt_date, will_retry_until: as written.
        derived_status: True where ``status`` is known to be made up by the reporting system.
        shared: True where ``diagnostic`` and ``status`` stand under several recipients and are about one of them.
    """

    recipient: str | None = None
    original_recipient: str | None = None
    final_recipient: str | None = None
    action: Action | None = None
    status: str | None = None
    diagnostic: str | None = None
    diagnostic_type: str | None = None
    text: str | None = None
    part: str = "delivery-status"
    remote_mta: str | None = None
    phase: Phase | None = None
    last_attempt_date: str | None = None
    will_retry_until: str | None = None
    derived_status: bool = False
    shared: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A delivery status notification, standard (RFC 3464) or prose.

    ``text`` is the human-readable part (capped), ``recipients`` may be empty where the report names none.
    """

    recipients: tuple[RecipientReport, ...]
    original: OriginalMessage = OriginalMessage()
    reporting_mta: str | None = None
    envelope_id: str | None = None
    arrival_date: str | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class FeedbackReport:
    """An ARF report (RFC 5965), a JMRP forward, an XARF spam report.

    Attributes:
        feedback_type: lower case: ``abuse``, ``fraud``, ``not-spam``, ``auth-failure``, ``opt-out``, ...
        recipients: who complained, placeholders dropped; often empty.
        recipients_from: the field that told them (``original-rcpt-to``, ``x-hmxmroriginalrecipient``, ...).
        source_port: RFC 6692. incidents: 1 where it is not told.
        authentication_results, reported_domains, reported_uris: all values, in order.
        auth_failure, delivery_result, identity_alignment: of authentication-failure reports (RFC 6591, 9991), lower case.
        fields: every field of the report by lower-case name, first value.
        extensions: (lower-case name, value) of each field that no RFC defines, in order.
        trap: a spam trap or a reporting service that names nobody sent it: it is no person's complaint.
    """

    feedback_type: str
    recipients: tuple[str, ...] = ()
    recipients_from: str | None = None
    original: OriginalMessage = OriginalMessage()
    user_agent: str | None = None
    version: str | None = None
    original_mail_from: str | None = None
    arrival_date: str | None = None
    reporting_mta: str | None = None
    source_ip: str | None = None
    source_port: int | None = None
    incidents: int = 1
    envelope_id: str | None = None
    authentication_results: tuple[str, ...] = ()
    reported_domains: tuple[str, ...] = ()
    reported_uris: tuple[str, ...] = ()
    auth_failure: str | None = None
    delivery_result: str | None = None
    identity_alignment: str | None = None
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    extensions: tuple[tuple[str, str], ...] = ()
    trap: bool = False


@dataclass(frozen=True, slots=True)
class UnsubscribeRequest:
    """A mail that asks to be taken off a list (RFC 2369 mailto, a client's button, a person's words).

    Attributes:
        recipient: the From address: who asks.
        address: the address that the request was sent to.
        matched: the words that made it a request; ``part`` says where they stand (``subject``, ``text``, ``headers``).
        marker: what was recognised: ``apple``, ``gmail``, ``token``, ``command``, ``address``, ``subject`` or ``text``.
        tokens: what is spelled like a signed token in the text, lower case.
    """

    recipient: str | None
    address: str | None
    matched: str
    part: str
    marker: str
    original: OriginalMessage = OriginalMessage()
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DispositionReport:
    """A message disposition notification (RFC 8098). ``disposition`` is the type, lower case: ``displayed``, ``deleted`` ...

    ``written`` is that as it stands in the notification, empty where it does not and "displayed" was assumed.
    """

    recipient: str | None
    disposition: str
    original: OriginalMessage = OriginalMessage()
    text: str = ""
    error: str | None = None
    automatic: bool = False
    reporting_ua: str | None = None
    refusal: bool = False
    written: str = ""


@dataclass(frozen=True, slots=True)
class AutoReply:
    """An automatic answer (RFC 3834). ``matched`` is the header or words that tell it, ``part`` where they stand.

    ``left`` holds the words that say that the person has gone, or the address will go: a hint for a person.
    """

    recipient: str | None
    matched: str
    part: str
    original: OriginalMessage = OriginalMessage()
    left: str | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A challenge-response system that asks the sender to confirm."""

    recipient: str | None
    matched: str
    part: str
    original: OriginalMessage = OriginalMessage()


@dataclass(frozen=True, slots=True)
class Notice:
    """A mail that is about none of the above but is known: an address change, a DMARC or TLS report, a quarantine digest.

    ``reason`` is a slug of the null fault (``other-report``, ``address-change``).
    """

    reason: str
    matched: str
    part: str
    recipient: str | None = None
    original: OriginalMessage = OriginalMessage()


Item = DeliveryReport | FeedbackReport | UnsubscribeRequest | DispositionReport | Challenge | AutoReply | Notice

KIND_OF_ITEM: Mapping[type, Kind] = {
    DeliveryReport: Kind.DELIVERY,
    FeedbackReport: Kind.FEEDBACK,
    UnsubscribeRequest: Kind.UNSUBSCRIBE,
    DispositionReport: Kind.DISPOSITION,
    Challenge: Kind.CHALLENGE,
    AutoReply: Kind.AUTOREPLY,
    Notice: Kind.NOTICE,
}


@dataclass(frozen=True, slots=True)
class Report(Deferred):
    """One message, read.

    Attributes:
        kind: the first of :class:`Kind` that the items hold, ``other`` where there is none.
        dialect: the format or dialect that read it (``rfc3464``, ``arf``, ``qmail``, ...); None for ``other``.
        defects: what was wrong with the message, as short slugs in order of discovery.
        items: what it reports, in its own order.
        from_address, subject, date, message_id: of the report itself.
        addressed_to: addresses that its header says it was delivered to: by header name in lower case, in order.
        authentication_results: the fields of that name (RFC 8601), topmost first; only our own server's prove anything.
        hint: words of a mail that reports nothing but speaks about unsubscribing: a person should look at it.
    """

    kind: Kind
    dialect: str | None
    defects: tuple[str, ...]
    items: tuple[Item, ...]
    from_address: str | None = None
    subject: str | None = None
    date: str | None = None
    message_id: str | None = None
    addressed_to: tuple[tuple[str, str], ...] = ()
    authentication_results: tuple[str, ...] = ()
    hint: str | None = None

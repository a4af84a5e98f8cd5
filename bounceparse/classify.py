"""Report + RuleSet -> Outcomes: what happened to each recipient, and why.

The Action decides between delivered, deferred and failed; the reason of a failure comes from
:mod:`bounceparse.diagnosis`, its status from the table :data:`bounceparse.outcomes.REASONS`. When in doubt an address
is not condemned.
"""

from __future__ import annotations

from datetime import datetime

from bounceparse.addresses import is_nobody, is_placeholder
from bounceparse.codes import Action
from bounceparse.dates import parse_date
from bounceparse.decoding import collapse
from bounceparse.diagnosis import Diagnosis, diagnose, tells_success
from bounceparse.mentions import find_blocklist, find_help_url, find_ip
from bounceparse.outcomes import ASSUMED, REASONS, Evidence, Fault, Outcome, Status
from bounceparse.reports import (
    AutoReply,
    Challenge,
    DeliveryReport,
    DispositionReport,
    FeedbackReport,
    Item,
    Notice,
    OriginalMessage,
    RecipientReport,
    Report,
    UnsubscribeRequest,
)
from bounceparse.rules import RuleSet, packaged_rules

# RFC 5965, 6430, 6591 and the drafts before them; "spam" and "complaint" come from unregistered emitters.
_FEEDBACK = {
    "abuse": "abuse",
    "spam": "abuse",
    "complaint": "abuse",
    "fraud": "fraud",
    "phishing": "fraud",
    "virus": "virus-report",
    "not-spam": "not-spam",
    "miscategorized": "not-spam",
    "auth-failure": "auth-failure",
    "dkim": "auth-failure",
    "dmarc": "auth-failure",
    "opt-out": "opt-out",
    "opt-out-list": "opt-out",
    "other": "other-report",
}
# Where a feedback report itself tells who complained; else the evidence names the header that does.
_TOLD = ("original-rcpt-to", "removal-recipient", "original-recipient", "complainedRecipients", "smtp_to", None)
_SUCCESS = {Action.DELIVERED: "delivered", Action.RELAYED: "relayed", Action.EXPANDED: "expanded"}
_DELAYED, _OK, _HARDBOUNCE, _SENDER = Action.DELAYED, Status.OK, Status.HARDBOUNCE, Fault.SENDER  # looked up once
_GAVE_UP = ("expired", "giving up", "gave up")
_WAITING = (
    "delayed",
    "will be retried",
    "warning message only",
    "still being retried",
    "will continue",
    "not yet been",
)


def classify(report: Report, rules: RuleSet | None = None) -> tuple[Outcome, ...]:
    """The outcomes of ``report``, in its order: one a recipient, one with ``recipient`` None where none is named.

    ``rules`` are the packaged ones unless given.
    """
    if not report.items:
        return ()
    if rules is None:
        rules = packaged_rules()
    outcomes: list[Outcome] = []
    for item in report.items:
        if type(item) is DeliveryReport:
            recipients = item.recipients or (RecipientReport(),)
            outcomes += [_of_recipient(report, item, recipient, rules) for recipient in recipients]
        else:
            outcomes.extend(_of_other(report, item, rules))
    return tuple(outcomes)


def _of_recipient(report: Report, item: DeliveryReport, recipient: RecipientReport, rules: RuleSet) -> Outcome:
    found = diagnose(recipient, item, rules)
    if tells_success(recipient):
        return _outcome(report, item, recipient, found, _SUCCESS[recipient.action or Action.DELIVERED], _OK)
    reason = found.reason
    if reason == "bad-domain":
        reason = _settled(found, recipient)
    return _outcome(report, item, recipient, found, reason, _status(found, reason, recipient, item))


def _settled(found: Diagnosis, recipient: RecipientReport) -> str:
    """The reason, a claimed missing domain set right: a lookup that names another host than the recipient's failed there."""
    if found.diagnostic and "name=" in found.diagnostic and recipient.recipient:
        name = found.diagnostic.partition("name=")[2].partition(" ")[0].lower().rstrip(".,;")
        if name != recipient.recipient.rpartition("@")[2]:
            return "unroutable"  # Postfix: the mail exchanger that the domain names does not exist
    return found.reason


def _status(found: Diagnosis, reason: str, recipient: RecipientReport, item: DeliveryReport) -> Status:
    action = recipient.action
    if action is _DELAYED:
        gave_up = found.by_text and reason == "expired" and any(word in found.matched.lower() for word in _GAVE_UP)
        return Status.SOFTBOUNCE if gave_up else Status.DEFERRED
    if action is None and _still_waiting(item.text):
        return Status.DEFERRED
    status = (found.rule.status if found.rule else None) or REASONS[reason].status
    if status is _HARDBOUNCE and (recipient.shared or (found.temporary and not _proves_domain(found, reason))):
        return Status.SOFTBOUNCE
    return status


def _still_waiting(text: str) -> bool:
    start = text[:2048].lower()
    return any(words in start for words in _WAITING)


def _proves_domain(found: Diagnosis, reason: str) -> bool:
    """Whether words prove what no retry will mend: a domain that is not there or takes no mail."""
    if not found.by_text:
        return False
    return reason == "null-mx" or (
        reason == "bad-domain" and (found.code is None or "nxdomain" in found.matched.lower())
    )


def _outcome(
    report: Report, item: DeliveryReport, recipient: RecipientReport, found: Diagnosis, reason: str, status: Status
) -> Outcome:
    original = item.original
    fault = REASONS[reason].fault
    words = found.diagnostic
    ours = words if fault is _SENDER else None
    address = recipient.recipient
    part, matched = found.part, found.matched
    if part == ASSUMED and report.subject:  # a report that says nothing rests on its subject
        part, matched = "subject", report.subject
    rule = found.rule
    return Outcome(  # by position, in the order of the fields: names take as long as the rest
        status,
        reason,
        fault,
        None if is_nobody(address) else address,
        recipient.original_recipient,
        recipient.final_recipient,
        original.message_id,
        item.envelope_id,
        original.feedback_id,
        original.list_id,
        recipient.action,
        found.enhanced,
        found.code,
        words,
        found.phase,
        item.reporting_mta,
        recipient.remote_mta,
        find_ip(ours) if ours else None,
        found.provider,
        find_blocklist(ours) if ours else None,
        find_help_url(words) if words and "://" in words else None,
        original.subject,
        _first_date(recipient.last_attempt_date, item.arrival_date) or _first_date(report.date),
        Evidence(rule.id if rule else f"action/{recipient.action or 'none'}", part, matched, report.dialect),
    )


def _first_date(*values: str | None) -> datetime | None:
    for value in values:
        if value and (when := parse_date(value)):
            return when
    return None


def _of_other(report: Report, item: Item, rules: RuleSet) -> list[Outcome]:
    """The outcomes of an item that is no delivery report."""
    if isinstance(item, FeedbackReport):
        return _of_feedback(report, item, rules)
    if isinstance(item, DispositionReport) and item.refusal:
        return [_of_refusal(report, item, rules)]
    if isinstance(item, UnsubscribeRequest):
        reason, evidence = (
            "one-click" if item.marker == "one-click" else "unsubscribe-request",
            Evidence(f"unsubscribe/{item.marker}", item.part, item.matched, report.dialect),
        )
    elif isinstance(item, DispositionReport):
        part, matched = ("disposition-notification", item.written) if item.written else (ASSUMED, item.disposition)
        evidence = Evidence("mdn/disposition", part, matched, report.dialect)
        reason = "read-receipt"
    elif isinstance(item, AutoReply):
        rule = "auto-reply/left-organisation" if item.left else "auto-reply"
        part, matched = ("text", collapse(item.left)) if item.left else (item.part, item.matched)
        reason, evidence = "auto-reply", Evidence(rule, part, matched, report.dialect)
    elif isinstance(item, Challenge):
        reason, evidence = "challenge-mail", Evidence("challenge", item.part, item.matched, report.dialect)
    else:
        assert isinstance(item, Notice)
        reason, evidence = item.reason, Evidence(f"notice/{item.reason}", item.part, item.matched, report.dialect)
    return [_plain(report, item.original, item.recipient, reason, evidence)]


def _plain(
    report: Report,
    original: OriginalMessage,
    recipient: str | None,
    reason: str,
    evidence: Evidence,
    feedback: FeedbackReport | None = None,
    provider: str | None = None,
) -> Outcome:
    """An outcome without a diagnosis."""
    row = REASONS[reason]
    return Outcome(
        status=row.status,
        reason=reason,
        fault=row.fault,
        recipient=None if is_placeholder(recipient) else recipient,
        original_recipient=None,
        final_recipient=None,
        message_id=original.message_id,
        envelope_id=feedback.envelope_id if feedback else None,
        feedback_id=original.feedback_id,
        list_id=original.list_id,
        action=None,
        enhanced_status=None,
        smtp_code=None,
        diagnostic=None,
        smtp_phase=None,
        reporting_mta=feedback.reporting_mta if feedback else None,
        remote_mta=None,
        sending_ip=feedback.source_ip if feedback else None,
        provider=provider,
        blocklist=None,
        help_url=None,
        subject=original.subject,
        occurred_at=(_first_date(feedback.arrival_date) if feedback else None) or _first_date(report.date),
        evidence=evidence,
    )


def _of_feedback(report: Report, item: FeedbackReport, rules: RuleSet) -> list[Outcome]:
    """One outcome a complainer; an unknown type is ``other`` (RFC 5965 section 3.1)."""
    kind = item.feedback_type.strip().lower()
    reason = _FEEDBACK.get(kind, "other-report")
    written = item.fields.get("feedback-type")
    recovered = item.recipients and item.recipients_from not in _TOLD
    evidence = Evidence(
        f"{report.dialect or 'arf'}/{reason}{f':{item.recipients_from}' if recovered else ''}",
        *_written_or(report, written, reason),
        report.dialect,
    )
    provider = rules.provider_of((report.from_address or "").rpartition("@")[2].lower() or None)
    return [
        _plain(report, item.original, recipient, reason, evidence, item, provider)
        for recipient in item.recipients or (None,)
    ]


def _written_or(report: Report, written: str | None, reason: str) -> tuple[str, str]:
    """Part and words of a complaint: its type, else the subject that tells it, else nothing but its form."""
    if written:
        return "feedback-report", written
    return ("headers", report.subject) if report.subject else (ASSUMED, reason)


def refusal_as_delivery(item: DispositionReport) -> DeliveryReport:
    """What a refusal told by a disposition says, as a delivery report of its one recipient."""
    words = item.text.partition("rejected:")[2].strip() or item.text  # after Sieve's own frame: RFC 5429 section 2.2
    recipient = RecipientReport(recipient=item.recipient, action=Action.FAILED, text=words[:1024] or None, part="text")
    return DeliveryReport((recipient,), item.original, text=item.text)


def _of_refusal(report: Report, item: DispositionReport, rules: RuleSet) -> Outcome:
    """A disposition by which a server refused (Sieve reject, RFC 5429): the recipient's own rule where no words say more."""
    delivery = refusal_as_delivery(item)
    recipient = delivery.recipients[0]
    found = diagnose(recipient, delivery, rules)
    reason = found.reason if found.reason != "undefined" else "recipient-blocks-sender"
    return _outcome(report, delivery, recipient, found, reason, _status(found, reason, recipient, delivery))

"""The verdict on a report: order of evidence, codes as written, and what must never condemn an address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from bounceparse.classify import classify
from bounceparse.codes import Action, Phase
from bounceparse.dates import parse_date
from bounceparse.decoding import collapse
from bounceparse.mentions import find_blocklist, find_help_url, find_ip
from bounceparse.outcomes import Fault, Outcome, Status
from bounceparse.parse import parse
from bounceparse.replies import read_reply
from bounceparse.reports import (
    AutoReply,
    Challenge,
    DeliveryReport,
    DispositionReport,
    FeedbackReport,
    Item,
    Kind,
    Notice,
    OriginalMessage,
    RecipientReport,
    Report,
    UnsubscribeRequest,
)

ORIGINAL = OriginalMessage(
    message_id="1@shop.example", subject="Order", list_id="weekly.shop.example", feedback_id="a:b"
)


def report_of(item: Item, dialect: str = "rfc3464") -> Report:
    return Report(
        Kind.DELIVERY,
        dialect,
        (),
        (item,),
        from_address="MAILER-DAEMON@mx.example",
        date="Sat, 21 Nov 2026 22:00:00 +0100",
    )


def verdict(
    diagnostic: str | None,
    *,
    status: str | None = "5.0.0",
    action: Action | None = Action.FAILED,
    text: str = "",
    recipient: str = "jan@example.net",
    host: str | None = None,
    phase: Phase | None = None,
    kind: str | None = "smtp",
    derived: bool = False,
) -> Outcome:
    """The outcome of a report of one recipient."""
    told = RecipientReport(
        recipient=recipient,
        action=action,
        status=status,
        diagnostic=diagnostic,
        diagnostic_type=kind,
        remote_mta=host,
        phase=phase,
        derived_status=derived,
    )
    (outcome,) = classify(report_of(DeliveryReport((told,), ORIGINAL, text=text)))
    return outcome


@pytest.mark.parametrize(
    ("diagnostic", "status", "reason"),
    [
        ("550 5.1.1 <jan@example.net>... User unknown", Status.HARDBOUNCE, "user-unknown"),
        ("550 5.1.1 mailbox is over quota", Status.SOFTBOUNCE, "mailbox-full"),
        (
            "550 5.1.1 <a@example.net> - 192.0.2.1 has sent to too many recipients this hour",
            Status.SPAMBOUNCE,
            "rate-limited",
        ),
        ("550 5.7.1 Recipient not found", Status.HARDBOUNCE, "user-unknown"),
        ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", Status.HARDBOUNCE, "user-unknown"),
        (
            "554 5.7.1 <jan@example.net>: Recipient address rejected: Access denied",
            Status.SPAMBOUNCE,
            "recipient-restricted",
        ),
        ("554 5.7.1 <jan@example.net>: Relay access denied", Status.SOFTBOUNCE, "relay-denied"),
        (
            "552 5.2.2 sorry, that message size exceeds my databytes limit (#5.3.4)",
            Status.SOFTBOUNCE,
            "message-too-big",
        ),
        ("550 4.2.2 The mailbox is full, try again later", Status.SOFTBOUNCE, "mailbox-full"),
        (
            "554 delivery error: dd This user doesn't have a yahoo.com account (a@example.net) [0]",
            Status.HARDBOUNCE,
            "user-unknown",
        ),
        ("550 #5.1.0 Address rejected.", Status.HARDBOUNCE, "user-unknown"),
        (
            "552 5.1.1 Boite du destinataire pleine. Recipient overquota. OFR_417 [417]",
            Status.SOFTBOUNCE,
            "mailbox-full",
        ),
        (
            "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
            Status.SPAMBOUNCE,
            "blocklisted",
        ),
        ("550 Your host is not allowed", Status.SPAMBOUNCE, "policy"),
    ],
)
def test_words_beat_codes(diagnostic: str, status: Status, reason: str) -> None:
    """The notorious confusions: what the server says in words decides, whatever number it puts in front."""
    outcome = verdict(diagnostic)
    assert (outcome.status, outcome.reason) == (status, reason)


@pytest.mark.parametrize(
    "diagnostic",
    [
        "550 Sender address does not exist",
        "550 Domena nadawcy nie istnieje",
        "553 5.1.8 Domain of sender address news@x.example does not exist",
        "550 IP address not found",
        "554 The IP address 192.0.2.1 is invalid",
        "550 mail from a@shop.example rejected: user unknown in sender domain",
        "550 Your account has been suspended",
        "550 Too many invalid recipients",
        "550 Your email has been blocked because of its content",
        "550 connection closed due to inactivity",
        "450 4.1.1 <jan@example.net>: Recipient address rejected: User unknown in virtual mailbox table",
        "450 Requested mail action not taken: mailbox unavailable",
        "450 4.4.3 example.net: host not found, try again",
        "Host or domain name not found. Name service error for name=example.net type=MX: Host not found, try again",
        "554 5.5.1 Error: no valid recipients",
        "550 5.7.1 Helo command rejected: Host not found",
        "550 Verification failed: the account or domain may not exist",
        "554 5.0.0 Service unavailable",
        "550 Unrouteable address",
        "550 rejected",
        "",
    ],
)
def test_never_condemned(diagnostic: str) -> None:
    """What speaks of the sender, of passing trouble or of nothing at all is no hard bounce."""
    assert verdict(diagnostic or None).status is not Status.HARDBOUNCE


def test_a_bare_failure_is_soft_and_undefined() -> None:
    """Nothing told but "failed": softbounce, never more, whatever filler stands in Status."""
    outcome = verdict(None, status="5.0.0")
    assert (outcome.status, outcome.reason, outcome.fault) == (Status.SOFTBOUNCE, "undefined", Fault.UNKNOWN)
    assert verdict(None, status=None, action=None).status is Status.SOFTBOUNCE


def test_a_derived_status_alone_proves_nothing() -> None:
    """Sendmail turns any 550 into 5.1.1: without the server's words that is no hard bounce; a told one is."""
    assert verdict("550 go figure", status="5.1.1", derived=True).status is Status.SOFTBOUNCE
    assert verdict(None, status="5.1.1", derived=False).status is Status.HARDBOUNCE
    assert verdict("552 go figure", status="5.2.2", derived=True).reason == "mailbox-full"


def test_delayed_is_deferred_whatever_the_code() -> None:
    """RFC 3464 section 2.3.3: the Action of a valid report goes before any text; the reason is kept."""
    outcome = verdict("550 5.1.1 User unknown", action=Action.DELAYED)
    assert (outcome.status, outcome.reason) == (Status.DEFERRED, "user-unknown")


def test_a_delay_that_says_it_gave_up_is_final() -> None:
    """OpenSMTPD announces expiry as a delay; a mere 4.4.7 on a delay is still waiting."""
    text = "jan@example.net: Envelope expired\n\n"
    assert verdict(None, status="4.4.7", action=Action.DELAYED, text=text).status is Status.SOFTBOUNCE
    assert verdict(None, status="4.4.7", action=Action.DELAYED).status is Status.DEFERRED


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED, Action.EXPANDED])
def test_success_is_ok_with_the_action_as_reason(action: Action) -> None:
    """A success report is no bounce, whatever words stand in it."""
    outcome = verdict("250 mailbox full of joy", status="2.1.5", action=action)
    assert (outcome.status, outcome.reason) == (Status.OK, str(action))


def test_a_missing_domain_needs_proof() -> None:
    """NXDOMAIN and null MX are hard though temporary by code; a missing mail exchanger of the domain is not."""
    nxdomain = "DNS Error: 8 DNS type 'mx' lookup of example.net responded with code NXDOMAIN Domain name not found: example.net"
    assert verdict(nxdomain, status="4.0.0").status is Status.HARDBOUNCE
    assert verdict("returned Null MX", status="4.0.0").reason == "null-mx"
    postfix = "Host or domain name not found. Name service error for name={} type=A: Host not found"
    assert verdict(postfix.format("example.net"), status="5.4.4", kind="x-postfix").reason == "bad-domain"
    assert verdict(postfix.format("mx.example.net"), status="5.4.4", kind="x-postfix").reason == "unroutable"


def test_an_expired_message_keeps_what_kept_it_waiting() -> None:
    """The last error inside decides; only where none is told it is "expired"."""
    told = verdict(
        "554 4.4.7 Message expired: unable to deliver in 840 minutes.<452 4.2.2 mailbox full>", status="4.4.7"
    )
    assert (told.reason, told.enhanced_status, told.smtp_code) == ("mailbox-full", "4.2.2", 452)
    assert verdict("550 4.4.7 QUEUE.Expired; message expired", status="4.4.7").reason == "expired"


@pytest.mark.parametrize("phase", [Phase.CONNECT, Phase.EHLO, Phase.MAIL])
def test_a_bare_refusal_before_any_recipient_is_about_us(phase: Phase) -> None:
    """Who is refused before naming a recipient is refused himself."""
    outcome = verdict("554", phase=phase)
    assert (outcome.status, outcome.reason) == (Status.SPAMBOUNCE, "policy")
    assert verdict("554", phase=Phase.EOM).reason == "undefined"


def test_a_wordless_550_at_rcpt_is_about_the_mailbox() -> None:
    """RFC 5321 section 4.2.3; with words that no rule knows it stays undefined."""
    assert verdict("550", phase=Phase.RCPT).reason == "user-unknown"
    assert verdict("550 zxcv", phase=Phase.RCPT).reason == "undefined"


@pytest.mark.parametrize(
    ("diagnostic", "code", "enhanced", "words"),
    [
        ("550 5.1.1 User unknown", 550, "5.1.1", "user unknown"),
        (
            "550-5.1.1 The account does 550-5.1.1 not exist. 550 5.1.1 See help",
            550,
            "5.1.1",
            "does not exist. see help",
        ),
        (
            "550-5.7.0 Undeliverable 550 5.1.1 <a@b.example> user unknown",
            550,
            "5.1.1",
            "undeliverable <x@x.xxxxxxx> user",
        ),
        (
            "5.1.0 - Unknown address error 550-'5.2.2 <a@b.example>... Mailbox Full' (delivery attempts: 0)",
            550,
            "5.2.2",
            "mailbox full",
        ),
        (
            "550 5.1.351 Remote server returned unknown recipient -> 550 <a@b.example>: User unknown",
            550,
            "5.1.351",
            "user unknown",
        ),
        (
            "host mx.example[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)",
            452,
            "4.2.2",
            "452 4.2.2 full",
        ),
        ("550 failure for one or more recipients (a@b.example:550 5.7.1 blocked)", 550, "5.7.1", "blocked"),
        ("220-mx.example 421 4.2.1 Service refused", 421, "4.2.1", "service refused"),
        ("554 554 5.7.0 Header error", 554, "5.7.0", "header error"),
        ("mail+rcpt 550 5.7.0 undeliverable 5.1.1 <a@b.example> user unknown", 550, "5.1.1", "user unknown"),
        ("all MXs returned transient failures (last: DATA closing 451 4.7.1 Greylisted)", 451, "4.7.1", "greylisted"),
        ("550 503 5.5.1 Need RCPT", 550, None, "550"),
        ("550 sorry, no mailbox here by that name (#5.7.17)", 550, "5.7.17", "no mailbox"),
        ("message of 500 MB is too large", None, None, "500 mb"),
        ("rejected by 5.1.1.10", None, None, "rejected"),
        ("", None, None, ""),
    ],
)
def test_replies_are_unwrapped(diagnostic: str, code: int | None, enhanced: str | None, words: str) -> None:
    """The last reply of a chain, continued lines joined, codes as written and never invented."""
    reply = read_reply(diagnostic)
    assert (reply.code, reply.enhanced) == (code, enhanced)
    assert words in reply.words


@pytest.mark.parametrize(
    "diagnostic",
    ["550 5.0.0 <user.unknown@mailbox-full.example>: no", "550 5.0.0 no (jan@blocked-by-spamhaus.example) no"],
)
def test_words_within_an_address_say_nothing(diagnostic: str) -> None:
    """Nobody is condemned for a name; what is reported keeps its spelling."""
    outcome = verdict(diagnostic)
    assert (outcome.reason, outcome.diagnostic) == ("undefined", diagnostic)


def test_words_within_the_recipients_domain_say_nothing() -> None:
    """Neither does the bare name of the domain."""
    outcome = verdict("550 5.0.0 nothing for mailbox-is-full.example", recipient="jan@mailbox-is-full.example")
    assert outcome.reason == "undefined"


def test_evidence_keeps_the_spelling_of_addresses() -> None:
    """The mask is for the rules only."""
    outcome = verdict("550 5.0.0 Mailbox for Jan@Example.NET is full")
    assert outcome.evidence.matched == "Mailbox for Jan@Example.NET is full"


def test_codes_are_the_servers_own_before_the_status_field() -> None:
    """`enhanced_status` as written: the remote's, else the Status field, a lone filler as it stands, else null."""
    assert verdict("550 5.7.26 no", status="5.7.2").enhanced_status == "5.7.26"
    assert verdict("550 User unknown", status="5.1.1").enhanced_status == "5.1.1"
    assert verdict(None, status="5.0.0").enhanced_status == "5.0.0"
    assert verdict("550 User unknown", status=None).enhanced_status is None


def test_words_that_several_recipients_share_condemn_none_of_them() -> None:
    """nullmailer copies one recipient's refusal to all."""
    told = tuple(
        RecipientReport(recipient=name, action=Action.FAILED, diagnostic="550 5.1.1 no such user", shared=True)
        for name in ("jan@example.net", "ola@example.net")
    )
    outcomes = classify(report_of(DeliveryReport(told, ORIGINAL)))
    assert [(o.status, o.reason) for o in outcomes] == [(Status.SOFTBOUNCE, "user-unknown")] * 2


def test_the_paragraph_of_the_recipient_is_read_where_no_diagnostic_is_given() -> None:
    """OpenSMTPD and Exim tell the reply in prose only, each recipient its own."""
    text = "Failed:\n\njan@example.net: 550 5.1.1 no such user\n\nola@example.net: 552 5.2.2 mailbox is full\n\nBye\n"
    told = tuple(
        RecipientReport(recipient=name, action=Action.FAILED, status="5.0.0")
        for name in ("jan@example.net", "ola@example.net")
    )
    outcomes = classify(report_of(DeliveryReport(told, ORIGINAL, text=text)))
    assert [(o.reason, o.enhanced_status) for o in outcomes] == [("user-unknown", "5.1.1"), ("mailbox-full", "5.2.2")]
    assert {o.evidence.part for o in outcomes} == {"text"}


def test_sendmails_first_line_is_completed_from_the_transcript() -> None:
    """Diagnostic-Code holds one line of a reply whose sense comes on the second."""
    text = (
        "   ----- Transcript of session follows -----\n... while talking to mx.example.:\n>>> RCPT To:<jan@example.net>\n"
        "<<< 550-5.7.1 We are sorry, but that\n<<< 550 5.7.1 mailbox is full\n550 5.1.1 <jan@example.net>... User unknown\n"
    )
    outcome = verdict("550-5.7.1 We are sorry, but that", status="5.1.1", text=text, derived=True)
    assert (outcome.reason, outcome.smtp_phase) == ("mailbox-full", Phase.RCPT)
    assert outcome.evidence.matched in collapse(text)
    assert outcome.diagnostic == "550-5.7.1 We are sorry, but that 550 5.7.1 mailbox is full"


@pytest.mark.parametrize(
    ("text", "phase"),
    [
        ("<jan@example.net>: host mx.example said: 550 no (in reply to\n    RCPT TO command)", Phase.RCPT),
        ("<jan@example.net>: 550 no (in reply to end of DATA command)", Phase.EOM),
        ("jan@example.net\n  SMTP error from remote mail server after MAIL FROM:<a@b.example>: 550 no", Phase.MAIL),
        ("jan@example.net\n  SMTP error from remote mail server after pipelined sending data block: 550 no", Phase.EOM),
        ("jan@example.net\n  SMTP error from remote mail server after initial connection: 550 no", Phase.CONNECT),
        ("mx.example did not like our final DATA:\n550 no", Phase.EOM),
        ("<jan@example.net>:\n192.0.2.1 does not like recipient.\nRemote host said: 550 no", Phase.RCPT),
        (">>> DATA\n<<< 550 no\n", Phase.DATA),
        (">>> DATA\n<<< 550 no\n<<< 554 5.5.1 No valid recipients\n", Phase.RCPT),
        ("The error was: 550 550 no (state 14).", Phase.RCPT),
        ("It failed.", None),
    ],
)
def test_the_phase_is_read_from_what_each_server_says(text: str, phase: Phase | None) -> None:
    """Postfix, Exim, dma, qmail, Sendmail (pipelining too) and Gmail's states."""
    assert verdict("550 no", text=text).smtp_phase is phase


def test_evidence_stands_in_its_part_as_spelled() -> None:
    """The span is cut from the text received, over joined lines and folded letters alike."""
    for words in (
        "550-5.1.1 The email account that you tried to reach does 550-5.1.1 not exist. Please try",
        "552 5.2.2 Skrzynka odbiorcy jest PRZEPEŁNIONA",
        "550 Größe egal: Empfänger unbekannt",
    ):
        evidence = verdict(words).evidence
        assert evidence.part == "delivery-status"
        assert evidence.matched and evidence.matched in words
        assert "/" in evidence.rule


def test_an_outcome_carries_what_the_report_tells() -> None:
    """Original message, hosts, date, and what a refusal for our sake mentions."""
    outcome = verdict(
        "554 5.7.1 Client host [192.0.2.7] blocked using zen.spamhaus.org; see https://list.example/q?ip=192.0.2.7."
    )
    assert (outcome.message_id, outcome.subject, outcome.list_id, outcome.feedback_id) == (
        "1@shop.example",
        "Order",
        "weekly.shop.example",
        "a:b",
    )
    assert (outcome.sending_ip, outcome.blocklist) == ("192.0.2.7", "zen.spamhaus.org")
    assert outcome.help_url == "https://list.example/q?ip=192.0.2.7"
    assert outcome.occurred_at == datetime(2026, 11, 21, 21, 0, tzinfo=UTC)
    assert verdict("550 5.1.1 no", host="gmail-smtp-in.l.google.com").provider == "gmail"


@pytest.mark.parametrize("nobody", ["jan@redacted.invalid", "undisclosed-recipients", ""])
def test_what_names_nobody_is_no_recipient(nobody: str) -> None:
    """An address that cannot exist is null."""
    assert verdict("550 5.1.1 no", recipient=nobody).recipient is None


@pytest.mark.parametrize("address", ["redacted@example.net", "xxxx@example.net", "nobody@example.net"])
def test_a_delivery_report_is_taken_at_its_word(address: str) -> None:
    """The address that failed stays as written, however it looks."""
    assert verdict("550 5.1.1 no", recipient=address).recipient == address


def test_a_complaint_of_a_masked_person_names_nobody() -> None:
    """Feedback loops mask who complained."""
    (outcome,) = classify(report_of(FeedbackReport("abuse", recipients=("redacted@example.net",))))
    assert (outcome.status, outcome.recipient) == (Status.COMPLAINT, None)


@pytest.mark.parametrize("comment", ["(cat.example.net: host name lookup failure)", "(host name lookup failure"])
def test_a_comment_of_the_status_field_speaks(comment: str) -> None:
    """What stands beside the code decides where there is no Diagnostic-Code (RFC 3464 section 2.3.4)."""
    outcome = status_report(f"4.0.0 {comment}")
    assert (outcome.reason, outcome.evidence.part, outcome.enhanced_status) == (
        "dns-failure",
        "delivery-status",
        "4.0.0",
    )


def test_a_comment_that_names_the_code_says_nothing() -> None:
    """A stock phrase is no diagnosis."""
    outcome = status_report("5.0.0 (permanent failure)")
    assert (outcome.reason, outcome.diagnostic) == ("undefined", None)


def status_report(status: str) -> Outcome:
    """The outcome of a report with nothing but a Status field."""
    lines = (
        'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\n\nSorry.\n\n--b\n'
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        f"Final-Recipient: rfc822; jan@example.net\nAction: failed\nStatus: {status}\n\n--b--\n"
    )
    (outcome,) = classify(parse(lines.encode()))
    return outcome


@pytest.mark.parametrize("action", [Action.DELIVERED, Action.RELAYED, Action.EXPANDED])
def test_no_rule_about_failures_looks_at_a_success(action: Action) -> None:
    """A delivery that mentions a failure is one all the same, and its reply code is reported."""
    outcome = verdict("250 2.0.0 mailbox is full, user unknown, saved anyway", action=action)
    assert (outcome.status, outcome.smtp_code, outcome.reason) == (Status.OK, 250, action.value)


def test_a_report_without_recipients_has_one_outcome() -> None:
    """A bounce that names nobody is still an outcome, with `recipient` null."""
    (outcome,) = classify(report_of(DeliveryReport((), ORIGINAL, text="Your message failed: mailbox is full")))
    assert (outcome.recipient, outcome.reason, outcome.status) == (None, "mailbox-full", Status.SOFTBOUNCE)


@pytest.mark.parametrize(
    ("kind", "status", "reason"),
    [
        ("abuse", Status.COMPLAINT, "abuse"),
        (" Abuse ", Status.COMPLAINT, "abuse"),
        ("spam", Status.COMPLAINT, "abuse"),
        ("fraud", Status.COMPLAINT, "fraud"),
        ("opt-out", Status.UNSUBSCRIBE, "opt-out"),
        ("opt-out-list", Status.UNSUBSCRIBE, "opt-out"),
        ("not-spam", Status.NOTICE, "not-spam"),
        ("auth-failure", Status.NOTICE, "auth-failure"),
        ("virus", Status.NOTICE, "virus-report"),
        ("other", Status.NOTICE, "other-report"),
        ("never-heard-of", Status.NOTICE, "other-report"),
    ],
)
def test_feedback_types(kind: str, status: Status, reason: str) -> None:
    """RFC 5965, 6430, 6591: only abuse and fraud are complaints; an unknown type is "other"."""
    item = FeedbackReport(
        kind, ("jan@example.net", "redacted@example.net"), original=ORIGINAL, fields={"feedback-type": kind.strip()}
    )
    outcomes = classify(report_of(item, "arf"))
    assert [(o.status, o.reason, o.recipient) for o in outcomes] == [
        (status, reason, "jan@example.net"),
        (status, reason, None),
    ]
    assert len(classify(report_of(FeedbackReport(kind), "arf"))) == 1


@pytest.mark.parametrize(
    ("item", "status", "reason"),
    [
        (
            UnsubscribeRequest("jan@example.net", "u@shop.example", "unsubscribe", "subject", "subject"),
            Status.UNSUBSCRIBE,
            "unsubscribe-request",
        ),
        (DispositionReport("jan@example.net", "displayed"), Status.NOTICE, "read-receipt"),
        (AutoReply("jan@example.net", "auto-replied", "headers"), Status.NOTICE, "auto-reply"),
        (Challenge("jan@example.net", "click here", "text"), Status.NOTICE, "challenge-mail"),
        (Notice("address-change", "new address", "text", "jan@example.net"), Status.NOTICE, "address-change"),
    ],
)
def test_other_items(item: Item, status: Status, reason: str) -> None:
    """Each kind of item yields one outcome of its own status."""
    (outcome,) = classify(report_of(item))
    assert (outcome.status, outcome.reason, outcome.recipient) == (status, reason, "jan@example.net")
    assert outcome.evidence.matched


def test_a_refusing_disposition_is_a_delivery_outcome() -> None:
    """Sieve reject (RFC 5429) answers with an MDN: the recipient's own rule unless its words say more."""
    refused = DispositionReport("jan@example.net", "deleted", text="I do not care for this.", refusal=True)
    assert classify(report_of(refused))[0].reason == "recipient-blocks-sender"
    gone = DispositionReport("jan@example.net", "deleted", text="550 5.1.1 no such user here", refusal=True)
    assert classify(report_of(gone))[0].reason == "user-unknown"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            "Sat, 21 Nov 2026 22:35:56 +0100 (CET)",
            datetime(2026, 11, 21, 22, 35, 56, tzinfo=timezone(timedelta(hours=1))),
        ),
        ("Thu, 02 Jul 26 18:55:38 UTC", datetime(2026, 7, 2, 18, 55, 38, tzinfo=UTC)),
        ("2012-10-31 04-46-42", datetime(2012, 10, 31, 4, 46, 42, tzinfo=UTC)),
        ("2026-11-21T20:41:09.500Z", datetime(2026, 11, 21, 20, 41, 9, 500_000, tzinfo=UTC)),
        ("Sat, 31 Feb 2026 22:35:56 +0100", None),
        ("Sat, 21 Nov 2026 22:35:56 +9999", None),
        ("yesterday", None),
        ("9" * 5000, None),
        ("", None),
    ],
)
def test_dates_are_aware_or_none(value: str, expected: datetime | None) -> None:
    """RFC 5322 dates, the odd ones of gateways, and nonsense, which never raises."""
    when = parse_date(value)
    assert when == expected
    assert when is None or when.tzinfo is not None


def test_mentions() -> None:
    """Addresses, lists and pages are found as written; look-alikes are not."""
    assert find_ip("from [2001:db8::7] at 12:30:00") == "2001:db8::7"
    assert find_ip("version 8.17.1.999 at 12:30:00") is None
    assert find_blocklist("listed at bl.example.org") == "bl.example.org"
    assert find_blocklist("See Spamhaus for details") == "spamhaus"
    assert find_blocklist("blocked by 192.0.2.1") is None
    assert find_help_url("see (https://help.example/x).") == "https://help.example/x"


@pytest.mark.parametrize(
    "words", ["550 " * 100_000, "550-" * 100_000, "'" * 100_000, "a" * 1_000_000, "\udcff\x00\u0660" * 10_000]
)
def test_hostile_words_are_bounded(words: str) -> None:
    """Any words give a verdict with a diagnostic of at most 2 KB."""
    outcome = verdict(words)
    assert outcome.diagnostic is None or len(outcome.diagnostic) <= 2048
    assert outcome.to_json()["status"] == outcome.status

"""The smaller formats: MDN (RFC 8098), auto-replies (RFC 3834), requests (RFC 2369), SES notifications, XARF, notices."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceparse.formats.autoreply import read_autoreply
from bounceparse.formats.mdn import read_disposition
from bounceparse.formats.notices import read_notice
from bounceparse.formats.sns import read_sns
from bounceparse.formats.unsubscribe import read_unsubscribe
from bounceparse.formats.xarf import read_xarf
from bounceparse.mime import Mail
from bounceparse.reports import Challenge, DeliveryReport, DispositionReport, FeedbackReport, Notice
from bounceparse.returned import clean_message_id

JAN = "From: Jan <jan@poczta.example>\nTo: news@shop.example\n"


def mail(head: str, body: str = "Hello\n") -> Mail:
    return Mail(f"{JAN}{head}\n{body}".encode())


# Message-ID (RFC 5322 section 3.6.4) as it really comes


@pytest.mark.parametrize(
    ("value", "message_id"),
    [
        ("<1@shop.example>", "1@shop.example"),
        ("  <1@shop.example>  ", "1@shop.example"),
        ("<1@shop\n .example>", "1@shop.example"),
        ("1@shop.example", "1@shop.example"),
        ("<1@shop.example> (added by the server)", "1@shop.example"),
        ("<1@shop.example> <2@shop.example>", "1@shop.example"),
        ("<>", None),
        ("", None),
        (None, None),
    ],
)
def test_rfc5322_3_6_4_a_message_id_is_what_stands_between_the_brackets(
    value: str | None, message_id: str | None
) -> None:
    assert clean_message_id(value) == message_id


# RFC 8098


def mdn(disposition: str, *, head: str = "", text: str = "It was shown.", fields: str = "") -> DispositionReport:
    raw = (
        f'{JAN}{head}Content-Type: multipart/report; report-type=disposition-notification; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\n{text}\n--b\nContent-Type: message/disposition-notification\n\n"
        f"Final-Recipient: rfc822; jan@poczta.example\nOriginal-Message-ID: <1@shop.example>\nDisposition: {disposition}\n{fields}\n--b--\n"
    )
    report = read_disposition(Mail(raw.encode()))
    assert report is not None
    return report


@pytest.mark.parametrize(
    ("value", "disposition", "automatic"),
    [
        ("manual-action/MDN-sent-manually; displayed", "displayed", False),
        ("automatic-action/MDN-sent-automatically; deleted", "deleted", True),
        ("Automatic-Action/MDN-Sent-Automatically;Processed/error", "processed", True),
        ("displayed", "displayed", False),
        ("", "displayed", False),
    ],
)
def test_rfc8098_3_2_6_disposition(value: str, disposition: str, automatic: bool) -> None:
    report = mdn(value)
    assert (report.disposition, report.automatic, report.refusal) == (disposition, automatic, False)


def test_rfc8098_3_2_5_original_message_id_names_the_message() -> None:
    report = mdn("manual-action/MDN-sent-manually; displayed")
    assert (report.recipient, report.original.message_id) == ("jan@poczta.example", "1@shop.example")


def test_rfc8098_3_2_3_original_recipient_is_who_the_sender_knew() -> None:
    assert (
        mdn("displayed", fields="Original-Recipient: rfc822; biuro@firma.example\n").recipient == "biuro@firma.example"
    )


def test_rfc5429_2_2_a_sieve_refusal_is_told_from_a_receipt() -> None:
    automatic = "automatic-action/MDN-sent-automatically; deleted"
    assert mdn(automatic, head="Auto-Submitted: auto-replied (rejected)\n").refusal
    assert mdn(automatic, text="Your message was automatically rejected:\nNo, thank you").refusal
    assert not mdn(automatic, text="Your message was deleted without being read.").refusal
    assert not mdn("manual-action/MDN-sent-manually; deleted", text="It was rejected by me.").refusal


# RFC 3834


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: auto-replied", "Auto-Submitted: auto-generated; owner-email=x", "Auto-Submitted: auto-notified", "X-Autoreply: yes", "X-Autorespond: x",
     "Precedence: auto_reply", "X-Apple-Action: VACATION", "X-MS-Exchange-Inbox-Rules-Loop: jan@poczta.example", "X-Vacation: on", "Delivered-To: Autoresponder"],
)  # fmt: skip
def test_rfc3834_5_a_header_marks_an_automatic_answer(header: str) -> None:
    found = read_autoreply(mail(f"Subject: Re: Offer\nIn-Reply-To: <1@shop.example>\n{header}\n"))
    assert found is not None
    assert (found.recipient, found.part, found.original.message_id) == (
        "jan@poczta.example",
        "headers",
        "1@shop.example",
    )


@pytest.mark.parametrize(
    "header",
    ["Auto-Submitted: no", "X-Autoreply: no", "Precedence: bulk", "Precedence: list", "X-Auto-Response-Suppress: All"],
)
def test_rfc3834_5_headers_that_prove_nothing(header: str) -> None:
    assert read_autoreply(mail(f"Subject: Offer\n{header}\n")) is None


@pytest.mark.parametrize(
    "subject", ["Automatic reply: Offer", "RE: Out of Office: Offer", "Odpowiedź automatyczna: Oferta", "Abwesenheitsnotiz: Angebot", "Réponse automatique : Offre", "自動応答: 秋", "رد تلقائي: x"]
)  # fmt: skip
def test_a_subject_that_programs_write_marks_it(subject: str) -> None:
    found = read_autoreply(mail(f"Subject: {subject}\n"))
    assert found is not None
    assert found.part == "subject"
    assert found.matched in subject


@pytest.mark.parametrize(
    "subject", ["Re: Offer", "About automatic replies", "Vacations in Spain? No: a question", "Holiday"]
)
def test_a_subject_that_people_write_does_not(subject: str) -> None:
    assert read_autoreply(mail(f"Subject: {subject}\n")) is None


# RFC 2369


@pytest.mark.parametrize(
    "subject", ["unsubscribe", "Re: UNSUBSCRIBE", "[EXT] unsubscribe", "Wypisz mnie", "wypisuje sie", "Désinscription", "=?utf-8?B?6YWN5L+h5YGc5q2i?=", "unsubscribe:k3j5h2ab7c9d", "Stop!"]
)  # fmt: skip
def test_rfc2369_3_2_a_subject_that_says_nothing_else_is_a_request(subject: str) -> None:
    found = read_unsubscribe(mail(f"Subject: {subject}\n", ""))
    assert found is not None
    assert (found.recipient, found.address) == ("jan@poczta.example", "news@shop.example")


@pytest.mark.parametrize(
    "body", ["Please remove me.\n", "Rezygnuję z subskrypcji.\n\nW dniu 4.11.2026 pisze:\n> Oferta\n", "unsubscribe\n\nOn Wed, 4 Nov 2026 Shop wrote:\n> Offer\n", "STOP\n-- \nJan\n"]
)  # fmt: skip
def test_a_reply_that_says_nothing_else_is_a_request(body: str) -> None:
    found = read_unsubscribe(
        mail("Subject: Re: Offer\nIn-Reply-To: <1@shop.example>\nContent-Type: text/plain; charset=utf-8\n", body)
    )
    assert found is not None
    assert (found.part, found.original.message_id) == ("text", "1@shop.example")
    assert found.matched in body


@pytest.mark.parametrize(
    ("subject", "body"),
    [
        ("Question", "unsubscribe\n"),
        ("Please don't unsubscribe me", ""),
        ("Re: Offer", "> To leave write unsubscribe\n\nNice, thanks!\n"),
        ("How do I unsubscribe my old address from your list?", "It does not work.\n"),
        ("stop the presses", ""),
        ("Re: Offer", "I stop by tomorrow.\nRemove the red one from my order.\nThank you.\n"),
    ],
)
def test_more_words_or_quoted_words_are_no_request(subject: str, body: str) -> None:
    assert read_unsubscribe(mail(f"Subject: {subject}\n", body)) is None


def test_apples_button_is_a_request_though_it_calls_itself_automatic() -> None:
    found = read_unsubscribe(mail("Subject: x\nAuto-Submitted: auto-replied\nX-Apple-Unsubscribe: true\n"))
    assert found is not None
    assert found.marker == "apple"


def test_googles_button_is_known_by_its_line() -> None:
    raw = "From: jan@poczta.example\nTo: unsub+k3j5@shop.example\nSubject: abc\n\nThis message was automatically generated by Gmail.\n"
    found = read_unsubscribe(Mail(raw.encode()))
    assert found is not None
    assert found.marker == "gmail"


@pytest.mark.parametrize(
    "to", ["unsub+k3j5@shop.example", "UNSUBSCRIBE-k3j5@shop.example", "list-unsubscribe@shop.example"]
)
def test_a_mail_without_words_to_a_request_address_is_a_request(to: str) -> None:
    assert read_unsubscribe(Mail(f"From: jan@poczta.example\nTo: {to}\nSubject:\n\n".encode())) is not None


def test_an_automatic_answer_to_a_request_address_is_none() -> None:
    raw = b"From: jan@poczta.example\nTo: unsub+k3j5@shop.example\nSubject: Away\nAuto-Submitted: auto-replied\n\nI am away.\n"
    assert read_unsubscribe(Mail(raw)) is None


# Amazon SES by SNS


def sns(event: Any, head: str = "X-Amz-SNS-Message-Id: 1\n") -> DeliveryReport | FeedbackReport | None:
    return read_sns(Mail(f"From: sns@example.com\n{head}\n{json.dumps(event)}\n".encode()))


BOUNCE = {
    "notificationType": "Bounce",
    "bounce": {"bounceType": "Permanent", "bounceSubType": "General", "bouncedRecipients": [{"emailAddress": "jan@firma.example", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 no"}]},
    "mail": {"messageId": "0102-ses", "headers": [{"name": "Message-ID", "value": "<1@shop.example>"}]},
}  # fmt: skip


def test_a_bounce_notification_is_a_delivery_report() -> None:
    report = sns(BOUNCE)
    assert isinstance(report, DeliveryReport)
    (recipient,) = report.recipients
    assert (recipient.recipient, recipient.status, recipient.diagnostic) == (
        "jan@firma.example",
        "5.1.1",
        "550 5.1.1 no",
    )
    assert (report.original.message_id, report.envelope_id) == ("1@shop.example", "0102-ses")


def test_a_notification_inside_its_envelope_is_read() -> None:
    assert isinstance(sns({"Type": "Notification", "Message": json.dumps(BOUNCE)}), DeliveryReport)


def test_without_headers_the_services_own_id_names_the_message() -> None:
    report = sns({**BOUNCE, "mail": {"messageId": "0102-ses"}})
    assert report is not None
    assert report.original.message_id == "0102-ses"


def test_json_without_the_services_header_is_ordinary_mail() -> None:
    assert sns(BOUNCE, head="") is None


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["bounce", "mail", "headers", "bouncedRecipients", "emailAddress", "Message", "complaint", "complainedRecipients", "name", "destination"]), inner, max_size=4),
        max_leaves=12,
    ),
    st.sampled_from(["Bounce", "Complaint", "Delivery", "DeliveryDelay", "Other", 7, None]),
)  # fmt: skip
def test_any_json_is_answered(value: Any, kind: Any) -> None:
    event = {
        "notificationType": kind,
        "bounce": value,
        "complaint": value,
        "delivery": value,
        "deliveryDelay": value,
        "mail": value,
    }
    sns(event)
    sns(value)


# XARF


def xarf(
    body: str, head: str = "X-XARF: PLAIN\n", media: str = 'text/plain; name="report.txt"'
) -> FeedbackReport | Notice | None:
    raw = f'From: abuse@provider.example\n{head}Content-Type: multipart/mixed; boundary="b"\n\n--b\n\nText\n--b\nContent-Type: {media}\n\n{body}\n--b--\n'
    return read_xarf(Mail(raw.encode()))


def test_xarf_spam_is_a_complaint() -> None:
    event = {
        "xarf_version": "4.2.0",
        "category": "messaging",
        "type": "spam",
        "smtp_to": "jan@poczta.example",
        "message_id": "<1@shop.example>",
    }
    report = xarf(json.dumps(event), media="application/json; name=xarf.json")
    assert isinstance(report, FeedbackReport)
    assert (report.recipients, report.original.message_id) == (("jan@poczta.example",), "1@shop.example")


def test_xarf_about_anything_else_is_a_notice() -> None:
    report = xarf("---\nCategory: abuse\nReport-Type: login-attack\nVersion: 0.2\nSource: 192.0.2.10\n")
    assert isinstance(report, Notice)


@pytest.mark.parametrize(
    "body",
    ["{", "[]", '{"xarf_version": 4}', '{"xarf_version": "4.0.0", "evidence": [{"payload": "%%%"}]}', "[" * 10_000],
)
def test_damaged_xarf_is_answered(body: str) -> None:
    xarf(body, media="application/json; name=xarf.json")


def test_ordinary_mail_is_no_xarf() -> None:
    assert xarf("---\nCategory: abuse\n", head="") is None


# Notices and challenges


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("Subject: Report Domain: shop.example Submitter: provider.example Report-ID: <1>\n", "other-report"),
        ("Subject: x\nTLS-Report-Domain: shop.example\n", "other-report"),
        ("Subject: Quarantine summary for bounces@shop.example\n", "other-report"),
        ("Subject: My new e-mail address\n", "address-change"),
        ("Subject: Zmiana adresu e-mail\n", "address-change"),
        ("Subject: Accepted: x\nContent-Type: text/calendar; method=REPLY\n", "other-report"),
    ],
)
def test_known_notices(head: str, reason: str) -> None:
    found = read_notice(mail(head))
    assert isinstance(found, Notice)
    assert found.reason == reason


def test_a_challenge_wants_an_answer_to_let_mail_through() -> None:
    found = read_notice(
        mail(
            "Subject: Please confirm your message\nIn-Reply-To: <1@shop.example>\n",
            "Click the link to confirm that you are human.\n",
        )
    )
    assert isinstance(found, Challenge)
    assert (found.recipient, found.original.message_id) == ("jan@poczta.example", "1@shop.example")


@pytest.mark.parametrize(
    "head", ["Subject: Please confirm your message\n", "Subject: Hello\n", "Subject: Please confirm your booking\n"]
)
def test_ordinary_mail_is_no_notice(head: str) -> None:
    assert read_notice(mail(head)) is None

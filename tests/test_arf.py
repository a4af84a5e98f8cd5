"""The reader of feedback reports, by clause of RFC 5965, 6430, 6590, 6591 and 9477, and by provider."""

from __future__ import annotations

import pytest

from bounceparse.formats.arf import read_feedback_reports
from bounceparse.mime import Mail
from bounceparse.reports import FeedbackReport

RETURNED = "From: news@shop.example\nTo: jan@poczta.example\nSubject: Offer\nMessage-ID: <1@shop.example>\n"
ABUSE = "Feedback-Type: abuse\nUser-Agent: Reporter/1.0\nVersion: 1\n"


def report_of(
    fields: str,
    returned: str | None = RETURNED,
    *,
    third: str = "message/rfc822",
    top: str = "multipart/report; report-type=feedback-report",
    text: str = "A report.",
) -> FeedbackReport:
    """The one report of a mail with these fields."""
    raw = f'From: fbl@provider.example\nSubject: FW: Offer\nContent-Type: {top}; boundary="b"\n\n--b\nContent-Type: text/plain\n\n{text}\n--b\nContent-Type: message/feedback-report\n\n{fields}'
    if returned is not None:
        raw += f"\n--b\nContent-Type: {third}\n\n{returned}\n"
    (report,) = read_feedback_reports(Mail(f"{raw}\n--b--\n".encode()))
    return report


# RFC 5965 section 3: fields


@pytest.mark.parametrize("value", ["abuse", "Abuse", "abuse ", "ABUSE\t"])
def test_rfc5965_3_1_feedback_type_is_case_insensitive(value: str) -> None:
    assert report_of(f"Feedback-Type: {value}\nVersion: 1\n").feedback_type == "abuse"


@pytest.mark.parametrize(
    ("value", "kind"),
    [("fraud", "fraud"), ("virus", "virus"), ("other", "other"), ("not-spam", "not-spam"), ("auth-failure", "auth-failure"), ("opt-out", "opt-out"), ("opt-out-list", "opt-out"), ("spam", "abuse"), ("miscategorized", "not-spam"), ("grumble", "grumble")],
)  # fmt: skip
def test_registered_and_older_types(value: str, kind: str) -> None:
    """RFC 5965 section 7.3, 6430 and 6591, and the words of drafts before them."""
    assert report_of(f"Feedback-Type: {value}\n").feedback_type == kind


def test_field_names_are_case_insensitive() -> None:
    report = report_of(
        "feedback-type: abuse\nuser-agent: Email::ARF::Report/0.006\noriginal-rcpt-to: ola@poczta.example\n"
    )
    assert (report.user_agent, report.recipients) == ("Email::ARF::Report/0.006", ("ola@poczta.example",))


@pytest.mark.parametrize("version", ["1", "0.1", "1.0", "'1'", "0.0.1"])
def test_rfc5965_3_1_no_version_is_refused(version: str) -> None:
    assert report_of(f"Feedback-Type: abuse\nVersion: {version}\n").version == version


def test_rfc5965_3_2_original_rcpt_to_may_be_given_many_times() -> None:
    report = report_of(
        ABUSE
        + "Original-Rcpt-To: <jan@poczta.example>\nOriginal-Rcpt-To: ola@poczta.example\nOriginal-Rcpt-To: jan@poczta.example\n"
    )
    assert report.recipients == ("jan@poczta.example", "ola@poczta.example")
    assert report.recipients_from == "original-rcpt-to"


@pytest.mark.parametrize(("value", "count"), [("7", 7), ("", 1), ("many", 1), ("-3", 1), ("99999999999999", 1)])
def test_rfc5965_3_2_incidents(value: str, count: int) -> None:
    assert report_of(ABUSE + f"Incidents: {value}\n").incidents == count


def test_rfc5965_3_2_what_else_is_told() -> None:
    report = report_of(
        ABUSE
        + "Original-Mail-From: Shop <bounces@shop.example>\nReceived-Date: yesterday\nReporting-MTA: dns; mx.provider.example\nSource-IP: 192.0.2.10\nOriginal-Envelope-Id: 77\n"
    )
    assert report.original_mail_from == "bounces@shop.example"
    assert report.arrival_date == "yesterday"
    assert report.reporting_mta == "mx.provider.example"
    assert report.source_ip == "192.0.2.10"
    assert report.envelope_id == "77"


def test_an_empty_source_ip_is_none() -> None:
    assert report_of(ABUSE + "Source-IP:\n").source_ip is None


def test_unknown_fields_are_kept() -> None:
    assert report_of(ABUSE + "Abuse-Type: complaint\n").fields["abuse-type"] == "complaint"


# Who complained


@pytest.mark.parametrize(
    "masked",
    [
        "redacted@poczta.example",
        "hashed@poczta.example",
        "<>",
        "x",
        "jan@redacted.invalid",
        "0123456789abcdef0123456789abcdef@poczta.example",
        "2jmj7l5rSw0yVb/vlWAYkK/YBwk=@poczta.example",
    ],
)
def test_rfc6590_a_masked_recipient_is_nobody(masked: str) -> None:
    """A placeholder counts nowhere; what the returned headers still tell does."""
    hidden = RETURNED.replace("jan@poczta.example", masked)
    assert report_of(ABUSE + f"Original-Rcpt-To: {masked}\n", hidden).recipients == ()
    told = report_of(ABUSE + f"Original-Rcpt-To: {masked}\n", "Delivered-To: jan@poczta.example\n" + hidden)
    assert (told.recipients, told.recipients_from) == (("jan@poczta.example",), "delivered-to")


def test_removal_recipient_is_the_strongest_word() -> None:
    report = report_of(
        "Feedback-Type: opt-out\nRemoval-Recipient: ola@poczta.example\nOriginal-Rcpt-To: jan@poczta.example\n"
    )
    assert (report.recipients, report.recipients_from) == (("ola@poczta.example",), "removal-recipient")


def test_delivery_headers_of_the_returned_message_tell_the_recipient() -> None:
    report = report_of(ABUSE, "Delivered-To: ola@poczta.example\n" + RETURNED)
    assert (report.recipients, report.recipients_from) == (("ola@poczta.example",), "delivered-to")


def test_a_to_field_with_one_address_tells_the_recipient() -> None:
    assert report_of(ABUSE).recipients == ("jan@poczta.example",)


def test_a_to_field_with_several_addresses_tells_nobody() -> None:
    assert (
        report_of(ABUSE, RETURNED.replace("jan@poczta.example", "jan@poczta.example, ola@poczta.example")).recipients
        == ()
    )


# The original message


@pytest.mark.parametrize(
    "third", ["message/rfc822", "text/rfc822-headers", "MESSAGE/RFC822", "message/rfc822; name=mail.eml"]
)
def test_rfc5965_2_the_third_part_holds_the_original(third: str) -> None:
    original = report_of(ABUSE, third=third).original
    assert (original.message_id, original.subject) == ("1@shop.example", "Offer")


def test_a_quoted_mbox_line_on_top_of_the_original_is_skipped() -> None:
    assert report_of(ABUSE, '"From x  Wed Nov  4 10:00:00 2026"\n' + RETURNED).original.message_id == "1@shop.example"


def test_original_message_id_names_the_original_where_it_is_cut_away() -> None:
    assert (
        report_of(ABUSE + "Original-Message-ID: <2@shop.example>\n", "REDACTED\n").original.message_id
        == "2@shop.example"
    )


def test_rfc9477_5_the_privacy_form_gives_the_feedback_id() -> None:
    """White space in CFBL-Feedback-ID is not significant."""
    original = report_of(
        ABUSE, "CFBL-Feedback-ID: 111:222:\n 333:4444\nMessage-ID: <3@shop.example>\n", third="text/rfc822-headers"
    ).original
    assert (original.cfbl_feedback_id, original.message_id) == ("111:222:333:4444", "3@shop.example")


def test_a_report_without_a_third_part_is_read() -> None:
    report = report_of(ABUSE + "Original-Rcpt-To: jan@poczta.example\n", None)
    assert (report.recipients, report.original.message_id) == (("jan@poczta.example",), None)


# Containers


@pytest.mark.parametrize("top", ["multipart/mixed", "multipart/mixed; report-type=feedback-report", "MULTIPART/REPORT"])
def test_a_feedback_part_is_read_in_any_multipart(top: str) -> None:
    assert report_of(ABUSE, top=top).feedback_type == "abuse"


def test_no_blank_line_before_the_boundary_is_needed() -> None:
    assert report_of(ABUSE.rstrip("\n")).original.message_id == "1@shop.example"


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_feedback_part_is_decoded(encoding: str) -> None:
    import base64

    body = base64.encodebytes(ABUSE.encode()).decode() if encoding == "base64" else ABUSE.replace("=", "=3D")
    raw = f'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\nContent-Type: message/feedback-report\nContent-Transfer-Encoding: {encoding}\n\n{body}\n--b--\n'
    (report,) = read_feedback_reports(Mail(raw.encode()))
    assert report.user_agent == "Reporter/1.0"


def test_microsofts_forward_is_a_complaint_without_a_report_part() -> None:
    raw = (
        "From: staff@hotmail.example\nSubject: complaint about message from 192.0.2.10\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n'
        f"X-HmXmrOriginalRecipient: jan@poczta.example\n{RETURNED}\nHello\n--b--\n"
    )
    (report,) = read_feedback_reports(Mail(raw.encode()))
    assert (report.feedback_type, report.recipients, report.original.message_id) == (
        "abuse",
        ("jan@poczta.example",),
        "1@shop.example",
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"From: jan@example.com\nSubject: complaint about message from 192.0.2.10\n\nI want to complain.\n",
        b"From: jan@example.com\nSubject: Hello\n\nFeedback-Type: abuse\nUser-Agent: none\n",
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\nAction: failed\n--b--\n',
        b"",
    ],
)
def test_other_mail_is_no_feedback_report(raw: bytes) -> None:
    assert read_feedback_reports(Mail(raw)) == ()


def test_a_feedback_report_inside_the_returned_message_is_not_ours() -> None:
    raw = (
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\n'
        'Content-Type: multipart/report; report-type=feedback-report; boundary="c"\n\n'
        f"--c\nContent-Type: message/feedback-report\n\n{ABUSE}\n--c--\n--b--\n"
    )
    assert read_feedback_reports(Mail(raw.encode())) == ()

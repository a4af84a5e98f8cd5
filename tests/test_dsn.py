"""The reader of delivery reports, by clause of RFC 3464, 6522 and 6533, and by what systems write instead."""

from __future__ import annotations

import pytest

from bounceparse.codes import Action
from bounceparse.formats.dsn import read_delivery_reports, split_blocks
from bounceparse.headers import Limits
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport, RecipientReport

GONE = "Final-Recipient: rfc822; jan@firma.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\n"
FULL = "Final-Recipient: rfc822; ola@firma.example\nAction: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 Mailbox full\n"


def report_of(
    *blocks: str,
    message: str = "Reporting-MTA: dns; mx.example.net\n",
    head: str = "",
    media: str = "message/delivery-status",
) -> DeliveryReport:
    """The one report of a mail with this status part."""
    status = "\n".join((message, *blocks))
    raw = (
        f'From: MAILER-DAEMON@mx.example.net\nSubject: Undelivered\n{head}Content-Type: multipart/report; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\nIt failed.\n--b\nContent-Type: {media}\n\n{status}\n"
        "--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <1@shop.example>\nSubject: Order\nTo: jan@firma.example\n--b--\n"
    )
    (report,) = read_delivery_reports(Mail(raw.encode()))
    return report


def one(block: str, **more: str) -> RecipientReport:
    (recipient,) = report_of(block, **more).recipients
    return recipient


# RFC 3464 section 2.2: fields of the message


def test_rfc3464_2_2_1_envelope_id_is_kept_as_written() -> None:
    """Exim leaves it xtext-encoded: undoing that is for whoever compares it."""
    assert report_of(GONE, message="Original-Envelope-Id: shop+2B77\n").envelope_id == "shop+2B77"


@pytest.mark.parametrize(
    ("field", "host"),
    [
        ("dns; mx.example.net", "mx.example.net"),
        ("dns;mx.example.net", "mx.example.net"),
        ("DNS; mx.example.net (192.0.2.1)", "mx.example.net"),
        ("dsn; mx.example.net", "mx.example.net"),
        ("mx.example.net", "mx.example.net"),
        ("", None),
    ],
)
def test_rfc3464_2_2_2_reporting_mta_names_the_reporter(field: str, host: str | None) -> None:
    assert report_of(GONE, message=f"Reporting-MTA: {field}\n").reporting_mta == host


def test_rfc3464_2_2_5_arrival_date_is_kept_as_written() -> None:
    assert (
        report_of(GONE, message="Arrival-Date: Wed, 04 Nov 26 08:00:05 UTC\n").arrival_date
        == "Wed, 04 Nov 26 08:00:05 UTC"
    )


# RFC 3464 section 2.3: fields of a recipient


def test_rfc3464_2_3_1_the_original_recipient_is_who_the_sender_knew() -> None:
    recipient = one(
        "Original-Recipient: rfc822; biuro@firma.example\nFinal-Recipient: rfc822; jan@inna.example\nAction: failed\nStatus: 5.1.1\n"
    )
    assert recipient.recipient == recipient.original_recipient == "biuro@firma.example"
    assert recipient.final_recipient == "jan@inna.example"


@pytest.mark.parametrize(
    "value",
    [
        "rfc822; jan@firma.example",
        "RFC822;<jan@Firma.example>",
        "<jan@firma.example>",
        "jan@firma.example",
        "unknown; jan@firma.example",
    ],
)
def test_rfc3464_2_3_2_final_recipient_in_every_dress(value: str) -> None:
    assert one(f"Final-Recipient: {value}\nAction: failed\nStatus: 5.1.1\n").recipient == "jan@firma.example"


@pytest.mark.parametrize("action", list(Action))
def test_rfc3464_2_3_3_action(action: Action) -> None:
    assert one(GONE.replace("failed", action.value.capitalize())).action is action


def test_a_missing_action_is_not_guessed_from_a_failing_status() -> None:
    assert one(GONE.replace("Action: failed\n", "")).action is None


@pytest.mark.parametrize(
    ("value", "status"), [("5.1.1", "5.1.1"), ("5.0.0 (permanent failure)", "5.0.0"), ("", None), ("RO", None)]
)
def test_rfc3464_2_3_4_status(value: str, status: str | None) -> None:
    assert one(GONE.replace("Status: 5.1.1", f"Status: {value}")).status == status


def test_rfc3464_2_3_5_remote_mta_is_the_host_that_spoke() -> None:
    assert one(GONE + "Remote-MTA: dns; mx1.firma.example\n").remote_mta == "mx1.firma.example"


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ("smtp; 550 5.1.1 User unknown", "smtp", "550 5.1.1 User unknown"),
        ("SMTP;550 User unknown", "smtp", "550 User unknown"),
        ("X-Postfix; connect to mx: timed out", "x-postfix", "connect to mx: timed out"),
        ("550 5.1.1 User unknown", None, "550 5.1.1 User unknown"),
        ("smtp; 550-one\n 550-two\n\t550 three", "smtp", "550-one 550-two 550 three"),
        ("smtp; 550 (see (RFC 5321))", "smtp", "550 (see (RFC 5321))"),
        ("smtp;", "smtp", None),
    ],
)
def test_rfc3464_2_3_6_diagnostic_code(value: str, kind: str | None, text: str | None) -> None:
    recipient = one(GONE.replace("smtp; 550 5.1.1 User unknown", value))
    assert (recipient.diagnostic_type, recipient.diagnostic) == (kind, text)


def test_rfc3464_2_3_7_to_9_dates_are_kept_as_written() -> None:
    recipient = one(GONE + "Last-Attempt-Date: yesterday\nWill-Retry-Until: tomorrow\n")
    assert (recipient.last_attempt_date, recipient.will_retry_until) == ("yesterday", "tomorrow")


def test_supplementary_info_stands_in_for_a_diagnostic() -> None:
    """Exchange 2007 and 2010 at the edge."""
    block = "Final-Recipient: rfc822;jan@firma.example\nAction: failed\nStatus: 5.1.1\nX-Supplementary-Info: <mx1.firma.example #5.1.1 smtp;550 5.1.1\n User unknown>\n"
    recipient = one(block)
    assert (recipient.diagnostic, recipient.remote_mta) == ("550 5.1.1 User unknown", "mx1.firma.example")


def test_members_of_an_alias_stay_apart() -> None:
    """Sendmail names the alias in Final-Recipient and the member in X-Actual-Recipient."""
    alias = "Final-Recipient: rfc822; team@firma.example\nX-Actual-Recipient: rfc822; {who}\nAction: failed\nStatus: {status}\n"
    report = report_of(
        alias.format(who="jan@a.example", status="5.1.1"), alias.format(who="ola@b.example", status="5.2.2")
    )
    assert [(r.recipient, r.status) for r in report.recipients] == [
        ("team@firma.example", "5.1.1"),
        ("team@firma.example", "5.2.2"),
    ]


def test_a_recipient_that_is_named_again_and_again_is_one() -> None:
    (recipient,) = report_of(
        *["Final-Recipient: rfc822; jan@firma.example\nAction: failed\nStatus: 5.4.6\n"] * 20
    ).recipients
    assert recipient.status == "5.4.6"


def test_of_two_words_on_one_recipient_the_final_one_stays() -> None:
    (recipient,) = report_of(GONE.replace("failed", "delayed"), GONE).recipients
    assert recipient.action is Action.FAILED


# Blocks


@pytest.mark.parametrize("gap", ["\n", "\n\n\n", "\n \n", "\n\t\n"])
def test_rfc3464_2_1_blocks_are_parted_by_blank_lines(gap: str) -> None:
    message, blocks = split_blocks(f"Reporting-MTA: dns; mx\n{gap}{GONE}{gap}{FULL}")
    assert message == {"reporting-mta": "dns; mx"}
    assert [block["status"] for block in blocks] == ["5.1.1", "5.2.2"]


def test_blocks_without_blank_lines_are_parted_by_their_first_field() -> None:
    message, blocks = split_blocks(f"Reporting-MTA: dns; mx\n{GONE}{FULL}")
    assert message["reporting-mta"] == "dns; mx"
    assert [block["status"] for block in blocks] == ["5.1.1", "5.2.2"]


def test_the_order_of_fields_is_free() -> None:
    _, blocks = split_blocks(
        "Action: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822; jan@firma.example\nDiagnostic-Code: smtp; 550 no\n"
    )
    assert blocks == [
        {
            "action": "failed",
            "status": "5.1.1",
            "final-recipient": "rfc822; jan@firma.example",
            "diagnostic-code": "smtp; 550 no",
        }
    ]


# Containers (RFC 6522) and types


def test_rfc6522_a_report_may_stand_inside_another_multipart() -> None:
    inner = report_of(GONE)
    raw = (
        b'Content-Type: multipart/mixed; boundary="o"\n\n--o\nContent-Type: multipart/report; boundary="b"\n\n--b\n'
        b"Content-Type: message/delivery-status\n\n" + GONE.encode() + b"\n--b--\n--o--\n"
    )
    (report,) = read_delivery_reports(Mail(raw))
    assert report.recipients == inner.recipients


@pytest.mark.parametrize(
    "media",
    [
        "MESSAGE/DELIVERY-STATUS",
        "message/delivery-status; name=status.txt",
        "message/global-delivery-status",
        "text/delivery-status",
    ],
)
def test_rfc6533_and_the_types_that_hold_a_status_part(media: str) -> None:
    assert one(GONE, media=media).recipient == "jan@firma.example"


def test_rfc6533_3_a_utf8_recipient_is_decoded() -> None:
    block = GONE.replace("rfc822; jan@firma.example", r"utf-8; za\x{17C}\x{F3}\x{142}\x{107}@example.pl")
    assert one(block, media="message/global-delivery-status").recipient == "zażółć@example.pl"


def test_a_status_part_under_another_type_is_read_and_noted() -> None:
    mail = Mail(
        b"From: MAILER-DAEMON@mx.example.net\nContent-Type: text/plain\n\nTechnical report:\n\nReporting-MTA: dns; mx\n\n"
        + GONE.encode()
    )
    (report,) = read_delivery_reports(mail)
    assert [r.recipient for r in report.recipients] == ["jan@firma.example"]
    assert mail.defects == ["status-part-mistyped"]


def test_a_newsletter_that_prints_status_fields_is_no_report() -> None:
    raw = (
        b"From: editor@weekly.example\nList-Unsubscribe: <https://weekly.example/u>\n\nAn example:\n\n" + GONE.encode()
    )
    assert read_delivery_reports(Mail(raw)) == ()


def test_a_status_part_inside_the_returned_message_is_not_ours() -> None:
    """What a bounce returns may itself be a bounce; only the outer one is about our mail."""
    raw = (
        b'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n' + FULL.encode() + b"\n--b\n"
        b'Content-Type: message/rfc822\n\nContent-Type: multipart/report; boundary="c"\n\n--c\nContent-Type: message/delivery-status\n\n'
        + GONE.encode() + b"\n--c--\n--b--\n"
    )  # fmt: skip
    (report,) = read_delivery_reports(Mail(raw))
    assert [r.recipient for r in report.recipients] == ["ola@firma.example"]


def test_several_reports_in_one_mail_are_all_read() -> None:
    part = '--o\nContent-Type: multipart/report; boundary="{b}"\n\n--{b}\nContent-Type: message/delivery-status\n\n{block}\n--{b}--\n'
    raw = (
        'Content-Type: multipart/mixed; boundary="o"\n\n'
        + part.format(b="b1", block=GONE)
        + part.format(b="b2", block=FULL)
        + "--o--\n"
    )
    reports = read_delivery_reports(Mail(raw.encode()))
    assert [r.recipient for report in reports for r in report.recipients] == ["jan@firma.example", "ola@firma.example"]


def test_x_failed_recipients_completes_a_report_that_names_nobody() -> None:
    assert (
        one("Action: failed\nStatus: 5.1.1\n", head="X-Failed-Recipients: jan@firma.example\n").recipient
        == "jan@firma.example"
    )


@pytest.mark.parametrize("status", ["", "\n\n\n", "nothing like a field\n"])
def test_an_empty_status_part_is_no_report(status: str) -> None:
    raw = f'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n{status}\n--b--\n'
    assert read_delivery_reports(Mail(raw.encode())) == ()


# The original message


def test_the_original_is_read_from_the_returned_headers() -> None:
    original = report_of(GONE).original
    assert (original.message_id, original.message_id_from, original.subject) == ("1@shop.example", "returned", "Order")
    assert original.to_addresses == ("jan@firma.example",)


def test_a_message_id_in_the_status_part_wins() -> None:
    """Google names the original there."""
    original = report_of(GONE, message="X-Original-Message-ID: <2@shop.example>\n").original
    assert (original.message_id, original.message_id_from) == ("2@shop.example", "status")


def test_without_returned_headers_in_reply_to_names_the_original() -> None:
    raw = (
        b'In-Reply-To: <3@shop.example>\nContent-Type: multipart/report; boundary="b"\n\n'
        b"--b\nContent-Type: message/delivery-status\n\n" + GONE.encode() + b"\n--b--\n"
    )
    (report,) = read_delivery_reports(Mail(raw))
    assert (report.original.message_id, report.original.message_id_from) == ("3@shop.example", "in-reply-to")


def test_a_message_id_in_the_body_of_the_returned_message_is_never_taken() -> None:
    raw = (
        b'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n'
        + GONE.encode()
        + b"\n--b\n"
        b"Content-Type: message/rfc822\n\nSubject: Order\n\nMessage-ID: <not-this@shop.example>\n--b--\n"
    )
    (report,) = read_delivery_reports(Mail(raw))
    assert report.original.message_id is None


def test_an_envelope_id_that_is_a_message_id_names_the_original_where_nothing_else_does() -> None:
    """Haraka puts the Message-ID there."""
    raw = (
        'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n'
        f"Original-Envelope-Id: <5@shop.example>\nReporting-MTA: dns;out.shop.example\n\n{GONE}\n--b--\n"
    )
    (report,) = read_delivery_reports(Mail(raw.encode()))
    assert report.original.message_id == "5@shop.example"
    other = report_of(GONE, message="Original-Envelope-Id: <5@shop.example>\n")
    assert other.original.message_id == "1@shop.example"


# nullmailer copies the refusal of one recipient to all

COPIED = "Final-Recipient: rfc822; {}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: SMTP; 550 5.1.1 {}\n"
NULLMAILER = "Reporting-MTA: x-local-hostname; out.shop.example\n"


def test_copied_words_stay_with_the_recipient_that_they_name() -> None:
    words = "<ola@firma.example>: unknown user"
    blocks = [COPIED.format(address, words) for address in ("jan@firma.example", "ola@firma.example")]
    jan, ola = report_of(*blocks, message=NULLMAILER).recipients
    assert (jan.action, jan.diagnostic, jan.status) == (Action.FAILED, None, None)
    assert (ola.diagnostic, ola.status, ola.shared) == (f"550 5.1.1 {words}", "5.1.1", False)


def test_copied_words_that_name_nobody_are_marked_as_shared() -> None:
    blocks = [COPIED.format(address, "unknown user") for address in ("jan@firma.example", "ola@firma.example")]
    assert [entry.shared for entry in report_of(*blocks, message=NULLMAILER).recipients] == [True, True]
    assert [entry.shared for entry in report_of(*blocks).recipients] == [False, False]
    assert not one(blocks[0], message=NULLMAILER).shared
    empty = f'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n{NULLMAILER}\n--b--\n'
    assert read_delivery_reports(Mail(empty.encode())) == ()


def test_lines_of_a_reply_that_are_not_indented_belong_to_it() -> None:
    block = GONE.rstrip().replace("550 5.1.1 User", "550-5.1.1 No\n550 5.1.1 User") + "\n"
    assert one(block, message=NULLMAILER).diagnostic == "550-5.1.1 No 550 5.1.1 User unknown"


def test_a_status_with_a_reply_in_its_comment_is_made_up() -> None:
    """Haraka, where it could not even try."""
    entry = one(
        "Final-Recipient: rfc822;jan@firma.example\nAction: failed\nStatus: 5.1.2 (550 Tried all MXs firma.example)\n"
    )
    assert (entry.status, entry.diagnostic, entry.derived_status) == ("5.1.2", "550 Tried all MXs firma.example", True)
    assert not one(GONE.replace("5.1.1\nD", "5.1.1 (bad destination)\nD")).derived_status


# Bounds


def test_recipients_beyond_the_limit_are_left_and_noted() -> None:
    blocks = "\n".join(GONE.replace("jan@", f"u{n}@") for n in range(5))
    raw = f'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/delivery-status\n\n{blocks}\n--b--\n'
    mail = Mail(raw.encode(), Limits(recipients=3))
    (report,) = read_delivery_reports(mail)
    assert len(report.recipients) == 3
    assert "too-many-recipients" in mail.defects

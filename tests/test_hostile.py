"""Hostile mail: parse and classify answer for any bytes, and what they keep is bounded by the limits.

No test here measures time. What would take hours when work is quadratic shows by itself.
"""

from __future__ import annotations

import base64
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bounceparse.classify import classify
from bounceparse.explain import texts_of
from bounceparse.headers import Limits
from bounceparse.mime import Mail
from bounceparse.outcomes import ASSUMED, REASONS, Outcome, Status
from bounceparse.parse import parse
from bounceparse.reports import DeliveryReport, Kind, Report

CORPUS = Path(__file__).parent.parent / "corpus"
SEEDS = [path.read_bytes() for path in sorted(CORPUS.rglob("*.eml"))]


def judge(raw: bytes) -> tuple[Report, tuple[Outcome, ...]]:
    """Parse and classify; checks what holds for every answer."""
    report = parse(raw)
    outcomes = classify(report)
    assert report.kind is Kind.OTHER or outcomes, "all kinds but other have an outcome"
    for outcome in outcomes:
        assert outcome.status in Status
        assert outcome.reason in REASONS
        assert len(outcome.diagnostic or "") <= 2048
    return report, outcomes


def dsn(status: bytes, head: bytes = b"", text: bytes = b"It failed.") -> bytes:
    """A delivery report with this status part."""
    return (
        b"From: MAILER-DAEMON@mx.example.net\nTo: bounces@shop.example\nSubject: Undelivered Mail\n"
        + head
        + b"MIME-Version: 1.0\n"
        b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n--b\nContent-Type: text/plain\n\n'
        + text
        + b"\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
        + status
        + b"\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <hostile@shop.example>\nTo: jan@firma.example\n\n--b--\n"
    )


GONE = b"Final-Recipient: rfc822; jan@firma.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\n"


def test_fifty_thousand_nested_parts_stop_at_the_depth_limit() -> None:
    raw = b"From: a@example.com\n" + b"".join(
        b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(50_000)
    )
    report, _ = judge(raw)
    assert "too-deep" in report.defects


def test_fifty_thousand_nested_messages_stop_at_the_depth_limit() -> None:
    report, _ = judge(b"From: a@example.com\n" + b"Content-Type: message/rfc822\n\n" * 50_000)
    assert report.kind is Kind.OTHER


def test_a_hundred_thousand_parts_stop_at_the_part_limit() -> None:
    raw = b'Content-Type: multipart/mixed; boundary="b"\n\n' + b"--b\nContent-Type: text/x-none\n\nx\n" * 100_000
    report, _ = judge(raw)
    assert "too-many-parts" in report.defects


def test_a_boundary_that_is_the_beginning_of_every_line_is_cut_once() -> None:
    raw = b'Content-Type: multipart/report; report-type=delivery-status; boundary="-"\n\n' + b"---\n" * 200_000
    report, _ = judge(raw)
    assert report.kind is Kind.OTHER


def test_a_hundred_thousand_headers_are_read_up_to_the_header_limit() -> None:
    report, outcomes = judge(dsn(GONE, b"".join(b"X-Filler-%d: x\n" % n for n in range(100_000))))
    assert "header-too-long" in report.defects
    assert all(outcome.recipient in (None, "jan@firma.example") for outcome in outcomes)


def test_a_header_line_of_five_megabytes_is_cut_and_noted() -> None:
    report, _ = judge(b"From: a@example.com\nSubject: " + b"A" * 5_000_000 + b"\n\nHello\n")
    assert "header-too-long" in report.defects
    assert len(report.subject or "") <= 20_000


def test_a_header_folded_a_million_times_is_cut_and_noted() -> None:
    report, _ = judge(b"From: a@example.com\nSubject: x\n" + b" y\n" * 1_000_000 + b"\nHello\n")
    assert "header-too-long" in report.defects
    assert len(report.subject or "") <= 20_000


def test_a_hundred_thousand_recipients_are_read_up_to_the_recipient_limit() -> None:
    blocks = b"".join(
        b"Final-Recipient: rfc822; u%d@firma.example\nAction: failed\nStatus: 5.1.1\n\n" % n for n in range(100_000)
    )
    report, outcomes = judge(dsn(blocks))
    assert "too-many-recipients" in report.defects
    assert 0 < len(outcomes) <= Limits().recipients


def test_a_prose_bounce_that_names_a_hundred_thousand_addresses_is_bounded() -> None:
    lines = b"".join(b"<u%d@firma.example>:\n550 5.1.1 User unknown\n\n" % n for n in range(100_000))
    head = b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\nHi. This is the qmail-send program at mx.example.net.\n\n"
    _, outcomes = judge(head + lines)
    assert len(outcomes) <= Limits().recipients


def test_ten_thousand_real_recipients_are_all_there() -> None:
    blocks = b"".join(
        b"Final-Recipient: rfc822; u%d@firma.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\n\n"
        % n
        for n in range(10_000)
    )
    _, outcomes = judge(dsn(blocks))
    assert [outcome.recipient for outcome in outcomes] == [f"u{n}@firma.example" for n in range(10_000)]


def test_a_diagnostic_of_a_megabyte_still_gives_its_code_and_is_capped() -> None:
    block = GONE.replace(b"User unknown", b"User unknown " + b"very " * 200_000)
    _, (outcome,) = judge(dsn(block))
    assert (outcome.recipient, outcome.enhanced_status, outcome.smtp_code) == ("jan@firma.example", "5.1.1", 550)


def test_nul_bytes_everywhere_do_not_hide_the_recipient() -> None:
    _, outcomes = judge(dsn(GONE.replace(b"User unknown", b"User\x00 unknown\x00"), text=b"\x00" * 100_000))
    assert [outcome.recipient for outcome in outcomes] == ["jan@firma.example"]
    assert all("\x00" not in (outcome.diagnostic or "") for outcome in outcomes)


def test_sixteen_thousand_encoded_words_are_decoded_within_the_cap() -> None:
    report, _ = judge(b"Subject: " + b" ".join([b"=?utf-8?B?QUFBQUFBQUFB?="] * 16_000) + b"\n\nx\n")
    assert len(report.subject or "") <= 20_000


def test_encoded_words_of_every_odd_charset_are_survived() -> None:
    names = [
        b"punycode",
        b"idna",
        b"unicode_escape",
        b"rot13",
        b"zip",
        b"bz2",
        b"hex",
        b"base64",
        b"undefined",
        b"utf-7",
        b"x" * 40,
    ]
    report, _ = judge(b"Subject: " + b" ".join(b"=?%s?Q?=ff=fe=00abc?=" % name for name in names) + b"\n\nx\n")
    assert report.kind is Kind.OTHER


def test_encoded_lone_surrogates_end_up_printable() -> None:
    raw = dsn(GONE.replace(b"jan@", b"j\xed\xa0\x80n@"), b"X-Odd: =?utf-8?B?7aCA?=\n", b"\xed\xa0\x80\xed\xb0\x80")
    report, outcomes = judge(raw.replace(b"Undelivered Mail", b"=?utf-16?B?ANgA2A==?= =?utf-8?B?7aCA?="))
    for text in [report.subject, *(outcome.recipient for outcome in outcomes)]:
        (text or "").encode("utf-8")


def test_surrogates_in_utf_7_end_up_printable() -> None:
    """Python's decoder hands them out; UTF-8, the rules' patterns and PostgreSQL refuse them."""
    typed = dsn(GONE.replace(b"User unknown", b"User +2AA- unknown")).replace(b"/delivery-status", b"$&; charset=utf-7")
    typed = typed.replace(b"$&", b"/delivery-status")
    typed = typed.replace(b"\nTo: jan@firma.example", b"\nSubject: =?utf-7?Q?+2AA- +2D3eAA-?=\nTo: jan@firma.example")
    _, (outcome,) = judge(typed)
    assert outcome.diagnostic == "550 5.1.1 User \ufffd unknown"
    assert outcome.subject == "\ufffd \U0001f600"
    prose = b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\nContent-Type: text/plain; charset=utf-7\n\nHi. This is the qmail-send program at mx.example.net.\n\n<jan@firma.example>:\n550 5.1.1 User +2AA- unknown\n"
    _, (outcome,) = judge(prose)
    (outcome.diagnostic or "").encode()


def test_surrogates_and_nul_escaped_in_json_end_up_printable() -> None:
    """Amazon's notifications and XARF are JSON, whose escapes may write what no database holds."""
    events = (
        rb'{"notificationType":"Bounce","bounce":{"bounceType":"Per\ud800","bouncedRecipients":[{"emailAddress":'
        rb'"j\u0000an@firma.example","status":"5.1.1\udc00","diagnosticCode":"550 5.1.1 \ud800 \ud83d\ude00 \u0000unknown"}],'
        rb'"reportingMTA":"dns; \ud800"},"mail":{"messageId":"x\ud800"}}',
        rb'{"xarf_version":"4","category":"messaging","type":"spam","smtp_to":"j\u0000an@firma.example",'
        rb'"source_identifier":"\ud800","message_id":"<x\ud800>"}',
    )
    for event, head in zip(events, (b"X-Amz-Sns-Message-Id: 1\n", b"Content-Type: application/json\n"), strict=True):
        _, (outcome,) = judge(b"From: no-reply@example.com\n" + head + b"\n" + event)
        assert outcome.recipient == "jan@firma.example"
        for value in outcome.to_json().values():
            assert "\x00" not in str(value)
            str(value).encode()


def test_an_escape_for_a_surrogate_in_a_utf8_address_is_not_undone() -> None:
    """RFC 6533 section 3: no surrogates in ``\\x{...}``."""
    _, (outcome,) = judge(dsn(GONE.replace(b"rfc822; jan", rb"utf-8; \x{D800}\x{110000}jan")))
    (outcome.recipient or "").encode("utf-8")


def test_control_characters_are_no_part_of_an_address() -> None:
    """Neither written nor escaped (RFC 6533): a database takes no NUL, and a terminal obeys an escape."""
    for written in (
        b"rfc822; jan\x00@firma.example",
        b"rfc822; jan\x1b@firma.example",
        rb"utf-8; \x{00}jan@firma.example",
    ):
        _, (outcome,) = judge(dsn(GONE.replace(b"rfc822; jan@firma.example", written)))
        assert outcome.recipient == "jan@firma.example"
    _, (outcome,) = judge(dsn(GONE.replace(b"jan@firma.example", b"jan\x00firma.example")))
    assert outcome.recipient == "janfirma.example"


def test_nul_bytes_are_no_part_of_any_field() -> None:
    """Hosts and addresses of a status or feedback part reach a database as they are."""
    hosts = b"Reporting-MTA: dns; m\x00x.example.net", GONE + b"Remote-MTA: dns; mx\x00.firma.example\n"
    _, (outcome,) = judge(dsn(hosts[1]).replace(b"Reporting-MTA: dns; mx.example.net", hosts[0]))
    assert (outcome.reporting_mta, outcome.remote_mta) == ("mx.example.net", "mx.firma.example")
    status = dsn(b"").replace(b"delivery-status", b"feedback-report")
    _, (outcome,) = judge(status.replace(b"Reporting-MTA:", b"Feedback-Type: ab\x00use\nSource-IP: 192.0\x00.2.1\nX:"))
    assert (outcome.reason, outcome.sending_ip) == ("abuse", "192.0.2.1")


def test_evidence_stands_in_a_report_that_is_enclosed_in_a_message() -> None:
    """Somebody forwarded it: what decides is in the message inside."""
    head = b'From: jan@example.com\nSubject: Fwd\nContent-Type: multipart/mixed; boundary="z z"\n\n--z z\nContent-Type: message/rfc822\n\n'
    enclosed = 0
    for raw in SEEDS:
        mail = Mail(head + raw + b"\n--z z--\n")
        outcomes = classify(parse(mail.buffer))
        enclosed += bool(outcomes)
        for outcome in outcomes:
            part, matched = outcome.evidence[1:3]
            assert matched and any(matched in text for text in texts_of(mail, part)), outcome
    assert enclosed > 200


def evidence_of(raw: bytes) -> tuple[str, str]:
    _, (outcome,) = judge(raw)
    part, matched = outcome.evidence[1:3]
    assert part == ASSUMED or any(matched in text for text in texts_of(Mail(raw), part))
    return part, matched


def test_a_failure_told_by_the_headers_alone_rests_on_the_subject() -> None:
    """Where the parts cannot be told apart; without a subject it says that "failed" is assumed."""
    head = b"From: Mailer-Daemon@mx.example.net\nTo: bounces@shop.example\nX-Failed-Recipients: jan@firma.example\n"
    rest = b"Content-Type: multipart/report; boundary=x\n\n"
    assert evidence_of(head + b"Subject: Mail delivery failed\n" + rest) == ("subject", "Mail delivery failed")
    assert evidence_of(head + rest) == (ASSUMED, "failed")


def test_what_a_report_leaves_out_is_marked_as_assumed() -> None:
    """A complaint without a type, a receipt without a disposition; what is written is quoted as it is spelled."""
    arf = dsn(b"").replace(b"delivery-status", b"feedback-report").replace(b"Subject: Undelivered Mail\n", b"")
    assert evidence_of(arf) == (ASSUMED, "abuse")
    assert evidence_of(arf.replace(b"Reporting-MTA:", b"Feedback-Type: ABUSE\nX:")) == ("feedback-report", "ABUSE")
    mdn = dsn(b"").replace(b"delivery-status", b"disposition-notification")
    assert evidence_of(mdn) == (ASSUMED, "displayed")
    told = mdn.replace(b"Reporting-MTA:", b"Disposition: Manual-Action/MDN-Sent-Manually; Displayed\nX:")
    assert evidence_of(told) == ("disposition-notification", "Displayed")


@pytest.mark.parametrize("digit", ["½", "①", "²"])
def test_no_code_is_made_of_characters_that_are_no_digits(digit: str) -> None:
    """Text is compared folded, and folding makes a digit of each of these."""
    words = f"smtp; 55{digit} 5.7.{digit} no".encode()
    _, (outcome,) = judge(dsn(GONE.replace(b"smtp; 550 5.1.1 User unknown", words)))
    assert (outcome.smtp_code, outcome.enhanced_status) == (None, "5.1.1")


def test_evidence_put_together_from_two_places_is_cut_to_the_first() -> None:
    """A transcript tells of one address twice, other words between: only what stands together is a quotation."""
    raw = (
        b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\n"
        b"Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message.\n\n"
        b"<jan@firma.example>:\nGroup one\n\n<eva@firma.example>:\nNothing known.\n\n<jan@firma.example>:\nGroup two\n"
    )
    _, outcomes = judge(raw)
    for outcome in outcomes:
        assert any(outcome.evidence.matched in text for text in texts_of(Mail(raw), "text")), outcome.evidence


def test_base64_of_ten_megabytes_is_read_within_the_cap() -> None:
    payload = base64.encodebytes(
        b"Final-Recipient: rfc822; jan@firma.example\nAction: failed\nStatus: 5.1.1\n\n" + b"A" * 7_000_000
    )
    raw = dsn(GONE).replace(
        b"Content-Type: text/plain\n\nIt failed.",
        b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + payload,
    )
    report, outcomes = judge(raw)
    assert [outcome.recipient for outcome in outcomes] == ["jan@firma.example"]
    assert "text-too-long" in report.defects


TRAPS: list[tuple[str, bytes]] = [
    ("spaces", b" " * 1_000_000),
    ("tabs-and-newlines", b"\t\n" * 500_000),
    ("angle-brackets", b"<" * 300_000),
    ("closing-angle-brackets", b"<a@" * 200_000),
    ("at-signs", b"@" * 300_000),
    ("dots", b"a@" + b"a." * 300_000),
    ("reply-codes", b"550 5.1.1 " * 100_000),
    ("enhanced-codes", b"5.1.1." * 100_000),
    ("quotes", b'"' * 300_000 + b"@a"),
    ("backslashes", b'"' + b"\\" * 300_000),
    ("encoded-word-starts", b"=?utf-8?q?" * 100_000),
    ("html-tags", b"<a <" * 200_000),
    ("html-comments", b"<!--" * 200_000),
    ("scripts", b"<script>" * 100_000),
    ("entities", b"&" * 300_000),
    ("header-lookalikes", b"Final-Recipient:\n" * 100_000),
    ("actions-without-recipients", b"Action: failed\n\n" * 100_000),
    ("message-id-lookalikes", b"Message-ID: <\n" * 100_000),
    ("smtp-lines", b">>> RCPT TO:<\n<<< 550 \n" * 50_000),
    ("qmail-paragraphs", b"<a@b>:\n\n" * 50_000),
    ("exim-lines", b"  a@b\n    SMTP error from remote mail server after RCPT TO:<\n" * 20_000),
    ("parentheses", b"(" * 300_000),
    ("colons", b":" * 300_000),
    ("dashes", b"-" * 1_000_000),
    ("json-brackets", b'{"a":' * 100_000),
    ("yaml", b"---\na: b\n" * 100_000),
    ("backslash-x", rb"\x{" * 100_000),
]
SHAPES: list[tuple[str, Callable[[bytes], bytes]]] = [
    (
        "subject",
        lambda trap: b"From: MAILER-DAEMON@mx.example.net\nSubject: failure " + trap.replace(b"\n", b"") + b"\n\nx\n",
    ),
    (
        "text",
        lambda trap: (
            b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\nHi. This is the mailer\n\n" + trap
        ),
    ),
    ("ordinary-text", lambda trap: b"From: jan@example.com\nSubject: Hello\n\n" + trap),
    (
        "html",
        lambda trap: b"From: MAILER-DAEMON@mx.example.net\nSubject: Undeliverable\nContent-Type: text/html\n\n" + trap,
    ),
    ("diagnostic", lambda trap: dsn(GONE.replace(b"User unknown", trap.replace(b"\n", b"\n ")))),
    ("address", lambda trap: dsn(GONE.replace(b"jan@firma.example", trap.replace(b"\n", b"")))),
    ("status-part", lambda trap: dsn(trap)),
    ("content-type", lambda trap: b"Content-Type: multipart/report;" + trap.replace(b"\n", b"") + b"\n\nx\n"),
    ("feedback", lambda trap: dsn(trap).replace(b"delivery-status", b"feedback-report")),
]


@pytest.mark.parametrize("shape", SHAPES, ids=[name for name, _ in SHAPES])
@pytest.mark.parametrize("trap", TRAPS, ids=[name for name, _ in TRAPS])
def test_a_pattern_trap_is_survived(trap: tuple[str, bytes], shape: tuple[str, Callable[[bytes], bytes]]) -> None:
    """Long runs that send a backtracking pattern astray give an answer wherever they stand."""
    judge(shape[1](trap[1]))


def test_memory_stays_within_a_few_copies_of_the_message() -> None:
    raw = dsn(GONE, text=b"x" * 8_000_000)
    judge(raw)  # rules are compiled once
    tracemalloc.start()
    try:
        judge(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(raw)


@pytest.mark.parametrize(
    "part",
    [b"word\n" * 2_000_000, b"".join(b"Final-Recipient: rfc822; u%d@firma.example\nAction: failed\n\n" % n for n in range(150_000))],
    ids=["lines without a colon", "recipients"],
)  # fmt: skip
def test_a_large_status_part_takes_few_copies_of_itself(part: bytes) -> None:
    """What is not kept is not held either: lines and blocks are looked at one by one."""
    raw = dsn(GONE + part)
    parse(dsn(GONE))
    tracemalloc.start()
    try:
        parse(raw)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(raw) + 40_000_000


@pytest.mark.parametrize(
    "body", [b"Content-Type: message/rfc822\n\n" * 2000, b"\n" * 60_000], ids=["nested messages", "blank lines"]
)
def test_the_last_resort_sees_few_lines_and_few_parts(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its detectors walk through all parts for each line, dozens of times."""
    from flufl.bounce import _scan

    seen = []
    monkeypatch.setattr(
        "flufl.bounce.all_failures", lambda message: seen.append(message) or _scan.all_failures(message)
    )
    judge(b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n\nHi. This is the mail system.\n")
    assert len(seen) == 1
    judge(b"From: MAILER-DAEMON@mx.example.net\nSubject: failure notice\n" + body)
    for message in seen:
        assert message.as_bytes().count(b"\n") < 700
        assert sum(1 for _ in message.walk()) <= 40


def test_blank_lines_in_a_mail_of_no_mail_system_are_read_in_one_pass() -> None:
    """A pattern that tries every pair of them for a token needs hours."""
    for head in (b"From: jan@example.com\n", b"To: unsubscribe@shop.example\n", b"Subject: unsubscribe\n"):
        for blank in (b"\n", b" \n", b"\r\n", b">\n"):
            judge(head + b"\nx" + blank * 30_000 + b"x")


def test_a_message_beyond_the_size_limit_is_read_as_far_as_the_limit() -> None:
    report = parse(dsn(GONE) + b"x" * 100_000, limits=Limits(size=10_000))
    assert "truncated" in report.defects
    assert report.kind is Kind.DELIVERY


def test_limits_that_are_tiny_give_an_answer() -> None:
    for raw in SEEDS[::7]:
        classify(parse(raw, limits=Limits(size=500, header=100, text=50, depth=1, parts=1, recipients=1)))


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=4000))
@example(b"")
@example(b"\n")
@example(b"\r")
@example(b"From ")
@example(b":")
@example(b"\xff\xfe\x00")
def test_parse_never_raises_on_arbitrary_bytes(raw: bytes) -> None:
    judge(raw)


FRAGMENTS = [
    b"\n\n", b"\r", b"\x00", b"--b\n", b"--b--\n", b"Content-Type: multipart/report\n", b"Content-Type: message/rfc822\n\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"Final-Recipient: rfc822; \n",
    b"Action: delayed\n", b"Status: 9.9.9\n", b"Diagnostic-Code:\n", b"=?utf-8?B?", b"\xff\xfe", b"<", b">", b"@", b";", b"From x\n",
    b"Feedback-Type: abuse\n", b"charset=utf-7", b"boundary=", b"550 ", b"(", b'"',
]  # fmt: skip


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.data())
def test_parse_never_raises_on_mutilated_mails(data: st.DataObject) -> None:
    """Truncated, shuffled, doubled, with lines and fragments inserted, other line ends and encodings."""
    raw = data.draw(st.sampled_from(SEEDS))[:20_000]
    lines = raw.split(b"\n")
    for operation in data.draw(
        st.lists(st.sampled_from(["cut", "shuffle", "double", "insert", "join", "bytes"]), min_size=1, max_size=4)
    ):
        at = data.draw(st.integers(0, max(len(lines) - 1, 0)))
        to = min(len(lines), at + data.draw(st.integers(1, 12)))
        if operation == "cut":
            del lines[at:to]
        elif operation == "shuffle":
            lines[at:to] = data.draw(st.permutations(lines[at:to]))
        elif operation == "double":
            lines[at:at] = lines[at:to] * data.draw(st.integers(1, 5))
        elif operation == "insert":
            lines[at:at] = data.draw(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=4))
        elif operation == "bytes" and lines:
            lines[at] = data.draw(st.binary(max_size=200))
        else:
            lines[at:to] = [b"".join(lines[at:to])]
    judge(data.draw(st.sampled_from([b"\n", b"\r\n", b"\r"])).join(lines))


def test_a_mail_is_cut_from_any_prefix_of_itself() -> None:
    """A connection that breaks leaves a prefix: each must be answered."""
    for raw in SEEDS[::11]:
        for end in range(0, len(raw), max(1, len(raw) // 40)):
            judge(raw[:end])


def test_mime_never_raises_whatever_is_asked_of_it() -> None:
    for raw in SEEDS:
        mail = Mail(raw)
        for entity in mail.walk(into_messages=True):
            entity.text()
            entity.header_text()
            entity.get("subject")
        assert len(mail.readable) <= Limits().text


def test_delivery_reports_keep_their_texts_within_the_limits() -> None:
    report = parse(dsn(GONE, text=b"words " * 1_000_000))
    (item,) = report.items
    assert isinstance(item, DeliveryReport)
    assert len(item.text) <= Limits().text

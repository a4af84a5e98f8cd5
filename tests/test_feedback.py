"""Feedback reports: any that the RFCs allow is read back whole, and each loop's own habits are known."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceparse import classify, parse
from bounceparse.formats.arf import read_feedback_reports
from bounceparse.formats.xarf import read_xarf
from bounceparse.mime import Mail
from bounceparse.reports import FeedbackReport, Notice

ATOM = st.text(string.ascii_letters + string.digits + "!#$&*-_", min_size=1, max_size=20)
DOMAIN = st.lists(st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=12), min_size=1, max_size=3).map(
    lambda labels: ".".join([*labels, "example"])
)
# Local parts that stand for nobody are tested by themselves.
ADDRESS = st.tuples(st.text(string.ascii_letters + string.digits + "-", min_size=1, max_size=16), DOMAIN).map(
    lambda pair: f"k{pair[0]}k@{pair[1]}"
)
WORDS = st.text(string.ascii_letters + string.digits + " !#$%&'*+-./:;=?@^_`{|}~()[]<>,", min_size=1, max_size=120).map(
    lambda text: " ".join(text.split()) or "x"
)
IP = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
TYPES = st.sampled_from(["abuse", "fraud", "virus", "other", "not-spam", "auth-failure", "opt-out"])
EXTENSION = st.text(string.ascii_letters, min_size=1, max_size=12).map(lambda name: f"X-{name}")


@st.composite
def reports(draw: st.DrawFn) -> tuple[bytes, dict[str, object]]:
    """A message with an ARF report, and what it says."""
    said: dict[str, object] = {
        "feedback_type": draw(TYPES),
        "user_agent": draw(WORDS),
        "version": draw(st.sampled_from(["1", "0.1"])),
        "recipients": tuple(draw(st.lists(ADDRESS, max_size=4, unique=True))),
        "original_mail_from": draw(st.none() | ADDRESS),
        "arrival_date": draw(st.none() | st.just("Sun, 22 Nov 2026 10:00:00 +0100")),
        "reporting_mta": draw(st.none() | DOMAIN),
        "source_ip": draw(st.none() | IP),
        "source_port": draw(st.none() | st.integers(1, 65535)),
        "incidents": draw(st.integers(1, 2**32 - 1)),
        "envelope_id": draw(st.none() | ATOM),
        "authentication_results": tuple(draw(st.lists(WORDS, max_size=3))),
        "reported_domains": tuple(draw(st.lists(DOMAIN, max_size=3))),
        "reported_uris": tuple(draw(st.lists(DOMAIN.map("https://{}/".format), max_size=3))),
        "extensions": tuple(
            (name.lower(), value) for name, value in draw(st.lists(st.tuples(EXTENSION, WORDS), max_size=4))
        ),
    }
    lines = [f"{name}: {value}" for name, value in _fields(said)]
    order = draw(st.permutations(range(len(lines))))
    block = "\n".join(_spelled(draw, lines[place]) for place in order)
    end = draw(st.sampled_from(["\n", "\r\n"]))
    raw = (
        "From: fbl@provider.example\nSubject: FW: Offer\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\nContent-Type: text/plain\n\nA report.\n'
        f"--b\nContent-Type: message/feedback-report\n\n{block}\n\n--b\nContent-Type: message/rfc822\n\nFrom: news@shop.example\nMessage-ID: <1@shop.example>\n\nHello\n--b--\n"
    )
    return raw.replace("\n", end).encode(), said


def _fields(said: dict[str, object]) -> list[tuple[str, object]]:
    names = {
        "Feedback-Type": "feedback_type",
        "User-Agent": "user_agent",
        "Version": "version",
        "Original-Mail-From": "original_mail_from",
        "Arrival-Date": "arrival_date",
        "Source-IP": "source_ip",
        "Source-Port": "source_port",
        "Incidents": "incidents",
        "Original-Envelope-Id": "envelope_id",
    }
    fields: list[tuple[str, object]] = [(field, said[name]) for field, name in names.items() if said[name] is not None]
    if said["reporting_mta"]:
        fields.append(("Reporting-MTA", f"dns; {said['reporting_mta']}"))
    lists = {
        "Original-Rcpt-To": "recipients",
        "Authentication-Results": "authentication_results",
        "Reported-Domain": "reported_domains",
        "Reported-URI": "reported_uris",
    }
    for field, name in lists.items():
        values = said[name]
        assert isinstance(values, tuple)
        fields += [(field, f"<{value}>" if name == "recipients" else value) for value in values]
    extensions = said["extensions"]
    assert isinstance(extensions, tuple)
    return [*fields, *extensions]


def _spelled(draw: st.DrawFn, line: str) -> str:
    """A field as it may be written: any case of its name, folded at a space."""
    name, _, value = line.partition(": ")
    name = draw(st.sampled_from([name, name.lower(), name.upper()]))
    if " " in value and draw(st.booleans()):
        value = value.replace(" ", "\n ", 1)
    return f"{name}:{draw(st.sampled_from([' ', '  ', chr(9)]))}{value}"


@settings(max_examples=300, deadline=None)
@given(reports())
def test_any_report_that_the_rfcs_allow_is_read_back(case: tuple[bytes, dict[str, object]]) -> None:
    """RFC 5965, 6692 and 6590: every field, many times where it may be, in any order, case, folding and line end."""
    raw, said = case
    (report,) = read_feedback_reports(Mail(raw))
    several = ("recipients", "authentication_results", "reported_domains", "reported_uris", "extensions")
    for name, value in said.items():
        if isinstance(value, tuple):
            assert sorted(getattr(report, name)) == sorted(value), name
        else:
            assert getattr(report, name) == value, name
    assert set(several) <= set(said)
    assert report.original.message_id == "1@shop.example"
    outcomes = classify(parse(raw))
    assert sorted(str(one.recipient) for one in outcomes) == sorted(map(str, said["recipients"] or (None,)))  # type: ignore[call-overload]


def arf(fields: str, returned: str = "Message-ID: <1@shop.example>\n", *, head: str = "Subject: x\n") -> FeedbackReport:
    """The one report with these fields."""
    raw = (
        f'From: fbl@provider.example\n{head}Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        f"--b\nContent-Type: message/feedback-report\n\n{fields}\n--b\nContent-Type: message/rfc822\n\n{returned}\n--b--\n"
    )
    (report,) = read_feedback_reports(Mail(raw.encode()))
    return report


def test_rfc6591_and_9991_authentication_failures_are_told_whole() -> None:
    report = arf(
        "Feedback-Type: auth-failure\nAuth-Failure: DMARC\nIdentity-Alignment: dkim, spf\nDelivery-Result: Reject\n"
        "DKIM-Domain: shop.example\nDKIM-Selector: s1\nSPF-DNS: txt : shop.example : v=spf1\n"
    )
    assert (report.auth_failure, report.identity_alignment, report.delivery_result) == ("dmarc", "dkim, spf", "reject")
    assert report.fields["dkim-selector"] == "s1"
    assert report.extensions == ()


@pytest.mark.parametrize(
    ("returned", "recipient", "source"),
    [
        ("X-HmXmrOriginalRecipient: a@box.example\nDelivered-To: b@box.example\n", "a@box.example", "x-hmxmroriginalrecipient"),
        ("Delivered-To: b@box.example\nTo: c@box.example\n", "b@box.example", "delivered-to"),
        ("Envelope-To: b@box.example\nTo: c@box.example\n", "b@box.example", "envelope-to"),
        ("Received: by in.box.example for <c@box.example>; x\nTo: d@box.example\n", "c@box.example", "received"),
        ("Received: by store for <inner@store.example>; x\nReceived: by mx for\n <c@box.example>; x\n", "c@box.example", "received"),
        ("From: n@shop.example\nReceived: by mx for <c@box.example>; x\nReceived: by out for <list@shop.example>; x\n", "c@box.example", "received"),
        ("To: d@box.example\n", "d@box.example", "to"),
        ("To: d@box.example, e@box.example\n", None, None),
        ("Delivered-To: redacted@box.example\nTo: undisclosed-recipients:;\n", None, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "masked",
    ["", "Original-Rcpt-To:\n", "Original-Rcpt-To: <redacted@box.example>\n", "Original-Rcpt-To: hashed@box.example\n"],
)
def test_masked_recipients_are_looked_for_in_order(
    masked: str, returned: str, recipient: str | None, source: str | None
) -> None:
    """Yahoo tells them, EarthLink, Mail.ru, Seznam and UOL in Received, Zoho in Delivered-To, Microsoft in its own field."""
    report = arf(f"Feedback-Type: abuse\n{masked}", returned)
    assert report.recipients == ((recipient,) if recipient else ())
    assert report.recipients_from == source


def test_the_evidence_names_where_the_recipient_stood() -> None:
    raw = (
        b'From: f@box.example\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n--b\nContent-Type: message/feedback-report\n\n'
        b"Feedback-Type: abuse\n\n--b\nContent-Type: message/rfc822\n\nDelivered-To: jan@box.example\n\nx\n--b--\n"
    )
    (outcome,) = classify(parse(raw))
    assert outcome.evidence.rule == "arf/abuse:delivered-to"


@pytest.mark.parametrize(
    ("fields", "head"),
    [
        ("Feedback-Type: abuse\nAbuse-Type: trap-recycled\n", "Subject: x\n"),
        ("Feedback-Type: abuse\n", "Subject: Spamtraphit by 192.0.2.1 2026-11-22\n"),
        ("Feedback-Type: abuse\n", "Subject: x\nX-SpamCop-sourceip: 192.0.2.1\n"),
    ],
)
def test_traps_and_services_that_name_nobody_are_marked(fields: str, head: str) -> None:
    assert arf(fields, head=head).trap
    assert not arf("Feedback-Type: abuse\nAbuse-Type: complaint\n").trap


def test_two_names_of_one_date_are_a_defect() -> None:
    raw = b'Content-Type: multipart/report; boundary="b"\n\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nArrival-Date: a\nReceived-Date: b\n\n--b--\n'
    assert "arrival-date-twice" in parse(raw).defects


@pytest.mark.parametrize("shape", ["enclosed", "bare"])
def test_jmrp_of_old_in_both_shapes(shape: str) -> None:
    """Microsoft forwarded the message enclosed in multipart/mixed, or as itself."""
    message = "X-HmXmrOriginalRecipient: jan@box.example\nFrom: n@shop.example\nTo: jan@box.example\nMessage-ID: <1@shop.example>\nSubject: Offer\n\nHello\n"
    if shape == "enclosed":
        message = f'From: staff@provider.example\nSubject: complaint about message from 192.0.2.1\nContent-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\nContent-Disposition: inline\n\n{message}\n--b--\n'
    (outcome,) = classify(parse(message.encode()))
    assert (outcome.status, outcome.recipient) == ("complaint", "jan@box.example")
    if shape == "enclosed":
        assert outcome.message_id == "1@shop.example"


def xarf(
    report: object, head: str = "X-XARF: PLAIN\n", part: str = "application/json"
) -> FeedbackReport | Notice | None:
    body = report if isinstance(report, str) else json.dumps(report)
    raw = f'From: r@provider.example\n{head}Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/plain\n\nHello\n--b\nContent-Type: {part}\n\n{body}\n--b--\n'
    return read_xarf(Mail(raw.encode()))


def test_xarf_before_version_4() -> None:
    report = xarf(
        {
            "Version": "3",
            "ReporterInfo": {"ReporterOrg": "Provider"},
            "Report": {"ReportClass": "Activity", "ReportType": "Spam", "SourceIp": "192.0.2.1", "SmtpRcptToAddress": "jan@box.example"},
        }
    )  # fmt: skip
    assert isinstance(report, FeedbackReport)
    assert (report.recipients, report.source_ip, report.version) == (("jan@box.example",), "192.0.2.1", "3")
    other = xarf({"Version": "3", "ReporterInfo": {}, "Report": {"ReportType": "LoginAttack"}})
    assert isinstance(other, Notice)


def test_xarf_of_a_trap_is_marked() -> None:
    base = {"xarf_version": "4.0.0", "category": "messaging", "type": "spam", "smtp_to": "trap@box.example"}
    for source, trap in (("spamtrap", True), ("user_complaint", False)):
        report = xarf({**base, "evidence_source": source})
        assert isinstance(report, FeedbackReport) and report.trap is trap


@pytest.mark.parametrize("head", ["X-ARF: YES\n", "X-XARF: PLAIN\n", "x-arf: yes\n"])
def test_xarf_01_and_02_are_lines_of_fields(head: str) -> None:
    text = "---\nReported-From: r@provider.example\nCategory: abuse\nReport-Type: spam\nVersion: 0.2\nSource: 192.0.2.1\nSource-Type: ipv4\nDate: Sun, 22 Nov 2026 10:00:00 +0100\nAttachment: none\n"
    report = xarf(text, head, "text/plain; name=report.txt")
    assert isinstance(report, FeedbackReport) and report.source_ip == "192.0.2.1"


def test_json_after_other_json_is_found() -> None:
    raw = 'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: application/json\n\n{}\n--b\nContent-Type: application/json\n\n{"xarf_version": "4.0.0", "category": "messaging", "type": "spam"}\n--b--\n'
    assert isinstance(read_xarf(Mail(raw.encode())), FeedbackReport)

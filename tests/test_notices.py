"""What is neither bounce nor complaint: hints beside auto-replies, reports that are left alone, systems that acknowledge."""

from __future__ import annotations

import pytest
from noise import JAN, LEFT, SHOP, compose, dmarc_report, receipt, tls_report

from bounceparse import classify, parse
from bounceparse.formats.autoreply import read_autoreply
from bounceparse.formats.notices import read_notice
from bounceparse.mime import Mail
from bounceparse.reports import AutoReply, Kind, Notice

AUTOMATIC = "Auto-Submitted: auto-replied\n"


@pytest.mark.parametrize("language", LEFT)
def test_that_somebody_has_left_is_a_hint_and_no_bounce(language: str) -> None:
    report = parse(compose("Re: Offer", LEFT[language], AUTOMATIC))
    (item,) = report.items
    assert isinstance(item, AutoReply) and item.left
    (outcome,) = classify(report)
    assert (outcome.status, outcome.reason) == ("notice", "auto-reply")
    assert (outcome.evidence.rule, outcome.evidence.part) == ("auto-reply/left-organisation", "text")


@pytest.mark.parametrize(
    "body",
    ["I am away until Monday.", "Jestem na urlopie.", "I work here no longer than 18:00.", "Our company has grown."],
)
def test_an_ordinary_absence_is_no_such_hint(body: str) -> None:
    found = read_autoreply(Mail(compose("Re: Offer", body, AUTOMATIC)))
    assert found is not None and found.left is None


def test_without_an_automatic_mark_such_words_are_a_persons() -> None:
    assert parse(compose("Re: Offer", LEFT["en"])).kind is Kind.OTHER


@pytest.mark.parametrize(
    "head",
    ["X-Zendesk-From-Account-Id: 1\n", "X-OTRS-Loop: yes\n", "RT-Ticket: shop #1\n", "X-RT-Loop-Prevention: shop\n", "X-Freshdesk-Ticket: 1\n", "X-List-Administrivia: yes\n"],
)  # fmt: skip
def test_systems_that_acknowledge_are_known_by_their_headers(head: str) -> None:
    found = read_autoreply(Mail(compose("[#1] Offer", "We have received your request.", head)))
    assert found is not None and found.part == "headers"


@pytest.mark.parametrize(
    "name",
    ["provider.example!shop.example!1790000000!1790086399.xml", "provider.example!shop.example!1790000000!1790086399!u8.xml.gz", "p.example!shop.example!1790000000!1790086399.zip"],
)  # fmt: skip
def test_rfc9990_an_aggregate_report_is_known_by_the_name_of_its_file(name: str) -> None:
    head = f'Content-Type: application/octet-stream\nContent-Disposition: attachment; filename="{name}"\n'
    found = read_notice(Mail(compose("Report", "x", head)))
    assert isinstance(found, Notice) and found.reason == "other-report"


def test_rfc8460_and_9990_reports_are_left_alone() -> None:
    for raw in (dmarc_report("provider.example"), tls_report("provider.example")):
        (outcome,) = classify(parse(raw))
        assert (outcome.status, outcome.reason, outcome.recipient) == ("notice", "other-report", None)


@pytest.mark.parametrize("disposition", ["displayed", "deleted", "denied", "processed/error"])
def test_rfc8098_a_receipt_is_never_a_failure(disposition: str) -> None:
    (outcome,) = classify(parse(receipt("Not read: Offer", disposition)))
    assert (outcome.status, outcome.reason, outcome.recipient) == ("notice", "read-receipt", JAN)


def test_an_address_change_is_a_hint_that_names_who_moved() -> None:
    (outcome,) = classify(parse(compose("Zmiana adresu e-mail", "Mój nowy adres to jan.nowy@poczta.example.")))
    assert (outcome.status, outcome.reason, outcome.recipient) == ("notice", "address-change", JAN)


@pytest.mark.parametrize("subject", ["Invoice", "Spam is delicious", "A quarantine in the harbour", "Report Domain", "New address of our shop", "Read: all about chairs"])  # fmt: skip
def test_ordinary_subjects_are_no_notice(subject: str) -> None:
    assert parse(compose(subject, "Hello", sender="ola@poczta.example", to=SHOP)).kind is Kind.OTHER

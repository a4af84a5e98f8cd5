"""Real reports in odd shapes: each acts, or does not, exactly as the tables of trust and policy say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from forgeries import (
    AUTHENTIC,
    BEGIN,
    BOUNCES,
    EWA,
    JAN,
    KEYS,
    OLA,
    World,
    arf,
    dsn,
    request,
    returned,
    world,
)

from bounceparse import classify, parse
from bounceparse.db import SentMessage
from bounceparse.db.tables import sent
from bounceparse.policy import Proof
from bounceparse.verp import Purpose, find_tokens, sign

CORPUS = Path(__file__).parent.parent / "corpus"
NEWS = ["jan@poczta.example", "ola@poczta.example", "ewa@poczta.example"]


@pytest.fixture
def sender(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


def last(sender: World) -> tuple[str, str, str | None, str | None]:
    """Status, trust, what matched and recipient of what came last."""
    *_, one = sender.store.outcomes(copies=True)
    return one.outcome.status.value, one.trust.value, one.matched_by, one.outcome.recipient


def without(*gone: str) -> list[str]:
    return [address for address in NEWS if address not in gone]


# What acts


def test_a_signed_return_path_needs_nothing_else(sender: World) -> None:
    """A report that names nobody and returns nothing."""
    sender.take(dsn(sender.paths[JAN], None))
    status, trust, matched_by, recipient = last(sender)
    assert (trust, matched_by, recipient) == ("verified", "token:return-path", JAN)
    assert status == "hardbounce" and sender.mailable() == without(JAN)


@pytest.mark.parametrize(
    "path",
    [
        "{local}@bounces.example",
        "{upper}@BOUNCES.EXAMPLE",
        "SRS0=aB3d=TT=bounces.example={local}@forwarder.example",
        "srs0+ab3d=tt=bounces.example={local}@forwarder.example",
        "SRS1=XY=first.example==HH=TT=bounces.example={local}@second.example",
        "prvs=0123abcdef={local}@bounces.example",
        "btv1==012abc=={local}@bounces.example",
        "b-{token}@bounces.example",
        "{token}@bounces.example",
    ],
)
def test_a_return_path_survives_what_servers_do_to_it(sender: World, path: str) -> None:
    """Folding to either case, SRS of one and two forwarders, BATV, other tags."""
    local = sender.paths[JAN].partition("@")[0]
    token = find_tokens(local)[0]
    sender.take(dsn(path.format(local=local, upper=local.upper(), token=token)))
    assert last(sender)[:3] == ("hardbounce", "verified", "token:return-path")
    assert sender.mailable() == without(JAN)


@pytest.mark.parametrize(
    "final",
    ["Jan@POCZTA.example", "jan@mx4.poczta.example", "jan@mailcluster", "jan@store.local", "jan+inbox@poczta.example"],
)
def test_our_address_as_its_server_writes_it_is_ours(sender: World, final: str) -> None:
    sender.take(dsn(sender.paths[JAN], final, original=JAN))
    assert last(sender) == ("hardbounce", "verified", "token:return-path", JAN)
    assert sender.mailable() == without(JAN)


def test_a_recipient_without_its_domain_is_ours(sender: World) -> None:
    """Some gateways write the local part alone."""
    sender.take(dsn(sender.paths[JAN], "jan"))
    assert last(sender)[1] == "verified" and sender.mailable() == without(JAN)


def test_an_envelope_id_comes_back_encoded_as_it_went(sender: World) -> None:
    """RFC 3461 section 4: Exim returns the ENVID as xtext; ours needs no encoding, the sender's own may."""
    sender.take(dsn(envelope_id=sender.envelope_ids[JAN]))
    assert last(sender)[:3] == ("hardbounce", "verified", "token:envelope-id")
    sender.store.record_sent("5@shop.example", OLA, envelope_id="order=5", stream="news")
    sender.take(dsn(recipient=OLA, envelope_id="order+3D5", number=1))
    assert last(sender)[1:3] == ("correlated", "envelope-id")
    assert sender.mailable() == without(JAN, OLA)


def test_a_signed_message_id_proves_headers_alone(sender: World) -> None:
    sender.take(dsn(recipient=EWA, returned=returned(sender.message_ids[EWA])))
    assert last(sender)[:3] == ("hardbounce", "verified", "token:message-id")
    assert sender.mailable() == without(EWA)


def test_a_message_id_and_recipient_of_ours_correlate_and_act_at_once(sender: World) -> None:
    sender.take(dsn(returned=returned("1@shop.example")))
    assert last(sender)[:3] == ("hardbounce", "correlated", "message-id:returned")
    assert sender.mailable() == without(JAN)


def test_a_header_only_complaint_acts_by_the_signed_message_id(sender: World) -> None:
    """Microsoft's loop tells no recipient since 2026 and masks addresses."""
    sender.take(arf(f"From: news@shop.example\nTo: redacted@poczta.example\nMessage-ID: <{sender.message_ids[EWA]}>\n"))
    assert last(sender) == ("complaint", "verified", "token:message-id", EWA)
    assert sender.mailable() == without(EWA)


def test_a_complaint_with_the_returned_return_path_acts(sender: World) -> None:
    sender.take(arf(f"Return-Path: <{sender.paths[JAN]}>\nFrom: news@shop.example\n"))
    assert last(sender) == ("complaint", "verified", "token:return-path", JAN)
    assert sender.mailable() == without(JAN)


def test_a_provider_that_gives_its_own_message_id_is_followed(sender: World) -> None:
    ses = "0102018f00000000-12345678-1234-1234-1234-123456789012-000000"
    sender.store.record_sent("7@shop.example", JAN, provider_id=ses, stream="news")
    sender.take(dsn(returned=returned(f"{ses}@eu-west-1.mail.example")))
    assert last(sender)[:3] == ("hardbounce", "correlated", "message-id:returned")


def test_a_providers_return_path_leads_to_its_id(sender: World) -> None:
    ses = "0102018f00000000-12345678-1234-1234-1234-123456789012-000000"
    sender.store.record_sent("7@shop.example", JAN, provider_id=ses, stream="news")
    sender.take(arf(f"Return-Path: <{ses}@mail.shop.example>\nFrom: news@shop.example\n"))
    assert last(sender) == ("complaint", "correlated", "provider-id", JAN)


def test_an_expired_unsubscribe_token_is_honoured(sender: World) -> None:
    old = sender.token(JAN, Purpose.UNSUBSCRIBE, expires=date(2026, 2, 1))
    sender.take(request(f"unsubscribe:{old}", sender="somebody@else.example"))
    assert last(sender) == ("unsubscribe", "unverified", "token:unsubscribe:expired", JAN)
    assert sender.mailable() == without(JAN)


def test_an_authentic_request_of_a_known_address_acts(sender: World) -> None:
    sender.take(request(head=AUTHENTIC))
    (one,) = sender.store.outcomes()
    assert (one.matched_by, one.reporter_auth) == ("from", "dmarc=pass header.from=poczta.example")
    assert sender.mailable() == without(JAN)


def test_a_plain_verp_address_says_which_of_a_campaigns_recipients_is_meant(sender: World) -> None:
    for address in (JAN, OLA):
        sender.store.record_sent("campaign@shop.example", address, stream="news")
    sender.take(
        dsn("list-bounces+ola=poczta.example@bounces.example", None, returned=returned("campaign@shop.example"))
    )
    assert last(sender) == ("hardbounce", "correlated", "message-id:returned", OLA)


# What does not act, or not yet


def test_a_shared_message_id_needs_two_reports_on_two_days(sender: World) -> None:
    for address in (JAN, OLA, EWA):
        sender.store.record_sent("campaign@shop.example", address, stream="news")
    sender.take(dsn(returned=returned("campaign@shop.example")))
    assert sender.mailable() == NEWS
    sender.now = BEGIN + timedelta(days=1)
    sender.take(dsn(returned=returned("campaign@shop.example"), number=1))
    assert sender.mailable() == without(JAN)


@pytest.mark.parametrize("proof", ["token", "message-id"])
def test_a_forward_is_recorded_for_the_address_we_mailed(sender: World, proof: str) -> None:
    """The server behind the forward says that its address does not exist: ours does."""
    to = sender.paths[JAN] if proof == "token" else "bounces@bounces.example"
    sender.take(dsn(to, "jan.private@home.example", returned=returned("1@shop.example")))
    assert last(sender)[:2] == ("softbounce", "forwarded") and last(sender)[3] == JAN
    assert sender.mailable() == NEWS
    assert sender.store.standing("jan.private@home.example").mailable


@pytest.mark.parametrize("proof", ["token", "message-id"])
@pytest.mark.parametrize("final", ["jan.private@home.example", "j.kowalski@poczta.example", "jan@notpoczta.example"])
def test_a_member_of_an_alias_is_not_the_alias(sender: World, proof: str, final: str) -> None:
    """The report names our address as the original recipient, and another one as failing: others may still get the mail."""
    to = sender.paths[JAN] if proof == "token" else "bounces@bounces.example"
    sender.take(dsn(to, final, original=JAN, returned=returned("1@shop.example")))
    assert last(sender)[:2] == ("softbounce", "forwarded") and last(sender)[3] == JAN
    assert sender.mailable() == NEWS


@pytest.mark.parametrize("family", ["chasquid", "exim", "opensmtpd", "postfix", "qmail", "sendmail"])
def test_a_dead_member_of_a_real_alias_does_not_silence_it(sender: World, family: str) -> None:
    """Each server tells of the alias in a way of its own; the one dead member has a hard refusal."""
    raw = (CORPUS / family / "alias3.eml").read_bytes()
    outcomes = classify(parse(raw))
    assert [one.status.value for one in outcomes] == ["hardbounce", "softbounce"]
    alias = "alias3@corp.example" if family == "chasquid" else "team@alias.example"
    sender.store.record_sent(outcomes[0].message_id or "", alias, stream="news")
    sender.take(raw.decode())
    recorded = sender.store.outcomes(copies=True)
    assert [(one.trust.value, one.outcome.recipient, one.outcome.status.value) for one in recorded] == [
        ("forwarded", alias, "softbounce")
    ] * 2
    assert sender.store.standing(alias).mailable


def test_four_forwards_of_four_messages_over_two_weeks_act(sender: World) -> None:
    for number, day in enumerate((0, 5, 10, 15)):
        sender.now = BEGIN + timedelta(days=day)
        sender.send(JAN, f"forward{number}@shop.example")
        sender.take(dsn(sender.paths[JAN], "jan.private@home.example", number=day))
        assert (JAN in sender.mailable()) is (day < 15)


def test_a_list_member_that_fails_blames_nobody(sender: World) -> None:
    """Postfix expands an alias of ours into addresses that we never mailed: two recipients in one report."""
    raw = dsn(sender.paths[JAN], "one@members.example").replace(
        "\n--b--", "\nFinal-Recipient: rfc822; two@members.example\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 unknown\n\n--b--"
    )  # fmt: skip
    sender.take(raw)
    assert {one.trust.value for one in sender.store.outcomes(copies=True)} == {"forwarded"}
    assert sender.mailable() == NEWS


def by_hand(inner: str) -> str:
    """A bounce that somebody passes on as an attachment."""
    return (
        "From: Ola <ola@office.example>\nTo: bounces@bounces.example\nSubject: Fwd: please look\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="h"\n\n--h\n\nsee below\n'
        f"--h\nContent-Type: message/rfc822\n\n{inner}\n--h--\n"
    )


def test_a_bounce_passed_on_by_a_person_is_recorded_and_acts_on_nobody(sender: World) -> None:
    """Whoever passes it on could have written it: neither the ledger, now or later, nor any number of them proves it."""
    for day in range(4):
        sender.now = BEGIN + timedelta(days=5 * day)
        inner = dsn("bounces@bounces.example", returned=returned("1@shop.example"), number=day)
        sender.take(by_hand(inner))
    sender.store.settle()
    assert last(sender)[:2] == ("hardbounce", "unverified") and last(sender)[3] == JAN
    assert sender.mailable() == NEWS


def test_a_bounce_passed_on_with_its_own_token_acts(sender: World) -> None:
    """The signed return path stands in the returned message."""
    inner = dsn(
        "bounces@bounces.example", returned=f"Return-Path: <{sender.paths[JAN]}>\n" + returned("1@shop.example")
    )
    sender.take(by_hand(inner))
    assert last(sender)[:2] == ("hardbounce", "verified")
    assert sender.mailable() == without(JAN)


def test_a_bounce_before_its_ledger_row_acts_when_the_row_comes(sender: World) -> None:
    """A nightly import behind a five-minute poll."""
    sender.take(dsn(recipient="new@poczta.example", returned=returned("late@shop.example")))
    assert last(sender)[1] == "unverified"
    sender.now = BEGIN + timedelta(hours=9)
    sender.store.record_sent("late@shop.example", "new@poczta.example", stream="news")
    assert last(sender)[:3] == ("hardbounce", "correlated", "message-id:returned")
    assert not sender.store.standing("new@poczta.example").mailable


def test_a_providers_return_path_leads_to_its_id_when_the_row_comes(sender: World) -> None:
    """The provider's id is told by its answer to the message, which the nightly import brings."""
    path = "Return-Path: <0102018fa2b3c4d5-5e6f7a8b-1c2d-4e5f-8a9b-0c1d2e3f4a5b-000000@eu-west-1.amazonses.com>\n"
    sender.take(dsn(recipient="new@poczta.example", returned=path + "Subject: Autumn offer\n"))
    assert last(sender)[1] == "unverified"
    sender.store.record_sent(
        "late@shop.example",
        "new@poczta.example",
        stream="news",
        provider_id="0102018fa2b3c4d5-5e6f7a8b-1c2d-4e5f-8a9b-0c1d2e3f4a5b-000000",
    )
    sender.store.settle()
    assert last(sender)[:2] == ("hardbounce", "correlated")


def test_a_plain_verp_address_still_says_who_is_meant_when_the_rows_come(sender: World) -> None:
    sender.take(dsn("list-bounces+ola=poczta.example@bounces.example", None, returned=returned("late@shop.example")))
    sender.store.import_sent(
        SentMessage(message_id="late@shop.example", recipient=address, stream="news") for address in (JAN, OLA)
    )
    assert last(sender) == ("hardbounce", "correlated", "message-id:returned", OLA)


def test_a_plain_verp_address_that_names_another_blames_nobody(sender: World) -> None:
    """The Message-ID leads to the message's only recipient, the return path to somebody else."""
    sender.take(dsn("list-bounces+ola=poczta.example@bounces.example", None, returned=returned("1@shop.example")))
    assert last(sender)[:2] == ("softbounce", "forwarded")
    assert sender.mailable() == NEWS


def _token_comes_late(sender: World, token_id: int, message_id: str, recipient: str) -> None:
    """The message whose token another service signed enters the ledger."""
    sender.now += timedelta(hours=9)
    sender.store.record_sent(message_id, recipient, stream="news", token_id=token_id)


def test_a_token_whose_message_comes_late_is_verified_then(sender: World) -> None:
    token = sign(KEYS, Purpose.RETURN_PATH, 4711, BOUNCES, expires=date(2026, 11, 2))
    sender.take(dsn(f"b+{token}@{BOUNCES}", "new@poczta.example"))
    assert last(sender)[1:3] == ("unverified", "token:return-path")
    sender.now = BEGIN + timedelta(days=3)  # the token has expired since; it had not when it came
    _token_comes_late(sender, 4711, "late@shop.example", "new@poczta.example")
    assert last(sender)[:3] == ("hardbounce", "verified", "token:return-path")
    assert not sender.store.standing("new@poczta.example").mailable


@pytest.mark.parametrize("expires", [None, date(2026, 2, 1)])
def test_a_request_whose_token_comes_late_waits_no_longer(sender: World, expires: date | None) -> None:
    sender.take(request(f"unsubscribe:{sign(KEYS, Purpose.UNSUBSCRIBE, 4711, expires=expires)}", sender="x@y.example"))
    assert [one.why for one in sender.store.requests()] == ["unknown-token"]
    _token_comes_late(sender, 4711, "late@shop.example", "new@poczta.example")
    assert list(sender.store.requests()) == []
    assert list(sender.store.mailable(["new@poczta.example"], "news")) == []


def test_a_complaint_whose_token_comes_late_acts_then(sender: World) -> None:
    sender.take(arf(f"CFBL-Feedback-ID: {sign(KEYS, Purpose.FEEDBACK, 4711)}\n"))
    _token_comes_late(sender, 4711, "late@shop.example", "new@poczta.example")
    assert last(sender) == ("complaint", "verified", "token:feedback-id", "new@poczta.example")
    assert list(sender.store.mailable(["new@poczta.example"], "news")) == []


def test_a_request_of_an_address_that_the_ledger_learns_later_waits_no_longer(sender: World) -> None:
    sender.take(request(sender="new@poczta.example", head=AUTHENTIC))
    assert [one.why for one in sender.store.requests()] == ["unknown-address"]
    sender.now = BEGIN + timedelta(hours=9)
    sender.store.record_sent("late@shop.example", "new@poczta.example", stream="news")
    sender.store.settle()
    assert list(sender.store.requests()) == []
    assert list(sender.store.mailable(["new@poczta.example"], "news")) == []


def test_a_traps_complaint_counts_for_its_stream_when_the_row_comes(sender: World) -> None:
    """And for nobody's address, whatever the report says."""
    fields = "Abuse-Type: trap-recycled\nOriginal-Rcpt-To: <trap@poczta.example>\n"
    sender.take(arf(returned("late@shop.example"), fields=fields))
    assert [line.group for line in sender.store.stats("stream")] == [None]
    sender.now = BEGIN + timedelta(hours=9)
    sender.store.record_sent("late@shop.example", "trap@poczta.example", stream="news")
    assert [(line.group, dict(line.statuses)) for line in sender.store.stats("stream")] == [("news", {"complaint": 1})]
    assert last(sender) == ("complaint", "correlated", "message-id:returned", None)
    assert list(sender.store.mailable(["trap@poczta.example"], "news")) == ["trap@poczta.example"]


def test_a_deferral_is_no_failure(sender: World) -> None:
    for day in range(20):
        sender.now = BEGIN + timedelta(days=day)
        sender.take(dsn(sender.paths[JAN], number=day, action="delayed", status="4.4.1", words="connection timed out"))
    assert sender.mailable() == NEWS


def test_a_late_bounce_of_an_expired_return_path_waits_for_proof(sender: World) -> None:
    expired = sender.token(JAN, Purpose.RETURN_PATH, BOUNCES, date(2026, 10, 1))
    sender.take(dsn(f"b+{expired}@{BOUNCES}", returned=returned("1@shop.example")))
    assert last(sender)[1] == "unverified" and sender.mailable() == NEWS


def test_without_a_ledger_that_covers_the_mailbox_two_reports_on_two_days_act(database_url: str) -> None:
    """trust = "auto": who does not keep a ledger is not left without suppressions."""
    with world(database_url, Proof.AUTO) as sender:
        sender.take(dsn(recipient="p@poczta.example"))
        assert sender.store.standing("p@poczta.example").mailable
        sender.now = BEGIN + timedelta(days=1)
        sender.take(dsn(recipient="p@poczta.example", number=1))
        assert not sender.store.standing("p@poczta.example").mailable


def test_a_token_outlives_the_ledgers_row(sender: World) -> None:
    with sender.store._database.write() as connection:
        connection.execute(sa.delete(sent))
    sender.take(dsn(sender.paths[JAN]))
    assert last(sender) == ("hardbounce", "verified", "token:return-path", JAN)
    assert sender.mailable() == without(JAN)


def test_a_foreign_id_that_looks_like_a_token_is_no_forgery(sender: World) -> None:
    """Other systems have ids of 29 letters, too: only where ours stand can one be wrong."""
    foreign = "ae" + "q7z2" * 6 + "abc"
    headers = f"Message-ID: <{foreign}@relay.example>\nList-Unsubscribe: <https://other.example/{foreign}>\nFeedback-ID: {foreign}:x\n"
    sender.take(dsn(returned=headers))
    assert last(sender)[1] == "unverified"
    sender.take(dsn(returned=headers.replace("Message-ID", "X-Id") + "Message-ID: <1@shop.example>\n", number=1))
    assert last(sender)[1] == "correlated" and sender.mailable() == without(JAN)


def test_a_relay_that_breaks_one_identifier_leaves_the_others(sender: World) -> None:
    """A valid return path is not undone by a mangled header in the returned message."""
    token = sender.headers[JAN]["CFBL-Feedback-ID"]
    sender.take(dsn(sender.paths[JAN], returned=f"CFBL-Feedback-ID: {token[:-4]}aaaa\n{returned('1@shop.example')}"))
    assert last(sender)[1:3] == ("verified", "token:return-path")

"""Forged reports: none suppresses, and each is recorded as what it is.

Each attack comes six times within twenty days, which is more than any line of the policy asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

import pytest
from forgeries import (
    AUTHENTIC,
    BEGIN,
    BOUNCES,
    EWA,
    JAN,
    KEYS,
    OLA,
    SHOP,
    Attack,
    World,
    arf,
    broken,
    dsn,
    request,
    returned,
    sns,
    world,
)

from bounceparse.policy import Proof
from bounceparse.verp import Key, Keyring, Purpose, find_tokens, sign

DAYS = (0, 3, 6, 10, 15, 20)
FORGED, UNVERIFIED, FORWARDED = "forged", "unverified", "forwarded"
OTHER_SECRET = Keyring((Key(1, b"x" * 32, date(2026, 1, 1)),))
DROPPED = Keyring((Key(7, b"d" * 32, date(2026, 1, 1)),))
PATH, ENVID, FEEDBACK = Purpose.RETURN_PATH, Purpose.ENVELOPE_ID, Purpose.FEEDBACK
UNSUBSCRIBE, MESSAGE_ID = Purpose.UNSUBSCRIBE, Purpose.MESSAGE_ID
BY_PATH, BY_ENVID, BY_FEEDBACK = "token:return-path", "token:envelope-id", "token:feedback-id"
BY_UNSUBSCRIBE, BY_MESSAGE_ID = "token:unsubscribe", "token:message-id"


@pytest.fixture
def sender(database_url: str) -> Iterator[World]:
    with world(database_url) as made:
        yield made


class Case(NamedTuple):
    """An attack, and as what it is recorded."""

    name: str
    attack: Attack
    trust: str
    matched_by: str | None = None
    evidence: str | None = None


def at(token: str, n: int, **options: str) -> str:
    """A bounce of a dead address that came to the return path with this token."""
    return dsn(f"b+{token}@{BOUNCES}", number=n, **options)  # type: ignore[arg-type]


def path_token(w: World, recipient: str = JAN) -> str:
    return find_tokens(w.paths[recipient])[0]


def twin(token: str) -> str:
    """The other spelling of the same bytes: its last, spare bit is set."""
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def id_of(token: str, other: str) -> str:
    """``token`` with the id and all before the signature of ``other``."""
    return other[:12] + token[12:]


RETURN_PATHS = [
    Case("a guess with the number of our key", lambda w, n: at("ae" + "q7z2" * 6 + "abc", n), FORGED, BY_PATH, "bad-mac"),
    Case("a guess with another key's number", lambda w, n: at("4e" + "q7z2" * 6 + "abc", n), UNVERIFIED, BY_PATH, "unknown-key"),
    Case("the id of another message", lambda w, n: at(id_of(path_token(w, OLA), path_token(w)), n), FORGED, BY_PATH, "bad-mac"),
    Case("an edited expiry", lambda w, n: at(broken(path_token(w), 11), n), FORGED, BY_PATH, "bad-mac"),
    Case("an edited signature", lambda w, n: at(broken(path_token(w), 25), n), FORGED, BY_PATH, "bad-mac"),
    Case("the spare bit set", lambda w, n: at(twin(path_token(w)), n), FORGED, BY_PATH, "bad-mac"),
    Case("the spare bit set, in capitals", lambda w, n: at(twin(path_token(w)).upper(), n), FORGED, BY_PATH, "bad-mac"),
    Case("an expired one", lambda w, n: at(w.token(JAN, PATH, BOUNCES, date(2026, 10, 1)), n), UNVERIFIED, BY_PATH, "expired "),
    Case(
        "an expired one with the right Message-ID",
        lambda w, n: at(w.token(JAN, PATH, BOUNCES, date(2026, 10, 1)), n, returned=returned("1@shop.example")),
        UNVERIFIED, BY_PATH, "expired ",
    ),
    Case("an unsubscribe token", lambda w, n: at(w.token(JAN, UNSUBSCRIBE), n), FORGED, BY_PATH, "bad-mac"),
    Case("an unsubscribe token for our domain", lambda w, n: at(w.token(JAN, UNSUBSCRIBE, BOUNCES), n), FORGED, BY_PATH),
    Case("a feedback id", lambda w, n: at(w.token(JAN, FEEDBACK), n), FORGED, BY_PATH, "bad-mac"),
    Case("a Message-ID's token", lambda w, n: at(w.token(JAN, MESSAGE_ID, SHOP), n), FORGED, BY_PATH, "bad-mac"),
    Case("an envelope id", lambda w, n: at(w.token(JAN, ENVID), n), FORGED, BY_PATH, "bad-mac"),
    Case("one of another domain of ours", lambda w, n: at(w.token(JAN, PATH, "b2.example"), n), FORGED, BY_PATH, "bad-mac"),
    Case("one without a domain", lambda w, n: at(w.token(JAN, PATH), n), FORGED, BY_PATH, "bad-mac"),
    Case(
        "one signed with another secret of the same number",
        lambda w, n: at(sign(OTHER_SECRET, PATH, w.ids[JAN], BOUNCES), n), FORGED, BY_PATH, "bad-mac",
    ),
    Case(
        "one signed with a key that was dropped",
        lambda w, n: at(sign(DROPPED, PATH, w.ids[JAN], BOUNCES), n), UNVERIFIED, BY_PATH, "unknown-key",
    ),
    Case(
        "a wrong one with the right Message-ID and recipient",
        lambda w, n: at(broken(path_token(w)), n, returned=returned("1@shop.example")), FORGED, BY_PATH, "bad-mac",
    ),
    Case(
        "one whose key is gone, with the right Message-ID and recipient",
        lambda w, n: at(sign(DROPPED, PATH, w.ids[JAN], BOUNCES), n, returned=returned("1@shop.example")),
        UNVERIFIED, BY_PATH, "unknown-key",
    ),
    Case("a wrong one with a success", lambda w, n: at(broken(path_token(w)), n, action="delivered", status="2.0.0", words="250 OK"), FORGED, BY_PATH),
    Case("letters that only look the same", lambda w, n: at(path_token(w)[:-1] + "\u017f", n), UNVERIFIED),
    Case("one with a digit that base32 has not", lambda w, n: at("1" + path_token(w)[1:], n), UNVERIFIED),
    Case("one that is too short", lambda w, n: at(path_token(w)[:-1], n), UNVERIFIED),
    Case("one that is too long", lambda w, n: at(path_token(w) + "a", n), UNVERIFIED),
    Case("one in two pieces", lambda w, n: at(f"{path_token(w)[:10]}.{path_token(w)[10:]}", n), UNVERIFIED),
    Case("one in quoted-printable", lambda w, n: at(path_token(w).replace("a", "=61"), n), UNVERIFIED),
    Case("one wrapped by an SRS of nobody's domain", lambda w, n: dsn(f"SRS0=HH=TT=b2.example=b+{path_token(w)}@fwd.example", number=n), FORGED, BY_PATH),
    Case("the right one for another's address", lambda w, n: at(path_token(w), n, recipient=OLA), FORWARDED, BY_PATH),
    Case("the right one for an address at the same domain", lambda w, n: at(path_token(w), n, recipient="root@poczta.example"), FORWARDED, BY_PATH),
    Case(
        "the right one with another's Message-ID",
        lambda w, n: at(path_token(w, OLA), n, returned=returned("1@shop.example")), FORWARDED, BY_PATH,
    ),
]  # fmt: skip
PLACES = [
    Case("in the text alone", lambda w, n: dsn(number=n, text=f"To {w.paths[JAN]} and {path_token(w)}"), UNVERIFIED),
    Case("in the server's words alone", lambda w, n: dsn(number=n, words=f"550 5.1.1 <{w.paths[JAN]}> unknown"), UNVERIFIED),
    Case("in To alone", lambda w, n: dsn(number=n).replace("To: <bounces@bounces.example>", f"To: <{w.paths[JAN]}>"), UNVERIFIED),
    Case("in a Delivered-To further down", lambda w, n: dsn(number=n, head=f"Delivered-To: {w.paths[JAN]}\n"), UNVERIFIED),
    Case("in a header that our server does not add", lambda w, n: dsn(number=n, head=f"X-Original-To: {w.paths[JAN]}\nEnvelope-To: {w.paths[JAN]}\n"), UNVERIFIED),
    Case(
        "in Received",
        lambda w, n: dsn(number=n, head=f"Received: from x by mx.bounces.example for <{w.paths[JAN]}>; Sun, 1 Nov 2026 12:00:00 +0000\n"),
        UNVERIFIED,
    ),
    Case("in the report's own Message-ID", lambda w, n: dsn(number=n).replace(f"<r{n}@", f"<{n}{path_token(w)}@"), UNVERIFIED),
    Case("in a comment of the subject", lambda w, n: dsn(number=n).replace("Undelivered", f"Undelivered ({path_token(w)})"), UNVERIFIED),
    Case("an address that names the victim", lambda w, n: dsn(f"bounces+jan=poczta.example@{BOUNCES}", None, number=n), UNVERIFIED, "verp", JAN),
    Case("nothing but recipient and subject", lambda w, n: dsn(number=n, returned="Subject: Autumn offer\n"), UNVERIFIED, "recipient-subject", "1@shop.example"),
    Case("a Message-ID that nobody sent", lambda w, n: dsn(number=n, returned=returned("99@shop.example")), UNVERIFIED, "recipient-subject"),
    Case("an own header with a guess", lambda w, n: dsn(number=n, returned=returned("99@shop.example") + "X-Message-Ref: 12345\n"), UNVERIFIED, "recipient-subject"),
]  # fmt: skip
RETURNED = [
    Case("an envelope id that was guessed", lambda w, n: dsn(number=n, envelope_id=broken(w.envelope_ids[JAN])), FORGED, BY_ENVID, "bad-mac"),
    Case("a return path as envelope id", lambda w, n: dsn(number=n, envelope_id=path_token(w)), FORGED, BY_ENVID, "bad-mac"),
    Case("an envelope id that has expired", lambda w, n: dsn(number=n, envelope_id=w.token(JAN, ENVID, expires=date(2026, 10, 1))), UNVERIFIED, BY_ENVID, "expired "),
    Case("an edited Message-ID of ours", lambda w, n: dsn(number=n, recipient=EWA, returned=returned(broken(w.message_ids[EWA]))), FORGED, BY_MESSAGE_ID, "bad-mac"),
    Case("a Message-ID of ours under another domain", lambda w, n: dsn(number=n, recipient=EWA, returned=returned(w.message_ids[EWA].replace(SHOP, "evil.example"))), UNVERIFIED, "recipient-subject"),
    Case("a Message-ID made from an unsubscribe token", lambda w, n: dsn(number=n, returned=returned(f"{w.token(JAN, UNSUBSCRIBE)}@{SHOP}")), FORGED, BY_MESSAGE_ID, "bad-mac"),
    Case("an edited Return-Path", lambda w, n: dsn(number=n, returned=f"Return-Path: <{broken(w.paths[JAN])}>\n{returned('1@shop.example')}"), FORGED, BY_PATH, "bad-mac"),
    Case("an edited List-Unsubscribe", lambda w, n: dsn(number=n, returned=f"List-Unsubscribe: <https://shop.example/unsubscribe/{broken(w.token(JAN, UNSUBSCRIBE))}>\n{returned('1@shop.example')}"), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
]  # fmt: skip
COMPLAINTS = [
    Case("of nobody's message", lambda w, n: arf(returned("99@shop.example"), fields=f"Original-Rcpt-To: <{JAN}>\n", number=n), UNVERIFIED, "recipient-subject"),
    Case("with a recipient alone", lambda w, n: arf("From: x@x.example\n", fields=f"Original-Rcpt-To: <{JAN}>\n", number=n), UNVERIFIED),
    Case("with an edited feedback id", lambda w, n: arf(f"CFBL-Feedback-ID: {broken(w.token(JAN, FEEDBACK))}\n", number=n), FORGED, BY_FEEDBACK, "bad-mac"),
    Case("with an edited feedback id and the right Message-ID", lambda w, n: arf(f"{returned('1@shop.example')}CFBL-Feedback-ID: {broken(w.token(JAN, FEEDBACK))}\n", number=n), FORGED, BY_FEEDBACK, "bad-mac"),
    Case("with an unsubscribe token as feedback id", lambda w, n: arf(f"CFBL-Feedback-ID: {w.token(JAN, UNSUBSCRIBE)}\n", number=n), FORGED, BY_FEEDBACK, "bad-mac"),
    Case("with a return path as feedback id", lambda w, n: arf(f"CFBL-Feedback-ID: {path_token(w)}\n", number=n), FORGED, BY_FEEDBACK, "bad-mac"),
    Case("with a feedback id in the text", lambda w, n: arf("From: x@x.example\n", number=n).replace("A complaint.", w.token(JAN, FEEDBACK)), UNVERIFIED),
    Case("with an edited unsubscribe link", lambda w, n: arf(f"{returned('1@shop.example')}List-Unsubscribe: <mailto:unsubscribe+{broken(w.token(JAN, UNSUBSCRIBE))}@shop.example>\n", number=n), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
    Case("of RFC 9477 that is not authentic", lambda w, n: arf(f"{returned('1@shop.example')}CFBL-Feedback-ID: 1:shop\n", number=n), UNVERIFIED, "message-id:returned", "unauthenticated"),
    Case(
        "of RFC 9477 with somebody else's Authentication-Results",
        lambda w, n: arf(f"{returned('1@shop.example')}CFBL-Feedback-ID: 1:shop\n", head="Authentication-Results: mx.evil.example; dkim=pass header.d=mail.example\n", number=n),
        UNVERIFIED, "message-id:returned", "unauthenticated",
    ),
    Case("as a notification of Amazon SES", lambda w, n: sns("Complaint", {"complainedRecipients": [{"emailAddress": JAN}], "complaintFeedbackType": "abuse"}, n), UNVERIFIED),
    Case("a bounce as a notification of Amazon SES", lambda w, n: sns("Bounce", {"bounceType": "Permanent", "bouncedRecipients": [{"emailAddress": JAN, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 user unknown"}]}, n), UNVERIFIED),
]  # fmt: skip
OURS = "Authentication-Results: mx.shop.example; "
PASS = "dmarc=pass header.from=poczta.example"
REQUESTS = [
    Case("a From that is not proven", lambda w, n: request(number=n), UNVERIFIED),
    Case("with another server's results", lambda w, n: request(head=f"Authentication-Results: mx.evil.example; {PASS}\n", number=n), UNVERIFIED),
    Case("with our name as the beginning of another", lambda w, n: request(head=f"Authentication-Results: mx.shop.example.evil.example; {PASS}\n", number=n), UNVERIFIED),
    Case("with our results below our own", lambda w, n: request(head=f"{OURS}dmarc=fail header.from=poczta.example\n{OURS}{PASS}\n", number=n), UNVERIFIED),
    Case("with a pass in a comment", lambda w, n: request(head=f"{OURS}spf=fail ({PASS}) smtp.mailfrom=x.example\n", number=n), UNVERIFIED),
    Case("with a pass in a comment in a comment", lambda w, n: request(head=f"{OURS}spf=fail (a (b; {PASS}) c) smtp.mailfrom=x.example\n", number=n), UNVERIFIED),
    Case("with a pass in quotes", lambda w, n: request(head=f'{OURS}spf=fail smtp.mailfrom="a; {PASS}"\n', number=n), UNVERIFIED),
    Case("with a folded name", lambda w, n: request(head=f"Authentication-Results: mx.evil.example;\n mx.shop.example; {PASS}\n", number=n), UNVERIFIED),
    Case("with a pass for another domain", lambda w, n: request(head=f"{OURS}dmarc=pass header.from=evil.example\n", number=n), UNVERIFIED),
    Case("with a signature of a child domain", lambda w, n: request(head=f"{OURS}dkim=pass header.d=evil.poczta.example\n", number=n), UNVERIFIED),
    Case("with SPF alone", lambda w, n: request(head=f"{OURS}spf=pass smtp.mailfrom=poczta.example\n", number=n), UNVERIFIED),
    Case("with a token that was guessed", lambda w, n: request(f"unsubscribe:{broken(w.token(JAN, UNSUBSCRIBE))}", head=AUTHENTIC, number=n), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
    Case("with a token that was guessed, in the address", lambda w, n: request("x", to=f"unsubscribe+{broken(w.token(JAN, UNSUBSCRIBE))}@shop.example", head=AUTHENTIC, number=n), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
    Case("with a return path's token", lambda w, n: request(f"unsubscribe:{path_token(w)}", head=AUTHENTIC, number=n), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
    Case("with a feedback id", lambda w, n: request(body=f"unsubscribe {w.token(JAN, FEEDBACK)}", head=AUTHENTIC, number=n), FORGED, BY_UNSUBSCRIBE, "bad-mac"),
    Case("with a token of nobody's message", lambda w, n: request(f"unsubscribe:{sign(KEYS, UNSUBSCRIBE, 4711)}", number=n), UNVERIFIED, BY_UNSUBSCRIBE, "unknown-id 4711"),
    Case("with a token of a dropped key", lambda w, n: request(f"unsubscribe:{sign(DROPPED, UNSUBSCRIBE, w.ids[JAN])}", number=n), UNVERIFIED, BY_UNSUBSCRIBE, "unknown-key"),
]  # fmt: skip
ATTACKS = [*RETURN_PATHS, *PLACES, *RETURNED, *COMPLAINTS, *REQUESTS]


def test_there_are_enough_of_them() -> None:
    assert len(ATTACKS) >= 40 and len({(case.name, id(case.attack)) for case in ATTACKS}) == len(ATTACKS)


def launch(sender: World, attack: Attack) -> None:
    for day in DAYS:
        sender.now = BEGIN + timedelta(days=day)
        sender.take(attack(sender, day))
    sender.store.settle()


@pytest.mark.parametrize("case", ATTACKS, ids=lambda case: case.name)
def test_an_attack_suppresses_nobody_and_is_recorded_as_what_it_is(sender: World, case: Case) -> None:
    launch(sender, case.attack)
    assert sender.mailable() == [JAN, OLA, EWA]
    assert not list(sender.store.suppressions())
    found = sender.trusts()
    assert len(found) == len(DAYS)
    for day, (trust, matched_by, evidence) in zip(DAYS, found, strict=True):
        if case.matched_by == "recipient-subject" and day > 14:
            assert (trust, matched_by) == (case.trust, None)  # nothing was sent so shortly before
            continue
        assert (trust, matched_by) == (case.trust, case.matched_by)
        assert case.evidence is None or (evidence or "").startswith(case.evidence)
    if case.trust != FORWARDED:  # a forward tells the ledger that the message came back
        assert sender.ledger() == [("injected", False, False)] * 3


@pytest.mark.parametrize("case", [case for case in ATTACKS if case.trust == FORGED], ids=lambda case: case.name)
def test_a_forgery_does_not_even_count_where_anything_counts(database_url: str, case: Case) -> None:
    with world(database_url, Proof.ANY) as sender:
        launch(sender, case.attack)
        assert not list(sender.store.suppressions())


def test_a_message_id_with_another_address_blames_nobody_else(sender: World) -> None:
    """Somebody who has seen Jan's message cannot use it against Ola."""
    launch(sender, lambda w, n: dsn(number=n, recipient=OLA, returned=returned("1@shop.example")))
    assert {OLA, EWA} <= set(sender.mailable())
    assert {(trust, by) for trust, by, _ in sender.trusts()} == {(FORWARDED, "message-id:returned")}
    assert {one.outcome.recipient for one in sender.store.outcomes()} == {JAN}
    assert {one.outcome.status for one in sender.store.outcomes()} == {"softbounce"}


# Replays


def test_many_reports_with_one_token_count_once(sender: World) -> None:
    """A full mailbox suppresses after four reports in two weeks, but not because one message came back thirty times."""
    for day in range(30):
        sender.now = BEGIN + timedelta(days=day)
        full = at(path_token(sender), day, status="5.2.2", words="552 5.2.2 mailbox full")
        sender.take(full)
    assert sender.mailable() == [JAN, OLA, EWA]
    assert {trust for trust, *_ in sender.trusts()} == {"verified"}
    assert len(list(sender.store.outcomes())) == 1


def test_many_reports_with_one_token_for_strangers_count_once(sender: World) -> None:
    for day in range(30):
        sender.now = BEGIN + timedelta(days=day)
        sender.take(at(path_token(sender), day, recipient=f"p{day}@poczta.example"))
    assert sender.mailable() == [JAN, OLA, EWA]
    assert {trust for trust, *_ in sender.trusts()} == {"forwarded"}


def test_a_replay_with_another_code_changes_nothing(sender: World) -> None:
    """The first report of a failure decides: what a full mailbox was cannot become a dead address."""
    sender.take(at(path_token(sender), 0, status="5.2.2", words="552 5.2.2 mailbox full"))
    for day in DAYS[1:]:
        sender.now = BEGIN + timedelta(days=day)
        sender.take(at(path_token(sender), day))
    assert sender.mailable() == [JAN, OLA, EWA]
    (known,) = sender.store.outcomes()
    assert known.outcome.reason == "mailbox-full"


def test_a_replay_after_a_person_lifted_the_suppression_changes_nothing(sender: World) -> None:
    sender.take(at(path_token(sender), 0))
    assert JAN not in sender.mailable()
    sender.now = BEGIN + timedelta(days=1)
    sender.store.lift(JAN, note="he called", by="ola")
    for day in DAYS[1:]:
        sender.now = BEGIN + timedelta(days=day)
        sender.take(at(path_token(sender), day))
    assert JAN in sender.mailable()


def test_the_same_report_again_is_the_same(sender: World) -> None:
    """From another mailbox, too, in capitals, and with other line ends."""
    raw = at(path_token(sender), 0, status="5.2.2", words="552 5.2.2 mailbox full")
    sender.take(raw)
    sender.take(raw.replace("\n", "\r\n"))
    sender.take(raw, account="other")
    assert len(sender.trusts()) == 1


def test_a_forged_success_clears_no_counts(sender: World) -> None:
    """Whoever wants mail to go on to a full mailbox cannot make us forget."""
    for number, day in enumerate((0, 5, 10, 16)):
        sender.now = BEGIN + timedelta(days=day)
        sender.send(JAN, f"full{number}@shop.example")
        sender.take(at(path_token(sender), day, status="5.2.2", words="552 5.2.2 mailbox full"))
        lie = broken(path_token(sender))
        sender.take(at(lie, day + 40, action="delivered", status="2.0.0", words="250 OK"))
    assert JAN not in sender.mailable()


# Whole domains


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("5.1.10", "556 5.1.10 recipient address has null MX"),
        ("5.1.2", "550 5.1.2 Host or domain name not found. NXDOMAIN"),
        ("4.4.1", "connect to mx.poczta.example: Connection timed out"),
    ],
)
def test_floods_about_a_domain_silence_no_provider(sender: World, status: str, words: str) -> None:
    """Unproven, and with the token of somebody who has an address elsewhere."""
    sender.send("eve@evil.example", "3@shop.example")
    for day in range(25):
        sender.now = BEGIN + timedelta(days=day)
        for number in range(3):
            victim = f"p{day}x{number}@poczta.example"
            sender.take(dsn(number=1000 + day * 3 + number, recipient=victim, status=status, words=words))
        token = path_token(sender, "eve@evil.example")
        sender.take(at(token, day, recipient=f"q{day}@poczta.example", status=status, words=words))
    assert sender.mailable() == [JAN, OLA, EWA]
    assert not any(one.subject == "@poczta.example" for one in sender.store.suppressions())


def test_one_insider_cannot_silence_a_provider_that_takes_our_mail(sender: World) -> None:
    """Eve has an address there and so a token; mail to others at the same domain has got through."""
    for number in range(5):
        sender.store.record_sent(
            f"ok{number}@shop.example", f"p{number}@poczta.example", stream="news", status="ok", sent_at=BEGIN,
            status_at=BEGIN,
        )  # fmt: skip
    sender.now = BEGIN + timedelta(days=2)
    sender.send("eve@poczta.example", "3@shop.example")
    sender.take(at(path_token(sender, "eve@poczta.example"), 2, recipient="eve@poczta.example", status="5.1.10", words="556 5.1.10 recipient address has null MX"))  # fmt: skip
    assert ("verified", BY_PATH) in [one[:2] for one in sender.trusts()]
    assert sender.mailable() == [JAN, OLA, EWA]

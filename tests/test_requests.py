"""Which unsubscribe requests and complaints act, on whom, and what waits for a person."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bounceparse import parse
from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.errors import ConfigError
from bounceparse.outgoing import Outgoing
from bounceparse.requests import RequestSettings, is_authenticated, is_signed
from bounceparse.verp import Key, Keyring, Purpose, find_tokens, format_keys, sign

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEYS = Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),))
OUTGOING = Outgoing(unsubscribe_address="unsubscribe+{token}@shop.example", complaint_address="fbl@shop.example")
JAN, OLA = "jan@poczta.example", "ola@poczta.example"
LIST = "unsubscribe@shop.example"
PASSED = "Authentication-Results: mx.shop.example; dmarc=pass header.from=poczta.example\n"
SETTINGS = RequestSettings(
    keyring=KEYS,
    addresses=frozenset([LIST]),
    mailboxes=frozenset(["optout"]),
    authserv_ids={"": "mx.shop.example", "optout": "mx.shop.example"},
)


@pytest.fixture
def database(database_url: str) -> Iterator[Store]:
    """A store that knows one marketing message to Jan and one transactional message to Ola."""
    with Store(database_url, request_settings=SETTINGS, clock=lambda: NOW) as store:
        store.record_sent("1@shop.example", JAN, stream="news", sender="shop", from_address="news@shop.example")
        store.record_sent("2@shop.example", OLA, stream="orders", sender="shop", category="transactional")
        yield store


def ask(
    subject: str = "unsubscribe", *, sender: str = JAN, to: str = LIST, head: str = PASSED, body: str = ""
) -> bytes:
    return f"{head}From: {sender}\nTo: {to}\nSubject: {subject}\nMessage-ID: <r1@poczta.example>\n\n{body}\n".encode()


def mailed(store: Store, address: str = JAN, stream: str = "news") -> bool:
    return list(store.mailable([address], stream)) == [address]


def why(store: Store) -> list[str]:
    return [one.why for one in store.requests()]


def tokens(store: Store, **columns: str) -> tuple[str, str]:
    """The unsubscribe token and the feedback id of the message to Jan."""
    made = dict(store.sign(OUTGOING, "1@shop.example", JAN, **columns).fields)
    return find_tokens(made["List-Unsubscribe"])[0], made["CFBL-Feedback-ID"]


# By token


@pytest.mark.parametrize("where", ["address", "capitals", "delivered-to", "subject", "body", "quoted", "srs"])
def test_a_token_acts_whoever_brings_it(database: Store, where: str) -> None:
    token, _ = tokens(database)
    stranger = "stranger@other.example"
    mails = {
        "address": ask("x", sender=stranger, head="", to=f"unsubscribe+{token}@shop.example"),
        "capitals": ask("x", sender=stranger, head="", to=f"Unsubscribe+{token.upper()}@shop.example"),
        "delivered-to": ask(
            sender=stranger, head=f"Delivered-To: unsubscribe+{token}@shop.example\n", to="list@shop.example"
        ),
        "subject": ask(f"Re: unsubscribe:{token}", sender=stranger, head=""),
        "body": ask("", sender=stranger, head="", body=f"unsubscribe {token}"),
        "quoted": ask("", sender=stranger, head="", body=f"> {token}"),
        "srs": ask(sender=stranger, head="", to=f"SRS0=HH=TT=shop.example=unsubscribe+{token}@forwarder.example"),
    }
    database.ingest(mails[where])
    (outcome,) = database.outcomes()
    assert (outcome.trust, outcome.matched_by, outcome.outcome.recipient) == ("verified", "token:unsubscribe", JAN)
    assert not mailed(database) and why(database) == []


def test_an_expired_token_is_honoured(database: Store) -> None:
    tokens(database)
    token_id = _token_id(database)
    old = sign(KEYS, Purpose.UNSUBSCRIBE, token_id, expires=date(2026, 1, 2))
    database.ingest(ask(f"unsubscribe:{old}", head=""))
    (outcome,) = database.outcomes()
    assert (outcome.trust, outcome.matched_by) == ("unverified", "token:unsubscribe:expired")
    assert not mailed(database)


def _token_id(store: Store) -> int:
    import sqlalchemy as sa

    from bounceparse.db.tables import tokens as table

    with store._database.read() as connection:
        return int(connection.execute(sa.select(table.c.id)).scalar_one())


@pytest.mark.parametrize("purpose", [Purpose.RETURN_PATH, Purpose.FEEDBACK])
def test_a_forged_token_never_acts_and_waits(database: Store, purpose: Purpose) -> None:
    """Not even with an authentic From address: somebody tries something."""
    tokens(database)
    database.ingest(ask(f"unsubscribe:{sign(KEYS, purpose, _token_id(database))}"))
    (outcome,) = database.outcomes()
    assert outcome.trust == "forged"
    assert mailed(database) and why(database) == ["forged-token"]


def test_a_token_that_leads_nowhere_waits(database: Store) -> None:
    database.ingest(ask(f"unsubscribe:{sign(KEYS, Purpose.UNSUBSCRIBE, 12345)}"))
    assert mailed(database) and why(database) == ["unknown-token"]


def test_a_token_outlives_the_ledger(database: Store) -> None:
    """What it was made for is known without the row of the message."""
    import sqlalchemy as sa

    token, _ = tokens(database, stream="news")
    with database._database.write() as connection:
        connection.execute(sa.text("DELETE FROM bounceparse_sent"))
    database.ingest(ask(f"unsubscribe:{token}", head=""))
    assert not mailed(database)


# By the From address


def test_words_act_at_the_request_address_when_the_sender_is_authentic(database: Store) -> None:
    database.ingest(ask("Wypisz mnie"))
    (outcome,) = database.outcomes()
    assert (outcome.matched_by, outcome.stream) == ("from", "news")
    assert not mailed(database) and why(database) == []


def test_words_act_in_a_mailbox_that_is_there_for_requests(database: Store) -> None:
    database.ingest(ask(to="anything@shop.example"), account="optout")
    assert not mailed(database)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (ask(to="news@shop.example"), "not-to-us"),
        (ask(head=""), "unproven"),
        (ask(head="Authentication-Results: mx.other.example; dmarc=pass header.from=poczta.example\n"), "unproven"),
        (ask(head="Authentication-Results: mx.shop.example; dmarc=fail header.from=poczta.example\n"), "unproven"),
        (ask(sender="nobody@poczta.example"), "unknown-address"),
        (ask(sender=OLA), "unknown-address"),
        (ask(sender=OLA, head=f"In-Reply-To: <2@shop.example>\n{PASSED}"), "transactional"),
        (ask("Newsletter", body="Please do not unsubscribe me, I like it."), "words"),
    ],
)
def test_everything_else_waits_for_a_person(database: Store, raw: bytes, reason: str) -> None:
    database.ingest(raw)
    assert why(database) == [reason]
    assert mailed(database) and mailed(database, OLA)
    database.ingest(raw, source="the same again")
    assert len(why(database)) == 1


def test_two_senders_of_one_address_are_for_a_person_to_tell_apart(database: Store) -> None:
    database.record_sent("9@garden.example", JAN, stream="letters", sender="garden")
    database.ingest(ask())
    assert why(database) == ["several-senders"]
    (request,) = database.requests()
    assert request.scopes.split() == ["marketing:shop", "marketing:garden"] or request.scopes.split() == [
        "marketing:garden",
        "marketing:shop",
    ]
    database.ingest(ask(head=f"In-Reply-To: <9@garden.example>\n{PASSED}", body="x"))
    assert not mailed(database, stream="letters") and mailed(database)


# Authentication-Results (RFC 8601)


@pytest.mark.parametrize(
    ("value", "authentic"),
    [
        ("mx.shop.example; dmarc=pass header.from=poczta.example", True),
        ("mx.shop.example 1; spf=fail; dmarc=pass (p=none) header.from=poczta.example", True),
        ("MX.shop.example; dkim=pass header.d=poczta.example header.s=s1", True),
        ("mx.shop.example; dkim = pass (2048-bit key) header.i=@poczta.example", True),
        ("mx.shop.example; dkim=pass header.d=other.example; dkim=pass header.d=poczta.example", True),
        ("mx.shop.example; dkim=pass header.d=other.example", False),
        ("mx.shop.example; dkim=pass header.d=example", False),
        ("mx.shop.example; dkim=pass header.d=a.poczta.example", False),
        ("mx.shop.example; dkim=fail header.d=poczta.example", False),
        ("mx.shop.example; spf=pass smtp.mailfrom=poczta.example", False),
        ("mx.shop.example; spf=fail (dmarc=pass header.from=poczta.example) smtp.mailfrom=x", False),
        ('mx.shop.example; spf=fail smtp.mailfrom="a; dmarc=pass header.from=poczta.example"', False),
        ("mx.shop.example; spf=fail (a (b; dmarc=pass header.from=poczta.example) c) smtp.mailfrom=x", False),
        ("mx.shop.example.evil.example; dmarc=pass header.from=poczta.example", False),
        ("mx.shop.example; none", False),
        ("", False),
    ],
)  # fmt: skip
def test_rfc8601_what_our_own_server_says_counts(value: str, authentic: bool) -> None:
    report = parse(ask(head=f"Authentication-Results: {value}\n"))
    assert is_authenticated(report, "optout", SETTINGS) is authentic


def test_a_parent_domain_may_sign_for_its_child() -> None:
    head = "Authentication-Results: mx.shop.example; dkim=pass header.d=poczta.example\n"
    assert is_authenticated(parse(ask(head=head, sender="jan@mail.poczta.example")), "optout", SETTINGS)


def test_rfc8601_5_only_the_topmost_of_ours_counts() -> None:
    """What lies below was there when the mail came in: anybody can write it."""
    failed = "Authentication-Results: mx.shop.example; dmarc=fail header.from=poczta.example\n"
    foreign = "Authentication-Results: mx.other.example; dmarc=fail header.from=poczta.example\n"
    assert not is_authenticated(parse(ask(head=failed + PASSED)), "optout", SETTINGS)
    assert is_authenticated(parse(ask(head=foreign + PASSED + failed)), "optout", SETTINGS)
    assert not is_authenticated(parse(ask()), "another-mailbox", SETTINGS)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("mx.shop.example; dmarc=pass (p=none) header.from=poczta.example", "dmarc=pass header.from=poczta.example"),
        ("mx.shop.example; dmarc=fail header.from=poczta.example", "dmarc=fail header.from=poczta.example"),
        ("mx.shop.example; dkim=pass header.d=poczta.example; dmarc=fail header.from=poczta.example", "dkim=pass header.d=poczta.example"),
        ("mx.shop.example; dkim=fail header.d=poczta.example; dmarc=none header.from=poczta.example", "dmarc=none header.from=poczta.example"),
        ("mx.shop.example; dmarc=pass header.from=other.example; spf=pass smtp.mailfrom=poczta.example", None),
        ("mx.other.example; dmarc=pass header.from=poczta.example", None),
        ("mx.shop.example; spf=fail (dmarc=pass header.from=poczta.example) smtp.mailfrom=x", None),
    ],
)  # fmt: skip
def test_the_reporters_authenticity_is_told_with_what_it_reports(
    database: Store, tmp_path: Path, value: str, told: str | None
) -> None:
    """Supporting evidence, for ``outcomes`` and ``explain``: by itself it matches nothing."""
    raw = arf(head=f"Authentication-Results: {value}\n").replace(b"fbl@provider.example", b"fbl@poczta.example")
    database.ingest(raw, account="optout")
    (outcome,) = database.outcomes()
    assert (outcome.reporter_auth, outcome.to_json()["reporter_auth"]) == (told, told)
    database.ingest(raw.replace(b"<1@shop.example>", b"<9@shop.example>").replace(b"fbl@", b"f@"), account="optout")
    *_, unknown = database.outcomes()
    assert unknown.trust == "unverified" and unknown.reporter_auth == told


def test_explain_tells_what_proves_a_report(database: Store, tmp_path: Path) -> None:
    """Mail that was saved is judged as that of the mailboxes, where these agree on what their server writes."""
    path = tmp_path / "complaint.eml"
    token, _ = tokens(database)
    path.write_bytes(
        arf(
            f"List-Unsubscribe: <mailto:unsubscribe+{token}@shop.example>\n",
            head="Authentication-Results: mx.shop.example; dkim=pass header.d=provider.example\n",
        )
    )
    config = tmp_path / "bounceparse.toml"
    config.write_text(
        f'[database]\nurl = "{database._database.url.render_as_string(hide_password=False)}"\n'
        '[mailbox.fbl]\nhost = "imap.shop.example"\nusername = "x"\npassword = "x"\nauthserv_id = "mx.shop.example"\n'
        f'[signing]\nkeys = "{format_keys(KEYS).splitlines()[1]}"\n'
    )
    output = CliRunner().invoke(main, ["--config", str(config), "explain", "--store", str(path)]).output
    assert "verified (by token:unsubscribe: " in output and "dkim=pass header.d=provider.example" in output
    path.write_bytes(path.read_bytes().replace(token.encode(), token[:-3].encode() + b"aaa"))
    config.write_text(config.read_text() + 'unsubscribe_address = "unsubscribe+{token}@shop.example"\n')
    output = CliRunner().invoke(main, ["--config", str(config), "explain", "--store", str(path)]).output
    assert "forged (by token:unsubscribe: bad-mac)" in output


def test_rfc6376_dkim_is_verified_on_request(database: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """dkimpy, with the public key that the DNS would give."""
    dkim = pytest.importorskip("dkim")
    private = openssl("genrsa", "-traditional", "2048")
    public = openssl("rsa", "-pubout", "-outform", "DER", given=private)
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    raw = ask(head="").replace(b"\n", b"\r\n")
    signed = dkim.sign(raw, b"s1", b"poczta.example", private, include_headers=[b"from", b"subject"]) + raw
    foreign = dkim.sign(raw, b"s1", b"other.example", private, include_headers=[b"from", b"subject"]) + raw

    def dns(name: bytes, timeout: int = 5) -> bytes:
        return record

    assert is_signed(parse(signed), signed, dns)
    changed = signed.replace(b"Subject: unsub", b"Subject: Unsub")
    for other in (changed, raw, foreign):
        assert not is_signed(parse(other), other, dns)
    settings = RequestSettings(mailboxes=frozenset(["optout"]), check_dkim=frozenset(["optout"]))
    monkeypatch.setattr("bounceparse.db.proving.is_signed", lambda report, raw: is_signed(report, raw, dns))
    with Store(
        database._database.url.render_as_string(hide_password=False), request_settings=settings, clock=lambda: NOW
    ) as store:
        store.ingest(foreign, account="optout")
        assert mailed(store) and why(store) == ["unproven"]
        store.ingest(signed, account="optout")
        assert why(store) == ["unproven"]
        store.ingest(signed.replace(b"r1@", b"r2@"), account="optout")
        assert not mailed(store)


def openssl(*words: str, given: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], input=given, capture_output=True, check=True).stdout


# Complaints


def arf(returned: str = "Message-ID: <1@shop.example>\n", fields: str = "", head: str = "") -> bytes:
    return (
        f'{head}From: fbl@provider.example\nSubject: x\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        f"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n{fields}\n--b\nContent-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    ).encode()


def test_rfc9477_a_signed_feedback_id_proves_a_complaint_that_tells_nothing_else(database: Store) -> None:
    """The privacy form: no recipient, no Message-ID; white space in the id means nothing."""
    _, feedback_id = tokens(database)
    database.ingest(arf(f"CFBL-Feedback-ID: {feedback_id[:9]}\n {feedback_id[9:]}\n"))
    (outcome,) = database.outcomes()
    assert (outcome.trust, outcome.matched_by, outcome.outcome.recipient) == ("verified", "token:feedback-id", JAN)
    assert not mailed(database)


def test_a_header_only_complaint_is_proven_by_the_token_in_list_unsubscribe(database: Store) -> None:
    token, _ = tokens(database)
    database.ingest(arf(f"List-Unsubscribe: <mailto:unsubscribe+{token}@shop.example>\n"))
    (outcome,) = database.outcomes()
    assert outcome.trust == "verified" and not mailed(database)


def test_a_forged_feedback_id_never_acts(database: Store) -> None:
    token, _ = tokens(database)
    database.ingest(arf(f"Message-ID: <1@shop.example>\nCFBL-Feedback-ID: {token}\n"))
    (outcome,) = database.outcomes()
    assert outcome.trust == "forged" and mailed(database)


@pytest.mark.parametrize(
    ("head", "trust"),
    [
        ("", "unverified"),
        ("Authentication-Results: mx.shop.example; dkim=pass header.d=provider.example\n", "correlated"),
    ],
)
def test_rfc9477_4_a_report_must_be_authentic_for_its_own_from(database: Store, head: str, trust: str) -> None:
    database.ingest(arf("Message-ID: <1@shop.example>\nCFBL-Feedback-ID: 8823:x\n", head=head))
    (outcome,) = database.outcomes()
    assert outcome.trust == trust


def test_a_traps_complaint_counts_for_the_stream_and_suppresses_nobody(database: Store) -> None:
    database.ingest(arf(fields="Abuse-Type: trap-recycled\n"))
    (outcome,) = database.outcomes()
    assert (outcome.outcome.status, outcome.stream, outcome.outcome.recipient) == ("complaint", "news", None)
    assert mailed(database)
    assert [(line.group, dict(line.statuses)) for line in database.stats("stream")] == [("news", {"complaint": 1})]


# A person decides


def test_accepting_suppresses_marketing_of_the_sender(database: Store) -> None:
    database.ingest(ask(head=""))
    (request,) = database.requests()
    database.accept_request(request.id, by="ola", note="phoned")
    assert not mailed(database) and why(database) == []
    (decided,) = database.requests(None)
    assert (decided.state, decided.decided_by, decided.note) == ("accepted", "ola", "phoned")
    standing = database.standing(JAN)
    assert (standing.status, standing.reason) == ("unsubscribe", "unsubscribe-request")
    with pytest.raises(ConfigError, match="accepted already"):
        database.reject_request(request.id)


def test_rejecting_leaves_the_address_alone(database: Store) -> None:
    database.ingest(ask(head=""))
    (request,) = database.requests()
    database.reject_request(request.id)
    assert mailed(database) and why(database) == []
    with pytest.raises(ConfigError, match="no request 99"):
        database.accept_request(99)


def test_accepting_for_another_address_and_scope(database: Store) -> None:
    database.ingest(ask(sender="jan.private@other.example", head=""))
    (request,) = database.requests()
    database.accept_request(request.id, address=JAN, scope="sender:shop")
    assert not mailed(database)


def _config(store: Store, tmp_path: Path) -> list[str]:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{store._database.url.render_as_string(hide_password=False)}"\n')
    return ["--config", str(path)]


def test_review_on_the_command_line(database: Store, tmp_path: Path) -> None:
    for number in range(3):
        database.ingest(ask(head=f"X-Number: {number}\n", body=str(number), sender=f"p{number}@poczta.example"))
    config = _config(database, tmp_path)
    run: Any = lambda *words: CliRunner().invoke(main, [*config, *words])  # noqa: E731
    listed = run("review", "list").output
    assert listed.count("not authenticated") == 3
    assert run("review", "accept", "1", "2", "--by", "ola").exit_code == 0
    assert run("review", "reject", "3", "--note", "spam").exit_code == 0
    assert run("review", "accept", "1").exit_code == 1
    assert "authenticated" not in run("review", "list").output
    rows = [json.loads(line) for line in run("review", "list", "--all", "--json").output.splitlines()]
    assert [row["state"] for row in rows] == ["accepted", "accepted", "rejected"]
    assert run("review", "accept", "1", "--address", "nobody").exit_code == 1


@pytest.mark.parametrize(("hours", "warned"), [(23, False), (25, True)])
def test_doctor_and_stats_warn_of_requests_that_wait_too_long(
    database: Store, tmp_path: Path, hours: int, warned: bool
) -> None:
    """Mailbox providers allow 48 hours."""
    with Store(
        database._database.url.render_as_string(hide_password=False),
        clock=lambda: datetime.now(UTC) - timedelta(hours=hours),
    ) as earlier:
        earlier.ingest(ask(head=""))
    config = _config(database, tmp_path)
    for command in ("stats", "doctor"):
        assert ("1 unsubscribe request waits" in CliRunner().invoke(main, [*config, command]).output) is warned

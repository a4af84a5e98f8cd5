"""Reports that somebody made up, and a sender's world for them to be tried on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa

from bounceparse.db import Store
from bounceparse.db.tables import sent
from bounceparse.outgoing import Outgoing
from bounceparse.policy import Policy, Proof
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring, Purpose, find_tokens, sign

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)
KEYS = Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),))
BOUNCES, SHOP = "bounces.example", "shop.example"
JAN, OLA, EWA = "jan@poczta.example", "ola@poczta.example", "ewa@poczta.example"
LATER = date(2027, 6, 1)
OUTGOING = Outgoing(
    return_path="b+{token}@bounces.example",
    unsubscribe_address="unsubscribe+{token}@shop.example",
    unsubscribe_url="https://shop.example/unsubscribe/{token}",
    complaint_address="fbl@shop.example",
    message_id="{token}@shop.example",
    return_path_days=200,
)
AUTHENTIC = "Authentication-Results: mx.shop.example; dmarc=pass header.from=poczta.example\n"
SETTINGS = RequestSettings(
    keyring=KEYS,
    recipient_headers={"bounces": ("delivered-to",)},
    token_domains=OUTGOING.token_domains,
    unsubscribe_templates=OUTGOING.unsubscribe_templates,
    addresses=frozenset(["unsubscribe@shop.example"]),
    authserv_ids={"bounces": "mx.shop.example"},
)


@dataclass(slots=True)
class World:
    """A store with messages to Jan, Ola and Ewa, what they carried, and a clock that can be set."""

    store: Store
    now: datetime = BEGIN
    ids: dict[str, int] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)
    message_ids: dict[str, str] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)
    envelope_ids: dict[str, str] = field(default_factory=dict)

    def send(self, recipient: str, message_id: str | None = None, **columns: str) -> None:
        """Send one message."""
        told = {"stream": "news", "sender": "shop", "from_address": "news@shop.example", "subject": "Autumn offer"}
        made = self.store.sign(OUTGOING, message_id, recipient, **{**told, "sent_at": self.now, **columns})
        assert made.return_path and made.message_id and made.envelope_id
        self.paths[recipient] = made.return_path
        self.message_ids[recipient] = made.message_id
        self.envelope_ids[recipient] = made.envelope_id
        self.headers[recipient] = dict(made.fields)
        self.ids[recipient] = self.token_id(made.return_path)

    @staticmethod
    def token_id(text: str) -> int:
        """The id that stands in a token."""
        import base64

        return int.from_bytes(base64.b32decode(find_tokens(text)[0].upper() + "===")[1:6], "big")

    def token(self, recipient: str, purpose: Purpose, domain: str = "", expires: date | None = LATER) -> str:
        """A token of ours for the message to ``recipient``."""
        return sign(KEYS, purpose, self.ids[recipient], domain, expires=expires)

    def take(self, raw: str, account: str = "bounces") -> None:
        """Let a mail come in."""
        self.store.ingest(raw.encode(), account=account)

    def ledger(self) -> list[tuple[str, bool, bool]]:
        """What reports told the ledger of its messages: status, complained, unsubscribed."""
        told = sa.case((sent.c.presumed, "injected"), else_=sent.c.status)
        columns = (told, sent.c.complained_at.is_not(None), sent.c.unsubscribed_at.is_not(None))
        with self.store._database.read() as connection:
            return [(row[0], bool(row[1]), bool(row[2])) for row in connection.execute(sa.select(*columns))]

    def mailable(self) -> list[str]:
        """Who may be mailed by the stream."""
        return list(self.store.mailable([JAN, OLA, EWA], "news", SHOP))

    def trusts(self) -> list[tuple[str, str | None, str | None]]:
        """Trust, what matched, and its evidence, of all that is recorded."""
        return [(one.trust.value, one.matched_by, one.match_evidence) for one in self.store.outcomes(copies=True)]


@contextmanager
def world(database_url: str, proof: Proof = Proof.REQUIRE) -> Iterator[World]:
    """The world, whose policy asks for proof unless told otherwise."""
    made: list[World] = []
    with Store(
        database_url,
        policy=Policy(trust=proof),
        request_settings=SETTINGS,
        clock=lambda: made[0].now if made else BEGIN,
    ) as store:
        made.append(World(store))
        made[0].send(JAN, "1@shop.example")
        made[0].send(OLA, "2@shop.example")
        made[0].send(EWA)
        yield made[0]


def dsn(
    to: str = "bounces@bounces.example",
    recipient: str | None = JAN,
    *,
    number: int = 0,
    status: str = "5.1.1",
    words: str = "550 5.1.1 User unknown",
    action: str = "failed",
    original: str | None = None,
    envelope_id: str | None = None,
    returned: str = "",
    head: str = "",
    text: str = "It could not be delivered.",
) -> str:
    """A delivery report that came to the address ``to``, as our own server notes it in Delivered-To; ``number`` tells it
    from others."""
    day = BEGIN + timedelta(days=number)
    return (
        f"Delivered-To: {to}\n{head}From: MAILER-DAEMON@mx.poczta.example\nTo: <bounces@bounces.example>\n"
        f"Date: {day:%a, %d %b %Y %H:%M:%S +0000}\nMessage-ID: <r{number}@mx.poczta.example>\nSubject: Undelivered\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        f"--b\nContent-Type: text/plain\n\n{text}\n\n--b\nContent-Type: message/delivery-status\n\n"
        "Reporting-MTA: dns; mx.poczta.example\n"
        + (f"Original-Envelope-Id: {envelope_id}\n" if envelope_id else "")
        + "\n"
        + (f"Original-Recipient: rfc822; {original}\n" if original else "")
        + (f"Final-Recipient: rfc822; {recipient}\n" if recipient else "")
        + f"Action: {action}\nStatus: {status}\nDiagnostic-Code: smtp; {words}\n\n"
        + (f"--b\nContent-Type: text/rfc822-headers\n\n{returned}\n" if returned else "")
        + "--b--\n"
    )


def arf(
    returned: str = "", *, fields: str = "", head: str = "", number: int = 0, sender: str = "fbl@mail.example"
) -> str:
    """A complaint (RFC 5965)."""
    day = BEGIN + timedelta(days=number)
    return (
        f"Delivered-To: fbl@shop.example\n{head}From: {sender}\nSubject: FW: Autumn offer\n"
        f"Date: {day:%a, %d %b %Y %H:%M:%S +0000}\nMessage-ID: <c{number}@mail.example>\nMIME-Version: 1.0\n"
        'Content-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nA complaint.\n\n--b\nContent-Type: message/feedback-report\n\n"
        f"Feedback-Type: abuse\nUser-Agent: Reporter/1.0\nVersion: 1\n{fields}\n"
        f"--b\nContent-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    )


def request(
    subject: str = "unsubscribe",
    *,
    sender: str = JAN,
    to: str = "unsubscribe@shop.example",
    head: str = "",
    body: str = "",
    number: int = 0,
) -> str:
    """A mail that asks to be left alone."""
    return f"{head}From: {sender}\nTo: {to}\nMessage-ID: <u{number}@poczta.example>\nSubject: {subject}\n\n{body}\n"


def sns(kind: str, content: dict[str, object], number: int = 0) -> str:
    """A notification of Amazon SES as somebody else would write it."""
    mail = {"messageId": f"0100000000000000-{number}", "source": "news@shop.example", "destination": [JAN]}
    message = json.dumps({"notificationType": kind, kind.lower(): content, "mail": mail})
    envelope = {"Type": "Notification", "MessageId": f"{number}", "TopicArn": "arn:aws:sns:x", "Message": message}
    return (
        "x-amz-sns-message-id: 1\nFrom: no-reply@sns.example\nTo: bounces@bounces.example\nSubject: AWS Notification Message\n"
        f"Message-ID: <s{number}@sns.example>\nContent-Type: text/plain\n\n{json.dumps(envelope)}\n"
    )


Attack = Callable[[World, int], str]


def returned(message_id: str) -> str:
    """The headers of one of our messages as reports return them."""
    return f"From: news@shop.example\nTo: jan@poczta.example\nSubject: Autumn offer\nMessage-ID: <{message_id}>\n"


def broken(token: str, place: int = 20) -> str:
    """A token with one other character."""
    return token[:place] + ("a" if token[place] != "a" else "b") + token[place + 1 :]

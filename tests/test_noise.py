"""Noise never acts and requests are never lost: hundreds of mails from templates in many languages, through the store."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import pytest
from noise import JAN, NOISE, SHOP, Noise, compose
from test_unsubscribe import REQUESTS

from bounceparse import classify, parse
from bounceparse.db import Store
from bounceparse.outcomes import Status
from bounceparse.reports import Kind
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIST = "unsubscribe@shop.example"
SETTINGS = RequestSettings(
    keyring=Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),)),
    addresses=frozenset([LIST]),
    authserv_ids={"": "mx.shop.example"},
)
AUTHENTIC = "Authentication-Results: mx.shop.example; dmarc=pass header.from=poczta.example\n"


@pytest.fixture
def database(database_url: str) -> Iterator[Store]:
    with Store(database_url, request_settings=SETTINGS, clock=lambda: NOW) as store:
        store.record_sent("1@shop.example", JAN, stream="news", sender="shop")
        yield store


def test_there_is_enough_noise() -> None:
    assert len({one.raw for one in NOISE}) >= 300


@pytest.mark.parametrize("one", NOISE, ids=[one.name for one in NOISE])
def test_noise_is_known_for_what_it_is(one: Noise) -> None:
    """Kind as decided by a person, and never a status that could act."""
    report = parse(one.raw)
    assert report.kind in one.kinds
    assert {outcome.status for outcome in classify(report)} <= {Status.NOTICE}


def test_no_noise_suppresses_anybody(database: Store) -> None:
    """Not even when its From address is authentic, in any mailbox."""
    for one in NOISE:
        for account in ("", "bounces"):
            database.ingest(AUTHENTIC.encode() + one.raw, account=account)
    assert list(database.suppressions()) == []
    assert {row.outcome.status for row in database.outcomes(copies=True)} == {Status.NOTICE}
    assert list(database.mailable([JAN], "news")) == [JAN]


def _requests() -> list[tuple[str, bytes]]:
    """Two mails a phrase: as the subject of a mail to the request address, and as a reply with a quotation."""
    made = []
    for language, phrases in REQUESTS.items():
        for phrase in phrases:
            made.append((f"{language}-{phrase}-subject", compose(phrase, "", to=LIST)))
            body = f"{phrase}.\n\nOn Sun, 22 Nov 2026 at 09:00, Shop <{SHOP}> wrote:\n> Autumn offer\n"
            made.append(
                (f"{language}-{phrase}-reply", compose("Re: Autumn offer", body, "In-Reply-To: <1@shop.example>\n"))
            )
    return made


WORDY = {
    "en": "Could you please take me off the mailing list for chairs? I have asked twice.",
    "pl": "Kupiłem u Państwa krzesło, ale chciałbym się wypisać z tych wiadomości, bo jest ich za dużo.",
    "de": "Guten Tag, ich habe schon zweimal versucht, mich abzumelden. Ich möchte Ihren Newsletter abbestellen, danke.",
    "fr": "J'ai acheté une chaise, mais je voudrais me désabonner de toutes vos lettres.",
    "es": "Compré una silla pero quiero darme de baja de todos sus correos, por favor.",
    "it": "Ho comprato una sedia, ma vorrei la disiscrizione da tutte le vostre lettere.",
    "nl": "Ik heb een stoel gekocht maar wil mij uitschrijven voor alle brieven.",
    "pt": "Comprei uma cadeira mas quero descadastrar meu endereço de tudo.",
    "cs": "Koupil jsem židli, ale chci se odhlásit ze všech zpráv.",
    "ru": "Я купил стул, но хочу отписаться от всех писем.",
    "sv": "Jag köpte en stol men vill avregistrera mig från alla utskick.",
    "ja": "椅子を買いましたが、メールの配信停止をお願いしたいです。",
}


def test_every_request_is_found_or_waits_for_a_person(database: Store) -> None:
    """Plain ones are requests; what a person wrapped in other words is at least shown to one."""
    plain = _requests()
    wordy = [(f"wordy-{language}", compose("Chairs", body)) for language, body in WORDY.items()]
    assert len(plain) + len(wordy) >= 100
    assert [name for name, raw in plain if parse(raw).kind is not Kind.UNSUBSCRIBE] == []
    for _, raw in plain + wordy:
        database.ingest(raw)
    waiting = list(database.requests())
    assert len(waiting) == len({raw for _, raw in plain + wordy})
    assert list(database.mailable([JAN], "news")) == [JAN]


@pytest.mark.parametrize("language", REQUESTS)
def test_a_plain_request_acts_when_its_sender_is_authentic(database: Store, language: str) -> None:
    raw = compose(REQUESTS[language][0], "", AUTHENTIC, to=LIST)
    database.ingest(raw)
    assert list(database.mailable([JAN], "news")) == []

"""Requests to be taken off a list: what is one, in which language, and what only speaks about it."""

from __future__ import annotations

import base64
from email.header import Header

import pytest

from bounceparse import parse
from bounceparse.formats.request_words import fold, is_request
from bounceparse.formats.unsubscribe import find_hint, read_unsubscribe
from bounceparse.mime import Mail
from bounceparse.reports import Kind

TOKEN = "ah77777777777setid7mach5mj53g"
LIST = "unsubscribe@shop.example"


def mail(subject: str = "", body: str = "", *, to: str = "news@shop.example", head: str = "") -> Mail:
    subject_line = (
        f"Subject: {Header(subject, 'utf-8').encode() if not subject.isascii() else subject}\n" if subject else ""
    )
    return Mail(f"From: Jan <jan@poczta.example>\nTo: {to}\n{subject_line}{head}\n{body}\n".encode())


# Words (RFC 2369 says nothing of them; people write them)

REQUESTS = {
    "en": ["Unsubscribe", "please remove me", "Please unsubscribe me from your mailing list", "OPT-OUT", "no more emails"],
    "pl": ["Wypisz mnie", "Rezygnuję z subskrypcji", "Proszę o wypisanie z newslettera", "Usuń mnie z listy", "nie chcę otrzymywać newslettera"],
    "de": ["Abmelden", "Bitte abmelden", "Newsletter abbestellen", "Kündigen", "Bitte löschen", "Abmeldung vom Newsletter"],
    "fr": ["Désabonnement", "Me désinscrire", "Désinscrivez-moi de votre liste", "Je souhaite me désabonner de votre newsletter"],
    "es": ["Darme de baja", "Baja", "Cancelar suscripción", "Deseo darme de baja de su lista"],
    "ca": ["Baixa", "Donar-me de baixa"],
    "pt": ["Cancelar inscrição", "Descadastrar", "Não quero receber"],
    "it": ["Cancellami", "Disiscrizione", "Disiscrivimi dalla newsletter"],
    "nl": ["Afmelden", "Uitschrijven", "Geen e-mails meer", "Nieuwsbrief opzeggen"],
    "sv": ["Avregistrera", "Avsluta prenumeration", "Avanmäl mig"],
    "da": ["Afmeld", "Frameld mig", "Afmeld nyhedsbrev"],
    "nb": ["Avmeld", "Meld meg av", "Avslutt abonnement"],
    "fi": ["Peruuta tilaus", "Poista minut", "Lopeta"],
    "cs": ["Odhlásit", "Zrušit odběr", "Odhlášení", "Prosím odhlásit z odběru newsletteru"],
    "sk": ["Odhlásiť", "Zrušiť odber", "Odhláste ma z odberu"],
    "hu": ["Leiratkozás", "Leiratkozom", "Leiratkozom a hírlevélről"],
    "ro": ["Dezabonare", "Dezabonează-mă"],
    "ru": ["Отписаться", "Отпишите меня", "Отписка от рассылки", "Больше не пишите"],
    "uk": ["Відписатися", "Відпишіть мене", "Відписка"],
    "tr": ["Abonelikten çık", "Üyelikten çık", "Listeden çıkar"],
    "el": ["Διαγραφή", "Κατάργηση εγγραφής"],
    "bg": ["Отписване", "Отпишете ме"],
    "ja": ["配信停止", "登録解除", "退会"],
    "zh": ["退订", "取消订阅", "取消訂閱"],
    "ko": ["수신거부", "구독취소"],
    "ar": ["إلغاء الاشتراك"],
    "he": ["הסר", "הסירו אותי"],
}  # fmt: skip
PHRASES = [phrase for phrases in REQUESTS.values() for phrase in phrases]
SPELLINGS = sorted(
    {spelling for phrase in PHRASES for spelling in (phrase, fold(phrase), phrase.upper(), f"  {phrase}! ")}
)


@pytest.mark.parametrize("words", SPELLINGS)
def test_a_request_is_known_with_and_without_diacritics_and_in_capitals(words: str) -> None:
    assert is_request(words)


@pytest.mark.parametrize("words", PHRASES)
def test_words_count_as_subject_and_as_the_text_of_a_reply(words: str) -> None:
    found = read_unsubscribe(mail(words))
    assert found is not None and (found.marker, found.recipient) == ("subject", "jan@poczta.example")
    reply = mail(
        "Re: Autumn offer", f"{words}\n\n> Autumn offer, unsubscribe below", head="In-Reply-To: <1@shop.example>\n"
    )
    found = read_unsubscribe(reply)
    assert found is not None and (found.marker, found.original.message_id) == ("text", "1@shop.example")


@pytest.mark.parametrize(
    "words", ["unsubcribe", "unsuscribe me", "unsubscribe me plase", "usubscribe", "rezygnuej", "desabonement", "desinscripton", "uitschrijvn", "kerem toroljenekk", "отписатьс", "abmeldunng"]
)  # fmt: skip
def test_one_typo_in_a_long_word_is_forgiven(words: str) -> None:
    assert is_request(words) == (words != "unsubscribe me plase")


@pytest.mark.parametrize(
    "words",
    ["Anmeldung", "anmelden", "subscribe", "підписка", "підписатися", "wpisanie", "ohlášení", "описване", "shop", "step", "removal", "level", "baya", "unsubscribed", "inscription", "abonnement", "iscrizione"],
)  # fmt: skip
def test_words_that_mean_something_else_are_no_typos(words: str) -> None:
    """Prefixes carry the meaning, and in short words one letter makes another word."""
    assert not is_request(words)


@pytest.mark.parametrize(
    "subject",
    ["Re: unsubscribe", "[EXT] Unsubscribe", "RE: [External] AW: unsubscribe", "Odp: wypisz", "***SPAM*** unsubscribe", "回复: 退订", "EXTERNAL: unsubscribe"],
)  # fmt: skip
def test_what_replies_and_gateways_put_before_a_subject_does_no_harm(subject: str) -> None:
    assert read_unsubscribe(mail(subject)) is not None


@pytest.mark.parametrize(
    "body",
    [
        "Hello,\n\nplease unsubscribe me.\n\nKind regards\nJan Kowalski",
        "Dzień dobry,\nproszę o wypisanie z listy.\nPozdrawiam\nJan",
        "Bitte abmelden. Danke!\n\n-- \nFirma Beispiel\nSeestr. 1",
        "Unsubscribe\n\nSent from my iPhone",
        "wypisz\n\nW dniu 21.11.2026 o 10:00, Shop pisze:\n> Kliknij, aby zrezygnować",
        "stop\n\nOn Mon, 2 Nov 2026 at 10:00, The Shop <news@shop.example>\nwrote:\n\n> Buy",
        "Darme de baja\n\nEl lun, 2 nov 2026 a las 10:00, Shop (<news@shop.example>) escribió:\n> Oferta",
        "uitschrijven\n________________________________\nVan: Shop\nVerzonden: maandag",
    ],
)
def test_greeting_signature_and_quotation_do_not_count(body: str) -> None:
    found = read_unsubscribe(mail("Re: Offer", body, head="In-Reply-To: <1@shop.example>\n"))
    assert found is not None and found.marker == "text"


# What only speaks about it


TALK = [
    ("Newsletter", "Please do not unsubscribe me, I like your letters."),
    ("Newsletter", "Proszę, nie wypisujcie mnie z listy!"),
    ("Frage", "Bitte melden Sie mich nicht ab, die Abmeldung war ein Versehen."),
    ("Unsubscribe", "I never asked to be unsubscribed, do not remove me."),
    ("Question", "How do I unsubscribe my late father from your letters? He died in May."),
    ("Offer", "We bought two chairs, but I would like to unsubscribe from the paper catalogue, and where is my invoice?"),
    ("Pytanie", "Czy mogę zrezygnować z newslettera i zachować konto? Chcę wypisać tylko jeden adres."),
]  # fmt: skip


@pytest.mark.parametrize(("subject", "body"), TALK)
def test_negations_and_talk_are_left_to_a_person(subject: str, body: str) -> None:
    report = parse(f"From: jan@poczta.example\nTo: {LIST}\nSubject: {subject}\n\n{body}\n".encode())
    assert (report.kind, report.items) == (Kind.OTHER, ())
    assert report.hint


@pytest.mark.parametrize(
    ("subject", "body", "head"),
    [
        ("Autumn offer", "Buy chairs.\nTo unsubscribe click https://spam.example/u", ""),
        ("Autumn offer", "Buy chairs. Reply to unsubscribe.", "List-Unsubscribe: <mailto:u@spam.example>\n"),
        ("Autumn offer", "Buy chairs. Reply to unsubscribe.", "Precedence: bulk\n"),
        ("Automatic reply", "I am away; unsubscribe me not.", "Auto-Submitted: auto-replied\n"),
        ("Invoice", "Thanks, received.\n\n> To unsubscribe reply with unsubscribe", "In-Reply-To: <1@shop.example>\n"),
        ("Meeting", "See you on Monday.", ""),
    ],
)
def test_advertisements_quotations_and_programs_are_no_talk(subject: str, body: str, head: str) -> None:
    assert read_unsubscribe(mail(subject, body, head=head)) is None
    assert find_hint(mail(subject, body, head=head)) is None


@pytest.mark.parametrize(
    "head", ["List-Id: <x.lists.example>\n", "Precedence: list\n", "Auto-Submitted: auto-generated\n"]
)
def test_words_in_the_subject_of_list_mail_and_programs_are_no_request(head: str) -> None:
    assert read_unsubscribe(mail("Unsubscribe", "x", head=head)) is None


# Tokens, buttons, commands


@pytest.mark.parametrize(
    "subject",
    [f"unsubscribe:{TOKEN}", f"Unsubscribe: {TOKEN.upper()}", f"Re: [EXT] unsubscribe {TOKEN}", f"unsubscribe:\n {TOKEN}", f"=?utf-8?B?{base64.b64encode(f'unsubscribe:{TOKEN}'.encode()).decode()}?="],
)  # fmt: skip
def test_a_token_in_the_subject_survives_folding_encoding_and_prefixes(subject: str) -> None:
    found = read_unsubscribe(mail(subject))
    assert found is not None and found.marker == "token"


@pytest.mark.parametrize("body", [TOKEN, f"unsubscribe {TOKEN}", f"> unsubscribe:{TOKEN.upper()}", f"Token: {TOKEN}\n"])
def test_a_token_on_a_line_of_its_own_is_found_in_the_text(body: str) -> None:
    found = read_unsubscribe(mail("", body))
    assert found is not None and found.tokens == (TOKEN,)


def test_a_token_in_a_quoted_link_is_no_request() -> None:
    body = f"Thank you, the chairs came.\n\n> Unsubscribe: https://shop.example/u/{TOKEN}\n"
    assert read_unsubscribe(mail("Re: Offer", body, head="In-Reply-To: <1@shop.example>\n")) is None


@pytest.mark.parametrize("to", [f"unsubscribe+{TOKEN}@shop.example", "unsub-8823a1@shop.example", "leave-list-8823@lists.example", "news-unsubscribe-jan=poczta.example@lists.example", "list+unsubscribe@lists.example"])  # fmt: skip
def test_an_address_made_for_one_request_needs_no_words(to: str) -> None:
    found = read_unsubscribe(mail("", "", to=to))
    assert found is not None and found.address == to


def test_advertising_to_the_request_address_is_no_request() -> None:
    assert read_unsubscribe(mail("Cheap watches", "Buy our watches now, best price", to=LIST)) is None


def test_an_empty_mail_to_the_request_address_is_one() -> None:
    """Outlook.com strips the subject that the link asked for."""
    assert read_unsubscribe(mail("", "", to=LIST)) is not None


def test_apples_button_goes_before_its_own_automatic_mark() -> None:
    raw = mail("anything", "Apple Mail sent this", head="X-Apple-Unsubscribe: true\nAuto-Submitted: auto-replied\n")
    found = read_unsubscribe(raw)
    assert found is not None and found.marker == "apple"


def test_googles_button_is_known_by_its_line() -> None:
    found = read_unsubscribe(mail("Hello", "This message was automatically generated by Gmail.", to=LIST))
    assert found is not None and found.marker == "gmail"


@pytest.mark.parametrize(
    ("to", "subject", "body"),
    [
        ("news-request@lists.example", "unsubscribe", ""),
        ("news-request@lists.example", "leave", ""),
        ("news-request@lists.example", "", "unsubscribe secret address=jan@poczta.example"),
        ("majordomo@lists.example", "", "unsubscribe news jan@poczta.example"),
        ("sympa@lists.example", "SIG news", ""),
        ("sympa@lists.example", "UNSUBSCRIBE news", ""),
        ("listserv@lists.example", "", "SIGNOFF NEWS-L"),
        ("listserv@lists.example", "", "SIGNOFF *"),
        ("lists@lists.example", "QUIT news", ""),
    ],
)
def test_commands_of_list_managers(to: str, subject: str, body: str) -> None:
    """Mailman, Majordomo, Sympa and LISTSERV, each at its own address."""
    found = read_unsubscribe(mail(subject, body, to=to))
    assert found is not None and found.marker == "command"


@pytest.mark.parametrize("subject", ["Remove snow", "Leave request", "Quit smoking", "Sign off sheet", "off work"])
def test_commands_count_at_the_managers_address_only(subject: str) -> None:
    assert read_unsubscribe(mail(subject, "See attachment", to="office@shop.example")) is None


@pytest.mark.parametrize("size", [100, 100_000])
def test_hostile_texts_cost_little(size: int) -> None:
    """No pattern backtracks: long runs of what patterns begin with are answered."""
    for piece in ("on ", "unsubscribe ", "> ", "please ", "a" * 28 + " ", "not ", "取消"):
        report = parse(f"From: j@x.example\nTo: {LIST}\n\n{piece * (size // len(piece))}\n".encode())
        assert report.kind in Kind

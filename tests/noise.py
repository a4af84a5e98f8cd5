"""Mail that arrives beside reports, from templates in many languages: noise, which must never act, and requests."""

from __future__ import annotations

from collections.abc import Iterator
from email.header import Header
from hashlib import sha256
from itertools import cycle
from typing import NamedTuple

JAN = "jan@poczta.example"
SHOP = "news@shop.example"


class Noise(NamedTuple):
    """A mail and the kinds that are right for it."""

    name: str
    raw: bytes
    kinds: frozenset[str]


def compose(subject: str, body: str, head: str = "", *, sender: str = JAN, to: str = SHOP) -> bytes:
    """A mail in UTF-8; a subject that is not ASCII is an encoded-word."""
    encoded = subject if subject.isascii() else Header(subject, "utf-8").encode()
    content = (
        ""
        if "content-type" in head.lower()
        else "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n"
    )
    date = "Date: Sun, 22 Nov 2026 10:00:00 +0100\n"
    own = sha256(f"{subject}{body}{head}{sender}{to}".encode()).hexdigest()[:16]
    return f"From: {sender}\nTo: {to}\nSubject: {encoded}\n{date}Message-ID: <{own}@poczta.example>\n{head}{content}\n{body}\n".encode()


# Subject that the program writes in front of the original's, what the person wrote.
AWAY = {
    "en": ("Automatic reply: Autumn offer", "I am out of the office until Monday. In urgent cases write to ola@poczta.example."),
    "en-2": ("Out of Office: Autumn offer", "I am on vacation and will answer when I am back. My mailbox is not monitored."),
    "pl": ("Odpowiedź automatyczna: Oferta", "Jestem na urlopie do poniedziałku. Proszę pisać na adres ola@poczta.example."),
    "pl-2": ("Autoodpowiedź: Oferta", "Nie ma mnie w biurze. Wiadomość nie została usunięta."),
    "de": ("Automatische Antwort: Angebot", "Ich bin bis Montag nicht im Büro. Ihre Nachricht wird nicht weitergeleitet."),
    "de-2": ("Abwesenheitsnotiz: Angebot", "Vielen Dank, ich bin im Urlaub. Das Postfach wird nicht gelesen."),
    "fr": ("Réponse automatique : Offre", "Je suis absent jusqu'à lundi. Votre message ne sera pas transféré."),
    "es": ("Respuesta automática: Oferta", "Estoy fuera de la oficina hasta el lunes."),
    "it": ("Risposta automatica: Offerta", "Sono fuori ufficio fino a lunedì."),
    "pt": ("Resposta automática: Oferta", "Estou ausente até segunda-feira."),
    "nl": ("Automatisch antwoord: Aanbod", "Ik ben afwezig tot maandag."),
    "sv": ("Autosvar: Erbjudande", "Jag är borta till måndag."),
    "da": ("Automatisk svar: Tilbud", "Jeg er ikke til stede før mandag."),
    "nb": ("Automatisk svar: Tilbud", "Jeg er borte til mandag."),
    "fi": ("Automaattinen vastaus: Tarjous", "Olen poissa maanantaihin asti."),
    "cs": ("Automatická odpověď: Nabídka", "Jsem mimo kancelář do pondělí."),
    "sk": ("Automatická odpoveď: Ponuka", "Som mimo kancelárie do pondelka."),
    "hu": ("Automatikus válasz: Ajánlat", "Hétfőig nem vagyok az irodában."),
    "ro": ("Răspuns automat: Ofertă", "Sunt plecat până luni."),
    "ru": ("Автоматический ответ: Предложение", "Я в отпуске до понедельника."),
    "uk": ("Автоматична відповідь: Пропозиція", "Я у відпустці до понеділка."),
    "tr": ("Otomatik yanıt: Teklif", "Pazartesiye kadar ofis dışındayım."),
    "el": ("Αυτόματη απάντηση: Προσφορά", "Λείπω μέχρι τη Δευτέρα."),
    "ja": ("自動応答: ご案内", "月曜日まで不在です。"),
    "zh": ("自动答复: 优惠", "我在休假，周一回来。"),
    "zh-tw": ("自動回覆: 優惠", "我不在辦公室。"),
    "ko": ("자동 회신: 안내", "월요일까지 부재중입니다."),
    "he": ("תשובה אוטומטית: הצעה", "אני לא במשרד עד יום שני."),
    "ar": ("رد تلقائي: عرض", "أنا خارج المكتب حتى يوم الاثنين."),
}  # fmt: skip
AUTOMATIC_HEADERS = (
    "Auto-Submitted: auto-replied\n", "Auto-Submitted: auto-replied (vacation)\n", "X-Autoreply: yes\n", "Precedence: auto_reply\n",
    "X-MS-Exchange-Inbox-Rules-Loop: jan@poczta.example\n", "X-Autorespond: away\n", "X-Apple-Action: VACATION\n", "Auto-Submitted: auto-generated; owner-email=jan@poczta.example\n",
    "X-Vacation: on\n", "Auto-Submitted: auto-notified\n",
)  # fmt: skip
LEFT = {
    "en": "I have left the company and this mailbox is no longer monitored. My address does not exist any more.",
    "en-2": "Jan no longer works at Example. Please remove him from your list.",
    "pl": "Nie pracuję już w firmie Example. Ten adres jest nieaktywny, proszę o usunięcie go z bazy.",
    "de": "Ich bin nicht mehr im Unternehmen tätig. Dieses Postfach ist deaktiviert.",
    "fr": "Je ne fais plus partie de la société. Cette adresse n'est plus valide.",
    "es": "Ya no trabajo en la empresa. Esta cuenta no existe.",
    "it": "Non lavoro più in azienda. L'indirizzo non è più attivo.",
    "nl": "Ik ben niet meer werkzaam bij Example. Dit adres bestaat niet meer.",
    "pt": "Já não trabalho na empresa.",
    "cs": "Již ve firmě nepracuji. Tato adresa je zrušena.",
    "ru": "Я больше не работаю в компании. Адрес недействителен.",
    "sv": "Jag har slutat på företaget.",
}  # fmt: skip
RECEIPTS = ["displayed", "deleted", "processed", "dispatched"]
RECEIPT_SUBJECTS = ["Read: Offer", "Not read: Offer", "Przeczytano: Oferta", "Gelesen: Angebot", "Lu : Offre", "Leído: Oferta", "Letto: Offerta", "Lida: Oferta", "Прочитано: Предложение", "開封済み: ご案内"]  # fmt: skip
CHALLENGES = [
    ("Please confirm your message", "X-TMDA-Confirm: done\n", "Reply to this message to confirm that it was you."),
    ("jan needs your help delivering your message", "X-Boxbe-Challenge: 1\n", "Click here so that your message can be delivered."),
    ("Re: Offer (Please confirm your email)", "X-SpamArrest: 1\n", "Please click to verify that you are a human. One-time verification."),
    ("Suspect email blocking: Offer", "", "jan has suspectemail blocking on. Click the link to authenticate, so your message is delivered."),
    ("Please confirm your message to jan@poczta.example", "", "Reply to this mail to confirm that your message is no spam."),
    ("Verification required: your mail to jan", "", "Answer to verify your address; solve the CAPTCHA."),
    ("Prise en compte de votre message : confirmation requise", "X-MailInBlack: 1\n", "Cliquez pour confirmer."),
    ("AntiSpam UOL: confirme sua mensagem", "X-UOL-AntiSpam: 1\n", "Clique para confirmar sua mensagem."),
]  # fmt: skip
TICKETS = {
    "en": ("[Ticket#2026112210000012] Autumn offer", "Thank you, we have received your request. A colleague will answer."),
    "en-2": ("Your request (8823) has been received", "We have received your request and will be in touch."),
    "pl": ("[Zgłoszenie #8823] Oferta", "Dziękujemy, otrzymaliśmy Twoje zgłoszenie."),
    "de": ("[Ticket 8823] Angebot", "Vielen Dank, wir haben Ihre Anfrage erhalten."),
    "fr": ("[Ticket#8823] Offre", "Nous avons bien reçu votre demande."),
    "es": ("[Ticket#8823] Oferta", "Hemos recibido su solicitud."),
    "nl": ("[Ticket#8823] Aanbod", "Wij hebben uw aanvraag ontvangen."),
    "it": ("[Ticket#8823] Offerta", "Abbiamo ricevuto la sua richiesta."),
}  # fmt: skip
TICKET_HEADERS = ["X-OTRS-Loop: Yes\n", "X-Zendesk-From-Account-Id: 8823\n", "RT-Ticket: shop.example #8823\n", "X-Freshdesk-Ticket: 8823\n", "X-Auto-Response-Suppress: All\n"]  # fmt: skip
MODERATION = [
    ("Your message to News awaits moderator approval", "X-List-Administrivia: yes\nX-BeenThere: news@lists.example\nPrecedence: bulk\n", "Your mail to 'News' is being held until the list moderator can review it for approval."),
    ("Moderation response for your message", "Precedence: bulk\n", "Only members may post. Your message waits for a moderator."),
    ("Message distribution: news", "X-Loop: sympa@lists.example\nPrecedence: bulk\n", "Your message for list news has been forwarded to moderators."),
]  # fmt: skip
VIRUS = [
    ("Virus found in a message", "Our scanner found a virus (Eicar-Test) in a message that claims to be from you. It was not delivered to ola@third.example."),
    ("[Antivirus] Warning", "A message with your sender address was infected and has been cleaned."),
    ("Wykryto wirusa", "W wiadomości z Twoim adresem nadawcy wykryto wirusa. Wiadomość została usunięta."),
]  # fmt: skip
DIGESTS = ["Quarantine summary for jan@poczta.example", "Spam digest: 3 new messages", "Spam Quarantine Notification", "[example] Quarantine report", "Spam-Quarantäne: 3 Nachrichten", "Podsumowanie kwarantanny", "Rapport de quarantaine", "Resumen de cuarentena"]  # fmt: skip
NEW_ADDRESS = {
    "en": ("My email address has changed", "My new address is jan.new@poczta.example; the old one will be closed."),
    "pl": ("Zmiana adresu e-mail", "Mój nowy adres to jan.nowy@poczta.example."),
    "de": ("Neue E-Mail-Adresse", "Meine neue Adresse ist jan.neu@poczta.example."),
    "fr": ("Changement d'adresse", "Ma nouvelle adresse est jan.nouveau@poczta.example."),
    "es": ("Cambio de correo", "Mi nueva dirección es jan.nuevo@poczta.example."),
}  # fmt: skip
HUMAN = {
    "en": ("Re: Autumn offer", "Thank you, when will my chair be delivered? The last parcel was undeliverable."),
    "en-2": ("Question", "Your mail said that my mailbox is full, is that true? What does 550 5.1.1 user unknown mean?"),
    "en-3": ("Complaint", "I complain: the chair broke, this is fraud! I want my money back."),
    "pl": ("Re: Oferta", "Dzień dobry, kiedy dostanę paczkę? Kurier pisał, że adres nie istnieje."),
    "pl-2": ("Reklamacja", "Krzesło przyszło uszkodzone, składam reklamację."),
    "de": ("AW: Angebot", "Wann kommt das Paket? Es hieß, der Empfänger sei unbekannt."),
    "de-2": ("Kündigung meines Mietvertrags", "Hiermit schicke ich Ihnen die Unterlagen."),
    "fr": ("RE: Offre", "Quand arrive le colis ? L'adresse est inconnue selon le facteur."),
    "es": ("RE: Oferta", "¿Cuándo llega el paquete? Dicen que la dirección no existe."),
    "it": ("R: Offerta", "Quando arriva il pacco? Dicono che l'indirizzo è sconosciuto."),
    "nl": ("Antw: Aanbod", "Wanneer komt het pakket? Het adres is onbekend zegt men."),
    "ru": ("Re: Предложение", "Когда придёт посылка? Пишут, что адрес не существует."),
    "ja": ("Re: ご案内", "荷物はいつ届きますか。宛先不明と言われました。"),
    "cs": ("Re: Nabídka", "Kdy přijde balík? Prý je adresa neznámá."),
}  # fmt: skip
SPAM = [
    ("Your mailbox is full!!!", "Dear user, your mailbox quota is exceeded. Verify your account at http://phish.example/login or it will be disabled."),
    ("Mail delivery failed: returning message", "Click http://phish.example/ to release your pending messages."),
    ("URGENT business", "I am a prince and want to transfer money."),
    ("Your account has been suspended", "550 account disabled. Log in at http://phish.example/"),
    ("Cheap watches", "Best price! To unsubscribe click http://spam.example/u"),
    ("Twoja skrzynka jest pełna", "Kliknij http://phish.example/ aby zweryfikować konto."),
    ("Ihr Postfach ist voll", "Klicken Sie http://phish.example/ um es zu bestätigen."),
]  # fmt: skip
NEWSLETTERS = {
    "en": ("How to lower your bounce rate", "550 5.1.1 user unknown is a hard bounce. Spam complaints hurt. Unsubscribe below."),
    "pl": ("Jak obniżyć odbicia", "Kod 550 oznacza, że użytkownik nie istnieje. Aby się wypisać, kliknij poniżej."),
    "de": ("So senken Sie Bounces", "550 heißt: Benutzer unbekannt. Abmelden können Sie sich unten."),
    "fr": ("Réduire les rebonds", "550 : utilisateur inconnu. Se désabonner ci-dessous."),
}  # fmt: skip
STAYS = {
    "en": ("Re: Offer", "Please do not unsubscribe me, I like the letters."),
    "pl": ("Re: Oferta", "Proszę mnie nie wypisywać, nie chcę rezygnować."),
    "de": ("AW: Angebot", "Bitte nicht abmelden, ich möchte den Newsletter weiter lesen."),
    "fr": ("RE: Offre", "Merci de ne pas me désabonner."),
    "es": ("RE: Oferta", "No me den de baja, por favor."),
    "it": ("R: Offerta", "Non cancellatemi dalla lista."),
    "nl": ("RE: Aanbod", "Ik wil niet afmelden."),
    "pt": ("RES: Oferta", "Não me descadastrem."),
}  # fmt: skip


def _noise() -> list[Noise]:
    made = [*_automatic(), *_programs(), *_people()]
    return [Noise(name, raw, frozenset(kinds.split())) for name, kinds, raw in made]


Made = Iterator[tuple[str, str, bytes]]
REPLY = "In-Reply-To: <1@shop.example>\n"


def _automatic() -> Made:
    for language, (subject, body) in AWAY.items():
        yield (f"away-subject-{language}", "autoreply", compose(subject, body, REPLY))
        yield (f"away-bare-{language}", "autoreply", compose(subject, body))
        yield (f"away-null-{language}", "autoreply", compose(subject, body, "Return-Path: <>\n"))
    headers = cycle(AUTOMATIC_HEADERS)
    for language, (_, body) in AWAY.items():
        for _ in range(3):
            head = next(headers)
            yield (
                f"away-{head.partition(':')[0]}-{language}",
                "autoreply",
                compose("Re: Autumn offer", body, head + REPLY),
            )
    for (language, body), head in zip(LEFT.items(), cycle(AUTOMATIC_HEADERS), strict=False):
        yield (f"left-{language}", "autoreply", compose("Re: Autumn offer", body, head))
        yield (f"left-subject-{language}", "autoreply", compose("Automatic reply: Autumn offer", body))
    for subject, disposition in zip(RECEIPT_SUBJECTS * 2, cycle(RECEIPTS), strict=False):
        yield (f"receipt-{subject}-{disposition}", "disposition", receipt(subject, disposition))


def _programs() -> Made:
    for subject, head, body in CHALLENGES:
        yield (f"challenge-{subject}", "challenge autoreply", compose(subject, body, head))
        yield (
            f"challenge-auto-{subject}",
            "challenge autoreply",
            compose(subject, body, head + "Auto-Submitted: auto-replied\n"),
        )
    for (language, (subject, body)), head in zip(TICKETS.items(), cycle(TICKET_HEADERS), strict=False):
        yield (f"ticket-{language}", "autoreply", compose(subject, body, head + "Auto-Submitted: auto-generated\n"))
        yield (f"ticket-bare-{language}", "autoreply other notice", compose(subject, body, head))
    for subject, head, body in MODERATION:
        yield (f"moderation-{subject}", "autoreply notice other", compose(subject, body, head))
        yield (
            f"moderation-auto-{subject}",
            "autoreply notice",
            compose(subject, body, f"{head}Auto-Submitted: auto-replied\n"),
        )
    for subject, body in VIRUS:
        yield (f"virus-{subject}", "notice other autoreply", compose(subject, body, sender="antivirus@poczta.example"))
    for subject in DIGESTS:
        yield (
            f"digest-{subject}",
            "notice other",
            compose(subject, "From: x  Subject: You won  Release | Delete", sender="quarantine@poczta.example"),
        )
    for language, (subject, body) in NEW_ADDRESS.items():
        yield (f"new-address-{language}", "notice", compose(subject, body))
    for method in ("ACCEPTED", "DECLINED", "TENTATIVE"):
        yield (f"calendar-{method}", "notice other", calendar_reply(method))
    for domain in ("google.example", "yahoo.example", "wp.example"):
        yield (f"dmarc-{domain}", "notice", dmarc_report(domain))
        yield (f"tls-{domain}", "notice", tls_report(domain))


def _people() -> Made:
    for language, (subject, body) in HUMAN.items():
        yield (f"human-{language}", "other", compose(subject, body))
        yield (
            f"human-quotes-{language}",
            "other",
            compose(subject, f"{body}\n\n> unsubscribe\n> 550 5.1.1 user unknown", REPLY),
        )
        yield (f"human-null-{language}", "other", compose(subject, body, "Return-Path: <>\n"))
    for subject, body in SPAM:
        yield (f"spam-{subject}", "other", compose(subject, body))
        yield (f"spam-to-requests-{subject}", "other", compose(subject, body, to="unsubscribe@shop.example"))
    for language, (subject, body) in NEWSLETTERS.items():
        yield (
            f"newsletter-{language}",
            "other",
            compose(subject, body, "List-Unsubscribe: <mailto:u@other.example>\nList-Id: <n.other.example>\n"),
        )
    for language, (subject, body) in STAYS.items():
        yield (f"stays-{language}", "other", compose(subject, body, REPLY))
        yield (f"stays-at-address-{language}", "other", compose(subject, body, REPLY, to="unsubscribe@shop.example"))


def receipt(subject: str, disposition: str) -> bytes:
    """A read receipt (RFC 8098)."""
    head = 'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=disposition-notification; boundary="b"\n'
    return compose(
        subject,
        f"--b\nContent-Type: text/plain\n\nYour message was {disposition}.\n--b\nContent-Type: message/disposition-notification\n\n"
        f"Final-Recipient: rfc822; {JAN}\nOriginal-Message-ID: <1@shop.example>\n"
        f"Disposition: automatic-action/MDN-sent-automatically; {disposition}\n\n--b--",
        head,
    )


def calendar_reply(answer: str) -> bytes:
    """An answer to an invitation (RFC 5546)."""
    head = 'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary="b"\n'
    return compose(
        f"{answer.title()}: Meeting",
        f"--b\nContent-Type: text/plain\n\n{answer}\n--b\nContent-Type: text/calendar; method=REPLY\n\nBEGIN:VCALENDAR\nMETHOD:REPLY\nEND:VCALENDAR\n--b--",
        head,
    )


def dmarc_report(domain: str) -> bytes:
    """An aggregate report (RFC 9990)."""
    head = f'MIME-Version: 1.0\nContent-Type: application/gzip; name="{domain}!shop.example!1790000000!1790086399.xml.gz"\nContent-Transfer-Encoding: base64\n'
    return compose(
        f"Report Domain: shop.example Submitter: {domain} Report-ID: 8823",
        "H4sIAAAAAAAAAwMAAAAAAAAAAAA=",
        head,
        sender=f"dmarc@{domain}",
    )


def tls_report(domain: str) -> bytes:
    """A TLS report (RFC 8460)."""
    head = 'MIME-Version: 1.0\nTLS-Report-Domain: shop.example\nContent-Type: multipart/report; report-type="tlsrpt"; boundary="b"\n'
    body = '--b\nContent-Type: text/plain\n\nA report.\n--b\nContent-Type: application/tlsrpt+json\n\n{"policies": []}\n--b--'
    return compose(
        f"Report Domain: shop.example Submitter: {domain} Report-ID: <8823>", body, head, sender=f"tls@{domain}"
    )


NOISE = _noise()

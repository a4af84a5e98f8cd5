"""Mail -> :class:`Challenge` or :class:`Notice`: known mail that is about no delivery, complaint or unsubscription.

Challenges of challenge-response systems, DMARC aggregate (RFC 9990) and TLS reports (RFC 8460), calendar replies
(RFC 5546), address changes. Declines everything else.
"""

from __future__ import annotations

import re

from bounceparse.addresses import clean_address
from bounceparse.decoding import collapse
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import Challenge, Notice
from bounceparse.returned import read_original

# Boxbe, TMDA, SpamArrest, EarthLink, MailInBlack, UOL AntiSpam, Vanquish, ChoiceMail
_CHALLENGE_HEADERS = ("x-boxbe", "x-tmda-confirm", "x-spamarrest", "x-mailinblack", "x-choicemail", "x-uol-antispam")
_CHALLENGE_SUBJECT = pattern(
    r"please confirm your (?:message|e-?mail)|confirm(?:ation)? (?:required|needed) for your (?:message|e-?mail)"
    r"|suspect e-?mail blocking|needs? your help|spam ?arrest|antispam uol|verif(?:y|ication) (?:required|your (?:e-?mail|message))"
    r"|confirmation requise|best[aä]tigung (?:erforderlich|ihrer nachricht)|wymagane potwierdzenie|confirmaci[oó]n requerida|confirme sua mensagem|conferma richiesta"
    r"|your (?:message|e-?mail) (?:is|has been) (?:held|waiting|awaiting).{0,40}(?:confirm|verif|approv)",
    re.IGNORECASE,
)
_CHALLENGE_TEXT = pattern(
    r"(?:click|reply|follow|visit|answer)[^.]{0,120}(?:to (?:confirm|verify|authenticate|release|deliver)|so (?:that )?(?:your (?:message|e-?mail)|i can receive))"
    r"|(?:prove|confirm) (?:that )?you are (?:a )?(?:human|real person)|one[- ]time (?:confirmation|verification)|captcha"
    r"|senders i have approved|add(?:ed)? (?:you )?to my (?:list of )?(?:approved|allowed|trusted|white ?list|guest)"
    r"|cliquez[^.]{0,80}(?:confirmer|lib[eé]rer|authentifier)|klicken[^.]{0,80}best[aä]tig|kliknij[^.]{0,80}potwierdzi|haga clic[^.]{0,80}confirm|clique[^.]{0,80}confirm",
    re.IGNORECASE,
)
_ADDRESS_CHANGE = pattern(
    r"^(?:re\s*:\s*)?(?:.{0,40}\b)?(?:my (?:new )?e-?mail address has changed|e-?mail address change|change of e-?mail address"
    r"|(?:my|our) new e-?mail address|new e-?mail address\b|zmiana adresu e-?mail|nowy adres e-?mail|neue e-?mail-adresse"
    r"|adress[aä]nderung|[aä]nderung (?:meiner|unserer) e-?mail|neue mailadresse|changement d['’]adresse|nouvelle adresse (?:e-?mail|mail)|cambio de (?:direcci[oó]n|correo)|nuevo correo|nueva direcci[oó]n|nuovo indirizzo e-?mail|cambio (?:di )?indirizzo|nieuw e-?mailadres|adreswijziging|novo e-?mail\b|mudan[cç]a de e-?mail|ny e-?postadress|ny e-?mailadresse|nov[aá] e-?mailov[aá] adresa|zm[eě]na e-?mailu|новый адрес (?:электронной почты|e-?mail)|メールアドレス変更)",
    re.IGNORECASE,
)
_QUARANTINE_SUBJECT = pattern(
    r"^\s*(?:\[[^\]]{1,40}\]\s*)?(?:(?:e-?mail |spam )?quarantine (?:summary|digest|report|notification)|spam (?:summary|digest|quarantine)|your (?:spam )?quarantine|spam-?quarant[aä]ne|quarant[aä]ne-?(?:bericht|report|zusammenfassung)|podsumowanie kwarantanny|raport kwarantanny|rapport de (?:la )?quarantaine|resumen de (?:la )?cuarentena|riepilogo (?:della )?quarantena|resumo d[ae] quarentena|quarantaine-?overzicht|отч[её]т о карантине|[\d,]+ (?:new )?(?:messages? )?(?:in|held in) (?:your )?quarantine)",
    re.IGNORECASE,
)
_DMARC_SUBJECT = pattern(r"^\s*(?:\[[^\]]{1,40}\]\s*)?report[- ]domain:\s*\S+\s+submitter:", re.IGNORECASE)
# RFC 9990: receiver "!" domain "!" begin "!" end, as the name of the attachment
_DMARC_FILE = pattern(
    r"[\w.-]{3,255}![\w.-]{3,255}!\d{6,12}!\d{6,12}(?:![\w.-]{1,64})?\.(?:xml|zip|xml\.gz)", re.IGNORECASE
)


def read_notice(mail: Mail) -> Challenge | Notice | None:
    """What known kind of notice ``mail`` is, None where it is none."""
    subject = mail.get("subject") or ""
    sender = clean_address(mail.get("from"))
    if mail.params.get("report-type", "").lower() == "tlsrpt" or mail.has("tls-report-domain"):
        return Notice("other-report", mail.line("content-type") or mail.line("tls-report-domain") or "", "headers")
    if _DMARC_SUBJECT.match(subject) or _QUARANTINE_SUBJECT.match(subject):
        return Notice("other-report", subject, "subject")
    if _is_dmarc(mail):
        return Notice("other-report", mail.line("content-type") or "", "headers")
    if challenge := _challenge(mail, subject):
        part, matched = challenge
        return Challenge(sender, matched, part, read_original(None, mail))
    found = _ADDRESS_CHANGE.match(subject[:200])
    if found:
        return Notice("address-change", found[0], "subject", sender, read_original(None, mail))
    for part_ in mail.walk():
        if part_.content_type == "text/calendar" and part_.params.get("method", "").lower() == "reply":
            return Notice("other-report", mail.line("content-type") or "", "headers", sender, read_original(None, mail))
    return None


def _is_dmarc(mail: Mail) -> bool:
    """Whether an attachment has the name that aggregate reports have, whatever the subject says."""
    if not mail.content_type.startswith(("multipart/mixed", "application/")):
        return False
    for part in mail.walk():
        if part.content_type.startswith(("application/", "text/xml")):
            disposition = part.get("content-disposition") or ""
            if _DMARC_FILE.search(part.params.get("name", "")) or _DMARC_FILE.search(disposition):
                return True
    return False


def _challenge(mail: Mail, subject: str) -> tuple[str, str] | None:
    for name in _CHALLENGE_HEADERS:
        if mail.has(name):
            return "headers", (mail.line(name) or name)[:300]
    found = _CHALLENGE_SUBJECT.search(subject[:300])
    if found and _CHALLENGE_TEXT.search(collapse(mail.readable[:8192])):
        return "subject", found[0]
    return None

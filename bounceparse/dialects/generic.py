"""The last reading of our own: a daemon's mail that plainly says a message failed, in whatever words.

Used only for senders or subjects that are a mail system's, and only where a clear failure phrase stands near an address
that is neither the reader's own nor a contact. Words in 15 languages; a phrase alone is no proof, so both must hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bounceparse.addresses import clean_address
from bounceparse.codes import Action
from bounceparse.dialects.engine import Entry, build
from bounceparse.dialects.forwarded import is_forward
from bounceparse.dialects.prose import ADDRESS, Prose, Wording, header_recipients, is_delay
from bounceparse.formats.dsn import STATUS_TYPES
from bounceparse.lazy import pattern
from bounceparse.reports import DeliveryReport

DAEMON = Wording(
    r"mailer-?daemon|post_?master|mail[ ._-]?deliver|delivery[ ._-]?(?:sub)?system|delivery service|mdaemon|maildaemon|mail[ ._-]?(?:system|service|admin)"
    r"|system administrator|mailserver|\bmta@|smtp[ ._-]?(?:gateway|server)|\bndr\b|^ndr@|bounce|non-?deliver|microsoftexchange[0-9a-f]{16}|antivirus|interscan|content-filter|list admin|-admin@",
)
_SYSTEM = pattern(r"mailer-?daemon|mail[ ._-]?delivery|mdaemon|maildaemon|^$")  # names that nobody but a system bears
RETURNED_TYPES = frozenset(("message/rfc822", "message/global", "text/rfc822-headers", "message/global-headers"))
BOUNCE_SUBJECT = Wording(
    r"undeliver|message you sent (?:was )?blocked|your (?:e-?mail|message|mail) (?:was|has been) (?:rejected|refused|blocked|returned)|not (?:be |(?:yet )?been )?deliver|could ?n[o']t be (?:sent|delivered)|returned? (?:mail|e-?mail|message|to sender)|mail (?:delivery )?(?:fail|error|return|loop)|deliver\w* (?:fail|status|notif|problem|report|error|warning|has failed|incomplete|delayed)"
    r"|failure (?:notice|delivery)|failed (?:mail|delivery|message)|non-?deliver|bounce|delivery of your|error (?:sending|during delivery|in delivery)|message (?:delayed|delivery)|processing error|mail error|loop alert"
    r"|unzustellbar|zustell(?:ungs)?fehler|fehlgeschlagen|nicht zustell|r[uü]ckl[aä]ufer|non remis|[eé]chec (?:de )?(?:la )?remise|revenu en erreur|no se (?:puede|ha podido) entregar|no entregado|error de entrega|correo devuelto"
    r"|non recapitabile|manca(?:to|ta) (?:recapito|consegna)|recapito non riuscito|n[aã]o (?:[eé] poss[ií]vel entregar|entregue)|falha na entrega|onbestelbaar|niet be(?:zorgd|steld)|kan inte levereras|olevererat"
    r"|niedostarcz|nie mo[zż]na dostarczy|nie dostarczono|zwrot wiadomo|niedor[eę]czen|nedoru[cč]|kan ikke leveres|ikke lever|ei voitu toimittaa|toimittamatta|k[eé]zbes[ií]thetetlen|nelivrabil"
    r"|недостав|не (?:удалось доставить|доставлен)|teslim edileme|配信(?:不能|エラー)|メールエラー|送信エラー|配信できません|未送达|无法投递|退信|未傳遞|投递失败|传输失败|배달되지|반송|전송 실패|δεν παραδόθηκε",
)
_FAILED = Wording(
    r"(?:could|can|was|were|has|have|is|been|be|did|do)(?:\s?not|n't) (?:yet )?(?:be(?:en)? )?(?:deliver|reach|sent|receiv|accept|found|exist)|(?:un|in)able to (?:be )?deliver|undeliver|not be delivered|not delivered|could not deliver|cannot deliver|delivery (?:problems?|failed|failure|of (?:your|e-?mail))"
    r"|(?:user|recipient|mailbox|address|account)s? (?:is |was |are )?(?:unknown|not found|not known|does(?:n't| not) exist|invalid|disabled|full|over quota|is full|no longer)|no such (?:user|mailbox|recipient)|unknown (?:user|recipient|address)|invalid (?:user|recipient|address)"
    r"|did not exactly match|wrong or no longer valid|no longer valid|permanent (?:fatal )?error|has failed|failed (?:permanently|to deliver)|encountered (?:an error|delivery problems)|quota (?:exceeded|violation)|mail ?box (?:is )?full|rejected|returned (?:to you|because|undelivered)|have failed|gave up|been postponed|delivery attempts will"
    r"|duplicated message-id|does not have a final email delivery point|no matches to nameserver"
    r"|nie (?:mog[lł]a?|zosta[lł]a|uda[lł]o si[eę]) (?:zosta[cć] )?(?:dostarcz|dor[eę]cz|wys[lł]a)|nie istnieje|nie udalo sie|przepe[lł]nion|konnte nicht (?:zugestellt|gesendet)|nicht zugestellt|existiert nicht|fehler bei der zustellung|zustellung an"
    r"|n'a pas (?:pu |p[uû] )?[eê]tre|n'a pas [eé]t[eé] (?:remis|d[eé]livr)|[eé]chec de (?:la )?remise|n'existe pas|utilisateur inconnu|no (?:se )?(?:pudo|puede|ha podido|se ha podido) (?:ser )?entreg|no existe|usuario desconocido|non [eè] stato (?:possibile )?(?:recapit|consegn)|recapito non riuscito|utente sconosciuto"
    r"|n[aã]o (?:p[oô]de|foi) (?:ser )?entreg|falha na entrega|usu[aá]rio (?:desconhecido|inexistente)|kon niet worden (?:bezorgd|afgeleverd)|bestaat niet|kunde inte levereras|kan inte levereras|nelze doru[cč]it|nepoda[rř]ilo se doru[cč]it|neexistuje"
    r"|не (?:может быть|может|удалось|было|был) (?:достав|отправ)|не (?:доставлен|существует|найден)|teslim edilemedi|iletilemedi|(?:配信|送信|送達)(?:できません|に失敗|することができません)|宛先不明|见つかりません|見つかりません"
    r"|无法(?:投递|发送|送达|傳送)|未能送达|發送失敗|发送失败|投递失败|不存在|無法傳送|배달하지 못|전송(?:되지 못| 실패)|존재하지 않",
)
_CONTACT = pattern(
    r"(?:contact|question|assistance|support|help|inquir|(?:please )?(?:send|write|reply|e-?mail|forward|try)|postmaster|administrator|report this|mailto|message-id|sent by|mail from|token|from|reply to|kontakt|pomoc|hilfe|assist)\b[^\n]{0,60}$",
    re.IGNORECASE,
)
_TO = pattern(rf"\bTo:\s{{0,8}}<?(?P<a>{ADDRESS})", re.IGNORECASE)
_FIND = pattern(ADDRESS)
_BULLET = r"[ \t]{0,40}(?:[*>\-•] )?(?:\"[^\"\n]{1,100}\" <|[<\"'\[(]{0,2})"
_ROW = pattern(  # an address alone on its line, or with words that a mark sets apart
    rf"{_BULLET}(?P<a>{ADDRESS})[>\"'\])]{{0,2}}(?:[:;,.]?[ \t]*$|[ \t]*(?:[:(\[]|[-–—] |\.\.\. ?|[ \t] )[ \t]*(?P<w>\S.*)$)"
)
_BESIDE = pattern(rf"[\s<>\"',;]{{1,12}}(?:(?:and|und|et|y|e|i|oraz) <?)?(?P<a>{ADDRESS})")
# The subjects of answers, ticket systems and digests, which speak about bounces
_ABOUT_BOUNCES = pattern(
    r"\s*(?:re|aw|odp|sv|vs|antw|res|r[eé]f)\s?:|\s*\[[^\]]{0,40}[#\d][^\]]{0,40}\]|.{0,80}\b(?:weekly|daily|monthly|summary|digest|statistics)\b",
    re.IGNORECASE,
)
# How a program says it, the recipient right behind: people put other words between
_FRAME = Wording(
    r"(?:\bthe|your|ihre|votre|su|tu|il suo|sua) (?:e-?mail|message|mail|nachricht|mensaje|messaggio|mensagem)\b[^.:@]{0,60}?(?:could not|couldn't|cannot|can't|was not|not been|n'a pas|konnte|no se pudo|n[aã]o p[oô]de|non [eè])\s[^.:@]{0,40}?"
    r"(?:deliver|delivr|sent|zugestellt|remis|distribu|entreg|recapit|consegn)[^.!?@>]{0,80}\n[\s<\"*-]{0,8}[^\s@>]{1,64}@"
)
# Senders that are programs of some kind; a person's address is none of these
_PROGRAM = pattern(
    r"no-?reply|do-?not-?reply|robot|gateway|gw\d{0,2}@|imss|\bmta\d{0,2}\b|system|server|smtp|mailmaster",
    re.IGNORECASE,
)
_REPLY = pattern(r"(?<![\d.])[45]\d\d[ -]\S|(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])", re.ASCII)  # a server's words
_MOST = 200
_NEAR = 400  # characters between a phrase and its address


def is_daemon(prose: Prose) -> bool:
    """Whether the sender is a mail system by its address or name, or has none."""
    if prose.daemon is None:
        prose.daemon = (
            not prose.sender.replace("<>", "").strip()
            or "mailer-daemon" in prose.sender
            or "postmaster" in prose.sender
            or DAEMON.is_in(prose.sender)
            or prose.mail.has("x-ms-exchange-message-is-ndr")
        )
    return prose.daemon


def says_bounce(prose: Prose) -> bool:
    """Whether the subject calls it a bounce, and no person, newsletter or ticket system wrote it.

    People, ticket systems and newsletters write about bounces under subjects of bounces. So there must be an empty return
    path, a returned message, a program's name as the sender, or a program's turn of phrase.
    """
    if not BOUNCE_SUBJECT.is_in(prose.subject[:400]) or is_forward(prose.subject):
        return False
    mail = prose.mail
    if mail.has("list-unsubscribe") and not any(part.content_type == "message/rfc822" for part in mail.children):
        return False
    if mail.has("in-reply-to") or mail.has("x-autoreply"):
        return False
    if is_daemon(prose):
        return True
    program = has_null_sender(prose) or bool(_PROGRAM.search(prose.sender))
    if not _ABOUT_BOUNCES.match(prose.subject) and (returns_message(prose) or (program and not mail.has("list-id"))):
        return True
    return _FRAME.is_in(prose.said[:4096])


def has_null_sender(prose: Prose) -> bool:
    """Whether its Return-Path is empty, as that of every bounce should be, and that of many automatic answers is."""
    return (prose.mail.get("return-path") or "").strip() == "<>"


def is_automatic(prose: Prose) -> bool:
    """Whether unknown words may be trusted: postmasters write about all sorts of things."""
    if not is_daemon(prose):
        return says_bounce(prose)
    return (
        bool(BOUNCE_SUBJECT.is_in(prose.subject[:400]) and not _ABOUT_BOUNCES.match(prose.subject))
        or is_delay(prose.subject[:300])
        or has_null_sender(prose)
        or bool(_SYSTEM.search(prose.sender))
        or returns_message(prose)
    )


def returns_message(prose: Prose) -> bool:
    """Whether it holds a message, or the header of one."""
    return any(part.content_type in RETURNED_TYPES for part in prose.mail.children)


def encloses_report(prose: Prose) -> bool:
    """Whether a standard report is enclosed somewhere: it is better read as what it is."""
    return any(
        inner.content_type in STATUS_TYPES
        for part in prose.mail.walk()
        if part.content_type.startswith("message/")
        for child in part.children
        for inner in child.walk(into_messages=True)
    )


def _shows_its_origin(prose: Prose) -> bool:
    """Whether more than a subject and an empty return path, which mail of people may have too, tells a program's report."""
    return (
        bool(_PROGRAM.search(prose.sender))
        or returns_message(prose)
        or bool(prose.copy or header_recipients(prose) or prose.mail.has("auto-submitted"))
        or bool(_REPLY.search(prose.said[:4096]) or _FRAME.search(prose.said[:4096]))
    )


def read_generic(prose: Prose) -> DeliveryReport | None:
    """The recipients that a failure phrase is about; None without a phrase or without a recipient."""
    if not is_automatic(prose) or not (is_daemon(prose) or _shows_its_origin(prose)):
        return None
    said = prose.said[:16_384]
    own = {
        a.lower()
        for name in ("to", "from", "return-path", "reply-to", "cc", "delivered-to")
        if (a := clean_address(prose.mail.get(name)))
    }
    phrase = _FAILED.search(said)
    named = BOUNCE_SUBJECT.search(prose.subject[:400])
    trusted = is_daemon(prose) and has_null_sender(prose) and (named or returns_message(prose))
    speaks = named and (is_daemon(prose) or returns_message(prose) or bool(prose.copy))
    if not phrase and not speaks and not trusted:
        return None
    at = phrase.start() if phrase else 0
    entries = [Entry(address, [said]) for address in header_recipients(prose)] or _listed(said, at, own)
    if not entries and (is_daemon(prose) or has_null_sender(prose)):
        addresses: Sequence[str | None] = _nearest(said, at, own) if phrase or trusted else []
        sent_to = _sent_to(prose, said, own)
        if sent_to and not set(addresses) & set(sent_to):
            addresses = sent_to
        addresses = addresses or _labelled(said, own) or _of_returned(prose)
        if not addresses and phrase and named and is_daemon(prose) and has_null_sender(prose):
            addresses = [None]
        entries = [Entry(address, [said]) for address in addresses]
    return build(prose, entries, said) if entries else None


def _of_returned(prose: Prose) -> list[str | None]:
    """Nobody is named, but a message comes back: its only recipient, else a recipient without an address."""
    original = prose.original()
    if not is_daemon(prose) or not (original.message_id or original.to_addresses):
        return []
    if original.message_id_from not in (None, "returned"):
        return []
    alone = len(original.to_addresses) == 1 and not original.list_id  # a list's To is the list, not who failed
    return [original.to_addresses[0] if alone else None]


def _sent_to(prose: Prose, said: str, own: set[str]) -> list[str]:
    """The recipients of the returned message that the text names."""
    lower = said.lower()
    sent_to = prose.original().to_addresses if returns_message(prose) or prose.copy else ()
    return [a for a in sent_to if a.lower() in lower and a.lower() not in own]


def _listed(said: str, at: int, own: set[str]) -> list[Entry]:
    """Addresses that open lines of their own, the first block of them after the phrase, else before it."""
    for part in (said[said.rfind("\n", 0, at) + 1 :], said[:at]):
        found: dict[str, Entry] = {}
        for line in part.split("\n")[:2000]:
            row = _ROW.match(line[:600])
            address = clean_address(row["a"]) if row else None
            if row and address and address.lower() not in own:
                found.setdefault(address.lower(), Entry(address, [row["w"]] if row["w"] else []))
            elif found and line.strip():
                break
        if found:
            return _with_words(list(found.values())[:_MOST], said)
    return []


def _with_words(entries: list[Entry], said: str) -> list[Entry]:
    """``entries`` with the words beside them, where all have some: a table; else with the whole text."""
    if len(entries) > 1 and all(entry.words for entry in entries):
        delayed = [is_delay(entry.words[0]) for entry in entries]
        if any(delayed):
            for entry, waits in zip(entries, delayed, strict=True):
                entry.action = Action.DELAYED if waits else Action.FAILED
        return entries
    for entry in entries:
        entry.words = [said]
    return entries


def _nearest(said: str, at: int, own: set[str]) -> list[str]:
    """The address in the phrase's sentence, else the next one, that is no contact and not the reader's own; with its neighbours."""
    places: list[tuple[int, int, str]] = []
    for found in _FIND.finditer(said):
        address = clean_address(found[0])
        if not address or address.lower() in own or "/" in address[:2]:
            continue
        line = said[max(said.rfind("\n", 0, found.start()) + 1, found.start() - 80) : found.start()]
        if _CONTACT.search(line) or "://" in line.rpartition(" ")[2] or line.lower().endswith("mailto:"):
            continue
        distance = found.start() - at
        if -_NEAR < distance < _NEAR:
            places.append((distance if distance >= 0 else -2 * distance, found.end(), address))
        if len(places) >= _MOST:
            break
    if not places:
        return []
    _, end, address = min(places)
    if before := [a for _, stop, a in places if stop < end and not said[stop : end - len(address)].strip(" \n<>\"',;")]:
        return [*before, address]
    addresses = [address]
    while len(addresses) < _MOST and (beside := _BESIDE.match(said, end)):
        end = beside.end()
        if (address := clean_address(beside["a"]) or "") and address.lower() not in own:
            addresses.append(address)
    return list(dict.fromkeys(addresses))


def _labelled(said: str, own: set[str]) -> list[str]:
    found = _TO.search(said)
    address = clean_address(found["a"]) if found else None
    return [address] if address and address.lower() not in own else []

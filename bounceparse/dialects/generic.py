"""The last reading of our own: a daemon's mail that plainly says a message failed, in whatever words.

Used only for senders or subjects that are a mail system's, and only where a clear failure phrase stands near an address
that is neither the reader's own nor a contact. Words in 15 languages; a phrase alone is no proof, so both must hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from bounceparse.addresses import clean_address
from bounceparse.dialects.engine import Entry, build
from bounceparse.dialects.forwarded import is_forward
from bounceparse.dialects.prose import ADDRESS, Prose, Wording, original_message
from bounceparse.formats.dsn import STATUS_TYPES
from bounceparse.reports import DeliveryReport

DAEMON = re.compile(
    r"mailer-?daemon|post_?master|mail[ ._-]?deliver|delivery[ ._-]?(?:sub)?system|delivery service|mdaemon|maildaemon|mail[ ._-]?(?:system|service|admin)"
    r"|system administrator|mailserver|smtp[ ._-]?(?:gateway|server)|\bndr\b|^ndr@|bounce|non-?deliver|antivirus|interscan|content-filter|list admin|-admin@",
    re.IGNORECASE,
)
BOUNCE_SUBJECT = re.compile(
    r"undeliver|not (?:be )?deliver|could ?n[o']t be (?:sent|delivered)|returned? (?:mail|e-?mail|message|to sender)|mail (?:delivery )?(?:fail|error|return|loop)|deliver\w* (?:fail|status|notif|problem|report|error|warning|has failed|incomplete|delayed)"
    r"|failure (?:notice|delivery)|failed (?:mail|delivery|message)|non-?deliver|bounce|delivery of your|error (?:sending|during delivery|in delivery)|message (?:delayed|delivery)|processing error|mail error|loop alert"
    r"|unzustellbar|nicht zustell|r[uü]ckl[aä]ufer|non remis|[eé]chec (?:de )?(?:la )?remise|revenu en erreur|no se (?:puede|ha podido) entregar|no entregado|error de entrega|correo devuelto"
    r"|non recapitabile|mancato recapito|recapito non riuscito|n[aã]o (?:[eé] poss[ií]vel entregar|entregue)|falha na entrega|onbestelbaar|niet be(?:zorgd|steld)|kan inte levereras|olevererat"
    r"|niedostarczon|nie mo[zż]na dostarczy|nie dostarczono|zwrot wiadomo|niedor[eę]czen|nedoru[cč]|kan ikke leveres|ikke lever|ei voitu toimittaa|toimittamatta|k[eé]zbes[ií]thetetlen|nelivrabil"
    r"|недостав|не (?:удалось доставить|доставлен)|teslim edileme|配信(?:不能|エラー)|メールエラー|送信エラー|配信できません|未送达|无法投递|退信|未傳遞|投递失败|传输失败|배달되지|반송|전송 실패|δεν παραδόθηκε",
    re.IGNORECASE,
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
_CONTACT = re.compile(
    r"(?:contact|question|assistance|support|help|inquir|please (?:send|write|reply|e-?mail|forward|try)|postmaster|administrator|report this|mailto|sent by|from|reply to|kontakt|pomoc|hilfe|assist)\b[^\n]{0,60}$",
    re.IGNORECASE,
)
_TO = re.compile(rf"\bTo:\s{{0,8}}<?(?P<a>{ADDRESS})", re.IGNORECASE)
_FIND = re.compile(ADDRESS)
_ALONE = re.compile(rf"[ \t]{{0,40}}(?:[*>\-•] )?[<\"'\[(]{{0,2}}(?P<a>{ADDRESS})[>\"'\])]{{0,2}}[:;,.]?[ \t]*$")
_MOST = 200
_NEAR = 400  # characters between a phrase and its address


def is_daemon(prose: Prose) -> bool:
    """Whether the sender is a mail system by its address or name, or has none."""
    return not prose.sender.replace("<>", "").strip() or bool(DAEMON.search(prose.sender))


def says_bounce(prose: Prose) -> bool:
    """Whether the subject calls it a bounce, and it is no answer and no newsletter."""
    if not BOUNCE_SUBJECT.search(prose.subject[:400]) or is_forward(prose.subject):
        return False
    mail = prose.mail
    if mail.has("list-unsubscribe") and not any(part.content_type == "message/rfc822" for part in mail.children):
        return False
    return not (mail.has("in-reply-to") or mail.has("x-autoreply"))


def has_null_sender(prose: Prose) -> bool:
    """Whether its Return-Path is empty, as that of every bounce should be, and that of many automatic answers is."""
    return (prose.mail.get("return-path") or "").strip() == "<>"


def encloses_report(prose: Prose) -> bool:
    """Whether a standard report is enclosed somewhere: it is better read as what it is."""
    return any(
        inner.content_type in STATUS_TYPES
        for part in prose.mail.walk()
        if part.content_type.startswith("message/")
        for child in part.children
        for inner in child.walk(into_messages=True)
    )


def read_generic(prose: Prose) -> DeliveryReport | None:
    """The recipients that a failure phrase is about; None without a phrase or without a recipient."""
    said = prose.said[:16_384]
    phrase = _FAILED.search(said) or (BOUNCE_SUBJECT.search(prose.subject[:400]) and re.compile(r"\S").search(said))
    if not phrase:
        return None
    own = {
        a.lower()
        for name in ("to", "from", "return-path", "reply-to", "cc", "delivered-to")
        if (a := clean_address(prose.mail.get(name)))
    }
    addresses: Sequence[str | None] = (
        _listed(said, phrase.start(), own) or _nearest(said, phrase.start(), own) or _labelled(said)
    )
    if not addresses and is_daemon(prose):
        addresses = _of_returned(prose)
    if not addresses:
        return None
    return build(prose, [Entry(address, [said]) for address in addresses], said)


def _of_returned(prose: Prose) -> list[str | None]:
    """Nobody is named, but a message comes back: its only recipient, else a recipient without an address."""
    original = original_message(prose)
    if not (original.message_id or original.to_addresses) or original.message_id_from not in (None, "returned"):
        return []
    alone = len(original.to_addresses) == 1 and not original.list_id  # a list's To is the list, not who failed
    return [original.to_addresses[0] if alone else None]


def _listed(said: str, at: int, own: set[str]) -> list[str]:
    """Addresses that stand alone on their lines, the first block of them after the phrase, else before it."""
    for part in (said[said.rfind("\n", 0, at) + 1 :], said[:at]):
        found: list[str] = []
        for line in part.split("\n")[:2000]:
            alone = _ALONE.match(line[:600])
            address = clean_address(alone["a"]) if alone else None
            if address and address.lower() not in own:
                found.append(address)
            elif found and line.strip():
                break
        if found:
            return list(dict.fromkeys(found))[:_MOST]
    return []


def _nearest(said: str, at: int, own: set[str]) -> list[str]:
    """The address in the phrase's sentence, else the next one, that is no contact and not the reader's own."""
    places: list[tuple[int, str]] = []
    for found in _FIND.finditer(said):
        address = clean_address(found[0])
        if not address or address.lower() in own:
            continue
        line = said[max(said.rfind("\n", 0, found.start()) + 1, found.start() - 80) : found.start()]
        if _CONTACT.search(line) or said[max(0, found.start() - 7) : found.start()].lower().endswith(("//", "mailto:")):
            continue
        distance = found.start() - at
        if -_NEAR < distance < _NEAR:
            places.append((distance if distance >= 0 else -2 * distance, address))
        if len(places) >= _MOST:
            break
    return [min(places)[1]] if places else []


def _labelled(said: str) -> list[str]:
    found = _TO.search(said)
    address = clean_address(found["a"]) if found else None
    return [address] if address else []

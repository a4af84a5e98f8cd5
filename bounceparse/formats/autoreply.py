"""Mail -> :class:`AutoReply`: automatic answers (RFC 3834) by header, then by the subjects that programs write.

Declines without a marker: words in the text alone make no auto-reply.
"""

from __future__ import annotations

import re
from functools import cache

from bounceparse.addresses import clean_address
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import AutoReply
from bounceparse.returned import read_original

# Headers whose mere presence tells it: who sets them in comments.
_PRESENT = (
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-autoreply-from",
    "x-auto-reply",
    "x-auto-reply-from",
    "x-mail-autoreply",
    "x-vacation",
    "x-autoreply-domain",
    "x-fc-machinegenerated",  # FirstClass
    "x-ms-exchange-inbox-rules-loop",
)
# Systems that acknowledge or hold a mail: Zendesk, OTRS, Freshdesk, Request Tracker, Jira Service Management, Mailman.
_SYSTEMS = (
    "x-zendesk-from-account-id",
    "x-otrs-loop",
    "x-freshdesk-ticket",
    "x-rt-loop-prevention",
    "rt-ticket",
    "x-jira-fingerprint",
    "x-list-administrivia",
)


# A person has gone, or the address will go: in the text of an automatic answer this is a hint, never more.
@cache
def _left_pattern() -> re.Pattern[str]:
    return re.compile(
        r"(?:has|have|had) left (?:the |our )?(?:company|organi[sz]ation|firm|business|university|team)|no longer (?:works?|working|employed|with (?:the|our|us)|part of|at)\b"
        r"|(?:mailbox|address|account) (?:is|will be|has been) (?:no longer (?:active|in use|valid|monitored|read)|closed|deactivated|deleted)|(?:mailbox|address|account) does not exist"
        r"|nie pracuj[eęą]|ju[zż] nie (?:pracuje|jest pracownikiem)|adres (?:jest|zosta[lł]) (?:ju[zż] )?(?:nieaktywny|nieaktualny|zlikwidowany|wy[lł][aą]czony)"
        r"|nicht mehr (?:im unternehmen|f[uü]r .{1,40} t[aä]tig|bei (?:uns|der|.{1,30}) (?:t[aä]tig|besch[aä]ftigt))|(?:postfach|adresse) (?:ist|wird|wurde) (?:nicht mehr (?:aktiv|g[uü]ltig|gelesen)|deaktiviert|gel[oö]scht)"
        r"|ne (?:fais|fait) plus partie|ne travaille plus|(?:adresse|bo[iî]te) n['’]est plus (?:valide|active|utilis[eé]e)|a quitt[eé] (?:la soci[eé]t[eé]|l['’]entreprise)"
        r"|ya no trabaj[oa]|(?:cuenta|direcci[oó]n) (?:ya )?no (?:existe|est[aá] activa)|non lavor[oa] pi[uù]|indirizzo non [eè] pi[uù] (?:attivo|valido)|niet meer (?:werkzaam|in dienst)|(?:adres|mailbox) (?:bestaat niet meer|is niet meer)"
        r"|j[aá] n[aã]o (?:trabalh|fa[cç]|integr)|n[aã]o trabalh[oa] mais|slutat (?:p[aå]|hos|min)|arbetar inte l[aä]ngre|ikke l[aæ]ngere ansat|sluttet i|ei ole en[aä][aä] (?:t[oö]iss[aä]|palveluksessa)"
        r"|(?:ji[zž]|u[zž]) (?:ve firm[eě] )?n[ei]pracuj|nedolgozom|m[aá]r nem dolgoz|nu mai (?:lucr|sunt angajat)|больше не работа|уволил|більше не працю|art[iı]k .{0,30}[cç]al[iı][sş]m[iı]yor|退職|退社|已离职|已離職|퇴사|퇴직",
        re.IGNORECASE,
    )


# Headers with the values that tell it.
_VALUES = (
    ("auto-submitted", pattern(r"auto-(?:replied|generated|notified)|vacation|x-", re.IGNORECASE)),
    ("precedence", pattern(r"auto_?reply", re.IGNORECASE)),
    ("x-precedence", pattern(r"auto_?reply", re.IGNORECASE)),
    ("preference", pattern(r"auto_?reply", re.IGNORECASE)),
    ("x-apple-action", pattern(r"vacation", re.IGNORECASE)),
    ("x-post-messageclass", pattern(r"autoresponder", re.IGNORECASE)),
    ("delivered-to", pattern(r"^autoresponder", re.IGNORECASE)),
    ("x-ms-exchange-generated-message-source", pattern(r"mailbox rules agent|transport rule agent", re.IGNORECASE)),
)
# Subjects at whose start (after Re:) a program speaks. One line a language.
_SUBJECT = pattern(
    r"^(?:re\s*:\s*)?(?:"
    r"automatic reply|auto(?:matic|mated)?[ -]?(?:reply|response|answer|responder)|out of (?:the )?office|auto:|ooo:"
    r"|away from (?:my|the) (?:mail|office|desk)|(?:on )?vacation\b|i am (?:away|out of|on (?:leave|vacation|holiday))|out on"
    r"|odpowied[zź] automatyczna|automatyczna odpowied[zź]|autoodpowied[zź]|poza biurem|nieobecno[sś][cć]|jestem na urlopie|urlop\b"
    r"|automatische antwort|abwesenheit|abwesend|nicht im b[uü]ro|im urlaub|urlaubsnotiz"
    r"|r[eé]ponse automatique|absence du bureau|message d['’]absence|absen(?:t|ce)\b|en cong[eé]"
    r"|respuesta autom[aá]tica|fuera de la oficina|ausente|ausencia"
    r"|risposta automatica|fuori (?:sede|ufficio)|assenza"
    r"|resposta autom[aá]tica|aus[eê]ncia tempor[aá]ria|fora do escrit[oó]rio|f[eé]rias\b"
    r"|automatisch antwoord|afwezig|niet aanwezig|buiten kantoor"
    r"|autosvar|automati(?:skt|sk) svar|fr[aå]nvaro|ej p[aå] kontoret|ikke til stede|frav[aæ]r"
    r"|automaattinen vastaus|poissa\b"
    r"|automatick[aá] odpov[eě][dď]|mimo kancel[aá][rř]|nep[rř][ií]tomnos[tť]|neprítomnos[tť]|dovolená"
    r"|automatikus v[aá]lasz|h[aá]zon k[ií]v[uü]l|r[aă]spuns automat"
    r"|автоматический ответ|автоматичен отговор|автоответ|нет на работе|в отпуске|автоматична відповідь|поза офісом"
    r"|otomatik yan[iı]t|ofis d[iı][sş][iı]nda|i̇?zinli"
    r"|自動応答|自動返信|不在|休暇|自动答复|自動回覆|自动回复|休假|外出|자동 ?회신|자동 ?응답|부재중"
    r"|[aā]rpus biroja|autom[aā]tisk[aā] atbilde|automatinis atsakymas|automaatvastus|automatski odgovor|samodejni odgovor"
    r"|αυτόματη απάντηση|תשובה אוטומטית|رد تلقائي"
    r")",
    re.IGNORECASE,
)


_TEXT_CAP = 4096
_LARGE = 200_000


def read_autoreply(mail: Mail) -> AutoReply | None:
    """The automatic answer that ``mail`` is, None where nothing marks it as one."""
    found = _marker(mail)
    if found is None:
        return None
    part, matched = found
    loop = clean_address(mail.get("x-ms-exchange-inbox-rules-loop"))
    sender = loop if loop and "@" in loop else clean_address(mail.get("from"))
    left = None if mail.end - mail.body_at > _LARGE else _left_pattern().search(mail.readable[:_TEXT_CAP])
    return AutoReply(
        recipient=sender,
        matched=matched,
        part=part,
        original=read_original(None, mail),
        left=left[0] if left else None,
    )


def _marker(mail: Mail) -> tuple[str, str] | None:
    for name in _PRESENT:
        if mail.has(name):
            value = mail.get(name) or ""
            if value.lower() not in ("no", "false", "0"):
                return "headers", (mail.line(name) or name)[:300]
    for name, told in _VALUES:
        if mail.has(name):
            for value in mail.get_all(name, 5):
                if told.search(value):
                    return "headers", value[:300]
    for name in _SYSTEMS:
        if mail.has(name):
            return "headers", (mail.line(name) or name)[:300]
    subject = mail.get("subject") or ""
    found = _SUBJECT.match(subject[:300])
    return ("subject", found[0]) if found else None

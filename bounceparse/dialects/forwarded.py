"""A prose bounce that a person forwarded in the text of a mail: the bounce as a mail of its own.

Only below a marker that a mail program writes for forwarding, never in a quotation: what somebody answers to a bounce is
no bounce.
"""

from __future__ import annotations

import re

from bounceparse.lazy import pattern
from bounceparse.mime import Mail

_MARKER = pattern(
    r"^[ \t]{0,4}(?:-{2,20} ?(?:forwarded (?:message|by)|original message|weitergeleitete nachricht|urspr[uü]ngliche nachricht|message (?:transf[eé]r[eé]|d'origine)|mensaje (?:reenviado|original)"
    r"|messaggio (?:inoltrato|originale)|mensagem (?:encaminhada|original)|doorgestuurd bericht|oorspronkelijk bericht|(?:tre[sś][cć] )?(?:przekazan\w{1,4}|oryginaln\w{1,4}) wiadomo[sś][cć]\w{0,3}"
    r"|wiadomo[sś][cć] (?:przekazana|oryginalna)|přeposlaná zpráva|пересылаемое сообщение|转发邮件信息|转发的邮件|転送されたメッセージ)[^\n]{0,80}-{2,20}|begin forwarded message:|anfang der weitergeleiteten (?:nachricht|e-mail):)[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_FORWARD_SUBJECT = pattern(r"\s*(?:re:\s*)?(?:fwd?|wg|tr|rv|enc|pd|odp|doorst|i|vs|转发|轉寄)\s?[:：]", re.IGNORECASE)
_LABELS = {
    **dict.fromkeys(
        ("from", "von", "de", "od", "da", "van", "от", "från", "fra", "差出人", "发件人", "寄件者", "보낸 사람"), "From"
    ),
    **dict.fromkeys(
        (
            "subject",
            "betreff",
            "objet",
            "asunto",
            "oggetto",
            "assunto",
            "onderwerp",
            "temat",
            "předmět",
            "тема",
            "ämne",
            "件名",
            "主题",
            "主旨",
            "제목",
        ),
        "Subject",
    ),
    **dict.fromkeys(
        ("to", "an", "à", "para", "a", "aan", "do", "komu", "кому", "till", "宛先", "收件人", "收件者", "받는 사람"),
        "To",
    ),
    **dict.fromkeys(
        (
            "date",
            "sent",
            "datum",
            "gesendet",
            "envoyé",
            "fecha",
            "enviado",
            "data",
            "inviato",
            "verzonden",
            "wysłano",
            "дата",
            "日時",
            "日期",
        ),
        "Date",
    ),
}
_LABEL = pattern(r"[ \t>*]{0,8}(?P<n>[^\W\d_][^:：\n]{0,20}?)[ \t*]{0,3}[:：][ \t*]{0,4}(?P<v>\S[^\n]{0,500})$")


def is_forward(subject: str) -> bool:
    """Whether a mail program's prefix for forwarded mail opens the subject."""
    return bool(_FORWARD_SUBJECT.match(subject))


def find_forwarded(mail: Mail) -> Mail | None:
    """The mail that ``mail``'s text forwards, made of the fields and the text below the marker; None where there is none."""
    text = mail.readable
    found = _MARKER.search(text)
    if found is None or ("original" in found[0].lower() and not is_forward(mail.get("subject") or "")):
        return None
    fields: list[str] = []
    at = found.end() + 1
    while len(fields) < 20 and at < len(text):
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        label = _LABEL.match(line)
        if label:
            fields.append(f"{_LABELS.get(label['n'].strip().lower(), 'X-Forwarded-Field')}: {label['v']}")
        elif line.strip(" >\t") or fields:
            break
        at = (end if end >= 0 else len(text)) + 1
    if not any(line.startswith("From:") for line in fields):
        return None
    body = text[at:]
    quoted = [line for line in body.split("\n", 400)[:400] if line.strip()]
    if quoted and all(line.startswith(">") for line in quoted):
        body = "\n".join(line[1:].removeprefix(" ") for line in body.split("\n"))
    head = "\n".join(fields) + "\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    return Mail((head + body).encode("utf-8", "replace"), mail.limits, mail.reading.own_header)

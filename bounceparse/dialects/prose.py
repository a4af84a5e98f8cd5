"""A mail as the dialects look at it: what a person reads, cut into what the system says and the copy it returns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bounceparse.addresses import clean_address, find_addresses
from bounceparse.decoding import collapse
from bounceparse.lazy import pattern, replace
from bounceparse.mime import Entity, Mail
from bounceparse.reports import OriginalMessage
from bounceparse.returned import clean_message_id, find_in_text, find_returned, read_original, text_as_entity

# Scripts that write no spaces between words, and their punctuation: an address stands glued to what surrounds it
_UNSPACED = r"\u3000-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"


def _address(unspaced: str, words: str) -> str:
    return (
        rf"(?-i:(?:\"[^\"\n]{{1,64}}\"|[^\s<>()\[\]:;,\"'`|=@{unspaced}][^\s<>()\[\]:;,\"`|@{unspaced}]{{0,127}}{words})"
        rf"@(?:(?:[^\W{unspaced}]|[.\-]){{1,255}}|[\w.\-]{{1,255}}|\[[\w.:]{{2,60}}\]))"
    )


ADDRESS = _address(_UNSPACED, r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]{1,64}")
"""An address in running text; ``clean_address`` does the rest. Case is no matter here: not to ignore it halves the cost."""
ASCII_ADDRESS = _address("", "")
"""The same for text that is ASCII only: compiled in a tenth of the time."""

_LINE_CAP = 2000
_LINES_CAP = 20_000


class Wording:
    """Many alternatives in one linear pass over any text: RE2 syntax, case ignored, compiled on first use."""

    __slots__ = ("_compiled", "_is_in", "_source")

    def __init__(self, source: str) -> None:
        self._source = "(?i)" + source
        self._compiled: Any = None
        self._is_in: Any = None

    def search(self, text: str) -> Any:
        """The first match in ``text``, None where there is none."""
        if self._compiled is None:
            import re2

            self._compiled = re2.compile(self._source)
        try:
            return self._compiled.search(text)
        except UnicodeEncodeError:  # a lone surrogate
            return self._compiled.search(text.encode("utf-8", "replace").decode())

    def is_in(self, text: str) -> bool:
        """Whether it matches anywhere in ``text``; a fifth of the cost of telling where."""
        if self._is_in is None:
            import re2

            alone = re2.Set.SearchSet()
            alone.Add(self._source)
            alone.Compile()
            self._is_in = alone.Match
        return bool(self._is_in(text.encode("utf-8", "replace")))


# Where the copy of the message begins. One line a wording; who writes it is said where it is not plain.
_COPY_BEGINS = (
    r"^[ \t>]{0,8}(?:"
    r"-{2,80} ?(?:below (?:this|the next) line is a copy|enclosed is a copy|attachment is a copy|mensaje original adjunto)"  # qmail
    r"|-{3,80} ?(?:this is a copy of (?:the|your) message|the header of the original message)"  # Exim; 1&1
    r"|-{2,80} ?(?:original (?:message|mail)|message header|unsent message|returned (?:message|mail)|header of the (?:source|original)"
    r"|start of returned message|non-delivered message|message (?:text|body) (?:follows|suppressed)|forwarded message|mail text)"
    r"|={3,80} ?original message"  # LSMTP
    r"|\[<\d\d>\] here is listed the initial part"  # XMail
    r"|\|-{3,80} ?message text follows"
    r"|-- the header and top|(?:the )?first \d{1,4} lines of your original|(?:here|included|below) is a copy of "
    r"|(?:the )?(?:original message|message headers?|message contents) follows?\b"
    r"|a copy of the original message below|your message reads|old message:|bounced e-?mail:|original message as received"
    r"|-{3} ?(?:附件中的内容是原信件|ниже этой линии)"
    r"|original message headers:|en-t[eê]tes d[eu] message d['’]origine|intestazioni originali del messaggio|oorspronkelijke berichtkoppen"  # Exchange
    r"|cabe[cç]alhos originais da mensagem|urspr[uü]ngliche nachrichtenkopfzeilen|encabezados (?:de(?:l)? mensaje )?original|oryginalne nagł[oó]wki wiadomo[sś]ci"
    r"|元のメッセージ ?ヘッダー|исходные заголовки сообщения|原始邮件(?:头|标题)|原始郵件標頭"
    r"|>?(?:received|return-path|x-original-to):[ \t]*\S"
    r")"
)
_COPY = pattern(_COPY_BEGINS, re.IGNORECASE | re.MULTILINE)
# For ASCII in lower case: a newline is found faster than a line's beginning, and letters faster than either case of them
_COPY_IN_ASCII = pattern(r"\n" + _COPY_BEGINS.removeprefix("^"))
_HAS_COPY = Wording("(?m)" + _COPY_BEGINS)  # a test in one pass: many texts have none
# A delay told around the recipients; never searched in a server's own words.
_DELAYED = Wording(
    r"not yet (?:been )?(?:delivered|received)|been delayed|(?:is|mail|message) delayed|will be retried|still being retried|attempts? will continue"
    r"|(?:will|to) (?:continue|keep) (?:on )?try|continue to (?:try|attempt)|warning message only|just a warning|only a warning|temporary failure report"
    r"|been postponed|advisory[- ]only|no action is required on your|do not need to re-?send|notification about a delay"
    r"|have yet to be delivered|still awaiting delivery|(?:server|system|we) will (?:re)?try|not been (?:delivered|sent)[^.\n]{0,80} for (?:more than )?\d{1,3} ?hours?|delivery (?:is )?delayed|notification \(delay\)|再試行"
    r"|pr[oó]by dor[eę]czenia b[eę]d[aą] kontynuowane|op[oó][zź]nieni\w{1,4} w dostarczeniu|zustellung verz[oö]gert|weitere zustellversuche|remise (?:a été )?retard[eé]e"
    r"|nouvelles tentatives|entrega retrasada|seguir[aá] intentando|consegna ritardata|ulteriori tentativi|entrega atrasada|bezorging vertraagd"
    r"|leveransen f[oö]rsenad|doru[cč]en[ií] zpo[zž]d[eě]no|доставка задерживается|попытки доставки будут|配信が遅れ|投递延迟|배달이 지연|teslim gecikti",
)
# Words of a report about one of our messages that name it without its headers
_LABELS = pattern(
    r"^[ \t>*#-]{0,12}(?P<name>(?:with )?subject|the message identifier (?:was|is)|(?:ori?gi?nal |internet )?message[ -]?id|the subject of the message is|betreff|objet|asunto|oggetto|assunto|onderwerp|temat|tytuł|件名|тема|主题"
    r"|sent|sent date|the date of the message is|date|to)[ \t]?[:：][ \t]{0,16}(?P<value>\S[^\n]{0,500})",
    re.IGNORECASE | re.MULTILINE,
)
_FIELD = pattern(r"[ \t>]{0,16}(?:[\w-]{1,60}[ \t]?:|From )", re.ASCII)
_DATES = frozenset(("sent", "sent date", "the date of the message is", "date"))


class Prose:
    """A mail as the dialects look at it.

    Attributes:
        mail: the mail.
        text: what a person reads, line ends LF.
        lower: ``text`` in lower case, for tests by substring.
        said: ``text`` up to the copy of the message; ``copy`` is what stands from there on (empty where there is none).
        sender: the From field in lower case; subject: the Subject field.
        daemon: whether a mail system sent it, None until somebody asked.
    """

    __slots__ = ("_original", "copy", "daemon", "lower", "mail", "said", "sender", "subject", "text")

    copy: str
    said: str
    sender: str
    subject: str

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self._original: OriginalMessage | None = None
        self.daemon: bool | None = None
        text = mail.readable
        self.text = text.replace("\r", "\n") if "\r" in text else text
        self.lower = self.text.lower()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> str:
            """What not every reader asks for, once somebody does."""
            if name == "sender":
                self.sender = (self.mail.get("from") or "").lower()
            elif name == "subject":
                self.subject = self.mail.get("subject") or ""
            elif name in ("said", "copy"):
                text = self.text
                if text.isascii():
                    cut = _COPY_IN_ASCII.search("\n" + self.lower)
                else:
                    cut = _COPY.search(text) if _HAS_COPY.is_in(text) else None
                self.said = text[: cut.start()] if cut else text
                self.copy = text[cut.start() :] if cut else ""
            else:
                raise AttributeError(name)
            return getattr(self, name)

    def original(self) -> OriginalMessage:
        """What the mail tells of the message: enclosed, pasted below a marker, or as fields in the text."""
        if self._original is None:
            self._original = _read_original_message(self)
        return self._original

    def is_delayed(self, frame: str) -> bool:
        """Whether the words around the recipients, or the subject, tell of a delay and not of a failure."""
        return is_delay(f"{frame}\n{self.subject[:300]}")


def is_delay(words: str) -> bool:
    """Whether ``words`` tell of a delay."""
    return _DELAYED.is_in(words)


def lines_of(text: str) -> Iterator[str]:
    """The lines of ``text``, right-stripped, capped in length and number."""
    for count, line in enumerate(text.split("\n")):
        if count >= _LINES_CAP:
            return
        yield line[:_LINE_CAP].rstrip()


def header_recipients(prose: Prose) -> list[str]:
    """The addresses of X-Failed-Recipients (Exim, Gmail)."""
    value = prose.mail.get("x-failed-recipients") or ""
    return [a for item in value.split(",") if (a := clean_address(item)) and "@" in a]


def failed_recipients(prose: Prose) -> list[str]:
    """Recipients named outside the text: X-Failed-Recipients, else the only To of the returned header."""
    named = header_recipients(prose)
    if named:
        return named
    addresses = prose.original().to_addresses
    return list(addresses) if len(addresses) == 1 else []


def _read_original_message(prose: Prose) -> OriginalMessage:
    mail = prose.mail
    returned = find_returned(mail) or _pasted(prose) or _mistyped(mail)
    original = read_original(returned, mail)
    if returned is not None and original.message_id and returned.has("subject") and returned.has("date"):
        return original
    if original.message_id is None and (named := find_in_text(prose.said, mail)):
        told = read_original(named, mail)
        if told.message_id:
            original = replace(original, message_id=told.message_id, message_id_from="text")
    if original.subject is None or original.date is None or original.message_id is None:
        original = _with_labels(prose.said, original)
    return original


def _mistyped(mail: Mail) -> Entity | None:
    """The returned header as the header of a part, or as the text of an attachment."""
    for part in mail.children:
        if part.has("message-id"):
            return part
        if (
            part.content_type.startswith("text/")
            and part.has("content-disposition")
            and _FIELD.match(text := part.text())
        ):
            return text_as_entity(text[:65_536], mail)
    return None


def _pasted(prose: Prose) -> Entity | None:
    """The header block at the start of the pasted copy: below its marker, quoted or indented or not."""
    block = prose.copy[:65_536].lstrip("\n")
    at = 0
    for _ in range(12):
        if _FIELD.match(block, at):
            break
        at = block.find("\n", at) + 1
        if not at:
            return None
    else:
        return None
    if block[at] not in " \t>":  # as it was: all but its header is of no use
        blank = block.find("\n\n", at)
        return text_as_entity(block[at : blank + 2 if blank >= 0 else None], prose.mail)
    lines = block[at:].split("\n")
    indent = len(lines[0]) - len(lines[0].lstrip(" \t>"))
    if indent:
        lines = [line[indent:] if not line[:indent].strip(" \t>") else line for line in lines]
    return text_as_entity("\n".join(lines), prose.mail)


def _with_labels(said: str, original: OriginalMessage) -> OriginalMessage:
    subject, date, to = original.subject, original.date, original.to_addresses
    for found in _LABELS.finditer(said[:8192]):
        name, value = found["name"].lower(), collapse(found["value"])
        if name in _DATES:
            date = date or value
        elif name == "to":
            to = to or tuple(find_addresses(value))
        elif name.endswith("id") or "identifier" in name:
            named = clean_message_id(value)
            if original.message_id is None and named and "@" in named:  # without one it is a queue's own identifier
                original = replace(original, message_id=named, message_id_from="text")
        else:
            subject = subject or value.strip("'\"") or None
    if subject is original.subject and date is original.date and to is original.to_addresses:
        return original
    return replace(original, subject=subject, date=date, to_addresses=to)

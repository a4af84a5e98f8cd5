"""The line engine of the dialects: text of a prose bounce -> recipients, each with the words about it.

Most mail systems write the same shape: a sentence, a list of recipients, words below each or below all of them, then a
copy of the message. A :class:`Layout` says how one family writes it; :func:`read_layout` reads any of them. Patterns are
linear (bounded repeats), lines and lists are capped: hostile mail arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

from bounceparse.addresses import clean_address, find_addresses
from bounceparse.codes import Action, Phase
from bounceparse.mime import Entity, Mail, collapse
from bounceparse.reports import DeliveryReport, OriginalMessage, RecipientReport
from bounceparse.returned import find_in_text, find_returned, read_original, text_as_entity

ADDRESS = (
    r"(?:\"[^\"\n]{1,64}\"|[^\s<>()\[\]:;,\"'`|=@][^\s<>()\[\]:;,\"`|@]{0,127})@(?:[\w.\-]{1,255}|\[[\w.:]{2,60}\])"
)
"""An address in running text; ``clean_address`` does the rest."""

_LINE_CAP = 2000
_LINES_CAP = 20_000
_WORDS_CAP = 4096

# Where the copy of the message begins. One line a wording; who writes it is said where it is not plain.
_COPY = re.compile(
    r"^[ \t>]{0,8}(?:"
    r"-{2,80} ?(?:below (?:this|the next) line is a copy|enclosed is a copy|attachment is a copy|mensaje original adjunto)"  # qmail
    r"|-{3,80} ?(?:this is a copy of (?:the|your) message|the header of the original message)"  # Exim; 1&1
    r"|-{2,80} ?(?:original (?:message|mail)|message header|unsent message|returned (?:message|mail)|header of the (?:source|original)"
    r"|start of returned message|non-delivered message|message (?:text|body) (?:follows|suppressed)|forwarded message|mail text)"
    r"|={3,80} ?original message"  # LSMTP
    r"|\|-{3,80} ?message text follows"
    r"|-- the header and top|(?:the )?first \d{1,4} lines of your original|(?:here|included|below) is a copy of "
    r"|(?:the )?(?:original message|message headers?|message contents) follows?\b"
    r"|a copy of the original message below|your message reads|bounced e-?mail:|original message as received"
    r"|-{3} ?(?:附件中的内容是原信件|ниже этой линии)"
    r"|original message headers:|en-t[eê]tes d[eu] message d['’]origine|intestazioni originali del messaggio|oorspronkelijke berichtkoppen"  # Exchange
    r"|cabe[cç]alhos originais da mensagem|urspr[uü]ngliche nachrichtenkopfzeilen|encabezados (?:de(?:l)? mensaje )?original|oryginalne nagł[oó]wki wiadomo[sś]ci"
    r"|元のメッセージ ?ヘッダー|исходные заголовки сообщения|原始邮件(?:头|标题)|原始郵件標頭"
    r"|>?(?:received|return-path|x-original-to):[ \t]*\S"
    r")",
    re.IGNORECASE | re.MULTILINE,
)
# A delay told around the recipients; never searched in a server's own words.
_DELAYED = re.compile(
    r"not yet (?:been )?(?:delivered|received)|been delayed|(?:is|mail|message) delayed|will be retried|still being retried|attempts? will continue"
    r"|(?:will|to) (?:continue|keep) (?:on )?try|continue to (?:try|attempt)|warning message only|just a warning|only a warning|temporary failure report"
    r"|been postponed|advisory[- ]only|no action is required on your|do not need to re-?send|notification about a delay"
    r"|have yet to be delivered|still awaiting delivery|delivery (?:is )?delayed"
    r"|pr[oó]by dor[eę]czenia b[eę]d[aą] kontynuowane|op[oó][zź]nieni\w{1,4} w dostarczeniu|zustellung verz[oö]gert|weitere zustellversuche|remise (?:a été )?retard[eé]e"
    r"|nouvelles tentatives|entrega retrasada|seguir[aá] intentando|consegna ritardata|ulteriori tentativi|entrega atrasada|bezorging vertraagd"
    r"|leveransen f[oö]rsenad|doru[cč]en[ií] zpo[zž]d[eě]no|доставка задерживается|попытки доставки будут|配信が遅れ|投递延迟|배달이 지연|teslim gecikti",
    re.IGNORECASE,
)
_GAVE_UP = re.compile(
    r"envelope expired|giv(?:en|ing) up|not going to try|could not be delivered for|no further (?:delivery )?attempts|in the queue too long|removed from (?:the )?(?:mail )?queue"
    r"|will be deleted from queue",
    re.IGNORECASE,
)
# The address that the sender wrote to, where the one that failed is another: Exim, Sendmail, Oracle, others
_WRITTEN_AS = re.compile(
    rf"^\s{{0,40}}\(?(?:ultimately )?(?:generated (?:from|by)|expanded from:?|originally addressed to|was addressed to|original address:|expandiert aus:?)"
    rf"\s{{1,8}}<?(?P<a>{ADDRESS})",
    re.IGNORECASE,
)
# Words of a report about one of our messages that name it without its headers
_LABELS = re.compile(
    r"^[ \t>*#-]{0,12}(?P<name>(?:with )?subject|the subject of the message is|betreff|objet|asunto|oggetto|assunto|onderwerp|temat|tytuł|件名|тема|主题"
    r"|sent|sent date|the date of the message is|date|to)[ \t]?[:：][ \t]{0,16}(?P<value>\S[^\n]{0,500})",
    re.IGNORECASE | re.MULTILINE,
)
_TELLING = re.compile(r"\w{2}")
_FOOTER = re.compile(r"-- ?$|_{8,} ?\w")  # a signature; what virus scanners append
_FIELD = re.compile(r"[ \t>]{0,16}(?:[\w-]{1,60}[ \t]?:|From )", re.ASCII)
_DATES = frozenset(("sent", "sent date", "the date of the message is", "date"))
_PHASES: tuple[tuple[re.Pattern[str], Phase], ...] = tuple(
    (re.compile(wording, re.IGNORECASE), phase)
    for wording, phase in (
        (
            r"in reply to rcpt to|after (?:pipelined )?rcpt|does not like recipient|our rcpt to|\[rcpt_to\]|smtp:rcpt|for rcpt|>>> rcpt",
            Phase.RCPT,
        ),
        (
            r"in reply to mail from|after (?:pipelined )?mail from|but sender was rejected|our mail from|\[mail_from\]|for mail from|>>> mail",
            Phase.MAIL,
        ),
        (
            r"end of data command|after (?:sending )?(?:the )?end of data|failed after i sent the message|our final data|for text command",
            Phase.EOM,
        ),
        (r"in reply to data command|after data\b|failed on data command|for data command", Phase.DATA),
        (
            r"after initial connection|connected to \S{1,80} but greeting|while (?:receiving|sending) the initial server greeting",
            Phase.CONNECT,
        ),
        (r"after (?:ehlo|helo)|my name was rejected|in reply to (?:ehlo|helo)|our (?:ehlo|helo)", Phase.EHLO),
        (r"after starttls|tls session|tls connect failed", Phase.STARTTLS),
    )
)
_REMOTE = re.compile(
    r"(?:\bhosts? |server for the recipient domain \S{1,255} by |server |while talking to )(?P<h>(?:[\w-]{1,63}\.){1,8}[\w-]{1,63})\.?(?=[ :\[,(]|$)"
    r"|^(?:connected to )?(?P<i>\d{1,3}(?:\.\d{1,3}){3}) (?:does not like|failed|but )",
    re.IGNORECASE,
)


class Prose:
    """A mail as the dialects look at it.

    Attributes:
        mail: the mail.
        text: what a person reads, line ends LF.
        lower: ``text`` in lower case, for tests by substring.
        said: ``text`` up to the copy of the message; ``copy`` is what stands from there on (empty where there is none).
        sender: the From field in lower case; subject: the Subject field.
    """

    __slots__ = ("copy", "lower", "mail", "said", "sender", "subject", "text")

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        text = mail.readable
        self.text = text.replace("\r", "\n") if "\r" in text else text
        self.lower = self.text.lower()
        self.sender = (mail.get("from") or "").lower()
        self.subject = mail.get("subject") or ""
        cut = _COPY.search(self.text)
        self.said = self.text[: cut.start()] if cut else self.text
        self.copy = self.text[cut.start() :] if cut else ""

    def is_delayed(self, frame: str) -> bool:
        """Whether the words around the recipients, or the subject, tell of a delay and not of a failure."""
        return bool(_DELAYED.search(frame) or _DELAYED.search(self.subject[:300]))


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family of systems writes its bounces. Patterns are source text, compiled on first use, IGNORECASE.

    Attributes:
        name: of the dialect.
        hints: one of these stands in the lower-cased text.
        recipient: a line that names a recipient; groups ``a`` the address, ``w`` words on that line.
        start: where the recipients begin; without a match the layout declines. Empty: at the top.
        stop: a line that ends them.
        reason: a line below which words for all recipients stand; group ``w`` the words on that line.
        skip: lines that tell nothing.
        proof: what a recipient's words must hold.
        senders: one of these stands in the From field, where the text alone would not tell.
        paragraph: a blank line ends a recipient's words, once there are some.
        before: words stand above their recipient.
        above: where no words stand below, the sentence above the recipients tells the cause.
        nameless: nobody need be named; there is then one recipient without an address.
        headless: read also when nobody is named: the recipient is then the only one of the returned header.
    """

    name: str
    hints: tuple[str, ...]
    recipient: str
    start: str = ""
    stop: str = ""
    reason: str = ""
    skip: str = ""
    proof: str = ""
    senders: tuple[str, ...] = ()
    paragraph: bool = False
    before: bool = False
    above: bool = False
    headless: bool = False
    nameless: bool = False

    def hint(self, prose: Prose) -> bool:
        """Whether the layout may apply: substrings only."""
        if self.senders and not any(word in prose.sender for word in self.senders):
            return False
        lower = prose.lower
        return any(hint in lower for hint in self.hints)

    def read(self, prose: Prose) -> DeliveryReport | None:
        """The report, None where the layout does not fit after all."""
        return read_layout(self, prose)


@dataclass(slots=True)
class Entry:
    """A recipient while it is being read; ``words`` are lines."""

    address: str | None
    words: list[str] = field(default_factory=list)
    written_as: str | None = None
    action: Action | None = None


@cache
def rx(source: str) -> re.Pattern[str]:
    """A layout's pattern, compiled once."""
    return re.compile(source, re.IGNORECASE)


def lines_of(text: str) -> Iterator[str]:
    """The lines of ``text``, right-stripped, capped in length and number."""
    for count, line in enumerate(text.split("\n")):
        if count >= _LINES_CAP:
            return
        yield line[:_LINE_CAP].rstrip()


def read_layout(layout: Layout, prose: Prose) -> DeliveryReport | None:
    """Read a bounce as ``layout`` describes it; None where it does not fit."""
    text = prose.said
    begin = 0
    if layout.start:
        found = rx(layout.start).search(text)
        if found is None:
            return None
        begin = found.end()
    entries, shared, frame = _read_lines(layout, text[begin:], prose.mail.limits.recipients)
    if layout.proof:
        proof = rx(layout.proof)
        entries = [entry for entry in entries if proof.search("\n".join(entry.words))]
    if not entries:
        if layout.headless:
            entries = [Entry(address) for address in failed_recipients(prose)]
        if not entries and layout.nameless:
            entries = [Entry(None)]
        if not entries:
            return None
    if not shared and layout.above:
        shared = [text[max(begin - 600, 0) : begin], frame]
    for entry in entries:
        if not any(map(_TELLING.search, entry.words)):
            entry.words = shared
    return build(prose, entries, text[:begin] + "\n" + frame)


def _read_lines(layout: Layout, text: str, most: int) -> tuple[list[Entry], list[str], str]:
    """The entries, the words shared by all, and the lines that belong to neither."""
    recipient = rx(layout.recipient)
    stop = rx(layout.stop) if layout.stop else None
    reason = rx(layout.reason) if layout.reason else None
    skip = rx(layout.skip) if layout.skip else None
    entries: dict[str, Entry] = {}
    current: Entry | None = None
    shared: list[str] = []
    frame: list[str] = []
    into = frame
    pending: list[str] = []
    lines = lines_of(text)
    for line in lines:
        if (stop and stop.match(line)) or _FOOTER.match(line):
            frame.append(line)
            frame.extend(lines)
            break
        if not line.strip():
            if layout.paragraph and current is not None and any(current.words):
                current, into = None, frame
            continue
        if skip and skip.match(line):
            continue
        if reason and (told := reason.match(line)):
            into = shared
            if words := told.groupdict().get("w"):
                shared.append(words)
            continue
        named = recipient.match(line) if into is not shared else None
        address = clean_address(named["a"]) if named else None
        if named and address and len(entries) < most:
            known = entries.get(address.lower())
            if known is None or layout.proof:
                known = entries[address.lower()] = Entry(address)
            elif known is current:
                known.words.append(line)  # the address again, in the wrapped words about it
                continue
            current = known
            if layout.before:
                pending = frame[-6:] or pending
                known.words = list(pending)
                frame.clear()
            into = known.words
            if words := named.groupdict().get("w"):
                into.append(words)
            continue
        if current is not None and (written := _WRITTEN_AS.match(line)):
            current.written_as = clean_address(written["a"])
            continue
        into.append(line)
    return list(entries.values()), shared, "\n".join(frame)


def header_recipients(prose: Prose) -> list[str]:
    """The addresses of X-Failed-Recipients (Exim, Gmail)."""
    value = prose.mail.get("x-failed-recipients") or ""
    return [a for item in value.split(",") if (a := clean_address(item)) and "@" in a]


def failed_recipients(prose: Prose) -> list[str]:
    """Recipients named outside the text: X-Failed-Recipients, else the only To of the returned header."""
    named = header_recipients(prose)
    if named:
        return named
    addresses = original_message(prose).to_addresses
    return list(addresses) if len(addresses) == 1 else []


def build(prose: Prose, entries: Iterable[Entry], frame: str) -> DeliveryReport:
    """The report of ``entries``; ``frame`` is the text around them, which tells failure from delay."""
    delayed = prose.is_delayed(frame) and not _GAVE_UP.search(frame)
    return DeliveryReport(
        recipients=tuple(_recipient(entry, delayed) for entry in entries),
        original=original_message(prose),
        text=prose.said,
    )


def _recipient(entry: Entry, delayed: bool) -> RecipientReport:
    words = collapse(" ".join(entry.words))[:_WORDS_CAP].lstrip(":.- ") or None
    action = entry.action or (Action.DELAYED if delayed and not (words and _GAVE_UP.search(words)) else Action.FAILED)
    return RecipientReport(
        recipient=entry.written_as or entry.address,
        original_recipient=entry.written_as,
        final_recipient=entry.address,
        action=action,
        diagnostic=words,
        part="text",
        remote_mta=find_remote(words) if words else None,
        phase=find_phase(words) if words else None,
    )


def find_phase(words: str) -> Phase | None:
    """The phase of the dialogue that the words of a client name."""
    for wording, phase in _PHASES:
        if wording.search(words):
            return phase
    return None


def find_remote(words: str) -> str | None:
    """The host that a client's words say it talked to."""
    found = _REMOTE.search(words[:600])
    return (found["h"] or found["i"]) if found else None


def original_message(prose: Prose) -> OriginalMessage:
    """What the mail tells of the message: enclosed, pasted below a marker, or as fields in the text."""
    mail = prose.mail
    returned = find_returned(mail) or _pasted(prose) or _mistyped(mail)
    original = read_original(returned, mail)
    if original.message_id is None and (named := find_in_text(prose.said, mail)):
        told = read_original(named, mail)
        if told.message_id:
            original = replace(original, message_id=told.message_id, message_id_from="text")
    if original.subject is None or original.date is None:
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
    block = prose.copy[:65_536]
    if not block:
        return None
    lines = block.lstrip("\n").split("\n")
    begin = next((at for at, line in enumerate(lines[:12]) if _FIELD.match(line)), None)
    if begin is None:
        return None
    lines = lines[begin:]
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
        else:
            subject = subject or value.strip("'\"") or None
    return replace(original, subject=subject, date=date, to_addresses=to)

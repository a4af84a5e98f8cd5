"""The line engine of the dialects: text of a prose bounce -> recipients, each with the words about it.

Most mail systems write the same shape: a sentence, a list of recipients, words below each or below all of them, then a
copy of the message. A :class:`Layout` says how one family writes it; :func:`read_layout` reads any of them. Patterns are
linear (bounded repeats), lines and lists are capped: hostile mail arrives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from bounceparse.addresses import clean_address
from bounceparse.codes import Action, Phase
from bounceparse.decoding import collapse
from bounceparse.dialects.prose import ADDRESS, ASCII_ADDRESS, Prose, Wording, failed_recipients, lines_of
from bounceparse.lazy import dataclass, field, pattern, replace
from bounceparse.reports import DeliveryReport, OriginalMessage, RecipientReport

_WORDS_CAP = 4096

_GAVE_UP = Wording(
    r"envelope expired|giv(?:en|ing) up|not going to try|could not deliver for the last|no further (?:delivery )?attempts|in the queue too long|removed from (?:the )?(?:mail )?queue"
    r"|will be deleted from queue",
)
# The address that the sender wrote to, where the one that failed is another: Exim, Sendmail, Oracle, others
_WRITTEN_AS = pattern(
    rf"^\s{{0,40}}\(?(?:ultimately )?(?:generated (?:from|by)|expanded from:?|originally addressed to|was addressed to|original address:|expandiert aus:?)"
    rf"\s{{1,8}}<?(?P<a>{ADDRESS})",
    re.IGNORECASE,
)
_TELLING = pattern(r"\w{2}")
_FOOTER_BEGINS = ("--", "____")
_FOOTER = pattern(r"-- ?$|_{8,} ?\w")  # a signature; what virus scanners append
# What a client says of the moment of a refusal: Postfix, Exim, qmail, dma, Yahoo, Sendmail and others, in lower case
_PHASES: tuple[tuple[Phase, tuple[str, ...]], ...] = (
    (
        Phase.RCPT,
        (
            "in reply to rcpt to",
            "after rcpt",
            "after pipelined rcpt",
            "does not like recipient",
            "our rcpt to",
            "[rcpt_to]",
            "smtp:rcpt",
            "for rcpt",
            ">>> rcpt",
        ),
    ),
    (
        Phase.MAIL,
        (
            "in reply to mail from",
            "after mail from",
            "after pipelined mail from",
            "but sender was rejected",
            "our mail from",
            "[mail_from]",
            "for mail from",
            ">>> mail",
        ),
    ),
    (
        Phase.EOM,
        (
            "end of data command",
            "after end of data",
            "after sending end of data",
            "failed after i sent the message",
            "our final data",
            "for text command",
        ),
    ),
    (
        Phase.DATA,
        (
            "in reply to data command",
            "after data",
            "failed on data command",
            "for data command",
            "after pipelined data",
        ),
    ),
    (Phase.CONNECT, ("after initial connection", "but greeting failed", "the initial server greeting")),
    (
        Phase.EHLO,
        (
            "after ehlo",
            "after helo",
            "my name was rejected",
            "in reply to ehlo",
            "in reply to helo",
            "our ehlo",
            "our helo",
        ),
    ),
    (Phase.STARTTLS, ("after starttls", "tls session", "tls connect failed")),
)
_PHASE_MARKS = Wording("|".join([re.escape(mark) for _, marks in _PHASES for mark in marks]))
_REMOTE = pattern(
    r"(?:\bhosts? |server for the recipient domain \S{1,255} by |server |while talking to )(?P<h>(?:[\w-]{1,63}\.){1,8}[\w-]{1,63})\.?(?=[ :\[,(]|$)",
    re.IGNORECASE,
)
_REMOTE_NUMBER = pattern(r"(?:connected to )?(\d{1,3}(?:\.\d{1,3}){3}) (?:does not like|failed|but )", re.IGNORECASE)
_REMOTE_MARKS = ("host", "server ", "while talking to ")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a family of systems writes its bounces. Patterns are source text, compiled on first use, IGNORECASE.

    Attributes:
        name: of the dialect.
        hints: one of these stands in the lower-cased text.
        recipient: a line that names a recipient; groups ``a`` the address, ``w`` words on that line, ``o`` the address that
            the sender wrote to.
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

    @property
    def start_is_lower(self) -> bool:
        """Whether ``start`` may be looked for in lower-case text as it is."""
        return self.start.islower()

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
def rx(source: str, is_ascii: bool) -> re.Pattern[str]:
    """A layout's pattern, compiled once; ``is_ascii`` says of what kind of text it will be asked."""
    return re.compile(source.replace(ADDRESS, ASCII_ADDRESS) if is_ascii else source, re.IGNORECASE)


@cache
def cased(source: str) -> re.Pattern[str]:
    """The pattern of a layout for text in its own case."""
    return re.compile(source)


def read_layout(layout: Layout, prose: Prose) -> DeliveryReport | None:
    """Read a bounce as ``layout`` describes it; None where it does not fit."""
    text = prose.said
    begin = 0
    if layout.start:
        if layout.start_is_lower and text.isascii():
            found = cased(layout.start).search(prose.lower, 0, len(text))
        else:
            found = rx(layout.start, text.isascii()).search(text)
        if found is None:
            return None
        begin = found.end()
    entries, shared, frame = _read_lines(layout, text[begin:], prose.mail.limits.recipients)
    if layout.proof:
        proof = rx(layout.proof, False)
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
    is_ascii = text.isascii()
    recipient = rx(layout.recipient, is_ascii)
    stop = rx(layout.stop, is_ascii) if layout.stop else None
    reason = rx(layout.reason, is_ascii) if layout.reason else None
    skip = rx(layout.skip, is_ascii) if layout.skip else None
    entries: dict[str, Entry] = {}
    current: Entry | None = None
    shared: list[str] = []
    frame: list[str] = []
    into = frame
    pending: list[str] = []
    lines = lines_of(text)
    for line in lines:
        if (stop and stop.match(line)) or (line.startswith(_FOOTER_BEGINS) and _FOOTER.match(line)):
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
            groups = named.groupdict()
            known.written_as = clean_address(groups.get("o")) or known.written_as
            if words := groups.get("w"):
                into.append(words)
            continue
        if current is not None and "@" in line and (written := _WRITTEN_AS.match(line)):
            current.written_as = clean_address(written["a"])
            continue
        into.append(line)
    return list(entries.values()), shared, "\n".join(frame)


def build(prose: Prose, entries: Iterable[Entry], frame: str) -> DeliveryReport:
    """The report of ``entries``; ``frame`` is the text around them, which tells failure from delay."""
    delayed = prose.is_delayed(frame) and not _GAVE_UP.is_in(frame)
    original = prose.original()
    recipients = [_recipient(entry, delayed) for entry in entries]
    return DeliveryReport(
        recipients=tuple(_in_full(recipient, original) for recipient in recipients), original=original, text=prose.said
    )


def _in_full(recipient: RecipientReport, original: OriginalMessage) -> RecipientReport:
    """``recipient``, where only its local part is named (GroupWise, AOL), with the address that the message was sent to."""
    bare = recipient.recipient
    if bare is None or "@" in bare:
        return recipient
    sent_to = [a for a in original.to_addresses if a.rpartition("@")[0].lower() == bare.lower()]
    return replace(recipient, recipient=sent_to[0]) if len(sent_to) == 1 else recipient


def _recipient(entry: Entry, delayed: bool) -> RecipientReport:
    words = collapse(" ".join(entry.words))[:_WORDS_CAP].lstrip(":.- ") or None
    action = entry.action or (Action.DELAYED if delayed and not (words and _GAVE_UP.is_in(words)) else Action.FAILED)
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
    if not _PHASE_MARKS.is_in(words):  # in one pass: most words name none
        return None
    lower = words.lower()
    for phase, marks in _PHASES:
        if any(mark in lower for mark in marks):
            return phase
    return None


def find_remote(words: str) -> str | None:
    """The host that a client's words say it talked to."""
    words = words[:600]
    if number := _REMOTE_NUMBER.match(words):
        return number[1]
    lower = words.lower()  # a pattern that may begin anywhere is slow: it starts where one of its words stands
    begin = min((at for mark in _REMOTE_MARKS if (at := lower.find(mark)) >= 0), default=-1)
    if begin < 0:
        return None
    found = _REMOTE.search(words, begin if len(lower) == len(words) else 0)
    return found["h"] if found else None

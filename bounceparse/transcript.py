"""The human-readable part of a delivery report -> what it says near one recipient: a paragraph, a reply, a phase."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from bounceparse.addresses import place_of
from bounceparse.codes import Phase
from bounceparse.decoding import collapse
from bounceparse.lazy import pattern
from bounceparse.reports import RecipientReport

_REGION = 4096
_PARAGRAPH = 1024
# What follows a marker names the command: "RCPT TO command", "end of DATA command", "MAIL FROM:<...> SIZE=1", "EHLO x"
_COMMANDS = (
    ("end of data", Phase.EOM),
    ("message body", Phase.EOM),
    ("end-of-data", Phase.EOM),
    ("final data", Phase.EOM),
    ("dot", Phase.EOM),
    (".", Phase.EOM),
    ("text", Phase.EOM),
    ("sending data", Phase.EOM),
    ("rcpt", Phase.RCPT),
    ("mail", Phase.MAIL),
    ("data", Phase.DATA),
    ("bdat", Phase.EOM),
    ("ehlo", Phase.EHLO),
    ("helo", Phase.EHLO),
    ("lhlo", Phase.EHLO),
    ("starttls", Phase.STARTTLS),
    ("auth", Phase.AUTH),
    ("initial", Phase.CONNECT),
    ("connect", Phase.CONNECT),
)
_MARKERS = (
    "in reply to ",
    "mail server after ",  # Exim
    "remote server after ",  # GMX
    "remote mailer after ",  # old Exim
    "remote server for ",  # 1&1
    "in response to ",
    "did not like our ",  # dma
    "while sending ",  # Postfix, a connection lost
    " in ",  # SendGrid: "550 ... in RCPT TO"
)
_SENTENCES = (
    ("does not like recipient", Phase.RCPT),  # qmail
    ("refused to talk to me", Phase.CONNECT),  # Postfix
    ("but sender was rejected", Phase.MAIL),
    ("failed after i sent the message", Phase.EOM),
    ("failed on data command", Phase.DATA),
    ("wasn't able to establish an smtp connection", Phase.CONNECT),
    ("initial server greeting", Phase.CONNECT),
    ("[rcpt_to]", Phase.RCPT),  # Yahoo
    ("[mail_from]", Phase.MAIL),
    ("[data]", Phase.DATA),
    ("[end_of_data]", Phase.EOM),
    ("mail+rcpt", Phase.RCPT),  # chasquid
    ("data closing", Phase.EOM),
    ("smtp:rcpt ", Phase.RCPT),
)
# "(state 14)" in Gmail's reports until 2017
_STATES = {
    "6": Phase.MAIL,
    "13": Phase.EHLO,
    "14": Phase.RCPT,
    "15": Phase.MAIL,
    "17": Phase.DATA,
    "18": Phase.EOM,
}
# With a line break before them: a search for that is far quicker than for every line's start
_REFUSAL = pattern(r"\n *(?:<<<|Received >>>) *[45]\d\d")
_IN_REPLY = pattern(r"\(in\s+reply\s+to\s+([^)]{1,60})")  # Postfix, by far the most frequent
_COMMAND_LINE = pattern(r"\n *(?:>>>|(?:\.\.\. )?Sent <<<) *(\S+)")


def paragraph_of(recipient: RecipientReport, text: str) -> str | None:
    """What stands behind the recipient's address up to the next blank line, white space collapsed; None for nothing."""
    at = -1
    for address in (recipient.recipient, recipient.final_recipient):
        at = place_of(address, text) if address else -1
        if at >= 0 and address:
            at += len(address)
            break
    if at < 0:
        return None
    end = text.find("\n\n", at)
    words = collapse(text[at : at + _PARAGRAPH if end < 0 else min(end, at + _PARAGRAPH)])
    return words.lstrip(">:,;)\"' ") or None


def find_reply_lines(first: str, text: str) -> str | None:
    """The whole of a multi-line reply whose ``first`` line is known, from a transcript of ``<<<`` lines; collapsed."""
    at = text.find("\n<<< " + first[:40])
    if at < 0:
        return None
    lines: list[str] = []
    for line in text[at + 1 : at + _REGION].split("\n"):
        if not line.startswith("<<< " + first[:3]):
            break
        lines.append(line)
        if line[7:8] != "-":
            break
    return collapse("\n".join(lines))[4:]


def find_phase(recipient: RecipientReport, text: str, alone: bool) -> Phase | None:
    """The phase of the dialogue that the words about ``recipient`` name."""
    near = recipient.text or _near(recipient, text, alone)
    if "(in" in near and (reply := _IN_REPLY.search(near)):
        return _command(collapse(reply[1]).lower())
    at = near.find("mail server after ")  # Exim, second to it
    if at >= 0 and (phase := _command(collapse(near[at + 18 : at + 42]).lower())):
        return phase
    if "\n>>> " in near:
        return _transcript_phase(near)
    region = f"{recipient.diagnostic or ''} {near}"
    if not region.isascii():  # has other white space, too
        region = collapse(region)
    if not _marks()(region.encode("utf-8", "replace")):
        return None
    region = collapse(region).lower()
    for marker in _MARKERS:
        at = region.find(marker)
        if at >= 0 and (phase := _command(region[at + len(marker) : at + len(marker) + 24])):
            return phase
    for sentence, named in _SENTENCES:
        if sentence in region:
            return named
    if "(state " in region:
        return _STATES.get(region.partition("(state ")[2].partition(")")[0])
    return _transcript_phase(near) if "sent <<<" in region or ">>> " in region else None


@cache
def _marks() -> Callable[[bytes], object]:
    """Which of all marks stand in a text, its white space as it is, in one pass: in most texts none does."""
    import re2

    options = re2.Options()
    options.case_sensitive = False
    marks = re2.Set.SearchSet(options)

    def spaced(words: str) -> str:
        return _SPACE.join(map(re2.escape, words.split(" ")))

    commands = "|".join(spaced(name) for name, _ in _COMMANDS)
    for marker in _MARKERS:
        marks.Add(rf"{spaced(marker)}(?:[<(]|{_SPACE})*(?:pipelined{_SPACE})?(?:{commands})")
    for mark in (*(sentence for sentence, _ in _SENTENCES), "(state ", "sent <<<", ">>> "):
        marks.Add(spaced(mark))
    marks.Compile()
    return marks.Match  # type: ignore[no-any-return]


_SPACE = r"[\s\v\x1c-\x1f]+"  # what str.split takes for white space, of ASCII


def _near(recipient: RecipientReport, text: str, alone: bool) -> str:
    if alone:
        return text[:_REGION]
    at = place_of(recipient.recipient, text) if recipient.recipient else -1
    if at < 0:
        return ""
    end = text.find("\n\n", at)
    return text[at : at + _PARAGRAPH if end < 0 else min(end, at + _PARAGRAPH)]


@lru_cache(maxsize=256)
def _command(words: str) -> Phase | None:
    words = words.lstrip("<( ")
    if words.startswith("pipelined "):
        words = words[10:]
    return next((phase for name, phase in _COMMANDS if words.startswith(name)), None)


def _transcript_phase(text: str) -> Phase | None:
    """The last command before the first refusal; a refusal under DATA that goes on with "no valid recipients" is RCPT's."""
    text = "\n" + text
    refusal = _REFUSAL.search(text)
    if not refusal:
        return None
    commands = _COMMAND_LINE.findall(text, 0, refusal.start())
    if not commands:
        return Phase.CONNECT
    phase = _command(commands[-1].lower())
    if phase is Phase.DATA:
        rest = text[refusal.start() :].lower()
        if "need rcpt" in rest or "no valid recipient" in rest or "no recipients" in rest:
            return Phase.RCPT
    return phase

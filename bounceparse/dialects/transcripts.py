"""Bounces with a record of the SMTP dialogue: Sendmail 5 and 8, Postfix's postmaster copies, MDaemon, InterScan.

Sendmail lists the recipients, then transcribes: ``>>>`` what it said, ``<<<`` what it heard, then a line of its own that
names the recipient, ``550 5.1.1 <jan@example.pl>... User unknown``. The server's own replies are what counts; they are
given to the recipient of the line below them. With pipelining ``>>> DATA`` may stand above the refusal of a recipient.
"""

from __future__ import annotations

import re

from bounceparse.addresses import clean_address
from bounceparse.codes import Action
from bounceparse.decoding import collapse
from bounceparse.dialects.engine import Entry, build
from bounceparse.dialects.prose import ADDRESS, Prose, failed_recipients, lines_of
from bounceparse.lazy import dataclass, field, pattern
from bounceparse.reports import DeliveryReport

_LIST = pattern(r"-{3,9} ?the following addresses? ha(?:d|ve) (?P<k>[a-z -]{4,40}?) ?-{3,9}[ \t]*\n", re.IGNORECASE)
_HEADING = pattern(r"^\s{0,8}-{3,9} ?\w", re.MULTILINE)
_TRANSCRIPT = pattern(
    r"-{3,9} ?(?:transcript of session follows|non-delivered information) ?-{3,9}|while talking to \S+:\n|^<<< \d{3}",
    re.IGNORECASE | re.MULTILINE,
)
_LISTED = pattern(
    rf"\s{{0,8}}(?:>>> {ADDRESS} )?(?:<(?P<b>[^<>\n]{{1,320}})>|(?P<a>{ADDRESS})|(?P<p>\"?\|[^\n]*|/\S+))[ \t]*(?:\((?P<w>[^\n]*)\)|\[(?P<x>[^\n]*)\])?$"
)
_REASON = pattern(r"\s{1,12}\(reason: ?(?P<w>.*?)\)?$")
_EXPANDED = pattern(rf"\s{{1,12}}\(expanded from: ?<?(?P<a>{ADDRESS})", re.IGNORECASE)
_HEARD = pattern(r"\s{0,8}(?:<<<|recv:|received >>>)\s?(?P<w>.*)$", re.IGNORECASE)
_SPOKEN = pattern(r"\s{0,8}(?:>>>|send:|sent <<<)\s?(?P<w>.*)$", re.IGNORECASE)
_ABOUT = pattern(rf"(?:\d{{3}}[ -](?:\d\.\d\.\d{{1,3}} )?)?<?(?P<a>{ADDRESS})>?\.\.\. (?P<w>.*)$")
_RCPT = pattern(r"rcpt to:\s?<(?P<a>[^<>\s]{1,320})>", re.IGNORECASE)
# What follows a refusal only because of it
_ECHO = pattern(
    r"\d{3}[ -](?:\d\.\d\.\d{1,3} )?(?:no valid recipients|need rcpt|need recipient|bad sequence|please use rcpt|valid rcpt command must)",
    re.IGNORECASE,
)
_LETTERS = pattern(r"[^\W\d_]{2}")
_GIVING_UP = pattern(r"message could not be delivered for|message will be deleted from queue", re.IGNORECASE)
_STILL_TRYING = (
    "will keep trying",
    "warning message only",
    "message still undelivered after",
    "transient non-fatal",
    "could not send message for past",
)


def _is_trying(words: str) -> bool:
    lower = words.lower()
    return any(mark in lower for mark in _STILL_TRYING)


@dataclass(slots=True)
class _Exchange:
    """One stretch of a transcript: what the server replied and what Sendmail made of it, for ``address`` where it says."""

    heard: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    address: str | None = None

    def words(self) -> str:
        return collapse(" ".join(self.heard or self.own))


def has_transcript(prose: Prose) -> bool:
    """Whether the text has the marks of a Sendmail report."""
    lower = prose.lower
    return (
        "transcript of session follows" in lower
        or "the following addresses ha" in lower
        or ("<<< " in lower and ("while talking to" in lower or ">>> " in lower))
    )


def read_sendmail(prose: Prose) -> DeliveryReport | None:
    """A report with a list of addresses, a transcript, or both; None where neither names a recipient."""
    said = prose.said
    listed = _read_list(said)
    exchanges = _read_transcript(said)
    if listed:
        entries = [Entry(a, [w] if w else [], written) for a, written, w in listed]
        for entry in entries:
            words = _words_for(entry, exchanges, len(entries) == 1)
            if words:
                entry.words = [words]
    else:
        merged: dict[str, Entry] = {}
        for exchange in exchanges:
            if exchange.address:
                merged.setdefault(exchange.address.lower(), Entry(exchange.address, [exchange.words()]))
        entries = list(merged.values())
        if not entries:
            words = " ".join(e.words() for e in exchanges)
            entries = [Entry(a, [words]) for a in (failed_recipients(prose) if exchanges else ())]
    if not entries:
        return None
    if not any("".join(e.words).strip() for e in entries):
        tail = _TRANSCRIPT.split(said, maxsplit=1)
        if len(tail) > 1:
            entries = [Entry(e.address, [tail[-1]], e.written_as) for e in entries]
    trying = _is_trying(said) or _is_trying(prose.subject)
    action = (
        Action.DELAYED
        if trying and not _GIVING_UP.search(said) and "permanent fatal errors" not in said
        else Action.FAILED
    )
    for entry in entries:
        entry.action = action
    return build(prose, entries, "")


def _read_list(said: str) -> list[tuple[str | None, str | None, str]]:
    """The addresses listed on top: (address, the alias the sender wrote to, the words beside it)."""
    rows: dict[str, list[str | None]] = {}
    for section in _LIST.finditer(said):
        if "successful" in section["k"].lower():
            continue
        last: list[str | None] | None = None
        end = _HEADING.search(said, section.end())
        for line in lines_of(said[section.end() : end.start() if end else len(said)]):
            if last is not None and (reason := _REASON.match(line)):
                last[2] = reason["w"]
            elif last is not None and (alias := _EXPANDED.match(line)):
                last[1] = clean_address(alias["a"])
            elif named := _LISTED.match(line):
                address = clean_address(named["b"] or named["a"])
                last = rows.setdefault((address or line).lower(), [address, None, named["w"] or named["x"] or ""])
    return [(row[0], row[1], row[2] or "") for row in rows.values() if row[0] or row[1]]


def _read_transcript(said: str) -> list[_Exchange]:
    found = _TRANSCRIPT.search(said)
    if found is None:
        return []
    exchanges: list[_Exchange] = []
    now = _Exchange()
    begin = found.start() if said.startswith("<<<", found.start()) else found.end()
    for line in lines_of(said[begin:]):
        if heard := _HEARD.match(line):
            if now.own:
                exchanges.append(now)
                now = _Exchange()
            if not _ECHO.match(heard["w"]):
                now.heard.append(heard["w"])
        elif spoken := _SPOKEN.match(line):
            rcpt = _RCPT.search(spoken["w"])
            if now.heard or now.own:
                exchanges.append(now)
                now = _Exchange()
            now.address = clean_address(rcpt["a"]) if rcpt else None
        elif about := _ABOUT.match(line):
            now.own.append(line)
            now.address = clean_address(about["a"])
            exchanges.append(now)
            now = _Exchange()
        elif (
            line.strip()
            and not _GIVING_UP.match(line)
            and not _is_trying(line)
            and "while talking to" not in line.lower()
        ):
            now.own.append(line)
    exchanges.append(now)
    return [exchange for exchange in exchanges if exchange.heard or exchange.own]


def _words_for(entry: Entry, exchanges: list[_Exchange], alone: bool) -> str | None:
    """What the transcript says of a listed recipient: by its address, by the reason listed, else all when it is the only one."""
    names = {name.lower() for name in (entry.address, entry.written_as) if name}
    about = [e for e in exchanges if e.address and e.address.lower() in names and e.words()]
    if about:
        return next((e.words() for e in about if e.heard), about[0].words())
    reason = collapse(" ".join(entry.words))
    if reason:
        for exchange in exchanges:
            if exchange.heard and exchange.words().startswith(reason):
                return exchange.words()
    if alone and exchanges:
        heard = next((e.words() for e in exchanges if e.heard), None)
        return heard or (reason if _LETTERS.search(reason) else exchanges[0].words())
    return None


_OUT = pattern(r"\s{0,2}Out: (?P<w>.*)$")
_IN = pattern(r"\s{0,2}In: {1,3}(?P<w>.*)$")


def read_postmaster_copy(prose: Prose) -> DeliveryReport | None:
    """Postfix's transcript of a session for the postmaster: the recipients that its server refused, with the replies.

    A 4xx reply leaves the message with the client, which tries again.
    """
    entries: dict[str, Entry] = {}
    accepted: list[str] = []
    asked: list[str] = []  # pipelined commands wait for their replies in order
    for line in _unwrapped(prose.said):
        if command := _IN.match(line):
            asked.append(command["w"])
            continue
        reply = _OUT.match(line)
        if reply is None or reply["w"][3:4] == "-":
            continue
        words = reply["w"]
        command_words = asked.pop(0) if asked else "."  # the final dot is not transcribed
        rcpt = _RCPT.search(command_words)
        address = clean_address(rcpt["a"]) if rcpt else None
        refused = words[:1] in ("4", "5")
        if address and refused:
            entries[address.lower()] = _refused(address, words)
        elif address:
            accepted.append(address)
        elif refused and accepted and command_words[:4].upper() in ("DATA", "BDAT", "."):
            entries.update((a.lower(), _refused(a, words)) for a in accepted)
    return build(prose, entries.values(), "") if entries else None


def _refused(address: str, words: str) -> Entry:
    return Entry(address, [words], None, Action.DELAYED if words.startswith("4") else Action.FAILED)


def _unwrapped(text: str) -> list[str]:
    """The lines of a transcript with their continuation lines (deeper indented) joined."""
    lines: list[str] = []
    for line in lines_of(text):
        if line.startswith("     ") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line)
    return lines


_SESSION = pattern(rf"\s{{0,4}}(?:> ?)?<?(?P<a>{ADDRESS})>?(?: - (?P<w>.*))?$")


def read_mdaemon(prose: Prose) -> DeliveryReport | None:
    """MDaemon: ``a@b - no such user here.`` or a list, then a session with ``-->`` and ``<--``; the last reply counts."""
    said = prose.said
    entries: dict[str, Entry] = {}
    session = ""
    in_session = False
    for line in lines_of(said):
        in_session = in_session or "session transcript" in line.lower()
        found = None if in_session else _SESSION.match(line)  # there a lone address may be a folded Message-ID
        if found:
            entries.setdefault(found["a"].lower(), Entry(clean_address(found["a"]), [found["w"] or ""]))
            continue
        reply = re.match(r"\s{0,4}(?:[\w: .-]{0,40}<-- ?)?(?P<w>[45]\d\d[ -].*)$", line)
        if reply:
            session = reply["w"]
        elif entries and line.strip() and not in_session and not session and not line.startswith((" ", "\t")):
            next(reversed(entries.values())).words.append(line)
    if not entries and session:  # nobody is listed: the session names them
        entries = {rcpt["a"].lower(): Entry(clean_address(rcpt["a"])) for rcpt in _RCPT.finditer(said)}
    if not entries:
        return None
    for entry in entries.values():
        if session:
            entry.words = [session]
    return build(prose, entries.values(), said[:1500])


_INTERSCAN_TO = pattern(r"(?:Sent <<< RCPT TO:|Unable to deliver message to )<(?P<a>[^<>\s]{1,320})>", re.IGNORECASE)


def read_interscan(prose: Prose) -> DeliveryReport | None:
    """Trend Micro InterScan: ``Sent <<< RCPT TO:<a>`` above ``Received >>> 550 ...``, or one sentence."""
    entries: dict[str, Entry] = {}
    current: Entry | None = None
    for line in lines_of(prose.said):
        named = _INTERSCAN_TO.search(line)
        if named:
            address = clean_address(named["a"])
            if address:
                current = entries.setdefault(address.lower(), Entry(address))
                if "unable" in line.lower() and not any(current.words):
                    current.words.append(line)
        elif current and (heard := _HEARD.match(line)):
            current.words.append(heard["w"])
    if not entries:
        reason = re.search(r"^Reason:[ \t]{1,8}(?P<w>[^\n]{1,500})", prose.said, re.MULTILINE)
        entries = {a: Entry(a, [reason["w"] if reason else prose.said[:500]]) for a in failed_recipients(prose)}
        if not entries and reason:
            entries = {"": Entry(None, [reason["w"]])}
    return build(prose, entries.values(), "") if entries else None

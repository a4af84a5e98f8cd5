"""The words of a mail server in -> :class:`Reply`: the reply that decides, its codes and its text ready for the rules.

A diagnostic is often a chain: a relay quotes what the next server said, an SMTP client prefixes each line of a
multi-line reply with the code, a gateway wraps the reply of another one. The last reply of the chain is the one given
nearest to the recipient, so that is the one read here; the words around it are kept.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from bounceparse.codes import find_enhanced_status
from bounceparse.lazy import dataclass, pattern

TEXT_CAP = 2048
"""Characters of a reply that are looked at."""

_CODE = r"(4[2-57]\d|5[0-57]\d)"
# RFC 5321 section 4.2 with RFC 2034; seen too: "550 #5.1.1", "#550 5.1.1", "550: text", "550 550 5.1.1"
_HEAD = pattern(
    r"[\s\"'<(\[#]*([245]\d\d)(?=[ \-:;,.)\]'\"/]|$)(?:[ \-:]\s*(?:\1[ \-])?#?([245]\.\d{1,3}\.\d{1,3})(?![\d.]))?",
    re.ASCII,
)
_UNITS = r"(?! ?(?:[kmgKMG]i?[bB]\b|bytes?\b|m(?:essages|essage\(s\)|inutes?|ails)\b|recipients?\b|seconds?\b|days?\b|hours?\b|%))"
_INNER = pattern(rf"{_CODE}(?=[ \-]|$){_UNITS}", re.ASCII)
# "Unknown address error 550-'5.1.1 ...'": IronPort and, in its early years, Amazon SES
_QUOTED = pattern(
    r"^(?:\w{3}[ -])?[245]\.[\dx]{1,3}\.\d{1,3} - [^']{3,80}?(?: (\d{3})-)?'(.{3,})'", re.ASCII | re.DOTALL
)
_NAMED_CODE = pattern(
    r"(?:error|status|code|reply|response)[ _]?(?:code)?[ :=#]{1,3}([45]\d\d)\b", re.IGNORECASE | re.ASCII
)
# Anywhere in a sentence: "the user is unknown (550 5.1.1 No such user)"
_CODE_BESIDE = pattern(r"(?<![\d.])([45]\d\d)[ -]#?[45]\.\d{1,3}\.\d{1,3}(?![\d.])", re.ASCII)
# chasquid names the step before the reply, and of the further lines of a reply it keeps the enhanced codes.
_STEP = pattern(r"(?:^|\(last: )(?:mail\+rcpt|data(?: closing)?) (?=[45]\d\d )", re.ASCII)
_STEPS = ("mail+rcpt ", "data ", "all mxs returned ")
_LINE_STATUS = pattern(r" ([245]\.\d{1,3}\.\d{1,3}) ", re.ASCII)
# Courier: a refusal without a word, then the answer to the DATA that was on its way already
_PIPELINED = pattern(r"([45]\d\d) 50[34] .{0,40}(?:need rcpt|valid rc|rcpt first|rcpt command|bad sequence)", re.ASCII)
# What stands before a quoted reply; ":" alone covers "said:", "reason:", "host mx.example [192.0.2.1]:" and the like.
_LEADS = (
    "->",
    ":",
    "said",
    "returned",
    "replied",
    "error",
    "<<<",
    ">>>",
    "=>",
    "with",
    "was",
    "<",
    "because of",
    "smtp;",
)
_OPENERS = " '\"<([{`"


# An address, whose words say nothing: no-such-user@blocked.example was not blocked.
_BEFORE_ADDRESS = pattern(r"[\s<>\"'(),;:\[\]]")
_DOMAIN = pattern(r"(?:[^\s<>\"'(),;:\[\].]+\.?)+")
_LOCAL_CAP = 256
_WORD = pattern(r"\w")
_MASK = {ord(char): "x" for char in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"}


class _Folds(dict[int, str]):
    """Code point -> its folded form, filled on demand."""

    def __missing__(self, point: int) -> str:
        folded = unicodedata.normalize("NFKC", chr(point)).casefold()
        kept = "".join(c for c in unicodedata.normalize("NFD", folded) if not 0x300 <= ord(c) <= 0x36F)
        kept = unicodedata.normalize("NFC", kept).translate(_PLAIN)
        if unicodedata.category(chr(point)) in ("Cf", "Cs"):  # soft hyphen, zero width, direction; lone surrogates
            kept = ""
        self[point] = kept
        return kept


_PLAIN = str.maketrans(
    {"ł": "l", "ø": "o", "đ": "d", "ı": "i", "’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "\u00a0": " "}
)
_FOLDS = _Folds()


def fold(text: str) -> str:
    """``text`` as rules compare it: NFKC, case folded, Latin and Cyrillic accents and invisible characters dropped."""
    return text.lower() if text.isascii() else text.translate(_FOLDS)


def mask(words: str) -> str:
    """``words`` with an x for every letter and digit: as long as before, and without a meaning."""
    return words.translate(_MASK) if words.isascii() else _WORD.sub("x", words)


def _mask_addresses(text: str) -> str:
    """``text`` with its addresses masked, found from each @ outwards: a pattern for them would try every character."""
    pieces: list[str] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        before = text[max(done, at - _LOCAL_CAP) : at]
        stop = _BEFORE_ADDRESS.search(before[::-1])
        local = stop.start() if stop else len(before)
        domain = _DOMAIN.match(text, at + 1)
        if local and domain:
            pieces += text[done : at - local], mask(text[at - local : domain.end()])
            done = domain.end()
        at = text.find("@", max(done, at + 1))
    return "".join(pieces) + text[done:]


@dataclass(slots=True)
class Reply:
    """What a server said.

    Attributes:
        text: the whole text it stands in, white space collapsed, as spelled.
        code, enhanced: its codes as written, None where it has none. ``enhanced`` may come from the words around it.
        words: the deciding reply, folded, addresses masked, the repeated codes of a multi-line reply left out.
        around: all words, folded likewise; the same as ``words`` where the reply quotes no other.
    """

    text: str
    code: int | None
    enhanced: str | None
    words: str
    around: str
    _cuts: tuple[tuple[int, int], ...] = ()

    def spelled(self, begin: int, end: int, *, around: bool = False) -> str:
        """A slice of ``words`` (or ``around``) as it stands in ``text``."""
        if not around:
            shift = len(self.around) - len(self.words)
            begin, end = begin + shift, end + shift
        first, last = begin, end
        for at, until in self._cuts:  # back to offsets of the folded text with its cuts
            if at <= begin:
                first += until - at
            if at < end:
                last += until - at
        begin, end = first, last
        if not self.text.isascii():
            begin, end = _unfolded(self.text, begin, end)
        return self.text[begin:end].strip()


def _unfolded(text: str, begin: int, end: int) -> tuple[int, int]:
    """Offsets into ``text`` for offsets into its folded form."""
    at, first = 0, None
    for place, char in enumerate(text):
        if first is None and at >= begin:
            first = place
        if at >= end:
            return (first if first is not None else place), place
        at += len(_FOLDS[ord(char)])
    return (first if first is not None else len(text)), len(text)


def read_reply(text: str) -> Reply:
    """The deciding reply in ``text`` (white space collapsed); works for any text, with or without codes."""
    text = text[:TEXT_CAP]
    around = fold(text)
    if around[4:6] == "50" and (refusal := _PIPELINED.match(around)):
        around = refusal[1]
    if "@" in around:
        around = _mask_addresses(around)
    head = _HEAD.match(around)
    cuts: tuple[tuple[int, int], ...] = ()
    last = None
    if head and around[head.end(1) : head.end(1) + 1] == "-":
        around, cuts, last = _join_lines(around, head[1], head.end(1))
    words = around
    begin, outer_code = _find_inner(around, head)
    if begin and not cuts and around[begin + 3 : begin + 4] == "-":
        around, cuts, last = _join_lines(around, around[begin : begin + 3], begin + 3)
        head = _HEAD.match(around, begin)
        words = around[begin:]
    elif begin:
        words = around[begin:]
        head = _HEAD.match(words) or head
        last = _last_status(around, words) if around.startswith(_STEPS) else None
    code = int(head[1]) if head else None
    enhanced = last or (head[2] if head else None)
    if enhanced is None and (begin or "." in words):
        enhanced = find_enhanced_status(words) or (find_enhanced_status(around) if begin else None)
    if code is None and enhanced and (beside := _CODE_BESIDE.search(words)):
        code = int(beside[1])
    if code is None and ("code" in around or "error" in around):
        named = _NAMED_CODE.search(around)
        code = int(named[1]) if named else None
    code = outer_code or code
    if not text.isascii():  # folding makes digits of characters that are none, as of a fraction
        code = code if str(code) in text else None
        enhanced = enhanced if enhanced and enhanced in text else None
    return Reply(text, code, enhanced, words, around, cuts)


def _last_status(around: str, words: str) -> str | None:
    """The enhanced code of the last line of chasquid's multi-line reply; None where it has but one."""
    found = _LINE_STATUS.findall(words) if _STEP.search(around) else ()
    return found[-1] if len(found) > 1 else None


def _find_inner(words: str, head: re.Match[str] | None) -> tuple[int, int | None]:
    """Where the last reply of a chain begins (0: there is but one), and the code of a wrapper that quotes without one."""
    if "'" in words and (quoted := _QUOTED.match(words)):
        return quoted.start(2), int(quoted[1]) if quoted[1] else None
    if words.startswith(_STEPS) and (step := _STEP.search(words)):
        return step.end(), None
    begin = 0
    if (
        " 5" not in words
        and " 4" not in words
        and ":5" not in words
        and ":4" not in words
        and "<4" not in words
        and ";5" not in words
    ):
        return 0, None
    if not _INNER.search(words, 1):  # most have none, and a search costs half of an iterator
        return 0, None
    for found in _INNER.finditer(words, 1):
        at = found.start()
        if words[at - 1] not in " '\"<([{`:;>":
            continue
        before = words[max(0, at - 40) : at]
        if (
            before.endswith("<")
            or before.rstrip(_OPENERS).endswith(_LEADS)
            or (head and begin == 0 and head[1][0] == "2")
        ):
            begin = at
    return begin, None


@lru_cache(maxsize=64)
def _further_line(code: str) -> re.Pattern[str]:
    return re.compile(rf" (?:<<< )?{code}([- ])(?:#?([245]\.\d{{1,3}}\.\d{{1,3}})(?: |$))?", re.ASCII)


def _join_lines(folded: str, code: str, start: int) -> tuple[str, tuple[tuple[int, int], ...], str | None]:
    """A multi-line reply without the codes of its further lines; what was cut; the last enhanced code among them."""
    pieces: list[str] = []
    cuts: list[tuple[int, int]] = []
    last: str | None = None
    at = removed = 0
    final = folded.rfind(f" {code}-") + 1  # the line after it ends the reply
    for found in _further_line(code).finditer(folded, start):
        begin = found.start() + 1  # the space before the code stays
        if found[1] == " " and begin < final and not found[2]:
            continue
        pieces.append(folded[at:begin])
        at = found.end()
        cuts.append((begin - removed, at - removed))
        removed += at - begin
        last = found[2] or last
        if len(cuts) == 100 or (begin >= final > 0 and found[1] == " "):
            break
    pieces.append(folded[at:])
    return "".join(pieces), tuple(cuts), last

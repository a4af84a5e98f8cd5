"""Prose bounces: what mail systems write that is not RFC 3464.

:func:`read_prose` tries the dialects of :data:`ORDER`, the specific before the general. Each has a cheap hint, told by
substrings, and a reader that may still decline. :func:`fill` completes a standard report from its human-readable part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, NamedTuple

from bounceparse.codes import Action
from bounceparse.dialects import exchange, exim, labels, qmail, sentences, transcripts
from bounceparse.dialects.engine import Layout
from bounceparse.dialects.expanded import MEMBER_MARK, name_members
from bounceparse.dialects.fill import fill_report, is_contentless
from bounceparse.dialects.flufl import read_flufl
from bounceparse.dialects.forwarded import find_forwarded
from bounceparse.dialects.generic import encloses_report, has_null_sender, is_daemon, read_generic, says_bounce
from bounceparse.dialects.prose import Prose
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport, RecipientReport

__all__ = ["ORDER", "Dialect", "claims", "fill", "read_prose"]


class Dialect(NamedTuple):
    """A reader of one kind of prose bounce.

    Attributes:
        name: of the dialect.
        hint: a cheap test.
        read: the reader, which may decline (None).
        words: one of these stands in the lower-cased text of what it reads; empty: the hint alone decides.
    """

    name: str
    hint: Callable[[Prose], bool]
    read: Callable[[Prose], DeliveryReport | None]
    words: tuple[str, ...] = ()


def _dialects(layouts: Iterable[Layout]) -> tuple[Dialect, ...]:
    return tuple(Dialect(layout.name, layout.hint, layout.read, layout.hints) for layout in layouts)


def _mentions(*words: str) -> Callable[[Prose], bool]:
    return lambda prose: any(word in prose.lower for word in words)


ORDER: tuple[Dialect, ...] = (
    *_dialects(exim.LAYOUTS),
    *_dialects(qmail.LAYOUTS),
    Dialect("sendmail", transcripts.has_transcript, transcripts.read_sendmail),
    Dialect(
        "postfix-session", _mentions("transcript of session follows.\n\n out: 2"), transcripts.read_postmaster_copy
    ),
    Dialect("mdaemon", lambda prose: "mdaemon" in prose.sender, transcripts.read_mdaemon),
    *_dialects(exchange.LAYOUTS),
    *_dialects(sentences.LAYOUTS),
    *_dialects(labels.LAYOUTS),
    Dialect(
        "interscan",
        _mentions("received >>>", "message from interscan", "interscan messaging"),
        transcripts.read_interscan,
    ),
    Dialect(
        "generic", lambda prose: (is_daemon(prose) or says_bounce(prose)) and not encloses_report(prose), read_generic
    ),
    Dialect("flufl", lambda prose: is_daemon(prose) and not encloses_report(prose), read_flufl),
)
"""All dialects, the first that reads a mail wins."""

_KNOWN_FORMATS = tuple(dialect for dialect in ORDER if dialect.name not in ("generic", "flufl"))
# A first look at the header: may a mail system have sent this? Ordinary mail ends here, its body unread.
_PLAUSIBLE = pattern(
    rb"daemon|post_?master|deliver|bounce|fail|return(?:ed)?[ _-]?(?:mail|to|message)|\nreturn-path:\s*<>|\nfrom:\s*(?:<>)?\s*\n|x-failed-recipients|undeliv|mail[ _.-]?(?:system|service|admin|error)|=\?|"
    rb"non[ -]remis|loop alert|processing error|[\x80-\xff]|ndr|smtp|not be|administrator|postoffice|\nauto-submitted:\s*auto-(?:replied|generated)|fwd?:|\nsubject:\s*(?:wg|tr|rv|pd|enc|i):"
)


def read_prose(mail: Mail) -> tuple[str, DeliveryReport] | None:
    """The dialect that reads ``mail`` and its report; None for what is no bounce. Notes the defect ``forwarded``."""
    head = mail.lower_head
    if b"daemon" not in head and b"deliver" not in head and not _PLAUSIBLE.search(head):
        return None
    prose = Prose(mail)
    if _may_be_bounce(prose):
        return _read(prose)
    return _read_forwarded(mail)


def _may_be_bounce(prose: Prose) -> bool:
    return is_daemon(prose) or says_bounce(prose) or has_null_sender(prose)


def _read(prose: Prose, order: tuple[Dialect, ...] = ORDER) -> tuple[str, DeliveryReport] | None:
    always, by_word = _places(order is ORDER)
    places = {*always}
    for word in _words_in(prose.lower):
        places.update(by_word.get(word, ()))
    for place in sorted(places):
        dialect = order[place]
        if dialect.hint(prose) and (report := dialect.read(prose)):
            return dialect.name, report
    return None


@cache
def _places(every: bool) -> tuple[list[int], dict[str, list[int]]]:
    """The dialects that are asked about any text, and those of each word: as places in the order."""
    always: list[int] = []
    by_word: dict[str, list[int]] = {}
    for place, dialect in enumerate(ORDER if every else _KNOWN_FORMATS):
        if not dialect.words:
            always.append(place)
        for word in dialect.words:
            by_word.setdefault(word, []).append(place)
    return always, by_word


@cache
def _word_set() -> tuple[Any, tuple[str, ...]]:
    """All dialects' words in one automaton: a single pass over the text instead of one a word."""
    import re2

    words = tuple(sorted({word for dialect in ORDER for word in dialect.words}))
    options = re2.Options()
    options.log_errors = False
    automaton = re2.Set.SearchSet(options)
    for word in words:
        automaton.Add(re2.escape(word))
    automaton.Compile()
    return automaton, words


def _words_in(lower: str) -> list[str]:
    automaton, words = _word_set()
    try:
        found = automaton.Match(lower)
    except UnicodeEncodeError:  # a lone surrogate
        found = automaton.Match(lower.encode("utf-8", "replace").decode())
    return [words[at] for at in found] if found else []


def _read_forwarded(mail: Mail) -> tuple[str, DeliveryReport] | None:
    """A bounce that a person forwards; guessing is not for what came through a person's hands."""
    inner = find_forwarded(mail)
    if inner is None:
        return None
    prose = Prose(inner)
    read = _read(prose, _KNOWN_FORMATS) if is_daemon(prose) else None
    if read is not None:
        mail.note("forwarded")
    return read


def claims(mail: Mail) -> list[str]:
    """The names of all dialects that would read ``mail``, in order, each once."""
    prose = Prose(mail)
    if not _may_be_bounce(prose):
        return []
    return list(dict.fromkeys(dialect.name for dialect in ORDER if dialect.hint(prose) and dialect.read(prose)))


def fill(mail: Mail, report: DeliveryReport) -> DeliveryReport:
    """``report`` (RFC 3464) with what the human-readable part tells and the status part does not.

    Cheap where nothing is missing: a failed or delayed recipient with a diagnostic in words is left alone, unless the mail
    holds a Sendmail transcript.
    """
    if MEMBER_MARK in report.text:
        report = name_members(mail, report)
    for entry in report.recipients:
        if entry.action in _REACHED:
            continue
        if entry.recipient is None or is_contentless(entry.diagnostic) or _is_cut(entry):
            return fill_report(Prose(mail), report)
    return report


_REACHED = (Action.DELIVERED, Action.RELAYED, Action.EXPANDED)


def _is_cut(entry: RecipientReport) -> bool:
    """Whether Sendmail gives but the first line of a reply."""
    return entry.derived_status and (entry.diagnostic or "")[3:4] == "-"

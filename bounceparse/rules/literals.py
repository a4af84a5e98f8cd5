"""A pattern in -> the literals that a text must hold before the pattern can match it, or all that it can match.

Reads the part of RE2's syntax that rules use. What it cannot make use of (wildcards, large classes, repetitions) tells
nothing and is passed over, so that an answer is always a necessary condition, never more.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from bounceparse.lazy import pattern

Clause = frozenset[str]
"""Literals of which one must occur."""

_WORDS = 8  # strings that a piece of a pattern may stand for before it is cut
_CLASS = 4  # characters of a class that is spelled out
_SHORT, _LONG, _KEPT = 2, 12, 32  # bytes: a shorter literal occurs everywhere, a longer one is rare enough
_RARER = tuple(4 ** (_LONG - length) for length in range(_LONG + 1))
_COMMON = _RARER[2]  # a clause this common is no help beside a much better one
_PLAIN = r"[^\\\[\](){}|*+?.^$]"
_RUN = pattern(rf"(?:{_PLAIN}(?![*+?{{]))+")
_CHOICE = pattern(rf"\((?:\?:)?({_PLAIN}*(?:\|{_PLAIN}*)*)\)")
_QUANTIFIER = pattern(r"[*+?]\??|\{(\d+)(?:,\d*)?\}\??")
_ASSERTION = pattern(r"\\[bBAz]|[\^$]|\(\?[a-z-]+\)")
_PROPERTY = pattern(r"\\[pP](?:\{\w+\}|\w)")
_GROUP = pattern(r"\((?:\?(?:P?<\w+>|[a-z-]*:))?")
# What makes a match more than its words, or its words too many: found at once, where reading takes a while
_ENDLESS = pattern(r"\\[a-zA-Z]|(?<!\\)[.^$*+{]|\(\?[a-z-]+[:)]|\?\?")
_FOREIGN = pattern(r"(?<!\\)(?:\\\\)*\\[^\WdDsSwWbBAzpP]|\[:\w+:\]")  # \x41, \Q..\E, [[:alpha:]]


class _Part(NamedTuple):
    """What a piece of a pattern can match: ``words`` are all its strings, the one that RE2 prefers first (None:
    unknown), ``clauses`` what they need."""

    words: tuple[str, ...] | None
    clauses: tuple[Clause, ...] = ()


_EMPTY = _Part(("",))
_ANYTHING = _Part(None)


def required_literals(pattern: str, most: int) -> tuple[Clause, ...]:
    """Up to ``most`` clauses that hold for every text that ``pattern`` matches, the rarest first; () for none."""
    if _FOREIGN.search(pattern):
        return ()
    part, _ = _alternatives(pattern, 0)
    rarest = sorted(_closed(part), key=_commonness)
    kept = rarest[:1]
    kept += [clause for clause in rarest[1:most] if _commonness(clause) < max(_COMMON, 2 * _commonness(rarest[0]))]
    return tuple(frozenset(word.strip()[:_KEPT] for word in clause) for clause in kept)


class Words(NamedTuple):
    """All that a pattern can match: one of ``words``, the preferred first; ``front`` and ``back`` ask for a word
    boundary there."""

    words: tuple[str, ...]
    front: bool
    back: bool


def finite_words(pattern: str) -> Words | None:
    """All that ``pattern`` can match; None where that is much, or more than words decide."""
    front, back = pattern.startswith("\\b"), pattern.endswith("\\b") and not pattern.endswith("\\\\b")
    bare = pattern[2 * front : len(pattern) - 2 * back]
    if not bare or _ENDLESS.search(bare) or _FOREIGN.search(bare):
        return None
    part, end = _sequence(bare, 0)  # stops at an alternative of the whole, to which a boundary would not belong
    if part.words is None or end < len(bare) or "" in part.words:
        return None
    if not all((not front or _is_word(word[0])) and (not back or _is_word(word[-1])) for word in part.words):
        return None
    return Words(part.words, front, back)


def _is_word(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char == "_")


def _alternatives(pattern: str, at: int) -> tuple[_Part, int]:
    """The part from ``at`` to the closing parenthesis or the end, and where that is."""
    branch, at = _sequence(pattern, at)
    branches = [branch]
    while pattern[at : at + 1] == "|":
        branch, at = _sequence(pattern, at + 1)
        branches.append(branch)
    if len(branches) == 1:
        return branch, at
    words: list[str] = []
    for branch in branches:
        if branch.words is None:
            break
        words += branch.words
    else:
        return _Part(tuple(dict.fromkeys(words))), at
    best = [min(_closed(branch), key=_commonness, default=Clause()) for branch in branches]
    return (_Part(None, (Clause().union(*best),)) if all(best) else _ANYTHING), at


def _sequence(pattern: str, at: int) -> tuple[_Part, int]:
    """The concatenation from ``at`` to ``|``, ``)`` or the end, and where that is."""
    run, whole = _EMPTY, True
    clauses: list[Clause] = []
    while at < len(pattern) and pattern[at] not in "|)":
        part, at = _item(pattern, at)
        joined = _product(run.words, part.words)
        if joined is None:
            clauses += (*_closed(run), *part.clauses)
            whole = False
            run = _EMPTY if part.words is None else part
        else:
            run = _Part(joined)
    if whole:
        return run, at
    return _Part(None, (*clauses, *_closed(run))), at


def _product(left: tuple[str, ...] | None, right: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if left is None or right is None or len(left) * len(right) > _WORDS:
        return None
    return tuple(dict.fromkeys([a + b for a in left for b in right]))


def _item(pattern: str, at: int) -> tuple[_Part, int]:
    """A run of plain characters, or one class, group or assertion with its quantifier; and what follows it."""
    plain = _RUN.match(pattern, at)
    if plain:
        return _Part((plain[0],)), plain.end()
    choice = _CHOICE.match(pattern, at)
    if choice:
        return _repeated(pattern, choice.end(), _Part(tuple(dict.fromkeys(choice[1].split("|")))))
    known = _ASSERTION.match(pattern, at)
    if known:
        return _EMPTY, known.end()
    known = _PROPERTY.match(pattern, at)
    if known:
        return _repeated(pattern, known.end(), _ANYTHING)
    char = pattern[at]
    if char == "(":
        opening = _GROUP.match(pattern, at)
        part, at = _alternatives(pattern, opening.end() if opening else at + 1)
    elif char == "[":
        part, at = _class(pattern, at)
    elif char == "\\":
        escaped, at = pattern[at + 1 : at + 2], at + 1
        part = _ANYTHING if escaped.isalnum() else _Part((escaped,))
    else:
        part = _ANYTHING if char == "." else _Part((char,))
    return _repeated(pattern, at + 1, part)


def _repeated(pattern: str, at: int, part: _Part) -> tuple[_Part, int]:
    """``part`` with the quantifier that follows it, if one does."""
    quantifier = _QUANTIFIER.match(pattern, at)
    if not quantifier:
        return part, at
    if quantifier[0][0] == "?":
        part = _ANYTHING if part.words is None else _Part((*part.words, ""))
    elif quantifier[0][0] == "+" or int(quantifier[1] or 0):
        part = _Part(None, _closed(part))
    else:
        part = _ANYTHING
    return part, quantifier.end()


def _class(pattern: str, at: int) -> tuple[_Part, int]:
    """A bracketed class and where it ends; one of few plain characters is spelled out."""
    end = pattern.index("]", at + 3 if pattern[at + 1] == "^" else at + 2)
    while pattern[end - 1] == "\\" and pattern[end - 2] != "\\":
        end = pattern.index("]", end + 1)
    inner = re.sub(r"\\([^\w])", r"\1", pattern[at + 1 : end])
    plain = len(inner) <= _CLASS and inner[0] != "^" and "\\" not in inner and "-" not in inner[1:-1]
    return (_Part(tuple(dict.fromkeys(inner))) if plain else _ANYTHING), end


def _closed(part: _Part) -> tuple[Clause, ...]:
    """The clauses of a part that nothing more is joined to."""
    if part.words is None or any(_weight(word) < _SHORT for word in part.words):
        return part.clauses
    return (*part.clauses, frozenset(part.words))


def _weight(word: str) -> int:
    """The length in bytes of what stands between the spaces: " not " is as common as "not"."""
    word = word.strip()
    return len(word) if word.isascii() else len(word.encode())


def _commonness(clause: Clause) -> int:
    """An estimate of how many texts satisfy the clause, in units that have no meaning."""
    return sum([_RARER[min(_weight(word), _LONG)] for word in clause])

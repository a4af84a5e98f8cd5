"""A pattern in -> a function that tells where it matches.

Most patterns are a few words in a row: those are looked for as they stand, which costs no compilation and a fraction of
a matcher's call. The rest goes to RE2. Both give the same answer, that of RE2.
"""

from __future__ import annotations

from collections.abc import Callable

from bounceparse.rules.literals import Words, finite_words

Span = tuple[int, int]
Matcher = Callable[[str], Span | None]
"""Folded words in -> where the leftmost match begins and ends, in characters; None for nowhere."""

_WORD = frozenset("0123456789abcdefghijklmnopqrstuvwxyz_ABCDEFGHIJKLMNOPQRSTUVWXYZ")  # RE2's \w


def make_matcher(pattern: str) -> Matcher:
    """The function for ``pattern`` (RE2 syntax, as checked when it was read)."""
    finite = finite_words(pattern)
    return _find_words(finite) if finite else _find_pattern(pattern)


def _find_words(finite: Words) -> Matcher:
    words, front, back = finite
    if len(words) == 1 and not front and not back:
        (only,) = words
        size = len(only)

        def find_only(text: str) -> Span | None:
            at = text.find(only)
            return (at, at + size) if at >= 0 else None

        return find_only

    def find(text: str) -> Span | None:
        first = end = len(text)
        for word in words:
            at = text.find(word, 0, first + len(word))  # of two that begin together the preferred one matches
            while 0 <= at < first:
                behind = at + len(word)
                if (not front or not at or text[at - 1] not in _WORD) and (
                    not back or text[behind : behind + 1] not in _WORD
                ):
                    first, end = at, behind
                    break
                at = text.find(word, at + 1, first + len(word))
        return (first, end) if first < end else None

    return find


def _find_pattern(pattern: str) -> Matcher:
    import re2

    options = re2.Options()
    options.log_errors = False
    search = re2.compile(pattern, options).search

    def find(text: str) -> Span | None:
        data = text.encode("utf-8", "replace")  # bytes: for text, the binding counts characters again and again
        found = search(data)
        if found is None:
            return None
        first, last = found.span()
        if len(data) == len(text):
            return first, last
        before = len(data[:first].decode("utf-8", "replace"))
        return before, before + len(data[first:last].decode("utf-8", "replace"))

    return find

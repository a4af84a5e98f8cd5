"""Patterns in -> :class:`Index`: which of them a text can match at all, found in one pass over the text.

Every pattern needs certain literals (:mod:`bounceparse.rules.literals`). One automaton finds all literals of a text;
the patterns whose needs are met are few, and only those are compiled and asked. Compared with one matcher over all
patterns, nothing is built for what never comes, and a text that was never seen costs no more than one that was.
"""

from __future__ import annotations

from collections.abc import Sequence

from ahocorasick_rs import AhoCorasick

from bounceparse.rules.literals import required_literals


class Index:
    """Sets of patterns are integers here: bit n stands for pattern n."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Index ``patterns`` (RE2 syntax), numbered in their order."""
        first: dict[str, int] = {}
        second: dict[str, int] = {}
        self._first = self._second = 0  # what needs no literal at all, or no second one
        for number, pattern in enumerate(patterns):
            bit = 1 << number
            clauses = required_literals(pattern, 2)
            for literal in clauses[0] if clauses else ():
                first[literal] = first.get(literal, 0) | bit
            for literal in clauses[1] if len(clauses) > 1 else ():
                second[literal] = second.get(literal, 0) | bit
            self._first |= 0 if clauses else bit
            self._second |= 0 if len(clauses) > 1 else bit
        literals = sorted(first.keys() | second.keys())
        self._masks = [(first.get(literal, 0), second.get(literal, 0)) for literal in literals]
        self._automaton = AhoCorasick(literals, store_patterns=False)

    def candidates(self, text: str) -> int:
        """The patterns that ``text`` can match; a pattern that is not among them matches it nowhere."""
        first, second = self._first, self._second
        masks = self._masks
        for literal in {found[0] for found in self._automaton.find_matches_as_indexes(text, overlapping=True)}:
            more, further = masks[literal]
            first |= more
            second |= further
        return first & second

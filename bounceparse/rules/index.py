"""Patterns in -> :class:`Index`: which of them a text can match at all, found in one pass over the text.

Every pattern needs certain literals (:mod:`bounceparse.rules.literals`). One automaton finds all literals of a text;
the patterns whose needs are met are few, and only those are compiled and asked. Compared with one matcher over all
patterns, nothing is built for what never comes, and a text that was never seen costs no more than one that was.
"""

from __future__ import annotations

from collections.abc import Sequence

from ahocorasick_rs import AhoCorasick

from bounceparse.rules.literals import required_literals

_CLAUSES = 2


class Index:
    """Sets of patterns are integers here: bit n stands for pattern n."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Index ``patterns`` (RE2 syntax), numbered in their order."""
        self._count = len(patterns)
        self._all = (1 << self._count) - 1
        self._always = 0  # what needs no literal at all, or no second one
        masks: dict[str, int] = {}
        for number, pattern in enumerate(patterns):
            clauses = required_literals(pattern, _CLAUSES)
            for place in range(_CLAUSES):
                bit = 1 << number + place * self._count
                if place >= len(clauses):
                    self._always |= bit
                    continue
                for literal in clauses[place]:
                    masks[literal] = masks.get(literal, 0) | bit
        literals = sorted(masks)
        self._masks = [masks[literal] for literal in literals]
        self._automaton = AhoCorasick(literals, store_patterns=False)

    def candidates(self, text: str) -> int:
        """The patterns that ``text`` can match; a pattern that is not among them matches it nowhere."""
        met = self._always  # per pattern a bit for its first need, and behind those of all patterns one for its second
        masks = self._masks
        for found in self._automaton.find_matches_as_indexes(text, overlapping=True):
            met |= masks[found[0]]
        return met & met >> self._count & self._all

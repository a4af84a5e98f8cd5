"""Patterns in -> :class:`Index`: which of them a text can match at all, found in one pass over the text.

Every pattern needs certain literals (:mod:`bounceparse.rules.literals`). One automaton finds all literals of a text;
the patterns whose needs are met are few, and only those are compiled and asked. Compared with one matcher over all
patterns, nothing is built for what never comes, and a text that was never seen costs no more than one that was.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bounceparse.rules.literals import required_literals

NEEDS = 2
"""Clauses of a pattern that are looked for."""
Needs = Mapping[str, Sequence[Collection[str]]]
"""By pattern: what :func:`bounceparse.rules.literals.required_literals` says of it."""


class Index:
    """Sets of patterns are integers here: bit n stands for pattern n."""

    def __init__(self, patterns: Sequence[str], needs: Needs | None = None) -> None:
        """Index ``patterns`` (RE2 syntax), numbered in their order; of those in ``needs`` it is known what they need."""
        from ahocorasick_rs import AhoCorasick

        known = needs or {}
        self._count = len(patterns)
        self._all = (1 << self._count) - 1
        always: list[int] = []  # what needs no literal at all, or no second one
        places: dict[str, list[int]] = {}
        for number, pattern in enumerate(patterns):
            bit = number
            clauses = known.get(pattern)
            if clauses is None:
                clauses = required_literals(pattern, NEEDS)
            for clause in clauses:
                for literal in clause:
                    if literal in places:
                        places[literal].append(bit)
                    else:
                        places[literal] = [bit]
                bit += self._count
            always += range(bit, NEEDS * self._count, self._count)
        self._always = _mask(always)
        self._places = list(places.values())
        self._masks = [0] * len(places)  # made when a literal first occurs: few of thousands do
        self._find = AhoCorasick(list(places), store_patterns=False).find_matches_as_indexes

    def candidates(self, text: str) -> int:
        """The patterns that ``text`` can match; a pattern that is not among them matches it nowhere."""
        met = self._always  # per pattern a bit for its first need, and behind those of all patterns one for its second
        masks = self._masks
        for found in self._find(text, overlapping=True):
            met |= masks[found[0]] or self._make_mask(found[0])
        return met & met >> self._count & self._all

    def _make_mask(self, literal: int) -> int:
        mask = self._masks[literal] = _mask(self._places[literal])
        return mask


def _mask(bits: list[int]) -> int:
    mask = 0
    for bit in bits:
        mask |= 1 << bit
    return mask

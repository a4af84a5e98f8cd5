"""Replies of providers and mail servers against the reasons that a person gave them before the rules were asked."""

from __future__ import annotations

from pathlib import Path

from bounceparse.outcomes import REASONS
from bounceparse.replies import read_reply
from bounceparse.rules import packaged_rules

REPLIES = Path(__file__).with_name("replies.tsv")
"""A reply a line: the reasons that are right, the host that said it (may be empty), the words; between tabs."""


def cases() -> list[tuple[set[str], str | None, str]]:
    lines = REPLIES.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines]
    return [(set(right.split("/")), host or None, words) for right, host, words in rows]


def test_the_replies_are_many_and_their_reasons_known() -> None:
    """The collection is what it is taken for."""
    found = cases()
    assert len(found) > 1000
    assert {reason for right, _, _ in found for reason in right} <= REASONS.keys()


def test_every_reply_has_the_reason_that_a_person_gave_it() -> None:
    """Words of providers, gateways, servers and languages reach the right reason through the whole set of rules."""
    rules = packaged_rules()
    wrong = []
    for right, host, words in cases():
        hit, _ = rules.decide(read_reply(" ".join(words.split())), host=host)
        reason = hit.rule.reason if hit else "undefined"
        if reason not in right:
            wrong.append(f"{reason} by {hit.rule.id if hit else None}, not {'/'.join(sorted(right))}: {words}")
    assert not wrong, "\n".join(wrong)

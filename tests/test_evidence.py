"""No verdict without evidence: each outcome of the corpus rests on a rule that exists; two claims on a mail are listed.

That the words it rests on stand in the mail is tested in ``test_corpus.py``, that every rule is found again in
``test_explain.py``.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bounceparse.classify import classify
from bounceparse.codes import Action
from bounceparse.dialects import ORDER, claims
from bounceparse.explain import texts_of
from bounceparse.mime import Mail
from bounceparse.outcomes import REASONS, Outcome
from bounceparse.parse import parse
from bounceparse.rules import packaged_rules

CORPUS = Path(__file__).parent.parent / "corpus"
MAILS = sorted(CORPUS.rglob("*.eml"))
CLAIMS = Path(__file__).parent / "claims.txt"
RULES = {rule.id for rule in packaged_rules().rules}
# What a format tells by itself, without wording: a field of a standard report, an Action, the marker of a request.
OF_FORMATS = re.compile(
    rf"(?:arf|xarf|amazon-sns)/(?P<feedback>[a-z-]+)(?::[A-Za-z-]+)?|notice/(?P<notice>[a-z-]+)|action/(?:{'|'.join(Action)}|none)"
    r"|unsubscribe/[a-z-]+|mdn/disposition|auto-reply(?:/left-organisation)?|challenge"
)
GUESSES = {"generic", "flufl"}


def outcomes() -> list[tuple[Path, Outcome]]:
    return [(path, outcome) for path in MAILS for outcome in classify(parse(path.read_bytes()))]


def test_every_outcome_names_a_rule_that_exists() -> None:
    """A rule of the packaged files, or what a format tells by itself."""
    found = outcomes()
    assert len(found) > 400
    for path, outcome in found:
        rule = outcome.evidence.rule
        told = OF_FORMATS.fullmatch(rule)
        assert rule in RULES or told, f"{path}: {rule}"
        if told and rule not in RULES:
            assert {told["feedback"], told["notice"]} - {None} <= set(REASONS), f"{path}: {rule}"


def test_a_rule_gives_the_reason_of_its_outcome() -> None:
    """Save where what stands beside it in the report says more, which holds for few reasons."""
    by_id = {rule.id: rule for rule in packaged_rules().rules}
    for path, outcome in outcomes():
        rule = by_id.get(outcome.evidence.rule)
        if rule and outcome.status != "ok":
            assert outcome.reason in (rule.reason, "unroutable", "recipient-blocks-sender"), f"{path}: {rule.id}"


def test_a_failure_without_a_rule_is_undefined_and_never_hard() -> None:
    """A bare "failed" condemns nobody."""
    bare = [outcome for _, outcome in outcomes() if outcome.evidence.rule in ("action/failed", "action/none")]
    assert bare
    assert {(outcome.status, outcome.reason) for outcome in bare} <= {
        ("softbounce", "undefined"),
        ("spambounce", "recipient-blocks-sender"),
    }


@pytest.mark.parametrize("ending", [b"\r\n", b"\r"], ids=["crlf", "cr"])
def test_evidence_stands_in_mails_of_any_line_ends(ending: bytes) -> None:
    """What is shown to a person who asks why is there however the mail was stored."""
    for path in MAILS:
        raw = path.read_bytes()
        if b"\r" in raw or b"base64" in raw:  # a decoded body keeps the line ends that it was encoded with
            continue
        mail = Mail(raw.replace(b"\n", ending))
        for outcome in classify(parse(raw.replace(b"\n", ending))):
            evidence = outcome.evidence
            assert evidence.matched, path
            assert any(evidence.matched in text for text in texts_of(mail, evidence.part)), f"{path}: {evidence}"


def test_mails_that_two_dialects_claim_are_listed() -> None:
    """Which dialect wins such a mail depends on ``ORDER`` alone: a change shows here, and must be meant.

    The two guesses at the end of ``ORDER`` claim nearly everything and are left out.
    """
    found = []
    for path in MAILS:
        names = [name for name in claims(Mail(path.read_bytes())) if name not in GUESSES]
        if len(names) > 1:
            found.append(f"{path.relative_to(CORPUS)}: {' '.join(names)}")
    assert "\n".join(found) + "\n" == CLAIMS.read_text("utf-8"), f"look at what changed, then write it to {CLAIMS}"


def test_claims_are_in_the_order_of_asking() -> None:
    """The list tells who wins: the first one."""
    order = [dialect.name for dialect in ORDER]
    for line in CLAIMS.read_text("utf-8").splitlines():
        names = line.partition(": ")[2].split()
        assert [order.index(name) for name in names] == sorted(order.index(name) for name in names)

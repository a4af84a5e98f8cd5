"""The packaged rules in their quick form say what the TOML files say, and patterns that are looked for match as RE2 does."""

from __future__ import annotations

from pathlib import Path

import pytest
import re2

from bounceparse.replies import read_reply
from bounceparse.rules import RuleSet, load_rules, packaged_rules, read_files
from bounceparse.rules import packaged as module
from bounceparse.rules.index import NEEDS
from bounceparse.rules.literals import finite_words, required_literals
from bounceparse.rules.matchers import make_matcher


def test_packaged_json_is_what_the_toml_files_say() -> None:
    """After a change of a rule file: ``python -m bounceparse.rules.packaged``."""
    kept = Path(module.PACKAGED).read_text(encoding="utf-8")
    assert kept == module.dump(read_files()), "out of date: run python -m bounceparse.rules.packaged"


def test_both_forms_give_the_same_rules() -> None:
    """Every field of every rule, and what each pattern needs."""
    read = module.read_packaged()
    assert read is not None
    files, needs = read
    assert files == read_files()
    assert RuleSet(files).rules == packaged_rules().rules
    for pattern, clauses in needs.items():
        assert list(map(set, clauses)) == list(map(set, required_literals(pattern, NEEDS)))


@pytest.mark.parametrize("kept", ["", "[", '{"checksum": 1}', '{"checksum": 1, "files": [], "needs": {}}'])
def test_a_quick_form_that_is_out_of_date_is_passed_over(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stands in the TOML files counts, whatever the quick form holds."""
    path = tmp_path / "packaged.json"
    path.write_text(kept)
    monkeypatch.setattr(module, "PACKAGED", str(path))
    assert module.read_packaged() is None
    assert load_rules().rules == packaged_rules().rules


def test_a_changed_rule_file_changes_the_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One letter, in a file of the same length and the same name, is enough."""
    (tmp_path / "one.toml").write_text("a = 1\n")
    monkeypatch.setattr(module, "FOLDER", str(tmp_path))
    before = module.checksum()
    (tmp_path / "one.toml").write_text("a = 2\n")
    assert module.checksum() != before


def test_what_is_looked_for_as_words_matches_as_re2_does() -> None:
    """For every pattern of the rules and the examples of its rule, and some that must not match."""
    for rule in packaged_rules().rules:
        texts = [read_reply(" ".join(example.split())).words for example in rule.examples]
        texts += ["x".join(texts), texts[0][1:], texts[0][::-1], ""]
        for pattern in rule.text:
            matcher, compiled = make_matcher(pattern), re2.compile(pattern)
            for text in texts:
                found = compiled.search(text)
                assert matcher(text) == (found.span() if found else None), (pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"\bab\b", "abc xab ab"),
        (r"\bab\b", "abéab"),
        (r"\bab", "_ab"),
        (r"(?:a|ab)c?", "xabc"),
        (r"(?:ab|a)c?", "xabc"),
        (r"(?:b|ab)", "aab"),
        (r"\b(?:over )?quota\b", "overquota over quota quotas quota"),
        (r"mail ?box", "mailbo mail box"),
        (r"\bab|cd", "xab xcd"),
        (r"ab|cd\b", "cdx abx"),
        (r"aab", "aaab"),
        (r"\baa\b", "aaa aa"),
        (r"\[tss", "x[tss04]"),
        (r"\b\[tss", "x[tss04]"),
        (r"(?i)ab", "AB"),
        (r"^ab", "xab"),
        (r"ab$", "abx"),
        (r"(?:ab??)c", "abc"),
    ],
)
def test_order_and_boundaries_are_those_of_re2(pattern: str, text: str) -> None:
    """The leftmost match, of those the preferred alternative, between the same boundaries."""
    found = re2.search(pattern, text)
    assert make_matcher(pattern)(text) == (found.span() if found else None)


def test_only_few_words_in_a_row_are_looked_for() -> None:
    """Whatever else a pattern holds is RE2's matter."""
    assert finite_words(r"\bmail ?box(?:es)? full\b") == (
        ("mail boxes full", "mail box full", "mailboxes full", "mailbox full"),
        True,
        True,
    )
    for pattern in (r"a\S+b", r"a.{0,3}b", r"^ab", r"a\bb", r"(?i)ab", r"ab|\bcd\b", r"\x41b", r"a*"):
        assert finite_words(pattern) is None, pattern

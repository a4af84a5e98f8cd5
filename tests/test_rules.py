"""The rules: every example reaches its rule, every mistake in a file is named, matching keeps its order and stays linear."""

from __future__ import annotations

from pathlib import Path

import pytest
import re2

from bounceparse.codes import Phase
from bounceparse.errors import RuleError
from bounceparse.outcomes import REASONS, Status
from bounceparse.replies import fold, read_reply
from bounceparse.rules import RuleSet, load_rules, packaged_rules
from bounceparse.rules.index import Index
from bounceparse.rules.literals import required_literals

RULE = """
[[rule]]
id = "{id}"
reason = "{reason}"
text = '{text}'
examples = ["{example}"]
"""


def rule_file(folder: Path, text: str, name: str = "extra.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def simple(
    id: str = "own/one", reason: str = "policy", text: str = "frobnicated", example: str = "550 frobnicated"
) -> str:
    return RULE.format(id=id, reason=reason, text=text, example=example)


def reason_of(text: str, *, host: str | None = None, phase: Phase | None = None) -> str | None:
    hit, _ = packaged_rules().decide(read_reply(text), host=host, phase=phase)
    return hit.rule.reason if hit else None


def test_every_example_reaches_its_own_rule_and_every_alternative_is_needed() -> None:
    """`RuleSet.check` finds nothing wrong with the packaged rules."""
    assert packaged_rules().check() == []


def test_the_index_forgets_no_pattern_that_matches() -> None:
    """Asking the candidates gives what asking every pattern, one by one, would give."""
    rules = packaged_rules().rules
    patterns = [pattern for rule in rules for pattern in rule.text]
    compiled = [re2.compile(pattern) for pattern in patterns]
    index = Index(patterns)
    examples = [example for rule in rules for example in rule.examples]
    for example in examples[::11]:
        words = read_reply(example).words
        matching = {number for number, one in enumerate(compiled) if one.search(words.encode())}
        missed = [patterns[number] for number in matching if not index.candidates(words) >> number & 1]
        assert not missed, example


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        (r"\bmail ?box(?: \S+){0,3} full", [{"mail box", "mailbox"}, {"full"}]),
        (r"(?i)quota(?-s:.) full", [{"quota"}, {"full"}]),
        (r"[^]a]quota[]b]", [{"quota]", "quotab"}]),
        (r"\x41bcd", []),
        (r"[[:alpha:]]bcd", []),
        (r"(?:no such|unknown) user", [{"no such user", "unknown user"}]),
        (r"over[ -]quotas*", [{"over quota", "over-quota"}]),
        (r"ab\.cd|\[ef\]gh|\d{3}", []),
        (r"(?:x|yes){2}never", [{"never"}]),
        (r"listed (?:a|.+)", [{"listed"}]),
        (r"\p{Han}+邮箱[^\]a]?满了", [{"邮箱"}, {"满了"}]),
        (r"abc[\]x]def", [{"abc]def", "abcxdef"}]),
        (r"quota(?P<what>s|tion)+ exceeded", [{"exceeded"}, {"quota"}]),
    ],
)
def test_literals_are_those_that_must_occur(pattern: str, needed: list[set[str]]) -> None:
    """What a pattern needs is read from its syntax, and what tells nothing is passed over."""
    assert sorted(map(sorted, required_literals(pattern, 2))) == sorted(map(sorted, needed))


def test_a_rule_knows_its_line(tmp_path: Path) -> None:
    """A person finds a rule by its file and line."""
    rules = {rule.id: rule for rule in load_rules([rule_file(tmp_path, simple() + simple("own/two"))]).rules}
    assert (rules["own/one"].line, rules["own/two"].line) == (2, 8)


def test_the_packaged_rules_are_there() -> None:
    """Providers, languages, generic text and the code tables are all loaded."""
    rules = packaged_rules().rules
    assert len(rules) > 400
    assert {"gmail", "microsoft", "yahoo", "docomo", "interia", "orange", "libero", "ironport"} <= {
        rule.provider for rule in rules
    }
    assert {"pl", "de", "ja", "iana", "reply", "exit", "phase"} <= {rule.id.partition("/")[0] for rule in rules}


def test_no_rule_names_a_documentation_host() -> None:
    """A rule is about wording: hosts and addresses that only examples use never stand in a pattern."""
    for rule in packaged_rules().rules:
        for pattern in rule.text:
            assert "example" not in pattern, rule.id
            assert "192" not in pattern, rule.id


def test_check_names_an_example_that_reaches_another_rule(tmp_path: Path) -> None:
    """A rule that a more general one hides is reported with both ids."""
    path = rule_file(tmp_path, simple() + simple("own/two", text="frobnicated twice", example="550 frobnicated twice"))
    problems = load_rules([path]).check()
    assert any("own/two" in problem and "reaches own/one" in problem for problem in problems)


def test_check_names_an_alternative_without_example(tmp_path: Path) -> None:
    """Each alternative of a rule's text needs an example that it matches."""
    path = rule_file(
        tmp_path,
        '[[rule]]\nid = "own/one"\nreason = "policy"\ntext = ["frobnicated", "defenestrated"]\n'
        'examples = ["550 frobnicated"]\n',
    )
    assert any("defenestrated" in problem for problem in load_rules([path]).check())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (simple(reason="polcy"), "unknown reason 'polcy'"),
        (simple().replace("examples", "exmples"), "unknown key 'exmples'"),
        (simple().replace('examples = ["550 frobnicated"]', ""), "has no example"),
        (simple(text="frob(nicated"), "is no RE2 pattern"),
        (simple(text="frob(?=nicated)"), "is no RE2 pattern"),
        (simple(text=r"\d+"), "needs a literal"),
        (simple(text="Frobnicated"), "has capitals"),
        (simple() + 'phase = ["RCTP"]\n', "RCTP"),
        (simple() + 'enhanced = ["5.1"]\n', "is no enhanced code"),
        (simple() + 'status = "bounced"\n', "unknown status 'bounced'"),
        (simple() + 'code = ["550"]\n', "'code' must be a number"),
        ('[[rule]]\nid = "own/one"\nreason = "policy"\nexamples = ["550"]\n', "matches nothing"),
    ],
)
def test_a_mistake_is_told_with_file_and_rule(tmp_path: Path, text: str, said: str) -> None:
    """Loading fails with the file, the rule's id and what is wrong."""
    path = rule_file(tmp_path, text)
    with pytest.raises(RuleError) as error:
        load_rules([path])
    assert said in str(error.value)
    assert "extra.toml" in str(error.value)
    assert "own/one" in str(error.value)


def test_a_file_that_is_no_toml_or_missing_is_a_rule_error(tmp_path: Path) -> None:
    """What cannot be read is told like any other mistake."""
    with pytest.raises(RuleError, match="cannot be read"):
        load_rules([rule_file(tmp_path, "[[rule")])
    with pytest.raises(RuleError, match="cannot be read"):
        load_rules([tmp_path / "absent.toml"])
    with pytest.raises(RuleError, match="unknown key 'rules'"):
        load_rules([rule_file(tmp_path, "rules = 1\n")])


def test_an_operators_rule_goes_first_and_replaces_one_of_the_same_id(tmp_path: Path) -> None:
    """Own files stand before the packaged text of their tier, and override by id."""
    path = rule_file(
        tmp_path, simple(text="mailbox is quite full", reason="policy", example="550 mailbox is quite full")
    )
    rules = load_rules([path])
    hit, _ = rules.decide(read_reply("550 mailbox is quite full"))
    assert hit and hit.rule.id == "own/one"
    path = rule_file(tmp_path, simple("expired/expired", text="frobnicated"), "override.toml")
    overridden = [rule for rule in load_rules([path]).rules if rule.id == "expired/expired"]
    assert [rule.text for rule in overridden] == [("frobnicated",)]


def test_a_rule_may_give_another_status_than_its_reason_has() -> None:
    """Interia says "mailbox not available" of full mailboxes too: not condemned."""
    hit, _ = packaged_rules().decide(read_reply("550 5.2.1 Mailbox not available"), host="mx.poczta.interia.pl")
    assert hit and hit.rule.status is Status.SOFTBOUNCE


def test_provider_text_beats_provider_code_beats_generic_text() -> None:
    """The order of evidence: Google's 5.7.27 is SPF, the registry's is a null MX; words win over both."""
    assert reason_of("550 5.7.27 see the page", host="aspmx.l.google.com") == "auth-fail-spf"
    assert reason_of("550 5.7.27 see the page") == "sender-address-bad"
    assert reason_of(
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate", host="x.google.com"
    ) == ("recipient-rate-limited")


@pytest.mark.parametrize(
    ("host", "provider"),
    [
        ("aspmx.l.google.com", "gmail"),
        ("google.com", "gmail"),
        ("notgoogle.com", None),
        ("mx.example.net", None),
        (None, None),
    ],
)
def test_a_provider_is_known_by_its_exchangers(host: str | None, provider: str | None) -> None:
    """A domain stands for itself and all below it, never for a name that merely ends alike."""
    assert packaged_rules().provider_of(host) == provider


def test_phase_decides_whether_docomo_means_it() -> None:
    """After the data the same words are the recipient's filter."""
    words, host = "550 Unknown user a@docomo.example", "mfsmax.docomo.ne.jp"
    assert reason_of(words, host=host, phase=Phase.RCPT) == "user-unknown"
    assert reason_of(words, host=host, phase=Phase.EOM) == "recipient-blocks-sender"


def test_iana_codes_have_a_reason_and_unknown_details_fall_back_on_their_subject() -> None:
    """RFC 3463: every registered code is known; an unregistered detail keeps what its subject says."""
    rules = packaged_rules()
    for code in ("5.1.1", "4.2.2", "5.3.4", "5.4.6", "5.7.26"):
        rule = rules.match_enhanced(code)
        assert rule and rule.reason in REASONS
    unregistered = rules.match_enhanced("5.7.299")
    assert unregistered and unregistered.reason == "policy"
    assert rules.match_enhanced("5.9.9") is None


def test_folding_meets_accents_widths_and_invisible_characters() -> None:
    """Polish without and with accents, full-width letters, a soft hyphen and a zero-width space fold alike."""
    assert fold("SKRZYNKA PRZEPEŁNIONA") == fold("skrzynka prze\u00adpe\u200błniona") == "skrzynka przepelniona"
    assert fold("Ｆｕｌｌ Straße") == "full strasse"
    assert fold("a\udcffb") == "ab"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("550 Użytkownik nie istnieje", "user-unknown"),
        ("552 Skrzynka odbiorcy jest przepełniona", "mailbox-full"),
        ("450 przekroczono limit wiadomości, spróbuj później", "rate-limited"),
        ("550 Empfänger unbekannt", "user-unknown"),
        ("552 Das Postfach ist voll", "mailbox-full"),
        ("550 Cette adresse n'existe pas", "user-unknown"),
        ("550 L'expéditeur est inconnu", "sender-rejected"),
        ("552 Buzón lleno", "mailbox-full"),
        ("550 Casella di posta piena", "mailbox-full"),
        ("550 Пользователь не найден", "user-unknown"),
        ("552 メールボックスがいっぱいです", "mailbox-full"),
        ("550 收件人不存在", "user-unknown"),
        ("550 존재하지 않는 사용자", "user-unknown"),
    ],
)
def test_wording_of_many_languages(text: str, reason: str) -> None:
    """What servers say in their users' language."""
    assert reason_of(text) == reason


@pytest.mark.parametrize("filler", [" ", "a ", "550 ", "(", "<a@b ", "\u3042"])
def test_no_text_is_too_long_to_match(filler: str) -> None:
    """RE2 and the cap keep any length harmless: the same answer comes for a short and a hostile reply."""
    text = "550 mailbox is full " + filler * 200_000
    hit, _ = packaged_rules().decide(read_reply(" ".join(text.split())))
    assert hit and hit.rule.reason == "mailbox-full"


def test_all_matches_lists_the_losers_in_order() -> None:
    """What an explanation needs: every rule whose words stand in the text, the best first."""
    hits = packaged_rules().all_matches(fold("550 5.7.1 mailbox is full, blocked using zen.spamhaus.org"))
    assert list(dict.fromkeys(hit.rule.reason for hit in hits))[:2] == ["blocklisted", "mailbox-full"]
    assert isinstance(packaged_rules(), RuleSet)

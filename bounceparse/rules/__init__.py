"""Rule files in -> :class:`RuleSet`: which reason the words and codes of a reply give.

Wording is data: a TOML file a provider, a file a language, generic text, the IANA codes, reply codes, exit statuses.
The first match wins, in this order: a provider's text, a provider's code, generic and language text (files by ``rank``,
rules as they stand), then, asked separately, enhanced codes and reply codes. Columns of a ``[[rule]]``:

==============  ======================================================================================================
``id``          unique name, ``file/what``
``reason``      a slug of :data:`bounceparse.outcomes.REASONS`
``status``      only where it differs from the one that the reason has
``text``        RE2 patterns over folded text (:func:`bounceparse.replies.fold`): one, or a list of alternatives
``code``        reply codes; with ``text`` a reply without any code passes too
``enhanced``    enhanced codes; ``*.1.1`` stands for 4.1.1 and 5.1.1, ``5.7.*`` for every detail; with ``text`` the
                reply must have one of them
``exit``        exit statuses of a local delivery agent (sysexits.h)
``remote_mta``  host names, ``*.example.com`` for a domain and all below it
``phase``       phases of the SMTP dialogue, see :class:`bounceparse.codes.Phase`
``examples``    replies that must reach this very rule through the whole set; each alternative of ``text`` needs one
``source``      where the wording is documented or known from
==============  ======================================================================================================

A file may say once for all its rules ``provider``, ``hosts`` (domains of its mail exchangers), ``signature`` (patterns
by which its replies are known where no host is told), ``rank`` and ``source``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from bounceparse.codes import Phase
from bounceparse.errors import RuleError
from bounceparse.replies import Reply, read_reply
from bounceparse.rules.index import Index, Needs
from bounceparse.rules.matchers import Matcher, Span, make_matcher
from bounceparse.rules.values import Rule, RuleFile

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Hit", "Rule", "RuleSet", "find_unmet", "load_rules", "packaged_rules"]


class Hit(NamedTuple):
    """A rule that matched, and where: offsets into the words given (0, 0 where a code and no text decided)."""

    rule: Rule
    begin: int = 0
    end: int = 0


class RuleSet:
    """All rules, in order. Patterns are compiled on first use, once; a set can be used from several threads.

    ``own_header`` goes with them to whatever reads mail: the header by which the sender knows its own messages again.
    """

    def __init__(self, files: Iterable[RuleFile], own_header: str | None = None, needs: Needs | None = None) -> None:
        """Merge ``files``: a later rule with the id of an earlier one takes its place.

        ``needs`` are the literals that patterns need, as far as they are known.
        """
        self._needs = needs
        self.own_header = own_header.lower() if own_header else None
        rules: dict[str, Rule] = {}
        self._hosts: dict[str, str] = {}
        signatures: list[tuple[str, str]] = []
        for file in files:
            rules.update((rule.id, rule) for rule in file.rules)
            if file.provider:
                self._hosts.update((host, file.provider) for host in file.hosts)
                signatures.extend((pattern, file.provider) for pattern in file.signatures)
        self.rules: tuple[Rule, ...] = tuple(sorted(rules.values(), key=lambda rule: (rule.tier, rule.rank)))
        self._by_code: dict[tuple[str | None, str | int], list[Rule]] = {}
        self._by_exit: dict[int, Rule] = {}
        for rule in self.rules:
            if not rule.text:
                keys: frozenset[Any] = rule.enhanced or rule.code or rule.phase
                for key in keys:
                    self._by_code.setdefault((rule.provider, key), []).append(rule)
                self._by_exit.update((number, rule) for number in rule.exit)
        self._patterns: list[tuple[str, Any]] = [(text, rule) for rule in self.rules for text in rule.text]
        self._texts = len(self._patterns)
        self._all_texts = (1 << self._texts) - 1
        self._patterns += signatures

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: all but what is built on first use."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_index", "_matchers")}

    @cached_property
    def _index(self) -> Index:
        return Index([pattern for pattern, _ in self._patterns], self._needs)

    @cached_property
    def _matchers(self) -> list[Matcher | None]:
        return [None] * len(self._patterns)

    def _search(self, number: int, words: str) -> Span | None:
        """Where pattern ``number``, compiled when it is first asked for, matches in ``words``; None for nowhere."""
        return (self._matchers[number] or self._make_matcher(number))(words)

    def _make_matcher(self, number: int) -> Matcher:
        matcher = self._matchers[number] = make_matcher(self._patterns[number][0])
        return matcher

    def provider_of(self, host: str | None) -> str | None:
        """The provider whose mail exchangers ``host`` is one of."""
        hosts = self._hosts
        while host:
            if host in hosts:
                return hosts[host]
            host = host.partition(".")[2]
        return None

    def match_words(
        self,
        words: str,
        code: int | None = None,
        enhanced: str | None = None,
        host: str | None = None,
        phase: Phase | None = None,
    ) -> tuple[Hit | None, str | None]:
        """What ``words`` (folded) say: the first rule of a provider's text, a provider's code, other text.

        ``code``, ``enhanced`` (as written), ``host`` (lower case) and ``phase`` narrow it down where they are known.
        Also answers the provider, by host or else by the signature in the words.
        """
        candidates = self._index.candidates(words)
        provider = self.provider_of(host) if host else None
        if provider is None and (signed := candidates >> self._texts):
            provider = self._signed(signed, words)
        hit = None
        candidates &= self._all_texts
        patterns, matchers = self._patterns, self._matchers
        while candidates:
            lowest = candidates & -candidates
            number = lowest.bit_length() - 1
            rule = patterns[number][1]
            if (rule.unconditional or _applies(rule, code, enhanced, host, phase)) and (
                span := (matchers[number] or self._make_matcher(number))(words)
            ):
                hit = Hit(rule, span[0], span[1])
                break
            candidates ^= lowest
        if provider and (hit is None or hit.rule.tier > 1):
            by_code = self.match_provider(provider, code=code, enhanced=enhanced, phase=phase)
            hit = Hit(by_code) if by_code else hit
        return hit, provider

    def _signed(self, candidates: int, words: str) -> str | None:
        """The provider whose signature stands in the words."""
        while candidates:
            lowest = candidates & -candidates
            candidates ^= lowest
            number = self._texts + lowest.bit_length() - 1
            if self._search(number, words):
                return str(self._patterns[number][1])
        return None

    def match_enhanced(self, enhanced: str, *, code: int | None = None, phase: Phase | None = None) -> Rule | None:
        """The rule of an enhanced code, exact before wildcard."""
        return self._first_for_code(None, (enhanced, enhanced.rpartition(".")[0] + ".*"), code, phase)

    def match_code(self, code: int, *, phase: Phase | None = None) -> Rule | None:
        """The rule of a reply code that stands alone."""
        return self._first_for_code(None, (code,), code, phase)

    def match_phase(self, phase: Phase) -> Rule | None:
        """The rule of a phase where a refusal tells nothing more."""
        return self._first_for_code(None, (phase.value,), None, phase)

    def match_exit(self, number: int) -> Rule | None:
        """The rule of a local delivery agent's exit status."""
        return self._by_exit.get(number)

    def match_provider(
        self, provider: str, *, code: int | None = None, enhanced: str | None = None, phase: Phase | None = None
    ) -> Rule | None:
        """The rule that ``provider`` has for a code, the enhanced one before the reply code."""
        keys: list[str | int] = [enhanced, enhanced.rpartition(".")[0] + ".*"] if enhanced else []
        if code:
            keys.append(code)
        return self._first_for_code(provider, keys, code, phase)

    def _first_for_code(
        self, provider: str | None, keys: Sequence[str | int], code: int | None, phase: Phase | None
    ) -> Rule | None:
        for key in keys:
            for rule in self._by_code.get((provider, key), ()):
                if (not rule.code or code is None or code in rule.code) and (not rule.phase or phase in rule.phase):
                    return rule
        return None

    def all_matches(self, words: str) -> list[Hit]:
        """Every rule whose text stands in ``words``, in order, conditions aside: what an explanation lists."""
        hits: dict[str, Hit] = {}
        for number in self._matching(words):
            rule = self._patterns[number][1]
            if rule.id not in hits and (span := self._search(number, words)):
                hits[rule.id] = Hit(rule, *span)
        return list(hits.values())

    def _matching(self, words: str) -> Iterator[int]:
        """The patterns of rules that match, in order."""
        candidates = self._index.candidates(words)
        return (n for n in range(self._texts) if candidates >> n & 1 and self._search(n, words))

    def decide(
        self, reply: Reply, *, host: str | None = None, phase: Phase | None = None
    ) -> tuple[Hit | None, str | None]:
        """The rule that a reply's words decide, else its enhanced code, else its reply code."""
        hit, provider = self.match_words(reply.words, reply.code, reply.enhanced, host, phase)
        if hit is None:
            rule = self._by_codes(reply, phase)
            hit = Hit(rule) if rule else None
        return hit, provider

    def _by_codes(self, reply: Reply, phase: Phase | None) -> Rule | None:
        """The rule of the enhanced code, unless that says nothing and the reply code or the phase say more."""
        rule = self.match_enhanced(reply.enhanced, code=reply.code, phase=phase) if reply.enhanced else None
        if rule is None or rule.reason == "undefined":
            more = self.match_code(reply.code, phase=phase) if reply.code else None
            rule = more or (self.match_phase(phase) if phase else None) or rule
        return rule

    def check(self) -> list[str]:
        """What is wrong with the set: an example that does not reach its rule, an alternative that no example needs."""
        problems = []
        for rule in self.rules:
            for example in rule.examples:
                reached = self._reached(rule, example)
                if reached != rule.id:
                    problems.append(f"{rule.file}: rule {rule.id}: example {example!r} reaches {reached or 'no rule'}")
            if len(rule.text) > 1:
                problems += self._idle_alternatives(rule)
        return problems

    def _reached(self, rule: Rule, example: str) -> str | None:
        kind, _, number = example.partition("; ")
        if kind == "x-unix" and number.isdigit():
            found = self.match_exit(int(number))
            return found.id if found else None
        host = rule.remote_mta[0].replace("*", "mx") if rule.remote_mta else None
        if rule.tier == 1:
            host = next(host for host, provider in self._hosts.items() if provider == rule.provider)
        phase = min(rule.phase) if rule.phase else None
        reply = read_reply(" ".join(example.split()))
        hit, _ = self.decide(reply, host=host, phase=phase)
        return hit.rule.id if hit else None

    def _idle_alternatives(self, rule: Rule) -> list[str]:
        words = [read_reply(" ".join(example.split())).words for example in rule.examples]
        seen = {number for text in words for number in self._matching(text)}
        return [
            f"{rule.file}: rule {rule.id}: no example needs {pattern!r}"
            for number, (pattern, owner) in enumerate(self._patterns)
            if owner is rule and number not in seen
        ]


def _applies(rule: Rule, code: int | None, enhanced: str | None, host: str | None, phase: Phase | None) -> bool:
    """Whether the conditions beside the text hold; a reply without code passes the one on reply codes."""
    if rule.unconditional:
        return True
    if rule.code and code is not None and code not in rule.code:
        return False
    if rule.enhanced and enhanced not in rule.enhanced:
        return False
    if rule.phase and phase not in rule.phase:
        return False
    return not rule.remote_mta or (host is not None and any(_is_host(host, pattern) for pattern in rule.remote_mta))


def find_unmet(rule: Rule, code: int | None, enhanced: str | None, host: str | None, phase: Phase | None) -> str | None:
    """Which condition beside the text keeps ``rule`` from deciding, in words for a person; None where all hold."""
    if rule.code and code is not None and code not in rule.code:
        return f"is for reply code {_any_of(rule.code)}, not {code}"
    if rule.enhanced and enhanced not in rule.enhanced:
        return f"is for enhanced code {_any_of(rule.enhanced)}, not {enhanced or 'for a reply without one'}"
    if rule.phase and phase not in rule.phase:
        return f"is for a refusal in {_any_of(rule.phase)}, not in {phase or 'a phase that is not told'}"
    if _applies(rule, code, enhanced, host, phase):
        return None
    return f"is for replies of {_any_of(rule.remote_mta)}, not of {host or 'a host that is not named'}"


def _any_of(values: Iterable[object]) -> str:
    return " or ".join(sorted(map(str, values)))


def _is_host(host: str, pattern: str) -> bool:
    return host == pattern or (pattern.startswith("*.") and (host.endswith(pattern[1:]) or host == pattern[2:]))


def load_rules(extra: Sequence[Path | str] = (), own_header: str | None = None) -> RuleSet:
    """The packaged rules with an operator's ``extra`` files, whose rules go first and replace those of the same id.

    Raises :class:`RuleError` with file and rule for an unknown key or reason, a missing example, a bad pattern, an id
    used twice within the packaged files.
    """
    from bounceparse.rules.packaged import read_packaged

    packaged = read_packaged()
    files, needs = packaged if packaged else (read_files(), None)
    if not extra:
        return RuleSet(files, own_header, needs)
    from pathlib import Path

    from bounceparse.rules.loading import check_patterns, read_file

    own = [read_file(Path(path), rank=-1) for path in extra]
    check_patterns(own)
    return RuleSet([*files, *own], own_header, needs)


def read_files() -> list[RuleFile]:
    """The packaged TOML files; raises :class:`RuleError`."""
    from pathlib import Path

    from bounceparse.rules.loading import read_file

    files = [read_file(path) for path in sorted(Path(__file__).parent.glob("*.toml"))]
    seen: dict[str, str] = {}
    for rule in (rule for file in files for rule in file.rules):
        if rule.id in seen:
            raise RuleError(f"{rule.file}: rule {rule.id}: the id is used twice, also in {seen[rule.id]}")
        seen[rule.id] = rule.file
    return files


@cache
def packaged_rules() -> RuleSet:
    """The rules that come with bounceparse, loaded once."""
    return load_rules()

"""TOML files -> :class:`RuleFile`: every mistake in a file is a ``RuleError`` that names file, rule and remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import TYPE_CHECKING, Any

from bounceparse.codes import Phase
from bounceparse.errors import RuleError
from bounceparse.lazy import pattern
from bounceparse.outcomes import REASONS, Status
from bounceparse.replies import fold
from bounceparse.rules.values import Rule, RuleFile

if TYPE_CHECKING:
    from pathlib import Path

RANK = 100
"""Rank of a file that names none: the languages. Lower goes first within its tier."""
_FILE_KEYS = frozenset(("provider", "hosts", "signature", "rank", "source", "rule"))
_RULE_KEYS = frozenset(
    ("id", "reason", "status", "text", "code", "enhanced", "exit", "remote_mta", "phase", "examples", "source")
)
_CAPITAL = pattern(r"(?<!\\)[A-Z]")
_PROPERTY = pattern(r"\\[pP]\{\w+\}")
_LITERAL = pattern(r"[a-z0-9 /'#-]{3}|[^\x00-\x7f]")
_ENHANCED = pattern(r"[45*]\.\d{1,3}\.(?:\d{1,3}|\*)")


def read_file(path: Path, rank: int = RANK) -> RuleFile:
    """Read one file; raises :class:`RuleError` for anything in it that cannot be used."""
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RuleError(f"{path}: cannot be read: {error}") from error
    unknown = table.keys() - _FILE_KEYS
    if unknown:
        raise RuleError(f"{path}: unknown key {min(unknown)!r}; known are {', '.join(sorted(_FILE_KEYS))}")
    rows = table.get("rule", [])
    where = f"{path}"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RuleError(f"{where}: rules are written as [[rule]]")
    provider = table.get("provider")
    return RuleFile(
        rules=tuple(_read_rule(where, row, table, rank, line) for row, line in zip(rows, _lines(text), strict=False)),
        provider=provider,
        hosts=tuple(host.lower() for host in _strings(where, table, "hosts")),
        signatures=tuple(_pattern(where, text) for text in _strings(where, table, "signature")),
    )


def check_patterns(files: Iterable[RuleFile]) -> None:
    """Raises :class:`RuleError` for a pattern that is not RE2."""
    import re2

    options = re2.Options()
    options.log_errors = False
    for file in files:
        patterns = [(f"{rule.file}: rule {rule.id}", text) for rule in file.rules for text in rule.text]
        patterns += [(f"signature of {file.provider}", text) for text in file.signatures]
        for where, text in patterns:
            try:
                re2.compile(text, options)
            except re2.error as error:
                raise RuleError(f"{where}: {text!r} is no RE2 pattern: {error}") from error


def _lines(text: str) -> Iterator[int]:
    """The lines on which rules begin; 0 for what is written in another way."""
    yield from (number for number, line in enumerate(text.split("\n"), 1) if line.startswith("[[rule]]"))
    yield from repeat(0)


def _read_rule(where: str, row: dict[str, Any], table: dict[str, Any], rank: int, line: int) -> Rule:
    if not isinstance(row.get("id"), str) or not row["id"]:
        raise RuleError(f"{where}: a rule without id")
    where = f"{where}: rule {row['id']}"
    unknown = row.keys() - _RULE_KEYS
    if unknown:
        raise RuleError(f"{where}: unknown key {min(unknown)!r}; known are {', '.join(sorted(_RULE_KEYS))}")
    text = tuple(_pattern(where, pattern) for pattern in _strings(where, row, "text"))
    conditions = ("code", "enhanced", "remote_mta", "phase")
    rule = Rule(
        id=row["id"],
        reason=_reason(where, row.get("reason")),
        status=_status(where, row.get("status")),
        text=text,
        code=_numbers(where, row, "code"),
        enhanced=_enhanced(where, row),
        exit=_numbers(where, row, "exit"),
        remote_mta=tuple(host.lower() for host in _strings(where, row, "remote_mta")),
        phase=_phases(where, row),
        examples=_strings(where, row, "examples"),
        source=str(row.get("source") or table.get("source") or ""),
        provider=table.get("provider"),
        tier=(0 if text else 1) if table.get("provider") else (2 if text else 3),
        rank=table.get("rank", rank),
        file=where.partition(": rule ")[0],
        line=line,
        unconditional=not any(row.get(key) for key in conditions),
    )
    if not rule.examples:
        raise RuleError(f"{where}: has no example; give in 'examples' a reply that it is for")
    if not (rule.text or rule.code or rule.enhanced or rule.exit or rule.phase):
        raise RuleError(f"{where}: matches nothing; give it text, code, enhanced, exit or phase")
    return rule


def _strings(where: str, row: dict[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key, [])
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) and item for item in values):
        raise RuleError(f"{where}: {key!r} must be a string or a list of strings")
    return tuple(values)


def _numbers(where: str, row: dict[str, Any], key: str) -> frozenset[int]:
    value = row.get(key, [])
    values = [value] if isinstance(value, int) else value
    if not isinstance(values, list) or not all(isinstance(item, int) for item in values):
        raise RuleError(f"{where}: {key!r} must be a number or a list of numbers")
    return frozenset(values)


def _reason(where: str, reason: object) -> str:
    if reason not in REASONS:
        raise RuleError(f"{where}: unknown reason {reason!r}; known are {', '.join(sorted(REASONS))}")
    return str(reason)


def _status(where: str, status: object) -> Status | None:
    if status is None:
        return None
    try:
        return Status(str(status))
    except ValueError:
        raise RuleError(f"{where}: unknown status {status!r}; known are {', '.join(Status)}") from None


def _phases(where: str, row: dict[str, Any]) -> frozenset[Phase]:
    try:
        return frozenset(Phase(name) for name in _strings(where, row, "phase"))
    except ValueError as error:
        raise RuleError(f"{where}: {error}; known are {', '.join(Phase)}") from None


def _enhanced(where: str, row: dict[str, Any]) -> frozenset[str]:
    codes = _strings(where, row, "enhanced")
    for code in codes:
        if not _ENHANCED.fullmatch(code):
            raise RuleError(f"{where}: {code!r} is no enhanced code; write 5.1.1, *.1.1 or 5.7.*")
    return frozenset(f"{c}{code[1:]}" for code in codes for c in ("45" if code[0] == "*" else code[0]))


def _pattern(where: str, pattern: str) -> str:
    """A pattern checked and folded as the text is that it will meet."""
    bare = _PROPERTY.sub("", pattern)
    if _CAPITAL.search(bare):
        raise RuleError(f"{where}: {pattern!r} has capitals, but the text is compared in lower case")
    if not _LITERAL.search(bare):
        raise RuleError(f"{where}: {pattern!r} needs a literal of three letters that must occur")
    return "".join(char if char.isascii() else fold(char) for char in pattern)

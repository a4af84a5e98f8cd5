"""The rules that come with bounceparse, read from ``packaged.json``, where the TOML files stand as they were checked.

Reading and checking TOML takes a quarter of a second, this a tenth of it. The file holds a checksum of all that it was
made from: one that is out of date is passed over, and the TOML files are read. To write it anew::

    python -m bounceparse.rules.packaged
"""
# pathlib takes as long to import as this file takes to read
# ruff: noqa: PTH100, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import json
import os
from binascii import crc32
from collections.abc import Iterable, Iterator
from typing import Any

from bounceparse.codes import Phase
from bounceparse.outcomes import Status
from bounceparse.rules.index import NEEDS, Needs
from bounceparse.rules.literals import required_literals
from bounceparse.rules.values import Rule, RuleFile

FOLDER = os.path.dirname(os.path.abspath(__file__))
PACKAGED = os.path.join(FOLDER, "packaged.json")
_CODE = ("index.py", "literals.py", "loading.py", "packaged.py", "values.py")  # what the file is made by
_NONE: frozenset[Any] = frozenset()


def read_packaged() -> tuple[list[RuleFile], Needs] | None:
    """The packaged files and what their patterns need; None where ``packaged.json`` is not there or out of date."""
    try:
        with open(PACKAGED, "rb") as file:
            table = json.loads(file.read())
        if table["checksum"] != checksum():
            return None
    except (OSError, ValueError):
        return None
    return [_file(*row) for row in table["files"]], table["needs"]


def checksum() -> int:
    """A checksum of the TOML files and of the code that reads them."""
    found = 0
    for name in sorted(os.listdir(FOLDER)):
        if name.endswith(".toml") or name in _CODE:
            with open(os.path.join(FOLDER, name), "rb", 0) as file:
                found = crc32(file.read(), crc32(name.encode(), found))
    return found


def dump(files: Iterable[RuleFile]) -> str:
    """What ``packaged.json`` is to hold for ``files``: a rule and a pattern a line, so that differences can be read."""
    files = list(files)
    patterns = dict.fromkeys(pattern for file in files for pattern in _patterns(file))
    needs = ((pattern, [sorted(clause) for clause in required_literals(pattern, NEEDS)]) for pattern in patterns)
    rows = ",\n".join(_dumped_file(file) for file in files)
    lines = ",\n".join(f"{_json(pattern)}:{_json(clauses)}" for pattern, clauses in needs)
    return f'{{"checksum":{checksum()},\n"files":[\n{rows}\n],\n"needs":{{\n{lines}\n}}}}\n'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _patterns(file: RuleFile) -> Iterator[str]:
    for rule in file.rules:
        yield from rule.text
    yield from file.signatures


def _dumped_file(file: RuleFile) -> str:
    name = os.path.basename(file.rules[0].file) if file.rules else None
    rules = ",\n".join(_json(_dumped_rule(rule)) for rule in file.rules)
    return f"[{_json(name)},{_json(file.provider)},{_json(file.hosts)},{_json(file.signatures)},[\n{rules}\n]]"


def _dumped_rule(rule: Rule) -> list[Any]:
    values = [getattr(rule, name) for name in Rule.__match_args__ if name not in ("provider", "file")]
    return [sorted(value) if isinstance(value, frozenset) else value for value in values]


def _file(name: str | None, provider: str | None, hosts: list[str], signatures: list[str], rows: list[Any]) -> RuleFile:
    path = os.path.join(FOLDER, name or "")
    return RuleFile(tuple([_rule(path, provider, *row) for row in rows]), provider, tuple(hosts), tuple(signatures))


def _rule(
    path: str,
    provider: str | None,
    id: str,
    reason: str,
    status: str | None,
    text: list[str],
    code: list[int],
    enhanced: list[str],
    exit: list[int],
    remote_mta: list[str],
    phase: list[str],
    examples: list[str],
    source: str,
    tier: int,
    rank: int,
    line: int,
    unconditional: bool,
) -> Rule:
    return Rule(
        id,
        reason,
        Status(status) if status else None,
        tuple(text),
        frozenset(code) if code else _NONE,
        frozenset(enhanced) if enhanced else _NONE,
        frozenset(exit) if exit else _NONE,
        tuple(remote_mta),
        frozenset([Phase(name) for name in phase]) if phase else _NONE,
        tuple(examples),
        source,
        provider,
        tier,
        rank,
        path,
        line,
        unconditional,
    )


def main() -> None:
    """Write ``packaged.json`` anew."""
    from bounceparse.rules import read_files

    text = dump(read_files())
    with open(PACKAGED, "w", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    main()

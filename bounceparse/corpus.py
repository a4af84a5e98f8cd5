"""Golden files: sample mails replayed against the answers stored beside them.

A corpus is a folder of families; each holds mails (``name.eml``), their golden answers (``name.json``: what
``bounceparse parse --json`` prints, without ``source``) and ``truth.jsonl``, what a person decided about each mail::

    {"file": "name.eml", "kind": "delivery", "outcomes": [{"status": ..., "reason": ..., "recipient": ...,
     "message_id": ..., "enhanced_status": ..., "smtp_code": ..., "action": ...}]}

The truth comes first: an answer that contradicts it is never written as a golden file, so that regenerating cannot
bless a mistake. ``python -m bounceparse.corpus check|generate|replace FOLDER`` runs it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bounceparse.classify import classify
from bounceparse.errors import InputError
from bounceparse.parse import parse

TRUTH_FIELDS = ("status", "reason", "recipient", "message_id", "enhanced_status", "smtp_code", "action")
"""What the truth says of an outcome; the golden answer holds the other fields as well."""


class Problem(NamedTuple):
    """Why a mail of the corpus fails: ``text`` says what was wanted and what came."""

    path: Path
    text: str


def answer(raw: bytes) -> dict[str, Any]:
    """What ``parse --json`` prints for the message, without ``source``."""
    report = parse(raw)
    whole = {
        "kind": report.kind,
        "dialect": report.dialect,
        "defects": list(report.defects),
        "outcomes": [outcome.to_json() for outcome in classify(report)],
    }
    # through JSON and back: plain strings instead of enumerations, no lone surrogates
    encoded = json.dumps(whole, ensure_ascii=False).encode("utf-8", "replace")
    plain: dict[str, Any] = json.loads(encoded)
    return plain


def mails(folder: Path) -> list[Path]:
    """The mails of a corpus, sorted by path.

    Raises:
        InputError: there are none; an empty corpus proves nothing and must not pass.
    """
    found = sorted(folder.rglob("*.eml"))
    if not found:
        raise InputError(f"{folder}: no mails (*.eml) found")
    return found


def answers(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each mail of the corpus with today's answer."""
    for path in mails(folder):
        yield path, answer(path.read_bytes())


def truths(folder: Path) -> dict[Path, dict[str, Any]]:
    """What people decided, by the mail's path.

    Raises:
        InputError: a line names no mail that exists, is no JSON, or a mail is named twice.
    """
    found: dict[Path, dict[str, Any]] = {}
    for listing in sorted(folder.rglob("truth.jsonl")):
        for number, line in enumerate(listing.read_text("utf-8").splitlines(), 1):
            try:
                row = json.loads(line)
                path = listing.parent / row["file"]
                decided = {"kind": row["kind"], "outcomes": row["outcomes"]}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(f"{listing}:{number}: no truth can be read here: {error!r}") from error
            if path in found or not path.is_file():
                raise InputError(f"{listing}:{number}: {row['file']} is named twice or does not exist")
            found[path] = decided
    return found


def generate(folder: Path, *, replace: bool = False) -> tuple[list[Path], list[Problem]]:
    """Write the missing golden files; those that exist too, but only when ``replace`` says so.

    Returns the golden files written, and a problem for each answer that contradicts its truth and was not written.
    """
    written: list[Path] = []
    problems: list[Problem] = []
    decided = truths(folder)
    for path, produced in answers(folder):
        golden = path.with_suffix(".json")
        if golden.exists() and not replace:
            continue
        wrong = _contradiction(decided.get(path), produced)
        if wrong:
            problems.append(Problem(path, wrong))
            continue
        golden.write_text(json.dumps(produced, ensure_ascii=False, indent=1) + "\n", "utf-8")
        written.append(golden)
    return written, problems


def check(folder: Path) -> list[Problem]:
    """Replay the corpus: a problem for each mail whose answer differs from its truth or its golden file, or lacks one."""
    decided = truths(folder)
    return [
        Problem(path, text)
        for path, produced in answers(folder)
        if (text := _contradiction(decided.get(path), produced) or _difference(path.with_suffix(".json"), produced))
    ]


def _contradiction(truth: dict[str, Any] | None, produced: dict[str, Any]) -> str | None:
    if truth is None:
        return "no truth is told for it"
    got = {
        "kind": produced["kind"],
        "outcomes": [{name: outcome[name] for name in TRUTH_FIELDS} for outcome in produced["outcomes"]],
    }
    return None if truth == got else f"truth: {_differing(truth, got)}"


def _difference(golden: Path, produced: dict[str, Any]) -> str | None:
    if not golden.exists():
        return "has no golden file"
    wanted = json.loads(golden.read_text("utf-8"))
    return None if wanted == produced else f"golden: {_differing(wanted, produced)}"


def _differing(wanted: Any, got: Any, place: str = "") -> str:
    """The places where two JSON values differ: ``kind: wanted 'a', got 'b'; outcomes[0].status: ...``."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        parts = [
            _differing(wanted.get(key), got.get(key), f"{place}.{key}".lstrip("."))
            for key in [*wanted, *(key for key in got if key not in wanted)]
            if wanted.get(key) != got.get(key) or (key in wanted) != (key in got)
        ]
        return "; ".join(parts)
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = enumerate(zip(wanted, got, strict=True))
        return "; ".join(_differing(one, other, f"{place}[{n}]") for n, (one, other) in pairs if one != other)
    return f"{place}: wanted {wanted!r}, got {got!r}"


def main(arguments: Sequence[str]) -> int:
    """``check|generate|replace FOLDER``: print the golden files written and the problems; 0 where there are none."""
    if len(arguments) != 2 or arguments[0] not in ("check", "generate", "replace"):
        sys.stderr.write("usage: python -m bounceparse.corpus check|generate|replace FOLDER\n")
        return 2
    command, folder = arguments[0], Path(arguments[1])
    written: list[Path] = []
    try:
        if command == "check":
            problems = check(folder)
        else:
            written, problems = generate(folder, replace=command == "replace")
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"{path}: written\n" for path in written)
    sys.stderr.writelines(f"{problem.path}: {problem.text}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

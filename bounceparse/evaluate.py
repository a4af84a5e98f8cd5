"""Labels and answers in -> :class:`Run`: how right the answers are, how much harm the wrong ones would do, and what changed.

A folder of labelled samples holds a folder for each set, and in it ``labels.jsonl`` beside the mails. A line of it is a
JSON object about one mail:

``file``        its path below the samples
``kind``        the kinds that are right; a mail without them only has to be read
``outcomes``    what is expected, an object a recipient: ``recipient``, ``also`` (further right spellings), ``status`` and
                ``reason`` (lists of right answers), ``enhanced_status``; what is left out is not judged
``message_id``  right spellings of the Message-ID of the sent message

An answer is the object that ``parse --json`` prints.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from bounceparse.errors import InputError

FIELDS = ("survived", "kind", "recipients", "status", "reason", "enhanced_status", "message_id", "unharmed")
"""What is counted, as right answers of all: ``unharmed`` mails cause no suppression that their label does not allow."""

NOTHING = "nothing"
_REPORTING = frozenset(("delivery", "feedback", "unsubscribe"))
_SUPPRESSING = frozenset(("hardbounce", "complaint", "unsubscribe"))
# What a wrong status costs: a false hard bounce or complaint loses a customer, a missed one costs a retry.
_FALSE = {"hardbounce": 20, "complaint": 20, "unsubscribe": 10}
_UNHEARD = 5  # somebody asked to be left alone, or complained, and is mailed again
_ANY_OTHER = 1


class Label(NamedTuple):
    """What people decided about a mail."""

    file: str
    kinds: tuple[str, ...]
    outcomes: tuple[dict[str, Any], ...]
    message_ids: tuple[str, ...]

    @property
    def statuses(self) -> frozenset[str]:
        """All statuses that any outcome may have."""
        return frozenset(status for outcome in self.outcomes for status in outcome.get("status", ()))


class Mistake(NamedTuple):
    """One wrong answer: which field, what was right, what was answered, and its cost (a status only)."""

    field: str
    wanted: str
    got: str
    cost: int = 0


Matrix = dict[str, dict[str, int]]
"""How often an answer (inner key) was given where another one was right (outer key); right ones stand on the diagonal."""


@dataclass(slots=True)
class Run:
    """How one version answered.

    Attributes:
        version: of bounceparse.
        mails: how many have a label.
        right, total: by field of :data:`FIELDS`, answers that are right and all that were judged.
        cost: what all wrong statuses cost together, in points; a missed hard bounce is one.
        status, reason: the confusion matrices.
        mistakes: by file.
    """

    version: str
    mails: int = 0
    right: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))
    total: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FIELDS, 0))
    cost: int = 0
    status: Matrix = field(default_factory=dict)
    reason: Matrix = field(default_factory=dict)
    mistakes: dict[str, list[Mistake]] = field(default_factory=dict)

    def share(self, name: str) -> float | None:
        """Right answers of a field in percent; None where none was judged."""
        return 100 * self.right[name] / self.total[name] if self.total[name] else None

    def to_json(self) -> dict[str, Any]:
        """What ``--json`` prints and ``--save`` writes."""
        row = asdict(self)
        row["mistakes"] = {file: [one._asdict() for one in found] for file, found in self.mistakes.items()}
        return row


class Change(NamedTuple):
    """A mistake that one of two runs makes and the other does not."""

    file: str
    mistake: Mistake


class Comparison(NamedTuple):
    """Two runs: mistakes that only the first makes, and those that only the second does."""

    mended: tuple[Change, ...]
    broken: tuple[Change, ...]


def read_labels(samples: Path) -> list[Label]:
    """The labels of all sets below ``samples``, by file.

    Raises:
        InputError: there are none, or a line is none; the text names file and line.
    """
    labels = []
    for listing in sorted(samples.glob("*/labels.jsonl")):
        for number, line in enumerate(listing.read_text("utf-8").splitlines(), 1):
            try:
                labels.append(_label(json.loads(line)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise InputError(f"{listing}:{number}: no label can be read here: {error!r}") from error
    if not labels:
        raise InputError(f"{samples}: no labels: a folder SET/labels.jsonl is expected in it")
    return labels


def _label(row: Mapping[str, Any]) -> Label:
    outcomes = tuple(dict(outcome) for outcome in row.get("outcomes", ()))
    return Label(str(row["file"]), tuple(row.get("kind") or ()), outcomes, tuple(row.get("message_id") or ()))


def evaluate(labels: Iterable[Label], answers: Mapping[str, Mapping[str, Any]], version: str) -> Run:
    """Judge ``answers``, by the file of the label."""
    run = Run(version)
    for label in labels:
        run.mails += 1
        judged = _Judge(run, label.file)
        answer = answers.get(label.file)
        judged.note("survived", answer is not None, "an answer", "none")
        if answer is not None and label.kinds:
            _judge(judged, label, answer)
        elif label.kinds:
            _judge(judged, label, {"kind": None, "outcomes": ()})
    return run


class _Judge:
    """Notes what is right and wrong of one file."""

    def __init__(self, run: Run, file: str) -> None:
        self.run, self.file = run, file

    def note(self, name: str, right: bool, wanted: object, got: object, cost: int = 0) -> None:
        """Count one answer; a wrong one is a mistake."""
        self.run.total[name] += 1
        self.run.right[name] += right
        if not right:
            self.run.mistakes.setdefault(self.file, []).append(Mistake(name, _words(wanted), _words(got), cost))

    def confuse(self, name: str, wanted: Sequence[str], got: str | None) -> None:
        """Enter an answer into the matrix of ``name``."""
        matrix: Matrix = getattr(self.run, name)
        answered = got or NOTHING
        row = matrix.setdefault(answered if answered in wanted else _words(wanted) or NOTHING, {})
        row[answered] = row.get(answered, 0) + 1


def _judge(judge: _Judge, label: Label, answer: Mapping[str, Any]) -> None:
    outcomes = list(answer["outcomes"])
    judge.note("kind", answer["kind"] in label.kinds, label.kinds, answer["kind"])
    reporting = not _REPORTING.isdisjoint(label.kinds)
    pairs, left = _pair(label.outcomes if reporting else (), outcomes)
    _judge_harm(judge, label, outcomes, left, reporting)
    if not reporting:
        return
    if label.outcomes and all(wanted.get("recipient") for wanted in label.outcomes):
        right = len(outcomes) <= len(pairs) and all(
            got is not None and _address(got.get("recipient")) in _names(wanted) for wanted, got in pairs
        )
        wanted_names = [wanted["recipient"] for wanted in label.outcomes]
        judge.note("recipients", right, wanted_names, [one.get("recipient") for one in outcomes])
    for wanted, got in pairs:
        _judge_outcome(judge, wanted, got or {})
    if label.message_ids:
        ids = {_identifier(one.get("message_id")) for one in outcomes} - {""}
        right = not ids.isdisjoint(map(_identifier, label.message_ids))
        judge.note("message_id", right, label.message_ids, sorted(ids))


def _judge_outcome(judge: _Judge, wanted: Mapping[str, Any], got: Mapping[str, Any]) -> None:
    if statuses := wanted.get("status"):
        cost = find_cost(statuses, got.get("status"))
        judge.run.cost += cost
        judge.note("status", not cost, statuses, got.get("status"), cost)
        judge.confuse("status", statuses, got.get("status"))
    if reasons := wanted.get("reason"):
        judge.note("reason", got.get("reason") in reasons, reasons, got.get("reason"))
        judge.confuse("reason", reasons, got.get("reason"))
    if enhanced := wanted.get("enhanced_status"):
        judge.note("enhanced_status", got.get("enhanced_status") == enhanced, enhanced, got.get("enhanced_status"))


def _judge_harm(
    judge: _Judge,
    label: Label,
    outcomes: Sequence[Mapping[str, Any]],
    left: Sequence[Mapping[str, Any]],
    reporting: bool,
) -> None:
    """Suppressions that nothing in the label allows, and what outcomes cost that nobody expected."""
    if reporting and not label.statuses:
        return  # the label does not say what may follow
    told = {str(outcome.get("status")) for outcome in outcomes}
    wrong = (told & _SUPPRESSING) - label.statuses
    judge.note("unharmed", not wrong, sorted(label.statuses) or NOTHING, sorted(told))
    for outcome in left:
        status = outcome.get("status")
        if status in label.statuses or (status == "notice" and not reporting):
            continue
        judge.run.cost += find_cost((), status)
        judge.confuse("status", (), status)


def find_cost(wanted: Sequence[str], got: str | None) -> int:
    """What the status ``got`` costs where those ``wanted`` are right (none: nothing is reported); 0 for a right one."""
    if got in wanted or (got is None and not wanted):
        return 0
    if got in _FALSE:
        return _FALSE[got]
    return _UNHEARD if wanted and set(wanted) <= {"complaint", "unsubscribe"} else _ANY_OTHER


def _pair(
    expected: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]
) -> tuple[list[tuple[Mapping[str, Any], Mapping[str, Any] | None]], list[Mapping[str, Any]]]:
    """Each expected outcome with its answer (by address, the only one there is, or the next), and the answers left."""
    left = list(outcomes)
    pairs = []
    for wanted in expected:
        names = _names(wanted)
        found = next((place for place, one in enumerate(left) if not names.isdisjoint(_spellings(one))), None)
        if found is None and left and (not names or len(expected) == len(outcomes) == 1):
            found = 0
        pairs.append((wanted, None if found is None else left.pop(found)))
    return pairs, left


def _names(wanted: Mapping[str, Any]) -> set[str]:
    return {_address(name) for name in (wanted.get("recipient"), *wanted.get("also", ()))} - {""}


def _spellings(outcome: Mapping[str, Any]) -> Iterator[str]:
    return (_address(outcome.get(name)) for name in ("recipient", "original_recipient", "final_recipient"))


def _address(value: str | None) -> str:
    return (value or "").strip("<> ").lower()


_identifier = _address


def _words(value: object) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return " | ".join(str(one) for one in value)
    return NOTHING if value is None else str(value)


def load_run(path: Path) -> Run:
    """A run that was saved; raises ``InputError`` for any other file."""
    try:
        row = json.loads(path.read_text("utf-8"))
        mistakes = {file: [Mistake(**one) for one in found] for file, found in row.pop("mistakes").items()}
        return Run(**row, mistakes=mistakes)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: is no run that --save wrote: {error!r}") from error


def compare(before: Run, after: Run) -> Comparison:
    """What the second of two runs over the same labels mended and broke."""
    return Comparison(tuple(_only_in(before, after)), tuple(_only_in(after, before)))


def _only_in(one: Run, other: Run) -> Iterator[Change]:
    """A mistake counts as the same where file, field and right answer agree, whatever was answered."""
    for file, mistakes in sorted(one.mistakes.items()):
        known = Counter((mistake.field, mistake.wanted) for mistake in other.mistakes.get(file, ()))
        for mistake in mistakes:
            if known[mistake.field, mistake.wanted] > 0:
                known[mistake.field, mistake.wanted] -= 1
            else:
                yield Change(file, mistake)

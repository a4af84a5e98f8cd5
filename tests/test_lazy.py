"""What is made when it is asked for: patterns, fields, the methods of dataclasses."""

import copy
import dataclasses
import gc
import pickle
import re
import subprocess
import sys

import pytest

from bounceparse import classify, parse
from bounceparse.lazy import Deferred, dataclass, field, pattern, replace
from bounceparse.reports import OriginalMessage, Report

DSN = b"""From: MAILER-DAEMON@mx.example.com
Subject: Undelivered Mail
Message-ID: <report@mx.example.com>
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

<jan@example.pl>: host mx.example.pl said: 550 5.1.1 User unknown

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.com

Final-Recipient: rfc822; jan@example.pl
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b
Content-Type: message/rfc822

From: shop@example.com
To: jan@example.pl
Subject: Offer
Message-ID: <1@example.com>

Hello
--b--
"""


@dataclass(frozen=True, slots=True)
class Point:
    """A frozen value."""

    x: int
    y: int = 2
    names: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Counter:
    """A value that changes."""

    count: int = 0
    seen: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Read(Deferred):
    """A value whose fields may be read late."""

    a: str
    b: str | None = None


def read_shouting(name: str) -> str:
    return name.upper()


def test_a_pattern_works_as_a_compiled_one_does() -> None:
    late = pattern(r"(\d+)-(\w+)", re.ASCII)
    assert late.match("12-ab x")[2] == "ab"  # type: ignore[index]
    assert late.sub("y", "12-ab x") == "y x"
    assert late.findall("1-a 2-b") == [("1", "a"), ("2", "b")]
    assert late.pattern == r"(\d+)-(\w+)"


def test_a_pattern_of_bytes_is_one_too() -> None:
    assert pattern(rb"b+").search(b"abbb")[0] == b"bbb"  # type: ignore[index]


def test_a_frozen_value_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Point(1).x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del Point(1).x


def test_values_are_equal_by_their_fields_and_type() -> None:
    assert Point(1) == Point(1, 2, {})
    assert Point(1) != Point(2)
    assert Point(1) != (1, 2, {})


def test_defaults_that_are_made_are_not_shared() -> None:
    one = Counter()
    one.seen.append(1)
    one.count += 1
    assert (Counter().seen, Counter().count) == ([], 0)


def test_what_is_missing_or_unknown_is_refused() -> None:
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Point(1, z=3)  # type: ignore[call-arg]


def test_the_functions_of_dataclasses_work() -> None:
    assert [f.name for f in dataclasses.fields(Point)] == ["x", "y", "names"]
    assert dataclasses.replace(Point(1), y=5) == replace(Point(1), y=5) == Point(1, 5)
    assert dataclasses.asdict(Point(1)) == {"x": 1, "y": 2, "names": {}}
    assert dataclasses.is_dataclass(Counter)
    assert repr(Point(1)) == "Point(x=1, y=2, names={})"


def test_values_are_copied_and_pickled() -> None:
    for value in (Point(1, 3, {"a": "b"}), Counter(2, [1])):
        assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == copy.copy(value) == value


def test_a_value_that_changes_has_no_hash() -> None:
    assert hash(Read("a")) == hash(Read("a"))
    with pytest.raises(TypeError):
        hash(Counter())


def test_a_field_is_read_once_and_only_when_it_is_asked_for() -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        return name.upper()

    value = Read.deferred(read, a="known")
    assert (value.a, asked) == ("known", [])
    assert (value.b, value.b, asked) == ("B", "B", ["b"])
    with pytest.raises(AttributeError):
        _ = value.c  # type: ignore[attr-defined]


def test_a_value_read_late_equals_one_made_at_once() -> None:
    assert Read.deferred(read_shouting) == Read("A", "B")
    assert replace(Read.deferred(read_shouting), a="x") == Read("x", "B")
    assert pickle.loads(pickle.dumps(Read.deferred(lambda name: name))) == Read("a", "b")


def test_a_report_goes_to_another_process_with_all_its_fields() -> None:
    report = parse(DSN)
    again = pickle.loads(pickle.dumps(report))
    assert isinstance(again, Report)
    assert isinstance(again.items[0].original, OriginalMessage)  # type: ignore[union-attr]
    assert again == parse(DSN)
    assert again.items[0].original.subject == "Offer"  # type: ignore[union-attr]
    assert again.message_id == "report@mx.example.com"


def test_a_mail_that_was_read_is_freed_without_the_garbage_collector() -> None:
    classify(parse(DSN))
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            classify(parse(DSN))
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_importing_the_core_leaves_out_what_most_mails_do_not_need() -> None:
    code = "import sys; before = set(sys.modules); import bounceparse; print(*sorted(set(sys.modules) - before))"
    # -S: what site's hooks import is not ours
    path = ":".join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": path}
    )
    imported = set(done.stdout.split())
    costly = {"dataclasses", "inspect", "logging", "json", "socket", "hashlib", "pathlib", "email", "re2", "tomllib"}
    assert not imported & costly

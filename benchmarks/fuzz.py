"""Mails of the corpus, mutilated: whatever comes out, parsing and classifying keep their promises.

    python benchmarks/fuzz.py [--executions 100000] [--seconds 600] [--jobs 1] [--seed 1] [--findings DIR] [SAMPLES]

Each execution takes a mail and mutates it a few times: bits flipped, pieces of other mails spliced in, ends cut off, parts
and lines doubled, header fields shuffled, charsets and encodings swapped, line ends changed. Then it checks that nothing
raises, status, reason and kind come from their lists, the evidence stands in the text that it names, the JSON line can be
written, and no mail takes longer than ``LONGEST`` seconds of CPU; every 50th is explained and mapped for the database, too.

Execution N of seed S is the same mail again, however many processes share the work. What fails is written to the
findings, once for each place in the code where it fails; exit status 1 tells that there is something.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bounceparse.classify import classify
from bounceparse.cli.output import json_line, plain
from bounceparse.explain import explain, texts_of
from bounceparse.mime import Mail, report_key
from bounceparse.outcomes import ASSUMED, REASONS, Outcome, Status
from bounceparse.parse import read_report
from bounceparse.reports import Kind

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
LONGEST = 1.0  # seconds of CPU for one mail of at most LARGEST bytes
LARGEST = 100_000
DIAGNOSTIC = 2048  # characters that an outcome keeps of it

TOKENS = [
    b"\n\n", b"\r", b"\r\n", b"\x00", b"\x1b[2J", b"--", b'boundary="', b"Content-Type: multipart/report\n", b"From ",
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n", b"Content-Type: message/rfc822\n\n",
    b"Content-Type: message/delivery-status\n\n", b"Content-Type: message/feedback-report\n\n", b"Content-Type: text/html\n\n",
    b"Content-Transfer-Encoding: base64\n", b"Content-Transfer-Encoding: quoted-printable\n", b"charset=utf-16",
    b"charset=utf-7", b"charset=iso-2022-jp", b"Final-Recipient: rfc822; ", b"Original-Recipient: utf-8; \\x{D800}",
    b"Action: delayed\n", b"Action: failed\n", b"Status: 5.1.1\n", b"Status: 99999.1.1\n", b"Diagnostic-Code: smtp; 550-\n",
    b"Feedback-Type: abuse\n", b"Disposition: automatic-action/MDN-sent; displayed\n", b"=?utf-8?B?7aCA?=", b"=?x?Q?=ff?=",
    b"filename*0*=utf-8''%ED%A0%80", b"\xff\xfe", b"\xed\xa0\x80", b"<", b">", b"@", b";", b"(", b'"', b"\\", b"&#xD800;",
    b"<!--", b"550 5.7.1 ", b"421 4.7.0 ", b"mailbox full", b"user unknown", b">>> RCPT TO:<", b"<<< 550", b"Auto-Submitted: ",
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\n", b"To: =?utf-8?q?", b"\xe2\x80\xae", b"Date: Fri, 31 Feb 9999 99:99",
    b"Last-Attempt-Date: 1 Jan 0001 00:00 +9999\n", b"Arrival-Date: \n", b"{1", b'{"notificationType":"Bounce"}',
]  # fmt: skip
CHARSETS = [
    b"utf-8",
    b"utf-16",
    b"utf-7",
    b"iso-2022-jp",
    b"gb18030",
    b"big5",
    b"x-unknown",
    b"punycode",
    b"koi8-r",
    b"cp037",
]
ENCODINGS = [b"base64", b"quoted-printable", b"8bit", b"x-uuencode", b"binary", b""]
# What a kind of report says as a rule, and nothing else may be assumed of it
ASSUMABLE = re.compile(
    r"(?:arf|rfc3464|xarf|amazon-sns)/([a-z-]+)(?::\S+)? \1|mdn/disposition displayed|action/(failed|delayed|none) \2"
)
_CHARSET = re.compile(rb"(?i)(charset=[\"']?)[\w.-]+")
_ENCODING = re.compile(rb"(?i)(content-transfer-encoding:[ \t]*)[\w-]+")
_DELIMITER = re.compile(rb"(?m)^--[^\n]{1,70}\n")


class Failure(Exception):
    """A promise that was not kept."""


def check(raw: bytes, *, thorough: bool = False) -> None:
    """Read a mail and raise whatever is wrong with the answer; ``thorough`` explains it, too."""
    began = time.process_time()
    mail = Mail(raw)
    report = read_report(mail)
    outcomes = classify(report)
    took = time.process_time() - began
    if took > LONGEST and len(raw) <= LARGEST:
        raise Failure(f"took {took:.1f} s")
    if report.kind not in Kind or (report.kind is not Kind.OTHER and not outcomes):
        raise Failure(f"kind {report.kind} with {len(outcomes)} outcomes")
    for outcome in outcomes:
        _check_outcome(mail, outcome)
    row = {"kind": report.kind, "dialect": report.dialect, "defects": report.defects}
    line = json_line({**row, "outcomes": [outcome.to_json() for outcome in outcomes]})
    if line.count(b"\n") != 1 or len(json.loads(line)["outcomes"]) != len(outcomes):
        raise Failure("the JSON line")
    if thorough:
        _check_thoroughly(mail, raw)


def _check_outcome(mail: Mail, outcome: Outcome) -> None:
    if outcome.status not in Status or outcome.status is Status.INJECTED:
        raise Failure(f"status {outcome.status}")
    if outcome.reason not in REASONS:
        raise Failure(f"reason {outcome.reason}")
    if outcome.fault != REASONS[outcome.reason].fault:
        raise Failure(f"fault {outcome.fault} of {outcome.reason}")
    if len(outcome.diagnostic or "") > DIAGNOSTIC:
        raise Failure("a long diagnostic")
    for name, value in outcome.to_json().items():
        if isinstance(value, str):
            _check_text(name, value)
    evidence = outcome.evidence
    if evidence.part == ASSUMED:
        if not ASSUMABLE.fullmatch(f"{evidence.rule} {evidence.matched}"):
            raise Failure(f"{evidence.rule} assumed of {evidence.matched}")
    elif not evidence.matched or not any(evidence.matched in text for text in texts_of(mail, evidence.part)):
        raise Failure(f"evidence of {evidence.dialect} not in {evidence.part}")


def _check_text(name: str, value: str) -> None:
    if "\x00" in value:
        raise Failure(f"NUL in {name}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Failure(f"lone surrogate in {name}") from None
    if len(value) > 20_000:
        raise Failure(f"a long {name}")
    if name in ("recipient", "message_id") and (value != value.strip() or not value):
        raise Failure(f"white space in {name}")


def _check_thoroughly(mail: Mail, raw: bytes) -> None:
    explained = explain(raw)
    plain(explained)
    report_key(mail)
    if len(raw) < LARGEST:
        for entity in mail.walk(into_messages=True):
            entity.text()
            entity.header_text()
            entity.get_all("received")


# The mutations: (random, mail, all mails) -> mail


def flip_bits(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    changed = bytearray(raw)
    for _ in range(min(len(changed), rng.choice((1, 1, 2, 8, 64)))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def replace_bytes(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + rng.randbytes(rng.choice((1, 4, 40))) + raw[at + rng.choice((0, 1, 40)) :]


def truncate(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] if rng.random() < 0.8 else raw[at:]


def splice(rng: random.Random, raw: bytes, mails: list[bytes]) -> bytes:
    other = rng.choice(mails)
    begin, at = rng.randrange(len(other) + 1), rng.randrange(len(raw) + 1)
    return raw[:at] + other[begin : begin + rng.choice((50, 500, 5000))] + raw[at + rng.choice((0, 50, 500)) :]


def double_lines(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    lines = raw.split(b"\n")
    at = rng.randrange(len(lines))
    to = at + rng.choice((1, 1, 3, 20))
    lines[at:at] = lines[at:to] * rng.choice((1, 1, 2, 30))
    return b"\n".join(lines)


def drop_lines(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    lines = raw.split(b"\n")
    at = rng.randrange(len(lines))
    del lines[at : at + rng.choice((1, 1, 3, 10))]
    return b"\n".join(lines)


def swap_lines(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    lines = raw.split(b"\n")
    for _ in range(rng.choice((1, 3, 10))):
        one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
        lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


def shuffle_header(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    head, blank, body = raw.partition(b"\n\n")
    fields = re.split(rb"\n(?![ \t])", head)
    rng.shuffle(fields)
    return b"\n".join(fields[: rng.choice((len(fields), len(fields), 3))]) + blank + body


def double_part(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    ends = [found.start() for found in _DELIMITER.finditer(raw)]
    if len(ends) < 2:
        return raw
    at = rng.randrange(len(ends) - 1)
    part = raw[ends[at] : ends[at + 1]]
    to = rng.choice(ends)
    return raw[:to] + part * rng.choice((1, 2, 20)) + raw[to:]


def insert_token(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(raw) + 1)
    if rng.random() < 0.5:  # where something begins
        at = raw.find(b"\n", at) + 1
    return raw[:at] + rng.choice(TOKENS) * rng.choice((1, 1, 1, 5, 100)) + raw[at:]


def swap_charset(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    name, encoding = rng.choice(CHARSETS), rng.choice(ENCODINGS)
    return _ENCODING.sub(rb"\g<1>" + encoding, _CHARSET.sub(rb"\g<1>" + name, raw))


def other_line_ends(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    new = rng.choice((b"\r\n", b"\r", b"\n\r", b"\r\r\n", b"\x0b", b"\n\n", b" \n", b"\x85"))
    if rng.random() < 0.6:
        return raw.replace(b"\n", new)
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + raw[at:].replace(b"\n", new, rng.choice((1, 5, 100)))


def recase(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(raw) + 1)
    to = at + rng.choice((10, 200, 5000))
    return raw[:at] + (raw[at:to].upper() if rng.random() < 0.5 else raw[at:to].lower()) + raw[to:]


def high_bytes(rng: random.Random, raw: bytes, _: list[bytes]) -> bytes:
    at = rng.randrange(len(raw) + 1)
    piece = raw[at : at + 100].translate(bytes((byte | 0x80) if byte > 32 else byte for byte in range(256)))
    return raw[:at] + piece + raw[at + 100 :]


def enclose(rng: random.Random, raw: bytes, mails: list[bytes]) -> bytes:
    head = rng.choice(mails).partition(b"\n\n")[0] if rng.random() < 0.3 else b"From: a@example.com\nSubject: Fwd"
    return (
        head
        + b"\nContent-Type: multipart/mixed; boundary=zz\n\n--zz\nContent-Type: message/rfc822\n\n"
        + raw
        + b"\n--zz--\n"
    )


Mutation = Callable[[random.Random, bytes, list[bytes]], bytes]
MUTATIONS: list[Mutation] = [
    flip_bits, replace_bytes, truncate, splice, double_lines, drop_lines, swap_lines, shuffle_header, double_part,
    insert_token, insert_token, swap_charset, other_line_ends, recase, high_bytes, enclose,
]  # fmt: skip


def mutated(number: int, seed: int, mails: list[bytes]) -> bytes:
    """The mail of execution ``number``: always the same for the same seed and mails."""
    rng = random.Random((seed << 40) + number)
    raw = rng.choice(mails)
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        raw = rng.choice(MUTATIONS)(rng, raw, mails)
        if len(raw) > LARGEST:
            raw = raw[:LARGEST]
    return raw


class Work(NamedTuple):
    """What one process does: executions ``first``, ``first + step``, ... below ``last`` until ``seconds`` are over."""

    samples: Path
    first: int
    step: int
    last: int
    seconds: float
    seed: int
    findings: Path


class Done(NamedTuple):
    """What it did: executions, seconds of CPU, the longest of a mail, what was found (and how often)."""

    executions: int
    cpu: float
    longest: float
    found: dict[str, int]


def work(given: Work) -> Done:
    """Run executions, write findings."""
    mails = [path.read_bytes() for path in sorted(given.samples.rglob("*.eml"))]
    found: dict[str, int] = {}
    began, longest, executions = time.monotonic(), 0.0, 0
    for number in count(given.first, given.step):
        if number >= given.last or time.monotonic() - began > given.seconds:
            break
        raw = mutated(number, given.seed, mails)
        before = time.process_time()
        try:
            check(raw, thorough=executions % 50 == 0)
        except Exception as fault:
            place = _place(fault)
            found[place] = found.get(place, 0) + 1
            if found[place] <= 3:
                _keep(given.findings, place, number, raw)
        longest = max(longest, time.process_time() - before)
        executions += 1
        if executions % 10_000 == 0:
            print(f"{executions} executions, {len(found)} kinds of findings", file=sys.stderr, flush=True)
    return Done(executions, time.process_time(), longest, found)


def _place(fault: Exception) -> str:
    """What tells one finding from another: the promise, or the exception and where it was raised."""
    if isinstance(fault, Failure):
        return re.sub(r"\d+\.\d+ s$", "long", str(fault))
    frame = traceback.extract_tb(fault.__traceback__)[-1]
    return f"{type(fault).__name__} in {Path(frame.filename).name}:{frame.lineno}"


def _keep(findings: Path, place: str, number: int, raw: bytes) -> None:
    findings.mkdir(parents=True, exist_ok=True)
    name = f"{re.sub('[^a-z0-9]+', '-', place.lower())[:60]}-{sha256(raw).hexdigest()[:8]}"
    (findings / f"{name}.eml").write_bytes(raw)
    print(f"execution {number}: {place}: {name}.eml", file=sys.stderr, flush=True)


def shares(given: argparse.Namespace) -> Iterator[Work]:
    for first in range(given.jobs):
        yield Work(given.samples, first, given.jobs, given.executions, given.seconds, given.seed, given.findings)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", metavar="SAMPLES", type=Path, nargs="?", default=CORPUS)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    given = parser.parse_args()
    began = time.monotonic()
    if given.jobs == 1:
        results = [work(next(shares(given)))]
    else:
        with ProcessPoolExecutor(given.jobs, get_context("spawn")) as pool:
            results = list(pool.map(work, shares(given)))
    executions = sum(done.executions for done in results)
    found: dict[str, int] = {}
    for done in results:
        for place, times in done.found.items():
            found[place] = found.get(place, 0) + times
    print(
        f"{executions:,} executions of seed {given.seed} in {time.monotonic() - began:.0f} s,"
        f" {sum(done.cpu for done in results):.0f} s of CPU; the longest took {max(done.longest for done in results):.3f} s"
    )
    for place, times in sorted(found.items(), key=lambda item: -item[1]):
        print(f"{times:8} {place}")
    print("no findings" if not found else f"{len(found)} kinds of findings in {given.findings}", flush=True)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()

"""What mail costs that is made to cost: each family doubled in size over and over, its time fitted, its memory looked at.

    python benchmarks/hostile.py [--only NAME] [--rounds 3] [--doublings 4] [--no-large] [--no-poll] [--repetition]

The exponent of CPU time over size must be at most 1.1 (2 is quadratic), the peak of memory while a mail is parsed at most
3 times the mail and 40 MB more than before it was read, each in a fresh process; a poll's processes may have 256 MB in
all (PSS) with the largest mails in a Dovecot. Reading means ``parse`` and ``classify``, every field of the outcomes read.
``--repetition`` adds a family for each kind of mail in the corpus: its text, or its status part, again and again. Exit
status 1 tells that a goal was missed.
"""

from __future__ import annotations

import argparse
import base64
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

EXPONENT = 1.1
MEMORY = 3, 40  # times the mail, and MB more
POLLER = 256  # MB
NOISE = 0.004  # seconds: what takes less tells no exponent
CORPUS = Path(__file__).resolve().parent.parent / "corpus"
DAEMON = b"From: MAILER-DAEMON@mx.example.net\nTo: bounces@shop.example\nSubject: failure notice\n"
REPORT = b'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
RETURNED = b"\n--b\nContent-Type: text/rfc822-headers\n\nMessage-ID: <1@shop.example>\nTo: jan@example.pl\n\n--b--\n"
GONE = b"Final-Recipient: rfc822; jan@example.pl\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown "

Family = Callable[[int], bytes]
"""So many bytes, roughly -> a mail."""


def fill(unit: bytes, size: int) -> bytes:
    """``unit`` again and again."""
    return unit * max(1, size // len(unit))


def numbered(unit: bytes, size: int) -> bytes:
    """``unit`` with a number in it, again and again."""
    return b"".join(unit % number for number in range(max(1, size // (len(unit) + 4))))


def text(unit: bytes, head: bytes = DAEMON) -> Family:
    """A mail system's mail whose text is one thing repeated."""
    return lambda size: head + b"\nHi. This is the mail system.\n\n" + fill(unit, size)


def html(unit: bytes) -> Family:
    return text(unit, DAEMON + b"Content-Type: text/html; charset=utf-8\n")


def status(unit: bytes, before: bytes = b"") -> Family:
    """A delivery report whose status part is one thing repeated."""
    head = (
        DAEMON
        + REPORT
        + b"--b\nContent-Type: text/plain\n\nIt failed.\n\n--b\nContent-Type: message/delivery-status\n\n"
    )
    return lambda size: head + b"Reporting-MTA: dns; mx.example.net\n\n" + before + fill(unit, size) + RETURNED


def feedback(unit: bytes) -> Family:
    head = REPORT.replace(b"delivery-status", b"feedback-report") + b"--b\nContent-Type: message/feedback-report\n\n"
    return lambda size: DAEMON + head + b"Feedback-Type: abuse\n" + fill(unit, size) + RETURNED


def header(name: bytes, unit: bytes) -> Family:
    """One field, however long."""
    return lambda size: DAEMON + name + b": " + fill(unit, size) + b"\n\nIt failed.\n"


def parts(unit: bytes, boundary: bytes = b"b") -> Family:
    head = b'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="%s"\n\n'
    return lambda size: DAEMON + head % boundary + fill(unit, size)


def recipients(size: int) -> bytes:
    row = b"Final-Recipient: rfc822; u%d@example.pl\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 no such user\n\n"
    return status(b"\n", numbered(row, size))(1)


def recipients_beside_text(size: int) -> bytes:
    """Half of it recipients of a status part, half a text that might tell more of each."""
    told = fill(b"<somebody@example.pl>: 550 5.1.1 is no user here, nor is anybody else\n", size // 2)
    return recipients(size // 2).replace(b"It failed.\n", told)


def recipients_told_twice(size: int) -> bytes:
    """Half of it recipients of a status part without words, half a text that has them."""
    told = numbered(b"<u%d@example.pl>: 550 5.1.1 no such user\n", size // 2)
    row = b"Final-Recipient: rfc822; u%d@example.pl\nAction: failed\nStatus: 5.0.0\n\n"
    return status(b"\n", numbered(row, size // 2))(1).replace(b"It failed.\n", told)


def nested_parts(size: int) -> bytes:
    return DAEMON + numbered(b'Content-Type: multipart/mixed; boundary="%d"\n\n--X\n', size).replace(b"--X", b"--0")


def nested_own_parts(size: int) -> bytes:
    unit = b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n'
    return DAEMON + b"".join(unit % (number, number) for number in range(size // 52))


def prefixes(size: int) -> bytes:
    """Boundaries, each the beginning of the next: the first of them stands on every line."""
    lines = b"".join(b"--" + b"b" * (1 + number % 60) + b"\n" for number in range(size // 33))
    return DAEMON + b'Content-Type: multipart/mixed; boundary="b"\n\n' + lines


def base64_text(size: int) -> bytes:
    body = base64.encodebytes(fill(b"550 5.1.1 <jan@example.pl> user unknown\n", size * 3 // 4))
    return DAEMON + b"Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n" + body


FAMILIES: dict[str, Family] = {
    "nested parts": nested_parts,
    "nested parts, own boundaries": nested_own_parts,
    "nested messages": lambda size: DAEMON + fill(b"Content-Type: message/rfc822\n\n", size),
    "headers": lambda size: DAEMON + numbered(b"X-Filler-%d: x\n", size) + b"\nIt failed.\n",
    "headers of one name": lambda size: DAEMON + fill(b"Received: from a by b; x\n", size) + b"\nIt failed.\n",
    "headers without a body": lambda size: fill(b"Received:", size),
    "one header line": header(b"Subject", b"A"),
    "folded header line": header(b"Subject", b"x\n "),
    "message": text(b"The words of a long message, a line of them.\n"),
    "message, one line": text(b"x"),
    "message, CRLF": text(b"The words of a long message, a line of them.\r\n"),
    "message, CR": lambda size: text(b"The words of a long message.\n")(size).replace(b"\n", b"\r"),
    "message, CR and CRLF": text(b"words\rwords\r\n"),
    "recipients": recipients,
    "recipients beside a text": recipients_beside_text,
    "recipients told twice": recipients_told_twice,
    "recipients in prose": lambda size: DAEMON + b"\nHi. This is the qmail-send program at mx.example.net.\n\n"
    + numbered(b"<u%d@example.pl>:\n550 5.1.1 User unknown\n\n", size),
    "recipients in To": lambda size: DAEMON + b"Cc: " + numbered(b"u%d@example.pl,\n ", size) + b"\n\nIt failed.\n",
    "complainers": feedback(b"Original-Rcpt-To: jan@example.pl\n"),
    "feedback fields": feedback(b"X-Field: value; value\n"),
    "encoded words": header(b"Subject", b"=?utf-8?B?QUFB?= "),
    "encoded words, many charsets": header(b"Subject", b"=?utf-7?Q?+2AA-?= =?x?Q?=ff?= =?iso-2022-jp?B?GyRC?= "),
    "encoded word, unterminated": header(b"Subject", b"=?utf-8?q?"),
    "RFC 2231 parameters": header(b"Content-Type", b"; name*0*=utf-8''%ff"),
    "parameters": header(b"Content-Type", b"; a=b"),
    "quoted parameters": header(b"Content-Type", b'; a="b\\"'),
    "NUL bytes": text(b"\x00"),
    "control bytes": text(bytes(range(1, 32))),
    "invalid UTF-8": text(b"\xff\xfe\xed\xa0\x80\xc0\xaf"),
    "invalid UTF-8 in the status part": status(b"X-Y: \xff\xfe\xed\xa0\x80\n"),
    "quotes": text(b'"'),
    "quotes before an address": text(b'"\\" @a.b '),
    "comments": text(b"("),
    "comments in From": header(b"Reply-To", b"("),
    "brackets": text(b"<"),
    "addresses begun": text(b"<a@"),
    "at signs": text(b"@"),
    "dotted domains": text(b"a@a.a.a.a.a.a."),
    "boundaries": parts(b"--b\n"),
    "boundaries without an end": parts(b"--b"),
    "boundaries that go on": parts(b"--bb\n--b b\n"),
    "boundary prefixes": prefixes,
    "parts": parts(b"--b\nContent-Type: text/plain\n\nx\n"),
    "status parts": parts(b"--b\nContent-Type: message/delivery-status\n\n" + GONE + b"\n\n"),
    "feedback parts": parts(b"--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n\n"),
    "returned messages": parts(b"--b\nContent-Type: message/rfc822\n\nMessage-ID: <1@shop.example>\nTo: a@b.c\n\nx\n"),
    "quoted lines": text(b">"),
    "quoted lines, many": text(b"> > x\n"),
    "spaces": text(b" "),
    "spaces at lines' ends": text(b"x" + b" " * 500 + b"\n"),
    "tabs": text(b"\t"),
    "blank lines": text(b"\n"),
    "blank lines on top": lambda size: fill(b"\n", size) + DAEMON + b"\nIt failed.\n",
    "dashes": text(b"-"),
    "colons": text(b":"),
    "digits": text(b"5"),
    "reply codes": text(b"550 5.1.1 "),
    "reply lines": text(b"550-5.1.1 x\n"),
    "SMTP dialogue": text(b">>> RCPT TO:<a@b.c>\n<<< 550 \n"),
    "status fields": status(b"Status: 5.1.1\n"),
    "one diagnostic": status(b"very ", GONE),
    "diagnostic continued": status(b"\n 550-5.1.1 x", GONE),
    "blank blocks": status(b"\n"),
    "fields without a colon": status(b"word\n", GONE),
    "source routes": status(b"@a:", b"Final-Recipient: rfc822; "),
    "escaped characters": status(rb"\x{41}", b"Final-Recipient: utf-8; "),
    "JSON": text(b'{"a":[', DAEMON + b"X-Amz-Sns-Message-Id: 1\n"),
    "JSON brackets": text(b"{", DAEMON + b"X-Amz-Sns-Message-Id: 1\n"),
    "YAML": text(b"a: b\n", DAEMON + b"X-ARF: yes\n"),
    "base64": base64_text,
    "base64, broken": text(b"A=", DAEMON + b"Content-Transfer-Encoding: base64\n"),
    "quoted-printable": text(b"=41=\n", DAEMON + b"Content-Transfer-Encoding: quoted-printable\n"),
    "HTML tags": html(b"<a <"),
    "HTML tags, closed": html(b"<p>x</p>"),
    "HTML comments": html(b"<!--"),
    "HTML scripts": html(b"<script>"),
    "HTML entities": html(b"&#x41;&amp;&"),
    "HTML attributes": html(b'<a href="" '),
    "URLs": text(b"https://a.example/"),
    "dates": header(b"Date", b"Fri, "),
    "Message-IDs": header(b"References", b"<1@shop.example> "),
    "Message-IDs begun": text(b"Message-ID: <"),
    "ordinary mail": text(b"Message-ID: <1@b.c> mailbox full\n", b"From: jan@example.com\nSubject: Hello\n"),
    "ordinary mail, blank lines": text(b"\n", b"From: jan@example.com\nSubject: Hello\n"),
    "request, blank lines": text(b" \n", b"From: jan@example.com\nTo: unsubscribe@shop.example\n"),
    "auto-reply": text(b"I am out of office until ", b"From: jan@example.com\nSubject: Auto\nAuto-Submitted: auto-replied\n"),
    "List-Unsubscribe": header(b"List-Unsubscribe", b"<mailto:a@b.c?subject=x>, "),
}  # fmt: skip
LARGE: dict[str, tuple[str, int]] = {
    "50,000 nested parts": ("nested parts, own boundaries", 50_000 * 52),
    "100,000 headers": ("headers", 100_000 * 20),
    "one 50 MB header line": ("one header line", 50_000_000),
    "a folded 50 MB header line": ("folded header line", 50_000_000),
    "a 100 MB message": ("message", 100_000_000),
    "a 100 MB message, one line": ("message, one line", 100_000_000),
    "a 100 MB message, CRLF": ("message, CRLF", 100_000_000),
    "a 100 MB message, CR": ("message, CR", 100_000_000),
    "a 100 MB message, CR and CRLF": ("message, CR and CRLF", 100_000_000),
    "100,000 recipients": ("recipients", 100_000 * 108),
    "100,000 recipients told twice": ("recipients told twice", 100_000 * 120),
    "30 MB of base64": ("base64", 30_000_000),
    "30 MB of quoted-printable": ("quoted-printable", 30_000_000),
    "30 MB of NUL bytes": ("NUL bytes", 30_000_000),
    "30 MB of status part": ("fields without a colon", 30_000_000),
    "30 MB of feedback fields": ("feedback fields", 30_000_000),
    "30 MB of parts": ("parts", 30_000_000),
    "30 MB of status parts": ("status parts", 30_000_000),
    "30 MB of returned messages": ("returned messages", 30_000_000),
    "30 MB of HTML": ("HTML tags, closed", 30_000_000),
    "30 MB of invalid UTF-8": ("invalid UTF-8", 30_000_000),
    "30 MB of blank lines on top": ("blank lines on top", 30_000_000),
}  # fmt: skip


def repetitions() -> Iterator[tuple[str, Family]]:
    """For each dialect or format that a mail of the corpus is in: the body of one again and again."""
    from bounceparse.parse import parse

    seen: set[str] = set()
    for path in sorted(CORPUS.rglob("*.eml")):
        raw = path.read_bytes()
        dialect = parse(raw).dialect
        if dialect and (dialect not in seen or dialect == "rfc3464"):
            seen.add(dialect)
            head, _, body = raw.partition(b"\n\n")
            if body:
                yield f"{dialect}: {path.name}", lambda size, head=head, body=body: head + b"\n\n" + fill(body, size)


def read(raw: bytes) -> None:
    """As a poll reads it, every field of the outcomes."""
    from bounceparse.classify import classify
    from bounceparse.parse import parse

    for outcome in classify(parse(raw)):
        outcome.to_json()


def seconds(raw: bytes, rounds: int) -> float:
    """The least CPU time of so many readings."""
    times = []
    for _ in range(rounds):
        began = time.process_time()
        read(raw)
        times.append(time.process_time() - began)
    return min(times)


def exponent(sizes: list[int], times: list[float]) -> float:
    """The slope of the logarithms, by least squares; 0 where it is all too fast to tell."""
    told = [(math.log(size), math.log(took)) for size, took in zip(sizes, times, strict=True) if took > NOISE]
    if len(told) < 3:
        return 0.0
    return statistics.linear_regression(*zip(*told, strict=True)).slope


def peak(raw: bytes) -> tuple[float, float]:
    """In a fresh process: the MB that a mail and its reading added at their peak, and the seconds of CPU."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(raw)
        file.flush()
        command = [sys.executable, __file__, "--child", file.name]
        words = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(words[0]), float(words[1])


def child(path: Path) -> None:
    """What :func:`peak` runs: prints MB and seconds."""
    read(DAEMON + b"\n<jan@example.pl>: 550 5.1.1 User unknown\n")  # what is made once is not the mail's
    read(status(GONE)(1))
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    raw = path.read_bytes()
    began = time.process_time()
    read(raw)
    print(_memory("VmHWM") - before, time.process_time() - began)


def _memory(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def poller(mails: list[tuple[str, int]]) -> float:
    """The PSS in MB of all processes of a poll that fetches these mails from a Dovecot, at its peak."""
    from common import run
    from databases import migrated_sqlite
    from servers import PASSWORD, USER, running_dovecot

    with tempfile.TemporaryDirectory() as folder, running_dovecot() as dovecot:
        for family, size in mails:
            dovecot.load([FAMILIES[family](size)])
        config = Path(folder) / "bounceparse.toml"
        config.write_text(
            f'[database]\nurl = "{migrated_sqlite(Path(folder) / "b.db")}"\n[mailbox.bounces]\nhost = "127.0.0.1"\n'
            f'port = {dovecot.plain}\ntls = "none"\nusername = "{USER}"\npassword = "{PASSWORD}"\nfirst_poll = "go"\n'
        )
        config.chmod(0o600)
        cost = run([sys.executable, "-m", "bounceparse", "--config", str(config), "poll"], memory=True)
        if dovecot.flags() != ["S"] * len(mails):
            raise SystemExit(f"not all were recorded: {dovecot.flags()}")
        return cost.all


def fit(families: dict[str, Family], base: int, doublings: int, rounds: int) -> list[str]:
    """Print how the time of each grows; answers what grows too fast."""
    sizes = [base << doubling for doubling in range(doublings + 1)]
    print(f"{'':44}exponent, and ms for " + ", ".join(f"{size / 1024:.0f} KB" for size in sizes))
    missed = []
    for name, family in families.items():
        mails = [family(size) for size in sizes]
        lengths = [len(raw) for raw in mails]
        times = [seconds(raw, rounds) for raw in mails]
        if exponent(lengths, times) > EXPONENT:  # others work on this machine, too: once more, with care
            times = [min(took, seconds(raw, 3 * rounds)) for took, raw in zip(times, mails, strict=True)]
        slope = exponent(lengths, times)
        told = f"{slope:8.2f}" if slope else "    fast"
        late = slope > EXPONENT
        print(
            f"{name:44}{told}{''.join(f'{1000 * took:9.1f}' for took in times)}{'  MISSED' if late else ''}", flush=True
        )
        missed += [name] * late
    return missed


def weigh() -> list[str]:
    """Print what the largest mails take of memory and time; answers what takes too much."""
    print(f"\n{'':44}{'MB of mail':>12}{'MB more':>10}{'goal':>8}{'seconds':>10}")
    missed = []
    for name, (family, size) in LARGE.items():
        raw = FAMILIES[family](size)
        mail = len(raw) / 1_048_576
        more, took = peak(raw)
        goal = MEMORY[0] * mail + MEMORY[1]
        late = more > goal
        print(f"{name:44}{mail:12.1f}{more:10.1f}{goal:8.0f}{took:10.2f}{'  MISSED' if late else ''}", flush=True)
        missed += [name] * late
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="families whose name holds this")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--doublings", type=int, default=4)
    parser.add_argument("--base", type=int, default=64, help="KB of the smallest mail")
    parser.add_argument("--no-large", action="store_true")
    parser.add_argument("--no-poll", action="store_true")
    parser.add_argument("--repetition", action="store_true")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child)
        return
    families = {name: family for name, family in FAMILIES.items() if given.only in name}
    missed = fit(families, given.base << 10, given.doublings, given.rounds)
    if given.repetition:
        chosen = {name: family for name, family in repetitions() if given.only in name}
        missed += fit(chosen, 4 << 10, given.doublings, given.rounds)
    if not given.no_large:
        missed += weigh()
    if not given.no_poll:
        taken = poller(list(LARGE.values()))
        print(f"\na poll of all of these: {taken:.0f} MB in all processes at its peak (goal {POLLER})")
        missed += ["the poll"] * (taken > POLLER)
    print("all goals met" if not missed else f"missed: {', '.join(missed)}", flush=True)
    raise SystemExit(1 if missed else 0)


if __name__ == "__main__":
    main()

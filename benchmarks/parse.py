"""How fast mail is read and judged, beside the peers, on one core.

    python benchmarks/parse.py [--rounds N] [SAMPLES]

Each figure comes from a fresh process that reads one half of the mails to warm up and is timed over the other half, so
that neither a cache nor a first use counts; the halves take turns. Times are CPU time. A ratio says how many times as
many mails ``parse`` + ``classify`` answer as the yardstick in the same CPU time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from time import process_time

ROOT = Path(__file__).resolve().parent.parent
SAMPLES = ROOT.parent / "shared" / "samples"  # a checkout without labelled samples beside it has its own corpus


def read_bounceparse() -> Callable[[bytes], object]:
    """``parse`` + ``classify``, every field of the outcomes read."""
    from bounceparse import classify, parse
    from bounceparse.outcomes import Outcome

    names = [field.name for field in fields(Outcome)]
    return lambda raw: [[getattr(outcome, name) for name in names] for outcome in classify(parse(raw))]


def read_stdlib() -> Callable[[bytes], object]:
    """The standard library's parser, nothing read from the tree."""
    from email import message_from_bytes

    return message_from_bytes


def read_flufl() -> Callable[[bytes], object]:
    """The standard library's parser, then flufl.bounce, which answers recipients and whether they are permanent."""
    from email import message_from_bytes

    from flufl.bounce import scan_message

    def read(raw: bytes) -> object:
        try:
            return scan_message(message_from_bytes(raw))
        except (IndexError, TypeError, AttributeError, ValueError, LookupError):  # it trips over malformed mail
            return None

    return read


def read_mailparser() -> Callable[[bytes], object]:
    """mail-parser alone."""
    from mailparser import parse_from_bytes

    def read(raw: bytes) -> object:
        try:
            return parse_from_bytes(raw)
        except (ValueError, TypeError, AttributeError, LookupError):
            return None

    return read


def read_nothing() -> Callable[[bytes], object]:
    """The floor: a SHA-256 of the bytes."""
    return lambda raw: sha256(raw).digest()


READERS = {
    "bounceparse": read_bounceparse,
    "stdlib": read_stdlib,
    "stdlib+flufl": read_flufl,
    "mail-parser": read_mailparser,
    "sha256": read_nothing,
}
# To be reached on DSN and ARF mails, and on all delivery and feedback mails
GOALS = {"stdlib": (5, 3), "stdlib+flufl": (8, 8), "mail-parser": (12, 12)}


def find_mails(samples: Path) -> dict[str, list[str]]:
    """The mails to read by the name of their set: the reports of the two standard formats, and prose too."""
    from bounceparse import parse

    sets: dict[str, list[str]] = {"DSN and ARF": [], "all delivery and feedback": []}
    for path in sorted(path for path in samples.rglob("*") if path.is_file()):
        if path.suffix in (".jsonl", ".json", ".md") or path.name == "LICENSE":
            continue
        report = parse(path.read_bytes())
        if report.kind in ("delivery", "feedback"):
            sets["all delivery and feedback"].append(str(path))
            if report.dialect in ("rfc3464", "arf"):
                sets["DSN and ARF"].append(str(path))
    return sets


def measure(name: str, half: int) -> dict[str, float]:
    """The mails a CPU second of one reader over one half of each set; the paths come on standard input."""
    read = READERS[name]()
    speeds = {}
    sets = {title: [Path(path).read_bytes() for path in paths] for title, paths in json.load(sys.stdin).items()}
    for title, mails in sets.items():
        for raw in mails[1 - half :: 2]:
            read(raw)
        timed = mails[half::2]
        begin = process_time()
        for raw in timed:
            read(raw)
        speeds[title] = len(timed) / (process_time() - begin)
    return speeds


def measure_all(sets: dict[str, list[str]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Mails a second by set and reader, one figure a round; the readers take turns, so that noise meets all alike."""
    speeds: dict[str, dict[str, list[float]]] = {title: {name: [] for name in READERS} for title in sets}
    for turn in range(rounds):
        for name in READERS:
            for title, paths in sets.items():
                command = [sys.executable, __file__, "--measure", name, "--half", str(turn % 2)]
                done = subprocess.run(
                    command, input=json.dumps({title: paths}), capture_output=True, text=True, check=True
                )
                speeds[title][name].append(json.loads(done.stdout)[title])
    return speeds


def table(title: str, count: int, speeds: dict[str, list[float]], goal: int) -> Iterator[str]:
    """The lines that tell the figures of one set."""
    ours = statistics.median(speeds["bounceparse"])
    yield f"{title}: {count} mails, mails a CPU second"
    yield f"  {'':14}{'min':>9}{'median':>9}{'max':>9}   bounceparse is"
    for name, values in speeds.items():
        median = statistics.median(values)
        goals = GOALS.get(name)
        ratio = f"{ours / median:8.2f} times as fast" + (f" (goal {goals[goal]})" if goals else "")
        line = f"  {name:14}{min(values):9.0f}{median:9.0f}{max(values):9.0f}"
        yield line if name == "bounceparse" else line + ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="?", type=Path, default=SAMPLES if SAMPLES.is_dir() else ROOT / "corpus")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--measure", choices=READERS, help=argparse.SUPPRESS)
    parser.add_argument("--half", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure, asked.half)))
        return
    sets = find_mails(asked.samples)
    speeds = measure_all(sets, asked.rounds)
    for place, (title, paths) in enumerate(sets.items()):
        print("\n".join(table(title, len(paths), speeds[title], place)), flush=True)


if __name__ == "__main__":
    main()

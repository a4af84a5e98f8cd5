"""What ``import bounceparse`` costs beside the bare interpreter.

    python benchmarks/imports.py [--rounds N]

Each figure is the CPU time of a whole process with its compiled files in place; the commands take turns. The first mail
is a delivery report: it loads the rules. One that is no report is looked at by every dialect, and loads none.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

REPORT = min((Path(__file__).resolve().parent.parent / "corpus" / "dsn").glob("*.eml"))
JUDGE = "import bounceparse as b; b.classify(b.parse({mail}))"
COMMANDS = {
    "bare Python": "pass",
    "import bounceparse": "import bounceparse",
    "first report judged": JUDGE.format(mail=f"open({str(REPORT)!r}, 'rb').read()"),
    "first of no report": JUDGE.format(mail=r"b'Subject: failure notice\n\nno mail'"),
}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
GOALS = {"import bounceparse": 60, "first report judged": 120}  # milliseconds that they may add


def measure(code: str) -> float:
    """Milliseconds of CPU that a process with ``code`` takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    for code in COMMANDS.values():
        measure(code)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, code in COMMANDS.items():
            times[name].append(measure(code))
    print(f"{'ms of CPU':20}{'min':>8}{'median':>8}{'max':>8}    more than bare")
    bare = statistics.median(times["bare Python"])
    for name, values in times.items():
        more = statistics.median(values) - bare
        goal = f" (goal {GOALS[name]})" if name in GOALS else ""
        print(f"{name:20}{min(values):8.0f}{statistics.median(values):8.0f}{max(values):8.0f}{more:12.0f}{goal}")


if __name__ == "__main__":
    main()

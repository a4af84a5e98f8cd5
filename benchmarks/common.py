"""What the benchmarks of whole processes share: timed children, databases with a ledger, tables of figures.

They use the servers of the tests (``tests/servers.py``, ``tests/databases.py``): Dovecot and PostgreSQL with the
settings that they have by default, fsync included.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))


class Cost(NamedTuple):
    """What a process took: seconds on the clock, seconds of CPU with its children's, peak memory in MB."""

    wall: float
    cpu: float
    main: float = 0
    all: float = 0


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, memory: bool = False, status: int = 0) -> Cost:
    """Run a command to its end and measure it; with ``memory`` its processes are looked at 20 times a second.

    Compiled files are written, as where a package is installed: else each process compiles anew what was edited.
    """
    given = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**given, **(env or {})})
    watch = _Memory(process.pid) if memory else None
    _, ended, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended)  # waited for here, not by subprocess
    wall = time.perf_counter() - began
    if process.returncode != status:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    peaks = watch.peaks() if watch else (0, 0)
    return Cost(wall, usage.ru_utime + usage.ru_stime, *peaks)


class _Memory:
    """The peak memory of a process, and of it with its children, in MB; shared pages count once (PSS)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._main = self._all = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def peaks(self) -> tuple[float, float]:
        self._stop.set()
        self._thread.join()
        return self._main / 1024, self._all / 1024

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            sizes = [_pss(pid) for pid in (self._pid, *_descendants(self._pid))]
            self._main, self._all = max(self._main, sizes[0]), max(self._all, sum(sizes))


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _pss(pid: int) -> int:
    with suppress(OSError, StopIteration):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1])
    return 0


@dataclass
class Table:
    """Figures of several things measured in turn, as lines of text: minimum, median, maximum."""

    unit: str
    per: int = 0  # so many things are done in a run: figures become things a second

    def __post_init__(self) -> None:
        print(f"{'':38}{'min':>9}{'median':>9}{'max':>9}  {self.unit}", flush=True)

    def line(self, name: str, values: Sequence[float], note: str = "") -> float:
        """Print a line; answers the median."""
        figures = sorted(self.per / value if self.per else value for value in values)
        median = statistics.median(figures)
        shown = (
            f"{figure:9.0f}" if figure >= 100 else f"{figure:9.3f}" for figure in (figures[0], median, figures[-1])
        )
        print(f"{name:38}{''.join(shown)}  {note}", flush=True)
        return median


def ledger_rows(count: int) -> Iterator[dict[str, str]]:
    """So many rows of a ledger, as a shop would tell them in the order of sending.

    The first 50,000 are the messages that ``tests/bounces.py`` has bounces of; the others went to many domains, few of
    which have most of the addresses, and to most addresses more than once.
    """
    began = datetime(2026, 10, 1, tzinfo=UTC)
    for number in range(1, count + 1):
        person = number if number <= 50_000 else number * 7919 % 600_000
        domain = "example.pl" if number <= 50_000 else f"mail{min(person % 997, person % 13)}.example"
        yield {
            "message_id": f"{number}@shop.example",
            "recipient": f"user{person}@{domain}",
            "from_address": "shop@example.com",
            "subject": f"Your order {number}",
            "stream": f"stream{number % 7}",
            "customer": str(100_000 + person),
            "sent_at": (began + timedelta(seconds=number)).isoformat(),
        }


def fill_ledger(url: str, count: int) -> None:
    """Import so many rows of :func:`ledger_rows` into a migrated database."""
    from bounceparse.db import Store, parse_sent

    with Store(url) as store:
        store.import_sent(parse_sent(row) for row in ledger_rows(count))


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL as its packager configures it, with room for the indexes of a large ledger."""
    from databases import running_postgresql

    with running_postgresql("-c shared_buffers=512MB -c max_wal_size=8GB") as server:
        yield server

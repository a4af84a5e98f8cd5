"""How fast saved mail is read and recorded, and what several processes gain.

    python benchmarks/replay.py [--mails N] [--size BYTES] [--rounds N] [--jobs N]

An mbox of delivery reports goes through ``bounceparse parse`` and ``bounceparse replay`` (SQLite, no ledger), each in one
process and in ``--jobs``. Beside it stand reading and hashing the file, and reading it with a bare ``executemany`` of as
many rows of as many bytes as recording writes. Every figure is of a whole process. Memory is looked at in a run of its own,
beside that of a replay of a tenth of the mails: it must not grow with the file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from common import Cost, Table, run

HASH = "import hashlib, sys; print(hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256').hexdigest())"
ROWS = """
import sqlite3, sys
path, url, count = sys.argv[1:]
with open(path, "rb") as file:
    while file.read(1 << 20):
        pass
connection = sqlite3.connect(url)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, key BLOB, text TEXT)")
connection.execute("CREATE TABLE outcomes (id INTEGER PRIMARY KEY, key BLOB UNIQUE, text TEXT)")
for start in range(0, int(count), 200):
    rows = [(number.to_bytes(32, "big"), "x" * 300) for number in range(start, start + 200)]
    connection.executemany("INSERT INTO messages (key, text) VALUES (?, ?)", rows)
    connection.executemany("INSERT INTO outcomes (key, text) VALUES (?, ?)", rows)
    connection.commit()
"""


def write_mbox(path: Path, count: int, size: int) -> None:
    """So many different bounces in one mbox."""
    from bounces import dsn

    with path.open("wb") as file:
        for number in range(1, count + 1):
            file.write(b"From MAILER-DAEMON Fri Jan  2 10:00:00 2026\n" + dsn(number, size - 700) + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=10_000)
    parser.add_argument("--size", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    from databases import migrated_sqlite

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mbox, tenth, database = folder / "mbox", folder / "tenth", folder / "b.db"
        write_mbox(mbox, given.mails, given.size)
        write_mbox(tenth, given.mails // 10, given.size)

        def measure(*words: str, memory: bool = False) -> Cost:
            for file in folder.glob("b.db*"):
                file.unlink()
            env = {"BOUNCEPARSE_DATABASE__URL": migrated_sqlite(database)}
            return run([sys.executable, *words], env=env, memory=memory)

        jobs = ["--jobs", str(given.jobs)]
        own = ["-m", "bounceparse"]
        commands = {
            "read and hash": ["-c", HASH, str(mbox)],
            "read, and bare executemany": ["-c", ROWS, str(mbox), str(folder / "bare.db"), str(given.mails)],
            "parse --json": [*own, "parse", "--json", str(mbox)],
            f"parse --json --jobs {given.jobs}": [*own, "parse", "--json", *jobs, str(mbox)],
            "replay": [*own, "replay", str(mbox)],
            f"replay --jobs {given.jobs}": [*own, "replay", *jobs, str(mbox)],
        }
        costs: dict[str, list[Cost]] = {one: [] for one in commands}
        for _ in range(given.rounds):
            for one, words in commands.items():
                costs[one].append(measure(*words))
                (folder / "bare.db").unlink(missing_ok=True)
        peaks = {path: measure(*own, "replay", str(path), memory=True).all for path in (tenth, mbox)}
    print(f"{given.mails} mails of {given.size} bytes in an mbox")
    table = Table("mails a second", given.mails)
    medians = {one: table.line(one, [cost.wall for cost in found]) for one, found in costs.items()}
    table = Table("CPU seconds, children's too")
    for one, found in costs.items():
        table.line(one, [cost.cpu for cost in found])
    for one in ("parse --json", "replay"):
        more = f"{one} --jobs {given.jobs}"
        extra = statistics.median(c.cpu for c in costs[more]) - statistics.median(c.cpu for c in costs[one])
        print(
            f"{more}: {medians[more] / medians[one]:.2f} times one process (goal 1.4);"
            f" starting and feeding the processes costs {extra:.1f} s of CPU"
        )
    print(f"replay: {peaks[mbox]:.0f} MB at its peak, {peaks[tenth]:.0f} MB with a tenth of the mails")


if __name__ == "__main__":
    main()

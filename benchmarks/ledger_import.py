"""How fast ``bounceparse sent import`` is beside the bare loading of the same columns.

    python benchmarks/ledger_import.py [--rows N] [--rounds N]

The yardstick for PostgreSQL is COPY of the CSV file as it stands into a table of the same columns without any index; for
SQLite it is ``csv.reader`` and one ``executemany`` into such a table. Every figure is of a whole process, and every run
begins with an empty, migrated database.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from pathlib import Path

from common import Cost, Table, ledger_rows, postgresql, run

BARE_COPY = """
import sys, psycopg
path, url = sys.argv[1:]
with open(path, "rb") as file, psycopg.connect(url.replace("+psycopg", "")) as connection:
    names = file.readline().decode().strip()
    columns = ", ".join(name + (" TIMESTAMPTZ" if name == "sent_at" else " TEXT") for name in names.split(","))
    connection.execute(f"CREATE TABLE bare ({columns})")
    with connection.cursor() as cursor, cursor.copy(f"COPY bare ({names}) FROM STDIN (FORMAT csv)") as copy:
        while block := file.read(1 << 16):
            copy.write(block)
"""
BARE_EXECUTEMANY = """
import csv, sqlite3, sys
path, url = sys.argv[1:]
connection = sqlite3.connect(url.removeprefix("sqlite:///"))
with open(path, newline="") as file:
    rows = csv.reader(file)
    names = next(rows)
    connection.execute(f"CREATE TABLE bare ({', '.join(names)})")
    connection.executemany(f"INSERT INTO bare VALUES ({', '.join('?' * len(names))})", rows)
connection.commit()
"""


def measure(kind: str, server: str | None, path: Path, rounds: int, folder: Path) -> dict[str, list[Cost]]:
    """The costs of the yardstick and of the import, in turn."""
    from databases import drop_database, migrated_database, migrated_sqlite

    found: dict[str, list[Cost]] = {"bare": [], "import": []}
    for turn in range(2 * rounds):
        url = migrated_database(server) if server else migrated_sqlite(folder / f"{turn}.db")
        if turn % 2:
            command = [sys.executable, "-m", "bounceparse", "sent", "import", str(path)]
            found["import"].append(run(command, env={"BOUNCEPARSE_DATABASE__URL": url}))
        else:
            program = BARE_COPY if server else BARE_EXECUTEMANY
            found["bare"].append(run([sys.executable, "-c", program, str(path), url]))
        if server:
            drop_database(server, url)
        else:
            (folder / f"{turn}.db").unlink()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "sent.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(next(ledger_rows(1))))
            writer.writeheader()
            writer.writerows(ledger_rows(given.rows))
        print(f"sent import of {given.rows} rows ({path.stat().st_size / 1e6:.0f} MB of CSV)")
        table = Table("rows a second", given.rows)
        for kind, goal in (("postgresql", "goal 0.3"), ("sqlite", "no goal")):
            if kind == "postgresql":
                with postgresql() as server:
                    costs = measure(kind, server, path, given.rounds, Path(name))
            else:
                costs = measure(kind, None, path, given.rounds, Path(name))
            bare = table.line(
                f"{kind}: {'COPY' if kind == 'postgresql' else 'executemany'}", [c.wall for c in costs["bare"]]
            )
            ours = sorted(cost.wall for cost in costs["import"])
            ratio = given.rows / ours[len(ours) // 2] / bare
            cpu = sorted(cost.cpu for cost in costs["import"])[len(ours) // 2]
            table.line(f"{kind}: sent import", ours, f"{ratio:.2f} of it ({goal}); {cpu:.1f} s CPU of the process")


if __name__ == "__main__":
    main()

"""What ``bounceparse poll`` takes when there is nothing new, beside the import of what it cannot do without.

    python benchmarks/startup.py [--rounds N]

The yardstick is ``python -c "import imapclient, sqlalchemy"``, with psycopg for PostgreSQL. Both are whole processes; the
poll connects to a Dovecot on this machine, whose folder it has read before. CPU time is compared, since a machine that does
other things as well stretches the other.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from common import Cost, Table, postgresql, run

GOALS = {"sqlite": 2.2, "postgresql": 2.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=11)
    given = parser.parse_args()
    from bounces import dsns
    from databases import migrated_database, migrated_sqlite
    from servers import PASSWORD, USER, running_dovecot

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dovecot = stack.enter_context(running_dovecot())
        dovecot.load(dsns(10))
        server = stack.enter_context(postgresql())
        urls = {"sqlite": migrated_sqlite(folder / "b.db"), "postgresql": migrated_database(server)}
        commands: dict[str, list[str]] = {"bare Python": ["-c", "pass"]}
        for kind, url in urls.items():
            config = folder / f"{kind}.toml"
            config.write_text(
                f'[database]\nurl = "{url}"\n[mailbox.bounces]\nhost = "127.0.0.1"\nport = {dovecot.plain}\n'
                f'tls = "none"\nusername = "{USER}"\npassword = "{PASSWORD}"\nfirst_poll = "go"\n'
            )
            config.chmod(0o600)
            driver = ", psycopg" if kind == "postgresql" else ""
            commands[f"import imapclient, sqlalchemy{driver}"] = ["-c", f"import imapclient, sqlalchemy{driver}"]
            commands[f"poll, {kind}"] = ["-m", "bounceparse", "--config", str(config), "poll"]
        costs: dict[str, list[Cost]] = {name: [] for name in commands}
        for turn in range(given.rounds + 1):
            for name, words in commands.items():
                cost = run([sys.executable, *words])
                if turn:  # the first poll finds ten mails, and the first import compiles
                    costs[name].append(cost)
    for unit, values in (("CPU seconds", 1), ("seconds", 0)):
        table = Table(unit)
        medians = {name: table.line(name, [cost[values] for cost in found]) for name, found in costs.items()}
        for kind, driver in (("sqlite", ""), ("postgresql", ", psycopg")):
            ratio = medians[f"poll, {kind}"] / medians[f"import imapclient, sqlalchemy{driver}"]
            print(f"poll, {kind}: {ratio:.2f} times the import (goal at most {GOALS[kind]:g})")
        added = statistics.median(cost[values] for cost in costs["poll, sqlite"]) - medians["bare Python"]
        print(f"poll, sqlite: {1000 * added:.0f} ms more than bare Python")


if __name__ == "__main__":
    main()

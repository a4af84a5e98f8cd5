"""What a mail costs in a database that has grown, beside an empty one.

    python benchmarks/growth.py [--outcomes N] [--sent N] [--mails N] [--rounds N] [--only sqlite|postgresql]

The large database holds so many outcomes and so many sent messages, of other people than those of the mails that are
recorded, written by SQL from a few that the store wrote. The same reports are recorded in batches of 200, each beside a
small ledger that knows them, in both databases in turn. The size for which there is a goal is 5 million outcomes and 10
million sent messages.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa
from common import Table, fill_ledger, postgresql

GOAL = 1.3
SEED = 1000


def grow(url: str, outcomes: int, sent: int) -> None:
    """Multiply the rows of a small database: same shape, other keys."""
    from bounceparse.db import Store
    from bounceparse.db.tables import outcomes as outcomes_table
    from bounceparse.db.tables import sent as sent_table

    with Store(url) as store:
        store.record(read(range(1_000_001, 1_000_001 + SEED), "old"))
        store.import_sent(_strangers())
    engine = sa.create_engine(url)
    blob = "CAST(key || '-' || n AS BLOB)" if engine.name == "sqlite" else "key || convert_to(n::text, 'UTF8')"
    changed = {
        "bounceparse_outcomes": {
            "seq": "seq + n * 100000", "key": blob, "address_key": "'n' || n || address_key",
            "message_key": "n || '-' || message_key",
        },
        "bounceparse_sent": {
            "message_key": "n || '-' || message_key", "recipient_key": "'n' || n || recipient_key",
        },
    }  # fmt: skip
    with engine.begin() as connection:
        for table, count, where in (
            (outcomes_table, outcomes, "mailbox = 'old'"),
            (sent_table, sent, "stream = 'strangers'"),
        ):
            names = [column.name for column in table.columns if column.name != "id"]
            values = ", ".join(changed[table.name].get(name, name) for name in names)
            times = f"WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < {count // SEED})"
            connection.execute(
                sa.text(
                    f"{times}, old AS (SELECT * FROM {table.name} WHERE {where})"
                    f" INSERT INTO {table.name} ({', '.join(names)}) SELECT {values} FROM t, old"
                    if engine.name != "sqlite"
                    else f"INSERT INTO {table.name} ({', '.join(names)}) {times}"
                    f" SELECT {values} FROM t, (SELECT * FROM {table.name} WHERE {where} LIMIT {SEED})"
                )
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE"))
    engine.dispose()


def _strangers() -> object:
    from bounceparse.db import SentMessage

    return (
        SentMessage(
            message_id=f"old{n}@shop.example",
            recipient=f"p{n}@mail{n % 13}.example",
            stream="strangers",
            customer=str(n),
        )
        for n in range(SEED)
    )


def read(numbers: range, account: str) -> list[object]:
    """Reports about these messages, read."""
    from bounces import dsn

    from bounceparse.reading import Place, read_message

    return [read_message(Place(account, "INBOX", 1, n), raw := dsn(n), len(raw)) for n in numbers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=100_000)
    parser.add_argument("--sent", type=int, default=200_000)
    parser.add_argument("--mails", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    given = parser.parse_args()
    from databases import migrated_database, migrated_sqlite

    from bounceparse.db import Store

    for kind in [given.only] if given.only else ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if kind == "sqlite":
                urls = {name: migrated_sqlite(folder / f"{name}.db") for name in ("empty", "large")}
            else:
                server = stack.enter_context(postgresql())
                urls = {name: migrated_database(server) for name in ("empty", "large")}
            for url in urls.values():
                fill_ledger(url, given.mails * (given.rounds + 1))
            grow(urls["large"], given.outcomes, given.sent)
            costs: dict[str, list[float]] = {"empty": [], "large": []}
            for turn in range(given.rounds + 1):
                messages = read(range(turn * given.mails + 1, (turn + 1) * given.mails + 1), "bounces")
                for name, url in urls.items():
                    with Store(url) as store:
                        began = time.perf_counter()
                        for at in range(0, len(messages), 200):
                            store.record(messages[at : at + 200])
                        if turn:  # the first warms both up
                            costs[name].append((time.perf_counter() - began) / given.mails * 1e6)
            print(f"recording in {kind}: {given.outcomes} outcomes, {given.sent} sent messages")
            table = Table("microseconds a mail")
            medians = {name: table.line(name, values) for name, values in costs.items()}
            print(f"the large one costs {medians['large'] / medians['empty']:.2f} times the empty one (goal {GOAL})")


if __name__ == "__main__":
    main()

"""What presuming costs beside a big ledger: when there is nothing to do, in a poll, and for all messages at once.

The ledger holds ``--rows`` messages of the last 30 days, of which nobody heard anything; each hundredth was deferred and
its server said that it tries for three weeks.
"""

from __future__ import annotations

import argparse
import time
from datetime import timedelta

import sqlalchemy as sa
from common import Table
from health import NOW, NUMBERS, TIME, postgresql_url, sqlite_url, timed

from bounceparse.db import Store, upgrade

SENT = """
INSERT INTO bounceparse_sent (message_id, message_key, recipient, recipient_key, domain_key, from_address, subject,
  stream, customer, sent_at, status, reason, status_at, retry_until, presumed)
{numbers} SELECT i || '@shop.example', i || '@shop.example', 'p' || i || '@d' || (i % 5000) || '.example',
  'p' || i || '@d' || (i % 5000) || '.example', 'd' || (i % 5000) || '.example', 'shop@shop.example',
  'Your order number ' || i, 'stream-' || (i % 7), CAST(i AS TEXT), {time},
  CASE WHEN i % 100 = 0 THEN 'deferred' ELSE 'injected' END, CASE WHEN i % 100 = 0 THEN 'mailbox-full' END,
  CASE WHEN i % 100 = 0 THEN {time} END, CASE WHEN i % 100 = 0 THEN {later} END, {false}
FROM n"""
MONTH = timedelta(days=30)
POLL = timedelta(minutes=5)


def measure(url: str, name: str, rows: int, rounds: int) -> None:
    """Fill a database and print what sweeping costs in it."""
    upgrade(url)
    engine = sa.create_engine(url)
    kind = engine.dialect.name
    moment = f"{int((NOW - MONTH).timestamp())} + i * {MONTH.total_seconds() / rows!r}"
    query = SENT.format(
        numbers=NUMBERS[kind],
        time=TIME[kind].format(moment),
        later=TIME[kind].format(f"{moment} + {21 * 86_400}"),
        false="0" if kind == "sqlite" else "FALSE",
    )
    with engine.begin() as connection:
        connection.execute(sa.text(query), {"rows": rows})
    if kind == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()
    now = NOW
    with Store(url, clock=lambda: now) as store:
        began = time.perf_counter()
        swept = store.sweep()
        took = time.perf_counter() - began
        table = Table("milliseconds")
        print(f"{name}: all at once: {swept.ok + swept.softbounce:,} rows, {sum(swept) / took:,.0f} a second")

        def share() -> object:
            return store._sweep(range(10))  # as settle() does for a poll

        table.line(f"{name}: nothing to do", [1000 * one for one in timed(share, rounds)])
        polls = []
        for _ in range(rounds):
            now += POLL
            began = time.perf_counter()
            share()
            polls.append(1000 * (time.perf_counter() - began))
        table.line(f"{name}: a poll after 5 minutes", polls, f"{rows * POLL / MONTH:.0f} rows have become due")


def main() -> None:
    """Measure the databases asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    for name in options.database or ["sqlite", "postgresql"]:
        with sqlite_url() if name == "sqlite" else postgresql_url() as url:
            measure(url, name, options.rows, options.rounds)


if __name__ == "__main__":
    main()

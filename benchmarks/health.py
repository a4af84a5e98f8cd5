"""What judging the streams costs beside a big ledger, and asking whether one may send.

The ledger holds ``--rows`` messages, ``--day`` of them of the last 24 hours, in seven streams; a tenth of those were
reported. Beside it the yardstick: the bare scan of the day's rows by the same index.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from common import Table, postgresql

from bounceparse.db import Store, upgrade

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1)",
    "postgresql": "WITH n(i) AS (SELECT * FROM generate_series(0, CAST(:rows AS BIGINT) - 1))",
}
TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000+00:00', {0}, 'unixepoch')",
    "postgresql": "to_timestamp({0})",
}
SENT = """
INSERT INTO bounceparse_sent (message_id, message_key, recipient, recipient_key, domain_key, from_address, subject,
  stream, customer, sent_at, status, reason, presumed, complained_at)
SELECT i || '@shop.example', i || '@shop.example', 'person' || i || '@d' || (i % 5000) || '.example',
  'person' || i || '@d' || (i % 5000) || '.example', 'd' || (i % 5000) || '.example', 'shop@shop.example',
  'Your order number ' || i, 'stream-' || (i % 7), CAST(i AS TEXT), {time},
  CASE WHEN i % 50 = 0 THEN 'hardbounce' WHEN i % 90 = 0 THEN 'spambounce' WHEN i % 15 = 0 THEN 'deferred'
    WHEN i % 3 = 0 THEN 'ok' ELSE 'injected' END,
  CASE WHEN i % 50 = 0 THEN 'user-unknown' WHEN i % 90 = 0 THEN 'spam-content' END, {false},
  CASE WHEN i % 1000 = 0 THEN {time} END
FROM n"""
OUTCOMES = """
INSERT INTO bounceparse_outcomes (seq, key, report_key, kind, status, classified_status, reason, recipient,
  diagnostic, evidence_rule, evidence_part, evidence_matched, mailbox, recorded_at, event_at, trust, shared, of_domain,
  is_copy, authenticated, from_domain, address_key)
SELECT i, {bytes}, {bytes}, 'delivery', 'hardbounce', 'hardbounce', 'user-unknown', 'person' || i || '@d.example',
  '550 5.1.1 no such user here, please check the address and try again', 'r', 'p', 'm', 'bounces', {time}, {time},
  'correlated', {false}, {false}, {false}, {false}, 'shop.example', 'person' || i || '@d.example'
FROM n"""
KEPT = ("ix_bounceparse_sent_sent_at", "ix_bounceparse_outcomes_recorded_at")


def fill(connection: sa.Connection, rows: int, day: int) -> None:
    """Write the ledger and a tenth as many outcomes, evenly over time; only the indexes that are asked for stay."""
    kind = connection.dialect.name
    inspector = sa.inspect(connection)
    made = []
    for table in ("bounceparse_sent", "bounceparse_outcomes"):
        for index in inspector.get_indexes(table):
            name = index["name"]
            if name and not index.get("duplicates_constraint"):
                connection.execute(sa.text(f"DROP INDEX {name}"))
            if name in KEPT:
                made.append(f"CREATE INDEX {name} ON {table} ({index['column_names'][0]})")
    for text, count, share in ((SENT, rows, day), (OUTCOMES, rows // 10, day // 10)):
        step = 86_400 / share
        moment = TIME[kind].format(f"{int(NOW.timestamp())} - ({count} - 1 - i) * {step!r}")
        bytes_ = "CAST(i AS BLOB)" if kind == "sqlite" else "CAST(CAST(i AS TEXT) AS BYTEA)"
        query = text.format(time=moment, bytes=bytes_, false="0" if kind == "sqlite" else "FALSE")
        head, _, tail = query.partition("SELECT")
        connection.execute(sa.text(f"{head}{NUMBERS[kind]} SELECT{tail}"), {"rows": count})
    connection.execute(sa.text("UPDATE bounceparse_state SET value = 1 WHERE name = 'ledger'"))
    for statement in made:
        connection.execute(sa.text(statement))


def measure(url: str, name: str, rows: int, day: int, rounds: int) -> None:
    """Fill a database and print what health costs in it."""
    upgrade(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        fill(connection, rows, day)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()
    since = NOW - timedelta(days=1)
    with Store(url, clock=lambda: NOW) as store:
        bare = sa.text("SELECT count(*), count(stream) FROM bounceparse_sent WHERE sent_at >= :since")

        def scan() -> None:
            with store._database.read() as connection:
                given = str(since) if store._database.is_sqlite else since
                connection.execute(bare, {"since": given}).all()

        table = Table("seconds")
        table.line(f"{name}: the bare scan", timed(scan, rounds))
        table.line(f"{name}: judging", timed(store.check_health, rounds), f"{day:,} of {rows:,} rows are of the day")
        table.line(f"{name}: stats --by stream", timed(lambda: store.rates("stream", since), rounds))
        asked = timed(lambda: store.may_send("stream-1"), 1000)
        table.line(f"{name}: may_send", asked, f"p99 {sorted(asked)[989] * 1000:.2f} ms")


def timed(work: Callable[[], object], rounds: int) -> list[float]:
    """How long each of the rounds took, in seconds, after one that warms up."""
    work()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return found


@contextmanager
def sqlite_url() -> Iterator[str]:
    """A file that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{Path(folder) / 'b.db'}"


@contextmanager
def postgresql_url() -> Iterator[str]:
    """A database on a server that goes away."""
    with postgresql() as server:
        yield server.format("postgres")


def main() -> None:
    """Measure the databases asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--day", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    for name in options.database or ["sqlite", "postgresql"]:
        with sqlite_url() if name == "sqlite" else postgresql_url() as url:
            measure(url, name, options.rows, options.day, options.rounds)


if __name__ == "__main__":
    main()

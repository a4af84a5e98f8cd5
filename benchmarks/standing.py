"""How long the questions "how does this address stand?" and "which of these may be mailed?" take in a big database.

    python benchmarks/standing.py [--outcomes N] [--suppressions N] [--database sqlite|postgresql]

``store.standing`` is asked for one address at a time, every other one of them suppressed, in random order and each once;
``store.mailable`` for a list of which a tenth is suppressed. The same is asked of a database with a hundredth of the
outcomes and suppressions. Times are those on the clock, the whole call from the address to the answer with its evidence.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from common import Table, postgresql

from bounceparse.db import Store, upgrade

NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1)",
    "postgresql": "WITH n(i) AS (SELECT * FROM generate_series(0, CAST(:rows AS BIGINT) - 1))",
}
TIME = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S.000000+00:00', {0}, 'unixepoch')",
    "postgresql": "to_timestamp({0})",
}
BYTES = {
    "sqlite": "CAST(printf('%032d', i * 7919 % 10000000) AS BLOB)",
    "postgresql": "decode(lpad(CAST(i * 7919 % 10000000 AS TEXT), 32, '0'), 'hex')",
}
FIRST = 1_790_000_000  # seconds since 1970: the first outcome; one every ten seconds
OUTCOMES = """
INSERT INTO bounceparse_outcomes (id, seq, key, report_key, kind, status, classified_status, reason, fault, recipient,
  reported_recipient, final_recipient, message_id, action, enhanced_status, smtp_code, diagnostic, reporting_mta,
  occurred_at, evidence_rule, evidence_part, evidence_matched, mailbox, recorded_at, message_key, trust, matched_by,
  shared, sent_id, stream, customer, address_key, domain_key, from_domain, of_domain, event_at, is_copy, authenticated)
SELECT i + 1, i + 1, {bytes}, {bytes}, 'delivery', 'hardbounce', 'hardbounce', 'user-unknown', 'recipient', {address},
  {address}, {address}, i || '@shop.example', 'failed', '5.1.1', 550,
  '550 5.1.1 <person' || i || '>: Recipient address rejected: User unknown in virtual mailbox table',
  'mx' || (i % 50) || '.example', {time}, 'iana/5.1.1', 'delivery-status', 'User unknown', 'bounces', {time},
  i || '@shop.example', 'correlated', 'message-id', {false}, i + 1, 'stream-' || (i % 7), CAST(i AS TEXT), {address},
  'd' || (i % 5000) || '.example', 'shop.example', {false}, {time}, {false}, {false}
FROM n"""
STANDING = """
INSERT INTO bounceparse_standing (seq, subject, scope, cause, status, reason, since, count, last_at, outcome_id, origin,
  provider)
SELECT i + 1, {address}, 'all', 'dead-address', 'hardbounce', 'user-unknown', {time}, 1, {time}, i + 1, 'policy',
  'd' || (i % 5000) || '.example'
FROM n"""
ADDRESS = "'person' || i || '@d' || (i % 5000) || '.example'"


def address(number: int) -> str:
    """The address of a number: suppressed when it is below the number of suppressions."""
    return f"Person{number}@D{number % 5000}.example"


def fill(url: str, outcomes: int, suppressions: int) -> None:
    """Write the outcomes and the suppressions, those that rest on the first of them, by one statement each."""
    engine = sa.create_engine(url)
    kind = engine.dialect.name
    words = {
        "bytes": BYTES[kind],
        "time": TIME[kind].format(f"({FIRST} + i * 10)"),
        "address": ADDRESS,
        "false": "false" if kind == "postgresql" else "0",
    }
    with engine.begin() as connection:
        for table in ("bounceparse_outcomes", "bounceparse_standing"):
            dropped = [
                row["name"] for row in sa.inspect(connection).get_indexes(table) if row["name"].startswith("ix_")
            ]
            kept = [str(sa.schema.CreateIndex(index).compile(engine)) for index in tables()[table].indexes]
            for name in dropped:
                connection.execute(sa.text(f"DROP INDEX {name}"))
            rows, statement = (outcomes, OUTCOMES) if table.endswith("outcomes") else (suppressions, STANDING)
            insert = statement.format(**words).replace("SELECT", f"{NUMBERS[kind]} SELECT", 1)
            if kind == "sqlite":  # the list of numbers stands before the statement there
                head, _, rest = statement.format(**words).partition("SELECT")
                insert = f"{NUMBERS[kind]} {head} SELECT {rest}"
            connection.execute(sa.text(insert), {"rows": rows})
            for index in kept:
                connection.execute(sa.text(index))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE" if kind == "sqlite" else "VACUUM ANALYZE"))
    engine.dispose()


def tables() -> dict[str, sa.Table]:
    """The tables of the schema."""
    from bounceparse.db.tables import METADATA

    return dict(METADATA.tables)


def ask(store: Store, suppressions: int, questions: int) -> list[float]:
    """Milliseconds of each of so many questions for the standing of an address, each asked once."""
    chosen = random.Random(1)
    known = chosen.sample(range(suppressions), min(questions // 2, suppressions))
    numbers = [*known, *chosen.sample(range(10**8, 2 * 10**8), questions - len(known))]
    chosen.shuffle(numbers)
    times = []
    for number in numbers:
        asked = address(number)
        began = time.perf_counter()
        found = store.standing(asked)
        times.append((time.perf_counter() - began) * 1000)
        assert found.mailable is (number >= suppressions)
        assert found.mailable or found.evidence is not None
    return times[len(times) // 10 :]  # the first warm the connection and the cache


def check(store: Store, suppressions: int, addresses: int) -> float:
    """Seconds for one list, a tenth of which is suppressed."""
    chosen = random.Random(2)
    known = chosen.sample(range(suppressions), min(addresses // 10, suppressions))
    asked = [address(number) for number in (*known, *chosen.sample(range(10**8, 2 * 10**8), addresses - len(known)))]
    chosen.shuffle(asked)
    began = time.perf_counter()
    found = sum(1 for _ in store.mailable(asked, "stream-1"))
    assert found == addresses - len(known)
    return time.perf_counter() - began


@contextmanager
def databases(kinds: list[str]) -> Iterator[Iterator[tuple[str, str]]]:
    """Makes the URLs of new databases, with their kind: a big and a small one of each."""
    from databases import migrated_database

    with tempfile.TemporaryDirectory() as folder:

        def made() -> Iterator[tuple[str, str]]:
            if "sqlite" in kinds:
                for name in ("small", "big"):
                    url = f"sqlite:///{Path(folder)}/{name}.db"
                    upgrade(url)
                    yield "sqlite", url
            if "postgresql" in kinds:
                with postgresql() as server:
                    for _ in range(2):
                        yield "postgresql", migrated_database(server)

        yield made()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=200_000, help="2000000 for the big run")
    parser.add_argument("--suppressions", type=int, default=50_000, help="500000 for the big run")
    parser.add_argument("--questions", type=int, default=4000)
    parser.add_argument("--addresses", type=int, default=100_000, help="of the list for mailable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    given = parser.parse_args()
    medians: dict[str, list[tuple[float, float]]] = {}
    with databases(given.database or ["sqlite", "postgresql"]) as made:
        for kind, url in made:
            parts = 1 if kind in medians else 100
            fill(url, given.outcomes // parts, given.suppressions // parts)
            print(f"\n{kind}: {given.outcomes // parts:,} outcomes, {given.suppressions // parts:,} suppressions")
            medians.setdefault(kind, []).append(measure(url, given, given.suppressions // parts))
    print()
    for kind, ((small, small_p99), (big, big_p99)) in medians.items():
        print(f"{kind}: standing, big to small: median {big / small:.2f}, p99 {big_p99 / small_p99:.2f}")


def measure(url: str, given: argparse.Namespace, suppressions: int) -> tuple[float, float]:
    """Ask one database everything; answers the median and the p99 of standing, the medians over the rounds."""
    with Store(url) as store:
        rounds = [sorted(ask(store, suppressions, given.questions)) for _ in range(given.rounds)]
        table = Table("ms")
        medians = [statistics.median(times) for times in rounds]
        tails = [times[len(times) * 99 // 100] for times in rounds]
        table.line("standing, median", medians)
        table.line("standing, p99", tails)
        listed = Table("addresses a second", per=given.addresses)
        listed.line("mailable", [check(store, suppressions, given.addresses) for _ in range(given.rounds)])
    return statistics.median(medians), statistics.median(tails)


if __name__ == "__main__":
    main()

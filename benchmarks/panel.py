"""How long the pages of the panel take in a big database, asked over HTTP from a server in this process.

    python benchmarks/panel.py [--outcomes N] [--database sqlite|postgresql]

The database holds N outcomes of the last 60 days, as many messages they came from and as many rows of the ledger, a
quarter as many suppressions, 500 requests and three held messages. Each page is asked for once after the start, before
anything was counted, and then ``--rounds`` times; a page that counts in the background is asked for again and again until
it shows its numbers before the rounds begin. The yardstick is a file of the same server. Addresses, customers, messages and filters differ from one request to the
next. The goal is 100 ms for every page.
"""

from __future__ import annotations

import argparse
import random
import statistics
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import httpx
import sqlalchemy as sa
import uvicorn
from common import Table  # first: it leads to the tests' modules

from bounces import dsn  # isort: skip
from standing import ADDRESS, BYTES, NUMBERS, STANDING, TIME, databases, tables

from bounceparse.db import Store
from bounceparse.web.app import WebSettings, create_app
from bounceparse.web.listening import listen
from bounceparse.web.panel.app import PATHS, Panel

DAYS = 60
GOAL = 100.0  # milliseconds
PASSWORD = "wind over the harbour"
STATUS = (
    "CASE WHEN i % 1000 = 999 THEN 'complaint' WHEN i % 500 = 3 THEN 'unsubscribe' WHEN i % 7 = 0 THEN 'deferred'"
    " WHEN i % 5 = 0 THEN 'softbounce' WHEN i % 11 = 0 THEN 'spambounce' WHEN i % 3 = 0 THEN 'ok' ELSE 'hardbounce' END"
)
REASON = (
    "CASE WHEN i % 1000 = 999 THEN 'abuse' WHEN i % 500 = 3 THEN 'one-click' WHEN i % 7 = 0 THEN 'greylisted'"
    " WHEN i % 5 = 0 THEN 'mailbox-full' WHEN i % 11 = 0 THEN 'blocklisted' WHEN i % 3 = 0 THEN 'delivered'"
    " ELSE 'user-unknown' END"
)
OUTCOMES = f"""
INSERT INTO bounceparse_outcomes (id, seq, key, report_key, kind, status, classified_status, reason, fault, recipient,
  reported_recipient, final_recipient, message_id, action, enhanced_status, smtp_code, diagnostic, reporting_mta, provider,
  occurred_at, evidence_rule, evidence_part, evidence_matched, mailbox, recorded_at, message_key, trust, matched_by,
  shared, sent_id, stream, customer, address_key, domain_key, from_domain, of_domain, event_at, is_copy, authenticated,
  anonymous)
SELECT i + 1, i + 1, {{bytes}}, {{bytes}}, 'delivery', {STATUS}, {STATUS}, {REASON}, 'recipient', {{address}},
  {{address}}, {{address}}, i || '@shop.example', 'failed', '5.1.1', 550,
  '550 5.1.1 <person' || i || '>: Recipient address rejected: User unknown in virtual mailbox table',
  'mx' || (i % 50) || '.example', 'provider-' || (i % 40), {{time}}, 'iana/5.1.1', 'delivery-status', 'User unknown',
  CASE WHEN i % 9 = 0 THEN 'complaints' ELSE 'bounces' END, {{time}}, i || '@shop.example', 'correlated', 'message-id',
  {{false}}, i + 1, 'stream-' || (i % 7), CAST(i / 2 AS TEXT), {{address}}, 'd' || (i % 5000) || '.example',
  'shop.example', {{false}}, {{time}}, {{false}}, {{false}}, {{false}}
FROM n"""
SENT = """
INSERT INTO bounceparse_sent (id, message_id, message_key, recipient, recipient_key, domain_key, from_address, subject,
  stream, customer, sent_at, status, reason, presumed, complained_at)
SELECT i + 1, i || '@shop.example', i || '@shop.example', {address}, {address}, 'd' || (i % 5000) || '.example',
  'shop@shop.example', 'Your order number ' || i, 'stream-' || (i % 7), CAST(i / 2 AS TEXT), {time},
  CASE WHEN i % 50 = 0 THEN 'hardbounce' WHEN i % 90 = 0 THEN 'spambounce' WHEN i % 15 = 0 THEN 'deferred'
    WHEN i % 3 = 0 THEN 'ok' ELSE 'injected' END,
  CASE WHEN i % 50 = 0 THEN 'user-unknown' WHEN i % 90 = 0 THEN 'spam-content' END, {false},
  CASE WHEN i % 1000 = 0 THEN {time} END
FROM n"""
MESSAGES = """
INSERT INTO bounceparse_messages (id, account, folder, uidvalidity, uid, key, size, kind, defects, subject, error, raw,
  recorded_at, marked_at)
SELECT i + 1, 'bounces', 'INBOX', 7, i + 1, {bytes}, 4000, 'delivery', '', 'Undelivered Mail Returned to Sender',
  CASE WHEN i IN (7, 70000, 150000) THEN 'ValueError: cannot be read' END, {blob}, {time}, {time}
FROM n"""
REQUESTS = """
INSERT INTO bounceparse_requests (id, report_key, state, why, address, scopes, subject, words, mailbox, recorded_at)
SELECT i + 1, {bytes}, CASE WHEN i % 10 = 0 THEN 'pending' ELSE 'rejected' END, 'unproven', {address}, 'marketing:shop',
  'unsubscribe', 'please take me off your list', 'bounces', {time}
FROM n"""
STREAMS = "INSERT INTO bounceparse_streams (name, sender, category) SELECT 'stream-' || i, 'shop-' || (i % 2), 'marketing' FROM n"


def fill(url: str, outcomes: int, now: datetime) -> None:
    """Write everything by one statement a table, with the indexes made after it."""
    engine = sa.create_engine(url)
    kind = engine.dialect.name
    blob = "zeroblob(1500)" if kind == "sqlite" else "decode(repeat('00', 1500), 'hex')"
    words = {"bytes": BYTES[kind], "address": ADDRESS, "false": "false" if kind == "postgresql" else "0"}
    first = int(now.timestamp()) - DAYS * 86_400
    for table, statement, rows in (
        ("outcomes", OUTCOMES, outcomes),
        ("sent", SENT, outcomes),
        ("messages", MESSAGES, outcomes),
        ("standing", STANDING, outcomes // 4),
        ("requests", REQUESTS, 5000),
        ("streams", STREAMS, 7),
    ):
        name = f"bounceparse_{table}"
        moment = TIME[kind].format(f"({first} + CAST(i * {DAYS * 86_400 / rows!r} AS BIGINT))")
        few = f"CASE WHEN i % 20 = 0 THEN {blob} END"
        with engine.begin() as connection:
            indexes = [one for one in tables()[name].indexes if str(one.name).startswith("ix_")]
            kept = [
                str(row[0])
                for row in connection.execute(
                    sa.text(
                        "SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = :name AND name LIKE 'ix%'"
                        if kind == "sqlite"
                        else "SELECT indexdef FROM pg_indexes WHERE tablename = :name AND indexname LIKE 'ix%'"
                    ),
                    {"name": name},
                )
            ]
            assert len(kept) == len(indexes), "the migrated database has the indexes of the schema"
            for index in indexes:
                connection.execute(sa.text(f"DROP INDEX {index.name}"))
            text = statement.format(time=moment, blob=few, **words)
            head, _, tail = text.partition("SELECT")
            connection.execute(sa.text(f"{head}{NUMBERS[kind]} SELECT{tail}"), {"rows": rows})
            for index_text in kept:
                connection.execute(sa.text(index_text))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE bounceparse_state SET value = 1 WHERE name = 'ledger'"))
        held = sa.text("UPDATE bounceparse_messages SET raw = :raw WHERE error IS NOT NULL")
        connection.execute(held, {"raw": zlib.compress(dsn(1, 20_000))})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if kind == "postgresql":
            connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()


@contextmanager
def serving(store: Store) -> Iterator[httpx.Client]:
    """A server of the panel alone, and a client that is signed in."""
    panel = Panel(store)
    app = create_app(store, WebSettings(open_paths=PATHS))
    panel.install(app)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        token = store.sign_in("ola", PASSWORD)
        assert token is not None
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx.Client(base_url=url, cookies={"bounceparse": token}, trust_env=False, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()
            panel.close()


def pages(outcomes: int) -> dict[str, Callable[[random.Random], tuple[str, dict[str, Any]]]]:
    """By name how each page is asked for, each time for something else."""

    def person(chosen: random.Random, most: int) -> str:
        number = chosen.randrange(most)
        return f"person{number}@d{number % 5000}.example"

    streams = [f"stream-{number}" for number in range(7)]
    return {
        "yardstick: a file, nothing asked": lambda _: ("/static/panel.css", {}),
        "overview": lambda _: ("/", {}),
        "address, suppressed": lambda chosen: ("/address", {"address": person(chosen, outcomes // 4)}),
        "address, good": lambda chosen: ("/address", {"address": person(chosen, outcomes)}),
        "address, unknown": lambda chosen: ("/address", {"address": f"x{chosen.random()}@nowhere.example"}),
        "customer": lambda chosen: ("/customer", {"customer": str(chosen.randrange(outcomes // 2))}),
        "customer, unknown": lambda chosen: ("/customer", {"customer": f"x{chosen.random()}"}),
        "message": lambda chosen: ("/message", {"id": f"{chosen.randrange(outcomes)}@shop.example"}),
        "outcome": lambda chosen: ("/outcome", {"id": chosen.randrange(outcomes) + 1}),
        "log": lambda _: ("/log", {}),
        "log, further back": lambda chosen: ("/log", {"before": chosen.randrange(outcomes)}),
        "log by status": lambda _: ("/log", {"status": "hardbounce"}),
        "log by a rare status": lambda chosen: ("/log", {"status": "complaint", "before": chosen.randrange(outcomes)}),
        "log, nothing fits": lambda chosen: ("/log", {"reason": "virus", "before": chosen.randrange(outcomes)}),
        "log by stream and reason": lambda chosen: ("/log", {"stream": chosen.choice(streams), "reason": "abuse"}),
        "log by provider": lambda chosen: ("/log", {"provider": f"provider-{chosen.randrange(40)}"}),
        "log of a day": lambda chosen: ("/log", {"since": "2026-01-01", "until": _day(chosen)}),
        "log of an address": lambda chosen: ("/log", {"address": person(chosen, outcomes)}),
        "log of a customer": lambda chosen: ("/log", {"customer": str(chosen.randrange(outcomes // 2))}),
        "streams": lambda _: ("/streams", {}),
        "providers": lambda _: ("/providers", {}),
        "review": lambda _: ("/review", {}),
        "held": lambda _: ("/held", {}),
        "held, explained": lambda _: ("/held/one", {"id": 8}),
    }


def _day(chosen: random.Random) -> str:
    return datetime.fromtimestamp(time.time() - chosen.randrange(1, DAYS) * 86_400, UTC).strftime("%Y-%m-%d")


def measure(kind: str, url: str, outcomes: int, rounds: int) -> list[str]:
    """Ask for all pages and print a table; the names of those whose p95 or first answer is over the goal."""
    chosen = random.Random(3)
    slow = []
    with Store(url) as store:
        store.make_user("ola", PASSWORD, role="write")
        for mailbox in ("bounces", "complaints"):
            store.note_poll(mailbox)
        with serving(store) as client:
            print(f"\n{kind}: {outcomes:,} outcomes")
            asked = pages(outcomes)
            firsts = {name: _ask(client, *ask(chosen)).took for name, ask in asked.items()}
            counted = time.perf_counter()
            while any(
                "being counted" in _ask(client, *asked[name](chosen)).text
                for name in ("overview", "streams", "providers")
            ):
                time.sleep(0.2)
            print(f"what is counted behind the pages was there after {time.perf_counter() - counted:.1f} s\n")
            table = Table("ms")
            for name, ask in asked.items():
                answers = [_ask(client, *ask(chosen)) for _ in range(rounds)]
                times = sorted(one.took for one in answers)
                tail, cpu = times[len(times) * 95 // 100], statistics.median(one.cpu for one in answers)
                table.line(name, times, f"p95 {tail:.1f}, first {firsts[name]:.1f}, CPU {cpu:.1f}")
                if max(tail, firsts[name]) > GOAL:
                    slow.append(f"{kind}: {name}")
    return slow


class Answer(NamedTuple):
    """Milliseconds on the clock and of CPU, the client's among them, and the page."""

    took: float
    cpu: float
    text: str


def _ask(client: httpx.Client, path: str, query: dict[str, Any]) -> Answer:
    began, busy = time.perf_counter(), time.process_time()
    answer = client.get(path, params=query)
    took, cpu = (time.perf_counter() - began) * 1000, (time.process_time() - busy) * 1000
    assert answer.status_code == 200, (path, query, answer.status_code)
    return Answer(took, cpu, answer.text)


def main() -> None:
    """Measure, and end with 1 where a page is over the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=200_000, help="2000000 for the big run")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    given = parser.parse_args()
    slow = []
    with databases(given.database or ["sqlite", "postgresql"]) as made:
        measured = set()
        for kind, url in made:
            if kind not in measured:
                measured.add(kind)
                fill(url, given.outcomes, datetime.now(UTC))
                slow += measure(kind, url, given.outcomes, given.rounds)
    for name in slow:
        print(f"over {GOAL:.0f} ms: {name}")
    raise SystemExit(bool(slow))


if __name__ == "__main__":
    main()

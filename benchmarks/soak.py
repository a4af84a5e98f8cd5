"""``poll --watch`` beside a mail server that is restarted again and again, with mail arriving all the time.

    python benchmarks/soak.py [--minutes 60] [--period 60] [--rate 2] [--database sqlite|postgresql]

A Dovecot is stopped every ``--period`` seconds, with every connection cut, and started again a few seconds later. Mail
arrives all the while, also when nobody serves it, and now and then many at once. In the end everything that arrived
must be recorded once and flagged; exit status 1 tells that it is not. What the poller takes of memory is looked at, too.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from common import _pss, postgresql

CATCH_UP = 600  # seconds that the watch has after the last restart: its longest pause is 300


class Found(NamedTuple):
    """What the database and the folder say: message rows, different messages, outcomes, recipients, flagged mails."""

    messages: int
    places: int
    outcomes: int
    recipients: int
    flagged: int


class Arrivals:
    """A thread that delivers mail into a Maildir as a local delivery agent does: written to ``tmp``, then renamed."""

    def __init__(self, box: Path, rate: float) -> None:
        self._box, self._rate = box, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._deliver)
        self.count = 0
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _deliver(self) -> None:
        from bounces import dsn

        owner = self._box.stat()
        numbers = count(1)
        while not self._stop.wait(random.expovariate(self._rate)):
            for _ in range(30 if random.random() < 0.01 else 1):
                number = next(numbers)
                name = f"{int(time.time())}.M{number}.soak"
                path = self._box / "tmp" / name
                path.write_bytes(dsn(number, random.choice((0, 0, 0, 5_000, 200_000))))
                if os.geteuid() == 0:
                    os.chown(path, owner.st_uid, owner.st_gid)
                path.rename(self._box / "new" / name)
                self.count = number


def found(engine: sa.Engine, flags: list[str]) -> Found:
    """What is there now."""
    with engine.connect() as connection:
        messages = connection.execute(
            sa.text("SELECT count(*), count(DISTINCT uidvalidity || ':' || uid) FROM bounceparse_messages")
        ).one()
        outcomes = connection.execute(
            sa.text("SELECT count(*), count(DISTINCT recipient) FROM bounceparse_outcomes")
        ).one()
    return Found(*messages, *outcomes, sum("S" in flag for flag in flags))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--period", type=float, default=60, help="seconds from restart to restart")
    parser.add_argument("--rate", type=float, default=2, help="mails a second")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    given = parser.parse_args()
    with ExitStack() as stack:
        raise SystemExit(soak(stack, given))


def soak(stack: ExitStack, given: argparse.Namespace) -> int:
    """Run it; answers the exit status."""
    from databases import migrated_database, migrated_sqlite
    from servers import PASSWORD, USER, running_dovecot

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    if given.database == "sqlite":
        url = migrated_sqlite(folder / "b.db")
    else:
        url = migrated_database(stack.enter_context(postgresql()))
    dovecot = stack.enter_context(running_dovecot())
    config = folder / "bounceparse.toml"
    config.write_text(
        f'[database]\nurl = "{url}"\n[mailbox.bounces]\nhost = "127.0.0.1"\nport = {dovecot.plain}\ntls = "none"\n'
        f'username = "{USER}"\npassword = "{PASSWORD}"\nfirst_poll = "go"\n'
    )
    config.chmod(0o600)
    log = stack.enter_context((folder / "log").open("wb"))
    watch = subprocess.Popen(
        [sys.executable, "-m", "bounceparse", "--config", str(config), "poll", "--watch"],
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    stack.callback(watch.kill)
    arrivals = Arrivals(dovecot.maildir(), given.rate)
    stack.callback(arrivals.stop)
    restarts, peak = _restart_again_and_again(dovecot, watch.pid, given)
    arrivals.stop()
    return _judge(sa.create_engine(url), dovecot, watch, arrivals.count, restarts, peak, folder / "log")


def _restart_again_and_again(dovecot: object, pid: int, given: argparse.Namespace) -> tuple[int, float]:
    restarts, peak = 0, 0.0
    ends = time.monotonic() + given.minutes * 60
    while (left := ends - time.monotonic()) > 0:
        due = time.monotonic() + min(left, given.period * random.uniform(0.8, 1.2))
        while time.monotonic() < due:
            time.sleep(min(1, given.period / 4))
            peak = max(peak, _pss(pid) / 1024)
        dovecot.stop()
        time.sleep(random.uniform(0, min(10, given.period / 4)))
        dovecot.start()
        restarts += 1
    return restarts, peak


def _judge(
    engine: sa.Engine,
    dovecot: object,
    watch: subprocess.Popen[bytes],
    arrived: int,
    restarts: int,
    peak: float,
    log: Path,
) -> int:
    """Wait until the watch has caught up, end it, and compare."""
    began = time.monotonic()
    goal = Found(arrived, arrived, arrived, arrived, arrived)
    while (now := found(engine, dovecot.flags())) != goal and time.monotonic() < began + CATCH_UP:
        if watch.poll() is not None:
            break
        time.sleep(0.5)
    caught_up = time.monotonic() - began
    watch.send_signal(signal.SIGTERM)
    status = watch.wait(60)
    now = found(engine, dovecot.flags())
    complaints = log.read_text().splitlines()
    print(f"{arrived} mails arrived over {restarts} restarts; after the last it took {caught_up:.1f} s to catch up")
    print(
        f"found: {now}; memory at its peak {peak:.0f} MB; ended with {status}; {len(complaints)} complaints, the last:"
    )
    print("\n".join(complaints[-3:]))
    lost = "nothing lost, nothing doubled" if now == goal else f"WRONG: {arrived} of each were expected"
    print(lost, flush=True)
    engine.dispose()
    return int(now != goal or status != 0)


if __name__ == "__main__":
    main()

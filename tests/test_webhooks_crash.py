"""Webhooks while everything dies at random: writer, sender and receiver are processes, and all are killed again and again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa
from receiver import free_port
from test_views import connected, rows
from test_watch import wait_until

_OUTBOX = "SELECT event_id, subject, kind, payload FROM bounceparse_outbox ORDER BY id"

_WRITER = """
import os, sys
sys.path.insert(0, sys.argv[2])
from bounces import dsn
from bounceparse.db import Store
with Store(sys.argv[1]) as store:
    number = max(0, sum(line.total for line in store.stats()) - 1)
    while not os.path.exists(sys.argv[3]):
        number += 1
        store.record_sent(f"{number}@shop.example", f"user{number}@example.pl", stream="news")
        store.ingest(dsn(number))
        if number % 3 == 0:
            store.lift(f"user{number}@example.pl")
"""
_SENDER = """
import sys
from datetime import timedelta
from bounceparse.cli import main
from bounceparse.webhooks import backoff
backoff._PAUSES = (timedelta(seconds=0.1),)
backoff._SHORTEST = backoff._LONGEST = timedelta(seconds=0.1)
while True:
    try:
        main(["--config", sys.argv[1], "webhooks", "send"])
    except SystemExit:
        pass
"""
_RECEIVER = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from standardwebhooks.webhooks import Webhook
port, path, secret = int(sys.argv[1]), sys.argv[2], sys.argv[3]
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Webhook(secret).verify(body, dict(self.headers))
        line = json.dumps([self.headers["webhook-id"], body.decode()]) + "\\n"
        os.write(out, line.encode())  # at once and whole: what is killed afterwards has it
        time.sleep(0.005)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


class Mortal:
    """A program that is started again whenever it is killed."""

    def __init__(self, log: Path, code: str, *words: str) -> None:
        self.log = log
        self._command = [sys.executable, "-c", code, *words]
        self.deaths = 0
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=log)

    def kill(self) -> None:
        """``kill -9``."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.deaths += 1
        self.process.wait()


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> Path:
    path = tmp_path / "bounceparse.toml"
    secret = tmp_path / "secret"
    secret.write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    path.write_text(
        f'[database]\nurl = "{database_url}"\n[webhook.crm]\nurl = "http://127.0.0.1:{free_port()}/"\n'
        'secret_file = "secret"\nallow_private = true\n'
    )
    return path


def test_every_event_arrives_once_whatever_is_killed(config: Path, database_url: str, tmp_path: Path) -> None:
    """After doubles are dropped by their ids; those of an address in order; each as it was written."""
    chance = random.Random(7)
    received, end = tmp_path / "received", tmp_path / "end"
    received.touch()
    port = config.read_text().partition("127.0.0.1:")[2].partition("/")[0]
    command = [sys.executable, "-m", "bounceparse", "--config", str(config), "webhooks", "list"]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)  # from now on events are written
    receiver = Mortal(tmp_path / "receiver.log", _RECEIVER, port, str(received), (tmp_path / "secret").read_text())
    sender = Mortal(tmp_path / "sender.log", _SENDER, str(config))
    writer = Mortal(tmp_path / "writer.log", _WRITER, database_url, str(Path(__file__).parent), str(end))
    every = (receiver, sender, writer)
    try:
        for victim in [*every] * 2:
            so_far = received.stat().st_size
            assert wait_until(lambda so_far=so_far: received.stat().st_size > so_far, 120)
            time.sleep(chance.uniform(0, 0.3))
            victim.kill()
            victim.start()
        end.touch()
        assert writer.process.wait(120) == 0, writer.log.read_text()
        assert wait_until(lambda: waiting(database_url) == 0, 120), sender.log.read_text()
    finally:
        for one in every:
            one.kill()
    assert sender.deaths == receiver.deaths == 3
    got = [tuple(json.loads(line)) for line in received.read_text().splitlines()]
    written = rows(database_url, _OUTBOX)
    assert {event_id for event_id, _ in got} == {row[0] for row in written}
    once = dict(reversed(got))  # the first time that each came
    assert once == {row[0]: row[3] for row in written}
    place = {event_id: number for number, (event_id, _) in reversed(list(enumerate(got)))}
    for subject in {row[1] for row in written}:
        theirs = [place[row[0]] for row in written if row[1] == subject]
        assert theirs == sorted(theirs), subject
    assert Counter(row[2] for row in written) == expected_events(database_url)


def waiting(url: str) -> int:
    """Events that have not been delivered."""
    with connected(url) as connection:
        counted = connection.execute(
            sa.text(
                "SELECT (SELECT count(*) FROM bounceparse_outbox) -"
                " (SELECT count(*) FROM bounceparse_deliveries WHERE state = 'delivered')"
            )
        )
        return int(counted.scalar_one())


def expected_events(url: str) -> dict[str, int]:
    """An outcome a mail; a suppression for each, and its lifting for every third."""
    (outcomes,) = rows(url, "SELECT count(*) FROM bounceparse_outcomes")
    (stands,) = rows(url, "SELECT count(*), count(lifted_at) FROM bounceparse_standing")
    assert outcomes[0] == stands[0] > 10
    return {"outcome": outcomes[0], "standing": sum(stands)}

"""Sending what is due: some events of an endpoint at a time, those of one subject one after the other.

What became of them is written after each page. A crash in between sends a page again: at least once, with the same ids.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version
from queue import Empty, SimpleQueue
from threading import Event, Lock
from typing import NamedTuple

from bounceparse.db.deliveries import Attempt, Delivery
from bounceparse.db.webhook_store import WebhookStore
from bounceparse.errors import BounceparseError, MailboxLocked
from bounceparse.logs import log_event
from bounceparse.webhooks.backoff import GIVE_UP, next_attempt, next_probe
from bounceparse.webhooks.endpoints import Endpoint
from bounceparse.webhooks.reaching import Line, Unreachable
from bounceparse.webhooks.signing import sign

_AT_ONCE = 8
"""Connections to one endpoint."""
_DOWN_AFTER = 5
"""Failures without a success between them, after which an endpoint is left alone for a while."""
_SLOW_DOWN = (429, 503)
_SHORTEST_WAIT, _LONGEST_WAIT = 1.0, 15.0  # seconds between looks at what is due


@dataclass(slots=True)
class Sent:
    """What a run came to: events delivered, requests that failed, events given up; ``error`` is the last one's."""

    delivered: int = 0
    failed: int = 0
    dead: int = 0
    error: str | None = None


class Result(NamedTuple):
    """What a request came to: ``error`` is None where the event was taken."""

    error: str | None
    asked: timedelta | None = None
    slow_down: bool = False


def post(line: Line, keys: Sequence[bytes], event_id: str, payload: str, now: datetime) -> Result:
    """Post an event, signed at ``now``."""
    body = payload.encode()
    seconds = int(now.timestamp())
    headers = {
        "Content-Type": "application/json",
        "User-Agent": _AGENT,
        "webhook-id": event_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": sign(keys, event_id, seconds, body),
    }
    try:
        answer = line.post(headers, body)
    except Unreachable as error:
        return Result(str(error))
    if 200 <= answer.status < 300:
        return Result(None)
    more = ": redirects are not followed" if 300 <= answer.status < 400 else ""
    return Result(f"it answers {answer.status}{more}", answer.retry_after, answer.status in _SLOW_DOWN)


_AGENT = f"bounceparse/{version('bounceparse')}"


class _Run:
    """One run at one endpoint: threads with a connection each, and how it goes."""

    def __init__(self, endpoint: Endpoint, webhooks: WebhookStore, stop: Event, *, probing: bool) -> None:
        self.endpoint, self.webhooks, self.stop = endpoint, webhooks, stop
        self.keys, self.context = endpoint.keys(), endpoint.tls()
        self.most = 1 if probing else _DOWN_AFTER
        self.failures = 0
        self.asked: timedelta | None = None
        self._lines: SimpleQueue[Line] = SimpleQueue()
        self._lock = Lock()

    @property
    def is_down(self) -> bool:
        """Whether the endpoint takes nothing, or asks to be left alone."""
        return self.failures >= self.most

    def send(self, due: Sequence[Delivery], threads: ThreadPoolExecutor) -> list[Attempt]:
        """Send a page; what is behind a failure of its subject, or of the endpoint, is left for later."""
        subjects: dict[object, list[Delivery]] = {}
        for one in due:
            subjects.setdefault(one.id if one.subject is None else one.subject, []).append(one)
        return [attempt for part in threads.map(self._send_in_order, subjects.values()) for attempt in part]

    def _send_in_order(self, deliveries: Sequence[Delivery]) -> list[Attempt]:
        attempts: list[Attempt] = []
        line = self._borrow()
        try:
            for one in deliveries:
                if self.is_down or self.stop.is_set():
                    break
                now = self.webhooks.now()
                result = post(line, self.keys, one.event_id, one.payload, now)
                self._count(result)
                attempts.append(_attempt(one, result, now))
                if result.error is not None:
                    break
        finally:
            self._lines.put(line)
        return attempts

    def _borrow(self) -> Line:
        try:
            return self._lines.get_nowait()
        except Empty:
            return self.endpoint.line(self.context)

    def _count(self, result: Result) -> None:
        with self._lock:
            if result.error is None:
                self.failures, self.most = 0, _DOWN_AFTER
            else:
                self.failures += self.most if result.slow_down else 1
                self.asked = result.asked or self.asked

    def close(self) -> None:
        """Close the connections."""
        while not self._lines.empty():
            self._lines.get().close()


def _attempt(delivery: Delivery, result: Result, now: datetime) -> Attempt:
    if result.error is None:
        return Attempt(delivery, now)
    first_at = delivery.first_at or now
    return Attempt(delivery, now, result.error, next_attempt(delivery.attempts + 1, first_at, now, result.asked))


def send_due(webhooks: WebhookStore, endpoint: Endpoint, stop: Event) -> Sent:
    """Send an endpoint what is due until nothing is, it takes nothing, or ``stop`` is set.

    Raises ``MailboxLocked`` where another process sends to it, ``ConfigError`` for secrets or certificates that cannot
    be used, and ``StoreError``.
    """
    sent = Sent()
    if not webhooks.has_work(endpoint.name):
        return sent
    with webhooks.sending_to(endpoint.name), ThreadPoolExecutor(_AT_ONCE, f"webhook {endpoint.name}") as threads:
        down_since = webhooks.down_since(endpoint.name)
        run = _Run(endpoint, webhooks, stop, probing=down_since is not None)
        try:
            while not stop.is_set() and (due := webhooks.due(endpoint.wanted)):
                # one event tells whether it is still down
                attempts = run.send(due[:1] if run.most == 1 else due, threads)
                webhooks.note_attempts(endpoint.name, attempts)
                _add(sent, attempts)
                if run.is_down:
                    _leave_alone(webhooks, endpoint, run, down_since, sent)
                    break
                if sent.delivered and down_since is not None:
                    _tell(endpoint, f"it takes events again, after {webhooks.now() - down_since}")
                    down_since = None
        finally:
            run.close()
    if sent.dead:
        _tell(endpoint, f"{sent.dead} events given up: see `bounceparse webhooks dead`")
    return sent


def _add(sent: Sent, attempts: Sequence[Attempt]) -> None:
    for one in attempts:
        sent.delivered += one.error is None
        sent.failed += one.error is not None
        sent.dead += one.error is not None and one.next_at is None
        sent.error = one.error or sent.error


def _leave_alone(
    webhooks: WebhookStore, endpoint: Endpoint, run: _Run, down_since: datetime | None, sent: Sent
) -> None:
    now = webhooks.now()
    until = next_probe(down_since or now, now, run.asked)
    error = sent.error or "it takes nothing"
    sent.dead += webhooks.pause(endpoint.name, until, GIVE_UP, error)
    if down_since is None:
        _tell(endpoint, f"it takes no events: {error}")


def _tell(endpoint: Endpoint, text: str) -> None:
    log_event("webhook", f"webhook {endpoint.name}: {text}", level=logging.WARNING, webhook=endpoint.name)


def keep_sending(webhooks: WebhookStore, endpoint: Endpoint, stop: Event) -> None:
    """Send an endpoint what is due, as it becomes due, until ``stop`` is set; what goes wrong is logged."""
    wait = _SHORTEST_WAIT
    while not stop.wait(wait):
        try:
            sent = send_due(webhooks, endpoint, stop)
            wait = _SHORTEST_WAIT if sent.delivered or not webhooks.has_work(endpoint.name) else wait * 2
        except MailboxLocked:  # another process sends
            wait *= 2
        except BounceparseError as error:
            _tell(endpoint, str(error))
            wait = _LONGEST_WAIT
        wait = min(wait, _LONGEST_WAIT)


def example_payload(now: datetime) -> str:
    """The payload of an event that tests an endpoint."""
    return json.dumps({"type": "webhook.test", "timestamp": now.isoformat(), "data": {}}, separators=(",", ":"))

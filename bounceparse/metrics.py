"""Numbers for Prometheus, in its text format: as a file for node_exporter's textfile collector, or over HTTP."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

from bounceparse.errors import BounceparseError, ConfigError
from bounceparse.sections import parse_listen

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.db.figures import Figure

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Metric(NamedTuple):
    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


_METRICS = {
    "messages": _Metric("bounceparse_messages_total", "counter", "Messages recorded.", ("mailbox",)),
    "outcomes": _Metric("bounceparse_outcomes_total", "counter", "Outcomes recorded.", ("status", "fault")),
    "polls": _Metric("bounceparse_polls_total", "counter", "Polls that ended.", ("mailbox", "result")),
    "seconds": _Metric(
        "bounceparse_poll_duration_seconds_total", "counter", "Time that polls took.", ("mailbox", "result")
    ),
    "success": _Metric(
        "bounceparse_last_success_timestamp_seconds",
        "gauge",
        "When a mailbox was last polled to its end.",
        ("mailbox",),
    ),
    "held": _Metric("bounceparse_held_messages", "gauge", "Messages that could not be read and wait."),
    "unmatched": _Metric(
        "bounceparse_unmatched_outcomes", "gauge", "Delivery reports of the last 24 hours without a sent message."
    ),
    "backscatter": _Metric(
        "bounceparse_backscatter_reports", "gauge", "Delivery reports of the last 24 hours about mail that is not ours."
    ),
    "waiting": _Metric("bounceparse_waiting_requests", "gauge", "Unsubscribe requests that wait for a person."),
    "events": _Metric("bounceparse_open_mass_events", "gauge", "Mass events that wait for a person."),
    "alerts": _Metric("bounceparse_open_alerts", "gauge", "Alerts that last.", ("kind", "level")),
    "webhook_waiting": _Metric("bounceparse_webhook_waiting_events", "gauge", "Events to be sent.", ("webhook",)),
    "webhook_dead": _Metric("bounceparse_webhook_dead_events", "gauge", "Events that were given up.", ("webhook",)),
    "webhook_success": _Metric(
        "bounceparse_webhook_last_success_timestamp_seconds", "gauge", "When an event was last taken.", ("webhook",)
    ),
    "level": _Metric("bounceparse_stream_level", "gauge", "How a stream does: 0 ok, 1 warn, 2 stop.", ("stream",)),
}


def render(figures: Iterable[Figure]) -> str:
    """The figures in the text format, version 0.0.4."""
    by_name: dict[str, list[Figure]] = {name: [] for name in _METRICS}
    for one in figures:
        if one.name in by_name:
            by_name[one.name].append(one)
    lines = [
        "# HELP bounceparse_build_info The version that runs.",
        "# TYPE bounceparse_build_info gauge",
        f'bounceparse_build_info{{version="{_escaped(version("bounceparse"))}"}} 1',
    ]
    for name, metric in _METRICS.items():
        if by_name[name]:
            lines += [f"# HELP {metric.name} {metric.help}", f"# TYPE {metric.name} {metric.kind}"]
            lines += [f"{metric.name}{_labels(metric, one)} {one.value:.15g}" for one in by_name[name]]
    return "\n".join(lines) + "\n"


def _labels(metric: _Metric, one: Figure) -> str:
    pairs = [f'{label}="{_escaped(value)}"' for label, value in zip(metric.labels, one.labels, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").encode("utf-8", "replace").decode()


def write_textfile(path: Path, text: str) -> None:
    """Write for node_exporter: beside, then renamed, so that it never reads half a file. Raises ``ConfigError``."""
    try:
        descriptor, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(beside, 0o644)  # noqa: PTH101 - the collector runs as another user
            os.replace(beside, path)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(beside)  # noqa: PTH108
            raise
    except OSError as error:
        raise ConfigError(f"[metrics] textfile {path}: cannot be written: {error.strerror}") from None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], text: Callable[[], str]) -> None:
        self.text = text
        if ":" in address[0]:
            import socket

            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    """Answers GET /metrics."""

    timeout = 10
    server: _Server

    def do_GET(self) -> None:
        """The numbers; 503 while the database does not answer."""
        if self.path.partition("?")[0] != "/metrics":
            self._answer(404, "not found: ask for /metrics\n")
            return
        try:
            self._answer(200, self.server.text())
        except BounceparseError:
            self._answer(503, "the database does not answer\n")

    def _answer(self, status: int, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a line."""


@contextmanager
def serving(listen: str, store: Store) -> Iterator[int]:
    """Serve the numbers while this lasts; gives the port. Raises ``ConfigError`` where the address cannot be had."""
    try:
        server = _Server(parse_listen(listen), lambda: render(store.figures()))
    except OSError as error:
        raise ConfigError(f"[metrics] listen {listen}: cannot be used: {error.strerror}") from None
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""A receiver of webhooks: a real HTTP server on loopback, in a thread, or in a process of its own that may be killed."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Received:
    """A request: its path, headers (lower case) and body."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    @property
    def data(self) -> dict[str, Any]:
        found = self.event["data"]
        assert isinstance(found, dict)
        return found

    @property
    def subject(self) -> str | None:
        """The address that it is about."""
        return self.data.get("subject") if self.event["type"] == "standing.changed" else self.data.get("recipient")


Answer = Callable[[Received], tuple[int, dict[str, str]]]


@dataclass
class Receiver:
    """What was received; ``answer`` gives status and headers."""

    port: int
    got: list[Received] = field(default_factory=list)
    answer: Answer = lambda one: (204, {})
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?key=1"

    def refuse(self, status: int = 500, when: Callable[[Received], bool] = lambda one: True, **headers: str) -> None:
        """Answer so, where ``when`` holds, and 204 else."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answer = lambda one: (status, given) if when(one) else (204, {})

    def take_all(self) -> None:
        self.answer = lambda one: (204, {})


@contextmanager
def receiving(*, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            receiver.connections += 1

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            one = Received(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            receiver.got.append(one)
            status, headers = receiver.answer(one)
            self.send_response(status)
            for name, value in ({"Content-Length": "0"} | headers).items():
                self.send_header(name, value)
            self.end_headers()

        do_GET = do_POST

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    receiver = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port

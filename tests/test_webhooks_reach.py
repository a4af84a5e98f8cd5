"""What requests to endpoints reach: the addresses that they may, over TLS that holds, and nothing by a detour."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from receiver import Receiver, free_port, receiving
from servers import make_certificate

from bounceparse.webhooks import reaching
from bounceparse.webhooks.reaching import Answer, Line, Unreachable, find_addresses, is_public

PUBLIC = ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"]
PRIVATE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "fe80::1", "fe80::1%lo", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::",
    "2002:808:808::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::808:808", "2001::1",
]  # fmt: skip
BODY, HEADERS = b"{}", {"Content-Type": "application/json", "webhook-id": "evt_1"}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def line(url: str, *, allow_private: bool = True, context: ssl.SSLContext | None = None, timeout: float = 10) -> Line:
    return Line(urlsplit(url), allow_private=allow_private, context=context, timeout=timeout)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let names lead to these addresses, lookup by lookup; gives the names that were asked for."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, 1, 6, "", (one, port)) for one in found]

    monkeypatch.setattr(reaching.socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_known(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_lead_inside_are_known(address: str) -> None:
    """Private, loopback, link-local, shared, multicast, reserved, and IPv6 addresses that hold such an IPv4 address."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
@pytest.mark.parametrize("beside", [[], ["8.8.8.8"]])
def test_a_name_that_leads_inside_is_not_reached(
    monkeypatch: pytest.MonkeyPatch, address: str, beside: list[str]
) -> None:
    """Even where another of its addresses is public: which one is used is the name's owner's choice."""
    resolving(monkeypatch, [*beside, address])
    connected: list[Any] = []
    monkeypatch.setattr(reaching.socket, "create_connection", lambda *given: connected.append(given))
    with pytest.raises(Unreachable, match="private"):
        line("https://hooks.example/", allow_private=False, context=ssl.create_default_context()).post(HEADERS, BODY)
    assert connected == []


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "0x7f.1", "2130706433", "017700000001", "[::1]", "[::ffff:127.0.0.1]", "0"],
)
def test_loopback_is_reached_only_where_that_is_allowed(receiver: Receiver, host: str) -> None:
    """However it is written: what the resolver makes of it counts."""
    url = f"http://{host}:{receiver.port}/"
    with pytest.raises(Unreachable):
        line(url, allow_private=False).post(HEADERS, BODY)
    assert receiver.got == []
    if not host.startswith("["):  # the receiver listens on IPv4
        assert line(url).post(HEADERS, BODY) == Answer(204, None)


def test_the_connection_goes_to_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    """A name that leads elsewhere at the next lookup (DNS rebinding) gains nothing: there is none."""
    asked = resolving(monkeypatch, ["8.8.8.8"], ["127.0.0.1"])
    connected: list[Any] = []

    def create_connection(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        made = socket.socket()
        made.connect(("127.0.0.1", receiver.port))
        return made

    monkeypatch.setattr(reaching.socket, "create_connection", create_connection)
    context = ssl.create_default_context()
    with pytest.raises(Unreachable):  # the receiver speaks no TLS
        line("https://hooks.example/", allow_private=False, context=context).post(HEADERS, BODY)
    assert asked == ["hooks.example"]
    assert connected == [("8.8.8.8", 443)]


def test_each_connection_is_checked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept line that has to connect again looks again."""
    asked = resolving(monkeypatch, ["8.8.8.8"], ["10.0.0.1"])
    monkeypatch.setattr(reaching.socket, "create_connection", lambda *given: (_ for _ in ()).throw(OSError("no")))
    again = line("https://hooks.example/", allow_private=False, context=ssl.create_default_context())
    with pytest.raises(Unreachable, match="no HTTP answer"):
        again.post(HEADERS, BODY)
    with pytest.raises(Unreachable, match="private"):
        again.post(HEADERS, BODY)
    assert len(asked) == 2


def test_nothing_is_sent_in_clear_text_to_a_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, ["8.8.8.8"])
    with pytest.raises(Unreachable, match="https://"):
        line("http://hooks.example/").post(HEADERS, BODY)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> None:
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert line(receiver.url).post(HEADERS, BODY).status == 204
        assert proxy.got == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    """Neither to the inside nor anywhere else."""
    with receiving() as elsewhere:
        receiver.refuse(status, Location=elsewhere.url)
        assert line(receiver.url).post(HEADERS, BODY).status == status
        assert elsewhere.got == []


def test_a_name_that_is_unknown_says_so() -> None:
    with pytest.raises(Unreachable, match=r"hooks\.invalid is not found"):
        find_addresses("hooks.invalid", 443, tls=True, allow_private=False)


def test_nobody_listens() -> None:
    with pytest.raises(Unreachable, match="connection refused"):
        line(f"http://127.0.0.1:{free_port()}/").post(HEADERS, BODY)


def test_a_name_in_letters_of_its_own_is_asked_for_as_it_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = resolving(monkeypatch, ["10.0.0.1"])
    with pytest.raises(Unreachable):
        line("https://żółw.example/", allow_private=False, context=ssl.create_default_context()).post(HEADERS, BODY)
    assert asked == ["xn--w-uga1v8h.example"]


# TLS


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return make_certificate(tmp_path)


@pytest.fixture
def over_tls(certificate: Path) -> Iterator[Receiver]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    with receiving(tls=context) as found:
        yield found


def test_a_certificate_must_hold(over_tls: Receiver, certificate: Path) -> None:
    """For the name in the URL, by an authority that is trusted."""
    url = f"https://localhost:{over_tls.port}/hook"
    with pytest.raises(Unreachable, match="certificate"):
        line(url, context=ssl.create_default_context()).post(HEADERS, BODY)
    trusted = ssl.create_default_context(cafile=certificate)
    with pytest.raises(Unreachable, match="certificate"):
        line(f"https://127.0.0.1:{over_tls.port}/", context=trusted).post(HEADERS, BODY)
    assert over_tls.got == []
    kept = line(url, context=trusted)
    assert [kept.post(HEADERS, BODY).status for _ in range(3)] == [204] * 3
    kept.close()
    assert {one.headers["host"] for one in over_tls.got} == {f"localhost:{over_tls.port}"}


# Receivers that take their time, or break off


@contextmanager
def scripted(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A receiver that does this with each connection, once the request has begun; gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65_536)
                try:
                    answer(connection)
                except OSError:
                    continue

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(30)


def _never(connection: socket.socket) -> None:
    while connection.recv(1000):
        pass


def _by_drops(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


@pytest.mark.parametrize("answer", [_never, _by_drops])
def test_a_request_ends_when_its_time_is_over(answer: Callable[[socket.socket], None]) -> None:
    """However busily the receiver keeps the connection alive."""
    with scripted(answer) as url:
        slow = line(url, timeout=0.5)
        with pytest.raises(Unreachable, match="in time"):
            slow.post(HEADERS, BODY)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 20", b"HTTP/1.1 999999 x\r\n\r\n"])
def test_what_is_no_answer_is_a_failure(answer: bytes) -> None:
    with scripted(lambda connection: connection.sendall(answer)) as url, pytest.raises(Unreachable):
        line(url).post(HEADERS, BODY)


def test_an_answer_without_end_is_not_read() -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            connection.sendall(b"x" * 65_536)

    with scripted(answer) as url:
        assert line(url).post(HEADERS, BODY).status == 200


def test_a_kept_connection_that_was_closed_is_made_anew(receiver: Receiver) -> None:
    """At once, without a failure."""
    kept = line(receiver.url)
    assert kept.post(HEADERS, BODY).status == 204
    assert kept.sock is not None
    kept.sock.shutdown(socket.SHUT_RDWR)
    assert kept.post(HEADERS, BODY).status == 204
    assert (len(receiver.got), receiver.connections) == (2, 2)
    kept.close()


@pytest.mark.parametrize(
    ("text", "pause"),
    [
        ("120", timedelta(seconds=120)),
        ("Sun, 01 Mar 2026 12:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("9" * 50, None),
        ("Fri, 31 Dec 99999 23:59:59 GMT", None),
    ],
)
def test_retry_after_is_read(receiver: Receiver, text: str, pause: timedelta | None) -> None:
    receiver.refuse(503, Retry_After=text)
    assert line(receiver.url).post(HEADERS, BODY) == Answer(503, pause)

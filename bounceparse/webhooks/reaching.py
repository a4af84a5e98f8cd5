"""HTTP to an endpoint, and to nothing else: its address is looked at before the connection is made to that very address.

A name that leads into the sender's own network, at once or at the next lookup, a redirect, or a proxy of the environment
would let whoever runs an endpoint reach what only this machine can. So a name is resolved here, each of its addresses is
checked, the connection is made to one that was, and redirects are answers like others.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from threading import Timer
from typing import NamedTuple
from urllib.parse import SplitResult

from bounceparse.addresses import domain_key

_READ = 65_536
"""Bytes of an answer that are read, so that the connection can be used again."""
_NOT_PUBLIC = tuple(map(IPv6Network, ("::/96", "64:ff9b:1::/48", "2002::/16", "fec0::/10")))
"""What :mod:`ipaddress` takes for global, and may end within: IPv4-compatible, local NAT64, 6to4, site-local."""
_NAT64 = IPv6Network("64:ff9b::/96")
_LATE = "it does not answer in time"


class Unreachable(Exception):
    """No answer: the text says why, without addresses or anything the receiver wrote."""


class Answer(NamedTuple):
    """An HTTP status, and how long the receiver wants to be left alone."""

    status: int
    retry_after: timedelta | None


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet; an IPv6 address that stands for an IPv4 address is as that is."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if any(address in network for network in _NOT_PUBLIC):
            return False
        held = IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address.ipv4_mapped
        if held is not None:
            return is_public(str(held))
    return address.is_global and not address.is_multicast


def find_addresses(host: str, port: int, *, tls: bool, allow_private: bool) -> list[str]:
    """The addresses of a host that may be connected to; raises :class:`Unreachable` where one of them may not."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Unreachable(f"{host} is not found: {reason or 'no such name'}") from None
    addresses = list(dict.fromkeys(str(one[4][0]) for one in found))
    if not allow_private and not all(map(is_public, addresses)):
        raise Unreachable(f"{host} leads to a private address: set allow_private = true if that is meant")
    if not tls and any(map(is_public, addresses)):
        raise Unreachable(f"{host} leads to a public address: write https://")
    return addresses


class Line(http.client.HTTPConnection):
    """A connection to one endpoint, kept open between events; not for several threads.

    ``url`` has been checked by the configuration. A request, its answer included, takes ``timeout`` seconds at most.
    """

    def __init__(
        self, url: SplitResult, *, allow_private: bool, context: ssl.SSLContext | None, timeout: float
    ) -> None:
        self.default_port = 443 if context else 80  # what the header Host leaves out
        super().__init__(domain_key(url.hostname or ""), url.port or self.default_port, timeout=timeout)
        self._allow_private = allow_private
        self._context = context
        self._target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._fresh = self._late = False

    def connect(self) -> None:
        """Connect to the first address that answers, of those that were checked."""
        failed: OSError | None = None
        for address in self.find_addresses():
            try:
                plain = socket.create_connection((address, self.port), self.timeout)
            except OSError as error:
                failed = error
                continue
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = plain
            if self._context is not None:
                self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
            return
        raise failed or OSError("it has no address")

    def find_addresses(self) -> list[str]:
        """The addresses that it may be connected to; raises :class:`Unreachable`."""
        tls = self._context is not None
        return find_addresses(self.host, self.port, tls=tls, allow_private=self._allow_private)

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post an event; raises :class:`Unreachable`. A kept connection that the receiver has closed is made anew."""
        try:
            return self._post(headers, body)
        except Unreachable:
            if self._fresh:
                raise
        return self._post(headers, body)

    def _post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        self._fresh, self._late = self.sock is None, False
        watch = Timer(self.timeout or 0, self._cut)
        watch.daemon = True
        watch.start()
        try:
            self.request("POST", self._target, body, dict(headers))
            answer = self.getresponse()
            told = Answer(answer.status, _retry_after(answer.getheader("Retry-After")))
            if len(answer.read(_READ)) == _READ or answer.will_close:
                self.close()
            if self._late:  # what was cut off may look like an answer
                raise TimeoutError
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise Unreachable(_LATE if self._late else _words(error)) from None
        except BaseException:
            self.close()
            raise
        finally:
            watch.cancel()
        return told

    def _cut(self) -> None:
        """End a request that takes too long, whatever it waits for; called from another thread."""
        self._late = True
        if (open_now := self.sock) is not None:
            with suppress(OSError):
                socket.socket.shutdown(open_now, socket.SHUT_RDWR)


def _retry_after(text: str | None) -> timedelta | None:
    """A header ``Retry-After``: seconds, or a date (RFC 9110 section 10.2.3)."""
    text = (text or "").strip()
    if text.isdecimal() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        at = parsedate_to_datetime(text)
        return max(at.astimezone(UTC) - datetime.now(UTC), timedelta(0)) if at.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return _LATE
    if isinstance(error, http.client.RemoteDisconnected | http.client.IncompleteRead | ConnectionResetError):
        return "it closed the connection without an answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"no HTTP answer ({type(error).__name__})"

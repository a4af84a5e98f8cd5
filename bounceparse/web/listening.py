"""A socket to serve HTTP on."""

from __future__ import annotations

import socket


def listen(host: str, port: int) -> socket.socket:
    """A TCP socket that listens on an address, IPv6 where that has colons; 0 is any free port.

    Its connections send at once. asyncio sees to that for sockets that it makes itself alone; on any other an answer that
    is written in two parts waits 40 ms in between, for an acknowledgement that the client delays.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=512)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # connections inherit it
    return listening

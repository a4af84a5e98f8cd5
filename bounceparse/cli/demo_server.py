"""An IMAP server inside this process, for the demo: pymap on a free port of the loopback interface."""

from __future__ import annotations

import asyncio
import socket
import threading
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime
from typing import Any

from bounceparse.errors import MailboxError

PASSWORD = "demo"  # noqa: S105 - it guards sample mail on loopback for some seconds


@contextmanager
def serve(mailboxes: Mapping[str, Sequence[bytes]]) -> Iterator[int]:
    """Run a server whose users are the keys and whose INBOXes hold the messages; gives its port.

    Raises :class:`MailboxError` when pymap is not installed.
    """
    try:
        import pymap.imap  # noqa: F401
    except ImportError:
        raise MailboxError("the demo needs an IMAP server to talk to: pip install 'bounceparse[demo]'") from None
    listener = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    ready, stop = threading.Event(), asyncio.Event()
    faults: list[BaseException] = []

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(_serve(mailboxes, listener, ready, stop))
        except BaseException as error:
            faults.append(error)
        finally:
            ready.set()
            loop.close()

    thread = threading.Thread(target=run, name="demo IMAP server", daemon=True)
    thread.start()
    ready.wait()
    if faults:
        raise MailboxError(f"the demo's IMAP server did not start: {faults[0]}") from faults[0]
    try:
        yield int(listener.getsockname()[1])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)


async def _serve(
    mailboxes: Mapping[str, Sequence[bytes]], listener: socket.socket, ready: threading.Event, stop: asyncio.Event
) -> None:
    from proxyprotocol.reader import ProxyProtocolReader
    from pymap.backend.dict import DictBackend
    from pymap.imap import IMAPServer
    from pymap.user import UserMetadata

    first = next(iter(mailboxes))
    backend, config = await DictBackend.init(_arguments(first))
    config.apply_context()
    password = (await backend.login.demo_user_identity.get()).password
    for user, messages in mailboxes.items():
        backend.login.users_dict[user] = UserMetadata(config, user, password=password)
        await _fill(config, user, messages)
    accept = ProxyProtocolReader(config.proxy_protocol).get_callback(IMAPServer(backend.login, config))
    async with AsyncExitStack() as stack:
        await backend.start(stack)
        server = await asyncio.start_server(accept, sock=listener)
        await stack.enter_async_context(server)
        ready.set()
        await stop.wait()


async def _fill(config: Any, user: str, messages: Sequence[bytes]) -> None:
    from pymap.backend.dict.filter import FilterSet
    from pymap.backend.dict.mailbox import MailboxSet
    from pymap.parsing.message import AppendMessage

    boxes = MailboxSet()
    inbox = await boxes.get_mailbox("INBOX")
    for raw in messages:
        await inbox.append(AppendMessage(raw, datetime.now(UTC), frozenset()), recent=True)
    config.set_cache[user] = (boxes, FilterSet())


def _arguments(user: str) -> Namespace:
    """The options of pymap's own command, as far as its configuration asks for them."""
    return Namespace(
        debug=False, host=None, port="0", cert=None, key=None, tls=False, proxy_protocol=None, inherited_sockets=None,
        passlib_cfg=None, demo_data=False, demo_user=user, demo_password=PASSWORD,
    )  # fmt: skip

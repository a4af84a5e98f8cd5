"""A small LMTP server (RFC 2033): mail servers hand reports over without a mailbox in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from aiosmtpd.lmtp import LMTP

from bounceparse.db import Store
from bounceparse.errors import BounceparseError
from bounceparse.ingest import Recorded

_LARGEST = 52_428_800
_LOG = logging.getLogger(__name__)


class _Handler:
    def __init__(self, store: Store, mailbox: str, header: str) -> None:
        self._store, self._mailbox, self._header = store, mailbox, header

    async def handle_DATA(self, server: LMTP, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        """Record the message; one answer for each recipient (RFC 2033 section 4.2), all alike."""
        head = "".join(f"{self._header}: {one}\r\n" for one in envelope.rcpt_tos)
        raw = head.encode("utf-8", "surrogateescape") + envelope.content
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._ingest, raw)
            answer = "250 2.0.0 recorded"
        except Exception as error:  # a fault of ours too: what is refused for good is lost, as reports have no sender
            known = isinstance(error, BounceparseError)
            _LOG.error("LMTP: not recorded, the mail server will try again: %s", error, exc_info=not known)
            answer = "451 4.3.0 not recorded: the log says why"
        return "\r\n".join([answer] * len(envelope.rcpt_tos))

    def _ingest(self, raw: bytes) -> Recorded:
        return self._store.ingest(raw, account=self._mailbox)


@contextmanager
def serving(store: Store, host: str, port: int, *, mailbox: str = "", header: str = "Delivered-To") -> Iterator[int]:
    """Take mail while this lasts; gives the port. ``header`` is what each recipient is noted in, above the message.

    Raises ``OSError`` where the address cannot be had.
    """
    loop = asyncio.new_event_loop()
    handler = _Handler(store, mailbox, header)

    def factory() -> LMTP:
        return LMTP(handler, data_size_limit=_LARGEST, enable_SMTPUTF8=True, ident="bounceparse", loop=loop)

    try:
        server = loop.run_until_complete(loop.create_server(factory, host, port))
        thread = Thread(target=loop.run_forever, name="lmtp")
        thread.start()
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            server.close()
            loop.run_until_complete(loop.shutdown_default_executor())  # what is being recorded is
    finally:
        loop.close()

"""The part of :class:`~bounceparse.db.Store` that signs what is sent and takes the requests that come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Any

from bounceparse.db import requests
from bounceparse.db.bulk import insert_new
from bounceparse.db.clicks import Clicks
from bounceparse.db.engine import Database
from bounceparse.db.requests import WaitingRequest
from bounceparse.db.tables import tokens
from bounceparse.db.tokens import find_token, free_token_id, new_token, token_row
from bounceparse.errors import ConfigError, StoreError
from bounceparse.ingest import Recorded
from bounceparse.outgoing import Outgoing, OutgoingHeaders, outgoing_headers, sign_message_id
from bounceparse.reading import ReadMessage
from bounceparse.requests import RequestSettings
from bounceparse.verp import Keyring, Purpose, Verdict, verify

_TOGETHER = 0.1
"""Seconds in which kept requests gather, to be recorded in one transaction."""


class RequestStore(ABC):
    """Tokens, one-click requests, and the requests that wait for a person."""

    _database: Database
    _request_settings: RequestSettings
    _clock: Callable[[], datetime]
    _clicks: Clicks
    _taking: Lock
    _closing: Event
    _taker: Thread | None = None

    @abstractmethod
    def _record(self, messages: Iterable[ReadMessage], *, wait: bool) -> Recorded:
        """Write messages with all that follows from them."""

    @abstractmethod
    def record_sent(self, message_id: str, recipient: str, **columns: Any) -> None:
        """Record one message to one recipient."""

    def sign(self, outgoing: Outgoing, message_id: str | None, recipient: str, **columns: Any) -> OutgoingHeaders:
        """Record one message to one recipient and give what leads its answers back.

        ``columns`` as in :meth:`record_sent`. The same message again gets tokens for the same id; without a
        ``message_id`` it gets a signed one of ``outgoing.message_id``. Raises ``ConfigError`` without a key, and where
        there is no Message-ID to be had.
        """
        keyring = self._request_settings.keyring
        now = self._clock()
        told = {name: columns.get(name) for name in ("stream", "list_id")}
        with self._database.write() as connection:
            if message_id is not None:
                token_id = new_token(connection, message_id, recipient, now, **told)
            else:
                token_id = free_token_id(connection)
                message_id = _signed_message_id(keyring, outgoing, token_id)
                insert_new(connection, tokens, [token_row(token_id, message_id, recipient, now, **told)])
        self.record_sent(message_id, recipient, **columns)
        return outgoing_headers(keyring, outgoing, token_id, now.date(), message_id.strip().strip("<>"))

    def check_token(self, token: str) -> Verdict:
        """What an unsubscribe token is worth; changes nothing."""
        reading = verify(self._request_settings.keyring, Purpose.UNSUBSCRIBE, token, today=self._clock().date())
        if reading.verdict is not Verdict.VALID or reading.token_id is None:
            return reading.verdict
        with self._database.read() as connection:
            known = find_token(connection, reading.token_id)
        return Verdict.VALID if known else Verdict.UNKNOWN_ID

    def unsubscribe(self, token: str) -> Verdict:
        """Record a one-click request (RFC 8058) if its token is valid; again it changes nothing.

        Where another writer is at work the request is kept, and recorded when that one is done: by a thread of this
        store, or after a crash by the next poll.
        """
        verdict = self.check_token(token)
        if verdict is Verdict.VALID:
            try:
                self._record(self._click_messages([token]), wait=False)
            except StoreError as error:
                if not error.temporary:
                    raise
                self._clicks.add(token, self._clock())
                self._take_later()
        return verdict

    def take_clicks(self) -> int:
        """Record the one-click requests that were kept; returns how many."""
        taken = self._clicks.waiting()
        if taken:
            self._record(self._click_messages([click.token for click in taken]), wait=True)
            self._clicks.drop(taken)
        return len(taken)

    def _take_later(self) -> None:
        with self._taking:
            if self._taker is None:
                self._taker = Thread(target=self._take, name="one-click")
                self._taker.start()

    def _take(self) -> None:
        """Record what is kept until nothing is; what cannot be recorded now is left to the next poll."""
        more = True
        while more:
            self._closing.wait(_TOGETHER)
            failed = False
            try:
                self.take_clicks()
            except StoreError:
                failed = True
            with self._taking:  # a request that is kept from here on starts another thread
                more = not failed and bool(self._clicks.waiting())
                if not more:
                    self._taker = None

    def _click_messages(self, clicked: Iterable[str]) -> list[ReadMessage]:
        """One-click requests as read messages: those that are not recorded yet, and whose key is still there."""
        keyring, today = self._request_settings.keyring, self._clock().date()
        found = []
        with self._database.read() as connection:
            for token in clicked:
                token_id = verify(keyring, Purpose.UNSUBSCRIBE, token, today=today).token_id
                if token_id is not None:
                    message = requests.one_click_message(connection, token, token_id)
                    found += [] if requests.is_recorded(connection, message) else [message]
        return found

    def requests(self, state: str | None = "pending") -> Iterator[WaitingRequest]:
        """The requests that wait for a person, or those in another ``state``, or all (None), oldest first."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = requests.waiting_requests(connection, state, last)
            yield from page
            if len(page) < requests.PAGE:
                return
            last = page[-1].id

    def waiting_longer_than(self, age: timedelta) -> int:
        """How many requests have waited for a person for longer than ``age``."""
        with self._database.read() as connection:
            return requests.count_waiting(connection, self._clock() - age)

    def accept_request(
        self,
        request_id: int,
        *,
        address: str | None = None,
        scope: str | None = None,
        by: str = "library",
        note: str | None = None,
    ) -> WaitingRequest:
        """Do what a waiting request asks for: suppress its address, or another one, in its scopes or in ``scope``.

        Raises ``ConfigError`` when there is no such request, or it is decided already.
        """
        with self._database.write() as connection:
            return requests.decide(
                connection, request_id, self._clock(), accept=True, by=by, note=note, address=address, scope=scope
            )

    def reject_request(self, request_id: int, *, by: str = "library", note: str | None = None) -> WaitingRequest:
        """Note that a person has decided not to act on a waiting request."""
        with self._database.write() as connection:
            return requests.decide(
                connection, request_id, self._clock(), accept=False, by=by, note=note, address=None, scope=None
            )


def _signed_message_id(keyring: Keyring, outgoing: Outgoing, token_id: int) -> str:
    if outgoing.message_id is None:
        raise ConfigError("a message needs a Message-ID: give one, or name message_id in [signing]")
    return sign_message_id(keyring, token_id, outgoing.message_id.rpartition("@")[2])

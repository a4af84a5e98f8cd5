"""The part of :class:`~bounceparse.db.Store` that signs what is sent and takes the requests that come back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any

from bounceparse.db import requests
from bounceparse.db.engine import Database
from bounceparse.db.requests import WaitingRequest
from bounceparse.ingest import Recorded
from bounceparse.outgoing import Outgoing, OutgoingHeaders, outgoing_headers
from bounceparse.reading import ReadMessage
from bounceparse.requests import RequestSettings
from bounceparse.verp import Purpose, Verdict, verify


class RequestStore(ABC):
    """Tokens, one-click requests, and the requests that wait for a person."""

    _database: Database
    _request_settings: RequestSettings
    _clock: Callable[[], datetime]

    @abstractmethod
    def record(self, messages: Iterable[ReadMessage]) -> Recorded:
        """Write messages with all that follows from them."""

    @abstractmethod
    def record_sent(self, message_id: str, recipient: str, **columns: Any) -> None:
        """Record one message to one recipient."""

    def sign(self, outgoing: Outgoing, message_id: str, recipient: str, **columns: Any) -> OutgoingHeaders:
        """Record one message to one recipient and give the headers that lead its answers back.

        ``columns`` as in :meth:`record_sent`. The same message again gets tokens for the same id. Raises
        ``ConfigError`` without a key.
        """
        self.record_sent(message_id, recipient, **columns)
        now = self._clock()
        told = {name: columns.get(name) for name in ("stream", "list_id")}
        with self._database.write() as connection:
            token_id = requests.new_token(connection, message_id, recipient, now, **told)
        return outgoing_headers(self._request_settings.keyring, outgoing, token_id, now.date())

    def check_token(self, token: str) -> Verdict:
        """What an unsubscribe token is worth; changes nothing."""
        reading = verify(self._request_settings.keyring, Purpose.UNSUBSCRIBE, token, today=self._clock().date())
        if reading.verdict is not Verdict.VALID or reading.token_id is None:
            return reading.verdict
        with self._database.read() as connection:
            known = requests.find_token(connection, reading.token_id)
        return Verdict.VALID if known else Verdict.UNKNOWN_ID

    def unsubscribe(self, token: str) -> Verdict:
        """Record a one-click request (RFC 8058) if its token is valid; again it changes nothing."""
        verdict = self.check_token(token)
        if verdict is Verdict.VALID:
            now = self._clock()
            token_id = verify(self._request_settings.keyring, Purpose.UNSUBSCRIBE, token, today=now.date()).token_id
            with self._database.read() as connection:
                message = requests.one_click_message(connection, token, token_id or 0)
                done = requests.is_recorded(connection, message)
            if not done:
                self.record([message])
        return verdict

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
        by: str | None = None,
        note: str | None = None,
    ) -> WaitingRequest:
        """Do what a waiting request asks for: suppress its address, or another one, in its scopes or in ``scope``.

        Raises ``ConfigError`` when there is no such request, or it is decided already.
        """
        with self._database.write() as connection:
            return requests.decide(
                connection, request_id, self._clock(), accept=True, by=by, note=note, address=address, scope=scope
            )

    def reject_request(self, request_id: int, *, by: str | None = None, note: str | None = None) -> WaitingRequest:
        """Note that a person has decided not to act on a waiting request."""
        with self._database.write() as connection:
            return requests.decide(
                connection, request_id, self._clock(), accept=False, by=by, note=note, address=None, scope=None
            )

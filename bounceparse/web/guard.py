"""Who may come in: bearer tokens, rate limits and limits of size, before anything of a request is looked at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Annotated, Any

from fastapi import HTTPException, Request, Security
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bounceparse.db import Store
from bounceparse.db.api_tokens import ApiToken
from bounceparse.errors import BounceparseError
from bounceparse.web.problems import problem

LARGEST = 4_194_304
"""Bytes of a request's body, but for those of :data:`LARGEST_OF`."""
LARGEST_MAIL = 52_428_800
LARGEST_OF: Mapping[str, int] = {"/v1/ingest": LARGEST_MAIL, "/v1/suppressions/import": LARGEST_MAIL}


class Buckets:
    """Token buckets by key: ``rate`` requests a second, ``burst`` at once. In this process alone."""

    def __init__(self, rate: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._levels: dict[int, tuple[float, float]] = {}
        self._lock = Lock()

    def take(self, key: int) -> float:
        """Take one; the seconds to wait for it, 0 where it was there."""
        now = self._clock()
        with self._lock:
            level, at = self._levels.get(key, (float(self._burst), now))
            level = min(float(self._burst), level + (now - at) * self._rate)
            taken = level >= 1
            self._levels[key] = (level - 1 if taken else level, now)
        return 0.0 if taken else (1 - level) / self._rate


class Guard:
    """ASGI middleware: no token, no answer. Paths at or below ``open_paths`` ask for none: they prove it otherwise."""

    def __init__(self, app: ASGIApp, *, store: Store, buckets: Buckets, open_paths: tuple[str, ...]) -> None:
        self._app, self._store, self._buckets, self._open = app, store, buckets, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._too_large(scope)
        if refusal is None and not self._is_open(scope["path"]):
            refusal = await self._check(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _limited(receive, _limit(scope)), send)

    def _is_open(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self._open)

    def _too_large(self, scope: Scope) -> ASGIApp | None:
        length = _header(scope, b"content-length")
        if length.isascii() and length.isdigit() and int(length[:20]) > _limit(scope):
            return problem(413, f"at most {_limit(scope)} bytes", headers={"Connection": "close"})
        return None

    async def _check(self, scope: Scope) -> ASGIApp | None:
        """The refusal of a request; None where it may go on, its token in the request's state."""
        kind, _, token = _header(scope, b"authorization").partition(" ")
        if kind.lower() != "bearer":
            return problem(401, "send a token: Authorization: Bearer ...", headers={"WWW-Authenticate": "Bearer"})
        try:
            found = await run_in_threadpool(self._store.check_api_token, token.strip())
        except BounceparseError:
            return problem(503, "the database does not answer", headers={"Retry-After": "5"})
        if found is None:
            error = 'Bearer error="invalid_token"'
            return problem(401, "this token is unknown or revoked", headers={"WWW-Authenticate": error})
        if wait := self._buckets.take(found.id):
            return problem(429, "too many requests with this token", headers={"Retry-After": str(math.ceil(wait))})
        scope.setdefault("state", {})["token"] = found
        return None


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _limit(scope: Scope) -> int:
    return LARGEST_OF.get(scope["path"], LARGEST)


def _limited(receive: Receive, limit: int) -> Receive:
    """``receive`` that refuses a body which tells no length, or a wrong one, once it is too large."""
    got = 0

    async def limited() -> Message:
        nonlocal got
        message = await receive()
        got += len(message.get("body", b""))
        if got > limit:
            raise HTTPException(413, f"at most {limit} bytes")
        return message

    return limited


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and the database to ask."""

    token: ApiToken
    store: Store

    @property
    def sender(self) -> str | None:
        """The tenant whose streams alone it sees and touches; None for all."""
        return self.token.sender

    @property
    def name(self) -> str:
        """How the audit trail names it."""
        return f"token {self.token.name}"

    def own_stream(self, name: str) -> None:
        """Refuse a stream that does not exist or is another tenant's: both alike."""
        if (name or self.sender is not None) and not self.store.has_stream(name, self.sender):
            raise HTTPException(404, "there is no such stream")

    def for_all(self) -> None:
        """Refuse a token of one tenant."""
        if self.sender is not None:
            raise HTTPException(403, "this token is of one sender, and this is about all")


_BEARER = HTTPBearer(auto_error=False, description="A token of `bounceparse tokens new`.")


def _caller(scope: str) -> Callable[..., Caller]:
    def check(request: Request, credentials: Annotated[Any, Security(_BEARER)]) -> Caller:
        token: ApiToken = request.state.token
        if scope not in token.scopes:
            error = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise HTTPException(403, f"this token lacks the scope {scope}", headers={"WWW-Authenticate": error})
        return Caller(token, request.app.state.store)

    return check


Reader = Annotated[Caller, Security(_caller("read"))]
Writer = Annotated[Caller, Security(_caller("write"))]
Ingester = Annotated[Caller, Security(_caller("ingest"))]

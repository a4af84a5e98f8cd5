"""Errors as RFC 9457 problem documents: one shape for every refusal of the API."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from bounceparse.errors import BounceparseError, ConfigError

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)

PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "description": "about:blank: the status says it all."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What is wrong with which part of the request.",
            "items": {
                "type": "object",
                "required": ["place", "message"],
                "properties": {"place": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
DEFAULT_RESPONSE: dict[int | str, dict[str, Any]] = {
    "default": {"description": "Refused, or failed", "content": {MEDIA_TYPE: {"schema": PROBLEM_SCHEMA}}}
}
"""What every operation may answer beside what it is for."""


def problem(
    status: int, detail: str | None = None, *, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem document as an answer; ``more`` are members of its own."""
    body: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, **more}
    if detail:
        body["detail"] = detail
    return JSONResponse(body, status, dict(headers or {}), MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Let ``app`` answer all that goes wrong by a problem document."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(BounceparseError, _failed)
    app.add_exception_handler(Exception, _unexpected)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, headers=error.headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    """What was sent is not repeated: it may be of any size, and no text at all."""
    assert isinstance(error, RequestValidationError)
    errors = [
        {"place": ".".join(map(str, one["loc"]))[:200], "message": str(one["msg"])[:500]} for one in error.errors()[:20]
    ]
    return problem(422, "the request is not as the OpenAPI document has it", errors=errors)


async def _failed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BounceparseError)
    if isinstance(error, ConfigError):
        return problem(409, str(error))
    if error.temporary:
        return problem(503, "the database is busy or does not answer", headers={"Retry-After": "5"})
    _LOG.error("the API cannot answer: %s", error)
    return problem(500, "the database cannot be used: the log says why")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """Starlette raises the error on behind this answer, so that the server's log has it."""
    return problem(500, "this is a fault of bounceparse: the log has it")

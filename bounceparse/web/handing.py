"""Raw mail handed in, and one-click unsubscription on the same port."""

from __future__ import annotations

import io
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from starlette.routing import Route

from bounceparse.web.guard import Ingester
from bounceparse.web.models import IngestedOut
from bounceparse.web.one_click import OneClick

router = APIRouter(prefix="/v1", tags=["ingest"])
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The message as it came, from its first header line on.",
        "content": {"message/rfc822": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
    }
}
_KINDS = ("message/rfc822", "message/global", "application/octet-stream")


@router.post("/ingest", openapi_extra=_BODY)
async def ingest(
    request: Request,
    caller: Ingester,
    mailbox: Annotated[
        str, Query(pattern="^[a-z0-9-]*$", max_length=63, description="The mailbox that it came into, as configured.")
    ] = "",
) -> IngestedOut:
    """Read one raw message and record what it reports, before the answer. The same mail again adds nothing."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _KINDS:
        raise HTTPException(415, "send the raw message as message/rfc822")
    raw = await request.body()
    if not raw:
        raise HTTPException(422, "there is no message in the body")
    found = await run_in_threadpool(caller.store.ingest, raw, None, mailbox)
    return IngestedOut(messages=found.messages, outcomes=found.outcomes, new_outcomes=found.new_outcomes)


def one_click_routes(application: OneClick, path: str) -> list[Route]:
    """The routes at and below ``path`` that hand requests to the one-click application; the token in them is the proof."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        return await run_in_threadpool(_call, application, request, body)

    methods = ["GET", "HEAD", "POST"]
    return [Route(path, answer, methods=methods), Route(f"{path}/{{rest:path}}", answer, methods=methods)]


def _call(application: OneClick, request: Request, body: bytes) -> Response:
    got: list[Any] = []
    environ = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": request.url.path,
        "QUERY_STRING": request.url.query,
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": request.headers.get("content-type", ""),
        "HTTP_ACCEPT_LANGUAGE": request.headers.get("accept-language", ""),
        "REMOTE_ADDR": request.client.host if request.client else "",
        "wsgi.input": io.BytesIO(body),
    }

    def start(status: str, headers: list[tuple[str, str]], *_: Any) -> Any:
        got.append((int(status[:3]), headers))

    page = b"".join(application(environ, start))
    status, headers = got[0]
    return Response(page, status, dict(headers))

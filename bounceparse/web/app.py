"""The application that ``bounceparse serve`` runs: the API, one-click unsubscription, and what else speaks HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from bounceparse.db import Store
from bounceparse.web import handing, lists, people, problems, records, running
from bounceparse.web.guard import Buckets, Guard
from bounceparse.web.one_click import OneClick

_ABOUT = """What came back of the mail that was sent, and who may be mailed.

Every request carries a token of `bounceparse tokens new`, which has scopes (`read`, `write`, `ingest`) and may be limited
to one sender's streams. Errors are problem documents (RFC 9457); times carry an offset.
"""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """How the application serves.

    Attributes:
        rate, burst: requests a second and at once that each token may make, in this process.
        one_click: the one-click application; None where there is no key to verify its tokens with.
        one_click_path: where it answers.
        open_paths: further paths that ask for no API token, since they have a login of their own.
    """

    rate: float = 50.0
    burst: int = 200
    one_click: OneClick | None = None
    one_click_path: str = "/unsubscribe"
    open_paths: tuple[str, ...] = ()


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document; refused requests are described once, as problem documents."""
        if not self.openapi_schema:
            document = super().openapi()
            for path in document["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(name, None)
        return super().openapi()


def create_app(store: Store, settings: WebSettings = WebSettings()) -> FastAPI:
    """The application over a store, which stays the caller's; pages of people are mounted on what this returns."""
    app = _Api(
        title="bounceparse",
        version=version("bounceparse"),
        description=_ABOUT,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they load scripts of another host
        redoc_url=None,
        responses=problems.DEFAULT_RESPONSE,
        redirect_slashes=False,
    )
    app.state.store = store
    problems.install(app)
    for part in (people, records, lists, running, handing):
        app.include_router(part.router)
    open_paths = settings.open_paths
    if settings.one_click is not None:
        app.router.routes.extend(handing.one_click_routes(settings.one_click, settings.one_click_path))
        open_paths = (*open_paths, settings.one_click_path)
    app.add_middleware(Guard, store=store, buckets=Buckets(settings.rate, settings.burst), open_paths=open_paths)
    return app

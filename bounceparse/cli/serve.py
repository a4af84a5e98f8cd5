"""``bounceparse serve``: the API and the panel, and the one-click unsubscribe service, on its own or beside them."""

from __future__ import annotations

import ipaddress
import signal
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from bounceparse.cli.output import complain
from bounceparse.cli.session import Session
from bounceparse.cli.webhooks import sending
from bounceparse.config import load_keyring
from bounceparse.errors import ConfigError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from bounceparse.db import Store
    from bounceparse.web.app import WebSettings
    from bounceparse.web.one_click import OneClick

_INSTALL = "the API needs the extra `web`: pip install 'bounceparse[web]'"


@click.command(epilog="Example: bounceparse serve, or for one-click requests alone: bounceparse serve --one-click")
@click.option("--one-click", is_flag=True, help="Answer one-click unsubscribe requests (RFC 8058) and nothing else.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8058, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--certificate", type=click.Path(exists=True, dir_okay=False), help="A certificate chain: speak TLS itself."
)
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False), help="The certificate's key, where it is a file of its own."
)
@click.option(
    "--behind-proxy", is_flag=True, help="A proxy in front speaks TLS: allow the API on an address beside loopback."
)
@click.option(
    "--panel/--no-panel",
    default=None,
    help="Serve the panel at /; else where a user can sign in (`bounceparse users`).",
)
@click.option(
    "--rate",
    default=50.0,
    show_default=True,
    type=click.FloatRange(0.1, 100_000),
    help="Requests a second that each token may make; four times as many at once.",
)
@click.pass_obj
def serve(
    session: Session,
    one_click: bool,
    host: str,
    port: int,
    certificate: str | None,
    key: str | None,
    behind_proxy: bool,
    panel: bool | None,
    rate: float,
) -> None:
    """Serve HTTP until interrupted: behind a proxy that speaks TLS, or with a certificate by itself.

    The panel, pages for people, is at / for who can sign in (see `bounceparse users`). The API answers below /v1 to who
    has a token (see `bounceparse tokens`); its OpenAPI document is at /v1/openapi.json. Mail clients post to the
    unsubscribe_url of [signing]; the token in it says who wants out of what. Refusals of those are written to standard
    error, one line each.
    """
    if one_click:
        _serve_one_click(session, host, port, certificate, key)
        return
    if not (certificate or behind_proxy or _is_loopback(host)):
        raise ConfigError(
            f"the API would be open on {host} without TLS: give --certificate, or --behind-proxy where a proxy speaks it"
        )
    require_web()
    with session.store() as store, sending(session, store):
        from bounceparse.web.app import WebSettings, create_app

        application = _one_click(store) if load_keyring(session.settings).keys else None
        path = _unsubscribe_path(session.settings.signing.unsubscribe_url)
        web = WebSettings(rate, max(1, int(4 * rate)), application, path)
        if not (store.has_users() if panel is None else panel):
            run_app(create_app(store, web), host, port, certificate, key)
            return
        with paneled_app(store, web, secure=bool(certificate) or behind_proxy, behind_proxy=behind_proxy) as app:
            run_app(app, host, port, certificate, key)


def require_web() -> None:
    """Raise ``ConfigError`` where the extra ``web`` is not installed."""
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError:
        raise ConfigError(_INSTALL) from None


@contextmanager
def paneled_app(
    store: Store, web: WebSettings, *, secure: bool = False, behind_proxy: bool = False
) -> Iterator[FastAPI]:
    """The application with the panel at its root; ``secure`` where browsers reach it by TLS."""
    from bounceparse.web.app import create_app
    from bounceparse.web.panel.app import PATHS, Panel
    from bounceparse.web.panel.visit import PanelSettings

    app = create_app(store, replace(web, open_paths=(*web.open_paths, *PATHS)))
    panel = Panel(store, PanelSettings(secure, behind_proxy))
    panel.install(app)
    try:
        yield app
    finally:
        panel.close()


def run_app(app: FastAPI, host: str, port: int, certificate: str | None = None, key: str | None = None) -> None:
    """Say where, and serve until interrupted."""
    import uvicorn

    from bounceparse.web.listening import listen

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,  # its lines would hold addresses and tokens
        server_header=False,
        proxy_headers=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=10,
    )
    with listen(host, port) as listening:
        scheme = "https" if certificate else "http"
        shown = f"[{host}]" if ":" in host else host
        click.echo(f"listening on {scheme}://{shown}:{listening.getsockname()[1]}/")
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            uvicorn.Server(config).run(sockets=[listening])
        except KeyboardInterrupt:
            click.echo("stopped", err=True)


def _serve_one_click(session: Session, host: str, port: int, certificate: str | None, key: str | None) -> None:
    from bounceparse.web.one_click import serve as listen

    if not load_keyring(session.settings).keys:
        raise ConfigError("there is no key to verify tokens with: make one with `bounceparse keys new`")
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    with session.store() as store:
        application = _one_click(store)
        with listen(application, host, port, context) as server:
            scheme = "https" if certificate else "http"
            click.echo(f"listening on {scheme}://{host}:{server.server_port}/")
            signal.signal(signal.SIGTERM, _interrupt)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                counts = ", ".join(f"{count} {name}" for name, count in sorted(application.counts.items()))
                click.echo(f"answered: {counts or 'nothing'}")


def _one_click(store: Store) -> OneClick:
    from bounceparse.rules import packaged_rules
    from bounceparse.web.one_click import OneClick

    store.take_clicks()  # what a crash left behind
    packaged_rules()  # read now, and not while the first client waits
    return OneClick(store, lambda verdict, client: complain(f"one-click: refused {client}: {verdict}"))


def _unsubscribe_path(url: str | None) -> str:
    """Where one-click requests come in: the path of their URL up to the token."""
    path = urlsplit(url or "").path.partition("{token}")[0].rstrip("/")
    return path if path and not path.startswith("/v1") else "/unsubscribe"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

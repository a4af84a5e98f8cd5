"""``bounceparse serve``: the one-click unsubscribe service."""

from __future__ import annotations

import signal
import ssl
from types import FrameType

import click

from bounceparse.cli.output import complain
from bounceparse.cli.session import Session
from bounceparse.config import load_keyring
from bounceparse.errors import ConfigError


@click.command(epilog="Example: bounceparse serve --one-click --port 8058")
@click.option("--one-click", is_flag=True, help="Answer one-click unsubscribe requests (RFC 8058).")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8058, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--certificate", type=click.Path(exists=True, dir_okay=False), help="A certificate chain: speak TLS itself."
)
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False), help="The certificate's key, where it is a file of its own."
)
@click.pass_obj
def serve(session: Session, one_click: bool, host: str, port: int, certificate: str | None, key: str | None) -> None:
    """Serve HTTP until interrupted: behind a proxy that speaks TLS, or with a certificate by itself.

    Mail clients post to the unsubscribe_url of [signing]; the token in it says who wants out of what. Refusals are
    written to standard error, one line each.
    """
    from bounceparse.rules import packaged_rules
    from bounceparse.web.one_click import OneClick
    from bounceparse.web.one_click import serve as listen

    if not one_click:
        raise click.UsageError("say what to serve: --one-click")
    if not load_keyring(session.settings).keys:
        raise ConfigError("there is no key to verify tokens with: make one with `bounceparse keys new`")
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    with session.store() as store:
        store.take_clicks()  # what a crash left behind
        packaged_rules()  # read now, and not while the first client waits
        application = OneClick(store, lambda verdict, client: complain(f"one-click: refused {client}: {verdict}"))
        with listen(application, host, port, context) as server:
            scheme = "https" if certificate else "http"
            click.echo(f"listening on {scheme}://{host}:{server.server_port}/")
            signal.signal(signal.SIGTERM, _interrupt)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                counts = ", ".join(f"{count} {name}" for name, count in sorted(application.counts.items()))
                click.echo(f"answered: {counts or 'nothing'}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""``bounceparse ingest``: one message from a pipe, as mail servers hand it over."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from threading import Event
from types import FrameType

import click

from bounceparse.cli.output import complain, print_json
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, ConfigError

EX_TEMPFAIL = 75
_LARGEST = 52_428_800
"""Bytes of a message that are read; what is behind them is let go, as a poll lets it go."""


@click.command(
    epilog='Example: bounceparse ingest --mailbox bounces < report.eml, or in /etc/aliases: bounces: "|bounceparse ingest"'
)
@click.option("--mailbox", default="", metavar="NAME", help="The mailbox of the configuration that its mail counts as.")
@click.option("--json", "as_json", is_flag=True, help="Print what was recorded as one JSON object.")
@click.option("--lmtp", metavar="HOST:PORT", help="Take mail by LMTP (RFC 2033) until interrupted; loopback only.")
@click.pass_context
def ingest(ctx: click.Context, mailbox: str, as_json: bool, lmtp: str | None) -> None:
    """Read one message from standard input and record what it reports, or take many by LMTP.

    Exit status 0 when it is recorded: the mail server may forget it. 75 for whatever keeps it from being recorded, a
    mistake in the configuration too: mail servers keep the message then and try again, whereas a report that they
    returned would go nowhere. 1 when there is no message. The same message again adds nothing. A leading "From " line
    is passed over.
    """
    session: Session = ctx.obj
    if lmtp is not None:
        _take(session, mailbox, lmtp)
        return
    stream = sys.stdin.buffer
    raw = stream.read(_LARGEST)
    while stream.read(1 << 20):  # the mail server must not find a closed pipe
        pass
    if raw.startswith(b"From "):
        raw = raw.partition(b"\n")[2]
    if not raw.strip():
        complain("there is no message on standard input")
        ctx.exit(1)
    try:
        with session.store() as store:
            found = store.ingest(raw, account=mailbox)
    except (BounceparseError, OSError) as error:
        complain(str(error))
        ctx.exit(EX_TEMPFAIL)
    if as_json:
        print_json({"messages": found.messages, "outcomes": found.outcomes, "new_outcomes": found.new_outcomes})


def _take(session: Session, mailbox: str, listen: str) -> None:
    """Take mail by LMTP, with each recipient noted in the header that the mailbox's own server would add."""
    host, _, port = listen.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "[::1]") or not (port.isascii() and port.isdigit()):
        raise click.UsageError("LMTP knows no login: --lmtp 127.0.0.1:8024, or another port of 127.0.0.1 or [::1]")
    try:
        from bounceparse.web.lmtp import serving
    except ModuleNotFoundError:
        raise ConfigError("LMTP needs the extra `web`: pip install 'bounceparse[web]'") from None
    box = session.settings.mailbox.get(mailbox)
    names = [one for one in (box.recipient_headers if box else ()) if one.lower() != "received"]
    signal.signal(signal.SIGTERM, _interrupt)
    with session.store() as store:
        header = names[0] if names else "Delivered-To"
        with serving(store, host.strip("[]"), int(port), mailbox=mailbox, header=header) as taken:
            click.echo(f"listening on {host}:{taken}")
            with suppress(KeyboardInterrupt):
                Event().wait()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

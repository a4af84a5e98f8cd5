"""``bounceparse ingest``: one message from a pipe, as mail servers hand it over."""

from __future__ import annotations

import sys

import click

from bounceparse.cli.output import complain, print_json
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError

EX_TEMPFAIL = 75
_LARGEST = 52_428_800
"""Bytes of a message that are read; what is behind them is let go, as a poll lets it go."""


@click.command(epilog='Example, in the aliases of a mail server: bounces: "|bounceparse ingest --mailbox bounces"')
@click.option("--mailbox", default="", metavar="NAME", help="The mailbox of the configuration that its mail counts as.")
@click.option("--json", "as_json", is_flag=True, help="Print what was recorded as one JSON object.")
@click.pass_context
def ingest(ctx: click.Context, mailbox: str, as_json: bool) -> None:
    """Read one message from standard input and record what it reports.

    Exit status 0 when it is recorded: the mail server may forget it. 75 for whatever keeps it from being recorded, a
    mistake in the configuration too: mail servers keep the message then and try again, whereas a report that they
    returned would go nowhere. 1 when there is no message. The same message again adds nothing. A leading "From " line
    is passed over.
    """
    session: Session = ctx.obj
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

"""``bounceparse sweep``: what silence says of the messages that nothing more was heard of."""

from __future__ import annotations

import click

from bounceparse.cli.options import as_json
from bounceparse.cli.output import print_json
from bounceparse.cli.session import Session


@click.command(epilog="Example: bounceparse sweep --json")
@as_json
@click.pass_obj
def sweep(session: Session, as_json: bool) -> None:
    """Presume what became of messages that nothing more was heard of.

    A message that no report came about is presumed delivered, one that was last deferred is presumed a softbounce, 24
    hours after the time that servers try (retry_window of [life] and [stream.NAME], 48 hours unless set) is over. What is
    presumed is shown and never counted, and any report overrides it. Each poll does this for the messages whose time has
    come; this command for all of them at once, after a ledger of old messages was imported for instance.
    """
    with session.store() as store:
        swept = store.sweep()
    if as_json:
        print_json({"presumed_ok": swept.ok, "presumed_softbounce": swept.softbounce})
        return
    click.echo(f"{swept.ok} messages presumed delivered, {swept.softbounce} presumed bounced")

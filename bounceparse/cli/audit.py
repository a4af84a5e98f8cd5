"""``bounceparse audit``: who lifted, suppressed, decided, released or erased what."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime

import click

from bounceparse.cli import options
from bounceparse.cli.output import print_json, print_table
from bounceparse.cli.session import Session


@click.command(epilog="Example: bounceparse audit --subject jan@example.pl --since 30d")
@click.option("--subject", metavar="ADDR", help="Only what was done to this address, @domain, stream or number.")
@options.since
@options.as_json
@click.pass_obj
def audit(session: Session, subject: str | None, since: datetime | None, as_json: bool) -> None:
    """Print what persons did to standings, requests, streams, events and records, oldest first.

    What the policy does by itself is not in it: `bounceparse explain` and `address` tell of that. An address that was
    erased is found by asking for it, though the trail no longer holds it.
    """
    with session.store() as store:
        if as_json:
            for one in store.audit(subject, since):
                print_json({**asdict(one), "at": one.at.isoformat()})
            return
        rows = [
            (one.at, one.actor, one.action, one.subject, one.scope, one.note, one.detail)
            for one in store.audit(subject, since)
        ]
    print_table(("when", "who", "did", "to", "scope", "note", "detail"), rows)

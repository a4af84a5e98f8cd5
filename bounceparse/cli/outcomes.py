"""``bounceparse outcomes``: what has been recorded, oldest first."""

from __future__ import annotations

from datetime import datetime

import click

from bounceparse.cli import options
from bounceparse.cli.output import OUTCOME_HEADING, outcome_line, print_json
from bounceparse.cli.session import Session
from bounceparse.outcomes import Status


@click.command(epilog="Example: bounceparse outcomes --since 24h --status hardbounce")
@options.as_json
@options.since
@click.option(
    "--status",
    type=click.Choice([status.value for status in Status]),
    metavar="STATUS",
    help="Only those of this status.",
)
@click.pass_obj
def outcomes(session: Session, as_json: bool, since: datetime | None, status: str | None) -> None:
    """Print all recorded outcomes, oldest first; the time meant by --since is that of recording."""
    with session.store() as store:
        found = store.outcomes(since=since, status=status)
        if as_json:
            for row in found:
                print_json(row.to_json())
            return
        click.echo(click.style(f"{OUTCOME_HEADING}trust        message", bold=True))
        for row in found:
            outcome = row.outcome
            rest = f"{row.trust:<12} {outcome.message_id or '-'}"
            click.echo(outcome_line(outcome.status, outcome.reason, outcome.recipient, rest))

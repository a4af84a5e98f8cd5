"""``bounceparse stats``: how many outcomes of which status."""

from __future__ import annotations

from datetime import datetime

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.review import warn_of_late
from bounceparse.cli.session import Session
from bounceparse.outcomes import Status


@click.command(epilog="Example: bounceparse stats --by provider --since 7d")
@click.option(
    "--by",
    type=click.Choice(["stream", "domain", "provider", "reason", "status", "mailbox"]),
    default="reason",
    show_default=True,
    help="What to count by.",
)
@options.since
@options.as_json
@click.pass_obj
def stats(session: Session, by: str, since: datetime | None, as_json: bool) -> None:
    """Count the recorded outcomes, the largest group first. An event told by two routes counts once.

    Delivery reports that found no message of ours in 14 days are backscatter and have a line of their own; a flood of
    them is told on standard error.
    """
    with session.store() as store:
        lines = store.stats(by, since)
        stray = store.backscatter(since)
        late = warn_of_late(store)
    for warning in filter(None, (stray.alert, late)):
        complain(warning)
    if as_json:
        for line in lines:
            print_json({by: line.group, "total": line.total, "statuses": line.statuses})
        if stray.count or stray.flood:
            print_json({"backscatter": stray.count, "flood": stray.flood})
        return
    shown = [status.value for status in Status if any(status in line.statuses for line in lines)]
    rows = [
        (line.group or "(not known)", *(line.statuses.get(status, 0) for status in shown), line.total) for line in lines
    ]
    totals = [sum(line.statuses.get(status, 0) for line in lines) for status in shown]
    rows.append(("total", *totals, sum(totals)))
    print_table((by, *shown, "total"), rows, numbers=len(shown) + 1)
    if stray.count:
        click.echo(f"\nbackscatter: {stray.count} delivery reports about mail that is not ours, counted nowhere above")

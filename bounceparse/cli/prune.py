"""``bounceparse prune``: clear what has been kept long enough."""

from __future__ import annotations

import click

from bounceparse.cli.options import as_json
from bounceparse.cli.output import print_json, print_table
from bounceparse.cli.session import Session


@click.command(epilog="Example: bounceparse prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Only count what would be cleared.")
@as_json
@click.pass_obj
def prune(session: Session, dry_run: bool, as_json: bool) -> None:
    """Clear details and ids that are older than [retention] of the configuration keeps them.

    Details (raw messages, subjects, the words of servers) go after details_days, 15 unless set; Message-IDs and other
    ids, by which a late report finds its message, after keys_days, 180 unless set. Addresses, statuses, reasons and
    times stay, and so do the words that a suppression in force rests on. Meant to be run once a day.
    """
    from bounceparse.db import Retention

    kept = session.settings.retention
    with session.store() as store:
        pruned = store.prune(Retention(kept.details_days, kept.keys_days), dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "pruned": pruned})
        return
    print_table(("would be cleared" if dry_run else "cleared", "rows"), pruned.items(), numbers=1)

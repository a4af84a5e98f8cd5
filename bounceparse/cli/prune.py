"""``bounceparse prune``: clear what has been kept long enough."""

from __future__ import annotations

import click

from bounceparse.cli.options import as_json
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session


@click.command(epilog="Example: bounceparse prune --dry-run")
@click.option("--dry-run", is_flag=True, help="Only count what would be cleared.")
@as_json
@click.pass_obj
def prune(session: Session, dry_run: bool, as_json: bool) -> None:
    """Clear details and ids that are older than [retention] of the configuration keeps them.

    Details (raw messages, subjects, the words of servers) go after details_days, 15 unless set; Message-IDs and other
    ids, by which a late report finds its message, after keys_days, 180 unless set; addresses become keyed hashes after
    addresses_days, 730 unless set; events that all webhooks have taken after events_days, 7 unless set. Statuses, reasons and times stay, suppressions in force go on acting, and the words
    that they rest on stay with them unless they name the address. Meant to be run once a day.
    """
    from bounceparse.db import Retention

    kept = session.settings.retention
    keep = Retention(kept.details_days, kept.keys_days, kept.addresses_days, kept.events_days)
    with session.store() as store:
        pruned = store.prune(keep, dry_run=dry_run)
        unhashed = 0 if store.can_hash else store.old_addresses(keep)
    if unhashed:
        complain(f"{unhashed} rows keep old addresses: to hash them takes a key: run `bounceparse keys new`")
    if as_json:
        print_json({"dry_run": dry_run, "pruned": pruned})
        return
    print_table(("would be cleared" if dry_run else "cleared", "rows"), pruned.items(), numbers=1)

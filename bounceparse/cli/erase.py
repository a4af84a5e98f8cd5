"""``bounceparse erase``: forget a person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bounceparse.cli import EX_TEMPFAIL, options
from bounceparse.cli.output import complain, plain, print_json, print_table
from bounceparse.cli.session import Session

if TYPE_CHECKING:
    from bounceparse.config import Settings
    from bounceparse.db.erase import Erasure, Place

_BACKUPS = "backups, logs of mail servers, services that follow the views, and tickets are yours to clear"
_VACUUM = "PostgreSQL keeps the old rows until VACUUM FULL of the tables bounceparse_*, and in its write-ahead log and archives"
_AGAIN = "another program uses the database file, which still holds old bytes: stop it and run erase again"


@click.command(epilog='Example: bounceparse erase jan@example.pl --note "letter of 3 May"')
@click.option("--dry-run", is_flag=True, help="Only say what would be erased.")
@options.by
@click.option("--note", help="Why; an address in it is replaced too.")
@options.as_json
@click.argument("address")
@click.pass_context
def erase(ctx: click.Context, address: str, dry_run: bool, by: str | None, note: str | None, as_json: bool) -> None:
    """Forget an address: in the ledger, outcomes, kept and held messages, requests, tokens, events and the audit trail.

    A keyed hash takes its place, so that it stays suppressed where it is, counts stay right, and an old unsubscribe link
    still works. Reports that named it are never recorded again, although a mailbox may still hold them: where, is
    printed, for you to delete them there. It needs a key (bounceparse keys new) and reads the whole database; an SQLite
    file is rewritten, so that no byte is left. Run it again whenever in doubt. Exit status 75 when bytes are left.
    """
    session: Session = ctx.obj
    with session.store() as store:
        done = store.erase(address, by=options.actor(by), note=note, dry_run=dry_run)
        compacted = True if dry_run else store.compact()
    is_sqlite = session.settings.database.url.startswith("sqlite")
    if as_json:
        _print_json(done, dry_run=dry_run, compacted=compacted and is_sqlite)
    else:
        _print(done, session.settings, dry_run=dry_run)
        if not dry_run:
            click.echo(_BACKUPS if is_sqlite else f"{_VACUUM}; {_BACKUPS}")
    if is_sqlite and not compacted:
        complain(_AGAIN)
        ctx.exit(EX_TEMPFAIL)


def _print_json(done: Erasure, *, dry_run: bool, compacted: bool) -> None:
    rows = {name.removeprefix("bounceparse_"): count for name, count in done.rows.items()}
    print_json({"dry_run": dry_run, **asdict(done), "rows": rows, "compacted": compacted})


def _print(done: Erasure, settings: Settings, *, dry_run: bool) -> None:
    if not done.rows and not done.reports:
        click.echo("nothing is known of this address")
        return
    print_table(
        ("would be erased from" if dry_run else "erased from", "rows"),
        [(name.removeprefix("bounceparse_"), count) for name, count in sorted(done.rows.items())],
        numbers=1,
    )
    if done.suppressions:
        click.echo(f"{done.suppressions} suppressions go on acting as {done.subject}")
    for line in _whereabouts(done.places, settings):
        click.echo(plain(line))


def _whereabouts(places: list[Place], settings: Settings) -> Iterator[str]:
    """Where the mail itself still lies, by what polls of each mailbox do to messages."""
    from bounceparse.mailboxes.answers import uid_set

    for place in places:
        uids = uid_set(place.uids)
        box = settings.mailbox.get(place.account)
        if not place.uids:
            yield f"saved mail {place.folder or place.account} still holds reports that name it: delete them there"
        elif box is None:
            yield f"mailbox {place.account}, folder {place.folder}: UIDs {uids}, if it still exists: delete them there"
        elif place.marked and box.after.startswith("move:"):
            target = box.after.removeprefix("move:")
            yield f"mailbox {place.account}: messages moved to {target} (UIDs {uids} of {place.folder}): delete them there"
        elif not (place.marked and box.after == "delete" and box.keep_days is None):
            yield f"mailbox {place.account}, folder {place.folder}: still holds UIDs {uids}: delete them there"

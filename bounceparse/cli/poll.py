"""``bounceparse poll`` and ``replay``: from mailboxes, or saved mail, into the database."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bounceparse.cli import EX_TEMPFAIL
from bounceparse.cli.health import after_poll
from bounceparse.cli.monitoring import complain_of_poll, note_poll, write_metrics
from bounceparse.cli.output import complain, print_json, progress
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, InputError, MailboxLocked, StoreError
from bounceparse.ingest import PollResult
from bounceparse.ingest import replay as replay_files

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.mailboxes.account import ImapAccount
    from bounceparse.rules import RuleSet

_MOST_READERS = 4


@click.command(epilog="Example: bounceparse poll --mailbox bounces --dry-run")
@click.option("--mailbox", "names", multiple=True, metavar="NAME", help="Only this one; may be given again.")
@click.option("--dry-run", is_flag=True, help="Fetch and read, but write nothing, here or on the server.")
@click.option("--go", is_flag=True, help='Confirm, as doctor --confirm does, what first_poll = "guard" holds back.')
@click.option("--watch", is_flag=True, help="Go on: poll when mail comes, at least every five minutes, until stopped.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a mailbox, one a line.")
@click.pass_context
def poll(ctx: click.Context, names: tuple[str, ...], dry_run: bool, go: bool, watch: bool, as_json: bool) -> None:
    """Read what is new in the mailboxes, record it, then mark it on the server.

    A mailbox that fails does not stop the others; one that another poll has locked is skipped. Exit status 0 done,
    1 something needs a person, 75 all that failed may work later.

    With --watch it runs until SIGTERM or Ctrl-C, reads its configuration again on SIGHUP, and tells systemd how it
    fares (Type=notify).
    """
    from bounceparse.config import imap_accounts

    session: Session = ctx.obj
    if watch:
        if dry_run or go:
            raise click.UsageError("--watch goes with --mailbox and --json only")
        from bounceparse.cli.watch import watch_mailboxes

        watch_mailboxes(session, names, as_json=as_json)
        return
    accounts = imap_accounts(session.settings, names)
    rules = session.rules
    with session.store() as store:
        faults = [_poll_one(account, store, rules, dry_run=dry_run, go=go, as_json=as_json) for account in accounts]
        if not dry_run:
            faults.append(_settle(session, store, faults))
            write_metrics(session, store)
    statuses = {EX_TEMPFAIL if fault.temporary else 1 for fault in faults if fault}
    ctx.exit(1 if 1 in statuses else max(statuses, default=0))


def _settle(session: Session, store: Store, faults: Sequence[BounceparseError | None]) -> StoreError | None:
    """What follows from all polls together; what a database has failed one of them in is not told twice."""
    try:
        store.settle()
        after_poll(session, store)
    except StoreError as fault:
        if not any(isinstance(one, StoreError) and one.temporary == fault.temporary for one in faults):
            complain_of_poll(str(fault))
        return fault
    return None


def _poll_one(
    account: ImapAccount, store: Store, rules: RuleSet | None, *, dry_run: bool, go: bool, as_json: bool
) -> BounceparseError | None:
    """Poll one mailbox and tell about it; answers what went wrong."""
    from bounceparse.mailboxes.imap import open_mailbox
    from bounceparse.mailboxes.polling import poll_account

    error: BounceparseError | None = None
    result = PollResult(account.name)

    def show(so_far: PollResult, total: int | None) -> None:
        nonlocal result
        result = so_far  # what a poll that fails has done until then
        advance(so_far.fetched, total)

    with open_mailbox(account) as mailbox:
        try:
            with progress(account.name) as advance:
                result = poll_account(
                    mailbox, store, dry_run=dry_run, go=go, progress=show, jobs=_readers(), rules=rules
                )
        except BounceparseError as fault:
            error = fault
            skipped = ": skipped" if isinstance(fault, MailboxLocked) else ""
            complain_of_poll(f"{fault}{skipped}")
        for alert in mailbox.alerts:
            complain_of_poll(f"mailbox {account.name}: the server says: {alert}")
    tell(result, as_json=as_json, dry_run=dry_run or (error is not None and not result.messages), error=error)
    if not dry_run:
        note_poll(store, result, error)
    return error


@click.command(epilog="Example: bounceparse replay ~/Maildir old-bounces.mbox")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that read.")
@click.option("--json", "as_json", is_flag=True, help="The counts as a JSON object.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.pass_context
def replay(ctx: click.Context, jobs: int, as_json: bool, paths: tuple[str, ...]) -> None:
    """Record saved mail: files, folders, mbox files, Maildirs, or - for standard input.

    Replaying again adds nothing. Exit status 1 when some input could not be opened.
    """
    from bounceparse.files import read_files

    session: Session = ctx.obj
    unread: list[InputError] = []

    def note(error: InputError) -> None:
        unread.append(error)
        complain(str(error))

    rules = session.rules
    with session.store() as store:
        with progress("replay") as advance:
            result = replay_files(
                read_files(paths, note),
                store,
                jobs=jobs,
                progress=lambda so_far, total: advance(so_far.fetched, total),
                rules=rules,
            )
        store.settle()
    tell(result, as_json=as_json)
    ctx.exit(1 if unread else 0)


def _readers() -> int:
    """Processes that read, once there is much to read: one for each core that we may use."""
    return min(len(os.sched_getaffinity(0)), _MOST_READERS)


def tell(result: PollResult, *, as_json: bool, dry_run: bool = False, error: BounceparseError | None = None) -> None:
    """Print what a poll or replay did: a line, or a JSON object."""
    if result.failed:
        complain(
            f"{result.mailbox}: {result.failed} messages could not be read: they are held, see `bounceparse held list`"
        )
    if as_json:
        counts = {name: value for name, value in asdict(result).items() if name != "seconds"}
        print_json({**counts, "error": None if error is None else str(error)})
    elif error is None or result.fetched:
        recorded = "nothing recorded (dry run)" if dry_run else f"{result.messages} recorded, {result.marked} marked"
        found = f"{result.outcomes} outcomes" + ("" if dry_run else f" ({result.new_outcomes} new)")
        click.echo(f"{result.mailbox}: {result.fetched} fetched, {recorded}, {found}")

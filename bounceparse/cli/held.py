"""``bounceparse held``: messages that could not be read or recorded, kept until they can."""

from __future__ import annotations

import sys

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, InputError


@click.group(epilog="Example: bounceparse held list")
def held() -> None:
    """List, show and retry messages that could not be read; they are left in their mailbox until they are."""


@held.command("list", epilog="Example: bounceparse held list --json")
@options.as_json
@click.pass_obj
def list_held(session: Session, as_json: bool) -> None:
    """Print the messages that are held, oldest first, and why."""
    with session.store() as store:
        if as_json:
            for one in store.held():
                print_json(
                    {
                        "id": one.id,
                        "mailbox": one.account,
                        "folder": one.folder,
                        "uidvalidity": one.uidvalidity,
                        "uid": one.uid,
                        "size": one.size,
                        "recorded_at": one.recorded_at.isoformat(),
                        "error": one.error,
                    }
                )
            return
        rows = [
            (one.id, one.account, one.folder, one.uid, one.size, one.recorded_at, one.error) for one in store.held()
        ]
    print_table(("id", "mailbox", "folder", "uid", "bytes", "since", "error"), rows)


@held.command(epilog="Example: bounceparse held show 17 > unreadable.eml")
@click.argument("number", metavar="ID", type=int)
@click.pass_obj
def show(session: Session, number: int) -> None:
    """Write the bytes of a held message to standard output, as they were fetched."""
    with session.store() as store:
        raw = next((one.raw for one in store.held() if one.id == number), None)
    if raw is None:
        raise InputError(f"no message {number} is held: see `bounceparse held list`")
    sys.stdout.buffer.write(raw)


@held.command(epilog="Example: bounceparse held retry")
@click.argument("numbers", metavar="[ID]...", nargs=-1, type=int)
@click.pass_context
def retry(ctx: click.Context, numbers: tuple[int, ...]) -> None:
    """Read held messages again, all or those named; the next poll then marks them on the server.

    Exit status 1 when some are still held.
    """
    from bounceparse.reading import read_message

    session: Session = ctx.obj
    rules = session.rules
    done = left = 0
    with session.store() as store:
        for one in list(store.held()):
            if numbers and one.id not in numbers:
                continue
            message = read_message(one.place, one.raw, one.size, rules)
            error = message.error
            if error is None:
                try:
                    store.record_held([message])
                    done += 1
                    continue
                except BounceparseError as fault:
                    if fault.temporary:
                        raise
                    error = str(fault)
            left += 1
            complain(f"{one.id}: {error}")
    click.echo(f"{done} recorded, {left} still held")
    ctx.exit(1 if left else 0)

"""``bounceparse events``: many addresses of a provider that failed at once, and what a person says of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bounceparse.cli import options
from bounceparse.cli.output import plain, print_json, print_table
from bounceparse.cli.session import Session

if TYPE_CHECKING:
    from bounceparse.db.events import MassEvent


@click.group(epilog='Example: bounceparse events discard 7 --note "the provider said so on its status page"')
def events() -> None:
    """Mass events: many addresses of one provider that failed at once, for one reason, and are paused.

    Nobody mails them until a person decides: `discard` mails them again and never counts what happened, `release`
    suppresses them. What nobody decides is released after the pause of [policy.breaker], 72 hours by default.
    """


@events.command("list", epilog="Example: bounceparse events list --open")
@click.option("--open", "undecided", is_flag=True, help="Only those that wait for a person.")
@options.as_json
@click.pass_obj
def list_(session: Session, undecided: bool, as_json: bool) -> None:
    """Print the mass events, oldest first."""
    with session.store() as store:
        found = list(store.events(undecided=undecided))
    if as_json:
        for event in found:
            print_json(_as_json(event))
        return
    print_table(
        ("event", "provider", "reason", "began", "last", "state", "decided by", "note", "addresses"),
        [
            (
                event.id,
                event.provider,
                event.reason,
                event.began_at,
                event.last_at,
                f"open until {plain(event.release_at)}" if event.state == "open" else event.state,
                event.decided_by,
                event.note,
                event.count,
            )
            for event in found
        ],
        numbers=1,
    )


@events.command(epilog='Example: bounceparse events release 7 --note "the domain was closed down"')
@click.argument("event", type=int)
@click.option("--note", required=True, help="Why.")
@options.by
@click.pass_obj
def release(session: Session, event: int, note: str, by: str | None) -> None:
    """Suppress the addresses of a mass event: they really are dead."""
    with session.store() as store:
        found = store.release_event(event, by=options.actor(by), note=note)
    click.echo(f"event {found.id}: released, {found.count} addresses are suppressed")


@events.command(epilog='Example: bounceparse events discard 7 --note "the provider was out of order"')
@click.argument("event", type=int)
@click.option("--note", required=True, help="Why.")
@options.by
@click.pass_obj
def discard(session: Session, event: int, note: str, by: str | None) -> None:
    """Mail the addresses of a mass event again: what happened in it never counts. Also after it was released."""
    with session.store() as store:
        found = store.discard_event(event, by=options.actor(by), note=note)
    click.echo(f"event {found.id}: discarded, {found.count} addresses may be mailed unless something else stands")


def _as_json(event: MassEvent) -> dict[str, object]:
    return {
        "event": event.id,
        "provider": event.provider,
        "reason": event.reason,
        "state": event.state,
        "began_at": event.began_at.isoformat(),
        "last_at": event.last_at.isoformat(),
        "release_at": event.release_at.isoformat(),
        "addresses": event.count,
        "decided_at": event.decided_at.isoformat() if event.decided_at else None,
        "decided_by": event.decided_by,
        "note": event.note,
    }

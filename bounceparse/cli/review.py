"""``bounceparse review``: the unsubscribe requests that did not act by themselves."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from bounceparse.addresses import clean_address
from bounceparse.cli import options
from bounceparse.cli.output import plain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError
from bounceparse.health import REVIEW_DEADLINE, review_text

if TYPE_CHECKING:
    from bounceparse.db import Store

_WHY = {
    "unproven": "the From address is not authenticated",
    "forged-token": "its token is forged",
    "unknown-token": "no message is known by its token",
    "several-senders": "several senders mail this address",
    "unknown-address": "nobody mailed this address",
    "not-to-us": "it did not go to an unsubscribe address",
    "transactional": "it answers a transactional message",
    "words": "it only speaks about unsubscribing",
}


def warn_of_late(store: Store) -> str | None:
    """What to say when requests have waited too long; None when none has."""
    late = store.waiting_longer_than(REVIEW_DEADLINE)
    return review_text(late) if late else None


@click.group(epilog="Example: bounceparse review list")
def review() -> None:
    """List, accept and reject unsubscribe requests that nobody but a person can decide."""


@review.command("list", epilog="Example: bounceparse review list --json")
@click.option("--all", "every", is_flag=True, help="Those that are decided, too.")
@options.as_json
@click.pass_obj
def list_requests(session: Session, every: bool, as_json: bool) -> None:
    """Print the requests that wait, oldest first, with the reason why they did not act by themselves."""
    with session.store() as store:
        found = store.requests(None if every else "pending")
        if as_json:
            for one in found:
                times = {
                    name: at and at.isoformat()
                    for name, at in (("recorded_at", one.recorded_at), ("decided_at", one.decided_at))
                }
                print_json({**asdict(one), **times, "scopes": one.scopes.split()})
            return
        rows = [
            (one.id, one.state, one.recorded_at, one.address or "-", _WHY.get(one.why, one.why), (one.words or one.subject or "")[:60])
            for one in found
        ]  # fmt: skip
    print_table(("request", "state", "came", "address", "why it waits", "words"), rows)


@review.command(epilog="Example: bounceparse review accept 17 --by ola")
@click.argument("request", type=int, nargs=-1, required=True)
@click.option("--address", help="Suppress this address instead of the one that asked.")
@click.option("--scope", help="marketing:SENDER, sender:SENDER, list:ID or all, instead of what the request names.")
@options.by
@click.option("--note", help="Why.")
@click.pass_obj
def accept(
    session: Session, request: tuple[int, ...], address: str | None, scope: str | None, by: str | None, note: str | None
) -> None:
    """Do what requests ask for: their addresses get no more marketing of the senders that mailed them."""
    if address is not None and "@" not in (clean_address(address) or ""):
        raise ConfigError(f"{address!r} is no address")
    with session.store() as store:
        for number in request:
            one = store.accept_request(number, address=address, scope=scope, by=options.actor(by), note=note)
            click.echo(
                f"request {number}: {plain(address or one.address)} is suppressed for {plain(scope or one.scopes)}"
            )


@review.command(epilog='Example: bounceparse review reject 17 --note "spam"')
@click.argument("request", type=int, nargs=-1, required=True)
@options.by
@click.option("--note", help="Why.")
@click.pass_obj
def reject(session: Session, request: tuple[int, ...], by: str | None, note: str | None) -> None:
    """Decide that nothing follows from requests."""
    with session.store() as store:
        for number in request:
            one = store.reject_request(number, by=options.actor(by), note=note)
            click.echo(f"request {number} of {plain(one.address)} is rejected")

"""``bounceparse streams``: what messages are sent by, whose it is, whether it is marketing, and how it does."""

from __future__ import annotations

import click

from bounceparse.cli import options
from bounceparse.cli.health import as_json_row
from bounceparse.cli.output import plain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.cli.stats import RATES, rate_cells
from bounceparse.errors import ConfigError
from bounceparse.health import stream_name


@click.group(epilog="Example: bounceparse streams set orders --category transactional")
def streams() -> None:
    """List the streams, say whose they are, stop them and let them go on."""


@streams.command("list", epilog="Example: bounceparse streams list")
@options.as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """All streams: how each does, what it sent in the last 24 hours, and the rates of that (see `stats --help`).

    Mail without a stream is judged too, under the name ''. The level is that of the last poll or `health`.
    """
    with session.store() as store:
        found = store.health().streams
    if as_json:
        for one in found:
            print_json(as_json_row(one))
        return
    rows = [
        (one.name or "(none)", one.sender, one.category, one.level, one.cohort.injected, *rate_cells(one.cohort))
        for one in found
    ]
    print_table(("stream", "sender", "category", "level", "sent", *(f"{name} %" for name in RATES)), rows, numbers=4)
    for one in found:
        if one.why:
            click.echo(f"{stream_name(plain(one.name))}: {plain(one.why)}")


@streams.command("set", epilog="Example: bounceparse streams set news --sender shop-7 --category marketing")
@click.argument("name")
@click.option("--sender", help="The tenant: what one's recipients answer never touches another's mail.")
@click.option(
    "--category",
    type=click.Choice(["marketing", "transactional"]),
    help="A complaint or an unsubscribe request stops marketing only.",
)
@click.pass_obj
def set_(session: Session, name: str, sender: str | None, category: str | None) -> None:
    """Make a stream, or change it; what is told of its recipients is judged anew."""
    if sender is None and category is None:
        raise ConfigError("nothing to set: give --sender or --category")
    with session.store() as store:
        store.set_stream(name, sender=sender, category=category)


@streams.command(epilog='Example: bounceparse streams stop news --note "complaints of the spring sale"')
@click.argument("name")
@click.option("--note", required=True, help="Why.")
@options.by
@click.pass_obj
def stop(session: Session, name: str, note: str, by: str | None) -> None:
    """Stop a stream by hand, until it is released: `may_send` is False then, and nothing of it should be sent."""
    with session.store() as store:
        store.stop_stream(name, by=options.actor(by), note=note)
    click.echo(f"{stream_name(plain(name))} is stopped")


@streams.command(epilog='Example: bounceparse streams release news --note "list cleaned"')
@click.argument("name")
@click.option("--note", required=True, help="What was done about it.")
@options.by
@click.pass_obj
def release(session: Session, name: str, note: str, by: str | None) -> None:
    """Let a stopped stream go on. What it sent until now never stops it again; what it sends from now on may."""
    with session.store() as store:
        store.release_stream(name, by=options.actor(by), note=note)
    click.echo(f"{stream_name(plain(name))} is released")

"""``bounceparse streams``: what messages are sent by, whose it is, and whether it is marketing."""

from __future__ import annotations

import click

from bounceparse.cli.options import as_json
from bounceparse.cli.output import print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError


@click.group(epilog="Example: bounceparse streams set orders --category transactional")
def streams() -> None:
    """List the streams, and say whose they are and whether they are marketing."""


@streams.command("list", epilog="Example: bounceparse streams list")
@as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """All streams that the ledger has named or `streams set` has made."""
    with session.store() as store:
        found = store.streams()
    if as_json:
        for row in found:
            print_json(row._asdict())
        return
    print_table(("stream", "sender", "category"), found)


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

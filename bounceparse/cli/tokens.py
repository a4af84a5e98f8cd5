"""``bounceparse tokens``: the bearer tokens of the API."""

from __future__ import annotations

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session

_SCOPES = ("read", "write", "ingest")


@click.group(epilog="Example: bounceparse tokens new shop --scope read --scope write")
def tokens() -> None:
    """Make, list and revoke the tokens of the API (`bounceparse serve`)."""


@tokens.command(epilog="Example: bounceparse tokens new garden-shop --scope read --sender garden")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(_SCOPES),
    help="read: ask; write: suppress, lift, stop; ingest: hand in mail. May be given again; else read alone.",
)
@click.option("--sender", help="The tenant whose streams alone it sees and touches; else all.")
@options.by
@click.argument("name")
@click.pass_obj
def new(session: Session, name: str, scopes: tuple[str, ...], sender: str | None, by: str | None) -> None:
    """Make a token and print it, once: the database keeps its hash alone."""
    with session.store() as store:
        token = store.make_api_token(name, scopes or ("read",), sender=sender, by=options.actor(by))
    click.echo(token)
    complain(f"keep it now, it is never shown again; `bounceparse tokens revoke {name}` makes it worthless")


@tokens.command("list", epilog="Example: bounceparse tokens list --json")
@options.as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """All tokens by name: what each may do, and when it was last used, to the hour. Never a secret."""
    with session.store() as store:
        found = store.api_tokens()
    heading = ("name", "scopes", "sender", "created_at", "used_at", "revoked_at")
    rows = [
        (one.name, " ".join(sorted(one.scopes)), one.sender, one.created_at, one.used_at, one.revoked_at)
        for one in found
    ]
    if as_json:
        for row in rows:
            told = dict(zip(heading, row, strict=True))
            times = {name: value.isoformat() for name in heading[3:] if (value := told[name])}  # type: ignore[union-attr]
            print_json({**told, **times, "scopes": str(told["scopes"]).split()})
        return
    print_table(("name", "scopes", "sender", "made", "used", "revoked"), rows)


@tokens.command(epilog="Example: bounceparse tokens revoke garden-shop")
@options.by
@click.argument("name")
@click.pass_obj
def revoke(session: Session, name: str, by: str | None) -> None:
    """Make a token worthless from the next request on."""
    with session.store() as store:
        store.revoke_api_token(name, by=options.actor(by))
    click.echo(f"token {name} is revoked")

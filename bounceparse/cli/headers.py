"""``bounceparse headers``: what an outgoing message is to carry so that its answers lead back."""

from __future__ import annotations

import click

from bounceparse.cli import options
from bounceparse.cli.output import print_json
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError


@click.command(
    epilog="Example: bounceparse headers --message-id 20261122.1@shop.example --recipient jan@example.pl --stream news"
)
@click.option("--message-id", help="The Message-ID that the message will have; without it a signed one is made.")
@click.option("--recipient", required=True, help="The address that it goes to.")
@click.option("--from", "from_address", help="Its From address.")
@click.option("--subject")
@click.option("--stream", help="What it is sent by.")
@click.option("--sender", help="The tenant of the stream.")
@click.option("--category", type=click.Choice(["marketing", "transactional"]))
@click.option("--list-id", help="Its List-Id (RFC 2919).")
@click.option("--customer", help="Your own id of the person.")
@options.as_json
@click.pass_obj
def headers(session: Session, /, as_json: bool, message_id: str | None, recipient: str, **columns: str | None) -> None:
    """Record a message in the ledger, and print its envelope sender and its signed header fields.

    Return-Path is the envelope sender (MAIL FROM) and ENVID its parameter where the server offers DSN; the fields
    Message-ID, List-Unsubscribe, List-Unsubscribe-Post, CFBL-Address and CFBL-Feedback-ID go into the message, and its
    DKIM signature must cover them. Which of them there are is said in [signing] of the configuration. The same message
    again gets the same ids.
    """
    from bounceparse.config import build_outgoing

    outgoing = build_outgoing(session.settings)
    if message_id is None and outgoing.message_id is None:
        raise ConfigError(
            'give --message-id, or a message_id such as "{token}@shop.example" in [signing]: signed ones are made of it'
        )
    if not any(
        (
            outgoing.return_path,
            outgoing.unsubscribe_address,
            outgoing.unsubscribe_url,
            outgoing.complaint_address,
            outgoing.message_id,
        )
    ):
        raise ConfigError(
            'there is nothing to sign: give [signing] a return_path such as "b+{token}@bounces.example.com", an'
            " unsubscribe_address, an unsubscribe_url or a complaint_address"
        )
    told = {name: value for name, value in columns.items() if value}
    with session.store() as store:
        made = store.sign(outgoing, message_id, recipient, **told)
    if as_json:
        print_json(
            {
                "message_id": made.message_id,
                "return_path": made.return_path,
                "envelope_id": made.envelope_id,
                "headers": dict(made.fields),
            }
        )
        return
    if made.return_path:
        click.echo(f"Return-Path: <{made.return_path}>")
        click.echo(f"ENVID: {made.envelope_id}")
    if message_id is None:
        click.echo(f"Message-ID: <{made.message_id}>")
    for name, value in made.fields:
        click.echo(f"{name}: {value}")

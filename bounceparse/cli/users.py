"""``bounceparse users``: who signs in to the panel of ``bounceparse serve``."""

from __future__ import annotations

import secrets
import sys

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError

_generate = click.option("--generate", is_flag=True, help="Make a password up and print it, once.")


@click.group(epilog="Example: bounceparse users new ola --role write")
def users() -> None:
    """Make, list and disable the users of the panel (`bounceparse serve`).

    A password is asked for on a terminal, else read from the first line of standard input: it stands in no list of
    processes and in no history of commands.
    """


@users.command(epilog="Example: bounceparse users new ola --role write --sender garden")
@click.option(
    "--role",
    type=click.Choice(["read", "write"]),
    default="read",
    show_default=True,
    help="read: look; write: also lift, suppress, stop, release and decide.",
)
@click.option("--sender", help="The tenant whose streams alone they see and touch; else all.")
@_generate
@options.by
@click.argument("name")
@click.pass_obj
def new(session: Session, name: str, role: str, sender: str | None, generate: bool, by: str | None) -> None:
    """Make a user, who may sign in at once."""
    with session.store() as store:
        store.make_user(name, _password(generate), role=role, sender=sender, by=options.actor(by))
    complain(f"user {name} may sign in to `bounceparse serve`")


@users.command("list", epilog="Example: bounceparse users list --json")
@options.as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """All users by name, and what each may do."""
    with session.store() as store:
        found = store.users()
    if as_json:
        for one in found:
            disabled = one.disabled_at.isoformat() if one.disabled_at else None
            times = {"created_at": one.created_at.isoformat(), "disabled_at": disabled}
            print_json({"name": one.name, "role": one.role, "sender": one.sender, **times})
        return
    rows = [(one.name, one.role, one.sender, one.created_at, one.disabled_at) for one in found]
    print_table(("name", "role", "sender", "made", "disabled"), rows)


@users.command(epilog="Example: bounceparse users password ola")
@_generate
@options.by
@click.argument("name")
@click.pass_obj
def password(session: Session, name: str, generate: bool, by: str | None) -> None:
    """Give a user another password; who is signed in as them is signed out."""
    with session.store() as store:
        store.set_password(name, _password(generate), by=options.actor(by))
    complain(f"user {name} has another password")


@users.command(epilog="Example: bounceparse users disable ola")
@options.by
@click.argument("name")
@click.pass_obj
def disable(session: Session, name: str, by: str | None) -> None:
    """Keep a user out from the next click on."""
    with session.store() as store:
        store.disable_user(name, by=options.actor(by))
    click.echo(f"user {name} is disabled")


@users.command(epilog="Example: bounceparse users enable ola")
@options.by
@click.argument("name")
@click.pass_obj
def enable(session: Session, name: str, by: str | None) -> None:
    """Let a disabled user sign in again, with the password they had."""
    with session.store() as store:
        store.enable_user(name, by=options.actor(by))
    click.echo(f"user {name} may sign in")


def _password(generate: bool) -> str:
    if generate:
        made = secrets.token_urlsafe(15)
        click.echo(made)
        return made
    if sys.stdin.isatty():
        asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
        return asked
    given = sys.stdin.readline().rstrip("\r\n")
    if not given:
        raise ConfigError("no password came: write it to standard input, or give --generate")
    return given

"""``bounceparse keys``: the keys that sign return paths, unsubscribe links and feedback ids."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from bounceparse.cli.output import print_table
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError
from bounceparse.verp import Keyring, add_key, drop_key, format_keys


@click.group(epilog="Example: bounceparse keys new")
def keys() -> None:
    """Make, rotate and list the keys that sign what we send."""


@keys.command(epilog="Example: bounceparse keys new")
@click.pass_obj
def new(session: Session) -> None:
    """Write the first key to the key_file of [signing]; a file that is there already is left alone."""
    path = _key_file(session)
    keyring = add_key(Keyring(), datetime.now(UTC).date())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path}: is already there: add a key with `bounceparse keys rotate`") from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(format_keys(keyring))
    click.echo(f"{path} is written: back it up, a lost key makes every token worthless")


@keys.command(epilog="Example: bounceparse keys rotate --drop 1")
@click.option("--drop", type=int, metavar="KEY", help="Also forget this older key: its tokens prove nothing any more.")
@click.pass_obj
def rotate(session: Session, drop: int | None) -> None:
    """Add a key that signs from now on; the older ones go on verifying.

    Unsubscribe tokens live as long as their key: drop one only when nobody will use the mail that it signed.
    """
    from bounceparse.config import load_keyring

    path = _key_file(session)
    keyring = add_key(load_keyring(session.settings), datetime.now(UTC).date())
    if drop is not None:
        keyring = drop_key(keyring, drop)
    _replace(path, format_keys(keyring))
    click.echo(f"key {keyring.keys[-1].id} signs from now on")


@keys.command("list", epilog="Example: bounceparse keys list")
@click.pass_obj
def list_keys(session: Session) -> None:
    """Show the numbers of the keys, the days they were made and which one signs; never a secret."""
    from bounceparse.config import load_keyring

    found = load_keyring(session.settings).keys
    if not found:
        raise ConfigError("there are no keys: make one with `bounceparse keys new`")
    rows = [(key.id, key.created.isoformat(), "signs" if key is found[-1] else "verifies") for key in found]
    print_table(("key", "made", "use"), rows)


def _key_file(session: Session) -> Path:
    path = session.settings.signing.key_file
    if path is None:
        raise ConfigError('no key file is named: add key_file = "bounceparse.keys" to [signing] in the configuration')
    return path


def _replace(path: Path, text: str) -> None:
    """Write beside, then rename: a crash leaves the old keys or the new ones."""
    beside = path.with_name(f"{path.name}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.fchmod(descriptor, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)

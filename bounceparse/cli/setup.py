"""``bounceparse init`` and ``completion``: what one runs once."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import click

from bounceparse.errors import ConfigError

_SHELLS = ("bash", "zsh", "fish")


@click.command(epilog="Example: bounceparse init /etc/bounceparse/bounceparse.toml")
@click.option("--force", is_flag=True, help="Replace a file that is already there.")
@click.argument("path", metavar="[FILE]", default="bounceparse.toml", type=click.Path(path_type=Path))
def init(path: Path, force: bool) -> None:
    """Write a commented configuration to FILE (bounceparse.toml); a folder gets one of that name."""
    if path.is_dir():
        path = path / "bounceparse.toml"
    text = files("bounceparse.cli").joinpath("bounceparse.toml").read_text("utf-8")
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o600)  # it may come to hold a password
    except FileExistsError:
        raise ConfigError(f"{path}: is already there: edit it, or replace it with `bounceparse init --force`") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"{path} is written. Next: fill in your mailbox there, then run")
    config = "" if path == Path("bounceparse.toml") else f"--config {path} "
    for command in ("db upgrade", "doctor", "poll"):
        click.echo(f"  bounceparse {config}{command}")


@click.command(epilog='Example: eval "$(bounceparse completion bash)"')
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that lets a shell complete our commands and options."""
    from click.shell_completion import get_completion_class

    completer = get_completion_class(shell)
    assert completer is not None
    root = ctx.find_root().command
    click.echo(completer(root, {}, "bounceparse", "_BOUNCEPARSE_COMPLETE").source())

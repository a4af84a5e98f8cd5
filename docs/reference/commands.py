"""The page of all commands, from click itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from bounceparse.cli import COMMANDS, main
from reference.markdown import code, table

_INTRO = """# Commands

Every command has `--help` with an example. Global options stand before the command: `bounceparse --config FILE poll`.

| exit status | |
|---|---|
| 0 | done |
| 1 | something needs a person: login refused, certificate, folder, configuration; a line each on standard error |
| 2 | the command was written wrongly (`health`: a stream is stopped) |
| 75 | what failed may work later: network, throttling, a lock, a busy database |

Completion of commands and options in your shell: `eval "$(bounceparse completion bash)"` in `~/.bashrc`
(`zsh` likewise; for fish: `bounceparse completion fish > ~/.config/fish/completions/bounceparse.fish`).

"""


def page() -> str:
    """The Markdown of the page."""
    parts = [_INTRO, "## bounceparse\n\n", _options(click.Context(main, info_name="bounceparse"))]
    parts += ["| command | |\n|---|---|\n"]
    parts += [f"| [`{name}`](#bounceparse-{name}) | {text} |\n" for name, (_, text) in COMMANDS.items()]
    for context in walk():
        depth = context.command_path.count(" ")
        parts.append(f"\n{'#' * (depth + 1)} {context.command_path}\n\n{_body(context)}")
    return "".join(parts)


def walk() -> Iterator[click.Context]:
    """The context of each command below ``bounceparse``, in the order of its help."""
    root = click.Context(main, info_name="bounceparse")
    for name in main.list_commands(root):
        yield from _below(name, root)


def _below(name: str, parent: click.Context) -> Iterator[click.Context]:
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None
    context = click.Context(command, parent=parent, info_name=name)
    yield context
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            yield from _below(inner, context)


def _body(context: click.Context) -> str:
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts = [
        f"```text\n{usage}\n```\n\n",
        inspect.cleandoc(command.help or "").replace("\b\n", "") + "\n\n",
        _options(context),
    ]
    if command.epilog:
        parts.append(_example(inspect.cleandoc(command.epilog)) + "\n")
    return "".join(parts)


def _example(epilog: str) -> str:
    lead, colon, example = epilog.partition(": ")
    if lead == "Example" and colon and "\n" not in example and ", " not in example:
        return f"```sh\n{example}\n```\n"
    return f"{epilog}\n"


def _options(context: click.Context) -> str:
    records = [record for param in context.command.get_params(context) if (record := param.get_help_record(context))]
    rows = [(code(names), text) for names, text in records if "--help" not in names]
    return table(("option", ""), rows) + "\n" if rows else ""

"""The command line: ``main`` and the table of commands, each imported only when it is called.

Exit status: 0 done, 1 something needs a person, 2 a usage error, 75 (EX_TEMPFAIL) what failed may work later.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from typing import Any

import click

from bounceparse.cli.output import complain
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError
from bounceparse.logs import set_up

EX_TEMPFAIL = 75

# Command: the module of this package that holds it (its attribute of the same name, ``-`` as ``_``), and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "init": ("setup", "Write a commented configuration."),
    "doctor": ("doctor", "Check mailboxes and database, and say what is wrong."),
    "poll": ("poll", "Read the mailboxes and record what they hold."),
    "held": ("held", "List, show and retry messages that could not be read."),
    "sweep": ("sweep", "Presume what became of messages nobody reported about."),
    "replay": ("poll", "Record saved mail: files, folders, mbox, Maildir."),
    "ingest": ("ingest", "Record one message from a pipe, for mail servers."),
    "parse": ("parse", "Read mail and print what it reports; no database."),
    "explain": ("explain", "Say how a mail was read, and why each outcome is what it is."),
    "sent": ("sent", "The ledger of what was sent: import or record."),
    "outcomes": ("outcomes", "Print recorded outcomes, oldest first."),
    "address": ("cards", "What is known of an address, with advice."),
    "customer": ("cards", "The same for all addresses of a customer."),
    "stats": ("stats", "Rates of what was sent, and outcomes by reason, provider, ..."),
    "streams": ("streams", "List streams, stop and release them, set their sender."),
    "health": ("health", "May the streams go on, and what should a person know?"),
    "suppressions": ("suppressions", "List, add, lift, import, export and check suppressed addresses."),
    "events": ("events", "Many addresses that failed at once: release or discard."),
    "policy": ("policy", "Show what suppresses, and judge the past by it."),
    "review": ("review", "Unsubscribe requests that wait for a person."),
    "headers": ("headers", "Print the signed headers of an outgoing message."),
    "serve": ("serve", "Serve the API, and one-click unsubscribe requests."),
    "tokens": ("tokens", "Make, list and revoke the tokens of the API."),
    "users": ("users", "Make, list and disable the users of the panel."),
    "webhooks": ("webhooks", "Events to your own endpoints: send, test, replay."),
    "keys": ("keys", "Make, rotate and list the keys that sign what we send."),
    "evaluate": ("evaluate", "Judge the answers to labelled mail, and compare runs."),
    "reclassify": ("reclassify", "Read kept reports again by today's rules."),
    "rules": ("rules", "List and check the wording rules."),
    "erase": ("erase", "Forget a person, in every table; suppressions stay as a hash."),
    "audit": ("audit", "Who lifted, suppressed, decided or erased what."),
    "prune": ("prune", "Clear what has been kept long enough."),
    "db": ("db", "Create, upgrade, check and share the database."),
    "demo": ("demo", "See it work on sample mail, with nothing set up."),
    "completion": ("setup", "Print the completion script of a shell."),
}
_TEMPORARY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})


class _Commands(click.Group):
    """Loads a command's module when the command is called; ``--help`` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"bounceparse.cli.{COMMANDS[cmd_name][0]}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an expected fault becomes one line a fault and an exit status."""
        try:
            return super().invoke(ctx)
        except BounceparseError as error:
            complain(str(error))
            ctx.exit(EX_TEMPFAIL if error.temporary else 1)
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output has gone: click ends quietly
                raise
            complain(str(error))
            ctx.exit(EX_TEMPFAIL if error.errno in _TEMPORARY else 1)


def _print_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        from importlib.metadata import version

        click.echo(f"bounceparse {version('bounceparse')}")
        ctx.exit()


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: bounceparse init, then bounceparse doctor, then bounceparse poll.",
)
@click.option(
    "--config",
    metavar="FILE",
    help="The configuration; else BOUNCEPARSE_CONFIG, else bounceparse.toml where it is found.",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.pass_context
def main(ctx: click.Context, config: str | None) -> None:
    """Read bounces, spam complaints and unsubscribe requests from mailboxes and record what they report."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a diagnostic in Japanese must not end us on a Latin-1 terminal
    set_up()
    ctx.obj = Session(config)

"""``bounceparse doctor``: is everything there that a poll needs, and if not, what to do."""

from __future__ import annotations

from collections.abc import Iterator

import click

from bounceparse.cli import EX_TEMPFAIL
from bounceparse.cli.output import plain
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, ConfigError

Finding = tuple[str, BounceparseError | None]
"""What was looked at, with what is wrong with it."""


@click.command(epilog="Example: bounceparse doctor")
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Log in to every mailbox, look at the database, and say what is wrong and what to do.

    Exit status 0 all is well, 1 something needs a person, 75 what is wrong may pass by itself.
    """
    session: Session = ctx.obj
    worst = 0
    for subject, fault in _findings(session):
        if fault is None:
            click.echo(f"{click.style('ok    ', fg='green')} {plain(subject)}")
            continue
        worst = 1 if worst == 1 or not fault.temporary else EX_TEMPFAIL
        click.echo(f"{click.style('wrong ', fg='red')} {plain(subject)}: {plain(fault)}")
    ctx.exit(worst)


def _findings(session: Session) -> Iterator[Finding]:
    from bounceparse.config import exposed_secrets

    try:
        settings = session.settings
    except ConfigError as error:
        yield "configuration", error
        return
    yield f"configuration {settings.source or 'from the environment'}", None
    for line in exposed_secrets(settings):
        yield "password", ConfigError(line)
    yield _database(session)
    yield from _mailboxes(session)


def _database(session: Session) -> Finding:
    name = f"database {session.database_name}"
    try:
        with session.store() as store:
            store.settle()  # writes: a database that is read-only, full or locked shows here
    except BounceparseError as error:
        return name, error
    return name, None


def _mailboxes(session: Session) -> Iterator[Finding]:
    from bounceparse.config import imap_accounts
    from bounceparse.mailboxes.imap import open_mailbox

    try:
        accounts = imap_accounts(session.settings)
    except ConfigError as error:
        yield "mailboxes", error
        return
    for account in accounts:
        name = f"{account.where} as {account.username}, folder {account.folder}"
        try:
            with open_mailbox(account) as mailbox:
                count = len(mailbox.uids())
            yield f"{name}: {count} messages, after = {account.after}", None
            for alert in mailbox.alerts:
                yield name, BounceparseError(f"the server says: {alert}")
        except BounceparseError as error:
            yield name, error

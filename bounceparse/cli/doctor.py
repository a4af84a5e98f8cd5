"""``bounceparse doctor``: is everything there that a poll needs, and if not, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from bounceparse.cli import EX_TEMPFAIL
from bounceparse.cli.output import plain
from bounceparse.cli.review import warn_of_late
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, ConfigError, RuleError
from bounceparse.health import REVIEW_DEADLINE
from bounceparse.rules import load_rules

if TYPE_CHECKING:
    from bounceparse.mailboxes.session import Quota

_QUOTA_WARNING = 0.8

Finding = str | BounceparseError
"""What was found to be in order, or what is wrong and how to mend it."""


@click.command(epilog="Example: bounceparse doctor --confirm bounces")
@click.option("--confirm", "confirmed", multiple=True, metavar="NAME",
    help='Agree to what polls do to the messages of this mailbox, where first_poll = "guard"; may be given again.',
)  # fmt: skip
@click.pass_context
def doctor(ctx: click.Context, confirmed: tuple[str, ...]) -> None:
    """Log in to every mailbox, look at the database, and say what is wrong and what to do.

    Exit status 0 all is well, 1 something needs a person, 75 what is wrong may pass by itself.
    """
    session: Session = ctx.obj
    worst = 0
    for found in _confirm(session, confirmed) if confirmed else _findings(session):
        if isinstance(found, str):
            click.echo(f"{click.style('ok   ', fg='green')} {plain(found)}")
            continue
        worst = 1 if worst == 1 or not found.temporary else EX_TEMPFAIL
        for line in str(found).splitlines():
            click.echo(f"{click.style('wrong', fg='red')} {plain(line)}")
    ctx.exit(worst)


def _confirm(session: Session, names: Sequence[str]) -> Iterator[Finding]:
    """Say what polls will do in each of these mailboxes, and note that a person has agreed to it."""
    from bounceparse.config import imap_accounts
    from bounceparse.ingest import survey
    from bounceparse.mailboxes.imap import open_mailbox
    from bounceparse.mailboxes.polling import confirm, prospect

    with session.store() as store:
        for account in imap_accounts(session.settings, names):
            try:
                with open_mailbox(account) as mailbox:
                    told = prospect(mailbox, survey(mailbox, store, rules=session.rules))
                    confirm(mailbox, store)
                    yield f"{told}: confirmed"
            except BounceparseError as error:
                yield error


def _findings(session: Session) -> Iterator[Finding]:
    from bounceparse.config import exposed_secrets

    try:
        settings = session.settings
    except ConfigError as error:
        yield error
        return
    yield f"configuration {settings.source or 'from the environment'}"
    for line in exposed_secrets(settings):
        yield ConfigError(line)
    yield from _rules(session)
    yield from _keys(session)
    yield from _database(session)
    yield from _requests(session)
    yield from _mailboxes(session)


def _rules(session: Session) -> Iterator[Finding]:
    for path in session.rule_files:
        try:
            yield f"rules of {path}: {len(load_rules([path]).rules)} with the packaged ones"
        except RuleError as error:
            yield error


def _keys(session: Session) -> Iterator[Finding]:
    from bounceparse.config import load_keyring

    try:
        keys = load_keyring(session.settings).keys
    except ConfigError as error:
        yield error
        return
    if keys:
        yield f"keys: {len(keys)}, number {keys[-1].id} signs since {keys[-1].created}"


def _requests(session: Session) -> Iterator[Finding]:
    """Unsubscribe requests that wait for a person, or in a mailbox that nobody polls."""
    try:
        with session.store() as store:
            if late := warn_of_late(store):
                yield BounceparseError(late)
            polled = store.last_polls()
    except BounceparseError:
        return  # told of the database already
    for name, box in session.settings.mailbox.items():
        last = polled.get(name)
        if box.role == "unsubscribe" and last is not None and datetime.now(UTC) - last > REVIEW_DEADLINE:
            yield BounceparseError(
                f"mailbox {name}: not polled for more than 24 hours: unsubscribe requests wait in it"
            )


def _database(session: Session) -> Iterator[Finding]:
    try:
        with session.store() as store:
            store.settle()  # it writes: a database that is read-only, full or locked shows here
            alert = store.backscatter().alert
    except BounceparseError as error:
        yield error
        return
    yield f"database {session.database_name}"
    if alert:
        yield BounceparseError(alert)


def _mailboxes(session: Session) -> Iterator[Finding]:
    from bounceparse.config import imap_accounts
    from bounceparse.mailboxes.imap import open_mailbox

    try:
        accounts = imap_accounts(session.settings)
    except ConfigError as error:
        yield error
        return
    for account in accounts:
        with open_mailbox(account) as mailbox:
            try:
                mailbox.connect()
                yield f"{account.where}: {len(mailbox.uids())} messages in {account.folder}, after = {account.after}"
                for quota in mailbox.quotas():
                    yield _quota(account.where, quota)
            except BounceparseError as error:
                yield error
            for alert in mailbox.alerts:
                yield BounceparseError(f"{account.where}: the server says: {alert}")


def _quota(where: str, quota: Quota) -> Finding:
    told = f"{where}: {quota.resource} {quota.used} of {quota.limit} ({quota.share:.0%})"
    if quota.share < _QUOTA_WARNING:
        return told
    return BounceparseError(f"{told}: when it is full, bounces are lost: delete mail, set keep_days, or ask for more")

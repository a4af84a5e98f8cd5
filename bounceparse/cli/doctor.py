"""``bounceparse doctor``: is everything there that a poll needs, and if not, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bounceparse.cli import EX_TEMPFAIL, options
from bounceparse.cli.output import plain, print_json
from bounceparse.cli.review import warn_of_late
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, ConfigError, RuleError
from bounceparse.rules import load_rules

if TYPE_CHECKING:
    from bounceparse.mailboxes.session import Quota

_QUOTA_WARNING = 0.8

_SKEW = timedelta(minutes=2)
"""How far clocks may be apart: tokens and windows are counted in days, signatures of others in minutes."""
_OLD_KEY = timedelta(days=730)


class Advice(str):
    """What is in order, but could be better."""


Finding = str | BounceparseError
"""What was found to be in order, or what is wrong and how to mend it."""


@click.command(epilog="Example: bounceparse doctor --confirm bounces")
@click.option("--confirm", "confirmed", multiple=True, metavar="NAME",
    help='Agree to what polls do to the messages of this mailbox, where first_poll = "guard"; may be given again.',
)  # fmt: skip
@click.option("--probe", is_flag=True, help="Plant a report in each mailbox, follow it to the database, remove both.")
@click.option("--mailbox", "names", multiple=True, metavar="NAME", help="Probe only this one; may be given again.")
@options.as_json
@click.pass_context
def doctor(ctx: click.Context, confirmed: tuple[str, ...], probe: bool, names: tuple[str, ...], as_json: bool) -> None:
    """Log in to every mailbox, look at the database, the clocks, the keys and the age of the last polls, and say what is
    wrong and what to do.

    With --probe a report of our own goes the whole way: appended to the folder, polled alone, recorded, dealt with as
    `after` asks, found in the database; then it is removed from both. Other messages are left alone.

    Exit status, for monitoring: 0 all is well, 1 something needs a person, 75 what is wrong may pass by itself.
    """
    session: Session = ctx.obj
    if confirmed:
        found: Iterator[Finding] = _confirm(session, confirmed)
    elif probe:
        from bounceparse.cli.probe import probe_mailboxes

        found = probe_mailboxes(session, names)
    else:
        found = _findings(session)
    worst = 0
    told = []
    for one in found:
        if isinstance(one, BounceparseError):
            worst = 1 if worst == 1 or not one.temporary else EX_TEMPFAIL
        if as_json:
            told.append(_as_json(one))
        else:
            _print(one)
    if as_json:
        status = {0: "ok", 1: "wrong", EX_TEMPFAIL: "temporary"}[worst]
        print_json({"status": status, "exit": worst, "findings": told})
    ctx.exit(worst)


def _print(found: Finding) -> None:
    if not isinstance(found, BounceparseError):
        label = click.style("note ", fg="yellow") if isinstance(found, Advice) else click.style("ok   ", fg="green")
        click.echo(f"{label} {plain(found)}")
        return
    for line in str(found).splitlines():
        click.echo(f"{click.style('wrong', fg='red')} {plain(line)}")


def _as_json(found: Finding) -> dict[str, object]:
    if isinstance(found, BounceparseError):
        return {"level": "wrong", "temporary": found.temporary, "text": str(found)}
    return {"level": "note" if isinstance(found, Advice) else "ok", "temporary": None, "text": str(found)}


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
    if settings.webhook:
        from bounceparse.cli.webhooks import look_at_webhooks

        yield from look_at_webhooks(session)
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
    if not keys:
        return
    told = f"keys: {len(keys)}, number {keys[-1].id} signs since {keys[-1].created}"
    if datetime.now(UTC).date() - keys[-1].created > _OLD_KEY:
        yield Advice(f"{told}, more than two years ago: make a new one with `bounceparse keys rotate`")
    else:
        yield told


def _requests(session: Session) -> Iterator[Finding]:
    """Unsubscribe requests that wait for a person."""
    try:
        with session.store() as store:
            if late := warn_of_late(store):
                yield BounceparseError(late)
    except BounceparseError:
        return  # told of the database already


def _database(session: Session) -> Iterator[Finding]:
    try:
        with session.store() as store:
            store.settle()  # it writes: a database that is read-only, full or locked shows here
            alert = store.backscatter().alert
            there = store.database_time()
            skew = there - datetime.now(UTC) if there is not None else timedelta(0)
    except BounceparseError as error:
        yield error
        return
    yield f"database {session.database_name}{'' if there else ' (SQLite: poll from one host only)'}"
    if abs(skew) > _SKEW:
        yield BounceparseError(f"clock: the database's server is {_apart(skew)}: set both by NTP")
    yield from _database_mode(session)
    if alert:
        yield BounceparseError(alert)


def _database_mode(session: Session) -> Iterator[Finding]:
    from sqlalchemy.engine import make_url

    url = make_url(session.settings.database.url)
    path = Path(url.database or "")
    if url.get_backend_name() == "sqlite" and path.stat().st_mode & 0o007:
        yield Advice(f"{path}: holds addresses and everybody on this machine may read it: chmod o= {path}")


def _apart(skew: timedelta) -> str:
    """How far a clock is from ours."""
    return f"{abs(skew).total_seconds():.0f} seconds {'ahead' if skew > timedelta(0) else 'behind'}"


def _last_success(session: Session, name: str, polled: Mapping[str, datetime]) -> Finding:
    """How long ago a mailbox was polled to its end; a mailbox that never was is new, not ill."""
    last = polled.get(name)
    if last is None:
        return Advice(f"mailbox {name}: never polled to its end yet: run `bounceparse poll`")
    age = datetime.now(UTC) - last
    waits = ": unsubscribe requests wait in it" if session.settings.mailbox[name].role == "unsubscribe" else ""
    told = f"mailbox {name}: last polled to its end {plain(last)}"
    if age > session.settings.health.unpolled:
        return BounceparseError(
            f"{told}{waits}: is the cron job or the service running? Look at what `bounceparse poll` says"
        )
    return told


def _mailboxes(session: Session) -> Iterator[Finding]:
    from bounceparse.config import imap_accounts
    from bounceparse.mailboxes.imap import open_mailbox

    try:
        accounts = imap_accounts(session.settings)
    except ConfigError as error:
        yield error
        return
    try:
        with session.store() as store:
            polled = store.last_polls()
    except BounceparseError:
        polled = None  # told of the database already
    for account in accounts:
        if polled is not None:
            yield _last_success(session, account.name, polled)
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

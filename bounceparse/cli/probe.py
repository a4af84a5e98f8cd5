"""``bounceparse doctor --probe``: a report of our own on its way from each mailbox to the database and out again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError
from bounceparse.ingest import poll_mailbox

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.mailboxes.account import ImapAccount

_SKEW = timedelta(minutes=2)


def probe_mailboxes(session: Session, names: Sequence[str]) -> Iterator[str | BounceparseError]:
    """Try each mailbox; what is found in order, and what is wrong."""
    from bounceparse.config import imap_accounts
    from bounceparse.mailboxes.probe import DOMAIN

    try:
        accounts = imap_accounts(session.settings, names)
        with session.store() as store:
            for account in accounts:
                try:
                    yield from _probe(account, store, session)
                except BounceparseError as error:
                    yield error
                finally:
                    store.forget_probes(DOMAIN)
    except BounceparseError as error:
        yield error


def _probe(account: ImapAccount, store: Store, session: Session) -> Iterator[str | BounceparseError]:
    from bounceparse.mailboxes.imap import open_mailbox
    from bounceparse.mailboxes.probe import OneMessage, StoreOfOne, arrived_at, make_probe, plant, remove

    began = datetime.now(UTC)
    probe = make_probe(began)
    with open_mailbox(account) as mailbox:
        try:
            uid = plant(mailbox, probe)
            arrived = arrived_at(mailbox, uid)
            result = poll_mailbox(OneMessage(mailbox, uid), StoreOfOne(store, uid), rules=session.rules)
            found = store.history(probe.address)
        finally:
            removed = remove(mailbox)
    if not found:
        yield BounceparseError(f"{account.where}: the probe was planted as UID {uid} and not found in the database")
        return
    outcome = found[0].outcome
    if (outcome.status, outcome.reason) != ("hardbounce", "user-unknown"):
        yield BounceparseError(
            f"{account.where}: the probe was read as {outcome.status} {outcome.reason}: check [rules]"
        )
    seconds = (datetime.now(UTC) - began).total_seconds()
    marked = f"dealt with as after = {account.after}" if result.marked else "left as it was"
    yield f"{account.where}: a probe reached the database in {seconds:.1f} s, was {marked} and is removed again"
    if not removed and not account.deletes:
        yield BounceparseError(f"{account.where}: the probe was not found again to be removed: look for UID {uid}")
    if arrived is not None and abs(arrived - began) > _SKEW:
        apart = (arrived - began).total_seconds()
        yield BounceparseError(
            f"{account.where}: clock: the mail server is {apart:.0f} seconds from ours: set both by NTP"
        )

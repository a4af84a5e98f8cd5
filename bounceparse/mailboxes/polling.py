"""One poll of one mailbox, with a person's consent where that is asked for.

With ``first_poll = "guard"`` nothing is recorded or done in a folder until a person has confirmed it, once for each of
``ImapAccount.consequence``: that messages are recorded and flagged, moved to a folder, or deleted. A confirmation is a
row in the database. ``bounceparse doctor --confirm NAME`` and ``bounceparse poll --go`` write it; nothing else does, and
nothing but :func:`poll_account` reads it. With ``first_poll = "go"`` the configuration is the consent.
"""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import Protocol

from bounceparse import ingest
from bounceparse.errors import MailboxError
from bounceparse.ingest import PollResult, Progress, Survey, poll_mailbox, survey
from bounceparse.mailboxes.imap import ImapMailbox
from bounceparse.rules import RuleSet


class Store(ingest.Store, Protocol):
    """What a poll needs of a database, with what it must remember of people's consent."""

    def confirm(self, account: str, folder: str, consequence: str) -> None:
        """Note that a person agrees to what polls do in this folder."""

    def is_confirmed(self, account: str, folder: str, consequence: str) -> bool:
        """Whether a person has agreed to that."""

    def note_poll(self, account: str) -> None:
        """Note that this mailbox was polled to its end."""


def poll_account(
    mailbox: ImapMailbox,
    store: Store,
    *,
    dry_run: bool = False,
    go: bool = False,
    progress: Progress | None = None,
    jobs: int = 1,
    rules: RuleSet | None = None,
) -> PollResult:
    """Poll a mailbox as :func:`~bounceparse.ingest.poll_mailbox` does, if a person has agreed or need not.

    ``go`` is that agreement. Without it, where it is needed, the newest messages are only looked at, ``progress`` is
    told of them, and ``MailboxError`` says what would happen and how to confirm it; an empty folder needs nobody.
    """
    account = mailbox.settings
    if go and not dry_run:
        confirm(mailbox, store)
    elif not dry_run and account.first_poll == "guard" and not _is_confirmed(mailbox, store):
        found = survey(mailbox, store, rules=rules)
        if not found.new:
            return PollResult(account.name)
        if progress:
            progress(PollResult(account.name, fetched=found.read, outcomes=found.outcomes), found.new)
        raise MailboxError(
            f"{prospect(mailbox, found)}: if that is the right folder, confirm with"
            f" `bounceparse doctor --confirm {account.name}` (or `bounceparse poll --mailbox {account.name} --go`)"
        )
    began = monotonic()
    result = poll_mailbox(mailbox, store, dry_run=dry_run, progress=progress, jobs=jobs, rules=rules)
    result = replace(result, seconds=round(monotonic() - began, 3))
    if not dry_run:
        store.note_poll(account.name)
    return result


def confirm(mailbox: ImapMailbox, store: Store) -> None:
    """Write a person's agreement down; from now on polls do as they are configured to."""
    account = mailbox.settings
    store.confirm(account.name, account.folder, account.consequence)


def _is_confirmed(mailbox: ImapMailbox, store: Store) -> bool:
    account = mailbox.settings
    return store.is_confirmed(account.name, account.folder, account.consequence)


def prospect(mailbox: ImapMailbox, found: Survey) -> str:
    """What a poll would do, for people to judge whether this is the right folder."""
    account = mailbox.settings
    looked = "them" if found.read == found.new else f"the newest {found.read}"
    share = f" ({found.reports} of {looked} look like reports, with {found.outcomes} outcomes)" if found.new else ""
    return (
        f"mailbox {account.name}: {account.folder}: {found.new} messages would be recorded{share}"
        f" and {account.consequence}"
    )

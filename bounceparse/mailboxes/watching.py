"""A mailbox polled again and again: when the server tells of mail, and at least every few minutes in any case."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from threading import Event

from bounceparse.errors import BounceparseError, MailboxError
from bounceparse.ingest import PollResult
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.imap import ImapMailbox, open_mailbox
from bounceparse.mailboxes.polling import Store, poll_account
from bounceparse.rules import RuleSet

_log = logging.getLogger(__name__)

POLL_EVERY = 290.0
"""Seconds between polls when the server tells of nothing: some drop a connection that idles for 300."""
_FIRST_PAUSE = {True: 5.0, False: 60.0}  # seconds after a fault, by whether it is temporary
_LONGEST_PAUSE = {True: 300.0, False: 3600.0}

Tell = Callable[[PollResult, BounceparseError | None], None]
"""Called after each poll, from the thread that polls, with what it did and what went wrong."""


class _Stopped(Exception):
    """The poll is to end after this batch."""


def watch(
    account: ImapAccount,
    store: Store,
    stop: Event,
    tell: Tell,
    *,
    rules: RuleSet | None = None,
    every: float = POLL_EVERY,
) -> None:
    """Poll until ``stop`` is set, which is noticed after each batch. Nothing that goes wrong ends it.

    After a fault it connects anew, after a pause that doubles each time and is no two times the same length.
    """
    faults = 0
    with open_mailbox(account) as mailbox:
        while not stop.is_set():
            error = _poll(mailbox, store, stop, tell, rules)
            if error is None:
                error = _wait(mailbox, every, stop, tell)
            if error is None:
                faults = 0
                continue
            faults += 1
            mailbox.close()
            stop.wait(pause_after(error, faults))


def pause_after(error: BounceparseError, faults: int) -> float:
    """The seconds to wait after so many faults in a row, at least what the server asked for."""
    longest = _LONGEST_PAUSE[error.temporary]
    pause = min(longest, _FIRST_PAUSE[error.temporary] * 2.0 ** min(faults - 1, 20)) * random.uniform(0.5, 1)  # noqa: S311
    asked = error.retry_after if isinstance(error, MailboxError) else None
    return max(pause, asked or 0)


def _poll(
    mailbox: ImapMailbox, store: Store, stop: Event, tell: Tell, rules: RuleSet | None
) -> BounceparseError | None:
    result = PollResult(mailbox.account)

    def note(so_far: PollResult, total: int | None) -> None:
        nonlocal result
        result = so_far
        if stop.is_set():
            raise _Stopped

    error: BounceparseError | None = None
    try:
        result = poll_account(mailbox, store, progress=note, rules=rules)
    except _Stopped:
        pass
    except Exception as fault:
        error = _told(mailbox, fault)
    tell(result, error)
    return error


def _wait(mailbox: ImapMailbox, every: float, stop: Event, tell: Tell) -> BounceparseError | None:
    try:
        mailbox.wait(every, stop)
    except Exception as fault:
        error = _told(mailbox, fault)
        tell(PollResult(mailbox.account), error)
        return error
    return None


def _told(mailbox: ImapMailbox, fault: Exception) -> BounceparseError:
    """What went wrong as one that can be told: a fault of our own must not end the watch unseen."""
    if isinstance(fault, BounceparseError):
        return fault
    _log.error("%s: unexpected", mailbox.settings.where, exc_info=fault)
    return MailboxError(f"{mailbox.settings.where}: unexpected {type(fault).__name__}: {fault}", temporary=True)

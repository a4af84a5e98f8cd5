"""``bounceparse poll --watch``: a thread a mailbox, signals, and word to systemd."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from bounceparse.cli.health import after_poll
from bounceparse.cli.monitoring import complain_of_poll, note_poll, served_metrics, write_metrics
from bounceparse.cli.poll import tell
from bounceparse.cli.session import Session
from bounceparse.cli.webhooks import sending
from bounceparse.errors import BounceparseError, ConfigError
from bounceparse.ingest import PollResult

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.mailboxes.account import ImapAccount

_HEARTBEAT = 10.0  # seconds between words to systemd's watchdog
_SETTLE = 30  # heartbeats between rounds of matching again what waits for its ledger row


class _Signals:
    """What was asked for by signal: ``stop`` (SIGTERM, SIGINT) or another look at the configuration (SIGHUP)."""

    def __init__(self) -> None:
        self.stop = self.reload = False
        self.asked = Event()

    def receive(self, number: int, frame: object) -> None:
        """Note a signal."""
        if number == signal.SIGHUP:
            self.reload = True
        else:
            self.stop = True
        self.asked.set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Receive the signals, as long as this lasts."""
        before = {number: signal.signal(number, self.receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def watch_mailboxes(session: Session, names: Sequence[str], *, as_json: bool) -> None:
    """Watch the mailboxes until a signal ends it. Raises what is wrong with the configuration or database at the start."""
    from bounceparse.config import imap_accounts

    accounts = imap_accounts(session.settings, names)
    if not accounts:
        raise ConfigError(
            "there is no mailbox to watch: all have polled = false: run `bounceparse poll` from cron instead"
        )
    signals = _Signals()
    with signals.installed():
        while True:
            signals.reload = False
            signals.asked.clear()
            with session.store() as store, served_metrics(session, store), sending(session, store):
                _watch(accounts, store, session, signals, as_json=as_json)
            if signals.stop:
                notify("STOPPING=1")
                return
            notify("RELOADING=1")
            session, accounts = _reloaded(session, accounts, names)


def _reloaded(session: Session, accounts: list[ImapAccount], names: Sequence[str]) -> tuple[Session, list[ImapAccount]]:
    """The configuration as it is now; the old one, and a complaint, when that cannot be used."""
    from bounceparse.config import imap_accounts

    fresh = Session(session.config)
    try:
        found = imap_accounts(fresh.settings, names)
        fresh.store().close()
        _ = fresh.rules
    except BounceparseError as error:
        complain_of_poll(f"{error}: going on with the old configuration")
        return session, accounts
    return fresh, found


def _watch(
    accounts: Sequence[ImapAccount], store: Store, session: Session, signals: _Signals, *, as_json: bool
) -> None:
    """Watch until a signal asks for something else; the threads end after the batch that they are at."""
    from bounceparse.mailboxes.watching import watch

    stop, printing = Event(), Lock()
    report = partial(_report, store, printing, as_json)
    threads = [
        Thread(target=watch, args=(account, store, stop, report), kwargs={"rules": session.rules}, name=account.name)
        for account in accounts
    ]
    for thread in threads:
        thread.start()
    notify("READY=1")
    beats = 0
    settling: Thread | None = None
    try:
        while not signals.asked.wait(_HEARTBEAT) and all(thread.is_alive() for thread in threads):
            notify("WATCHDOG=1")
            beats += 1
            if beats % _SETTLE == 0 and (settling is None or not settling.is_alive()):
                # in a thread of its own: it may take long, and the watchdog waits for no more than a minute
                settling = Thread(target=_settle, args=(session, store))
                settling.start()
    finally:
        stop.set()
        for thread in [*threads, settling] if settling else threads:
            thread.join()


def _settle(session: Session, store: Store) -> None:
    try:
        store.settle()
        after_poll(session, store)
        write_metrics(session, store)
    except BounceparseError as error:
        complain_of_poll(str(error))


def _report(store: Store, printing: Lock, as_json: bool, result: PollResult, error: BounceparseError | None) -> None:
    """Print what happened, if anything did; called from several threads."""
    with printing:
        if error is not None:
            complain_of_poll(str(error))
        if result.fetched or result.marked or error is not None:
            tell(result, as_json=as_json, error=error)
            sys.stdout.flush()
    note_poll(store, result, error)


def notify(state: str) -> None:
    """Tell systemd how we fare (``sd_notify``); nothing where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as speaker:
        speaker.sendto(state.encode(), address)

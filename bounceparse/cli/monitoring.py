"""What monitoring is told after each poll: a line in the log, numbers in the database, the file for Prometheus."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

from bounceparse.cli.output import complain
from bounceparse.errors import BounceparseError, MailboxLocked
from bounceparse.ingest import PollResult
from bounceparse.logs import log_event, mask

if TYPE_CHECKING:
    from bounceparse.cli.session import Session
    from bounceparse.db import Store


def complain_of_poll(text: str) -> None:
    """A fault of what runs unattended: as :func:`complain`, but masked as a log is, for that is where it ends."""
    complain(mask(text))


def note_poll(store: Store, result: PollResult, error: BounceparseError | None) -> None:
    """Log a poll that has ended, and count it. What went wrong with the poll is told elsewhere."""
    ended = "ok" if error is None else "skipped" if isinstance(error, MailboxLocked) else "failed"
    temporary = None if error is None else error.temporary
    message = f"mailbox {result.mailbox}: poll {ended}"
    log_event("poll", message, **asdict(result), result=ended, temporary=temporary)
    try:
        store.count_poll(result.mailbox, result.seconds, ended)
    except BounceparseError as fault:
        log_event("fault", f"the poll is not counted: {fault}", level=logging.DEBUG)


def write_metrics(session: Session, store: Store) -> None:
    """Write the file for Prometheus, where one is asked for; a poll does not fail because that does."""
    path = session.settings.metrics.textfile
    if path is None:
        return
    from bounceparse.metrics import render, write_textfile

    try:
        write_textfile(path, render(store.figures()))
    except BounceparseError as error:
        complain(str(error))


@contextmanager
def served_metrics(session: Session, store: Store) -> Iterator[None]:
    """Serve the numbers over HTTP while this lasts, where that is asked for."""
    listen = session.settings.metrics.listen
    if listen is None:
        yield
        return
    from bounceparse.metrics import serving

    with serving(listen, store) as port:
        log_event("metrics", f"numbers are served on port {port}", port=port)
        yield

"""``bounceparse health``: may the streams go on, and what should a person know? Also what each poll does about it."""

from __future__ import annotations

import logging
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import click

from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import AlertError

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.db.alerts import OpenAlert
    from bounceparse.db.health import StreamHealth

EVERY = timedelta(minutes=5)
"""Polls judge the streams no more often than this."""
_log = logging.getLogger(__name__)


@click.command(epilog="Example: bounceparse health --json")
@click.option("--json", "as_json", is_flag=True, help="All as one JSON object.")
@click.pass_context
def health(ctx: click.Context, as_json: bool) -> None:
    """Judge the streams by what they sent in the last 24 hours, tell the alerts that are due, print what lasts.

    Exit status 0 all is well, 1 something warns, 2 a stream is stopped; 75 when the database may answer later.
    """
    session: Session = ctx.obj
    with session.store() as store:
        store.check_health()
        tell_alerts(session, store)
        found = store.health()
    if as_json:
        streams = [as_json_row(one) for one in found.streams]
        print_json({"level": found.level, "streams": streams, "alerts": [one.to_json() for one in found.alerts]})
    elif found.alerts:
        rows = [(one.alert.level, one.began_at, one.alert.text) for one in found.alerts]
        print_table(("level", "since", "what"), rows)
    else:
        click.echo(f"ok: {len(found.streams)} streams, nothing to tell")
    ctx.exit(found.level.rank)


def after_poll(session: Session, store: Store) -> None:
    """What each poll does at its end: judge the streams, if that is due, and tell what is new or has lasted a day."""
    if store.check_health(at_most_every=EVERY):
        tell_alerts(session, store)


def tell_alerts(session: Session, store: Store) -> None:
    """Tell the alerts that are due: in the log, and by the operator's command; that it fails stops nothing."""
    from bounceparse.alerting import run_alert
    from bounceparse.config import build_alert

    command = build_alert(session.settings)

    def tell(one: OpenAlert) -> None:
        if command is not None:
            run_alert(command, one.to_json())
        _log.warning(one.alert.text)

    try:
        store.tell_alerts(tell)
    except AlertError as error:
        complain(str(error))


def as_json_row(one: StreamHealth) -> dict[str, object]:
    """A stream as JSON: how it does, what it sent in 24 hours, and the rates of that."""
    values = {field.name: getattr(one, field.name) for field in fields(one) if field.name != "cohort"}
    times = {name: value.isoformat() for name, value in values.items() if isinstance(value, datetime)}
    return {**values, **times, "sent": one.cohort.to_json(), "rates": one.cohort.rates()}

"""``bounceparse webhooks``: the endpoints that events go to, and what they would not take."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

import click

from bounceparse.cli import EX_TEMPFAIL, options
from bounceparse.cli.output import complain, plain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import BounceparseError, ConfigError, MailboxLocked

if TYPE_CHECKING:
    from bounceparse.db import Store
    from bounceparse.db.deliveries import EndpointState
    from bounceparse.db.webhook_store import WebhookStore
    from bounceparse.webhooks.endpoints import Endpoint


@click.group(epilog="Example: bounceparse webhooks send")
def webhooks() -> None:
    """Events to the endpoints of the configuration, [webhook.NAME]: signed, and sent again until they are taken."""


@contextmanager
def _opened(session: Session, names: Sequence[str] = ()) -> Iterator[tuple[WebhookStore, list[Endpoint]]]:
    """The endpoints of the configuration, those named or all, with the database that has their events."""
    from bounceparse.db.webhook_store import WebhookStore
    from bounceparse.webhooks.endpoints import endpoints_of

    found = endpoints_of(session.settings, names)
    with session.store() as store:
        yield WebhookStore(store), found


@contextmanager
def sending(session: Session, store: Store) -> Iterator[None]:
    """Send events while this lasts, a thread an endpoint; nothing where there are no endpoints."""
    if not session.settings.webhook:
        yield
        return
    from bounceparse.db.webhook_store import WebhookStore
    from bounceparse.webhooks.endpoints import endpoints_of
    from bounceparse.webhooks.sending import keep_sending

    theirs, stop = WebhookStore(store), Event()
    threads = [
        Thread(target=keep_sending, args=(theirs, endpoint, stop), name=f"webhook {endpoint.name}")
        for endpoint in endpoints_of(session.settings)
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


_LATE = timedelta(hours=1)
"""How long an event may wait before it is asked whether anything sends events."""


def look_at_webhooks(session: Session) -> Iterator[str | BounceparseError]:
    """What ``doctor`` says of the endpoints: can they be reached, do their secrets serve, does anything wait or lie dead?"""
    from bounceparse.webhooks.endpoints import endpoints_of
    from bounceparse.webhooks.reaching import Unreachable

    try:
        with _opened(session) as (store, _):
            states = {one.name: one for one in store.endpoints()}
    except BounceparseError:
        return  # told of the database already
    for endpoint in endpoints_of(session.settings):
        told = f"webhook {endpoint.name}"
        try:
            endpoint.keys()
            endpoint.line(endpoint.tls()).find_addresses()
        except (BounceparseError, Unreachable) as error:
            yield BounceparseError(f"{told}: {error}")
            continue
        yield _state(told, states[endpoint.name])


def _state(told: str, state: EndpointState) -> str | BounceparseError:
    told = f"{told}: {state.waiting} events wait, {state.dead} were given up"
    if state.down_since is not None:
        return BounceparseError(f"{told}, it takes none since {plain(state.down_since)}: look at its log")
    if state.dead:
        return BounceparseError(f"{told}: see `bounceparse webhooks dead`, then `webhooks replay`")
    if state.since is not None and datetime.now(UTC) - state.since > _LATE:
        return BounceparseError(
            f"{told}, the oldest since {plain(state.since)}: run `bounceparse webhooks send` from cron, `poll --watch` or `serve`"
        )
    return told


@webhooks.command("list", epilog="Example: bounceparse webhooks list --json")
@options.as_json
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """The endpoints: what waits for them, what was given up, and when each last took an event."""
    from bounceparse.webhooks.endpoints import endpoints_of

    with _opened(session) as (store, _):
        found = {one.name: one for one in store.endpoints()}
    hosts = {one.name: one.host for one in endpoints_of(session.settings)}
    if as_json:
        for name, one in found.items():
            times = {"since": one.since, "sent_at": one.sent_at, "down_since": one.down_since}
            shown = {key: value and value.isoformat() for key, value in times.items()}
            print_json({"name": name, "host": hosts.get(name), "waiting": one.waiting, "dead": one.dead, **shown})
        return
    rows = [
        (name, hosts.get(name, "not configured"), one.waiting, one.dead, one.since, one.sent_at, one.down_since)
        for name, one in found.items()
    ]
    print_table(("name", "host", "waiting", "given up", "oldest waits since", "last taken", "down since"), rows)


@webhooks.command(epilog="Example: bounceparse webhooks send crm")
@options.as_json
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.pass_context
def send(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Send what is due, to all endpoints or these, and end: meant for cron.

    `poll --watch` and `serve` send events as they come and need no cron job. An endpoint that another process sends to
    is skipped. Exit status 75 when requests failed that will be made again, 1 when events were given up.
    """
    from bounceparse.webhooks.sending import Sent, send_due

    session: Session = ctx.obj
    stop = Event()
    status = 0
    with _opened(session, names) as (store, endpoints), ThreadPoolExecutor(len(endpoints) or 1) as threads:

        def send_to(endpoint: Endpoint) -> Sent | BounceparseError:
            try:
                return send_due(store, endpoint, stop)
            except BounceparseError as error:
                return error

        try:
            results = list(zip(endpoints, threads.map(send_to, endpoints), strict=True))
        except BaseException:
            stop.set()
            raise
    for endpoint, sent in results:
        status = _tell(endpoint, sent, status, as_json=as_json)
    ctx.exit(status)


def _tell(endpoint: Endpoint, sent: object, status: int, *, as_json: bool) -> int:
    """Tell what a run came to; answers the exit status so far."""
    from bounceparse.webhooks.sending import Sent

    if isinstance(sent, MailboxLocked):
        complain(f"webhook {endpoint.name}: another process sends to it: skipped")
        return status
    if isinstance(sent, BounceparseError):
        complain(f"webhook {endpoint.name}: {sent}")
        return status or EX_TEMPFAIL if sent.temporary else 1
    assert isinstance(sent, Sent)
    if as_json:
        told = {"delivered": sent.delivered, "failed": sent.failed, "dead": sent.dead, "error": sent.error}
        print_json({"name": endpoint.name, **told})
    elif sent.delivered or sent.failed or sent.dead:
        click.echo(f"{endpoint.name}: {sent.delivered} delivered, {sent.failed} failed, {sent.dead} given up")
    if sent.error:
        complain(f"webhook {endpoint.name}: {sent.error}")
    if sent.dead:
        return 1
    return status or EX_TEMPFAIL if sent.failed else status


@webhooks.command(epilog="Example: bounceparse webhooks test crm")
@click.argument("name")
@click.pass_context
def test(ctx: click.Context, name: str) -> None:
    """Post an event `webhook.test` to an endpoint, once, and say what it answers. Exit status 1 unless it takes it."""
    import os

    from bounceparse.webhooks.endpoints import endpoints_of
    from bounceparse.webhooks.sending import example_payload, post

    session: Session = ctx.obj
    (endpoint,) = endpoints_of(session.settings, [name])
    line = endpoint.line(endpoint.tls())
    now = datetime.now(UTC)
    try:
        result = post(line, endpoint.keys(), f"evt_{os.urandom(16).hex()}", example_payload(now), now)
    finally:
        line.close()
    took = (datetime.now(UTC) - now).total_seconds()
    if result.error is not None:
        raise ConfigError(f"webhook {name} at {endpoint.host}: {result.error}")
    click.echo(f"{name} at {endpoint.host} took it in {took * 1000:.0f} ms")


@webhooks.command(epilog="Example: bounceparse webhooks dead --json")
@options.as_json
@click.argument("name", required=False)
@click.pass_obj
def dead(session: Session, name: str | None, as_json: bool) -> None:
    """The events that were given up, of one endpoint or all, oldest first, with the last error."""
    with _opened(session) as (store, _):
        found = store.dead_letters(name)
        if as_json:
            for one in found:
                told = {key: getattr(one, key) for key in ("id", "endpoint", "event_id", "attempts", "error")}
                made = one.created_at.isoformat()
                print_json({**told, "created_at": made, "payload": json.loads(one.payload)})
            return
        rows = [
            (one.id, one.endpoint, one.created_at, one.kind, one.subject, one.status, one.attempts, one.error)
            for one in found
        ]
    print_table(("id", "endpoint", "made", "kind", "subject", "status", "requests", "last error"), rows)


@webhooks.command(epilog="Example: bounceparse webhooks replay crm")
@click.option(
    "--id", "ids", type=int, multiple=True, help="Only this one, as `webhooks dead` lists it; again for more."
)
@click.argument("name")
@click.pass_obj
def replay(session: Session, name: str, ids: tuple[int, ...]) -> None:
    """Have events that were given up sent again, with the ids they had; they may come after later ones."""
    with _opened(session, [name]) as (store, _):
        count = store.replay(name, ids or None)
    click.echo(f"{name}: {count} events wait again")


@webhooks.command(epilog="Example: bounceparse webhooks forget old-crm")
@click.argument("name")
@click.pass_obj
def forget(session: Session, name: str) -> None:
    """Drop all that waits for an endpoint which is no longer configured, with its dead letters."""
    if name in session.settings.webhook:
        raise ConfigError(f"webhook {name} is configured: remove its table first")
    with _opened(session) as (store, _):
        count = store.forget(name)
        stopped = not session.settings.webhook and store.stop_events()
    click.echo(f"{name}: {count} events dropped" + ("; no more events are written" if stopped else ""))


@webhooks.command(epilog="Example: bounceparse webhooks secret > /etc/bounceparse/crm.secret")
def secret() -> None:
    """Print a new secret, for secret_file and for the receiver. Of several lines in that file each signs."""
    from bounceparse.webhooks.signing import new_secret

    click.echo(new_secret())

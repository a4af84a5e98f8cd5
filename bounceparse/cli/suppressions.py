"""``bounceparse suppressions``: the addresses that are not mailed."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click

from bounceparse.cli import options
from bounceparse.cli.options import Moment
from bounceparse.cli.output import complain, plain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError
from bounceparse.outcomes import REASONS

if TYPE_CHECKING:
    from bounceparse.cli.provider_lists import Entry
    from bounceparse.db import Store
    from bounceparse.policy import Suppression

_SCOPES = ("marketing", "sender", "list", "from")
_BATCH = 1000
_FORMATS = ("csv", "jsonl", "ses", "sendgrid", "postmark", "mailgun")
_KINDS = ("bounces", "blocks", "invalid", "spam", "complaints", "unsubscribes")


@click.group(epilog="Example: bounceparse suppressions list")
def suppressions() -> None:
    """List, add, lift, import, export and check suppressed addresses."""


@suppressions.command("list", epilog="Example: bounceparse suppressions list --json")
@options.as_json
@click.pass_obj
def list_suppressions(session: Session, as_json: bool) -> None:
    """Print what is suppressed now, oldest first; @example.com is a whole domain."""
    with session.store() as store:
        if as_json:
            for row in store.suppressions():
                print_json(_as_json(row))
            return
        rows = [
            (row.subject, row.scope, row.status, row.reason, row.count, row.since, row.until or "until lifted")
            for row in store.suppressions()
        ]
    print_table(("address", "scope", "status", "reason", "count", "since", "until"), rows)


@suppressions.command(epilog='Example: bounceparse suppressions add jan@example.pl --note "asked by phone"')
@click.option(
    "--scope", default="all", show_default=True, help="all, marketing:SENDER, sender:SENDER, list:ID or from:DOMAIN."
)
@click.option("--until", type=Moment(), metavar="TIME", help="When it ends; else when it is lifted.")
@options.by
@click.option("--note", help="Why.")
@click.argument("address")
@click.pass_obj
def add(session: Session, address: str, scope: str, until: datetime | None, by: str | None, note: str | None) -> None:
    """Suppress an address, or a domain written @example.com, by hand."""
    _check_scope(scope)
    address = _checked_address(address)
    with session.store() as store:
        store.suppress(address, scope=scope, until=until, by=options.actor(by), note=note)


@suppressions.command(epilog='Example: bounceparse suppressions lift jan@example.pl --note "address corrected"')
@click.option("--scope", help="Only this scope; else all.")
@click.option(
    "--reason", type=click.Choice(sorted(REASONS)), metavar="REASON", help="Undo a past event: what had this reason,"
)
@click.option("--provider", help="came from this provider (a domain where it has no name),")
@click.option("--between", nargs=2, type=Moment(), metavar="TIME TIME", help="and began between these times.")
@click.option("--dry-run", is_flag=True, help="Only print what would be lifted.")
@options.by
@click.option("--note", help="Why.")
@click.argument("address", required=False)
@click.pass_context
def lift(
    ctx: click.Context,
    address: str | None,
    scope: str | None,
    reason: str | None,
    provider: str | None,
    between: tuple[datetime, datetime] | None,
    dry_run: bool,
    by: str | None,
    note: str | None,
) -> None:
    """Lift the suppressions of an address or @domain; what led to them never counts again.

    Without an address, undo a past event: a fault of a provider that looked like many dead addresses. Who failed after it
    as well stays suppressed. Exit status 1 when there was nothing to lift.
    """
    session: Session = ctx.obj
    if address is None:
        if reason is None or between is None or scope is not None:
            raise click.UsageError("name an address, or --reason and --between (and --provider) of what to undo")
        with session.store() as store:
            lifted = store.undo_event(
                reason=reason,
                provider=provider,
                since=min(between),
                until=max(between),
                by=options.actor(by),
                note=note,
                dry_run=dry_run,
            )
        for subject in lifted if dry_run else ():
            click.echo(plain(subject))
        click.echo(f"{len(lifted)} {'would be lifted' if dry_run else 'lifted'}", err=dry_run)
        ctx.exit(0 if lifted else 1)
    if reason is not None or provider is not None or between is not None or dry_run:
        raise click.UsageError("--reason, --provider, --between and --dry-run undo an event: leave the address out")
    with session.store() as store:
        found = store.lift(address, scope=scope, by=options.actor(by), note=note)
    click.echo(f"{plain(address)}: {found} lifted" if found else f"{plain(address)}: was not suppressed")
    ctx.exit(0 if found else 1)


@suppressions.command("import", epilog="Example: bounceparse suppressions import --format sendgrid bounces.csv")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="What FILE is; else it is told by its first row.")
@click.option(
    "--kind", type=click.Choice(_KINDS), help="Which list of SendGrid or Mailgun it is, where rows do not tell."
)
@click.option(
    "--scope", "scopes", multiple=True,
    help="What its entries reach, for rows that do not say: all, marketing:SENDER, ...; may be given again.",
)  # fmt: skip
@click.option("--skip-lifted", is_flag=True, help="Leave out what was lifted after the entry's own time.")
@options.by
@click.argument("file", type=click.File("r", encoding="utf-8-sig", errors="replace"))
@click.pass_context
def import_(
    ctx: click.Context,
    file: TextIO,
    form: str | None,
    kind: str | None,
    scopes: tuple[str, ...],
    skip_lifted: bool,
    by: str | None,
) -> None:
    """Suppress the addresses of FILE: a list of Amazon SES, SendGrid, Postmark or Mailgun (CSV, or JSON as their APIs
    give it), our own (CSV with a heading, JSON lines), or an address a line; - for standard input.

    Times and reasons are kept; words of servers are read by the rules that read bounces. Our own columns: address, and
    as you have them scope, reason, since, until, status. Bounces reach all mail unless --scope says otherwise,
    complaints and unsubscribes the marketing of the only sender. SendGrid's blocks end after 30 days. A bad row is
    reported with its line and the rest goes on; the exit status is then 1. Doing it again changes nothing.
    """
    session: Session = ctx.obj
    for scope in scopes:
        _check_scope(scope)
    bad = 0
    name = Path(str(getattr(file, "name", "-"))).name

    def refuse(line: int, why: object) -> None:
        nonlocal bad
        bad += 1
        complain(f"{name}: line {line}: {why}")

    with session.store() as store:
        answers = scopes or _marketing_scopes(store)
        found = _entries(file, form, kind, refuse)
        rows = (one for line, entry in found for one in _suppressions(entry, line, scopes or ("all",), answers, refuse))
        added, known = store.import_suppressions(rows, source=name, by=options.actor(by), skip_lifted=skip_lifted)
    click.echo(f"{added} suppressed, " + (f"{known} known, " if known else "") + f"{bad} refused")
    ctx.exit(1 if bad else 0)


def _entries(
    file: TextIO, form: str | None, kind: str | None, refuse: Callable[[int, object], None]
) -> Iterator[tuple[int, Entry]]:
    """The entries of a list with their lines; what is none is refused."""
    from bounceparse.cli.list_items import read_items
    from bounceparse.cli.provider_lists import guess_format, read_entry

    for line, row in read_items(file):
        try:
            if isinstance(row, str):
                raise ConfigError(row)
            form = form or guess_format(row)
            entry = read_entry(row, form, kind)
            _checked_address(entry.address)
            if entry.scope is not None:
                _check_scope(entry.scope)
        except ConfigError as error:
            refuse(line, error)
        else:
            yield line, entry


def _marketing_scopes(store: Store) -> tuple[str, ...]:
    """What complaints and unsubscribes reach where nobody says: marketing, if it is clear whose; else none."""
    senders = {one.sender for one in store.streams()} or {""}
    return (f"marketing:{senders.pop()}",) if len(senders) == 1 else ()


def _suppressions(
    entry: Entry,
    line: int,
    scopes: Sequence[str],
    answers: Sequence[str],
    refuse: Callable[[int, object], None],
) -> Iterator[Suppression]:
    from bounceparse.policy import Suppression

    reach = (entry.scope,) if entry.scope else answers if entry.is_answer else scopes
    if not reach:
        refuse(line, "who recorded it sent for? There are several senders: say it with --scope marketing:SENDER")
    since = entry.since or datetime.now(UTC)
    for scope in reach:
        yield Suppression(
            subject=entry.address,
            scope=scope,
            cause="manual",
            status=entry.status,
            reason=entry.reason,
            since=since,
            until=entry.until,
            count=1,
            last_at=since,
            outcome_id=None,
        )


@suppressions.command(epilog="Example: bounceparse suppressions export --format ses > suppressed.json")
@click.option("--format", "form", type=click.Choice(_FORMATS), default="csv", show_default=True, help="The form.")
@click.option("--kind", type=click.Choice(_KINDS), help="The list of SendGrid or Mailgun: they keep several.")
@click.option(
    "--scope", "scopes", multiple=True,
    help="Only what reaches this; may be given again. For providers else: all, for other lists everything.",
)  # fmt: skip
@click.pass_context
def export(ctx: click.Context, form: str, kind: str | None, scopes: tuple[str, ...]) -> None:
    """Print what is suppressed now, as import reads it, or as a provider takes it (JSON).

    What a provider's list cannot hold is left out and counted on standard error: domains, hashes of erased addresses,
    and what stops only part of the mail, unless --scope asks for it.
    """
    from bounceparse.cli.provider_lists import FRAMES, KINDS, as_json, kind_of, write_row

    session: Session = ctx.obj
    if form in ("csv", "jsonl"):
        _export_own(session, form, scopes)
        return
    if kind not in KINDS.get(form, (None,)):
        named = ", ".join(KINDS.get(form, ()))
        raise click.UsageError(
            f"--format {form} goes with --kind {named}" if named else f"{form} has one list: no --kind"
        )
    before, between, after = FRAMES.get(form, ("[\n", ",\n", "\n]\n"))
    left: Counter[str] = Counter()
    written = 0
    with session.store() as store:
        for entry in map(_as_entry, store.suppressions()):
            if why := _unfit(entry, scopes or ("all",)):
                left[why] += 1
            elif kind_of(entry, form) != kind:
                left["of other kinds"] += 1
            else:
                sys.stdout.write((between if written else before) + as_json(write_row(entry, form, kind)))
                written += 1
    sys.stdout.write(after if written else (before + after if before else ""))
    for why, count in sorted(left.items()):
        complain(f"{count} left out: {why}")


def _unfit(entry: Entry, scopes: Sequence[str]) -> str | None:
    """Why no provider's list can hold an entry; None where it can."""
    if entry.address.startswith("@"):
        return "whole domains"
    if "@" not in entry.address:
        return "hashes of addresses that were forgotten"
    return None if entry.scope in scopes else "they stop part of the mail only, choose with --scope"


def _export_own(session: Session, form: str, scopes: Sequence[str]) -> None:
    from bounceparse.cli.provider_lists import COLUMNS, own_cells, own_row

    writer = csv.writer(sys.stdout, lineterminator="\n")
    if form == "csv":
        writer.writerow(COLUMNS)
    with session.store() as store:
        for entry in map(_as_entry, store.suppressions()):
            if scopes and entry.scope not in scopes:
                continue
            if form == "csv":
                writer.writerow(own_cells(entry))
            else:
                print_json(own_row(entry))


def _as_entry(row: Suppression) -> Entry:
    from bounceparse.cli.provider_lists import Entry

    return Entry(row.subject, row.status, row.reason, row.scope, row.since, row.until)


@suppressions.command(epilog="Example: bounceparse suppressions check recipients.txt --stream newsletter > skip.txt")
@click.option("--stream", required=True, help="What the mail will be sent by; one that is unknown counts as marketing.")
@click.option("--mailable", is_flag=True, help="Print those that may be mailed instead.")
@click.argument("file", type=click.File("r", encoding="utf-8-sig", errors="replace"))
@click.pass_obj
def check(session: Session, file: TextIO, stream: str, mailable: bool) -> None:
    """Print the addresses of FILE (one a line; - for standard input) that must not be mailed."""
    with session.store() as store:
        lines = (line.strip() for line in file)
        for batch in _batches(line for line in lines if line):
            may = set(store.mailable(batch, stream))
            for address in batch:
                if (address in may) is mailable:
                    click.echo(plain(address))


def _batches(lines: Iterable[str]) -> Iterator[list[str]]:
    source = iter(lines)
    while batch := list(islice(source, _BATCH)):
        yield batch


def _checked_address(address: str) -> str:
    domain = address.rpartition("@")[2]
    is_hash = address.startswith("hash:") and "@" not in address
    several = not address.startswith('"') and ("," in address or ";" in address)
    if not is_hash and ("@" not in address or not domain or several or any(char.isspace() for char in address)):
        raise ConfigError(f"{address!r} is no address: write jan@example.pl, or @example.pl for a whole domain")
    return address


def _check_scope(scope: str) -> None:
    kind, colon, _ = scope.partition(":")
    if scope != "all" and not (colon and kind in _SCOPES):
        raise ConfigError(f"scope {scope!r}: write all, {', '.join(f'{one}:...' for one in _SCOPES)}")


def _as_json(row: Suppression) -> dict[str, object]:
    values = {field.name: getattr(row, field.name) for field in fields(row) if field.name != "outcome_id"}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}

"""``bounceparse suppressions``: the addresses that are not mailed."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TextIO

import click

from bounceparse.cli import options
from bounceparse.cli.options import Moment
from bounceparse.cli.output import complain, plain, print_json, print_table
from bounceparse.cli.sent import Row, read_rows
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError
from bounceparse.outcomes import REASONS

if TYPE_CHECKING:
    from bounceparse.policy import Suppression

_COLUMNS = ("address", "scope", "reason", "since", "until")
_SCOPES = ("marketing", "sender", "list", "from")
_BATCH = 1000
_FORMULA = tuple("=+-@\t\r")
"""How a cell begins that a spreadsheet would run."""


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
@click.option("--note", help="Why.")
@click.argument("address")
@click.pass_obj
def add(session: Session, address: str, scope: str, until: datetime | None, note: str | None) -> None:
    """Suppress an address, or a domain written @example.com, by hand."""
    _check_scope(scope)
    address = _checked_address(address)
    with session.store() as store:
        store.suppress(address, scope=scope, until=until, note=note)


@suppressions.command(epilog='Example: bounceparse suppressions lift jan@example.pl --note "address corrected"')
@click.option("--scope", help="Only this scope; else all.")
@options.by
@click.option("--note", help="Why.")
@click.argument("address")
@click.pass_context
def lift(ctx: click.Context, address: str, scope: str | None, by: str | None, note: str | None) -> None:
    """Lift the suppressions of an address or @domain; what led to them never counts again.

    Exit status 1 when there was none.
    """
    session: Session = ctx.obj
    with session.store() as store:
        lifted = store.lift(address, scope=scope, by=options.actor(by), note=note)
    click.echo(f"{plain(address)}: {lifted} lifted" if lifted else f"{plain(address)}: was not suppressed")
    ctx.exit(0 if lifted else 1)


@suppressions.command("import", epilog="Example: bounceparse suppressions import unsubscribed.csv")
@click.argument("file", type=click.File("r", encoding="utf-8-sig", errors="replace"))
@click.pass_context
def import_(ctx: click.Context, file: TextIO) -> None:
    """Suppress the addresses of FILE: CSV with a heading, JSON lines, or an address a line; - for standard input.

    Columns: address, and as you have them scope, reason, until. A bad row is reported with its line and the rest
    goes on; the exit status is then 1.
    """
    session: Session = ctx.obj
    added = bad = 0
    with session.store() as store:
        for line, row in _read_file(file):
            try:
                address, values = parse_entry(row)
            except ConfigError as error:
                complain(f"{getattr(file, 'name', '-')}: line {line}: {error}")
                bad += 1
                continue
            store.suppress(address, **values)
            added += 1
    click.echo(f"{added} suppressed, {bad} refused")
    ctx.exit(1 if bad else 0)


@suppressions.command(epilog="Example: bounceparse suppressions export > suppressed.csv")
@click.pass_obj
def export(session: Session) -> None:
    """Print what is suppressed now as CSV, which import reads."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_COLUMNS)
    with session.store() as store:
        for row in store.suppressions():
            until = row.until.isoformat() if row.until else ""
            writer.writerow(map(_as_cell, (row.subject, row.scope, row.reason, row.since.isoformat(), until)))


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


def _read_file(file: TextIO) -> Iterator[Row]:
    """The rows of CSV with a heading or of JSON lines, or a bare address a line."""
    first = next(file, "")
    lines = chain([first], file)
    if first.lstrip().startswith("{") or "address" in first.lower():
        return read_rows(lines)
    return ((number, {"address": line.strip()}) for number, line in enumerate(lines, 1) if line.strip())


def parse_entry(row: Mapping[str, Any] | str) -> tuple[str, dict[str, Any]]:
    """An address or @domain to suppress, and how: the further arguments of ``Store.suppress``.

    Raises :class:`ConfigError` that says what is wrong with the row.
    """
    if isinstance(row, str):
        raise ConfigError(row)
    if unknown := [name for name in row if name not in _COLUMNS]:
        raise ConfigError(f"unknown column {unknown[0]!r}; known are {', '.join(_COLUMNS)}")
    values = {name: _from_cell(str(value)) for name, value in row.items() if value not in (None, "")}
    values.pop("since", None)  # it stands from now on
    address = _checked_address(values.pop("address", ""))
    if "scope" in values:
        _check_scope(values["scope"])
    if values.get("reason", "manual") not in {*REASONS, "manual"}:
        raise ConfigError(f"unknown reason {values['reason']!r}: leave it out or use one that `stats` shows")
    arguments: dict[str, Any] = dict(values)
    if "until" in values:
        try:
            arguments["until"] = datetime.fromisoformat(values["until"]).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ConfigError(f"until {values['until']!r} is no time like 2026-01-31T12:00:00+01:00") from None
    return address, arguments


def _checked_address(address: str) -> str:
    domain = address.rpartition("@")[2]
    if "@" not in address or not domain or any(char.isspace() for char in address):
        raise ConfigError(f"{address!r} is no address: write jan@example.pl, or @example.pl for a whole domain")
    return address


def _check_scope(scope: str) -> None:
    kind, colon, _ = scope.partition(":")
    if scope != "all" and not (colon and kind in _SCOPES):
        raise ConfigError(f"scope {scope!r}: write all, {', '.join(f'{one}:...' for one in _SCOPES)}")


def _as_cell(text: str) -> str:
    """``text`` so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _from_cell(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text.strip()


def _as_json(row: Suppression) -> dict[str, object]:
    values = {field.name: getattr(row, field.name) for field in fields(row) if field.name != "outcome_id"}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}

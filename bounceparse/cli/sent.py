"""``bounceparse sent``: what was sent, told to the ledger, so that reports find the message they are about."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, TextIO

import click

from bounceparse.cli.options import Moment
from bounceparse.cli.output import complain, progress
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError

if TYPE_CHECKING:
    from bounceparse.db import SentMessage

Row = tuple[int, Mapping[str, Any] | str]
"""The number of the line on which a row ends, and its columns, or what is wrong with it."""


@click.group(epilog="Example: bounceparse sent import sent.csv")
def sent() -> None:
    """The ledger of what was sent: import a file, or record one message."""


@sent.command("import", epilog="Example: bounceparse sent import sent.csv")
@click.argument("file", type=click.File("r", encoding="utf-8-sig", errors="replace"))
@click.pass_context
def import_(ctx: click.Context, file: TextIO) -> None:
    """Read FILE (CSV with a heading, or JSON lines; - for standard input) into the ledger.

    The columns message_id and recipient are needed; the rest are optional: provider_id, envelope_id, from_address,
    subject, stream, sender, category, list_id, customer, sent_at, status, reason, status_at. What is known already is
    completed. A bad row is reported with its line and the rest goes on; the exit status is then 1.
    """
    session: Session = ctx.obj
    bad = 0

    def refuse(line: int, fault: str) -> None:
        nonlocal bad
        bad += 1
        complain(f"{getattr(file, 'name', '-')}: line {line}: {fault}")

    with session.store() as store, progress("reading") as advance:
        new, known = store.import_sent(_read_messages(file, refuse, advance))
    click.echo(f"{new} new, {known} known already, {bad} refused")
    ctx.exit(1 if bad else 0)


@sent.command(epilog="Example: bounceparse sent record --message-id 20260102.1@shop.example --recipient jan@example.pl")
@click.option("--message-id", required=True, help="Its Message-ID, with or without angle brackets.")
@click.option("--recipient", required=True, help="The address that it was sent to.")
@click.option("--provider-id", help="The id that the relay gave it.")
@click.option("--envelope-id", help="Its ENVID (RFC 3461).")
@click.option("--from", "from_address", help="Its From address.")
@click.option("--subject")
@click.option("--stream", help="What it was sent by.")
@click.option("--sender", help="The tenant of the stream.")
@click.option("--category", type=click.Choice(["marketing", "transactional"]))
@click.option("--list-id", help="Its List-Id.")
@click.option("--customer", help="Your own id of the person.")
@click.option("--sent-at", type=Moment(), metavar="TIME", help="When; else now.")
@click.pass_obj
def record(session: Session, /, message_id: str, recipient: str, **columns: str | datetime | None) -> None:
    """Record one sent message to one recipient."""
    with session.store() as store:
        store.record_sent(message_id, recipient, **columns)


def _read_messages(
    file: TextIO, refuse: Callable[[int, str], None], advance: Callable[[int, int | None], None]
) -> Iterator[SentMessage]:
    """The good rows of ``file``; the others go to ``refuse``."""
    from bounceparse.db import parse_sent

    for number, (line, row) in enumerate(read_rows(file), 1):
        if number % 1000 == 0:
            advance(number, None)
        if isinstance(row, str):
            refuse(line, row)
            continue
        try:
            yield parse_sent(row)
        except ConfigError as error:
            refuse(line, str(error))


def read_rows(file: Iterator[str]) -> Iterator[Row]:
    """The rows of a CSV file with a heading, or of JSON lines: whichever its first line is."""
    first = next(file, "")
    lines = chain([first], file)
    return _read_json_lines(lines) if first.lstrip().startswith("{") else _read_csv(first, lines)


def _read_json_lines(lines: Iterator[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, f"no JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else 'a row is an object: {"message_id": ..., "recipient": ...}'


def _read_csv(heading: str, lines: Iterator[str]) -> Iterator[Row]:
    reader = csv.DictReader(lines, delimiter=";" if ";" in heading and "," not in heading else ",", strict=True)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, f"no CSV: {error}"
            continue
        yield reader.line_num, "more values than the heading has columns" if None in row else row

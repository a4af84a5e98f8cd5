"""``bounceparse sent``: what was sent, told to the ledger, so that reports find the message they are about."""

from __future__ import annotations

import codecs
import csv
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from bounceparse.cli.options import Moment
from bounceparse.cli.output import complain, progress
from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError

if TYPE_CHECKING:
    from bounceparse.db import SentMessage, Store

Row = tuple[int, Mapping[str, Any] | str]
"""The number of the line on which a row ends, and its columns, or what is wrong with it."""


@click.group(epilog="Example: bounceparse sent import sent.csv")
def sent() -> None:
    """The ledger of what was sent: import a file, or record one message."""


@sent.command("import", epilog="Example: bounceparse sent import sent.csv")
@click.option(
    "--from",
    "form",
    type=click.Choice(["rows", "postfix-log"]),
    default="rows",
    show_default=True,
    help="What FILE is: CSV or JSON lines, or the log of a Postfix.",
)
@click.option("--from-start", is_flag=True, help="Read all of FILE, though an earlier import of it was interrupted.")
@click.argument("file", type=click.File("rb"))
@click.pass_context
def import_(ctx: click.Context, form: str, from_start: bool, file: BinaryIO) -> None:
    """Read FILE (CSV with a heading, or JSON lines; - for standard input) into the ledger.

    The columns message_id and recipient are needed; the rest are optional: provider_id, envelope_id, from_address,
    subject, stream, sender, category, list_id, customer, sent_at, status, reason, status_at. What is known already is
    completed, so a file may be imported again; after an interruption, the import of the same file goes on where it
    stopped. A bad row is reported with its line and the rest goes on; the exit status is then 1.

    From a Postfix log come rows with the status ok, deferred or that of the failure, and the id that the next server
    gave the message. A day's log together with the one before tells all Message-IDs:
    cat mail.log.1 mail.log | bounceparse sent import --from postfix-log -
    """
    session: Session = ctx.obj
    lines = _Lines(file)
    bad = 0

    def refuse(line: int, fault: str) -> None:
        nonlocal bad
        bad += 1
        complain(f"{lines.name}: line {line}: {fault}")

    with session.store() as store, progress("reading") as advance:
        lines.on_progress = advance
        if form == "postfix-log":
            new, known = store.import_sent(_parsed(_read_log(lines), refuse))
        else:
            new, known = _import_rows(store, lines, refuse, from_start=from_start)
    click.echo(f"{new} new, {known} known already, {bad} refused")
    ctx.exit(1 if bad else 0)


def _import_rows(
    store: Store, lines: _Lines, refuse: Callable[[int, str], None], *, from_start: bool
) -> tuple[int, int]:
    from bounceparse.db.intake import ImportPosition

    version = lines.version()
    resume = ImportPosition(lines.name, version, lambda: lines.position) if version else None
    position = store.import_position(resume) if resume is not None and not from_start else 0
    if position:
        complain(f"{lines.name}: goes on at byte {position}, where an import was interrupted (--from-start reads all)")
    rows = read_rows(lines, skip_to=position)
    return store.import_sent(_parsed(rows, refuse), resume=resume)


class _Lines:
    """The lines of a file as text, with the position behind the line that was read last."""

    def __init__(self, file: BinaryIO) -> None:
        name = getattr(file, "name", None)
        self.name = os.path.abspath(name) if isinstance(name, str) and name != "<stdin>" else "-"  # noqa: PTH100
        self.position = 0
        self.number = 0
        self.on_progress: Callable[[int, int | None], None] = lambda done, total: None
        self._file = file
        self._size = os.fstat(file.fileno()).st_size if self.name != "-" else None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        text = line if self.position else line.removeprefix(codecs.BOM_UTF8)
        self.position += len(line)
        self.number += 1
        if self.number % 1000 == 0:
            self.on_progress(self.position, self._size)
        return text.decode("utf-8", "replace")

    def skip_to(self, position: int) -> None:
        """Go on at ``position``, with the count of lines kept."""
        while self.position < position and next(self, None) is not None:
            pass

    def version(self) -> str | None:
        """What changes when the file's content does; None where it cannot be read again."""
        if self.name == "-":
            return None
        found = os.fstat(self._file.fileno())
        return f"{found.st_size}:{found.st_mtime_ns}" if stat.S_ISREG(found.st_mode) else None


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


def _parsed(rows: Iterable[Row], refuse: Callable[[int, str], None]) -> Iterator[SentMessage]:
    """The good ones of ``rows``; the others go to ``refuse``."""
    from bounceparse.db import parse_sent

    for line, row in rows:
        if isinstance(row, str):
            refuse(line, row)
            continue
        try:
            yield parse_sent(row)
        except ConfigError as error:
            refuse(line, str(error))


def _read_log(lines: Iterable[str]) -> Iterator[Row]:
    from bounceparse.maillog import LogCounts, read_postfix

    counts = LogCounts()
    yield from read_postfix(lines, datetime.now(UTC), counts)
    if counts.unknown:
        complain(
            f"{counts.unknown} attempts are of messages whose Message-ID stands in an older log: read that one too"
        )


def read_rows(lines: Iterator[str], skip_to: int = 0) -> Iterator[Row]:
    """The rows of a CSV file with a heading, or of JSON lines: whichever its first line is.

    With ``skip_to`` (of :class:`_Lines`) only those behind that position.
    """
    first = next(lines, "")
    is_json = first.lstrip().startswith("{")
    start = 1
    if skip_to:
        assert isinstance(lines, _Lines)
        lines.skip_to(skip_to)
        start = lines.number + 1
    if is_json:
        return _read_json_lines(lines if skip_to else chain([first], lines), start)
    return _read_csv(first, lines, start)


def _read_json_lines(lines: Iterable[str], start: int) -> Iterator[Row]:
    for number, line in enumerate(lines, start):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            yield number, f"no JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else 'a row is an object: {"message_id": ..., "recipient": ...}'


def _read_csv(heading: str, lines: Iterator[str], start: int) -> Iterator[Row]:
    delimiter = ";" if ";" in heading and "," not in heading else ","
    names = [name.strip().lower() for name in next(csv.reader([heading], delimiter=delimiter), [])]
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    before = max(start - 1, 1)
    while True:
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield before + reader.line_num, f"no CSV: {error}"
            continue
        if len(values) > len(names):
            yield before + reader.line_num, "more values than the heading has columns"
        elif values:
            yield before + reader.line_num, dict(zip(names, values, strict=False))

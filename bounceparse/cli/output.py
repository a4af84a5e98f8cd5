"""What commands print: text that no mail can turn against a terminal, JSON lines, tables, progress.

Mail is written by strangers: every text that came from one passes :func:`plain` before it reaches a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

# Control characters (C0, DEL, C1) and those that reorder or hide text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_ENCODE = json.JSONEncoder(ensure_ascii=False).encode
_COLOURS = {
    "ok": "green",
    "deferred": "yellow",
    "softbounce": "yellow",
    "hardbounce": "red",
    "spambounce": "magenta",
    "complaint": "red",
    "unsubscribe": "cyan",
}


def plain(value: object) -> str:
    """``value`` as text of one line that is safe on a terminal: control and reordering characters become ``�``."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    return _UNSAFE.sub("�", str(value))


def json_line(row: Mapping[str, Any]) -> bytes:
    """``row`` as a JSON object in UTF-8, ended by LF: no lone surrogates, no character that a terminal obeys."""
    text = _ENCODE(row)
    if not text.isascii() or "\x7f" in text:
        text = _SURROGATE.sub("\ufffd", text)
        text = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode() + b"\n"


def print_json(row: Mapping[str, Any]) -> None:
    """Write ``row`` to standard output as :func:`json_line`."""
    sys.stdout.buffer.write(json_line(row))


def complain(text: str) -> None:
    """A fault, to standard error: one line a fault, without anything that a terminal obeys, or an object for machines."""
    from bounceparse.logs import is_json, log_event

    if is_json():
        log_event("fault", text, level=logging.ERROR)
        return
    for line in text.splitlines():
        click.echo(f"bounceparse: {plain(line)}", err=True)


def coloured(status: str, width: int = 0) -> str:
    """A status padded to ``width``, in its colour (which click drops when the output is no terminal)."""
    return click.style(status.ljust(width), fg=_COLOURS.get(status))


OUTCOME_HEADING = f"{'status':<12} {'reason':<24} {'recipient':<36} "


def outcome_line(status: str, reason: str, recipient: str | None, rest: object) -> str:
    """A line of a list of outcomes, under :data:`OUTCOME_HEADING`."""
    return f"{coloured(status, 12)} {reason:<24} {plain(recipient or '-'):<36} {plain(rest)}"


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, numbers: int = 0) -> None:
    """A table: drawn on a terminal, else columns of plain text. The last ``numbers`` columns are aligned to the right."""
    cells = [[plain(cell) for cell in row] for row in rows]
    first_number = len(headings) - numbers
    if sys.stdout.isatty():
        _draw(headings, cells, first_number)
        return
    widths = [max(len(row[column]) for row in [headings, *cells]) for column in range(len(headings))]
    for row in [headings, *cells]:
        columns = (
            cell.rjust(width) if column >= first_number else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(columns).rstrip())


def _draw(headings: Sequence[str], cells: list[list[str]], first_number: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold")
    for column, heading in enumerate(headings):
        table.add_column(heading, justify="right" if column >= first_number else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(table)


def print_fields(fields: Iterable[tuple[str, object]], *, indent: str = "") -> None:
    """Lines ``label: value``, those without a value left out."""
    shown = [(label, plain(value)) for label, value in fields if value not in (None, "")]
    width = max((len(label) for label, _ in shown), default=0) + 1
    for label, value in shown:
        click.echo(f"{indent}{click.style((label + ':').ljust(width), dim=True)} {value}")


@contextmanager
def progress(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on standard error, when that is a terminal.

    Gives the function to call with how much is done so far and how much there is in all (None: not known).
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(plain(label).replace("[", "("), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)

"""``bounceparse parse``: mail in, what it reports out; no database, of a configuration that is named only the rules."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import click

from bounceparse.cli.output import OUTCOME_HEADING, complain, json_line, outcome_line
from bounceparse.cli.session import Session
from bounceparse.errors import InputError
from bounceparse.files import Source, read_files
from bounceparse.reading import in_batches, share_out

if TYPE_CHECKING:
    from bounceparse.rules import RuleSet

_BATCH = 200  # messages that are given to workers at once,
_BATCH_BYTES = 1 << 20  # or fewer when they are large


@click.command(epilog="Example: bounceparse parse --json ~/Maildir bounces.mbox | jq .kind")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a message, one a line.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that read.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.pass_context
def parse(ctx: click.Context, as_json: bool, jobs: int, paths: tuple[str, ...]) -> None:
    """Print what mail reports: files, folders, mbox files, Maildirs, or - for standard input.

    The packaged rules decide, unless --config names a configuration that has rules of its own. Exit status 0 when every input was read, 1 when some could not be opened.
    """
    session: Session = ctx.obj
    rules = session.rules if session.config else None
    unread: list[InputError] = []

    def note(error: InputError) -> None:
        unread.append(error)
        complain(str(error))

    answer = answer_json if as_json else answer_text
    answers = answer_all(read_files(paths, note), answer, jobs, rules)
    if as_json:
        for line in answers:
            sys.stdout.buffer.write(line)
    else:
        click.echo(click.style(f"{OUTCOME_HEADING}source", bold=True))
        for line in answers:
            click.echo(line.decode(), nl=False)
    ctx.exit(1 if unread else 0)


def answer_json(source: str, raw: bytes, rules: RuleSet | None) -> bytes:
    """The line of ``parse --json`` for one message (contract in the README)."""
    from bounceparse.reading import Place, read_message

    message = read_message(Place("", source), raw, len(raw), rules)
    report = message.report
    return json_line(
        {
            "source": source,
            "kind": report.kind,
            "dialect": report.dialect,
            "defects": report.defects,
            "outcomes": [outcome.to_json() for outcome in message.outcomes],
        }
    )


def answer_text(source: str, raw: bytes, rules: RuleSet | None) -> bytes:
    """The lines for one message as people read them."""
    from bounceparse.reading import Place, read_message

    message = read_message(Place("", source), raw, len(raw), rules)
    lines = [outcome_line(found.status, found.reason, found.recipient, source) for found in message.outcomes]
    if not lines:
        lines = [outcome_line("-", message.error or "reports nothing", None, source)]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


Answer = Callable[[str, bytes, "RuleSet | None"], bytes]


@dataclass(frozen=True, slots=True)
class _Answerer:
    """Answers a batch of messages, here or in a worker."""

    answer: Answer
    rules: RuleSet | None

    def __call__(self, batch: list[Source]) -> list[bytes]:
        return [b"".join([self.answer(source, raw, self.rules) for source, raw in batch])]


def answer_all(messages: Iterable[Source], answer: Answer, jobs: int, rules: RuleSet | None) -> Iterator[bytes]:
    """The answers to ``messages`` in their order, read by ``jobs`` processes where there are many to read."""
    if jobs == 1:
        return (answer(source, raw, rules) for source, raw in messages)
    work = _Answerer(answer, rules)
    return chain.from_iterable(share_out(in_batches(messages, _BATCH, _BATCH_BYTES), jobs, work, work))

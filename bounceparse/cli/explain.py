"""``bounceparse explain``: how mail was read and why each outcome is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from bounceparse.cli import options
from bounceparse.cli.output import coloured, complain, plain, print_fields, print_json, print_table
from bounceparse.errors import InputError
from bounceparse.files import read_files

if TYPE_CHECKING:
    from bounceparse.explain import Explanation, Hop, Lost, Reasoning

_MOST_LOST = 12  # candidates that are listed for people; --json lists all


@click.command(epilog="Example: bounceparse explain bounce.eml")
@options.as_json
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.pass_context
def explain(ctx: click.Context, as_json: bool, paths: tuple[str, ...]) -> None:
    """Say how mail was read: its parts and its way, what each outcome rests on, and what else might have decided.

    Takes files, folders, mbox files, Maildirs, or - for standard input, and the rules of the configuration where there
    is one. Exit status 1 when some input could not be opened.
    """
    from bounceparse.explain import explain as explain_mail

    rules = ctx.obj.rules
    unread: list[InputError] = []

    def note(error: InputError) -> None:
        unread.append(error)
        complain(str(error))

    for source, raw in read_files(paths, note):
        found = explain_mail(raw, rules)
        if as_json:
            print_json({"source": source, **found.to_json()})
        else:
            _print(source, found)
    ctx.exit(1 if unread else 0)


def _print(source: str, found: Explanation) -> None:
    report = found.report
    others = [name for name in found.claims if name != report.dialect]
    click.echo(click.style(plain(source), bold=True))
    print_fields(
        (
            ("kind", report.kind),
            ("read as", report.dialect),
            ("also claimed by", ", ".join(others)),
            ("defects", ", ".join(report.defects)),
        )
    )
    _heading("parts")
    for part in found.parts:
        about = ", ".join(filter(None, (part.encoding, part.charset, part.name)))
        click.echo(f"{'  ' * (part.depth + 1)}{plain(part.content_type)}  {part.size} bytes  {plain(about)}".rstrip())
    _print_hops("the way of this mail", found.hops)
    _print_hops("the way of the returned message", found.original_hops)
    for number, reasoning in enumerate(found.reasonings, 1):
        _print_reasoning(number, reasoning)
    click.echo()


def _heading(text: str) -> None:
    click.echo(f"\n{click.style(text, bold=True)}")


def _print_hops(heading: str, hops: Sequence[Hop]) -> None:
    if not hops:
        return
    _heading(heading)
    print_table(
        ("at (UTC)", "seconds later", "from", "by"),
        [
            (hop.at, "" if hop.delay is None else f"{hop.delay:+.0f}", hop.sender or "-", hop.receiver or "-")
            for hop in hops
        ],
    )


def _print_reasoning(number: int, reasoning: Reasoning) -> None:
    outcome = reasoning.outcome
    evidence = outcome.evidence
    _heading(f"outcome {number}")
    click.echo(f"  {coloured(outcome.status)} {outcome.reason}  {plain(outcome.recipient or '-')}")
    before, matched, after = (plain(text) for text in reasoning.context)
    decided = f"{before}{click.style(f'[{matched}]', bold=True)}{after}"
    print_fields(
        (
            ("rule", evidence.rule),
            ("in", _place(reasoning)),
            ("matches", reasoning.source),
            ("diagnostic", outcome.diagnostic),
            ("codes", " ".join(filter(None, (str(outcome.smtp_code or ""), outcome.enhanced_status)))),
            ("phase", outcome.smtp_phase),
            ("provider", outcome.provider),
        ),
        indent="  ",
    )
    click.echo(f"  decided by {evidence.part}: {decided}")
    for step in reasoning.steps:
        click.echo(f"  {plain(step)}")
    if reasoning.clues.ladder:
        click.echo("  clues to the sent message:")
    for clue in reasoning.clues.ladder:
        click.echo(f"    {plain(clue.source)}: {plain(clue.value)}")
    _print_lost(reasoning.lost)


def _place(reasoning: Reasoning) -> str:
    if reasoning.rule is None:
        return "the reader of this format, or nothing decided"
    return f"{reasoning.rule.file}:{reasoning.line}" if reasoning.line else reasoning.rule.file


def _print_lost(lost: Sequence[Lost]) -> None:
    if not lost:
        return
    click.echo("  what else matches, and why it did not decide:")
    print_table(
        ("rule", "reason", "words", "why not"),
        [(one.rule.id, one.rule.reason, one.matched[:60], why) for one, why in lost[:_MOST_LOST]],
    )
    if len(lost) > _MOST_LOST:
        click.echo(f"  and {len(lost) - _MOST_LOST} more: see --json")

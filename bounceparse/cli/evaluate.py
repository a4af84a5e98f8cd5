"""``bounceparse evaluate``: how right the answers to labelled mail are, and what changed since a saved run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, plain, print_json, print_table, progress
from bounceparse.cli.parse import answer_all, answer_json
from bounceparse.cli.session import Session
from bounceparse.errors import InputError
from bounceparse.evaluate import FIELDS, Change, Comparison, Label, Run, compare, load_run, read_labels
from bounceparse.evaluate import evaluate as judge
from bounceparse.files import read_files


@click.command(epilog="Example: bounceparse evaluate --save today.json --compare last-week.json samples")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep the run.")
@click.option(
    "--compare",
    "saved",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Tell what changed since a run that was kept.",
)
@click.option("--show", type=click.IntRange(0), default=20, show_default=True, help="Mistakes that are listed.")
@click.option("--jobs", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes that read.")
@options.as_json
@click.argument("samples", type=click.Path(path_type=Path, exists=True))
@click.pass_obj
def evaluate(
    session: Session, samples: Path, save: Path | None, saved: Path | None, show: int, jobs: int, as_json: bool
) -> None:
    """Judge the answers to the mails in SAMPLES by their labels: how many are right, what the wrong ones would cost.

    SAMPLES is a folder with a folder SET/labels.jsonl for each set, or a run that was kept with --save. A false hard
    bounce or complaint costs 20 points, a false unsubscribe 10, a complaint or unsubscribe request that is missed 5, any
    other wrong status 1.
    """
    run = load_run(samples) if samples.is_file() else _run(session, samples, jobs)
    before = load_run(saved) if saved else None
    changes = compare(before, run) if before else None
    if save:
        save.write_text(json.dumps(run.to_json(), ensure_ascii=False, indent=1) + "\n", "utf-8")
    if as_json:
        print_json({**run.to_json(), **_changes_json(changes)})
        return
    _print_fields(run, before)
    _print_matrix(run)
    _print_reasons(run, show)
    if changes is None:
        _print_changes(
            "mistakes", [Change(file, one) for file, rows in sorted(run.mistakes.items()) for one in rows], show
        )
    else:
        _print_changes("mended", changes.mended, show)
        _print_changes("broken", changes.broken, show)


def _run(session: Session, samples: Path, jobs: int) -> Run:
    from importlib.metadata import version

    labels = read_labels(samples)
    rules = session.rules if session.config else None
    answers: dict[str, dict[str, Any]] = {}
    unread: list[InputError] = []
    sources = read_files((samples / label.file for label in labels), unread.append)
    with progress("evaluate") as advance:
        for lines in answer_all(sources, answer_json, jobs, rules):
            for line in lines.splitlines():
                answer = json.loads(line)
                file = os.path.relpath(answer["source"].removesuffix("#1"), samples)
                answers.setdefault(file, answer)
            advance(len(answers), len(labels))
    for error in unread:
        complain(str(error))
    return judge(_normal(labels), answers, version("bounceparse"))


def _normal(labels: list[Label]) -> list[Label]:
    return [label._replace(file=os.path.normpath(label.file)) for label in labels]


def _print_fields(run: Run, before: Run | None) -> None:
    rows = []
    for name in FIELDS:
        row = [name, run.right[name], run.total[name], _percent(run, name)]
        rows.append([*row, _percent(before, name)] if before else row)
    headings = ("field", "right", "of", "percent")
    print_table((*headings, "before") if before else headings, rows, numbers=4 if before else 3)
    earlier = f" (before: {before.cost} over {before.mails})" if before else ""
    click.echo(f"\nharm: {run.cost} points over {run.mails} mails{earlier}")


def _percent(run: Run, name: str) -> str:
    share = run.share(name)
    return "-" if share is None else f"{share:.2f}"


def _print_matrix(run: Run) -> None:
    """The statuses: a line for what was right, a column for what was answered."""
    columns = sorted({got for row in run.status.values() for got in row})
    click.echo(f"\n{click.style('status: right (lines), answered (columns)', bold=True)}")
    rows = [(wanted, *(row.get(got) or "" for got in columns)) for wanted, row in sorted(run.status.items())]
    print_table(("", *columns), rows, numbers=len(columns))


def _print_reasons(run: Run, most: int) -> None:
    """Of the reasons only those that were taken for others: the matrix itself would be sixty columns wide."""
    confused = [
        (count, wanted, got) for wanted, row in run.reason.items() for got, count in row.items() if got != wanted
    ]
    if confused:
        click.echo(f"\n{click.style('reasons taken for others', bold=True)}")
        rows = [(wanted, got, count) for count, wanted, got in sorted(confused, reverse=True)[:most]]
        print_table(("right", "answered", "times"), rows, numbers=1)


def _print_changes(heading: str, changes: list[Change] | tuple[Change, ...], most: int) -> None:
    click.echo(f"\n{click.style(f'{heading}: {len(changes)}', bold=True)}")
    dear = sorted(changes, key=lambda change: (-change.mistake.cost, change.file))
    for file, one in dear[:most]:
        cost = f" ({one.cost} points)" if one.cost else ""
        click.echo(f"  {plain(file)}: {one.field}: {plain(one.wanted)}, answered {plain(one.got)}{cost}")
    if len(changes) > most:
        click.echo(f"  and {len(changes) - most} more: see --show and --json")


def _changes_json(changes: Comparison | None) -> dict[str, Any]:
    if changes is None:
        return {}
    return {
        name: [{"file": change.file, **change.mistake._asdict()} for change in getattr(changes, name)]
        for name in ("mended", "broken")
    }

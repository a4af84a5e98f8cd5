"""``bounceparse reclassify``: the reports that were kept, read again by today's rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING

import click

from bounceparse.cli import options
from bounceparse.cli.output import print_json, print_table, progress
from bounceparse.cli.session import Session

if TYPE_CHECKING:
    from bounceparse.db.reclassify import Difference, Verdict

_EXAMPLES = 3

_Pair = tuple[str, str]


@click.command(epilog="Example: bounceparse reclassify --since 30d --dry-run")
@options.since
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@options.as_json
@click.pass_obj
def reclassify(session: Session, since: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Read the reports that were kept again, by today's rules, and record what they say now.

    Statuses in the ledger and the standing of addresses follow. What an outcome was before is kept in
    bounceparse_history. Doing it again changes nothing more. With --json one object a changed outcome.
    """
    rules = session.rules
    table = _Table()
    read = unread = 0
    with session.store() as store, progress("reclassify") as advance:
        kept = store.count_kept(since)
        for page in store.reclassify(since, rules=rules, dry_run=dry_run):
            read, unread = read + page.read, unread + page.unread
            for difference in page.differences:
                if as_json:
                    print_json(asdict(difference))
                else:
                    table.add(difference)
            advance(read + unread, kept)
    if as_json:
        return
    table.print()
    click.echo(f"{read} reports read again, {unread} left out: what was kept of them is not what was recorded")
    click.echo(
        f"{table.changed} outcomes {'would change' if dry_run else 'changed'}, {table.verdicts} of them their status or reason"
    )


class _Table:
    """Differences counted by what outcomes were and are, with a few examples of each."""

    def __init__(self) -> None:
        self.changed = self.verdicts = 0
        self._counts: Counter[_Pair] = Counter()
        self._examples: dict[_Pair, list[str]] = {}

    def add(self, difference: Difference) -> None:
        self.changed += 1
        if difference.before == difference.after:
            return  # only details: a code, the rule's name
        self.verdicts += 1
        pair = _words(difference.before), _words(difference.after)
        self._counts[pair] += 1
        examples = self._examples.setdefault(pair, [])
        if len(examples) < _EXAMPLES and (example := difference.recipient or difference.where) not in examples:
            examples.append(example)

    def print(self) -> None:
        if self._counts:
            rows = [
                (*pair, ", ".join(self._examples[pair]), count)
                for pair, count in sorted(self._counts.items(), key=lambda row: (-row[1], row[0]))
            ]
            print_table(("before", "after", "examples", "outcomes"), rows, numbers=1)


def _words(verdict: Verdict | None) -> str:
    return f"{verdict.status} {verdict.reason}" if verdict else "-"

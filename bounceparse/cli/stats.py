"""``bounceparse stats``: what became of what was sent, and how many outcomes of which status were reported."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.review import warn_of_late
from bounceparse.cli.session import Session
from bounceparse.health import Cohort
from bounceparse.outcomes import Status

if TYPE_CHECKING:
    from bounceparse.db import Stats

_RATED = ("stream", "provider", "domain", "day")
"""What the ledger can be grouped by."""
COUNTS = (
    "injected", "delivered", "presumed", "waiting", "deferred", "softbounce", "presumed_softbounce", "hardbounce",
    "spambounce", "complaint",
)  # fmt: skip
RATES = ("hardbounce", "spambounce", "complaint")


@click.command(epilog="Example: bounceparse stats --by stream --since 7d")
@click.option(
    "--by",
    type=click.Choice(["stream", "domain", "provider", "day", "reason", "status", "mailbox"]),
    default="reason",
    show_default=True,
    help="What to count by.",
)
@options.since
@options.as_json
@click.pass_obj
def stats(session: Session, by: str, since: datetime | None, as_json: bool) -> None:
    """Count what was reported, the largest group first; where a ledger is kept, rates of what was sent.

    By reason, status or mailbox it counts outcomes; an event told by two routes counts once. Delivery reports that found
    no message of ours in 14 days are backscatter and have a line of their own; a flood of them is told on standard error.

    By stream, provider, domain or day it counts the messages of the ledger that were sent since --since, by what is
    known of each by now. delivered was reported; presumed is silence for long enough; of those that wait nothing was
    heard so far. Presumed softbounces were retried for too long without a word, and no rate counts them. The provider of
    a domain is the one that most reports about our mail to it name.

    \b
    hardbounce %  hardbounces of all injected
    spambounce %  of all injected, without what the recipient chose
                  (recipient-blocks-sender, recipient-restricted) and without
                  faults of our own set-up (auth-fail-*, auth-required,
                  tls-required, crypto, ptr-missing, sender-address-bad)
    complaint %   of all injected but what bounced or is deferred
    """
    with session.store() as store:
        lines = store.stats(by, since)
        sent = store.rates(by, since) if by in _RATED else {}
        stray = store.backscatter(since)
        late = warn_of_late(store)
    for warning in filter(None, (stray.alert, late)):
        complain(warning)
    if as_json:
        for row in _joined(by, lines, sent) if sent else map(partial(_counted, by), lines):
            print_json(row)
        if stray.count or stray.flood:
            print_json({"backscatter": stray.count, "flood": stray.flood})
        return
    if sent:
        _print_rates(by, lines, sent)
    else:
        _print_outcomes(by, lines)
    if stray.count:
        click.echo(f"\nbackscatter: {stray.count} delivery reports about mail that is not ours, counted nowhere above")


def _counted(by: str, line: Stats) -> dict[str, object]:
    return {by: line.group, "total": line.total, "statuses": line.statuses}


def _joined(by: str, lines: Sequence[Stats], sent: Mapping[str, Cohort]) -> Iterator[dict[str, object]]:
    """The outcomes of each group with what was sent to it; None for one that the ledger does not know."""
    counted = {line.group or "": _counted(by, line) for line in lines}
    nothing = {"total": 0, "statuses": {}}
    for name in [*_ordered(by, sent), *(name for name in counted if name not in sent)]:
        cohort = sent.get(name)
        told = {"sent": cohort and cohort.to_json(), "rates": cohort and cohort.rates()}
        yield {by: name or None, **counted.get(name, nothing), **told}


def _ordered(by: str, sent: Mapping[str, Cohort]) -> list[str]:
    """The days one after another, other groups by what was sent, the largest first."""
    return sorted(sent) if by == "day" else sorted(sent, key=lambda name: (-sent[name].injected, name))


def _print_rates(by: str, lines: Sequence[Stats], sent: Mapping[str, Cohort]) -> None:
    shown = [name for name in COUNTS if any(getattr(cohort, name) for cohort in sent.values())]
    rows = [
        (name or "(none)", *(getattr(sent[name], one) for one in shown), *rate_cells(sent[name]))
        for name in _ordered(by, sent)
    ]
    whole = Cohort(*map(sum, zip(*sent.values(), strict=True)))
    rows.append(("total", *(getattr(whole, one) for one in shown), *rate_cells(whole)))
    headings = (by, *(name.replace("_", " ") for name in shown), *(f"{name} %" for name in RATES))
    print_table(headings, rows, numbers=len(headings) - 1)
    if unknown := sum(line.total for line in lines if (line.group or "") not in sent):
        click.echo(f"\n{unknown} outcomes are of none of these: `bounceparse outcomes --json` shows them")


def rate_cells(cohort: Cohort) -> list[str]:
    """The rates of a cohort, as cells of a table under :data:`RATES`."""
    rates = cohort.rates()
    return ["-" if (rate := rates[name]) is None else f"{rate:.2f}" for name in RATES]


def _print_outcomes(by: str, lines: Sequence[Stats]) -> None:
    shown = [status.value for status in Status if any(status in line.statuses for line in lines)]
    rows = [
        (line.group or "(not known)", *(line.statuses.get(status, 0) for status in shown), line.total) for line in lines
    ]
    totals = [sum(line.statuses.get(status, 0) for line in lines) for status in shown]
    rows.append(("total", *totals, sum(totals)))
    print_table((by, *shown, "total"), rows, numbers=len(shown) + 1)

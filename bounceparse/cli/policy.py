"""``bounceparse policy``: what suppresses, and what today's settings make of all that is recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from bounceparse.cli import options
from bounceparse.cli.output import print_json, print_table, progress
from bounceparse.cli.session import Session

if TYPE_CHECKING:
    from bounceparse.causes import Cause
    from bounceparse.db.applying import Judged
    from bounceparse.policy import Policy, Suppression

_EXAMPLES = 3


@click.group(epilog="Example: bounceparse policy apply --dry-run")
def policy() -> None:
    """Show what suppresses an address, and judge the past by today's settings."""


@policy.command(epilog="Example: bounceparse policy show --stream newsletter")
@click.option("--stream", help="As it is for the mail of this stream.")
@click.option("--sender", help="As it is for the mail of this sender's other streams.")
@options.as_json
@click.pass_obj
def show(session: Session, stream: str | None, sender: str | None, as_json: bool) -> None:
    """Print the policy table in force.

    A line acts after so many counts, on so many days, the first and last so many days apart; one count an address, a day
    and a sent message. Settings: [policy.cause.NAME], [sender.NAME.policy.cause.NAME], [stream.NAME.policy.cause.NAME].
    """
    from bounceparse.config import build_policy

    whole = build_policy(session.settings)
    if stream is not None and sender is None and whole.senders:
        sender = _sender_of(session, stream)
    found = whole.of(stream, sender or "")
    if as_json:
        for row in _as_json(found):
            print_json(row)
        return
    print_table(
        ("cause", "counts", "acts after", "when proven", "lasts", "reaches"),
        [_line(cause) for cause in found.table],
    )
    click.echo(f"trust: {found.trust}, a complaint stops {_stopped(found)}")
    breaker = whole.breaker
    if breaker.count:
        hours = breaker.pause.total_seconds() / 3600
        click.echo(
            f"mass events: {breaker.count} suppressions of a provider for one reason in an hour, {breaker.times:g} times the"
            f" week's mean, are paused for {hours:g} hours"
        )


@policy.command(epilog="Example: bounceparse policy apply --dry-run")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@options.by
@options.as_json
@click.pass_obj
def apply(session: Session, dry_run: bool, by: str | None, as_json: bool) -> None:
    """Judge every address and domain anew, by today's settings.

    A run that was interrupted goes on where it was. Doing it again changes nothing more. What a person suppressed or
    lifted stays so. With --json one object a suppression that changes.
    """
    table = _Table()
    subjects = 0
    with session.store() as store, progress("policy apply") as advance:
        for page in store.apply_policy(by=options.actor(by), dry_run=dry_run):
            subjects += page.subjects
            for one in page.differences:
                table.add(one)
                if as_json:
                    print_json(_difference_json(one))
            advance(page.last, page.highest)
    if as_json:
        return
    table.print(dry_run=dry_run)
    click.echo(f"{subjects} addresses and domains judged anew")


class _Table:
    """Differences counted by cause and effect, with a few examples of each."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], list[str]] = {}

    def add(self, one: Judged) -> None:
        pair = one.effect, one.cause
        self._counts[pair] += 1
        examples = self._examples.setdefault(pair, [])
        if len(examples) < _EXAMPLES:
            examples.append(one.subject)

    def print(self, *, dry_run: bool) -> None:
        if not self._counts:
            click.echo("nothing would change" if dry_run else "nothing changed")
            return
        would = "would be " if dry_run else ""
        rows = [
            (would + effect, cause, ", ".join(self._examples[effect, cause]), count)
            for (effect, cause), count in sorted(self._counts.items(), key=lambda row: (row[0][0], -row[1]))
        ]
        print_table(("effect", "cause", "examples", "suppressions"), rows, numbers=1)


def _sender_of(session: Session, stream: str) -> str:
    with session.store() as store:
        return next((row.sender for row in store.streams() if row.name == stream), "")


def _line(cause: Cause) -> tuple[object, ...]:
    return (
        cause.name,
        "domains" if cause.of_domain else "addresses",
        _acts_after(cause),
        cause.needs_proved or "",
        ("until lifted" if cause.lasts is None else f"{cause.lasts} days") if cause.acts else "",
        {"all": "all mail", "from": "that From domain", "list": "that list", "marketing": "the sender's marketing"}.get(
            cause.scope, cause.scope
        ),
    )


def _acts_after(cause: Cause) -> str:
    if not cause.acts:
        return "never"
    days = f" on {cause.days} days" if cause.days > 1 else ""
    spread = f", {cause.spread} days apart" if cause.spread else ""
    return f"{cause.needs}{days}{spread}"


def _stopped(policy: Policy) -> str:
    return "all mail of the sender" if policy.complaint_stops_transactional else "the sender's marketing"


def _as_json(policy: Policy) -> Iterator[dict[str, Any]]:
    from dataclasses import asdict

    for cause in policy.table:
        yield {**asdict(cause), "reasons": sorted(cause.reasons), "trust": policy.trust}


def _difference_json(one: Judged) -> dict[str, Any]:
    return {
        "effect": one.effect,
        "subject": one.subject,
        "cause": one.cause,
        "before": _suppression_json(one.before),
        "after": _suppression_json(one.after),
    }


def _suppression_json(one: Suppression | None) -> dict[str, Any] | None:
    if one is None:
        return None
    return {
        "scope": one.scope,
        "status": one.status,
        "reason": one.reason,
        "since": one.since.isoformat(),
        "until": one.until.isoformat() if one.until else None,
        "count": one.count,
    }

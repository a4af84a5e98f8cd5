"""``bounceparse explain``: how mail was read and why each outcome is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import click

from bounceparse.cli import options
from bounceparse.cli.output import coloured, complain, plain, print_fields, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.errors import InputError
from bounceparse.files import read_files

if TYPE_CHECKING:
    from datetime import datetime

    from bounceparse.causes import Cause
    from bounceparse.db.preview import Preview
    from bounceparse.explain import Explanation, Hop, Lost, Reasoning
    from bounceparse.policy import Suppression
    from bounceparse.reading import ReadMessage
    from bounceparse.rules import RuleSet

_MOST_LOST = 12  # candidates that are listed for people; --json lists all


@click.command(epilog="Example: bounceparse explain bounce.eml")
@click.option("--store", "with_store", is_flag=True, help="Also what the database knows: trust, policy, standing.")
@options.as_json
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.pass_context
def explain(ctx: click.Context, with_store: bool, as_json: bool, paths: tuple[str, ...]) -> None:
    """Say how mail was read: its parts and its way, what each outcome rests on, and what else might have decided.

    Takes files, folders, mbox files, Maildirs, or - for standard input, and the rules of the configuration where there
    is one. With --store it tells what recording the mail comes to; nothing is written. Exit status 1 when some input
    could not be opened.
    """
    from bounceparse.explain import explain as explain_mail

    session: Session = ctx.obj
    rules = session.rules
    unread: list[InputError] = []

    def note(error: InputError) -> None:
        unread.append(error)
        complain(str(error))

    with session.store() if with_store else nullcontext() as store:
        for source, raw in read_files(paths, note):
            found = explain_mail(raw, rules)
            previews = store.preview(_read(source, raw, rules)) if store else ()
            if as_json:
                told = {"recording": [_preview_json(one) for one in previews]} if store else {}
                print_json({"source": source, **found.to_json(), **told})
            else:
                _print(source, found, previews)
    ctx.exit(1 if unread else 0)


def _read(source: str, raw: bytes, rules: RuleSet | None) -> ReadMessage:
    from bounceparse.reading import Place, read_message

    return read_message(Place("", source), raw, len(raw), rules)


def _print(source: str, found: Explanation, previews: Sequence[Preview]) -> None:
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
        if previews:
            _print_preview(previews[number - 1])
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


def _print_preview(preview: Preview) -> None:
    row = preview.recorded
    evidence = f"by {row.matched_by}: {row.match_evidence}" if row.matched_by else "nothing leads to a message of ours"
    print_fields(
        (
            ("recorded", "already" if preview.is_known else "not yet: what follows is what would be"),
            ("as", f"{row.outcome.status} {row.outcome.recipient or ''}"),
            ("trust", f"{row.trust} ({evidence})"),
            ("reporter", row.reporter_auth),
            ("stream", row.stream),
            ("customer", row.customer),
            ("policy", _policy_words(preview)),
            ("standing", _standing_words(preview)),
        ),
        indent="  ",
    )


def _policy_words(preview: Preview) -> str:
    if preview.is_copy:
        return "not counted: another route has reported the same event"
    if not preview.causes:
        return "not counted: no line of the policy takes it"
    return "; ".join(_cause_words(cause) for cause in preview.causes)


def _cause_words(cause: Cause) -> str:
    subject = "domain" if cause.of_domain else "address"
    proven = f", {cause.needs_proved} when proven" if cause.needs_proved else ""
    spread = f", {cause.spread} days apart" if cause.spread else ""
    days = f" on {cause.days} days" if cause.days > 1 else ""
    return f"counts as {cause.name} of the {subject}, which acts after {cause.needs}{days}{spread}{proven}"


def _standing_words(preview: Preview) -> str | None:
    if preview.standing is None:
        return None
    if not preview.standing.suppressions:
        return "may be mailed"
    return "; ".join(_suppression_words(one, preview.standing.paused_until) for one in preview.standing.suppressions)


def _suppression_words(one: Suppression, paused_until: datetime | None) -> str:
    paused = paused_until is not None and one.paused_until == paused_until
    until = one.paused_until if paused else one.until
    words = f"{one.scope} {'paused' if paused else 'suppressed'} for {one.cause} since {plain(one.since)}"
    return f"{words} until {plain(until)}" if until else words


def _preview_json(preview: Preview) -> dict[str, Any]:
    standing = preview.standing
    return {
        **preview.recorded.to_json(),
        "is_known": preview.is_known,
        "is_copy": preview.is_copy,
        "causes": [cause.name for cause in preview.causes],
        "mailable": standing.mailable if standing else None,
        "suppressions": [f"{one.scope} {one.cause}" for one in standing.suppressions] if standing else [],
    }

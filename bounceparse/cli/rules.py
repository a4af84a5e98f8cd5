"""``bounceparse rules``: the wording that decides, and whether it holds together."""

from __future__ import annotations

from pathlib import Path

import click

from bounceparse.cli import options
from bounceparse.cli.output import complain, print_json, print_table
from bounceparse.cli.session import Session
from bounceparse.outcomes import REASONS
from bounceparse.rules import Rule, RuleSet, load_rules


@click.group(epilog="Example: bounceparse rules check")
def rules() -> None:
    """List and check the wording rules: the packaged ones, those of the configuration, and files named here."""


@rules.command("list", epilog="Example: bounceparse rules list --reason mailbox-full")
@click.option(
    "--reason", type=click.Choice(sorted(REASONS)), metavar="REASON", help="Only rules that give this reason."
)
@options.as_json
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.pass_obj
def list_rules(session: Session, reason: str | None, as_json: bool, files: tuple[Path, ...]) -> None:
    """Print the rules in the order in which they are asked, with those of FILE before the packaged ones."""
    chosen = [rule for rule in _load(session, files).rules if reason in (None, rule.reason)]
    if as_json:
        for rule in chosen:
            print_json(_as_json(rule))
        return
    print_table(
        ("rule", "status", "reason", "example"),
        [(rule.id, rule.status or REASONS[rule.reason].status, rule.reason, rule.examples[0][:72]) for rule in chosen],
    )


@rules.command(epilog="Example: bounceparse rules check own-rules.toml")
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.pass_context
def check(ctx: click.Context, files: tuple[Path, ...]) -> None:
    """Check that every rule's examples reach that very rule through the whole set, FILE and configuration included.

    Exit status 1 when one does not.
    """
    found = _load(ctx.obj, files)
    problems = found.check()
    for problem in problems:
        complain(problem)
    click.echo(f"{len(found.rules)} rules, {len(problems)} problems")
    if problems:
        ctx.exit(1)


def _load(session: Session, files: tuple[Path, ...]) -> RuleSet:
    return load_rules((*session.rule_files, *files))


def _as_json(rule: Rule) -> dict[str, object]:
    return {
        "id": rule.id,
        "file": rule.file,
        "status": rule.status or REASONS[rule.reason].status,
        "reason": rule.reason,
        "provider": rule.provider,
        "text": rule.text,
        "code": sorted(rule.code),
        "enhanced": sorted(rule.enhanced),
        "examples": rule.examples,
        "source": rule.source,
    }

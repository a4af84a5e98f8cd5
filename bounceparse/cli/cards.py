"""``bounceparse address`` and ``customer``: what a support desk reads while the customer is on the phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from bounceparse.advice import LANGUAGES, advice
from bounceparse.cli.output import coloured, plain, print_fields, print_json
from bounceparse.cli.session import Session

if TYPE_CHECKING:
    from bounceparse.db import CustomerCard, RecordedOutcome, SentStatus, Standing

_RECENT = timedelta(days=30)
"""An outcome older than this says nothing about an address that is not suppressed."""

_LABELS = {
    "en": {
        "yes": "yes",
        "no": "no",
        "some": "yes, with exceptions",
        "mailed": "mail is sent",
        "status": "status",
        "reason": "reason",
        "since": "since",
        "until": "until",
        "lifted": "until lifted",
        "count": "counted",
        "scope": "reaches",
        "said": "server said",
        "customer": "customer",
        "sent": "last sent",
        "presumed": "presumed",
        "happened": "last reports",
        "last": "last report",
        "unknown": "nothing is known of this customer",
        "alert": "an address cannot be mailed: ask the customer for the right one",
        "replaced": "replaced by {}: nothing to do",
        "paused": "paused",
        "paused_until": "until {until}, since many of {provider}'s addresses failed at once",
    },
    "pl": {
        "yes": "tak",
        "no": "nie",
        "some": "tak, z wyjątkami",
        "mailed": "wysyłamy",
        "status": "status",
        "reason": "powód",
        "since": "od",
        "until": "do",
        "lifted": "do zdjęcia blokady",
        "count": "razy",
        "scope": "zakres",
        "said": "serwer odpowiedział",
        "customer": "klient",
        "sent": "ostatnio wysłane",
        "presumed": "przypuszczalnie",
        "happened": "ostatnie zgłoszenia",
        "last": "ostatnie zgłoszenie",
        "unknown": "nic nie wiemy o tym kliencie",
        "alert": "nie możemy wysyłać na jeden z adresów: trzeba zapytać klienta o właściwy",
        "replaced": "zastąpiony przez {}: nic nie trzeba robić",
        "paused": "wstrzymane",
        "paused_until": "do {until}, bo naraz zawiodło wiele adresów u {provider}",
    },
}
_language = click.option(
    "--lang", "language", type=click.Choice(LANGUAGES), default="en", show_default=True, help="Language of the card."
)


@click.command(epilog="Example: bounceparse address jan@example.pl --lang pl")
@click.option("--json", "as_json", is_flag=True, help="The card as one JSON object.")
@_language
@click.argument("address")
@click.pass_obj
def address(session: Session, address: str, as_json: bool, language: str) -> None:
    """Print what is known of an address: may we mail it, what happened, what to do."""
    with session.store() as store:
        standing = store.standing(address)
        history = store.history(address)
        sent = store.sent_to(address)
    if as_json:
        card = {"outcomes": [row.to_json() for row in history], "sent": _sent_json(sent)}
        print_json({**_standing_json(standing, history, language), **card})
        return
    print_standing(standing, history, language)
    _print_sent(sent, language)
    _print_reports(history[:5], language)


@click.command(epilog="Example: bounceparse customer 4711 --lang pl")
@click.option("--json", "as_json", is_flag=True, help="The card as one JSON object.")
@_language
@click.argument("customer", metavar="ID")
@click.pass_obj
def customer(session: Session, customer: str, as_json: bool, language: str) -> None:
    """Print the card of a customer: all addresses, the latest mail and what became of it."""
    with session.store() as store:
        card = store.customer(customer)
        histories = {standing.address: store.history(standing.address) for standing in card.addresses}
    if as_json:
        print_json(_card_json(card, histories, language))
        return
    print_card(card, histories, language)


def print_card(card: CustomerCard, histories: dict[str, tuple[RecordedOutcome, ...]], language: str = "en") -> None:
    """The card of a customer as people read it."""
    labels = _LABELS[language]
    if not card.addresses:
        click.echo(f"{labels['customer']} {plain(card.customer)}: {labels['unknown']}")
        return
    click.echo(click.style(f"{labels['customer']} {plain(card.customer)}", bold=True))
    if card.alert:
        click.echo(click.style(labels["alert"], fg="red"))
    for standing in card.addresses:
        click.echo()
        if new := card.replaced.get(standing.address):
            click.echo(f"{click.style(plain(standing.address), bold=True)}  {labels['replaced'].format(plain(new))}")
            continue
        print_standing(standing, histories[standing.address], language)
    _print_sent(card.sent[:5], language)
    _print_reports(card.outcomes[:5], language)


def print_standing(standing: Standing, history: Sequence[RecordedOutcome], language: str = "en") -> None:
    """The card of an address as people read it; ``history`` is newest first."""
    labels = _LABELS[language]
    if not standing.mailable:
        mailed = click.style(labels["no"], fg="red")
    else:
        mailed = click.style(labels["some"] if standing.suppressions else labels["yes"], fg="green")
    click.echo(f"{click.style(plain(standing.address), bold=True)}  {labels['mailed']}: {mailed}")
    recent = _recent(history)
    if standing.reason:
        print_fields(
            [
                (labels["paused"], _paused(standing, labels)),
                (labels["status"], standing.status),
                (labels["reason"], standing.reason),
                (labels["since"], standing.since),
                (labels["until"], standing.until or labels["lifted"]),
                (labels["count"], standing.count),
                (labels["scope"], standing.scope),
                (labels["said"], standing.evidence.diagnostic if standing.evidence else None),
            ],
            indent="  ",
        )
        _print_advice(standing.advice(language))
        if not standing.mailable or recent is None or recent.outcome.reason == standing.reason:
            return
    if recent is not None:
        found = recent.outcome
        print_fields(
            [
                (labels["last"], found.occurred_at or recent.recorded_at),
                (labels["status"], found.status),
                (labels["reason"], found.reason),
                (labels["said"], found.diagnostic),
            ],
            indent="  ",
        )
    _print_advice(advice(recent.outcome.reason if recent else None, language))


def _paused(standing: Standing, labels: Mapping[str, str]) -> str | None:
    """Until when the address is paused, and why."""
    if standing.paused_until is None:
        return None
    return labels["paused_until"].format(until=plain(standing.paused_until), provider=standing.provider)


def _print_advice(text: str) -> None:
    click.echo(click.wrap_text(text, 100, "  ", "  "))


def _print_sent(messages: Sequence[SentStatus], language: str) -> None:
    if not messages:
        return
    labels = _LABELS[language]
    click.echo()
    click.echo(click.style(f"{labels['sent']}:", dim=True))
    for sent in messages:
        fate = _fate(sent)
        mark = f" ({labels['presumed']})" if sent.presumed and fate == sent.status else ""
        click.echo(
            f"  {plain(sent.sent_at)}  {coloured(fate)}{mark.ljust(29 - len(fate))}{plain(sent.recipient)}"
            f"  {plain(sent.subject)}"
        )


def _print_reports(history: Sequence[RecordedOutcome], language: str) -> None:
    if not history:
        return
    click.echo()
    click.echo(click.style(f"{_LABELS[language]['happened']}:", dim=True))
    for row in history:
        found = row.outcome
        when = plain(found.occurred_at or row.recorded_at)
        click.echo(f"  {when}  {coloured(found.status, 12)} {found.reason:<24} {row.trust:<12} {plain(found.subject)}")


def _recent(history: Sequence[RecordedOutcome]) -> RecordedOutcome | None:
    """The newest outcome, unless it is old."""
    if not history or history[0].recorded_at < datetime.now(UTC) - _RECENT:
        return None
    return history[0]


def _advice(standing: Standing, history: Sequence[RecordedOutcome], language: str) -> str:
    """What to tell of an address: about its suppression, else about what happened lately."""
    recent = _recent(history)
    if standing.reason or recent is None:
        return standing.advice(language)
    return advice(recent.outcome.reason, language)


def _fate(sent: SentStatus) -> str:
    """The status of a sent message, or what its recipient answered."""
    if sent.complained_at:
        return "complaint"
    return "unsubscribe" if sent.unsubscribed_at else sent.status


def _standing_json(standing: Standing, history: Sequence[RecordedOutcome], language: str) -> dict[str, Any]:
    ground = standing.evidence
    return {
        **{name: _value(getattr(standing, name)) for name in _STANDING},
        "evidence": {name: _value(getattr(ground, name)) for name in _GROUND} if ground else None,
        "suppressions": [{name: _value(getattr(row, name)) for name in _SUPPRESSION} for row in standing.suppressions],
        "advice": _advice(standing, history, language),
    }


def _card_json(card: CustomerCard, histories: dict[str, tuple[RecordedOutcome, ...]], language: str) -> dict[str, Any]:
    return {
        "customer": card.customer,
        "alert": card.alert,
        "addresses": [
            {**_standing_json(row, histories[row.address], language), "replaced_by": card.replaced.get(row.address)}
            for row in card.addresses
        ],
        "sent": _sent_json(card.sent),
        "outcomes": [row.to_json() for row in card.outcomes],
    }


def _sent_json(messages: Sequence[SentStatus]) -> list[dict[str, object]]:
    return [{name: _value(getattr(row, name)) for name in _SENT} for row in messages]


_STANDING = (
    "address",
    "mailable",
    "status",
    "reason",
    "since",
    "until",
    "count",
    "scope",
    "cause",
    "provider",
    "paused_until",
)
_SUPPRESSION = (
    "subject",
    "scope",
    "cause",
    "status",
    "reason",
    "since",
    "until",
    "count",
    "last_at",
    "paused_until",
    "event_id",
)
_GROUND = (
    "occurred_at", "diagnostic", "reporting_mta", "rule", "matched", "trust", "matched_by", "message_id", "mailbox",
    "reporter_auth",
)  # fmt: skip
_SENT = (
    "message_id", "recipient", "subject", "stream", "sent_at", "status", "reason", "status_at", "presumed",
    "complained_at", "unsubscribed_at",
)  # fmt: skip


def _value(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else value

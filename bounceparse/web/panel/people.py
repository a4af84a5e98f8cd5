"""The cards that a support desk reads: an address, a customer; and what it does about them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from starlette.responses import Response

from bounceparse.addresses import clean_address
from bounceparse.advice import advice
from bounceparse.db.api_store import own_scopes
from bounceparse.db.rows import RecordedOutcome
from bounceparse.db.standings import Standing
from bounceparse.web.panel.visit import Page, Refused, Visit, redirect
from bounceparse.web.panel.words import LANGUAGES

_LATEST = 20
_RECENT = timedelta(days=30)
"""An outcome older than this says nothing about an address that is not suppressed."""


@dataclass(frozen=True, slots=True)
class Card:
    """An address on a page: its standing, the advice in each language, and what was reported of it lately."""

    standing: Standing
    advice: dict[str, str]
    recent: RecordedOutcome | None
    replaced_by: str | None = None


def address(visit: Visit) -> Response:
    """The card of an address."""
    asked = visit.query.get("address", "").strip()[:1000]
    if not asked:
        return redirect("/")
    found = visit.store.address_card(asked, _LATEST, sender=visit.sender)
    return visit.page(
        "address.html",
        address=asked,
        card=_card(found.standing, next(iter(found.history), None)),
        sent=found.sent,
        history=found.history,
        acts=found.acts,
        scopes=_scopes(visit, found.senders),
    )


def customer(visit: Visit) -> Response:
    """The card of a customer: all addresses."""
    asked = visit.query.get("customer", "").strip()[:1000]
    if not asked:
        return redirect("/")
    cards = visit.store.customer_cards(asked, _LATEST, sender=visit.sender)
    found = cards.card
    shown = [
        _card(one, cards.latest.get(one.address), found.replaced.get(one.address)) for one in found.addresses[:_LATEST]
    ]
    return visit.page("customer.html", customer=asked, found=found, cards=shown)


def search(visit: Visit) -> Response:
    """Go to the card of an address or a customer, or to a message's trail, whichever these words name."""
    words = visit.query.get("q", "").strip()[:1000]
    if not words:
        return redirect("/")
    sender = visit.sender
    if words.startswith("<") or ("@" in words and any(visit.store.trail(words, sender=sender))):
        return redirect("/message", id=words.strip("<>"))
    if "@" in words:
        return redirect("/address", address=clean_address(words) or words)
    return redirect("/customer", customer=words)


def lift(visit: Visit) -> Response:
    """Lift what stands against an address, in one scope or all that this user may touch."""
    subject = _subject(visit)
    note = visit.note()
    scopes = _chosen(visit)
    lifted = sum(visit.store.lift(subject, scope=scope, by=visit.name, note=note) for scope in scopes)
    return _back(visit, subject, "lifted" if lifted else "nothing")


def suppress(visit: Visit) -> Response:
    """Suppress an address or a whole domain by hand."""
    subject = _subject(visit)
    note = visit.note()
    until = _until(visit.text("until", 10))
    scope = _chosen(visit)[0] or "all"
    visit.store.suppress(subject, scope=scope, until=until, by=visit.name, note=note)
    return _back(visit, subject, "suppressed")


def _card(standing: Standing, recent: RecordedOutcome | None, replaced_by: str | None = None) -> Card:
    if recent is not None and recent.recorded_at < datetime.now(UTC) - _RECENT:
        recent = None
    if standing.reason is None and recent is not None:
        told = {language: advice(recent.outcome.reason, language) for language in LANGUAGES}
    else:
        told = {language: standing.advice(language) for language in LANGUAGES}
    return Card(standing, told, recent, replaced_by)


def _scopes(visit: Visit, senders: Iterable[str]) -> tuple[str, ...]:
    """What a suppression by hand may reach, the widest first."""
    own = (scope for sender in senders for scope in reversed(own_scopes(sender)))
    return tuple(own) if visit.sender is not None else ("all", *own)


def _chosen(visit: Visit) -> tuple[str | None, ...]:
    """The scopes that a form names, or all that this user may touch (None: whatever there is)."""
    scope = visit.text("scope")
    if visit.sender is None:
        return (scope or None,)
    own = tuple(reversed(own_scopes(visit.sender)))
    if scope and scope not in own:
        raise Refused(403, "This is not of your sender.")
    return (scope,) if scope else own


def _subject(visit: Visit) -> str:
    subject = visit.text("address")
    if "@" not in subject or subject.endswith("@") or not subject.isprintable():
        raise Refused(422, "This is no address: write jan@example.pl, or @example.pl for a whole domain.")
    return subject


def _until(day: str) -> datetime | None:
    if not day:
        return None
    try:
        return datetime.fromisoformat(day).astimezone().astimezone(UTC)
    except (ValueError, OverflowError):
        raise Refused(422, "This is no day: write it as 2026-01-31.") from None


def _back(visit: Visit, subject: str, done: str) -> Response:
    if customer := visit.text("customer"):
        return redirect("/customer", customer=customer, done=done)
    return redirect("/address", address=subject, done=done)


PAGES = (
    Page("/search", search),
    Page("/address", address),
    Page("/address/lift", lift, form=True, role="write"),
    Page("/address/suppress", suppress, form=True, role="write"),
    Page("/customer", customer),
)

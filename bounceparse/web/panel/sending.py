"""How the sending goes: streams with their thresholds, stops and releases; providers and why they refuse."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from starlette.responses import Response

from bounceparse.db.panel import ProviderReason
from bounceparse.health import Cohort, Level
from bounceparse.web.panel.visit import Page, Refused, Visit, redirect

DAYS = 30
_TYPICAL = 3
_MOST_PROVIDERS = 200
_MEASURES = ("hardbounce", "spambounce", "setup", "complaint")


def streams(visit: Visit) -> Response:
    """All streams: how each does, by which numbers, and the forms that stop and release."""
    sender = visit.sender
    counted = visit.house.figures.get(("streams", sender), lambda: visit.store.sent_by_stream(sender=sender))
    cohorts: dict[str, Cohort] = counted.value if counted else {}
    found = visit.store.stream_levels(sender=sender)
    rows = [
        {"stream": one, "cohort": cohorts.get(one.name, Cohort()), "limits": visit.store.thresholds(one.name)}
        for one in sorted(found, key=lambda one: (-one.level.rank, one.name))
    ]
    return visit.page(
        "streams.html", rows=rows, is_counted=counted is not None, age=counted.age if counted else 0,
        measures=_MEASURES, stop=Level.STOP,
    )  # fmt: skip


def stop(visit: Visit) -> Response:
    """Stop a stream until a person releases it."""
    name = _stream(visit)
    visit.store.stop_stream(name, by=visit.name, note=visit.note())
    return redirect("/streams", done="stopped")


def release(visit: Visit) -> Response:
    """Let a stopped stream go on."""
    name = _stream(visit)
    visit.store.release_stream(name, by=visit.name, note=visit.note())
    return redirect("/streams", done="released")


def providers(visit: Visit) -> Response:
    """The providers that reports named, and what most of them say."""
    sender = visit.sender
    counted = visit.house.figures.get(
        ("providers", sender), lambda: _by_provider(visit.store.provider_reasons(DAYS, sender=sender))
    )
    return visit.page(
        "providers.html", found=counted.value if counted else None, age=counted.age if counted else 0, days=DAYS
    )


def _stream(visit: Visit) -> str:
    name = visit.form.get("stream", "")[:1000]
    if (name or visit.sender is not None) and not visit.store.has_stream(name, visit.sender):
        raise Refused(404, "There is no such stream.")
    return name


def _by_provider(found: Iterable[ProviderReason]) -> list[dict[str, Any]]:
    """A line a provider, that with most reports first: statuses, and the reasons that are told most often."""
    statuses: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for provider, status, reason, total in found:
        statuses[provider][status] += total
        reasons[provider][reason] += total
    ordered = sorted(statuses, key=lambda name: (-statuses[name].total(), name))[:_MOST_PROVIDERS]
    return [
        {
            "name": name,
            "total": statuses[name].total(),
            "statuses": dict(statuses[name]),
            "reasons": reasons[name].most_common(_TYPICAL),
        }
        for name in ordered
    ]


PAGES = (
    Page("/streams", streams),
    Page("/streams/stop", stop, form=True, role="write"),
    Page("/streams/release", release, form=True, role="write"),
    Page("/providers", providers),
)

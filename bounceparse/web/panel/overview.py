"""The first page: what was reported today, how much arrives, what needs a person, and how the polls go."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.responses import Response

from bounceparse.db.panel_store import Reported
from bounceparse.health import Cohort, Level, percent
from bounceparse.outcomes import Status
from bounceparse.web.panel.charts import stacked
from bounceparse.web.panel.visit import Page, Visit

DAYS = 14
_FAILED = ("softbounce", "hardbounce", "spambounce", "complaint")
_FATES = ("delivered", "presumed", "waiting", "deferred", "softbounce", "hardbounce", "spambounce")
_OF_STREAMS = ("stream-warn", "stream-stop", "silent-mailbox")


def overview(visit: Visit) -> Response:
    """The overview of all, or of one tenant's streams."""
    sender = visit.sender
    counted = visit.house.figures.get(("reported", sender), lambda: visit.store.reported(DAYS, sender=sender))
    waiting = visit.store.waiting()
    streams = visit.store.stream_levels(sender=sender)
    own = {one.name for one in streams}
    alerts = [
        one for one in waiting.alerts if sender is None or (one.alert.kind in _OF_STREAMS and one.alert.subject in own)
    ]
    return visit.page(
        "overview.html",
        reported=_reported(counted.value) if counted else None,
        age=counted.age if counted else 0,
        waiting=waiting,
        alerts=sorted(alerts, key=lambda one: -one.alert.level.rank),
        stopped=[one for one in streams if one.level is Level.STOP],
        streams=len(streams),
    )


def _reported(found: Reported) -> dict[str, Any]:
    """What the template shows of the counts."""
    days = [(found.today - timedelta(days=ago)).isoformat() for ago in range(DAYS - 1, -1, -1)]
    sent = [found.sent.get(day, Cohort()) for day in days]
    reports = [found.reports.get(day, {}) for day in days]
    week = Cohort(*map(sum, zip(*sent[-7:], strict=True)))
    failures = {name: [row.get(name, 0) for row in reports] for name in _FAILED}
    fates = {name: [_fate(cohort, name) for cohort in sent] for name in _FATES}
    return {
        "days": days,
        "today": {status.value: reports[-1].get(status.value, 0) for status in Status if status is not Status.INJECTED},
        "reports": list(zip(days, reports, strict=True)),
        "sent": list(zip(days, sent, strict=True)),
        "fates": _FATES,
        "fate_of": _fate,
        "week": week,
        "arrived": percent(week.delivered + week.presumed, week.injected),
        "confirmed": percent(week.delivered, week.injected),
        "presumed": percent(week.presumed, week.injected),
        "failed_chart": stacked(days, failures),
        "sent_chart": stacked(days, fates, share=True),
        "has_reports": any(reports),
        "mailboxes": found.mailboxes,
    }


def _fate(cohort: Cohort, name: str) -> int:
    """How many messages of a day had a fate; presumed softbounces among the softbounces."""
    count: int = getattr(cohort, name)
    return count + cohort.presumed_softbounce if name == "softbounce" else count


PAGES = (Page("/", overview),)

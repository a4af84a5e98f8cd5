"""Alerts: which last, which are new, which are to be told now. An alert is told once, then daily while it lasts.

``told_at`` is written after the telling, so a process that is killed between the two tells again rather than never.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from bounceparse.db.tables import alerts
from bounceparse.health import REPEAT, Alert, Level


@dataclass(frozen=True, slots=True)
class OpenAlert:
    """An alert that lasts: when it began, and when it was last told (None: not yet)."""

    id: int
    alert: Alert
    began_at: datetime
    told_at: datetime | None

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be told now."""
        return self.told_at is None or self.told_at <= now - REPEAT

    def to_json(self) -> dict[str, str | None]:
        """The alert as JSON: what its command reads."""
        return {
            **self.alert._asdict(),
            "began_at": self.began_at.isoformat(),
            "told_at": self.told_at.isoformat() if self.told_at else None,
        }


def open_alerts(connection: Connection) -> list[OpenAlert]:
    """The alerts that last, oldest first."""
    rows = connection.execute(sa.select(alerts).where(alerts.c.ended_at.is_(None)).order_by(alerts.c.id))
    return [
        OpenAlert(row.id, Alert(row.kind, row.subject, Level(row.level), row.text), row.began_at, row.told_at)
        for row in rows
    ]


def sync_alerts(connection: Connection, found: Iterable[Alert], looked: Collection[str], now: datetime) -> None:
    """Begin the alerts that are ``found``, bring those that last up to date, end the others.

    ``looked`` are the kinds that were looked for: an alert of another kind lasts on. A warning that comes back within a
    day of its last telling is not told anew: what comes and goes is told once a day. A stop always is.
    """
    lasting = {(one.alert.kind, one.alert.subject): one for one in open_alerts(connection)}
    current = {(one.kind, one.subject): one for one in found}
    for name, alert in current.items():
        if name not in lasting:
            told_at = _recently_told(connection, alert, now) if alert.level is Level.WARN else None
            values = alert._asdict() | {"began_at": now, "told_at": told_at, "ended_at": None}
            connection.execute(sa.insert(alerts).values(**values))
        elif lasting[name].alert != alert:
            same = sa.update(alerts).where(alerts.c.id == lasting[name].id)
            connection.execute(same.values(text=alert.text, level=alert.level.value))
    gone = [one.id for name, one in lasting.items() if name not in current and one.alert.kind in looked]
    if gone:
        connection.execute(sa.update(alerts).where(alerts.c.id.in_(gone)).values(ended_at=now))


def _recently_told(connection: Connection, alert: Alert, now: datetime) -> datetime | None:
    query = sa.select(sa.func.max(alerts.c.told_at)).where(
        alerts.c.kind == alert.kind, alerts.c.subject == alert.subject, alerts.c.told_at > now - REPEAT
    )
    return connection.execute(query).scalar()


def note_told(connection: Connection, alert_id: int, now: datetime) -> None:
    """Note that an alert has been told."""
    connection.execute(sa.update(alerts).where(alerts.c.id == alert_id).values(told_at=now))

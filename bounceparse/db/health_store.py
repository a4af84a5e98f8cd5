"""The part of :class:`~bounceparse.db.Store` that says how the streams do: health, alerts, rates."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bounceparse import lazy
from bounceparse.db.backscatter import has_ledger
from bounceparse.db.engine import Database
from bounceparse.db.locks import hold_lock
from bounceparse.db.numbers import numbers, set_number
from bounceparse.errors import ConfigError, MailboxLocked
from bounceparse.health import Cohort, HealthSettings, Level

if TYPE_CHECKING:
    from bounceparse.db import alerts, health, rates
    from bounceparse.db.alerts import OpenAlert
    from bounceparse.db.health import StreamHealth
else:  # most polls need none of them
    alerts, health, rates = (lazy.module(f"bounceparse.db.{name}") for name in ("alerts", "health", "rates"))

_JUDGED_AT = "health-at"


@dataclass(frozen=True, slots=True)
class Health:
    """How all is: the streams, and the alerts that last."""

    streams: tuple[StreamHealth, ...]
    alerts: tuple[OpenAlert, ...]

    @property
    def level(self) -> Level:
        """The worst of them."""
        levels = [one.level for one in self.streams] + [one.alert.level for one in self.alerts]
        return max(levels, key=lambda level: level.rank, default=Level.OK)


class HealthStore:
    """May a stream send, and what should a person know?"""

    _database: Database
    _health: HealthSettings
    _clock: Callable[[], datetime]

    def may_send(self, stream: str | None) -> bool:
        """Whether a stream (None: mail without one) is not stopped: ask before each campaign, or each message."""
        with self._database.read() as connection:
            return health.may_send(connection, stream or "")

    def check_health(self, *, at_most_every: timedelta = timedelta(0)) -> bool:
        """Judge the streams and see what else a person should know; False where it was done less than that ago."""
        with self._database.read() as connection:
            now = self._clock()
            last = numbers(connection).get(_JUDGED_AT, 0)
            if 0 <= now.timestamp() - last < at_most_every.total_seconds():
                return False
            found = health.look(connection, self._health, now)
        with self._database.write() as connection:
            health.judge(connection, found, self._health, now)
            set_number(connection, _JUDGED_AT, int(now.timestamp()))
        return True

    def health(self) -> Health:
        """How the streams do and which alerts last, as last judged."""
        with self._database.read() as connection:
            streams = health.stream_healths(connection, self._clock())
            return Health(tuple(streams), tuple(alerts.open_alerts(connection)))

    def tell_alerts(self, tell: Callable[[OpenAlert], None]) -> int:
        """Call ``tell`` for each alert that is due, outside any transaction; returns how many were told.

        An alert that was told is due again after a day. Where ``tell`` raises, its alert and those behind it stay due.
        While another process tells, nothing is done. Killed between telling and noting, an alert is told again.
        """
        told = 0
        if not self._due():
            return told
        with suppress(MailboxLocked), hold_lock(self._database, "", "alerts"):
            for one in self._due():
                tell(one)
                with self._database.write() as connection:
                    alerts.note_told(connection, one.id, self._clock())
                told += 1
        return told

    def _due(self) -> list[OpenAlert]:
        now = self._clock()
        with self._database.read() as connection:
            return [one for one in alerts.open_alerts(connection) if one.is_due(now)]

    def stop_stream(self, name: str, *, by: str, note: str) -> None:
        """Stop a stream by hand. Raises ``ConfigError`` for one that is unknown or stopped."""
        with self._database.write() as connection:
            health.stop(connection, name, self._clock(), by=by, note=note)

    def release_stream(self, name: str, *, by: str, note: str) -> None:
        """Let a stopped stream go on; what it sent until now never stops it again.

        Raises ``ConfigError`` for one that is not stopped.
        """
        with self._database.write() as connection:
            health.release(connection, name, self._clock(), by=by, note=note)

    def rates(self, by: str, since: datetime | None = None) -> dict[str, Cohort]:
        """What became of the mail sent since then, by ``stream``, ``provider``, ``domain`` or ``day``; empty without a ledger."""
        if by not in rates.GROUPS:
            raise ConfigError(f"rates by {by!r}: choose one of {', '.join(rates.GROUPS)}")
        with self._database.read() as connection:
            return rates.cohorts(connection, by, since) if has_ledger(connection) else {}

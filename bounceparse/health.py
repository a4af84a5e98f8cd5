"""Stream health: the counts of a day's mail -> rates, and whether a stream may go on. Pure.

A count is of messages by when they were *sent*, with what is known of each by now, so numerator and denominator are of
the same mail. What was reported is kept apart from what silence stands for (*presumed*, *waiting*).

Measures, each a share of a denominator:

* ``hardbounce``: hard bounces of all that was injected.
* ``spambounce``: of all that was injected those refused for what we send or who we are. Not among them what the
  recipient chose (``recipient-blocks-sender``, ``recipient-restricted``), nor :data:`SETUP_REASONS`.
* ``setup``: what was refused for a fault in our own set-up, of all that was injected. It warns and never stops: the mail
  itself is good, and the cure is in DNS or in the mail server.
* ``complaint``: of what reached somebody: all that was injected but what bounced or is deferred.

A stream stops where a measure passes its stop threshold, and stays stopped until a person releases it. It warns where
one passes its warn threshold, until that measure falls below :data:`CLEAR` of it: between the two nothing changes, so a
rate at the threshold does not flap.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from bounceparse.outcomes import REASONS

WINDOW = timedelta(days=1)
"""A stream is judged by what it sent in this time."""
CLEAR = 0.8
"""A warning ends when its rate, or the volume that it needs, has fallen below this share of what began it."""
REPEAT = timedelta(days=1)
"""An alert that lasts is told again after this."""
REVIEW_DEADLINE = timedelta(hours=24)
"""An unsubscribe request that has waited longer for a person is warned of: mailbox providers allow 48 hours."""

AUTHENTICATION_REASONS = frozenset(reason for reason in REASONS if reason.startswith("auth-fail-"))
"""The From domain's own authentication did not pass."""
SETUP_REASONS = AUTHENTICATION_REASONS | frozenset(
    ("auth-required", "tls-required", "crypto", "ptr-missing", "sender-address-bad")
)
"""Refusals that DNS records or the mail server's settings cause. ``sender-rejected``, ``rate-limited`` and ``policy`` are
none: they answer what we sent before. ``content-error``, ``virus`` and ``attachment-banned`` are of the mail itself."""
CHOICE_REASONS = frozenset(("recipient-blocks-sender", "recipient-restricted"))
"""Refusals that the recipient, or who runs the mailbox, chose."""


class Level(StrEnum):
    """How a stream does; the worst comes last."""

    OK = "ok"
    WARN = "warn"
    STOP = "stop"

    @property
    def rank(self) -> int:
        """0, 1 or 2: also the exit status of ``bounceparse health``."""
        return list(Level).index(self)


class Cohort(NamedTuple):
    """What became of the messages sent in some time.

    Attributes:
        injected: all that were handed to the mail server.
        delivered: told as delivered; ``presumed`` taken for it, since nothing was heard for long enough.
        deferred: still retried.
        softbounce: told; ``presumed_softbounce`` retried for too long without a word.
        hardbounce, spambounce: told. Of ``spambounce`` are ``setup`` (:data:`SETUP_REASONS`) and ``choice``
            (:data:`CHOICE_REASONS`).
        complaint, unsubscribe: whose recipients answered so, whatever became of the message.
    """

    injected: int = 0
    delivered: int = 0
    presumed: int = 0
    deferred: int = 0
    softbounce: int = 0
    presumed_softbounce: int = 0
    hardbounce: int = 0
    spambounce: int = 0
    setup: int = 0
    choice: int = 0
    complaint: int = 0
    unsubscribe: int = 0

    @property
    def waiting(self) -> int:
        """Injected, and nothing heard so far."""
        return self.reached - self.delivered - self.presumed

    @property
    def reached(self) -> int:
        """Neither bounced nor deferred: delivered for all we know."""
        failed = self.softbounce + self.presumed_softbounce + self.hardbounce + self.spambounce
        return self.injected - self.deferred - failed

    def measures(self) -> dict[str, tuple[int, int]]:
        """The numerator and the denominator of each measure."""
        return {
            "hardbounce": (self.hardbounce, self.injected),
            "spambounce": (self.spambounce - self.setup - self.choice, self.injected),
            "setup": (self.setup, self.injected),
            "complaint": (self.complaint, self.reached),
        }

    def rates(self) -> dict[str, float | None]:
        """The measures in percent, with the shares ``delivered`` and ``presumed``; None where there is nothing to divide by."""
        told = {"delivered": (self.delivered, self.injected), "presumed": (self.presumed, self.injected)}
        return {name: percent(*pair) for name, pair in (told | self.measures()).items()}

    def to_json(self) -> dict[str, int]:
        """All counts by name, ``waiting`` and ``reached`` too."""
        return {**self._asdict(), "waiting": self.waiting, "reached": self.reached}


def percent(count: int, of: int) -> float | None:
    """``count`` as percent of ``of``, to four places; None of nothing."""
    return round(100 * count / of, 4) if of else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a stream warns and stops, in percent: more than that. With fewer messages or events nothing is judged.

    Attributes:
        least_sent: messages that the stream must have sent in :data:`WINDOW`.
        least_events: bounces, or complaints, that a measure must have counted.
    """

    least_sent: int = 500
    least_events: int = 20
    hardbounce_warn: float = 5.0
    hardbounce_stop: float = 10.0
    spambounce_warn: float = 1.0
    spambounce_stop: float = 2.0
    setup_warn: float = 2.0
    complaint_warn: float = 0.1
    complaint_stop: float = 0.3

    def warn(self, measure: str) -> float:
        """The percentage above which a measure warns."""
        return float(getattr(self, f"{measure}_warn"))

    def stop(self, measure: str) -> float | None:
        """The percentage above which a measure stops its stream; None where it never does."""
        return getattr(self, f"{measure}_stop", None)


class Verdict(NamedTuple):
    """How a stream does: ``why`` in words, empty while all is well; ``over`` names the measures that warn or stop."""

    level: Level
    why: str = ""
    over: tuple[str, ...] = ()


def assess(cohort: Cohort, limits: Thresholds, warned: frozenset[str] = frozenset()) -> Verdict:
    """How a stream does that sent ``cohort``; ``warned`` are the measures that warn already."""
    level, told = Level.OK, {}
    for measure, (count, of) in cohort.measures().items():
        ease = CLEAR if measure in warned else 1.0
        if cohort.injected < ease * limits.least_sent or count < ease * limits.least_events:
            continue
        rate, stop, warn = 100 * count / of if of else 100.0, limits.stop(measure), limits.warn(measure)
        enough = cohort.injected >= limits.least_sent and count >= limits.least_events
        if stop is not None and enough and rate > stop:
            level, limit = Level.STOP, f"stop above {stop:g} %"
        elif rate > warn or (measure in warned and rate >= CLEAR * warn):
            level, limit = max(level, Level.WARN, key=lambda one: one.rank), f"warn above {warn:g} %"
        else:
            continue
        told[measure] = f"{measure} {rate:.2f} %: {count} of {of} ({limit})"
    return Verdict(level, "; ".join(told.values()), tuple(told))


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """What health is judged by.

    Attributes:
        limits: for all streams; ``streams`` for those that have their own.
        mailboxes: those that are to be polled.
        returns_to: by stream the mailbox that its reports come to; any of them where it is not told.
        silent_sent: a stream that sent so many in :data:`WINDOW`, of which no report came, has lost its return path.
        unpolled: a mailbox not polled to its end for longer than this is told of.
    """

    limits: Thresholds = Thresholds()
    streams: Mapping[str, Thresholds] = field(default_factory=dict)
    mailboxes: tuple[str, ...] = ()
    returns_to: Mapping[str, str] = field(default_factory=dict)
    silent_sent: int = 1000
    unpolled: timedelta = timedelta(hours=24)

    def limits_of(self, stream: str) -> Thresholds:
        """The thresholds of a stream."""
        return self.streams.get(stream, self.limits)


THRESHOLDS = tuple(one.name for one in fields(Thresholds))


class Alert(NamedTuple):
    """Something that a person should know. ``kind`` and ``subject`` name it: one that lasts keeps both.

    ``kind`` is ``stream-warn``, ``stream-stop`` or ``silent-mailbox`` (subject: the stream), ``authentication`` (the From
    domain), ``unpolled`` (the mailbox), ``mass-event`` (provider and reason), ``backscatter`` or ``review`` (no subject).
    """

    kind: str
    subject: str
    level: Level
    text: str


def stream_alert(stream: str, verdict: Verdict) -> Alert | None:
    """The alert of a stream that does not do well."""
    name = stream_name(stream)
    if verdict.level is Level.STOP:
        remedy = f"find the cause, then `bounceparse streams release {shlex.quote(stream)} --note ...`"
        return Alert("stream-stop", stream, Level.STOP, f"{name} is stopped: {verdict.why}: {remedy}")
    if verdict.level is Level.WARN:
        return Alert("stream-warn", stream, Level.WARN, f"{name}: {verdict.why}")
    return None


def authentication_alert(domain: str, count: int, reasons: str) -> Alert:
    """Mail with this From domain is refused for its authentication."""
    text = (
        f"{domain}: mail refused because its authentication fails ({reasons}; {count} in 24 hours):"
        " check its SPF, DKIM and DMARC records and what signs the mail"
    )
    return Alert("authentication", domain, Level.WARN, text)


def silence_alert(stream: str, sent: int, mailbox: str | None) -> Alert:
    """A stream sent much and no report came."""
    where = f"mailbox {mailbox}" if mailbox else "any mailbox"
    text = (
        f"{stream_name(stream)} sent {sent} messages in 24 hours and no report came to {where}:"
        " check that its return path leads there and that the mailbox is polled"
    )
    return Alert("silent-mailbox", stream, Level.WARN, text)


def unpolled_alert(mailbox: str, last: datetime | None) -> Alert:
    """A mailbox that no poll has read to its end lately."""
    since = f"not polled to its end since {last:%Y-%m-%d %H:%M} UTC" if last else "never polled to its end"
    return Alert("unpolled", mailbox, Level.WARN, f"mailbox {mailbox}: {since}: run `bounceparse doctor`")


def review_text(late: int) -> str:
    """What is told of ``late`` unsubscribe requests that have waited longer than :data:`REVIEW_DEADLINE`."""
    told = "1 unsubscribe request waits" if late == 1 else f"{late} unsubscribe requests wait"
    return f"{told} for longer than 24 hours: decide with `bounceparse review list`; mailbox providers allow 48"


def mass_event_alert(event: int, provider: str, reason: str, count: int) -> Alert:
    """Many addresses of a provider failed at once, and are paused until a person or time decides."""
    text = (
        f"{count} addresses of {provider} failed at once ({reason}) and are paused:"
        f" decide with `bounceparse events list` (event {event})"
    )
    return Alert("mass-event", f"{provider} {reason}", Level.WARN, text)


def stream_name(stream: str) -> str:
    """A stream as people are told of it; messages without one count as a stream too."""
    return f"stream {stream}" if stream else "mail without a stream"

"""The log of a mail server -> rows for the ledger: what became of each message at each recipient.

Postfix writes the story of a message over several lines that share its queue id: ``cleanup`` tells the Message-ID,
``qmgr`` the sender, ``smtp``, ``lmtp`` and the like one ``to=<...>`` line an attempt, ``qmgr`` again that it gave up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from bounceparse.addresses import address_key
from bounceparse.classify import classify
from bounceparse.clues import is_same_mailbox
from bounceparse.codes import Action
from bounceparse.match import forwarded_status
from bounceparse.outcomes import Outcome, Status
from bounceparse.reports import DeliveryReport, Kind, RecipientReport, Report

_MOST = 100_000
"""Messages that are followed at once; the oldest are forgotten when a log never says that they were removed."""
_LINE = re.compile(
    r"(?:(\w{3} [ \d]\d \d\d:\d\d:\d\d)|(\d{4}-\d\d-\d\dT\S+)) \S+ \S*postfix\S*/([\w-]+)\[\d+\]: (\w{6,}): (.*)",
    re.ASCII,
)
_ATTEMPT = re.compile(
    r"to=<([^>]*)>, (?:orig_to=<([^>]*)>, )?relay=([^,]*), .*?dsn=([\d.]+), status=([\w-]+) \((.*)\)\s*\Z"
)
_MONTHS = {name: number for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}  # noqa: SIM905
# "queued as ID" of Postfix and its kin; a bare id behind "Ok" of Amazon SES.
_QUEUED = re.compile(r"queued as ([\w.<>@-]+)|\b[Oo][Kk] ([\w-]{20,})\Z", re.ASCII)
_SAID = re.compile(r"(?:host (\S+?)\[[^\]]*\] )?(?:said: |refused to talk to me: )(.*)", re.DOTALL)
_ACTIONS = {"sent": Action.DELIVERED, "deferred": Action.DELAYED, "bounced": Action.FAILED, "expired": Action.FAILED}
_FILTER = ("127.0.0.1[", "localhost[", "[127.0.0.1]", "[::1]", "::1[")
"""Relays that are no delivery: a content filter on the same machine hands the message back under another queue id."""


@dataclass(slots=True)
class _Message:
    """What the log has told of a queue id so far."""

    message_id: str
    sent_at: datetime
    from_nobody: bool = False
    waiting: dict[str, tuple[str, str, str, str]] = field(default_factory=dict)  # recipient: failing, relay, dsn, text


@dataclass(slots=True)
class LogCounts:
    """What reading a log came across beside its rows: attempts whose Message-ID stands in an older log."""

    unknown: int = 0


def read_postfix(lines: Iterable[str], now: datetime, counts: LogCounts) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows that a Postfix log tells, each with the number of its line: columns of ``sent import``.

    One row an attempt, in the order of the log: ``ok``, ``deferred``, or the status and reason of the failure, and as
    ``provider_id`` the id under which the next server queued the message. Bounces and other mail of the null sender
    are left out. ``now`` gives the year where a line has none (the traditional form, in local time).
    """
    messages: dict[str, _Message] = {}
    times = _Times(now)
    for number, line in enumerate(lines, 1):
        if "postfix" not in line or not (parts := _LINE.match(line)):
            continue
        queue_id, text = parts[4], parts[5]
        if text.startswith("to=<"):
            message = messages.get(queue_id)
            if message is None:
                counts.unknown += 1
            elif not message.from_nobody and (row := _attempt(message, text, times.read(parts[1], parts[2]))):
                yield number, row
        elif text.startswith("message-id="):
            if (message_id := text[11:].strip()) not in ("", "<>"):
                if len(messages) >= _MOST:
                    del messages[next(iter(messages))]
                messages[queue_id] = _Message(message_id, times.read(parts[1], parts[2]))
        elif text.startswith("from=<") and (message := messages.get(queue_id)):
            message.from_nobody = text.startswith("from=<>")
            if "status=expired" in text and not message.from_nobody:
                at = times.read(parts[1], parts[2])
                for recipient, told in message.waiting.items():
                    yield number, _row(message, recipient, *told, "expired", at)
        elif text.startswith("removed"):
            messages.pop(queue_id, None)


class _Times:
    """Reads the two forms of a log's times; many lines share a second."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._text = ""
        self._time = now

    def read(self, traditional: str | None, iso: str | None) -> datetime:
        """The time, aware; that of the line before where the text is none."""
        text = traditional or iso or ""
        if text != self._text:
            self._text = text
            with suppress(ValueError, KeyError, OverflowError):
                self._time = self._traditional(text) if traditional else datetime.fromisoformat(text).astimezone()
        return self._time

    def _traditional(self, text: str) -> datetime:
        """``Nov 22 01:34:59``: local time of the last year in which that is not ahead of now."""
        hour, minute, second = text[7:].split(":")
        month, day = _MONTHS[text[:3]], int(text[4:6])
        latest = self._now.astimezone() + timedelta(days=1)
        for year in (latest.year, latest.year - 1, latest.year - 2, latest.year - 3, latest.year - 4):
            try:
                time = datetime(year, month, day, int(hour), int(minute), int(second)).astimezone()
            except ValueError:  # 29 February
                continue
            if time <= latest:
                return time
        raise ValueError(text)


def _attempt(message: _Message, text: str, at: datetime) -> dict[str, Any] | None:
    """The row of one ``to=<...>`` line; None for what is no news of a delivery: a probe, a filter on this machine."""
    parts = _ATTEMPT.match(text)
    if parts is None or parts[5] not in _ACTIONS:
        return None
    recipient = parts[2] or parts[1]
    if parts[5] == "sent" and parts[3].startswith(_FILTER):
        return None
    told = parts[1], parts[3], parts[4], parts[6]
    if parts[5] == "deferred":
        message.waiting[recipient] = told
    else:
        message.waiting.pop(recipient, None)
    return _row(message, recipient, *told, parts[5], at)


def _row(
    message: _Message, recipient: str, failing: str, relay: str, dsn: str, text: str, status: str, at: datetime
) -> dict[str, Any]:
    """``recipient`` is the address that we mailed, ``failing`` the one that the line is about: a member of an alias."""
    row = {"message_id": message.message_id, "recipient": recipient, "sent_at": message.sent_at, "status_at": at}
    if status == "sent":
        queued = _QUEUED.search(text)
        provider_id = (queued[1] or queued[2]) if queued else None
        return {**row, "status": Status.OK.value, "reason": "delivered", "provider_id": provider_id}
    found = _judge(recipient, relay, dsn, text, _ACTIONS[status])
    ours = is_same_mailbox(address_key(recipient), address_key(failing))
    told = found.status if ours else forwarded_status(found.status)
    return {**row, "status": told.value, "reason": found.reason}


def _judge(recipient: str, relay: str, dsn: str, text: str, action: Action) -> Outcome:
    """What a report with these words would be classified as."""
    said = _SAID.match(text)
    told = RecipientReport(
        recipient=recipient,
        final_recipient=recipient,
        action=action,
        status=dsn,
        diagnostic=said[2] if said else text,
        diagnostic_type="smtp" if said else "x-postfix",
        remote_mta=(said[1] if said else None) or relay.partition("[")[0] or None,
    )
    return classify(Report(Kind.DELIVERY, "rfc3464", (), (DeliveryReport((told,)),)))[0]

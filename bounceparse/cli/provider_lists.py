"""Suppression lists of Amazon SES, SendGrid, Postmark and Mailgun, and our own: their rows and ours, both ways."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from bounceparse.cli.list_items import escape_cell
from bounceparse.codes import Action
from bounceparse.dates import parse_date
from bounceparse.errors import ConfigError
from bounceparse.outcomes import REASONS, Status

FORMATS = ("csv", "jsonl", "ses", "sendgrid", "postmark", "mailgun")
KINDS = {
    "sendgrid": ("bounces", "blocks", "invalid", "spam", "unsubscribes"),
    "mailgun": ("bounces", "complaints", "unsubscribes"),
}
"""The lists that a provider keeps apart."""
COLUMNS = ("address", "scope", "reason", "since", "until", "status")
"""Those of our own lists."""
BLOCKED_FOR = timedelta(days=30)
"""SendGrid's blocks are refusals of one message: they suppress nobody for good."""
_UNSUBSCRIBED = (Status.UNSUBSCRIBE.value, "unsubscribe-request")
_COMPLAINED = (Status.COMPLAINT.value, "abuse")
_MANUAL = ("manual", "manual")


@dataclass(frozen=True, slots=True)
class Entry:
    """An address, ``@domain`` or keyed hash that is not to be mailed; ``scope`` None: as far as its status reaches."""

    address: str
    status: str = "manual"
    reason: str = "manual"
    scope: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_answer(self) -> bool:
        """Whether the recipient asked for it: a complaint or an unsubscribe, which never stop transactional mail."""
        return self.status in (Status.COMPLAINT, Status.UNSUBSCRIBE)


Row = Mapping[str, str]


def guess_format(row: Row) -> str:
    """The form of a list by the names of its first row; raises ``ConfigError`` where more than one would do."""
    names = set(row)
    if "suppressionreason" in names:
        return "postmark"
    if "emailaddress" in names:
        return "ses"
    if "email" in names:
        return "sendgrid"
    if "address" in names and ("createdat" in names or names & {"error", "tag", "tags"}):
        return "mailgun"
    if "address" in names:
        return "csv"
    raise ConfigError("this is no list that is known: name what it is with --format")


def read_entry(row: Row, form: str, kind: str | None = None) -> Entry:
    """What a row of a list of this form says; raises ``ConfigError`` that says what is wrong with it."""
    return _READERS[form](row, kind)


def _read_own(row: Row, kind: str | None) -> Entry:
    if unknown := [name for name in row if name not in COLUMNS]:
        raise ConfigError(f"unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}")
    reason = row.get("reason") or "manual"
    if reason not in {*REASONS, "manual"}:
        raise ConfigError(f"unknown reason {reason!r}: leave it out or use one that `stats` shows")
    status = row.get("status") or (REASONS[reason].status.value if reason in REASONS else "manual")
    if status not in {*Status, "manual"}:
        raise ConfigError(f"unknown status {status!r}: leave it out")
    scope = row.get("scope") or "all"
    return Entry(
        row.get("address", ""),
        status,
        reason,
        scope,
        _time(row.get("since"), "since"),
        _time(row.get("until"), "until"),
    )


def _read_ses(row: Row, kind: str | None) -> Entry:
    told = row.get("reason", "").upper()
    if told not in ("BOUNCE", "COMPLAINT"):
        raise ConfigError(f"reason {told!r} is none of Amazon SES: BOUNCE or COMPLAINT")
    status, reason = _COMPLAINED if told == "COMPLAINT" else (Status.HARDBOUNCE.value, "undefined")
    return Entry(row.get("emailaddress", ""), status, reason, since=_time(row.get("lastupdatetime"), "LastUpdateTime"))


def _read_sendgrid(row: Row, kind: str | None) -> Entry:
    entry = Entry(row.get("email", ""), since=_time(row.get("created") or row.get("createdat"), "created"))
    words, code = row.get("reason", ""), row.get("status", "")
    kind = kind or _sendgrid_kind(row)
    if kind == "spam":
        return replace(entry, status=_COMPLAINED[0], reason=_COMPLAINED[1])
    if kind == "unsubscribes":
        return replace(entry, status=_UNSUBSCRIBED[0], reason=_UNSUBSCRIBED[1])
    if kind == "invalid":
        reason = _reason_of(words, None)
        fits = reason in ("bad-domain", "null-mx", "user-unknown", "bad-address-syntax")
        return replace(entry, status=Status.HARDBOUNCE.value, reason=reason if fits else "bad-address-syntax")
    reason = _reason_of(words, code)
    if kind == "blocks":
        until = entry.since + BLOCKED_FOR if entry.since else None
        return replace(entry, status=REASONS[reason].status.value, reason=reason, until=until)
    return replace(entry, status=Status.HARDBOUNCE.value, reason=reason)


def _sendgrid_kind(row: Row) -> str:
    """SendGrid's lists do not say which they are, but for what they have; a bounce and a block look the same."""
    if "ip" in row:
        return "spam"
    if "status" in row:
        return "blocks" if row["status"].startswith("4") else "bounces"
    return "invalid" if "reason" in row else "unsubscribes"


def _read_postmark(row: Row, kind: str | None) -> Entry:
    told = row.get("suppressionreason", "")
    if told == "HardBounce":
        status, reason = Status.HARDBOUNCE.value, "undefined"
    elif told == "SpamComplaint":
        status, reason = _COMPLAINED
    elif told == "ManualSuppression":
        status, reason = _UNSUBSCRIBED if row.get("origin") == "Recipient" else _MANUAL
    else:
        raise ConfigError(f"reason {told!r} is none of Postmark: HardBounce, SpamComplaint or ManualSuppression")
    return Entry(row.get("emailaddress", ""), status, reason, since=_time(row.get("createdat"), "CreatedAt"))


def _read_mailgun(row: Row, kind: str | None) -> Entry:
    entry = Entry(row.get("address", ""), since=_time(row.get("createdat"), "created_at"))
    if kind is None:
        kind = (
            "bounces"
            if {"code", "error"} & set(row)
            else "unsubscribes"
            if {"tag", "tags"} & set(row)
            else "complaints"
        )
    if kind == "complaints":
        return replace(entry, status=_COMPLAINED[0], reason=_COMPLAINED[1])
    if kind == "unsubscribes":
        return replace(entry, status=_UNSUBSCRIBED[0], reason=_UNSUBSCRIBED[1])
    reason = _reason_of(f"{row.get('code', '')} {row.get('error', '')}".strip(), None)
    return replace(entry, status=Status.HARDBOUNCE.value, reason=reason)


_READERS: Mapping[str, Callable[[Row, str | None], Entry]] = {
    "csv": _read_own,
    "jsonl": _read_own,
    "ses": _read_ses,
    "sendgrid": _read_sendgrid,
    "postmark": _read_postmark,
    "mailgun": _read_mailgun,
}


def _reason_of(words: str, status: str | None) -> str:
    """The reason that a server's words tell, by the rules that read bounces; one of ours is taken as it is."""
    last = words.rpartition(" ")[2]
    if last in REASONS:
        return last
    from bounceparse.classify import classify
    from bounceparse.reports import DeliveryReport, Kind, RecipientReport, Report

    told = RecipientReport(
        action=Action.FAILED, status=status or None, diagnostic=words or None, diagnostic_type="smtp"
    )
    reason = classify(Report(Kind.DELIVERY, "rfc3464", (), (DeliveryReport((told,)),)))[0].reason
    return reason if reason in REASONS else "undefined"


def _time(text: str | None, name: str) -> datetime | None:
    """ISO 8601, RFC 5322, or seconds since 1970; UTC where no zone is told."""
    if not text:
        return None
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC)
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        pass
    found_date = parse_date(text)
    if found_date is None:
        raise ConfigError(f"{name} {text!r} is no time like 2026-01-31T12:00:00+01:00")
    return found_date.astimezone(UTC)


# Ours, in their forms


def kind_of(entry: Entry, form: str) -> str | None:
    """In which of a provider's lists an entry belongs; None where the provider has but one."""
    kinds = KINDS.get(form)
    if kinds is None:
        return None
    if entry.status == Status.COMPLAINT:
        return "spam" if form == "sendgrid" else "complaints"
    if entry.status == Status.UNSUBSCRIBE:
        return "unsubscribes"
    if form == "sendgrid":
        if entry.reason in ("bad-address-syntax", "bad-domain"):
            return "invalid"
        if entry.status in (Status.SPAMBOUNCE, Status.SOFTBOUNCE):
            return "blocks"
    return "bounces"


def write_row(entry: Entry, form: str, kind: str | None) -> dict[str, Any]:
    """An entry as an object of the provider's own list."""
    since = entry.since or datetime.now(UTC)
    words = {"bounces": f"550 5.0.0 {entry.reason}", "blocks": f"550 5.7.0 {entry.reason}", "invalid": entry.reason}
    if form == "ses":
        return {"emailAddress": entry.address, "reason": "COMPLAINT" if entry.is_answer else "BOUNCE"}
    if form == "postmark":
        reason, origin = _POSTMARK.get(entry.status, ("HardBounce", "Recipient"))
        return {
            "EmailAddress": entry.address,
            "SuppressionReason": reason,
            "Origin": origin,
            "CreatedAt": since.isoformat(),
        }
    if form == "sendgrid":
        more: dict[str, Any] = {"ip": ""} if kind == "spam" else {}
        if kind in words:
            more["reason"] = words[kind]
        if kind in ("bounces", "blocks"):
            more["status"] = words[kind].split()[1]
        return {"created": int(since.timestamp()), "email": entry.address, **more}
    of_kind: dict[str, dict[str, Any]] = {
        "bounces": {"code": "550", "error": entry.reason},
        "unsubscribes": {"tags": ["*"]},
    }
    return {
        "address": entry.address,
        **of_kind.get(kind or "", {}),
        "created_at": format_datetime(since.astimezone(UTC), usegmt=True),
    }


_POSTMARK = {
    Status.COMPLAINT.value: ("SpamComplaint", "Recipient"),
    Status.UNSUBSCRIBE.value: ("ManualSuppression", "Recipient"),
    "manual": ("ManualSuppression", "Customer"),
}
FRAMES = {"ses": ("", "\n", "\n"), "postmark": ('{"Suppressions": [\n', ",\n", "\n]}\n")}
"""What stands before, between and after the rows; else those of a JSON array."""


def own_row(entry: Entry) -> dict[str, str]:
    """An entry in our own columns."""
    times = {"since": entry.since, "until": entry.until}
    return {
        "address": entry.address,
        "scope": entry.scope or "all",
        "reason": entry.reason,
        **{name: value.isoformat() if value else "" for name, value in times.items()},
        "status": entry.status,
    }


def own_cells(entry: Entry) -> list[str]:
    """The same as cells that no spreadsheet runs."""
    return [escape_cell(value) for value in own_row(entry).values()]


def as_json(row: Mapping[str, Any]) -> str:
    """A row as JSON on one line."""
    return json.dumps(row)

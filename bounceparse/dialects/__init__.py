"""Prose bounces: what mail systems write that is not RFC 3464."""

from __future__ import annotations

from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport


def read_prose(mail: Mail) -> tuple[str, DeliveryReport] | None:
    """The dialect that reads ``mail`` and its report, None where none does."""
    return None


def fill(mail: Mail, report: DeliveryReport) -> DeliveryReport:
    """``report`` with what the human-readable part tells and the status part does not."""
    return report

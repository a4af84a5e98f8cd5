"""Values with a syntax of their own: SMTP replies, enhanced status codes, DSN actions.

``parse_x(text)`` gives the value or None, ``find_x(text)`` the first (or last) one that stands in running text.
Nothing here judges: what a code means is data in ``rules/``.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import NamedTuple

from bounceparse.lazy import pattern


class Action(StrEnum):
    """The Action field of RFC 3464 section 2.3.3."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class Phase(StrEnum):
    """Where in the SMTP dialogue a reply was given (RFC 5321 section 3)."""

    CONNECT = "CONNECT"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    EOM = "EOM"  # the reply to the final dot


class EnhancedStatus(NamedTuple):
    """An enhanced status code, ``class.subject.detail`` (RFC 3463 section 2)."""

    category: int
    subject: int
    detail: int

    def __str__(self) -> str:
        return f"{self.category}.{self.subject}.{self.detail}"


class SmtpReply(NamedTuple):
    """One SMTP reply (RFC 5321 section 4.2): what was written, None where it was not."""

    code: int | None
    enhanced: str | None
    text: str


# The words of Action that are not RFC 3464's: emitters in comments.
_ACTIONS = {
    **{action.value: action for action in Action},
    "failure": Action.FAILED,
    "fail": Action.FAILED,
    "expired": Action.FAILED,  # Amavis, PowerMTA
    "undeliverable": Action.FAILED,  # Postfix address probes
    "deliverable": Action.DELIVERED,  # Postfix address probes
    "delay": Action.DELAYED,
}

_STATUS = pattern(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])", re.ASCII)
# Not next to a dot or digit: 5.1.1.10 is an IP address and 12.5.1.1 a version.
# The lookarounds keep the leading context to two characters, so a scan stays linear. Zoho writes " :5.1.1". They stand
# behind the first digit because a pattern that begins with a digit is looked for four times as fast.
_STATUS_IN_TEXT = pattern(r"([245](?<![\w.=\-].)(?<!\S:.)\.\d{1,3}\.\d{1,3})(?!\w|\.\d|-\d+\.)", re.ASCII)


def parse_action(value: str) -> Action | None:
    """The Action that a field's value names, comments and case aside, else None."""
    if action := _ACTIONS.get(value):
        return action
    word = value.partition("(")[0].strip().lower()
    return _ACTIONS.get(word) or _ACTIONS.get(word.partition(" ")[0])


def parse_enhanced_status(value: str) -> EnhancedStatus | None:
    """The code at the start of a Status field (RFC 3464 section 2.3.4), else None."""
    found = _STATUS.match(value)
    return EnhancedStatus(int(found[1]), int(found[2]), int(found[3])) if found else None


def find_enhanced_status(text: str) -> str | None:
    """The first enhanced status code in running text as it is written, else None."""
    found = _STATUS_IN_TEXT.search(text)
    return found[1] if found else None

"""An outcome -> :class:`Clues`: what leads back to the sent message, best first (facts: the matching ladder).

Signed tokens will stand above all of these; recipient, subject and time below.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from bounceparse.addresses import address_key, domain_key
from bounceparse.outcomes import Outcome
from bounceparse.reports import OriginalMessage, Report

_COMMENT = re.compile(r"\([^()]*\)")
_BRACKETS = re.compile(r"<([^<>]+)>")


class Key(StrEnum):
    """Which column of the ledger a clue is compared with."""

    MESSAGE_ID = "message-id"  # also the provider's id: a relay may have put its own in the place of ours
    ENVELOPE_ID = "envelope-id"


class Clue(NamedTuple):
    """One value that may lead to a sent message; ``source`` says where it stood and becomes ``matched_by``."""

    key: Key
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class Clues:
    """What one outcome offers for matching.

    Attributes:
        ladder: the clues, best first.
        recipients: address keys of the recipient as the report writes it: original, plain, final; each once.
    """

    ladder: tuple[Clue, ...]
    recipients: tuple[str, ...]


def message_key(message_id: str | None) -> str | None:
    """The form under which Message-IDs meet: no brackets, comments, escapes or white space, the right side lower-cased.

    The left side keeps its case (RFC 5322 section 3.6.4). None where nothing is left.
    """
    if not message_id:
        return None
    text = message_id
    if "&" in text:
        text = html.unescape(text)
    if "<" in text and (found := _BRACKETS.search(text)):
        text = found[1]
    elif "(" in text:
        text = _COMMENT.sub("", text)
    left, at, right = "".join(text.split()).strip("<>").rpartition("@")
    return f"{left}{at}{right.lower() if at else right}" or None


def find_clues(outcome: Outcome, message_id_from: str | None = None) -> Clues:
    """The clues of an outcome; ``message_id_from`` is where its Message-ID stood (:attr:`OriginalMessage.message_id_from`)."""
    return ladder(
        message_key(outcome.message_id),
        message_id_from,
        outcome.envelope_id,
        (outcome.original_recipient, outcome.recipient, outcome.final_recipient),
    )


def ladder(
    key: str | None, message_id_from: str | None, envelope_id: str | None, recipients: Iterable[str | None]
) -> Clues:
    """As :func:`find_clues`, from the values that a recorded outcome keeps. ``key`` is a :func:`message_key`."""
    steps = []
    if envelope_id:
        steps.append(Clue(Key.ENVELOPE_ID, envelope_id, "envelope-id"))
    if key:
        steps.append(Clue(Key.MESSAGE_ID, key, f"message-id:{message_id_from}" if message_id_from else "message-id"))
    return Clues(
        tuple(steps), tuple(dict.fromkeys([address_key(address) for address in dict.fromkeys(recipients) if address]))
    )


def find_originals(report: Report) -> dict[str | None, OriginalMessage]:
    """What the report's items tell of the messages they are about, by Message-ID; the first item wins."""
    originals: dict[str | None, OriginalMessage] = {}
    for item in report.items:
        original: OriginalMessage | None = getattr(item, "original", None)
        if original is not None:
            originals.setdefault(original.message_id, original)
    return originals


def from_domain(original: OriginalMessage | None) -> str | None:
    """The domain (A-label) of the returned message's From, None where it is not told."""
    if original is None or not original.from_address:
        return None
    return domain_key(original.from_address.rpartition("@")[2]) or None

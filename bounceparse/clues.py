"""An outcome -> :class:`Clues`: what leads back to the sent message, best first.

Signed tokens (:mod:`bounceparse.signatures`) stand above all of these. The last rung, recipient and subject and time, is
no proof, and is asked for only where no other leads anywhere.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from bounceparse.addresses import address_key, decode_xtext, domain_key
from bounceparse.lazy import pattern
from bounceparse.outcomes import Outcome
from bounceparse.reports import OriginalMessage, Report

_COMMENT = pattern(r"\([^()]*\)")
_BRACKETS = pattern(r"<([^<>]+)>")
_INTERNAL = (".local", ".localdomain", ".localhost", ".internal", ".lan")  # names that no other network knows


class Key(StrEnum):
    """Which column of the ledger a clue is compared with."""

    MESSAGE_ID = "message-id"  # also the provider's id: a relay may have put its own in the place of ours
    ENVELOPE_ID = "envelope-id"
    SUBJECT = "subject"  # with the recipient's address and the time


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
        failing: the one of them that the event happened at, where the report tells: behind a forward or an alias it is
            another than the one we mailed.
        hint: the address key that an unsigned VERP address names, where the report names no recipient: it tells which
            of a message's recipients is meant, and proves nothing.
        subject: of the returned message. at: when the event was.
    """

    ladder: tuple[Clue, ...]
    recipients: tuple[str, ...]
    hint: str | None = None
    subject: str | None = None
    at: datetime | None = None
    failing: str | None = None

    @property
    def wanted(self) -> tuple[str, ...]:
        """The address keys to look for: the recipients, else the hint."""
        return self.recipients or ((self.hint,) if self.hint else ())


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
    key: str | None,
    message_id_from: str | None,
    envelope_id: str | None,
    recipients: tuple[str | None, str | None, str | None],
    own_id: str | None = None,
) -> Clues:
    """As :func:`find_clues`, from the values that a recorded outcome keeps.

    ``key`` is a :func:`message_key`; ``recipients`` the original, the plain and the final one; ``own_id`` what the sender's own header in the returned message held, which may be
    any of the ids that the ledger knows.
    """
    steps = []
    if envelope_id:
        steps.append(Clue(Key.ENVELOPE_ID, envelope_id, "envelope-id"))
        if "+" in envelope_id and (decoded := decode_xtext(envelope_id)) != envelope_id:
            steps.append(Clue(Key.ENVELOPE_ID, decoded, "envelope-id"))  # Exim returns it as it went over the wire
    if key:
        steps.append(Clue(Key.MESSAGE_ID, key, f"message-id:{message_id_from}" if message_id_from else "message-id"))
    if own_id:
        steps += own_id_clues(own_id, "own-id")
    keys = {address: address_key(address) for address in recipients if address}
    final = recipients[-1]
    return Clues(tuple(steps), tuple(dict.fromkeys(keys.values())), failing=keys[final] if final else None)


def is_same_mailbox(mailed: str, failing: str) -> bool:
    """Whether the address key that a report names as failing is that of the mailbox behind the one that was mailed.

    A server may drop the domain, the plus tag, or write its own name or an internal one for the domain. The same local
    part elsewhere, or another local part, may be a forward's.
    """
    if mailed == failing:
        return True
    local, _, domain = mailed.rpartition("@")
    other, _, place = failing.rpartition("@")
    if not other:
        return place == local
    if local.partition("+")[0] != other.partition("+")[0]:
        return False
    return place == domain or place.endswith((f".{domain}", *_INTERNAL)) or "." not in place


def own_id_clues(value: str, source: str) -> list[Clue]:
    """The clues of an id of which nobody says whose it is: the provider's, the envelope's or the message's."""
    value = value.strip()
    steps = [Clue(Key.ENVELOPE_ID, value, source)]
    if key := message_key(value):
        steps.insert(0, Clue(Key.MESSAGE_ID, key, source))
    return steps


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

"""A report -> :class:`Signature`: the token of ours that it carries, and what that is worth.

Tokens are looked for where our mail puts them: in the envelope recipient, which our own server's headers tell, in the
envelope id, and in the returned headers. The text of a report is never searched, since anybody may quote. A token that
holds proves more than a wrong one beside it disproves: who has it could have left the other out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NamedTuple

from bounceparse.addresses import clean_address, domain_key
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport, FeedbackReport, Item, OriginalMessage, Report, UnsubscribeRequest
from bounceparse.rewriting import unwrap
from bounceparse.verp import TOKEN_LENGTH, Keyring, Purpose, Reading, Verdict, best_reading, find_tokens, verify

_FOR = pattern(r"\sfor\s+<([^<>\s]{1,256}@[^<>\s]{1,255})>", re.IGNORECASE)
_RECEIVED = "received"


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """What the sender's configuration tells about tokens.

    Attributes:
        keyring: the keys of our tokens.
        recipient_headers: by account, the headers (lower case) in which its own server notes the envelope recipient;
            ``received`` stands for the ``for`` of the topmost Received field.
        token_domains: the domains (A-labels) of return paths and Message-IDs that we sign: a token there that does not
            hold is forged, where elsewhere it may be some other system's id.
        unsubscribe_templates: the same for List-Unsubscribe: its URIs, lower case, ``{token}`` in the token's place.
    """

    keyring: Keyring = field(default_factory=Keyring)
    recipient_headers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    token_domains: frozenset[str] = frozenset()
    unsubscribe_templates: tuple[str, ...] = ()


class Signature(NamedTuple):
    """A token that was found: where (``token:return-path``), its verdict, and its id where the signature holds."""

    source: str
    verdict: Verdict
    token_id: int | None = None

    @property
    def evidence(self) -> str:
        """What is recorded: the id of a token that holds, with the verdict before it unless that is ``valid``."""
        words = [] if self.verdict is Verdict.VALID else [self.verdict.value]
        return " ".join(words + ([str(self.token_id)] if self.token_id is not None else []))


class _Place(NamedTuple):
    """A text in which tokens of one purpose stand; ``ours`` tells that nobody else's ids do."""

    purpose: Purpose
    text: str
    domain: str = ""
    ours: bool = True


def envelope_recipients(report: Report, raw: bytes, account: str, settings: TokenSettings) -> tuple[str, ...]:
    """The addresses to which our own server says that it delivered, wrappers undone.

    Of each header that it adds the topmost counts; what stands below came with the mail, and so from anybody.
    """
    names = settings.recipient_headers.get(account)
    if not names:
        return ()
    topmost: dict[str, str] = {}
    for name, address in report.addressed_to:
        topmost.setdefault(name, address)
    for name in names:
        if name not in topmost and raw and (found := _read_address(raw, name)):
            topmost[name] = found
    return tuple(dict.fromkeys([unwrap(topmost[name]) for name in names if name in topmost]))


def _read_address(raw: bytes, name: str) -> str | None:
    """The address in the topmost field of this name, which reading a report does not look at."""
    value = next(iter(Mail(raw).get_all(name, 1)), None)
    if value is None or name != _RECEIVED:
        return clean_address(value)
    found = _FOR.search(value[:2000])
    return found[1] if found else None


def find_signature(
    item: Item, report: Report, envelope: tuple[str, ...], settings: TokenSettings, today: date
) -> Signature | None:
    """The best token of ours that ``item`` carries; None where nothing is spelled like one.

    ``envelope`` is what :func:`envelope_recipients` gives.
    """
    if not settings.keyring.keys:
        return None
    if isinstance(item, UnsubscribeRequest):
        return _of_request(item, report, settings.keyring, today)
    found: list[Signature] = []
    for place in _places(item, envelope, settings):
        for token in find_tokens(place.text):
            reading = verify(settings.keyring, place.purpose, token, place.domain, today=today)
            if reading.verdict is Verdict.VALID:
                return _signature(place.purpose, reading)
            if place.ours and (place.purpose is not Purpose.UNSUBSCRIBE or _is_ours(place.text, token, settings)):
                found.append(_signature(place.purpose, reading))
    return min(found, key=lambda one: _WORST.index(one.verdict), default=None)


_WORST = (Verdict.BAD_MAC, Verdict.EXPIRED, Verdict.UNKNOWN_KEY)


def _signature(purpose: Purpose, reading: Reading) -> Signature:
    return Signature(f"token:{purpose}", reading.verdict, reading.token_id)


def _of_request(item: UnsubscribeRequest, report: Report, keyring: Keyring, today: date) -> Signature | None:
    """The token of an unsubscribe request, in any address, the subject or a line of its own: whoever has it may leave."""
    places = [(unwrap(address), "") for _, address in report.addressed_to]
    places += [(report.subject or "", ""), *((token, "") for token in item.tokens)]
    reading = best_reading(keyring, Purpose.UNSUBSCRIBE, places, today=today)
    return _signature(Purpose.UNSUBSCRIBE, reading) if reading is not None else None


def _places(item: Item, envelope: tuple[str, ...], settings: TokenSettings) -> Iterator[_Place]:
    """Where tokens may stand in a report, best first."""
    for address in envelope:
        local, _, domain = address.rpartition("@")
        yield _Place(Purpose.RETURN_PATH, local, domain)
    told = item.envelope_id if isinstance(item, DeliveryReport | FeedbackReport) else None
    if told and _is_token(told):
        yield _Place(Purpose.ENVELOPE_ID, told)
    original: OriginalMessage | None = getattr(item, "original", None)
    if original is not None:
        yield from _returned_places(original, settings)
    if isinstance(item, FeedbackReport) and item.original_mail_from:
        yield _return_path(item.original_mail_from, settings)


def _returned_places(original: OriginalMessage, settings: TokenSettings) -> Iterator[_Place]:
    if original.cfbl_feedback_id:
        yield _Place(Purpose.FEEDBACK, original.cfbl_feedback_id, ours=_is_token(original.cfbl_feedback_id))
    if original.message_id:
        local, _, domain = original.message_id.rpartition("@")
        if _is_token(local):
            yield _Place(Purpose.MESSAGE_ID, local, domain, domain_key(domain) in settings.token_domains)
    if original.return_path:
        yield _return_path(original.return_path, settings)
    if original.list_unsubscribe:
        yield _Place(Purpose.UNSUBSCRIBE, original.list_unsubscribe)
    if original.feedback_id:
        yield _Place(Purpose.FEEDBACK, original.feedback_id, ours=False)


def _return_path(address: str, settings: TokenSettings) -> _Place:
    local, _, domain = unwrap(address).rpartition("@")
    return _Place(Purpose.RETURN_PATH, local, domain, domain_key(domain) in settings.token_domains)


def _is_token(text: str) -> bool:
    return len(text) == TOKEN_LENGTH and bool(find_tokens(text))


def _is_ours(text: str, token: str, settings: TokenSettings) -> bool:
    """Whether a token in List-Unsubscribe stands where ours do."""
    folded = text.lower()
    return any(template.replace("{token}", token) in folded for template in settings.unsubscribe_templates)

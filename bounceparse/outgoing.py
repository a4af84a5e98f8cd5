"""What an outgoing message carries so that its answers lead back: a signed envelope, Message-ID and header fields.

RFC 3461 (ENVID), RFC 2369 and 8058 (List-Unsubscribe, List-Unsubscribe-Post), RFC 9477 (CFBL-Address, CFBL-Feedback-ID).
The message's DKIM signature must cover the header fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from bounceparse.addresses import domain_key
from bounceparse.errors import ConfigError
from bounceparse.verp import TOKEN_LENGTH, Keyring, Purpose, sign

_PLACE = "{token}"
_LONGEST_LOCAL = 64  # RFC 5321 section 4.5.3.1.1


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Where the tokens stand; what is None is left out. ``{token}`` marks the place.

    Attributes:
        return_path: ``b+{token}@bounces.example``. A local part of at most 30 octets in a domain of at most 20 leaves
            room for one forwarder's SRS.
        unsubscribe_address: ``unsubscribe+{token}@shop.example``.
        unsubscribe_url: ``https://shop.example/unsubscribe/{token}``, where the one-click service answers.
        complaint_address: where feedback reports go (RFC 9477); it has no token.
        message_id: ``{token}@shop.example``: messages get a Message-ID that proves a report which tells nothing else.
        return_path_days: how long a return path and an envelope id prove a bounce.
        unsubscribe_days: how long the unsubscribe and complaint headers hold; None for ever.

    Raises ``ConfigError`` for a value that cannot be used.
    """

    return_path: str | None = None
    unsubscribe_address: str | None = None
    unsubscribe_url: str | None = None
    complaint_address: str | None = None
    message_id: str | None = None
    return_path_days: int = 30
    unsubscribe_days: int | None = None

    def __post_init__(self) -> None:
        for name in ("return_path", "unsubscribe_address", "message_id"):
            _check_address(name, getattr(self, name))
        if self.message_id is not None and not self.message_id.startswith(f"{_PLACE}@"):
            raise ConfigError(f"message_id {self.message_id!r}: write {_PLACE}@DOMAIN")
        url = self.unsubscribe_url
        if url is not None and (not url.startswith("https://") or url.count(_PLACE) != 1 or _is_unsafe(url)):
            raise ConfigError(f"unsubscribe_url {url!r}: write https://HOST/PATH/{_PLACE}")
        address = self.complaint_address
        if address is not None and (address.count("@") != 1 or _PLACE in address or _is_unsafe(address)):
            raise ConfigError(f"complaint_address {address!r}: write an address without {_PLACE}")

    @property
    def token_domains(self) -> frozenset[str]:
        """The domains (A-labels) whose local parts hold tokens in return paths and Message-IDs."""
        given = (self.return_path, self.message_id)
        return frozenset(domain_key(one.rpartition("@")[2]) for one in given if one)

    @property
    def unsubscribe_templates(self) -> tuple[str, ...]:
        """The URIs of List-Unsubscribe, lower case, with ``{token}`` in the token's place."""
        return tuple(one.lower() for one in (self.unsubscribe_url, self.unsubscribe_address) if one)


def _check_address(name: str, template: str | None) -> None:
    if template is None:
        return
    local, at, domain = template.partition("@")
    if local.count(_PLACE) != 1 or not at or not domain or "@" in domain or _PLACE in domain or _is_unsafe(template):
        raise ConfigError(f"{name} {template!r}: write an address with {_PLACE} before the @")
    before, _, after = local.partition(_PLACE)
    if before[-1:].isalnum() or after[:1].isalnum():
        raise ConfigError(f"{name} {template!r}: set {_PLACE} off by a sign such as + or -")
    if len(local) - len(_PLACE) + TOKEN_LENGTH > _LONGEST_LOCAL:
        raise ConfigError(f"{name} {template!r}: the local part would be longer than {_LONGEST_LOCAL} octets")


def _is_unsafe(text: str) -> bool:
    """Whether a template would break a header field, or the brackets around a URI."""
    return not text.isascii() or not text.isprintable() or any(char in "<> ," for char in text)


@dataclass(frozen=True, slots=True)
class OutgoingHeaders:
    """What one message to one recipient carries.

    Attributes:
        return_path: the envelope sender (``MAIL FROM``), None where none is configured.
        fields: the header fields, in order.
        message_id: the Message-ID, without brackets: the one given, or the signed one that was made.
        envelope_id: what goes with ``MAIL FROM`` as ``ENVID=`` where the server offers DSN (RFC 3461 section 4.4).
    """

    return_path: str | None
    fields: tuple[tuple[str, str], ...]
    message_id: str | None = None
    envelope_id: str | None = None


def outgoing_headers(
    keyring: Keyring, outgoing: Outgoing, token_id: int, today: date, message_id: str | None = None
) -> OutgoingHeaders:
    """What the message that the ledger knows by ``token_id`` is to carry; ``message_id`` is the one that it has.

    Raises ``ConfigError`` without a key and ``ValueError`` for an id that is 2**40 or more.
    """
    fields: list[tuple[str, str]] = []
    days = outgoing.unsubscribe_days
    until = None if days is None else today + timedelta(days)
    unsubscribe = sign(keyring, Purpose.UNSUBSCRIBE, token_id, expires=until)
    uris = []
    if outgoing.unsubscribe_url:
        uris.append(f"<{outgoing.unsubscribe_url.replace(_PLACE, unsubscribe)}>")
    if outgoing.unsubscribe_address:
        uris.append(f"<mailto:{outgoing.unsubscribe_address.replace(_PLACE, unsubscribe)}?subject=unsubscribe>")
    if uris:
        fields.append(("List-Unsubscribe", ", ".join(uris)))
    if outgoing.unsubscribe_url:
        fields.append(("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"))
    if outgoing.complaint_address:
        fields.append(("CFBL-Address", f"{outgoing.complaint_address}; report=arf"))
        fields.append(("CFBL-Feedback-ID", sign(keyring, Purpose.FEEDBACK, token_id, expires=until)))
    envelope_until = today + timedelta(outgoing.return_path_days)
    return OutgoingHeaders(
        _return_path(keyring, outgoing, token_id, envelope_until),
        tuple(fields),
        message_id,
        sign(keyring, Purpose.ENVELOPE_ID, token_id, expires=envelope_until),
    )


def _return_path(keyring: Keyring, outgoing: Outgoing, token_id: int, expires: date) -> str | None:
    if outgoing.return_path is None:
        return None
    domain = outgoing.return_path.rpartition("@")[2]
    token = sign(keyring, Purpose.RETURN_PATH, token_id, domain, expires=expires)
    return outgoing.return_path.replace(_PLACE, token)


def sign_message_id(keyring: Keyring, token_id: int, domain: str) -> str:
    """A signed Message-ID, without brackets: it proves a report that holds nothing else (header-only feedback loops)."""
    return f"{sign(keyring, Purpose.MESSAGE_ID, token_id, domain)}@{domain.lower()}"

"""The endpoints of a configuration."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from bounceparse.config import Settings
from bounceparse.db.deliveries import Subscription
from bounceparse.db.outbox import EventKind
from bounceparse.errors import ConfigError
from bounceparse.sections import WebhookSection
from bounceparse.webhooks.reaching import Line
from bounceparse.webhooks.signing import read_secret


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where events are posted to.

    Attributes:
        name: of ``[webhook.NAME]``.
        url: where; ``allow_private`` whether it may lie in a private or loopback range.
        wanted: which events it gets.
        keys: gives the keys that events are signed with, read anew for each run; raises ``ConfigError``.
        ca_file: certificates to trust instead of the system's. ``timeout`` of a request, in seconds.
    """

    name: str
    url: SplitResult
    wanted: Subscription
    keys: Callable[[], tuple[bytes, ...]]
    allow_private: bool = False
    ca_file: Path | None = None
    timeout: float = 15.0

    @property
    def host(self) -> str:
        """What of the URL may be shown: its path may hold a secret."""
        return f"{self.url.scheme}://{self.url.netloc}"

    def tls(self) -> ssl.SSLContext | None:
        """What its certificate is checked by; None without TLS. Raises ``ConfigError`` where ``ca_file`` cannot be read."""
        if self.url.scheme != "https":
            return None
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"[webhook.{self.name}] ca_file {self.ca_file}: cannot be used: {error}") from None

    def line(self, context: ssl.SSLContext | None) -> Line:
        """A connection to it, not made yet."""
        return Line(self.url, allow_private=self.allow_private, context=context, timeout=self.timeout)


def endpoints_of(settings: Settings, names: Iterable[str] = ()) -> list[Endpoint]:
    """The endpoints of a configuration: those named, else all; raises ``ConfigError`` for a name that is unknown."""
    chosen = list(dict.fromkeys(names)) or list(settings.webhook)
    for name in chosen:
        if name not in settings.webhook:
            known = ", ".join(settings.webhook) or "none"
            raise ConfigError(f"{settings.source or 'environment'}: no webhook {name}: known are {known}")
    return [_endpoint(name, settings.webhook[name]) for name in chosen]


def _endpoint(name: str, section: WebhookSection) -> Endpoint:
    return Endpoint(
        name,
        urlsplit(section.url),
        Subscription(
            name,
            frozenset(map(EventKind, section.events)),
            frozenset(section.statuses),
            frozenset(section.streams),
        ),
        lambda: _keys(name, section),
        section.allow_private,
        section.ca_file,
        section.timeout,
    )


def _keys(name: str, section: WebhookSection) -> tuple[bytes, ...]:
    """The keys: of ``secret``, else of the lines of ``secret_file``; all of them sign."""
    path = section.secret_file
    try:
        text = section.secret if path is None else path.read_text("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"[webhook.{name}] secret_file {path}: cannot be read: {error}") from None
    try:
        keys = tuple(map(read_secret, (text or "").split()))
    except ConfigError as error:
        raise ConfigError(f"[webhook.{name}] {'secret' if path is None else f'secret_file {path}'}: {error}") from None
    if not keys:
        raise ConfigError(f"[webhook.{name}] secret_file {path}: is empty: write a secret into it")
    return keys

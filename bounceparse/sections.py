"""The tables of ``bounceparse.toml``, a class each: their keys, what values they take, and which go together."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from bounceparse.causes import CAUSES
from bounceparse.errors import ConfigError
from bounceparse.health import THRESHOLDS, Thresholds
from bounceparse.lazy import pattern
from bounceparse.mailboxes.providers import is_microsoft
from bounceparse.outcomes import Status
from bounceparse.outgoing import Outgoing

CREDENTIALS = ("password", "password_file", "password_command", "oauth2")
_DURATION = pattern(r"(\d{1,6})\s*([mhdw]?)", re.ASCII)
_UNITS = {"": "hours", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LISTEN = pattern(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+)):(\d{1,5})")
OAUTH2_FILES = ("client_secret_file", "certificate_file", "refresh_token_file", "service_account_file")
"""The keys of ``[mailbox.NAME.oauth2]`` that name files with secrets."""
_NO = frozenset({"false", "0", "no", "off", "f", "n"})
_AFTER = pattern(r"seen|nothing|delete|keyword:[^\s(){%*\"\\\]]+|move:.+")


def split_words(value: object) -> object:
    """A list may be written as one string, its members parted by commas: all that the environment can say."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(split_words)]


def read_duration(value: object) -> object:
    """A duration: ``30m``, ``48h``, ``5d``, ``2w``; a bare number is of hours."""
    if isinstance(value, timedelta):
        return value
    found = _DURATION.fullmatch(str(value).strip())
    if not found or isinstance(value, bool):
        raise ValueError("write a duration like 30m, 48h, 5d or 2w; a number alone means hours")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


Duration = Annotated[timedelta, BeforeValidator(read_duration)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DatabaseSection(Section):
    """``[database]``."""

    url: str = "sqlite:///bounceparse.db"

    @field_validator("url")
    @classmethod
    def _is_known(cls, url: str) -> str:
        kind = url.partition(":")[0].partition("+")[0]
        if kind not in {"sqlite", "postgresql", "postgres"} or "://" not in url:
            raise ValueError("write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")
        if kind == "sqlite":
            return url
        return "postgresql+psycopg://" + url.partition("://")[2]  # the one driver that is installed


class OAuth2Section(Section):
    """``[mailbox.NAME.oauth2]``: a command that prints an access token, or the server that gives one."""

    token_command: str | tuple[str, ...] | None = None
    token_url: str | None = None
    client_id: str | None = None
    client_secret: str | None = Field(default=None, repr=False)
    client_secret_file: Path | None = None
    certificate_file: Path | None = None
    refresh_token_file: Path | None = None
    service_account_file: Path | None = None
    scope: str | None = None

    @model_validator(mode="after")
    def _is_coherent(self) -> OAuth2Section:
        proofs = (self.client_secret, self.client_secret_file, self.certificate_file, self.refresh_token_file)
        asked = any(value is not None for value in (self.client_id, *proofs))
        if [self.token_command, self.token_url, self.service_account_file].count(None) != 2:
            raise ValueError("give token_command, or token_url with client_id, or service_account_file")
        if self.token_command is not None and (asked or self.scope is not None):
            raise ValueError("token_command stands alone: remove the other keys")
        if self.service_account_file is not None and asked:
            raise ValueError("service_account_file goes with scope only: remove the other keys")
        if self.token_url is not None:
            self._check_request(self.token_url)
        return self

    def _check_request(self, url: str) -> None:
        found = urlsplit(url)
        if found.scheme != "https" and not (found.scheme == "http" and is_loopback(found.hostname or "")):
            raise ValueError("token_url: write https://...")
        if not self.client_id:
            raise ValueError("token_url needs client_id")
        if self.client_secret is not None and self.client_secret_file is not None:
            raise ValueError("give client_secret or client_secret_file, not both")
        if self.certificate_file is not None:
            if self.client_secret or self.client_secret_file or self.refresh_token_file:
                raise ValueError("certificate_file stands for a secret: remove client_secret and refresh_token_file")
            if not is_microsoft(url):
                raise ValueError("certificate_file goes with Microsoft's token_url, .../TENANT-ID/oauth2/v2.0/token")
            return
        if not (self.refresh_token_file or self.client_secret or self.client_secret_file):
            raise ValueError("give refresh_token_file, or client_secret_file for client credentials")


class MailboxSection(Section):
    """``[mailbox.NAME]``."""

    role: Literal["return-path", "feedback", "unsubscribe", "mixed"] = "mixed"
    host: str = Field(min_length=1)
    port: int | None = Field(default=None, ge=1, le=65535)
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    insecure: bool = False
    ca_file: Path | None = None
    username: str = Field(min_length=1)
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    password_command: str | tuple[str, ...] | None = None
    oauth2: OAuth2Section | None = None
    folder: str = Field(default="INBOX", min_length=1)
    after: str = "seen"
    keep_days: int | None = Field(default=None, ge=0)
    first_poll: Literal["guard", "go"] = "go"
    recipient_headers: Words = ()
    authserv_id: str | None = None
    check_dkim: bool = False
    polled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _has_no_server(cls, table: object) -> object:
        """A mailbox that is not polled needs no server: mail servers hand its mail to ``ingest``."""
        if isinstance(table, dict) and str(table.get("polled", True)).lower() in _NO:
            if surplus := sorted({"host", "username", *CREDENTIALS} & set(table)):
                raise ValueError(f"polled = false: {surplus[0]} is not used then: remove it, or remove polled")
            return table | {"host": "localhost", "username": "nobody"}
        return table

    @field_validator("after")
    @classmethod
    def _after_is_known(cls, after: str) -> str:
        if not _AFTER.fullmatch(after):
            raise ValueError("write seen, nothing, delete, keyword:NAME or move:FOLDER")
        return after

    @model_validator(mode="after")
    def _is_coherent(self) -> MailboxSection:
        if not self.polled:
            return self
        given = [key for key in CREDENTIALS if getattr(self, key) is not None]
        if len(given) != 1:
            found = "none is there" if not given else f"{' and '.join(given)} are there"
            raise ValueError(f"give exactly one of password_command, password_file, password and oauth2: {found}")
        if self.tls == "none" and not self.insecure and not is_loopback(self.host):
            raise ValueError(
                'tls = "none" would send the password in clear text to another machine: use "implicit" or "starttls",'
                " or accept that with insecure = true"
            )
        return self

    @property
    def effective_port(self) -> int:
        """The port in use: the one given, else that of the kind of TLS (RFC 8314)."""
        return self.port or (993 if self.tls == "implicit" else 143)


class CauseSection(Section):
    """``[policy.cause.NAME]``: how often a line of the policy table must count before it acts, and for how long.

    ``days``, ``spread``, ``window`` and ``lasts`` are days (:class:`bounceparse.causes.Cause`); ``lasts = 0`` means until
    lifted, ``acts = false`` never.
    """

    acts: bool | None = None
    needs: int | None = Field(default=None, ge=1, le=1000)
    needs_proved: int | None = Field(default=None, ge=0, le=1000)
    days: int | None = Field(default=None, ge=1, le=1000)
    spread: int | None = Field(default=None, ge=0, le=3650)
    window: int | None = Field(default=None, ge=1, le=3650)
    lasts: int | None = Field(default=None, ge=0, le=36500)

    def changes(self) -> dict[str, int]:
        """What is given."""
        return self.model_dump(exclude_none=True)


class OwnPolicySection(Section):
    """``[stream.NAME.policy]``, ``[sender.NAME.policy]``: what is judged otherwise there; what is not given is as for all."""

    trust: Literal["auto", "require", "any"] | None = None
    complaint_stops_transactional: bool | None = None
    cause: dict[str, CauseSection] = Field(default_factory=dict)

    @field_validator("cause")
    @classmethod
    def _causes_are_known(cls, causes: dict[str, CauseSection]) -> dict[str, CauseSection]:
        if unknown := sorted(set(causes) - set(CAUSES)):
            raise ValueError(f"unknown cause {unknown[0]!r}: known are {', '.join(CAUSES)}")
        return causes


class BreakerSection(Section):
    """``[policy.breaker]``: how many suppressions of a provider in an hour pause addresses instead; ``count = 0``: never."""

    count: int = Field(default=50, ge=0)
    times: float = Field(default=10, ge=0)
    pause: Duration = timedelta(hours=72)


class PolicySection(OwnPolicySection):
    """``[policy]``: how much proof a report needs before it acts, how far a complaint reaches, what suppresses."""

    trust: Literal["auto", "require", "any"] = "auto"
    complaint_stops_transactional: bool = False
    unsubscribe_addresses: Words = ()
    breaker: BreakerSection = BreakerSection()


class LifeSection(Section):
    """``[life]``: how long our mail server keeps trying, the lifetime of its queue; for streams that do not say it."""

    retry_window: Duration = timedelta(hours=48)


class ThresholdSection(Section):
    """``[stream.NAME.health]``: when that stream warns and stops (:class:`bounceparse.health.Thresholds`), in percent."""

    least_sent: int | None = Field(default=None, ge=1)
    least_events: int | None = Field(default=None, ge=1)
    hardbounce_warn: Percent | None = None
    hardbounce_stop: Percent | None = None
    spambounce_warn: Percent | None = None
    spambounce_stop: Percent | None = None
    setup_warn: Percent | None = None
    complaint_warn: Percent | None = None
    complaint_stop: Percent | None = None

    def limits(self, others: Thresholds) -> Thresholds:
        """``others`` with what is given here."""
        return replace(others, **{name: value for name in THRESHOLDS if (value := getattr(self, name)) is not None})


class HealthSection(ThresholdSection):
    """``[health]``: the thresholds of all streams, and what else is watched."""

    silent_sent: int = Field(default=1000, ge=1)
    unpolled: Duration = timedelta(hours=24)


class AlertSection(Section):
    """``[alert]``: the command that is run once for each event, then daily while it lasts; ``timeout`` in seconds."""

    command: str | tuple[str, ...] | None = None
    timeout: float = Field(default=30, gt=0, le=600)


class StreamSection(Section):
    """``[stream.NAME]``: what is special to one stream, named as in the ledger; what is not given is as for all.

    ``mailbox`` is the one that its return path leads to.
    """

    retry_window: Duration | None = None
    mailbox: str | None = None
    health: ThresholdSection = ThresholdSection()
    policy: OwnPolicySection = OwnPolicySection()


class SenderSection(Section):
    """``[sender.NAME]``: what is special to one sender (tenant); its streams' own settings go before it."""

    policy: OwnPolicySection = OwnPolicySection()


class SigningSection(Section):
    """``[signing]``: the keys, and where the tokens stand in what is sent; ``{token}`` marks the place."""

    key_file: Path | None = None
    keys: str | None = Field(default=None, repr=False)
    return_path: str | None = None
    unsubscribe_address: str | None = None
    unsubscribe_url: str | None = None
    complaint_address: str | None = None
    message_id: str | None = None
    return_path_days: int = Field(default=30, ge=1)
    unsubscribe_days: int | None = Field(default=None, ge=60)

    @model_validator(mode="after")
    def _is_coherent(self) -> SigningSection:
        if self.key_file is not None and self.keys is not None:
            raise ValueError("give key_file or keys, not both")
        read_outgoing(self)
        return self


def read_outgoing(section: SigningSection) -> Outgoing:
    """What ``[signing]`` says of outgoing messages; raises ``ValueError`` where it contradicts itself."""
    names = set(SigningSection.model_fields) - {"key_file", "keys"}
    try:
        return Outgoing(**{name: getattr(section, name) for name in names})
    except ConfigError as error:
        raise ValueError(str(error)) from None


class RulesSection(Section):
    """``[rules]``: how reports are read. ``files``: the operator's own rules, which go first and replace packaged ones.

    ``own_header``: a header of the sender's own messages, whose value in a returned one leads back to the ledger.
    """

    files: Annotated[tuple[Path, ...], BeforeValidator(split_words)] = ()
    own_header: str | None = Field(default=None, pattern=r"^[!-9;-~]{1,76}$")  # RFC 5322 section 2.2


class RetentionSection(Section):
    """``[retention]``: how long what is kept, and how much of each message (bytes; 0 keeps none)."""

    details_days: int = Field(default=15, ge=0)
    keys_days: int = Field(default=180, ge=14)  # matching again needs them for so long
    addresses_days: int = Field(default=730, ge=60)  # no count of the policy looks further back
    events_days: int = Field(default=7, ge=0)
    raw_limit: int = Field(default=131_072, ge=0)


class WebhookSection(Section):
    """``[webhook.NAME]``: an endpoint of the sender's own that events are posted to, signed (Standard Webhooks).

    ``events``, ``statuses`` and ``streams`` say which; what is not given means all. ``allow_private``: it may lie in a
    private or loopback range, and be reached without TLS there. ``timeout`` is in seconds.
    """

    url: str
    secret: str | None = Field(default=None, repr=False)
    secret_file: Path | None = None
    events: Words = ()
    statuses: Words = ()
    streams: Words = ()
    allow_private: bool = False
    ca_file: Path | None = None
    timeout: float = Field(default=15, gt=0, le=120)

    @field_validator("url")
    @classmethod
    def _is_reachable(cls, url: str) -> str:
        try:
            found = urlsplit(url)
            known = found.scheme in ("http", "https") and found.hostname and (found.port is None or found.port > 0)
        except ValueError:
            known = False
        if not known or re.search(r"[\x00-\x20\x7f]", url) or found.username is not None or found.fragment:
            raise ValueError("write https://HOST/PATH, without a user name and without #")
        return url

    @field_validator("events")
    @classmethod
    def _events_are_known(cls, events: tuple[str, ...]) -> tuple[str, ...]:
        return _all_of("events", events, ("outcome", "standing", "stream"))

    @field_validator("statuses")
    @classmethod
    def _statuses_are_known(cls, statuses: tuple[str, ...]) -> tuple[str, ...]:
        return _all_of("statuses", statuses, (*(one.value for one in Status if one is not Status.INJECTED), "manual"))

    @model_validator(mode="after")
    def _is_coherent(self) -> WebhookSection:
        if (self.secret is None) == (self.secret_file is None):
            raise ValueError("give secret_file or secret: make one with `bounceparse webhooks secret`")
        if self.url.startswith("http:") and not self.allow_private:
            raise ValueError("url: write https://: http:// is for private addresses alone (allow_private = true)")
        return self


def _all_of(what: str, given: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    if unknown := sorted(set(given) - set(known)):
        raise ValueError(f"unknown {what} {unknown[0]!r}: known are {', '.join(known)}")
    return given


class LogSection(Section):
    """``[log]``: what is told on standard error. ``addresses``: in full, not as ``j***@example.com``."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] | None = None
    addresses: bool = False


class MetricsSection(Section):
    """``[metrics]``: numbers for Prometheus: a file written after each poll, an address to ask while polls watch."""

    textfile: Path | None = None
    listen: str | None = None

    @field_validator("textfile")
    @classmethod
    def _is_collected(cls, path: Path | None) -> Path | None:
        if path is not None and path.suffix != ".prom":
            raise ValueError("the collector reads files that end in .prom")
        return path

    @field_validator("listen")
    @classmethod
    def _is_address(cls, text: str | None) -> str | None:
        if text is not None:
            parse_listen(text)
        return text


def parse_listen(text: str) -> tuple[str, int]:
    """``127.0.0.1:9109`` or ``[::1]:9109`` -> host and port; raises ``ValueError``."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise ValueError("write HOST:PORT, as 127.0.0.1:9109 or [::1]:9109")
    return found[1] or found[2], int(found[3])


def is_loopback(host: str) -> bool:
    """Whether ``host`` names this very machine."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")

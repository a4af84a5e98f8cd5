"""``bounceparse.toml`` and the environment -> :class:`Settings`, and from those the values that lower layers define.

The file is the one named with ``--config`` or ``BOUNCEPARSE_CONFIG``, else the first ``bounceparse.toml`` in the working
directory, ``~/.config/bounceparse/`` and ``/etc/bounceparse/``. Any value may come from the environment instead
(``BOUNCEPARSE_DATABASE__URL``, ``BOUNCEPARSE_MAILBOX__BOUNCES__PASSWORD``; the ``-`` of a mailbox's name is written
``_`` there), which wins over the file. What is not known is an error: a typo must not silently mean a default.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Hashable, Iterable, Mapping
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bounceparse.addresses import address_key
from bounceparse.alerting import AlertCommand
from bounceparse.breaker import Breaker
from bounceparse.causes import TABLE, Cause, change_table, find_contradiction
from bounceparse.errors import ConfigError, MailboxError
from bounceparse.health import HealthSettings, Thresholds
from bounceparse.ingest import REPLAY
from bounceparse.life import Life
from bounceparse.mailboxes.account import ImapAccount, Secret
from bounceparse.mailboxes.oauth2 import command_output
from bounceparse.outgoing import Outgoing
from bounceparse.policy import Changes, Policy, Proof
from bounceparse.requests import RequestSettings
from bounceparse.sections import (
    CREDENTIALS,
    OAUTH2_FILES,
    AlertSection,
    DatabaseSection,
    HealthSection,
    LifeSection,
    LogSection,
    MailboxSection,
    MetricsSection,
    OAuth2Section,
    OwnPolicySection,
    PolicySection,
    RetentionSection,
    RulesSection,
    Section,
    SenderSection,
    SigningSection,
    StreamSection,
    WebhookSection,
    read_outgoing,
)
from bounceparse.verp import Keyring, parse_keys

FILE_NAME = "bounceparse.toml"
PREFIX = "BOUNCEPARSE_"
_NAMED = ("mailbox", "stream", "sender", "webhook")
# Variables of this prefix that are no values of the configuration.
_OTHER_VARIABLES = frozenset({"BOUNCEPARSE_CONFIG", "BOUNCEPARSE_TEST_ALL"})
_SQLITE_FILE = re.compile(r"(sqlite(?:\+\w+)?:///)(?!/|:memory:|file:)([^?]+)(.*)")
S = TypeVar("S", bound=Section)
H = TypeVar("H", bound=Hashable)


class Settings(BaseModel):
    """A whole configuration. ``source`` is the file it came from, None when it is all from the environment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: DatabaseSection = DatabaseSection()
    mailbox: dict[str, MailboxSection] = Field(default_factory=dict)
    policy: PolicySection = PolicySection()
    life: LifeSection = LifeSection()
    stream: dict[str, StreamSection] = Field(default_factory=dict)
    sender: dict[str, SenderSection] = Field(default_factory=dict)
    health: HealthSection = HealthSection()
    alert: AlertSection = AlertSection()
    retention: RetentionSection = RetentionSection()
    signing: SigningSection = SigningSection()
    rules: RulesSection = RulesSection()
    log: LogSection = LogSection()
    metrics: MetricsSection = MetricsSection()
    webhook: dict[str, WebhookSection] = Field(default_factory=dict)
    source: Path | None = None

    @field_validator("mailbox", "webhook")
    @classmethod
    def _names_are_plain(cls, sections: dict[str, S]) -> dict[str, S]:
        for name in sections:
            if not re.fullmatch(r"[a-z0-9-]+", name):
                raise ValueError(f"the name {name!r} may only have a-z, 0-9 and -")
        return sections


def _merged(table: Mapping[str, Any]) -> dict[str, Any]:
    """The file's table with what the environment gives in its place."""
    given = environment_table(os.environ, *(table.get(name, {}) for name in _NAMED))
    boxes, overridden = table.get("mailbox"), given.get("mailbox", {})
    if overridden and isinstance(boxes, dict):
        boxes = {
            name: _without_credentials(box) if any(key in overridden.get(name, ()) for key in CREDENTIALS) else box
            for name, box in boxes.items()
        }
        table = {**table, "mailbox": boxes}
    return _over(table, given)


def _over(table: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(table)
    for key, value in given.items():
        below = merged.get(key)
        merged[key] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _without_credentials(box: object) -> object:
    return {key: value for key, value in box.items() if key not in CREDENTIALS} if isinstance(box, dict) else box


def environment_table(environ: Mapping[str, str], *named: object) -> dict[str, Any]:
    """The values that ``environ`` gives, as a nested table.

    ``named`` are the file's tables of :data:`_NAMED`, whose keys are names: a variable cannot spell all of them.
    """
    names = {table: _spellings(known) for table, known in zip_longest(_NAMED, named)}
    table: dict[str, Any] = {}
    for variable, value in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in _OTHER_VARIABLES:
            continue
        path = variable.removeprefix(PREFIX).lower().split("__")
        if path[0] in names and len(path) > 1:
            path[1] = names[path[0]].get(path[1], path[1].replace("_", "-"))
        inner = table
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"environment: {variable} contradicts another variable: unset one of the two")
        inner[path[-1]] = value
    return table


def _spellings(named: object) -> dict[str, str]:
    """The names of a table by what a variable makes of them."""
    return {re.sub(r"\W", "_", str(name)).lower(): str(name) for name in named} if isinstance(named, dict) else {}


def search_path() -> list[Path]:
    """Where a configuration is looked for, first match wins."""
    return [
        Path.cwd() / FILE_NAME,
        Path.home() / ".config/bounceparse" / FILE_NAME,
        Path("/etc/bounceparse") / FILE_NAME,
    ]


def find_config(named: str | os.PathLike[str] | None = None) -> Path | None:
    """The configuration file: the one ``named``, that of ``BOUNCEPARSE_CONFIG``, else the first on the search path.

    Raises :class:`ConfigError` when a file that was named is not there.
    """
    origin = "--config" if named else "BOUNCEPARSE_CONFIG"
    named = named or os.environ.get("BOUNCEPARSE_CONFIG")
    if named:
        path = Path(named).expanduser()
        if not path.is_file():
            raise ConfigError(f"{path}: no such file ({origin} names it): write one with `bounceparse init {path}`")
        return path.absolute()
    return next((path for path in search_path() if path.is_file()), None)


def has_config(named: str | os.PathLike[str] | None = None) -> bool:
    """Whether :func:`load_settings` would find anything, right or wrong."""
    return find_config(named) is not None or bool(environment_table(os.environ))


def load_settings(named: str | os.PathLike[str] | None = None) -> Settings:
    """The settings that are in force, checked.

    Raises :class:`ConfigError` with file (or variable), key and remedy when there is none or one of them is wrong.
    """
    path = find_config(named)
    if path is None and not environment_table(os.environ):
        places = ", ".join(str(place.parent) for place in search_path())
        raise ConfigError(f"no {FILE_NAME} in {places}: write one with `bounceparse init`, or name one with --config")
    table = _read_toml(path) if path else {}
    if "source" in table:
        raise ConfigError(f"{path}: source: unknown key: remove it")
    try:
        settings = Settings(**_merged(table))
    except ValidationError as error:
        raise ConfigError(_explain(error, path, table)) from None
    return _resolve(settings, path)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8: save it in that encoding") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}: check its owner and mode") from None


def _explain(error: ValidationError, path: Path | None, table: Mapping[str, Any]) -> str:
    """One line a fault: where the value came from, its key, what is wrong and what to do."""
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        # A union adds the names of its members to the path: they are no keys.
        keys = [str(key) for key in fault["loc"] if "[" not in str(key) and str(key) not in {"str", "tuple"}]
        variable = PREFIX + "__".join(keys).upper().replace("-", "_")
        origin = f"environment: {variable}" if variable in os.environ else f"{path or 'environment'}: {_key_text(keys)}"
        lines.append(f"{origin}: {_fault_text(fault['type'], fault['msg'], keys, table)}")
    return "\n".join(dict.fromkeys(lines))


def _key_text(keys: list[str]) -> str:
    return f"[{'.'.join(keys[:-1])}] {keys[-1]}" if len(keys) > 1 else ".".join(keys)


def _fault_text(kind: str, message: str, keys: list[str], table: Mapping[str, Any]) -> str:
    if kind == "extra_forbidden":
        known = _known_keys(keys[:-1])
        return f"unknown key: known are {', '.join(known)}" if known else "unknown key: remove it"
    if kind == "missing":
        return "is missing: add it"
    return message.removeprefix("Value error, ")


def _known_keys(section: list[str]) -> list[str]:
    """The keys of a table of the file."""
    model: Any = Settings
    path = iter(section)
    for key in path:
        model = model.model_fields[key].annotation if key in model.model_fields else None
        if get_origin(model) is dict:
            model = get_args(model)[1]
            next(path, None)  # a name, which may be anything
        model = next((one for one in get_args(model) if _is_section(one)), model)
        if not _is_section(model):
            return []
    return sorted(set(model.model_fields) - {"source"})


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _resolve(settings: Settings, path: Path | None) -> Settings:
    """``settings`` with its relative paths made absolute: they are relative to the file that names them."""
    base = path.parent if path else Path.cwd()
    boxes = {
        name: _beside_all(base, box, "ca_file", "password_file").model_copy(
            update={"oauth2": _beside_all(base, box.oauth2, *OAUTH2_FILES)} if box.oauth2 else {}
        )
        for name, box in settings.mailbox.items()
    }
    url = _SQLITE_FILE.sub(lambda found: f"{found[1]}{_beside(base, Path(found[2]))}{found[3]}", settings.database.url)
    return settings.model_copy(
        update={
            "source": path,
            "mailbox": boxes,
            "rules": settings.rules.model_copy(
                update={"files": tuple(_beside(base, file) for file in settings.rules.files)}
            ),
            "signing": _beside_keys(base, settings.signing),
            "metrics": _beside_all(base, settings.metrics, "textfile"),
            "webhook": {
                name: _beside_all(base, one, "secret_file", "ca_file") for name, one in settings.webhook.items()
            },
            "database": settings.database.model_copy(update={"url": url}),
        }
    )


def _beside_all(base: Path, section: S, *keys: str) -> S:
    return section.model_copy(update={key: _beside(base, value) for key in keys if (value := getattr(section, key))})


def _beside(base: Path, path: Path) -> Path:
    return base / path.expanduser()


def _beside_keys(base: Path, section: SigningSection) -> SigningSection:
    return section.model_copy(update={"key_file": _beside(base, section.key_file)} if section.key_file else {})


def imap_accounts(settings: Settings, names: Iterable[str] = ()) -> list[ImapAccount]:
    """The mailboxes of ``settings``: those named, else all that are polled.

    Passwords are fetched when a mailbox is opened, not here. Raises :class:`ConfigError` for a name that is unknown,
    for a mailbox that contradicts itself, and when there is none at all.
    """
    chosen = list(dict.fromkeys(names)) or [name for name, box in settings.mailbox.items() if box.polled]
    origin = settings.source or "environment"
    if not settings.mailbox:
        raise ConfigError(f"{origin}: no mailbox: add a table [mailbox.bounces]")
    for name in chosen:
        if name not in settings.mailbox:
            raise ConfigError(f"{origin}: no mailbox {name}: known are {', '.join(settings.mailbox) or 'none'}")
        if not settings.mailbox[name].polled:
            raise ConfigError(
                f"{origin}: mailbox {name} has polled = false: hand mail to `bounceparse ingest --mailbox {name}`"
            )
    try:
        return [_account(name, settings.mailbox[name]) for name in chosen]
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from None


def _account(name: str, box: MailboxSection) -> ImapAccount:
    shared = set(MailboxSection.model_fields) - {*CREDENTIALS, "port", "check_dkim", "polled"}
    return ImapAccount(
        name=name,
        port=box.effective_port,
        password=_password(name, box),
        token=_token(name, box.username, box.oauth2) if box.oauth2 else None,
        **{key: getattr(box, key) for key in shared},
    )


def _token(name: str, username: str, oauth2: OAuth2Section) -> Secret:
    if oauth2.token_command is not None:
        return partial(command_output, name, "token_command", oauth2.token_command)
    from bounceparse.mailboxes.providers import Certificate, ServiceAccount  # late: few have a login of their kind
    from bounceparse.mailboxes.tokens import TokenRequest

    scope = oauth2.scope
    if oauth2.service_account_file is not None:
        return ServiceAccount(name=name, username=username, key_file=oauth2.service_account_file, scope=scope)
    assert oauth2.token_url is not None and oauth2.client_id is not None  # the section's validator sees to it
    url, client_id, certificate = oauth2.token_url, oauth2.client_id, oauth2.certificate_file
    if certificate is not None:
        return Certificate(name=name, token_url=url, client_id=client_id, certificate_file=certificate, scope=scope)
    path, secret = oauth2.client_secret_file, oauth2.client_secret
    ask = partial(_read_secret, name, "client_secret_file", path) if path else (lambda: secret) if secret else None
    return TokenRequest(
        name=name,
        token_url=url,
        client_id=client_id,
        client_secret=ask,
        scope=scope,
        refresh_token_file=oauth2.refresh_token_file,
    )


def _password(name: str, box: MailboxSection) -> Secret | None:
    if box.password_command is not None:
        return partial(command_output, name, "password_command", box.password_command)
    if box.password_file is not None:
        return partial(_read_secret, name, "password_file", box.password_file)
    password = box.password
    return None if password is None else lambda: password


def _read_secret(name: str, key: str, path: Path) -> str:
    try:
        secret = path.read_text("utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise MailboxError(f"mailbox {name}: {key} {path} cannot be read: {error}") from None
    if not secret:
        what = "password" if key == "password_file" else "secret"
        raise MailboxError(f"mailbox {name}: {key} {path}: its first line is empty: write the {what} there")
    return secret


def build_policy(settings: Settings) -> Policy:
    """The policy that the settings ask for; raises :class:`ConfigError` for settings that contradict themselves."""
    section = settings.policy
    origin = settings.source or "environment"
    table = _changed_table(TABLE, section, f"{origin}: [policy.cause")
    streams = {name: stream.policy for name, stream in settings.stream.items() if stream.policy != OwnPolicySection()}
    senders = {name: sender.policy for name, sender in settings.sender.items() if sender.policy != OwnPolicySection()}
    for kind, sections in (("stream", streams), ("sender", senders)):
        for name, own in sections.items():
            _changed_table(table, own, f"{origin}: [{kind}.{name}.policy.cause")
    return Policy(
        trust=Proof(section.trust),
        complaint_stops_transactional=section.complaint_stops_transactional,
        table=table,
        breaker=Breaker(section.breaker.count, section.breaker.times, section.breaker.pause),
        life=build_life(settings),
        streams={name: _changes(own) for name, own in streams.items()},
        senders={name: _changes(own) for name, own in senders.items()},
    )


def _changed_table(table: tuple[Cause, ...], section: OwnPolicySection, where: str) -> tuple[Cause, ...]:
    """``table`` as a section changes it; raises :class:`ConfigError` for what it cannot mean."""
    changes = _changes(section).causes
    for cause in table:
        if problem := find_contradiction(cause, changes.get(cause.name, {})):
            raise ConfigError(f"{where}.{cause.name}] {problem}")
    return change_table(table, changes)


def _changes(section: OwnPolicySection) -> Changes:
    """What a stream or a sender has of its own."""
    return Changes(
        Proof(section.trust) if section.trust else None,
        section.complaint_stops_transactional,
        {name: cause.changes() for name, cause in section.cause.items()},
    )


def build_life(settings: Settings) -> Life:
    """How long messages may take, by stream."""
    windows = {name: one.retry_window for name, one in settings.stream.items() if one.retry_window is not None}
    return Life(settings.life.retry_window, windows)


def build_health(settings: Settings) -> HealthSettings:
    """What health is judged by; raises :class:`ConfigError` for a stream's mailbox that is not there."""
    limits = settings.health.limits(Thresholds())
    returns_to = {name: stream.mailbox for name, stream in settings.stream.items() if stream.mailbox is not None}
    for name, mailbox in returns_to.items():
        if mailbox not in settings.mailbox:
            known = ", ".join(settings.mailbox) or "none"
            raise ConfigError(
                f"{settings.source or 'environment'}: [stream.{name}] mailbox: no mailbox {mailbox}: known are {known}"
            )
    return HealthSettings(
        limits,
        {name: stream.health.limits(limits) for name, stream in settings.stream.items()},
        tuple(name for name, box in settings.mailbox.items() if box.polled),
        returns_to,
        settings.health.silent_sent,
        settings.health.unpolled,
    )


def build_alert(settings: Settings) -> AlertCommand | None:
    """What is run to tell a person; None where the log is all."""
    section = settings.alert
    return None if section.command is None else AlertCommand(section.command, section.timeout)


def build_outgoing(settings: Settings) -> Outgoing:
    """What outgoing mail is to carry."""
    return read_outgoing(settings.signing)


def build_request_settings(settings: Settings) -> RequestSettings:
    """What recording needs to judge reports and requests; raises :class:`ConfigError` for keys that cannot be used."""
    outgoing = build_outgoing(settings)
    boxes = settings.mailbox
    headers = {name: tuple(header.lower() for header in box.recipient_headers) for name, box in boxes.items()}
    return RequestSettings(
        keyring=load_keyring(settings),
        recipient_headers=_also_for_files({name: given for name, given in headers.items() if given}),
        token_domains=outgoing.token_domains,
        unsubscribe_templates=outgoing.unsubscribe_templates,
        addresses=frozenset(address_key(address) for address in settings.policy.unsubscribe_addresses),
        mailboxes=frozenset(name for name, box in boxes.items() if box.role == "unsubscribe"),
        check_dkim=frozenset(name for name, box in boxes.items() if box.check_dkim),
        authserv_ids=_also_for_files({name: box.authserv_id for name, box in boxes.items() if box.authserv_id}),
    )


def _also_for_files(by_account: dict[str, H]) -> dict[str, H]:
    """What the mailboxes say that say anything, where they agree, is so for mail that was saved from them, too."""
    values = set(by_account.values())
    return {**dict.fromkeys(("", REPLAY), values.pop()), **by_account} if len(values) == 1 else by_account


def load_keyring(settings: Settings) -> Keyring:
    """The keys: of ``key_file``, else of ``keys``, which the environment gives; empty where there is neither.

    Raises :class:`ConfigError` when they cannot be read, or when others than their owner may read the file.
    """
    section = settings.signing
    if section.key_file is None:
        try:
            return parse_keys(section.keys or "")
        except ConfigError as error:
            raise ConfigError(f"[signing] keys: {error}") from None
    path = section.key_file
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigError(f"{path}: holds keys and others may read it: chmod 600 {path}")
        return parse_keys(path.read_text("ascii"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file: make it with `bounceparse keys new`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    except ConfigError as error:
        raise error if str(path) in str(error) else ConfigError(f"{path}: {error}") from None


def exposed_secrets(settings: Settings) -> list[str]:
    """Files that hold a password and that others than their owner may read: one line each, with the remedy."""
    boxes = settings.mailbox.values()
    oauth2 = [box.oauth2 for box in boxes if box.oauth2]
    files = [box.password_file for box in boxes]
    files += [getattr(section, key) for section in oauth2 for key in OAUTH2_FILES]
    files += [one.secret_file for one in settings.webhook.values()]
    holders = [path for path in files if path]
    written = (
        *(box.password for box in boxes),
        *(section.client_secret for section in oauth2),
        *(one.secret for one in settings.webhook.values()),
    )
    if settings.source and any(written):
        holders.append(settings.source)
    return [
        f"{path}: holds a password and others may read it: chmod 600 {path}"
        for path in holders
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]

"""How to reach a mailbox and what to do with its messages: the values that the configuration builds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bounceparse.errors import ConfigError
from bounceparse.lazy import pattern

Secret = Callable[[], str]
"""Gives a password or an access token when it is needed; raises ``MailboxError``."""

_KEYWORD = pattern(r'keyword:([^\s(){%*"\\\]\x00-\x1f\x7f-\U0010ffff]+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class ImapAccount:
    """One folder of one IMAP account.

    Attributes (seconds and bytes):
        name: the account's name in the configuration, in the database and in messages to people.
        password, token: exactly one of them; asked at each login. A token logs in by XOAUTH2 or OAUTHBEARER.
        tls: ``implicit``, ``starttls`` or ``none``; ``none`` reaches loopback only, unless ``insecure``.
        ca_file: certificates to trust instead of the system's.
        after: ``seen``, ``keyword:NAME``, ``move:FOLDER``, ``delete`` or ``nothing``.
        keep_days: delete recorded messages that are older than so many days (by INTERNALDATE); until then flag them.
        role, first_poll, recipient_headers, authserv_id: what the mailbox is for, and what its own server adds.
        connect_timeout, read_timeout: of the socket.
        batch_timeout: for a whole batch or any other command, however lively the connection looks.
        batch_messages, batch_bytes: how much is fetched at once.
        max_message: of a larger message only this much is fetched.
    """

    name: str
    host: str
    username: str
    password: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    port: int = 993
    tls: Literal["implicit", "starttls", "none"] = "implicit"
    insecure: bool = False
    ca_file: Path | None = None
    folder: str = "INBOX"
    after: str = "seen"
    keep_days: int | None = None
    role: Literal["return-path", "feedback", "unsubscribe", "mixed"] = "mixed"
    first_poll: Literal["guard", "go"] = "go"
    recipient_headers: tuple[str, ...] = ()
    authserv_id: str | None = None
    connect_timeout: float = 30
    read_timeout: float = 60
    batch_timeout: float = 300
    batch_messages: int = 500
    batch_bytes: int = 8_000_000
    max_message: int = 8_000_000

    def __post_init__(self) -> None:
        if (self.password is None) == (self.token is None):
            raise ConfigError(f"mailbox {self.name}: give a password or a token, and only one of them")
        if self.after.startswith("move:"):
            if not self.target or self.target == self.folder:
                raise ConfigError(f"mailbox {self.name}: after: name another folder, as in move:Processed")
            if self.keep_days is not None:
                raise ConfigError(f"mailbox {self.name}: keep_days: what is moved away is not kept here; remove one")
        elif self.after not in ("seen", "delete", "nothing") and not _KEYWORD.fullmatch(self.after):
            raise ConfigError(
                f"mailbox {self.name}: after: write seen, keyword:NAME (one word), move:FOLDER, delete or nothing"
            )

    @property
    def target(self) -> str:
        """The folder that messages are moved to; empty for the other modes."""
        return self.after.removeprefix("move:") if self.after.startswith("move:") else ""

    @property
    def flag(self) -> str | None:
        r"""The flag that recorded messages get: ``\Seen``, a keyword, or None."""
        if self.after.startswith("keyword:"):
            return self.after.removeprefix("keyword:")
        return r"\Seen" if self.after in ("seen", "delete") else None

    @property
    def deletes(self) -> bool:
        """Whether recorded messages are deleted, at once or later."""
        return self.after == "delete" or self.keep_days is not None

    @property
    def consequence(self) -> str:
        """What happens to recorded messages, in the words that a person agrees to."""
        if self.target:
            return f"moved to {self.target}"
        if self.keep_days:
            return f"deleted after {self.keep_days} days"
        if self.deletes:
            return "deleted"
        return "left where they are"

    @property
    def where(self) -> str:
        """The mailbox as messages to people call it."""
        return f"mailbox {self.name} ({self.host}:{self.port})"

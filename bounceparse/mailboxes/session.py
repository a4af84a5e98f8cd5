"""A session with an IMAP server: getting in, one folder selected, and everything that goes wrong told as ``MailboxError``.

IMAPClient keeps the session. Every command runs under two clocks: the socket's, and one for the whole command, because a
server that drips a byte now and then never lets the first run out.
"""

from __future__ import annotations

import logging
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from imaplib import IMAP4
from ipaddress import ip_address
from threading import Event, Timer
from typing import TYPE_CHECKING, Any, NamedTuple

from bounceparse.errors import MailboxError
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.faults import mailbox_error, readable
from bounceparse.mailboxes.oauth2 import BearerLogin

if TYPE_CHECKING:
    from imapclient import IMAPClient

_log = logging.getLogger(__name__)

_LOGOUT_TIMEOUT = 5.0
_IDLE_STEP = 1.0  # seconds until a stop is noticed


class Quota(NamedTuple):
    """A limit of the mailbox (RFC 9208): of storage, in KiB, or of messages."""

    resource: str
    used: int
    limit: int

    @property
    def share(self) -> float:
        """How much of it is used up; 1 is all."""
        return self.used / self.limit if self.limit else 1.0


class ImapSession:
    """A selected folder. Connects when first asked for something, so that a lock can come before the login.

    ``settings`` is the account it was made from, ``alerts`` what the server wants its users to be told.
    """

    def __init__(self, settings: ImapAccount) -> None:
        self.settings = settings
        self.alerts: list[str] = []
        self._client: IMAPClient | None = None
        self._uidvalidity = 0
        self._capabilities: frozenset[bytes] = frozenset()
        self._late = False

    @property
    def account(self) -> str:
        """The account's name."""
        return self.settings.name

    @property
    def folder(self) -> str:
        """The folder's name."""
        return self.settings.folder

    @property
    def uidvalidity(self) -> int:
        """The folder's UIDVALIDITY."""
        self.connect()
        return self._uidvalidity

    def connect(self) -> None:
        """Connect, log in, select the folder and check that the server can do what ``after`` asks for."""
        if self._client is not None:
            return
        secret = self._secret()  # before the connection: a person may have to type a passphrase for it
        with self._command("connecting", permanent=True):
            self._client = self._connected()
        with self._command("logging in", permanent=True) as client:
            self._log_in(client, secret)
        with self._command("asking for capabilities") as client:
            self._capabilities = frozenset(client.capabilities())
        answer = self._select()
        if b"UIDVALIDITY" not in answer:
            raise self._refused("the server keeps no UIDs for this folder: poll another one")
        self._uidvalidity = int(answer[b"UIDVALIDITY"])
        self._require(answer)

    def _secret(self) -> str:
        account = self.settings
        ask = account.token or account.password
        assert ask is not None  # ImapAccount sees to it
        secret = ask()
        if not secret or not secret.isprintable():
            raise self._refused("its password or token is empty or has control characters: check where it comes from")
        return secret

    def _select(self) -> dict[bytes, Any]:
        account = self.settings
        readonly = not (account.flag or account.target or account.deletes)
        with self._command(f"opening the folder {account.folder!r}", permanent=True) as client:
            return dict(client.select_folder(account.folder, readonly=readonly))

    def _connected(self) -> IMAPClient:
        from imapclient import IMAPClient, SocketTimeout

        account = self.settings
        context = None
        if account.tls != "none":
            context = ssl.create_default_context(cafile=str(account.ca_file) if account.ca_file else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        client = IMAPClient(
            account.host,
            account.port,
            ssl=account.tls == "implicit",
            ssl_context=context,
            timeout=SocketTimeout(account.connect_timeout, account.read_timeout),
        )
        self._client = client
        client._imap.debug = 0  # IMAPClient's 5 formats every message for a log that nobody reads
        self._bound_literals(client._imap)
        client.socket().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if account.tls == "starttls":
            client.starttls(context)
        elif account.tls == "none" and not account.insecure and not _is_loopback(client.socket()):
            raise self._refused('tls = "none" would send the password in clear text: use implicit or starttls')
        return client

    def _bound_literals(self, imap: Any) -> None:
        """Refuse a literal larger than anything that was asked for, before memory is set aside for it."""
        read, most = imap.read, 2 * self.settings.max_message + (1 << 20)

        def bounded_read(size: int) -> bytes:
            if size > most:
                raise IMAP4.abort(f"the server announces {size} bytes where at most {most} make sense")
            return bytes(read(size))

        imap.read = bounded_read

    def _log_in(self, client: IMAPClient, secret: str) -> None:
        account = self.settings
        if account.token:
            login = BearerLogin(account.username, secret, client.capabilities(), account.host, account.port)
            try:
                client.sasl_login(login.mechanism, login)
            except IMAP4.error as error:
                raise mailbox_error(account.where, "logging in", error, said=login.refusal, permanent=True) from error
        elif (account.username + secret).isascii():
            client.login(account.username, secret)
        else:
            client.plain_login(account.username, secret)

    def _require(self, answer: dict[bytes, Any]) -> None:
        """Raise unless server and folder allow what ``after`` and ``keep_days`` ask for."""
        account = self.settings
        permanent = [bytes(flag).lower() for flag in answer.get(b"PERMANENTFLAGS", (rb"\Seen", rb"\Deleted", rb"\*"))]
        wanted = [flag for flag in (account.flag, r"\Deleted" if self._expunges else None) if flag]
        for flag in wanted:
            if flag.encode().lower() in permanent or (not flag.startswith("\\") and rb"\*" in permanent):
                continue
            if flag.startswith("\\"):
                raise self._refused(f"this login may not set {flag} in {account.folder!r}: give it the right to")
            raise self._refused(
                f'the server keeps no keywords in {account.folder!r}: set after to "seen" or "move:FOLDER"'
            )
        if account.target and not self._capabilities & {b"MOVE", b"UIDPLUS"}:
            raise self._refused('the server has neither MOVE nor UIDPLUS: set after to "seen" or "keyword:NAME"')
        if account.deletes and b"UIDPLUS" not in self._capabilities:
            raise self._refused(
                "the server has no UIDPLUS, without which other people's mail would be expunged too:"
                ' set after to "seen" and remove keep_days'
            )

    @property
    def _expunges(self) -> bool:
        return self.settings.deletes or (bool(self.settings.target) and b"MOVE" not in self._capabilities)

    def _refused(self, text: str) -> MailboxError:
        return MailboxError(f"{self.settings.where}: {text}")

    def quotas(self) -> list[Quota]:
        """The limits of the folder; none where the server tells none."""
        self.connect()
        if b"QUOTA" not in self._capabilities:
            return []
        with self._command("asking for the quota") as client:
            _, found = client.get_quota_root(self.settings.folder)
        return [Quota(readable(one.resource), int(one.usage), int(one.limit)) for one in found]

    def wait(self, seconds: float, stop: Event) -> None:
        """Return when the server tells of new mail, when ``stop`` is set, or after so many seconds.

        By IDLE (RFC 2177) where the server has it. It is a hint and no more: the caller polls in any case.
        """
        self.connect()
        if b"IDLE" not in self._capabilities:
            stop.wait(seconds)
            return
        deadline = time.monotonic() + seconds
        with self._command("waiting for mail", extra=seconds) as client:
            client.idle()
            news = False
            while not news and not stop.is_set() and (left := deadline - time.monotonic()) > 0:
                news = _tells_of_mail(client, min(left, _IDLE_STEP))
            client.idle_done()

    def close(self) -> None:
        """Log out where that still works, and close the connection."""
        client, self._client = self._client, None
        if client is None:
            return
        with suppress(Exception):  # whatever is still to say, nothing depends on it
            client.socket().settimeout(_LOGOUT_TIMEOUT)
            client.logout()
        with suppress(Exception):
            client.shutdown()

    @contextmanager
    def _command(self, doing: str, *, permanent: bool = False, extra: float = 0) -> Iterator[IMAPClient]:
        """One command, or several that belong together, under the clock; what goes wrong becomes ``MailboxError``.

        ``extra`` seconds are added to the clock.
        """
        self._late = False
        clock = Timer(self.settings.batch_timeout + extra, self._cut_off)
        clock.daemon = True
        clock.start()
        try:
            yield self._client
        except MailboxError:
            self._hang_up()
            raise
        except (IMAP4.error, OSError, MemoryError, ValueError, AssertionError) as error:
            said = self._last_words()
            self._hang_up()
            if self._late:
                seconds = f"{self.settings.batch_timeout:g} s"
                raise MailboxError(
                    f"{self.settings.where}: {doing} took more than {seconds}: the next poll tries again",
                    temporary=True,
                ) from error
            raise mailbox_error(self.settings.where, doing, error, said=said, permanent=permanent) from error
        finally:
            clock.cancel()
        self._note_alerts()

    def _cut_off(self) -> None:
        """Called on the clock's thread: makes the read that is waiting in the other one fail."""
        self._late = True
        client = self._client
        if client is not None:
            with suppress(OSError):  # below TLS, whose own shutdown would wait for the other thread
                socket.socket.shutdown(client.socket(), socket.SHUT_RDWR)

    def _hang_up(self) -> None:
        """Drop a connection in an unknown state; a logout might wait for an answer that never comes."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(Exception):
                client.shutdown()

    def _last_words(self) -> str:
        client = self._client
        parting = client._imap.untagged_responses.get("BYE") if client is not None else None
        return readable(parting[-1]) if parting else ""

    def _note_alerts(self) -> None:
        """Keep what the server wants people to be told (RFC 9051 section 7.1), once."""
        imap = self._client._imap if self._client is not None else None
        untagged = imap.untagged_responses if imap is not None else {}
        for text in (*untagged.get("OK", ()), *untagged.get("NO", ())):
            if text and b"[ALERT]" in text.upper() and (alert := readable(text)) not in self.alerts:
                self.alerts.append(alert)
                _log.info("%s: the server says: %s", self.settings.where, alert)


def _tells_of_mail(client: IMAPClient, seconds: float) -> bool:
    """Whether the idling server tells of new mail within so many seconds; ``IMAP4.abort`` when it has hung up."""
    began = time.monotonic()
    answers = client.idle_check(timeout=seconds)
    if not answers and time.monotonic() - began < seconds / 2:
        raise IMAP4.abort("the server closed the connection")
    if any(answer[0] == b"BYE" for answer in answers):
        raise IMAP4.abort(f"BYE {readable(answers[-1][-1])}")
    return any(len(answer) > 1 and answer[1] in (b"EXISTS", b"RECENT") for answer in answers)


def _is_loopback(connection: socket.socket) -> bool:
    return ip_address(connection.getpeername()[0].partition("%")[0]).is_loopback

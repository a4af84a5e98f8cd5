"""An IMAP folder as the ingest loop's :class:`~bounceparse.ingest.Mailbox` (RFC 9051, 4315 UIDPLUS, 6851 MOVE).

IMAPClient keeps the session; the two questions that are asked for every message go to imaplib below it, which answers
three times as fast. Every command runs under two clocks: the socket's, and one for the whole command, because a server
that drips a byte now and then never lets the first run out.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from imaplib import IMAP4
from ipaddress import ip_address
from itertools import pairwise
from threading import Timer
from typing import TYPE_CHECKING, Any

from bounceparse.errors import MailboxError
from bounceparse.ingest import Fetched
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.answers import bodies, sizes, uid_set
from bounceparse.mailboxes.faults import fault_of, mailbox_error, readable
from bounceparse.mailboxes.oauth2 import Xoauth2

if TYPE_CHECKING:
    from imapclient import IMAPClient

__all__ = ["ImapAccount", "ImapMailbox", "open_mailbox"]

_log = logging.getLogger(__name__)

_SEARCH_WINDOW = 20_000  # messages: imaplib gives up on an answer of more than 1 MB
_SIZE_WINDOW = 1000
_MARK_BATCH = 200
_LOGOUT_TIMEOUT = 5.0


@contextmanager
def open_mailbox(account: ImapAccount) -> Iterator[ImapMailbox]:
    """The mailbox of ``account``; the connection is made at its first use and closed at the end.

    Its methods raise ``MailboxError`` for everything that goes wrong between here and the server.
    """
    mailbox = ImapMailbox(account)
    try:
        yield mailbox
    finally:
        mailbox.close()


class ImapMailbox:
    """A selected folder. Connects when first asked for something, so that a lock can come before the login.

    ``settings`` is the account it was made from, ``alerts`` what the server wants its users to be told.
    """

    def __init__(self, settings: ImapAccount) -> None:
        self.settings = settings
        self.alerts: list[str] = []
        self._client: IMAPClient | None = None
        self._uidvalidity = 0
        self._capabilities: frozenset[bytes] = frozenset()
        self._target_is_there = False
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

    # -- the session

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
            mechanism = Xoauth2(account.username, secret)
            try:
                client.sasl_login("XOAUTH2", mechanism)
            except IMAP4.error as error:
                raise mailbox_error(
                    account.where, "logging in", error, said=mechanism.refusal, permanent=True
                ) from error
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
    def _command(self, doing: str, *, permanent: bool = False) -> Iterator[IMAPClient]:
        """One command, or several that belong together, under the clock; what goes wrong becomes ``MailboxError``."""
        self._late = False
        clock = Timer(self.settings.batch_timeout, self._cut_off)
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

    # -- reading

    def uids(self) -> list[int]:
        """All UIDs that are not marked as deleted, ascending."""
        validity = self.uidvalidity
        answer = self._select()
        if answer.get(b"UIDVALIDITY") != validity:
            self._hang_up()
            raise MailboxError(
                f"{self.settings.where}: the folder was made anew: the next poll reads it", temporary=True
            )
        found: set[int] = set()
        with self._command("searching") as client:
            for window in self._windows(client, int(answer[b"EXISTS"])):
                found.update(int(uid) for uid in client.search(f"UID {window} UNDELETED"))
        return sorted(found)

    def _windows(self, client: IMAPClient, count: int) -> list[str]:
        """UID ranges of a bounded number of messages each, which together span the folder."""
        if count <= _SEARCH_WINDOW:
            return ["1:*"]
        edges = ",".join(str(number) for number in range(_SEARCH_WINDOW + 1, count + 1, _SEARCH_WINDOW))
        _, answer = client._imap.fetch(edges, "(UID RFC822.SIZE)")
        starts = [1, *sorted(sizes(answer))]
        return [*(f"{first}:{after - 1}" for first, after in pairwise(starts)), f"{starts[-1]}:*"]

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        """The messages, a batch at a time; messages beyond ``max_message`` are cut there. Raises ``MailboxError``."""
        for at in range(0, len(uids), _SIZE_WINDOW):
            known = self._sizes(uids[at : at + _SIZE_WINDOW])
            for batch in self._batches(known):
                if found := self._fetch_batch(batch):
                    yield found

    def _sizes(self, uids: Sequence[int]) -> dict[int, int]:
        """RFC822.SIZE of those that are still there, in the order asked."""
        self.connect()
        with self._command("asking for sizes"):
            answer = self._fetch_raw(uids, "(UID RFC822.SIZE)")
        found = sizes(answer)
        return {uid: found[uid] for uid in uids if uid in found}

    def _batches(self, sizes_by_uid: dict[int, int]) -> Iterator[dict[int, int]]:
        """Cut into batches bounded in number and bytes; a message too big to be fetched whole is one of its own."""
        account = self.settings
        batch: dict[int, int] = {}
        volume = 0
        for uid, size in sizes_by_uid.items():
            too_big = size > account.max_message
            if batch and (too_big or len(batch) >= account.batch_messages or volume + size > account.batch_bytes):
                yield batch
                batch, volume = {}, 0
            if too_big:
                yield {uid: size}
            else:
                batch[uid] = size
                volume += size
        if batch:
            yield batch

    def _fetch_batch(self, batch: dict[int, int]) -> list[Fetched]:
        most = self.settings.max_message
        cut = len(batch) == 1 and next(iter(batch.values())) > most
        with self._command("fetching"):
            answer = self._fetch_raw(list(batch), f"(UID BODY.PEEK[]{f'<0.{most}>' if cut else ''})")
        found = bodies(answer)
        return [
            Fetched(uid, found[uid], size if cut and len(found[uid]) >= most else len(found[uid]))
            for uid, size in batch.items()
            if uid in found
        ]

    def _fetch_raw(self, uids: Sequence[int], items: str) -> list[Any]:
        """What the server answers. One message that it cannot hand out must not keep back the others."""
        assert self._client is not None
        imap = self._client._imap
        status, answer = imap.uid("FETCH", uid_set(uids), items)
        if status == "OK":
            return list(answer)
        text = readable(answer[-1] if answer else "")
        if fault_of(text):
            raise IMAP4.error(text)
        _log.warning("%s: the server keeps messages back: %s", self.settings.where, text)
        return list(imap.untagged_responses.pop("FETCH", ()))

    # -- marking

    def mark(self, uids: Sequence[int]) -> list[int]:
        """Flag, move or delete; see :meth:`bounceparse.ingest.Mailbox.mark`. Raises ``MailboxError``."""
        self.connect()
        if uids and self.settings.target and not self._target_is_there:
            self._create_target()
        settled: list[int] = []
        for at in range(0, len(uids), _MARK_BATCH):
            settled += self._mark_batch(sorted(uids[at : at + _MARK_BATCH]))
        return settled

    def _mark_batch(self, uids: list[int]) -> list[int]:
        account = self.settings
        waiting: set[int] = set()
        with self._command("marking") as client:
            if account.target:
                self._move(client, uids)
            elif account.deletes:
                waiting = self._delete_old(client, uids)
            elif account.flag:
                client.add_flags(uids, [account.flag], silent=True)
            # Answers that nobody asked for (EXPUNGE, FETCH) would otherwise pile up
            for kind in ("EXPUNGE", "FETCH", "RECENT", "VANISHED"):
                client._imap.untagged_responses.pop(kind, None)
        return [uid for uid in uids if uid not in waiting]

    def _create_target(self) -> None:
        target = self.settings.target
        with self._command(f"creating the folder {target!r}", permanent=True) as client:
            if not client.folder_exists(target):
                client.create_folder(target)
        self._target_is_there = True

    def _move(self, client: IMAPClient, uids: list[int]) -> None:
        try:
            self._move_all(client, uids)
        except IMAP4.abort:
            raise
        except IMAP4.error:  # refused as a whole when one of them has gone (RFC 5530 EXPUNGEISSUED)
            client.noop()
            there = [int(uid) for uid in client.search(f"UID {uid_set(uids)}")]
            if len(there) == len(uids):
                raise
            if there:
                self._move_all(client, sorted(there))

    def _move_all(self, client: IMAPClient, uids: list[int]) -> None:
        target = self.settings.target
        if b"MOVE" in self._capabilities:
            client.move(uids, target)
        else:
            client.copy(uids, target)
            self._expunge(client, uids)

    def _delete_old(self, client: IMAPClient, uids: list[int]) -> set[int]:
        """Delete those that are old enough, flag the others; answers the others."""
        account = self.settings
        waiting: set[int] = set()
        if account.keep_days:
            since = datetime.now(UTC).date() - timedelta(days=account.keep_days)
            young = ["UID", uid_set(uids), "SINCE", since]
            waiting = {int(uid) for uid in client.search(young)}
            if waiting and account.flag:
                unflagged = ["UNSEEN"] if account.flag == r"\Seen" else ["UNKEYWORD", account.flag]
                if bare := client.search([*young, *unflagged]):
                    client.add_flags(bare, [account.flag], silent=True)
        self._expunge(client, [uid for uid in uids if uid not in waiting])
        return waiting

    def _expunge(self, client: IMAPClient, uids: list[int]) -> None:
        """Delete these messages and no others: a plain EXPUNGE would take everything that anybody has flagged."""
        if uids:
            client.add_flags(uids, [r"\Deleted"], silent=True)
            client.uid_expunge(uids)


def _is_loopback(connection: socket.socket) -> bool:
    return ip_address(connection.getpeername()[0].partition("%")[0]).is_loopback

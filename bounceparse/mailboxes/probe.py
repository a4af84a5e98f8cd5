"""A report of our own making, planted in a mailbox and taken out again: the way from the server to the database, tried."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from bounceparse.errors import MailboxError
from bounceparse.ingest import Fetched, Recorded, Store
from bounceparse.mailboxes.imap import ImapMailbox
from bounceparse.reading import ReadMessage

DOMAIN = "probe.bounceparse.example"
"""Of all addresses in probes; no mail leads there (RFC 2606)."""
HEADER = "X-Bounceparse-Probe"
_APPENDED = re.compile(rb"APPENDUID (\d+) (\d+)")
_REPORT = """\
From: MAILER-DAEMON@{domain}
To: postmaster@{domain}
Subject: A probe of bounceparse doctor, which removes it again
Date: {date}
Message-ID: <report-{nonce}@{domain}>
{header}: {nonce}
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="{nonce}"

--{nonce}
Content-Type: text/plain

This is no bounce: bounceparse doctor --probe follows it to the database.

--{nonce}
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.{domain}

Final-Recipient: rfc822; {address}
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 <{address}>: user unknown

--{nonce}
Content-Type: text/rfc822-headers

Message-ID: <sent-{nonce}@{domain}>
To: {address}

--{nonce}--
"""


class Probe(NamedTuple):
    """A report and the address that it is about."""

    nonce: str
    address: str
    raw: bytes


def make_probe(now: datetime) -> Probe:
    """A report like no other."""
    nonce = secrets.token_hex(12)
    address = f"{nonce}@{DOMAIN}"
    date = now.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S +0000")
    text = _REPORT.format(nonce=nonce, address=address, domain=DOMAIN, header=HEADER, date=date)
    return Probe(nonce, address, text.replace("\n", "\r\n").encode("ascii"))


def plant(mailbox: ImapMailbox, probe: Probe) -> int:
    """Append the report to the folder, unseen; returns its UID. Raises ``MailboxError``."""
    mailbox.connect()
    with mailbox._command("planting the probe", permanent=True) as client:
        answer = client.append(mailbox.folder, probe.raw)
        found = _APPENDED.search(answer if isinstance(answer, bytes) else str(answer).encode())
        client.noop()
    if found and int(found[1]) == mailbox.uidvalidity:
        return int(found[2])
    with mailbox._command("looking for the probe") as client:
        uids = client.search(["HEADER", HEADER, probe.nonce])
    if not uids:
        raise MailboxError(f"{mailbox.settings.where}: the probe was taken and is not there: who else uses the folder?")
    return int(uids[-1])


def arrived_at(mailbox: ImapMailbox, uid: int) -> datetime | None:
    """When the server says that a message came in (INTERNALDATE), in UTC."""
    mailbox.connect()
    with mailbox._command("asking for the time") as client:
        client.normalise_times = False
        found = client.fetch([uid], ["INTERNALDATE"]).get(uid, {}).get(b"INTERNALDATE")
    return found.astimezone(UTC) if found is not None else None


def remove(mailbox: ImapMailbox) -> int:
    """Take every probe out of the folder, and out of the one that messages are moved to; returns how many those were.

    Only messages that carry our header, and only by UID EXPUNGE; without UIDPLUS they are marked as deleted.
    """
    account = mailbox.settings
    removed = 0
    mailbox.connect()
    for folder in (account.folder, account.target):
        if not folder:
            continue
        with mailbox._command("removing the probe") as client:
            if folder != account.folder and not client.folder_exists(folder):
                continue
            client.select_folder(folder)
            uids = client.search(["HEADER", HEADER, "", "SUBJECT", "A probe of bounceparse doctor"])
            if uids:
                client.add_flags(uids, [r"\Deleted"], silent=True)
                if b"UIDPLUS" in mailbox._capabilities:
                    client.uid_expunge(uids)
            removed += len(uids)
    mailbox.close()
    return removed


@dataclass
class OneMessage:
    """A folder as if it held one message only."""

    mailbox: ImapMailbox
    uid: int

    @property
    def account(self) -> str:
        """The account's name."""
        return self.mailbox.account

    @property
    def folder(self) -> str:
        """The folder's name."""
        return self.mailbox.folder

    @property
    def uidvalidity(self) -> int:
        """The folder's UIDVALIDITY."""
        return self.mailbox.uidvalidity

    def uids(self) -> list[int]:
        """The one UID, if it is there."""
        return [uid for uid in self.mailbox.uids() if uid == self.uid]

    def overdue(self) -> list[int]:
        """None: what is old stays."""
        return []

    def fetch(self, uids: Sequence[int]) -> Iterator[list[Fetched]]:
        """As the folder does."""
        return self.mailbox.fetch(uids)

    def mark(self, uids: Sequence[int]) -> None:
        """As the folder does."""
        self.mailbox.mark(uids)


@dataclass
class StoreOfOne:
    """A store as if it knew of one message only."""

    store: Store
    uid: int
    prepare = None

    def lock(self, account: str, folder: str) -> AbstractContextManager[None]:
        """As the store does."""
        return self.store.lock(account, folder)

    def known_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The one UID, if it is recorded."""
        return self.store.known_uids(account, folder, uidvalidity) & {self.uid}

    def pending_marks(self, account: str, folder: str, uidvalidity: int) -> list[int]:
        """None: what other polls left to do is theirs."""
        return []

    def marked_uids(self, account: str, folder: str, uidvalidity: int) -> set[int]:
        """The one UID, if it is marked."""
        return self.store.marked_uids(account, folder, uidvalidity) & {self.uid}

    def record(self, messages: Sequence[ReadMessage]) -> Recorded:
        """As the store does."""
        return self.store.record(messages)

    def note_marked(self, account: str, folder: str, uidvalidity: int, uids: Iterable[int]) -> None:
        """As the store does."""
        self.store.note_marked(account, folder, uidvalidity, uids)

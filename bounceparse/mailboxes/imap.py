"""An IMAP folder as the ingest loop's :class:`~bounceparse.ingest.Mailbox` (RFC 9051, 4315 UIDPLUS, 6851 MOVE).

The two questions that are asked for every message go to imaplib below IMAPClient, which answers three times as fast.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from imaplib import IMAP4
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from bounceparse.errors import MailboxError
from bounceparse.ingest import Fetched
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.answers import bodies, sizes, uid_set
from bounceparse.mailboxes.faults import fault_of, readable
from bounceparse.mailboxes.session import ImapSession

if TYPE_CHECKING:
    from imapclient import IMAPClient

__all__ = ["ImapAccount", "ImapMailbox", "open_mailbox"]

_log = logging.getLogger(__name__)

_SEARCH_WINDOW = 20_000  # messages: imaplib gives up on an answer of more than 1 MB
_SIZE_WINDOW = 1000
_MARK_BATCH = 500


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


class ImapMailbox(ImapSession):
    """What the ingest loop asks of a folder."""

    def __init__(self, settings: ImapAccount) -> None:
        super().__init__(settings)
        self._target_is_there = False
        self._windows = ["1:*"]

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
        with self._command("searching") as client:
            self._windows = self._cut_windows(client, int(answer[b"EXISTS"]))
        return self._search("UNDELETED")

    def overdue(self) -> list[int]:
        """The UIDs of messages older than ``keep_days``, those included that are marked as deleted already."""
        keep_days = self.settings.keep_days
        if keep_days is None:
            return []
        return self._search("BEFORE", _kept_since(keep_days)) if keep_days else self._search("ALL")

    def _search(self, *criteria: str | date) -> list[int]:
        found: set[int] = set()
        with self._command("searching") as client:
            for window in self._windows:
                found.update(int(uid) for uid in client.search(["UID", window, *criteria]))
        return sorted(found)

    def _cut_windows(self, client: IMAPClient, count: int) -> list[str]:
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
        if missing := [uid for uid in batch if uid not in found]:
            self._tell_of_missing(missing)
        return [
            Fetched(uid, found[uid], size if cut and len(found[uid]) >= most else len(found[uid]))
            for uid, size in batch.items()
            if uid in found
        ]

    def _tell_of_missing(self, uids: list[int]) -> None:
        """Warn of messages that the server handed out without a body; those that others have expunged are no news."""
        with self._command("searching") as client:
            there = set(client.search(["UID", uid_set(uids)])) & set(uids)
        if there:
            _log.warning(
                "%s: the server hands out no body of UID %s: the next poll asks again; if this recurs, look at the"
                " message with a mail program",
                self.settings.where,
                uid_set(sorted(there)),
            )

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

    def mark(self, uids: Sequence[int]) -> None:
        """Flag, move or delete; see :meth:`bounceparse.ingest.Mailbox.mark`. Raises ``MailboxError``."""
        self.connect()
        if uids and self.settings.target and not self._target_is_there:
            self._create_target()
        for at in range(0, len(uids), _MARK_BATCH):
            self._mark_batch(sorted(uids[at : at + _MARK_BATCH]))

    def _mark_batch(self, uids: list[int]) -> None:
        account = self.settings
        with self._command("marking") as client:
            if account.target:
                self._move(client, uids)
            elif account.deletes:
                self._delete_old(client, uids)
            elif account.flag:
                client.add_flags(uids, [account.flag], silent=True)
            # Answers that nobody asked for (EXPUNGE, FETCH) would otherwise pile up
            for kind in ("EXPUNGE", "FETCH", "RECENT", "VANISHED"):
                client._imap.untagged_responses.pop(kind, None)

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
            # Those that are marked as deleted were copied by a poll that died before it expunged them
            if uncopied := client.search(["UID", uid_set(uids), "UNDELETED"]):
                client.copy(uncopied, target)
            self._expunge(client, uids)

    def _delete_old(self, client: IMAPClient, uids: list[int]) -> None:
        """Delete those that are old enough, flag the others."""
        account = self.settings
        young: set[int] = set()
        if account.keep_days:
            kept = ["UID", uid_set(uids), "SINCE", _kept_since(account.keep_days)]
            young = {int(uid) for uid in client.search(kept)}
            if young and account.flag:
                client.add_flags(sorted(young), [account.flag], silent=True)
        self._expunge(client, [uid for uid in uids if uid not in young])

    def _expunge(self, client: IMAPClient, uids: list[int]) -> None:
        """Delete these messages and no others: a plain EXPUNGE would take everything that anybody has flagged."""
        if uids:
            client.add_flags(uids, [r"\Deleted"], silent=True)
            client.uid_expunge(uids)


def _kept_since(keep_days: int) -> date:
    """The first day whose messages are kept, by INTERNALDATE."""
    return datetime.now(UTC).date() - timedelta(days=keep_days)

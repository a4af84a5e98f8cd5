"""mailboxes/imap.py against a real Dovecot: nothing lost, nothing twice, every way of marking, refusals that say why."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bounces import dsn, dsns
from crashes import state
from servers import Dovecot, running_dovecot

from bounceparse.db import Store
from bounceparse.errors import MailboxError, MailboxLocked
from bounceparse.ingest import PollResult, poll_mailbox
from bounceparse.mailboxes import imap
from bounceparse.mailboxes.imap import ImapMailbox, open_mailbox


@pytest.fixture
def dovecot() -> Iterator[Dovecot]:
    with running_dovecot() as server:
        yield server


def poll(dovecot: Dovecot, store: Store, **changes: Any) -> PollResult:
    with open_mailbox(dovecot.account(**changes)) as mailbox:
        return poll_mailbox(mailbox, store)


def refusal(dovecot: Dovecot, **changes: Any) -> MailboxError:
    with pytest.raises(MailboxError) as caught, open_mailbox(dovecot.account(**changes)) as mailbox:
        mailbox.connect()
    return caught.value


# -- polling


def test_every_message_is_recorded_and_seen_and_a_second_poll_adds_nothing(dovecot: Dovecot, store: Store) -> None:
    """More messages than a batch holds, two of them the same."""
    dovecot.load([*dsns(450), dsn(1)])
    assert poll(dovecot, store) == PollResult("bounces", 451, 451, 451, 450, 451, 0)
    assert dovecot.flags() == ["S"] * 451
    assert poll(dovecot, store) == PollResult("bounces")


def test_what_a_person_has_read_is_recorded_too(dovecot: Dovecot, store: Store) -> None:
    r"""What to fetch is decided by what is recorded, not by \Seen."""
    dovecot.load(dsns(3))
    with dovecot.client() as person:
        person.fetch(person.search("ALL"), ["BODY[]"])
    assert poll(dovecot, store).new_outcomes == 3


def test_what_arrives_during_a_poll_waits_for_the_next(dovecot: Dovecot, store: Store) -> None:
    """Nothing is lost between the search and the end."""
    dovecot.load(dsns(3))
    with open_mailbox(dovecot.account()) as mailbox:
        mailbox.uids()
        dovecot.load([dsn(4)])
        assert poll_mailbox(mailbox, store).new_outcomes >= 3
    poll(dovecot, store)
    assert len(list(store.outcomes())) == 4


def test_large_folders_are_searched_in_windows(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The windows give what one search gives, gaps in the UIDs or not."""
    dovecot.load(dsns(95))
    with dovecot.client() as other:
        other.delete_messages(list(range(20, 50)))
        other.uid_expunge(list(range(20, 50)))
        other.delete_messages([90])
    monkeypatch.setattr(imap, "_SEARCH_WINDOW", 10)
    with open_mailbox(dovecot.account()) as mailbox:
        assert mailbox.uids() == [*range(1, 20), *range(50, 90), *range(91, 96)]


def test_batches_are_bounded_in_number_and_bytes(dovecot: Dovecot) -> None:
    """Whichever bound is reached first."""
    large = [dsn(number, padding=3000) for number in range(10, 14)]
    dovecot.load([*dsns(7), *large])
    with open_mailbox(dovecot.account(batch_messages=5, batch_bytes=8200)) as mailbox:
        batches = list(mailbox.fetch(mailbox.uids()))
    assert [message.uid for batch in batches for message in batch] == list(range(1, 12))
    assert all(len(batch) <= 5 and sum(message.size for message in batch) <= 8200 for batch in batches)
    assert [len(batch) for batch in batches] == [5, 3, 2, 1]


def test_a_large_message_is_fetched_up_to_the_limit_and_recorded_as_cut(dovecot: Dovecot, store: Store) -> None:
    """The messages around it are whole, and the whole one's size is kept."""
    dovecot.load([dsn(1), dsn(2, padding=200_000), dsn(3)])
    with open_mailbox(dovecot.account(max_message=50_000)) as mailbox:
        fetched = {message.uid: message for batch in mailbox.fetch(mailbox.uids()) for message in batch}
    assert len(fetched[2].raw) == 50_000
    assert fetched[2].size > 200_000
    assert all(len(fetched[uid].raw) == fetched[uid].size for uid in (1, 3))
    assert poll(dovecot, store, max_message=50_000).messages == 3


def test_a_message_that_others_expunge_before_it_is_fetched_is_passed_over(dovecot: Dovecot, store: Store) -> None:
    """The rest of its batch is recorded."""
    dovecot.load(dsns(10))
    with open_mailbox(dovecot.account()) as mailbox, dovecot.client() as other:
        uids = mailbox.uids()
        other.delete_messages([4, 5])
        other.uid_expunge([4, 5])
        fetched = [message.uid for batch in mailbox.fetch(uids) for message in batch]
    assert fetched == [1, 2, 3, 6, 7, 8, 9, 10]


def test_a_new_uidvalidity_loses_and_doubles_nothing(dovecot: Dovecot, store: Store) -> None:
    """The folder is deleted and made anew with the same mails and one more."""
    dovecot.load(dsns(5), "Bounces")
    assert poll(dovecot, store, folder="Bounces").new_outcomes == 5
    with dovecot.client() as other:
        other.delete_folder("Bounces")
        other.create_folder("Bounces")
    dovecot.load(dsns(6), "Bounces")
    assert poll(dovecot, store, folder="Bounces") == PollResult("bounces", 6, 6, 6, 1, 6, 0)


def test_a_folder_made_anew_while_it_is_open_is_left_to_the_next_poll(dovecot: Dovecot) -> None:
    """Its UIDs are no longer those that the store was asked about."""
    with open_mailbox(dovecot.account()) as mailbox:
        mailbox.connect()
        mailbox._uidvalidity -= 1
        with pytest.raises(MailboxError, match="made anew") as caught:
            mailbox.uids()
    assert caught.value.temporary


def test_an_overlapping_poll_is_refused(dovecot: Dovecot, store: Store, database_url: str) -> None:
    """It says so at once, does not even log in, and touches nothing."""
    dovecot.load(dsns(2))
    account = dovecot.account(password=lambda: pytest.fail("logged in"))
    with (
        store.lock("bounces", "INBOX"),
        Store(database_url) as other,
        open_mailbox(account) as mailbox,
        pytest.raises(MailboxLocked) as caught,
    ):
        poll_mailbox(mailbox, other)
    assert caught.value.temporary
    assert poll(dovecot, store).new_outcomes == 2


# -- marking


@contextmanager
def expunging(
    dovecot: Dovecot, uids: list[int], monkeypatch: pytest.MonkeyPatch, folder: str = "INBOX"
) -> Iterator[None]:
    """A second client deletes ``uids`` after they were recorded and before they are marked."""
    real = ImapMailbox._mark_batch

    def mark_after_another(self: ImapMailbox, batch: list[int]) -> None:
        with dovecot.client(folder) as other:
            other.delete_messages(uids)
            other.uid_expunge(uids)
        real(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ImapMailbox, "_mark_batch", mark_after_another)
        yield


AFTER = ["seen", "keyword:Processed", "move:Done", "delete", "nothing"]


@pytest.mark.parametrize("after", AFTER)
def test_each_way_of_marking_while_a_second_client_expunges(
    dovecot: Dovecot, store: Store, after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is recorded and settled; the messages that are left are where and as ``after`` says; nobody else's are touched."""
    dovecot.load(dsns(12))
    with dovecot.client() as other:
        other.delete_messages([12])  # somebody's own: marked as deleted, not expunged
    with expunging(dovecot, [3, 7], monkeypatch):
        assert poll(dovecot, store, after=after) == PollResult("bounces", 11, 11, 11, 11, 11, 0)
    left = [flags for flags in dovecot.flags() if "T" not in flags]
    assert len(left) == (0 if after in ("delete", "move:Done") else 9)
    assert len(dovecot.names("Done")) == (9 if after == "move:Done" else 0)
    assert sum("T" in flags for flags in dovecot.flags()) == 1
    if after == "seen":
        assert set(left) == {"S"}
    with dovecot.client() as other:
        assert len(other.search("KEYWORD Processed")) == (9 if after == "keyword:Processed" else 0)
        assert len(other.search("UNSEEN UNDELETED")) == (9 if after in ("keyword:Processed", "nothing") else 0)
    assert poll(dovecot, store, after=after) == PollResult("bounces")


def test_messages_are_moved_by_copy_where_the_server_has_no_move(store: Store) -> None:
    """COPY, then UID EXPUNGE of these messages only."""
    with running_dovecot(capability="IMAP4rev1 UIDPLUS") as dovecot:
        dovecot.load(dsns(5))
        with dovecot.client() as other:
            other.delete_messages([5])
        assert poll(dovecot, store, after="move:Done").marked == 4
        assert len(dovecot.names("Done")) == 4
        assert len(dovecot.names()) == 1


@pytest.mark.parametrize("after", ["seen", "delete", "nothing", "keyword:Processed"])
def test_old_messages_are_deleted_after_their_days(dovecot: Dovecot, store: Store, after: str) -> None:
    """Younger ones are flagged and go when they are old enough, even if keep_days comes later; others' mail stays."""
    with dovecot.client() as other:
        for number, days in enumerate((40, 29, 0), 1):
            other.append("INBOX", dsn(number), msg_time=datetime.now(UTC) - timedelta(days=days))
    if after != "delete":
        assert poll(dovecot, store, after=after).marked == 3
        assert poll(dovecot, store, after=after, keep_days=30).marked == 1
    else:
        assert poll(dovecot, store, after=after, keep_days=30).marked == 3
    with dovecot.client() as other:
        assert other.search("ALL") == [2, 3]
        assert len(other.search("SEEN")) == (2 if after in ("seen", "delete") else 0)
        assert len(other.search("KEYWORD Processed")) == (2 if after.startswith("keyword") else 0)
        other.add_flags([2], [r"\Deleted"])  # as a poll that died before it expunged
    assert poll(dovecot, store, after=after, keep_days=30) == PollResult("bounces")
    assert poll(dovecot, store, after=after, keep_days=10).marked == 1
    assert poll(dovecot, store, after=after, keep_days=0).marked == 1
    assert dovecot.names() == []


@pytest.mark.parametrize(
    ("capability", "after", "told"),
    [
        ("IMAP4rev1", "delete", "has no UIDPLUS"),
        ("IMAP4rev1 MOVE", "delete", "has no UIDPLUS"),
        ("IMAP4rev1", "move:Done", "neither MOVE nor UIDPLUS"),
    ],
)
def test_what_the_server_cannot_do_is_refused_up_front(
    store: Store, database_url: str, capability: str, after: str, told: str
) -> None:
    """Before anything is recorded or marked, for good, and with the remedy."""
    with running_dovecot(capability=capability) as dovecot:
        dovecot.load(dsns(2))
        with pytest.raises(MailboxError, match=told) as caught:
            poll(dovecot, store, after=after)
        assert not caught.value.temporary
        assert 'set after to "seen"' in str(caught.value)
        assert state(database_url)["messages"] == []


# -- getting in


def test_tls_is_verified(dovecot: Dovecot) -> None:
    """A certificate by nobody known is refused for good; one that is named in ca_file is taken, for its own name only."""
    error = refusal(dovecot, tls="implicit", port=dovecot.tls, host="localhost")
    assert not error.temporary
    assert "certificate does not verify" in str(error)
    assert "ca_file" in str(error)
    error = refusal(dovecot, tls="implicit", port=dovecot.tls, host="127.0.0.1", ca_file=dovecot.ca_file)
    assert not error.temporary
    assert "certificate does not verify" in str(error)
    dovecot.load(dsns(2))
    with open_mailbox(
        dovecot.account(tls="implicit", port=dovecot.tls, host="localhost", ca_file=dovecot.ca_file)
    ) as mailbox:
        assert [len(batch) for batch in mailbox.fetch(mailbox.uids())] == [2]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_tls_before_1_2_is_refused(dovecot: Dovecot) -> None:
    """Whatever the server's certificate: no byte of the login goes there."""
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.load_cert_chain(dovecot.root / "server.pem", dovecot.root / "server.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                old.wrap_socket(listener.accept()[0], server_side=True)

        thread = threading.Thread(target=serve)
        thread.start()
        port = listener.getsockname()[1]
        error = refusal(dovecot, tls="implicit", port=port, host="localhost", ca_file=dovecot.ca_file)
        thread.join(10)
    assert not error.temporary
    assert "no TLS 1.2 or newer is spoken there" in str(error)


def test_starttls_is_verified_and_works(dovecot: Dovecot) -> None:
    """The password is said only after TLS stands."""
    error = refusal(dovecot, tls="starttls", host="localhost")
    assert not error.temporary
    assert "certificate does not verify" in str(error)
    dovecot.load(dsns(2))
    with open_mailbox(dovecot.account(tls="starttls", host="localhost", ca_file=dovecot.ca_file)) as mailbox:
        assert [len(batch) for batch in mailbox.fetch(mailbox.uids())] == [2]
        assert mailbox._client is not None
        assert mailbox._client.socket().version() in ("TLSv1.2", "TLSv1.3")


def test_tls_towards_a_port_without_it_needs_a_person(dovecot: Dovecot) -> None:
    """The usual mix-up of 143 and 993."""
    error = refusal(dovecot, tls="implicit", host="localhost")
    assert not error.temporary
    assert "port and tls" in str(error)


@pytest.mark.parametrize("password", ["wrong", "zażółć", 'quo"te\\'])
def test_a_wrong_password_needs_a_person(dovecot: Dovecot, password: str) -> None:
    """Whatever its letters; and the message does not show it."""
    error = refusal(dovecot, password=lambda: password)
    assert not error.temporary
    assert "check username and password" in str(error)
    assert password not in str(error)


@pytest.mark.parametrize("password", ["", "two\r\nA2 DELETE INBOX", "nul\0"])
def test_a_password_that_cannot_be_one_is_not_sent(dovecot: Dovecot, password: str) -> None:
    """A command that prints nothing, or more than a password, is said to be at fault."""
    error = refusal(dovecot, password=lambda: password, host="192.0.2.1")
    assert "check where it comes from" in str(error)


def test_a_folder_that_is_not_there_needs_a_person(dovecot: Dovecot) -> None:
    """It is named."""
    error = refusal(dovecot, folder="Zwroty/ąę")
    assert not error.temporary
    assert "'Zwroty/ąę'" in str(error)


def test_a_folder_with_a_name_of_its_own_is_polled(dovecot: Dovecot, store: Store) -> None:
    """Spaces and letters beyond ASCII, in the folder and in the target."""
    with dovecot.client() as other:
        other.create_folder("Zwroty pocztą")
        for mail in dsns(2):
            other.append("Zwroty pocztą", mail)
    assert poll(dovecot, store, folder="Zwroty pocztą", after='move:Zrobione "ąę"').marked == 2
    with dovecot.client('Zrobione "ąę"') as other:
        assert len(other.search("ALL")) == 2


def test_a_server_that_is_down_is_temporary(dovecot: Dovecot, store: Store) -> None:
    """So is one that goes away in the middle; the poll after it finishes the work."""
    dovecot.load(dsns(30))
    with open_mailbox(dovecot.account(batch_messages=10)) as mailbox:

        def stop(result: PollResult, total: int | None) -> None:
            dovecot.stop()

        with pytest.raises(MailboxError) as caught:
            poll_mailbox(mailbox, store, progress=stop)
    assert caught.value.temporary
    assert refusal(dovecot).temporary
    dovecot.start()
    result = poll(dovecot, store)
    assert result.messages in (10, 20)  # the second batch may have been on its way already
    assert result.marked in (20, 30)  # so may the marks of the first have been
    assert len(list(store.outcomes())) == 30
    assert dovecot.flags() == ["S"] * 30


def test_a_folder_deleted_while_it_is_open_is_temporary_then_needs_a_person(dovecot: Dovecot, store: Store) -> None:
    """The connection breaks; the next one finds no folder."""
    dovecot.load(dsns(3), "Bounces")
    with open_mailbox(dovecot.account(folder="Bounces")) as mailbox:
        mailbox.connect()
        with dovecot.client() as other:
            other.delete_folder("Bounces")
        with pytest.raises(MailboxError):
            poll_mailbox(mailbox, store)
    error = refusal(dovecot, folder="Bounces")
    assert not error.temporary
    assert "the folder is not there" in str(error)


def test_no_thread_and_no_connection_is_left(dovecot: Dovecot) -> None:
    """Closing ends both."""
    before = threading.active_count()
    fds = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with open_mailbox(dovecot.account()) as mailbox:
            mailbox.uids()
        refusal(dovecot, password=lambda: "wrong")
    assert threading.active_count() <= before + 1
    assert len(list(Path("/proc/self/fd").iterdir())) == fds


def test_the_quota_is_read(dovecot: Dovecot) -> None:
    """From a server that tells it (RFC 9208); from another one there is none."""
    with open_mailbox(dovecot.account()) as mailbox:
        assert mailbox.quotas() == []
    with running_dovecot(quota="100K") as limited:
        limited.load([dsn(1, padding=90_000)])
        with open_mailbox(limited.account()) as mailbox:
            (quota,) = mailbox.quotas()
    assert (quota.resource, quota.limit) == ("STORAGE", 100)
    assert 0.8 < quota.share < 1

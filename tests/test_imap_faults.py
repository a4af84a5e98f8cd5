"""mailboxes/imap.py against servers that misbehave: nothing is believed that was not told in full, and each error says
what to do."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import pytest
from bounces import dsns
from servers import Reply, Scripted, running_pymap, scripted

from bounceparse.db import Store
from bounceparse.errors import ConfigError, MailboxError
from bounceparse.ingest import Fetched, PollResult, poll_mailbox
from bounceparse.mailboxes.answers import bodies, sizes, uid_set
from bounceparse.mailboxes.faults import readable
from bounceparse.mailboxes.imap import ImapAccount, open_mailbox
from bounceparse.mailboxes.oauth2 import command_output
from bounceparse.mailboxes.watching import pause_after

BODY = b"Subject: x\r\n\r\nx\r\n"


def fetch_all(server: Scripted, **changes: Any) -> list[Fetched]:
    with open_mailbox(server.account(**changes)) as mailbox:
        return [message for batch in mailbox.fetch(mailbox.uids()) for message in batch]


def on(start: str, answer: Callable[[str, socket.socket], str | bytes | None]) -> Reply:
    """Answer commands that hold ``start`` with ``answer(tag, connection)``."""
    return lambda tag, command, connection: answer(tag, connection) if start in command else None


def failure(reply: Reply, **changes: Any) -> MailboxError:
    with scripted(reply) as server, pytest.raises(MailboxError) as caught:
        fetch_all(server, **changes)
    return caught.value


# -- answers


def test_a_healthy_server_is_read() -> None:
    """The scripted server itself is no fault; UIDVALIDITY is above 2^31."""
    with scripted() as server, open_mailbox(server.account()) as mailbox:
        assert mailbox.uidvalidity == 4294967295
        assert list(mailbox.fetch(mailbox.uids())) == [[Fetched(uid, BODY, len(BODY)) for uid in (1, 2, 3)]]
        assert "UID FETCH 1:3 (UID BODY.PEEK[])" in server.commands


@pytest.mark.parametrize(
    ("uids", "text"), [([1, 2, 3], "1:3"), ([1, 3, 4, 9], "1,3:4,9"), ([4294967295], "4294967295"), ([], "")]
)
def test_a_uid_set_holds_exactly_its_uids(uids: list[int], text: str) -> None:
    """No range reaches over a gap."""
    assert uid_set(uids) == text


def test_bodies_are_found_wherever_the_uid_stands() -> None:
    """Before the literal, after it, beside flags, in any case, in a partial answer, quoted."""
    answer = [
        (b"1 (UID 1 BODY[] {3}", b"one"),
        b")",
        (b"2 (FLAGS (\\Seen) BODY[] {3}", b"two"),
        b" UID 2)",
        (b"3 (body[]<0> {5}", b"three"),
        b" FLAGS () uid 3)",
        b'4 (UID 4 BODY[] "fo\\"ur")',
    ]
    assert bodies(answer) == {1: b"one", 2: b"two", 3: b"three", 4: b'fo"ur'}


def test_answers_without_a_body_are_passed_over() -> None:
    """Unsolicited flags, NIL, another section, a body that belongs to no UID."""
    answer = [
        b"1 (UID 1 FLAGS (\\Seen))",
        b"2 (UID 2 BODY[] NIL)",
        (b"3 (UID 3 BODY[HEADER] {3}", b"abc"),
        b")",
        (b"4 (BODY[] {3}", b"abc"),
        b")",
        b"5 (FLAGS () UID 5)",
        None,
    ]
    assert bodies(answer) == {}
    assert sizes([b"1 (UID 1 RFC822.SIZE 10)", b"2 (RFC822.SIZE 20 UID 2)", b"3 (UID 3 FLAGS ())", None]) == {
        1: 10,
        2: 20,
    }


def test_a_body_that_is_missing_skips_its_message_only() -> None:
    """NIL for one, nothing for another: the third is fetched."""

    def answer(tag: str, connection: socket.socket) -> bytes:
        return b"* 1 FETCH (UID 1 BODY[] NIL)\r\n* 9 FETCH (FLAGS (\\Seen))\r\n" + (
            b"* 3 FETCH (UID 3 BODY[] {%d}\r\n%s)\r\n%s OK done\r\n" % (len(BODY), BODY, tag.encode())
        )

    with scripted(on("BODY.PEEK", answer)) as server:
        assert [message.uid for message in fetch_all(server)] == [3]


def test_one_message_that_cannot_be_handed_out_keeps_back_no_other() -> None:
    """A NO without a known cause counts for what is missing only."""

    def answer(tag: str, connection: socket.socket) -> bytes:
        return server.message(1) + server.message(3) + f"{tag} NO Some messages could not be FETCHed\r\n".encode()

    with scripted(on("BODY.PEEK", answer)) as server:
        assert [message.uid for message in fetch_all(server)] == [1, 3]


# -- connections that break


def reset(tag: str, connection: socket.socket) -> bytes:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise OSError  # the server's thread ends and closes


BREAKS: dict[str, Callable[[str, socket.socket], str | bytes | None]] = {
    "bye": lambda tag, connection: "* BYE Server shutting down\r\n",
    "reset": reset,
    "cut literal": lambda tag, c: (c.sendall(b"* 1 FETCH (UID 1 BODY[] {99999}\r\nabc"), c.shutdown(socket.SHUT_RDWR), "")[2],
    "nonsense": lambda tag, connection: "\x16\x03\x01 what\r\n",
    "huge literal": lambda tag, connection: "* 1 FETCH (UID 1 BODY[] {60000000000}\r\nabc",
    "huge line": lambda tag, connection: "* 1 FETCH (FLAGS (" + "x" * 1_100_000 + "\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("command", ["BODY.PEEK", "RFC822.SIZE", "UID SEARCH", "SELECT", "LOGIN"])
def test_a_connection_that_breaks_is_temporary(name: str, command: str) -> None:
    """At whatever command: no message is handed out, and the next poll tries again."""
    error = failure(on(command, BREAKS[name]), read_timeout=10)
    assert error.temporary
    assert str(error).startswith("mailbox bounces (127.0.0.1:")


def test_a_server_that_falls_silent_is_temporary() -> None:
    """The socket's timeout ends the wait."""
    error = failure(on("BODY.PEEK", lambda tag, connection: ""), read_timeout=0.3)
    assert error.temporary
    assert "no answer in time" in str(error)


def test_a_server_that_drips_is_cut_off() -> None:
    """A byte now and then keeps the socket's timeout from running out, but not the batch's."""

    def drip(tag: str, connection: socket.socket) -> bytes:
        connection.sendall(b"* 1 FETCH (UID 1 BODY[] {1000}\r\n")
        for _ in range(1000):
            connection.sendall(b"x")
            time.sleep(0.02)
        return b")\r\n"

    error = failure(on("BODY.PEEK", drip), batch_timeout=0.5, read_timeout=30)
    assert error.temporary
    assert "took more than 0.5 s" in str(error)


# -- refusals

THROTTLE = "Request is throttled. Suggested Backoff Time: 299962 milliseconds"


@pytest.mark.parametrize("kind", ["NO", "BAD"])
@pytest.mark.parametrize("command", ["LOGIN", "SELECT", "UID SEARCH", "RFC822.SIZE", "BODY.PEEK"])
def test_a_throttle_says_how_long_to_wait(kind: str, command: str) -> None:
    """Microsoft 365 answers so to any command."""
    error = failure(on(command, lambda tag, connection: f"{tag} {kind} {THROTTLE}\r\n"))
    assert error.temporary
    assert error.retry_after == pytest.approx(299.962)


def test_a_daily_limit_names_no_time_and_is_left_alone_for_half_an_hour() -> None:
    """Gmail's, in its own words; a watch heeds that as it heeds a pause that is asked for."""
    words = "NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)"
    error = failure(on("BODY.PEEK", lambda tag, connection: f"{tag} {words}\r\n"))
    assert (error.temporary, error.retry_after) == (True, 1800)
    assert pause_after(error, 1) == 1800


def test_a_throttle_with_bye_says_how_long_to_wait() -> None:
    """The connection's end does not hide the reason."""
    error = failure(on("UID SEARCH", lambda tag, connection: reset_after(connection, f"* BYE {THROTTLE}\r\n")))
    assert error.temporary
    assert error.retry_after == pytest.approx(299.962)


def reset_after(connection: socket.socket, words: str) -> str:
    connection.sendall(words.encode())
    connection.shutdown(socket.SHUT_RDWR)
    return ""


@pytest.mark.parametrize(
    ("command", "words", "temporary", "remedy"),
    [
        ("LOGIN", "NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)", False, "check username and password"),
        ("LOGIN", "NO LOGIN failed.", False, "check username and password"),
        ("LOGIN", "NO [ALERT] Application-specific password required: https://mail.example/ (Failure)", False, "app password"),
        ("LOGIN", "NO [ALERT] Please log in via your web browser (Failure)", False, "app password"),
        ("LOGIN", "NO [ALERT] Too many simultaneous connections. (Failure)", True, "close some"),
        ("LOGIN", "NO [UNAVAILABLE] Temporary authentication failure", True, "the next poll tries again"),
        ("LOGIN", "NO LOGIN Server error - Please try again later", True, "the next poll tries again"),
        ("LOGIN", "NO [LIMIT] Rate limit hit", True, "poll less often"),
        ("LOGIN", "NO [PRIVACYREQUIRED] Plaintext authentication disallowed", False, "tls"),
        ("LOGIN", "NO something nobody has seen", False, "ask whoever runs the server"),
        ("SELECT", "BAD User is authenticated but not connected.", False, "grant it access"),
        ("SELECT", "NO [NONEXISTENT] Unknown Mailbox: INBOX (Failure)", False, "the folder is not there"),
        ("SELECT", "NO [NOPERM] Permission denied", False, "give this login the right"),
        ("SELECT", "NO [SERVERBUG] Internal error occurred", True, "the next poll tries again"),
        ("UID SEARCH", "NO [OVERQUOTA] Account exceeded command or bandwidth limits.", True, "wait"),
        ("UID SEARCH", "NO something nobody has seen", True, "the next poll tries again"),
    ],
)  # fmt: skip
def test_a_refusal_says_whether_waiting_helps_and_what_to_do(
    command: str, words: str, temporary: bool, remedy: str
) -> None:
    """In the wording of servers in the field."""
    error = failure(on(command, lambda tag, connection: f"{tag} {words}\r\n"))
    assert error.temporary is temporary
    assert remedy in str(error)
    assert "b'" not in str(error)


def test_an_alert_reaches_people() -> None:
    """What the server must tell its users is kept, once, without what a terminal would act on."""
    alert = "* OK [ALERT] Mailbox is at 91% \x1b[31mof quota\r\n"
    with (
        scripted(
            lambda tag, command, connection: alert + f"{tag} OK done\r\n" if "LOGIN" in command else None
        ) as server,
        open_mailbox(server.account()) as mailbox,
    ):
        mailbox.uids()
        assert mailbox.alerts == ["[ALERT] Mailbox is at 91% [31mof quota"]


def test_what_a_server_says_is_one_printable_line() -> None:
    """Escapes, line breaks, bidirectional tricks and length are tamed."""
    assert readable(b"a\x1b[2J\r\nb\xe2\x80\xae c\x00") == "a [2J b c"
    assert len(readable("x" * 5000)) == 300
    assert readable("command: UID => b'[ALERT] no'") == "[ALERT] no"


def test_keywords_need_a_server_that_keeps_them() -> None:
    r"""No \* in PERMANENTFLAGS is refused up front, unless the keyword is among them."""

    def select(flags: str) -> Reply:
        told = f"* 3 EXISTS\r\n* OK [UIDVALIDITY 1] v\r\n* OK [PERMANENTFLAGS ({flags})] p\r\n"
        return on("SELECT", lambda tag, connection: told + f"{tag} OK [READ-WRITE] done\r\n")

    error = failure(select(r"\Seen \Deleted"), after="keyword:Done")
    assert not error.temporary
    assert "keeps no keywords" in str(error)
    with scripted(select(r"\Seen done")) as server:
        assert len(fetch_all(server, after="keyword:Done")) == 3
    error = failure(select(""), after="seen")
    assert r"may not set \Seen" in str(error)


def test_a_folder_that_may_only_be_read_is_polled_with_nothing_to_do_after() -> None:
    """Any other way of marking needs a person; the folder is then opened for reading only."""

    def reply(tag: str, command: str, connection: socket.socket) -> str | None:
        if not command.startswith(("SELECT", "EXAMINE")):
            return None
        return f"* 3 EXISTS\r\n* OK [UIDVALIDITY 1] v\r\n* OK [PERMANENTFLAGS ()] p\r\n{tag} OK [READ-ONLY] done\r\n"

    error = failure(reply)
    assert not error.temporary
    assert 'set after to "nothing"' in str(error)
    with scripted(reply) as server:
        assert len(fetch_all(server, after="nothing")) == 3
        assert not any(command.startswith("SELECT") for command in server.commands)


def test_a_password_goes_in_clear_text_to_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless insecure says so."""
    monkeypatch.setattr("bounceparse.mailboxes.session._is_loopback", lambda connection: False)
    with scripted() as server:
        with pytest.raises(MailboxError, match="in clear text"):
            fetch_all(server)
        assert not any("LOGIN" in command for command in server.commands)
        assert len(fetch_all(server, insecure=True)) == 3


# -- accounts and secrets


@pytest.mark.parametrize(
    "changes",
    [
        {"password": None},
        {"token": lambda: "x"},
        {"after": "purge"},
        {"after": "move:"},
        {"after": "move:INBOX"},
        {"after": "keyword:two words"},
        {"after": r"keyword:\Seen"},
        {"after": "move:Done", "keep_days": 3},
    ],
)
def test_an_account_that_makes_no_sense_is_refused(changes: dict[str, Any]) -> None:
    """Before anything connects."""
    settings = {"name": "bounces", "host": "h.example", "username": "u", "password": lambda: "x"}
    with pytest.raises(ConfigError, match="mailbox bounces"):
        ImapAccount(**settings | changes)


def test_secrets_do_not_show() -> None:
    """Not in the account's representation."""
    account = ImapAccount(name="n", host="h.example", username="u", password="hush".strip)
    assert "password" not in repr(account)


def test_a_secret_command_gives_its_first_line() -> None:
    """By the shell or as a list."""
    assert command_output("bounces", "password_command", "printf 'two words\\nuser: x\\n'") == "two words"
    assert command_output("bounces", "password_command", ["printf", "a\\r\\n"]) == "a"


@pytest.mark.parametrize(
    ("command", "told", "temporary"),
    [
        ("exit 3", "ended with status 3", False),
        ("true", "printed nothing", False),
        (["/nonexistent/pass"], "cannot be run", False),
        ("sleep 5", "has not ended", True),
    ],
)
def test_a_secret_command_that_fails_is_named(command: str, told: str, temporary: bool) -> None:
    """With its mailbox and its key."""
    with pytest.raises(MailboxError, match=told) as caught:
        command_output("bounces", "token_command", command, timeout=0.3)
    assert "mailbox bounces: token_command" in str(caught.value)
    assert caught.value.temporary is temporary


# -- pymap: for those without Dovecot or root


@pytest.mark.parametrize("after", ["seen", "move:Done"])
def test_pymap_is_polled_to_the_end(store: Store, after: str) -> None:
    """Everything is recorded and settled; a second poll adds nothing."""
    with running_pymap() as pymap:
        pymap.load(dsns(7))
        account = pymap.account(after=after, batch_messages=3)
        with open_mailbox(account) as mailbox:
            assert poll_mailbox(mailbox, store) == PollResult("bounces", 7, 7, 7, 7, 7, 0)
        with open_mailbox(account) as mailbox:
            assert poll_mailbox(mailbox, store) == PollResult("bounces")
        with pymap.client() as other:
            assert len(other.search("ALL")) == (7 if after == "seen" else 0)
            assert other.search("UNSEEN") == []

"""What went wrong with a server -> :class:`MailboxError`: what happened, whether waiting helps, and what to do.

The wording of servers is data here, first match wins: RFC 5530 codes, and the texts of Gmail, Microsoft 365, Yahoo and
Dovecot, which mostly send none.
"""

from __future__ import annotations

import re
import socket
import ssl
from imaplib import IMAP4
from typing import NamedTuple

from bounceparse.errors import MailboxError
from bounceparse.lazy import pattern

__all__ = ["Fault", "fault_of", "mailbox_error", "readable"]


class Fault(NamedTuple):
    """A kind of refusal: what its text looks like (lower case), whether it passes by itself, and the remedy.

    ``pause`` is the seconds to wait where the server names none.
    """

    pattern: re.Pattern[str]
    temporary: bool
    remedy: str
    pause: float | None = None


_FAULTS = tuple(
    Fault(pattern(words), temporary, *rest)
    for words, temporary, *rest in (
        (r"backoff time|throttled", True, "the server asks for a pause; poll less often if this recurs"),
        (
            r"authenticated but not connected",
            False,
            "the login is right but may not open this mailbox: grant it access and enable IMAP for the mailbox",
        ),
        (r"^got more than \d+ bytes", True, "the server sent a line without end; the next poll tries again"),
        (r"accesstokenexpired|session invalidated", True, "the next poll logs in with a new token"),
        (
            r"application-specific password|app password|web browser|web login|less secure|basic auth",
            False,
            "the provider takes no plain password: create an app password or use [mailbox.NAME.oauth2]",
        ),
        (
            r"\[limit\]|\[inuse\]|simultaneous connections|maximum number of connections|too many connections",
            True,
            "other programs hold its connections: close some, or poll less often",
        ),
        # Gmail's limit is counted over a day, and whoever goes on asking waits longer
        (r"\[overquota\]|bandwidth", True, "wait, and poll less often", 1800.0),
        (r"rate limit|too many (?:login|requests|failed)", True, "wait, and poll less often"),
        (
            r"\[unavailable\]|\[serverbug\]|temporar|try again|later|unavailable|server error|internal error"
            r"|system error|busy|shutting down|time-?out|timed out",
            True,
            "the server is in trouble; the next poll tries again",
        ),
        (
            r"\[privacyrequired\]|logindisabled|plaintext auth|starttls",
            False,
            'the server takes no password in clear text: set tls to "implicit" (port 993) or "starttls"',
        ),
        (
            r"\[authenticationfailed\]|\[authorizationfailed\]|\[expired\]|\[contactadmin\]|invalid credentials"
            r"|login failed|authenticate failed|authentication failed|incorrect (?:user|password)",
            False,
            "check username and password (or token) of this mailbox",
        ),
        (
            r"\[nonexistent\]|\[trycreate\]|does ?n[o']t exist|does not exist|unknown mailbox|no such|not found",
            False,
            "the folder is not there: create it or correct its name",
        ),
        (r"\[cannot\]|invalid mailbox name", False, "the server allows no folder of this name: choose another"),
        (
            r"not writable|read-only",
            False,
            'this login may only read the folder: give it the right to flag messages, or set after to "nothing"',
        ),
        (r"\[noperm\]|\[acl\]|permission|access denied|not allowed", False, "give this login the right to do so"),
    )
)
_BACKOFF = pattern(r"backoff time:?\s*(\d{1,9})\s*milliseconds")
_WRAPPING = pattern(r"^(?:command: \w+ => )+|\b[bB](['\"])(.*)\1", re.DOTALL)
_UNPRINTABLE = pattern(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ud800-\udfff]+")


def readable(text: object) -> str:
    """What a server or library said, fit for a terminal: unwrapped, one line, at most 300 characters."""
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    words = _WRAPPING.sub(lambda found: found[2] or "", words[:2000])
    return " ".join(_UNPRINTABLE.sub(" ", words).split())[:300].rstrip(".:")


def fault_of(text: str) -> Fault | None:
    """The known fault that ``text`` tells of."""
    words = text.lower()
    return next((fault for fault in _FAULTS if fault.pattern.search(words)), None)


def mailbox_error(
    where: str, doing: str, error: BaseException, *, said: str = "", permanent: bool = False
) -> MailboxError:
    """The error to raise when ``error`` came up while ``doing`` something with the mailbox called ``where``.

    ``said`` is what the server said beside it (BYE, a challenge). ``permanent`` says how to take a refusal whose wording
    is unknown.
    """
    text = " ".join(part for part in (readable(error) or type(error).__name__, readable(said)) if part)
    if isinstance(error, OSError):
        return _network_error(where, doing, error, text)
    if isinstance(error, MemoryError):
        return MailboxError(f"{where}: out of memory while {doing}: give it more, or lower batch sizes", temporary=True)
    fault = fault_of(text)
    lost = _is_abort(error) or _is_abort(error.__context__)  # IMAPClient's login makes one error of all
    if fault is None:
        remedy = "the next poll tries again" if lost or not permanent else "ask whoever runs the server"
        return MailboxError(f"{where}: {doing} failed: {text}: {remedy}", temporary=lost or not permanent)
    pause = _BACKOFF.search(text.lower())
    return MailboxError(
        f"{where}: {doing} failed: {text}: {fault.remedy}",
        temporary=fault.temporary or lost,
        retry_after=int(pause[1]) / 1000 if pause else fault.pause,
    )


def _is_abort(error: BaseException | None) -> bool:
    """Whether the connection broke; imaplib derives one error from that of broken connections which is none."""
    return isinstance(error, IMAP4.abort) and not isinstance(error, IMAP4.readonly)


def _network_error(where: str, doing: str, error: OSError, text: str) -> MailboxError:
    temporary, remedy = True, "the next poll tries again"
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message or text
        temporary = False
        remedy = "the certificate does not verify: use the name that it is made out to, or name its issuer in ca_file"
    elif isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        if "VERSION" in reason or "PROTOCOL" in reason or "HTTP_REQUEST" in reason:
            temporary = False
            remedy = "no TLS 1.2 or newer is spoken there: check port and tls (993 implicit, 143 starttls)"
    elif isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        temporary, remedy = False, "no such host: check host"
    elif isinstance(error, TimeoutError):
        text, remedy = "no answer in time", "check host, port and network; the next poll tries again"
    elif isinstance(error, ConnectionRefusedError):
        remedy = "nothing listens there: check host, port and whether the server runs; the next poll tries again"
    elif isinstance(error, FileNotFoundError | PermissionError):
        temporary, remedy = False, "check ca_file"
    return MailboxError(f"{where}: {doing} failed: {text}: {remedy}", temporary=temporary)

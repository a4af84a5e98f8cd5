"""XOAUTH2: access tokens from a command, and the answer that logs in with one.

A token is asked for at every login: a session outlives its token, a new login does not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from bounceparse.errors import MailboxError

_TIMEOUT = 60.0


def command_output(name: str, key: str, command: str | Sequence[str], *, timeout: float = _TIMEOUT) -> str:
    """The first line that ``command`` prints: a password or a token.

    A string is run by the shell, a list as it is. ``name`` and ``key`` are the mailbox and the setting, for messages to
    people; what the command prints on stderr goes there too. ``timeout`` is in seconds. Raises ``MailboxError``.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command
            command, shell=isinstance(command, str), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise MailboxError(
            f"mailbox {name}: {key} has not ended after {timeout:g} s: it may be waiting for a passphrase",
            temporary=True,
        ) from None
    except (OSError, ValueError) as error:
        raise MailboxError(f"mailbox {name}: {key} cannot be run: {error}: check the path") from None
    secret = done.stdout.decode("utf-8", "replace").partition("\n")[0].rstrip("\r")
    if done.returncode or not secret:
        told = f"ended with status {done.returncode}" if done.returncode else "printed nothing"
        raise MailboxError(f"mailbox {name}: {key} {told}: run it by hand as the user that polls")
    return secret


class Xoauth2:
    """The client's side of XOAUTH2, to be called with each challenge of the server.

    ``refusal`` is what the server said against the token (JSON), empty while it said nothing.
    """

    def __init__(self, username: str, token: str) -> None:
        self._answer = f"user={username}\1auth=Bearer {token}\1\1"
        self.refusal = ""

    def __call__(self, challenge: bytes) -> str:
        """The credentials to the first, empty challenge; an empty line to a refusal, which then ends in a NO."""
        if challenge:
            self.refusal = challenge.decode("utf-8", "replace")
            return ""
        return self._answer

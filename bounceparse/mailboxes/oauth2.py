"""Passwords and access tokens from a command, and the answers that log in with a token: XOAUTH2, OAUTHBEARER (RFC 7628).

A token is asked for at every login: a session outlives its token, a new login does not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Sequence

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


class BearerLogin:
    """The client's side of a login by token, to be called with each challenge of the server.

    ``mechanism`` is the first of those that we know among the server's ``capabilities``; ``refusal`` is what the server
    said against the token (JSON), empty while it said nothing.
    """

    def __init__(self, username: str, token: str, capabilities: Collection[bytes], host: str, port: int) -> None:
        self.refusal = ""
        if b"AUTH=OAUTHBEARER" in capabilities and b"AUTH=XOAUTH2" not in capabilities:
            self.mechanism = "OAUTHBEARER"
            name = username.replace("=", "=3D").replace(",", "=2C")
            self._answer = f"n,a={name},\1host={host}\1port={port}\1auth=Bearer {token}\1\1"
            self._goodbye = "\1"
        else:
            self.mechanism = "XOAUTH2"
            self._answer = f"user={username}\1auth=Bearer {token}\1\1"
            self._goodbye = ""

    def __call__(self, challenge: bytes) -> str:
        """The credentials to the first, empty challenge; to a refusal what makes the server end in a NO."""
        if challenge:
            self.refusal = challenge.decode("utf-8", "replace")
            return self._goodbye
        return self._answer

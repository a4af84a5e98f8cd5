"""Access tokens from an OAuth2 server: by refresh token (RFC 6749 section 6) or client credentials (section 4.4).

A token is asked for at every login, so none is kept: a session outlives its token, and what is revoked fails at once.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from bounceparse.errors import MailboxError
from bounceparse.mailboxes.faults import readable

if TYPE_CHECKING:
    from urllib.request import OpenerDirector

_TIMEOUT = 30.0
_MOST = 1 << 16  # bytes of an answer
# RFC 6749 section 5.2 -> what a person is to do
_REMEDIES = {
    "invalid_grant": "the refresh token has expired or was revoked: sign in again and write the new one to {file}",
    "invalid_client": "check client_id and client_secret: a secret may have expired",
    "unauthorized_client": "the application may not do this: check its permissions",
    "unsupported_grant_type": "check token_url, and whether refresh_token_file is meant",
    "invalid_scope": "check scope",
    "invalid_request": "check client_id, scope and token_url",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """Calling it asks the server for an access token; it raises ``MailboxError``.

    Attributes:
        name: the mailbox, for messages to people.
        token_url, client_id, scope: as the provider tells.
        client_secret: gives the secret of the application; None for one that has none.
        refresh_token_file: its first line is the refresh token; a new one that the server gives replaces it. None asks
            by client credentials.
    """

    name: str
    token_url: str
    client_id: str
    client_secret: Callable[[], str] | None = field(default=None, repr=False)
    scope: str | None = None
    refresh_token_file: Path | None = None

    def __call__(self) -> str:
        values = {"client_id": self.client_id}
        if self.client_secret is not None:
            values["client_secret"] = self.client_secret()
        if self.scope:
            values["scope"] = self.scope
        path = self.refresh_token_file
        if path is None:
            return self._access_token(self._ask({**values, "grant_type": "client_credentials"}))
        with self._locked(path):
            old = self._read(path)
            answer = self._ask({**values, "grant_type": "refresh_token", "refresh_token": old})
            new = answer.get("refresh_token")
            if isinstance(new, str) and new and new != old:
                self._replace(path, new)
        return self._access_token(answer)

    def _access_token(self, answer: Mapping[str, Any]) -> str:
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            raise self._error("the answer holds no access token: check token_url")
        return token

    def _ask(self, values: Mapping[str, str]) -> dict[str, Any]:
        """The server's answer to a request; a refusal is told with the remedy."""
        from urllib.error import HTTPError
        from urllib.request import Request

        request = Request(self.token_url, urlencode(values).encode(), {"Accept": "application/json"})  # noqa: S310
        try:
            with _opener().open(request, timeout=_TIMEOUT) as response:
                return self._read_json(response.read(_MOST))
        except HTTPError as error:
            with error:
                raise self._refusal(error.code, error.headers.get("Retry-After", ""), error.read(_MOST)) from None
        except (OSError, HTTPException) as error:
            raise self._error(f"{readable(error)}: the next poll tries again", temporary=True) from None

    def _read_json(self, body: bytes) -> dict[str, Any]:
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise self._error("the answer is no JSON object: check token_url")
        return answer

    def _refusal(self, status: int, wait: str, body: bytes) -> MailboxError:
        try:
            answer = self._read_json(body)
        except MailboxError:
            answer = {}
        if status == 429 or status >= 500:
            pause = float(wait) if wait.isascii() and wait.isdigit() else None
            return self._error(f"HTTP {status}: the next poll tries again", temporary=True, retry_after=pause)
        kind = readable(answer.get("error", f"HTTP {status}"))
        words = readable(answer.get("error_description", ""))
        remedy = _REMEDIES.get(kind, "check token_url").format(file=self.refresh_token_file or "refresh_token_file")
        return self._error(": ".join(part for part in (kind, words, remedy) if part))

    def _error(self, text: str, *, temporary: bool = False, retry_after: float | None = None) -> MailboxError:
        return MailboxError(
            f"mailbox {self.name}: asking {self.token_url} for a token failed: {text}",
            temporary=temporary,
            retry_after=retry_after,
        )

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        """One process at a time: a token that another one has just traded in is worth nothing."""
        try:
            descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._unusable(path, error) from None
        with os.fdopen(descriptor) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _read(self, path: Path) -> str:
        try:
            token = path.read_text("ascii").partition("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(path, error) from None
        if not token:
            raise self._error(f"{path}: its first line is empty: write the refresh token there")
        return token

    def _replace(self, path: Path, token: str) -> None:
        """Write beside, then rename: a crash leaves the old token or the new one."""
        beside = path.with_name(f"{path.name}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(f"{token}\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except (OSError, UnicodeEncodeError) as error:
            raise self._unusable(path, error) from None

    def _unusable(self, path: Path, error: Exception) -> MailboxError:
        why = error.strerror if isinstance(error, OSError) else "not ASCII"
        return MailboxError(
            f"mailbox {self.name}: refresh_token_file {path}: {why}: the user that polls must be able to read and"
            " replace it"
        )


def _opener() -> OpenerDirector:
    from urllib.request import HTTPRedirectHandler, build_opener

    class NoRedirect(HTTPRedirectHandler):
        """Secrets go to the server that was named and to no other."""

        def redirect_request(self, *_: Any) -> None:
            return None

    return build_opener(NoRedirect)

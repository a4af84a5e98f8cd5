"""Access tokens by a provider's own library, where a secret in a file does not do: Google's for a service account (RFC
7523), Microsoft's for an application with a certificate. Both are extras, imported when a token is asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bounceparse.errors import MailboxError
from bounceparse.mailboxes.faults import readable

GMAIL = "https://mail.google.com/"
_TIMEOUT = 30.0
_TOKEN_PATH = "/oauth2/v2.0/token"  # noqa: S105 - of Microsoft's token_url; what stands before it is the authority
_KEY = re.compile(r"-----BEGIN ([A-Z ]{0,20}PRIVATE KEY)-----[^-]+-----END \1-----")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")


def is_microsoft(token_url: str) -> bool:
    """Whether ``token_url`` is one that a certificate can be presented to."""
    return token_url.endswith(_TOKEN_PATH)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """Calling it asks Google for a token in the name of the mailbox's user; it raises ``MailboxError``.

    ``key_file`` is the JSON file of a service account that the domain lets act for its users (domain-wide delegation).
    """

    name: str
    username: str
    key_file: Path
    scope: str | None = None

    def __call__(self) -> str:
        try:
            from google.auth.exceptions import GoogleAuthError, TransportError
            from google.auth.transport.requests import Request
            from google.oauth2.service_account import Credentials
        except ImportError:
            raise _missing(self.name, "service_account_file", "google") from None
        try:
            credentials = Credentials.from_service_account_file(  # type: ignore[no-untyped-call,unused-ignore]
                str(self.key_file), scopes=[self.scope or GMAIL], subject=self.username
            )
            credentials.refresh(Request())
        except TransportError as error:
            raise _failed(self.name, f"{readable(error)}: the next poll tries again", temporary=True) from None
        except (OSError, ValueError) as error:
            raise _failed(self.name, f"service_account_file {self.key_file}: {readable(error)}") from None
        except GoogleAuthError as error:
            waits = bool(getattr(error, "retryable", False))
            remedy = (
                "the next poll tries again" if waits else f"may it act for {self.username} (domain-wide delegation)?"
            )
            raise _failed(self.name, f"{readable(error.args[0] if error.args else error)}: {remedy}", waits) from None
        return str(credentials.token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Calling it asks Microsoft for a token of the application; it raises ``MailboxError``.

    ``certificate_file`` is PEM and holds the private key and the certificate that is registered for ``client_id``.
    """

    name: str
    token_url: str
    client_id: str
    certificate_file: Path
    scope: str | None = None

    def __call__(self) -> str:
        try:
            from msal import ConfidentialClientApplication
            from requests import RequestException
        except ImportError:
            raise _missing(self.name, "certificate_file", "microsoft") from None
        key, certificate = self._read()
        try:
            application = ConfidentialClientApplication(
                self.client_id,
                {"private_key": key, "public_certificate": certificate},
                authority=self.token_url.removesuffix(_TOKEN_PATH),
                instance_discovery=False,  # the operator has named the server: nobody else is asked about it
                timeout=_TIMEOUT,
            )
            answer = application.acquire_token_for_client([self.scope or "https://outlook.office365.com/.default"])
        except RequestException as error:
            raise _failed(self.name, f"{readable(error)}: the next poll tries again", temporary=True) from None
        except ValueError as error:
            raise _failed(self.name, f"{readable(error)}: check token_url and {self.certificate_file}") from None
        if token := answer.get("access_token"):
            return str(token)
        told = ": ".join(readable(answer[key]) for key in ("error", "error_description") if answer.get(key))
        raise _failed(self.name, f"{told}: is the certificate registered for client_id, and not expired?")

    def _read(self) -> tuple[str, str]:
        try:
            text = self.certificate_file.read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise _failed(self.name, f"certificate_file {self.certificate_file}: {readable(error)}") from None
        key, certificate = _KEY.search(text), _CERTIFICATE.search(text)
        if key is None or certificate is None:
            raise _failed(
                self.name, f"{self.certificate_file}: write the private key and the certificate there, in PEM"
            )
        return key[0], certificate[0]


def _missing(name: str, setting: str, extra: str) -> MailboxError:
    return MailboxError(f"mailbox {name}: {setting} needs a library: pip install 'bounceparse[{extra}]'")


def _failed(name: str, text: str, temporary: bool = False) -> MailboxError:
    return MailboxError(f"mailbox {name}: asking for a token failed: {text}", temporary=temporary)

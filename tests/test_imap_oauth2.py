"""Tokens by refresh token and client credentials, against an OAuth2 server of ours and a Dovecot that asks it."""

from __future__ import annotations

import json
import ssl
import sys
import threading
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from bounces import dsns
from servers import USER, Dovecot, make_certificate, running_dovecot

from bounceparse.config import exposed_secrets, imap_accounts, load_settings
from bounceparse.errors import ConfigError, MailboxError
from bounceparse.mailboxes.imap import open_mailbox
from bounceparse.mailboxes.oauth2 import BearerLogin
from bounceparse.mailboxes.providers import Certificate, ServiceAccount
from bounceparse.mailboxes.tokens import TokenRequest


class Provider(ThreadingHTTPServer):
    """Gives tokens at ``/token``, each good for one login, and judges them at ``/`` as Dovecot asks."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.refresh_token = "refresh-1"  # the one that is good now
        self.good = ""
        self.asked: list[dict[str, str]] = []
        self.answer: tuple[int, bytes, dict[str, str]] | None = None  # instead of tokens
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"

    def token(self, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.asked.append(asked)
        given: dict[str, Any] = {}
        if "assertion" in asked or "client_assertion" in asked:  # who signs needs no secret
            pass
        elif asked["grant_type"] == "refresh_token":
            if asked["refresh_token"] != self.refresh_token:
                return 400, {"error": "invalid_grant", "error_description": "token was revoked"}
            self.refresh_token = f"refresh-{len(self.asked) + 1}"
            given = {"refresh_token": self.refresh_token}
        elif asked.get("client_secret") != "hush":
            return 401, {"error": "invalid_client"}
        self.good = f"access-{len(self.asked)}"
        return 200, {**given, "access_token": self.good, "token_type": "Bearer", "expires_in": 3600}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        asked = {name: values[0] for name, values in parse_qs(body).items()}
        headers: dict[str, str] = {}
        if not self.path.endswith("/token"):
            status, content = (
                200,
                json.dumps({"active": asked.get("token") == self.server.good, "username": USER}).encode(),
            )
        elif self.server.answer:
            status, content, headers = self.server.answer
        else:
            status, told = self.server.token(asked)
            content = json.dumps(told).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """OpenID Connect discovery, which msal begins with."""
        authority = f"https://localhost:{self.server.server_port}/tenant"
        found = {"issuer": f"{authority}/v2.0", "token_endpoint": f"{authority}/oauth2/v2.0/token", "authorization_endpoint": f"{authority}/x"}  # fmt: skip
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server
        server.shutdown()


def request(provider: Provider, **changes: Any) -> TokenRequest:
    return TokenRequest(**{"name": "bounces", "token_url": provider.url, "client_id": "our-app"} | changes)


def log_in(dovecot: Dovecot, token: Callable[[], str]) -> int:
    with open_mailbox(dovecot.account(password=None, token=token)) as mailbox:
        return len(mailbox.uids())


@pytest.mark.parametrize("mechanism", ["xoauth2", "oauthbearer"])
def test_each_login_trades_in_the_refresh_token_and_keeps_the_new_one(
    provider: Provider, tmp_path: Path, mechanism: str
) -> None:
    """By either mechanism; an access token is good for one login here, so one that was kept would be refused."""
    path = tmp_path / "token"
    path.write_text("refresh-1\n")
    path.chmod(0o600)
    ask = request(provider, refresh_token_file=path, scope="mail")
    with running_dovecot(introspection=provider.server_port, mechanisms=mechanism) as dovecot:
        dovecot.load(dsns(2))
        assert [log_in(dovecot, ask) for _ in range(2)] == [2, 2]
        assert path.read_text() == "refresh-3\n"
        assert path.stat().st_mode & 0o777 == 0o600
        path.write_text("refresh-1\n")  # an old one
        with pytest.raises(
            MailboxError, match="invalid_grant: token was revoked: the refresh token has expired"
        ) as caught:
            log_in(dovecot, ask)
    assert not caught.value.temporary
    assert str(path) in str(caught.value)
    assert "refresh-1" not in str(caught.value)
    assert provider.asked[0] == {
        "client_id": "our-app", "scope": "mail", "grant_type": "refresh_token", "refresh_token": "refresh-1",
    }  # fmt: skip


def test_client_credentials_log_in(provider: Provider) -> None:
    """A wrong secret needs a person, who is told which."""
    with running_dovecot(introspection=provider.server_port) as dovecot:
        dovecot.load(dsns(2))
        assert log_in(dovecot, request(provider, client_secret=lambda: "hush")) == 2
        with pytest.raises(MailboxError, match="check client_id and client_secret") as caught:
            log_in(dovecot, request(provider, client_secret=lambda: "wrong"))
    assert not caught.value.temporary
    assert provider.asked[0] == {"client_id": "our-app", "client_secret": "hush", "grant_type": "client_credentials"}


@pytest.mark.parametrize(
    ("answer", "temporary", "told"),
    [
        ((503, b"", {"Retry-After": "120"}), True, "HTTP 503"),
        ((429, b"{}", {}), True, "HTTP 429"),
        ((200, b"<html>", {}), False, "no JSON object"),
        ((200, b'{"access_token": 3}', {}), False, "no access token"),
        ((404, b"<html>", {}), False, "HTTP 404: check token_url"),
        ((302, b"", {"Location": "http://192.0.2.1/"}), False, "HTTP 302"),
        ((400, b'{"error": "invalid_scope\\u001b[31m"}', {}), False, "invalid_scope [31m"),
    ],
)
def test_a_provider_that_refuses_is_told_with_a_remedy(
    provider: Provider, answer: tuple[int, bytes, dict[str, str]], temporary: bool, told: str
) -> None:
    """No redirect is followed: the secret is for one server only."""
    provider.answer = answer
    with pytest.raises(MailboxError) as caught:
        request(provider, client_secret=lambda: "hush")()
    assert (caught.value.temporary, told in str(caught.value)) == (temporary, True)
    assert caught.value.retry_after == (120 if "Retry-After" in answer[2] else None)


def test_a_provider_that_is_down_is_temporary(provider: Provider) -> None:
    """Nobody listens."""
    provider.shutdown()
    provider.server_close()
    with pytest.raises(MailboxError, match="the next poll tries again") as caught:
        request(provider, client_secret=lambda: "hush")()
    assert caught.value.temporary


def test_a_refresh_token_is_traded_in_by_one_process_at_a_time(provider: Provider, tmp_path: Path) -> None:
    """Many at once: none presents a token that another has used up."""
    path = tmp_path / "token"
    path.write_text("refresh-1")
    failures: list[BaseException] = []

    def ask() -> None:
        try:
            request(provider, refresh_token_file=path)()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() == "refresh-9\n"


@pytest.mark.parametrize("content", [None, "", "\n", "zażółć"])
def test_a_refresh_token_file_that_cannot_be_used_is_named(
    provider: Provider, tmp_path: Path, content: str | None
) -> None:
    """Missing, empty, or no token."""
    path = tmp_path / "token"
    if content is not None:
        path.write_text(content)
    with pytest.raises(MailboxError, match=str(path)) as caught:
        request(provider, refresh_token_file=path)()
    assert not caught.value.temporary
    assert provider.asked == []


def test_a_name_cannot_break_out_of_its_field() -> None:
    """RFC 7628 section 3.1 and RFC 5801: commas and equals signs of the name are escaped."""
    login = BearerLogin("a,n=b", "t", (b"AUTH=OAUTHBEARER",), "imap.example.com", 993)
    assert login(b"").startswith("n,a=a=2Cn=3Db,\x01")
    assert (login(b'{"status":"401"}'), login.refusal) == ("\x01", '{"status":"401"}')


HEAD = '[mailbox.bounces]\nhost = "imap.example.com"\nusername = "u"\n[mailbox.bounces.oauth2]\n'


def configured(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "bounceparse.toml"
    path.write_text(HEAD + text)
    return load_settings(path)


def test_the_configuration_builds_the_request(tmp_path: Path) -> None:
    """Paths are beside the file; files that others may read are told of."""
    settings = configured(
        tmp_path,
        'token_url = "https://login.example.com/token"\nclient_id = "x"\nclient_secret_file = "secret"\n'
        'refresh_token_file = "refresh"\nscope = "mail"\n',
    )
    (tmp_path / "secret").write_text("hush\n")
    (tmp_path / "refresh").write_text("r\n")
    for name in ("secret", "refresh"):
        (tmp_path / name).chmod(0o644)
    (account,) = imap_accounts(settings)
    ask = account.token
    assert isinstance(ask, TokenRequest)
    assert (ask.client_id, ask.scope, ask.refresh_token_file) == ("x", "mail", tmp_path / "refresh")
    assert ask.client_secret is not None and ask.client_secret() == "hush"
    assert len(exposed_secrets(settings)) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "give token_command, or token_url"),
        ('token_command = "x"\ntoken_url = "https://a.example/"\n', "give token_command, or token_url"),
        ('token_command = "x"\nscope = "y"\n', "token_command stands alone"),
        ('token_url = "http://a.example/"\nclient_id = "x"\nclient_secret = "y"\n', "write https"),
        ('token_url = "https://a.example/"\nclient_secret = "y"\n', "needs client_id"),
        ('token_url = "https://a.example/"\nclient_id = "x"\n', "give refresh_token_file"),
        ('token_url = "https://a.example/"\nclient_id = "x"\nclient_secret = "y"\nclient_secret_file = "z"\n', "not both"),
        ('token_url = "https://a.example/"\nclient_id = "x"\ncertificate_file = "y"\n', "Microsoft's token_url"),
        ('token_url = "https://a.example/t/oauth2/v2.0/token"\nclient_id = "x"\ncertificate_file = "y"\nclient_secret = "z"\n', "stands for a secret"),
        ('service_account_file = "x"\nclient_id = "y"\n', "goes with scope only"),
    ],
)  # fmt: skip
def test_a_configuration_that_makes_no_sense_is_refused(tmp_path: Path, text: str, told: str) -> None:
    """With the key and the remedy."""
    with pytest.raises(ConfigError, match=told):
        configured(tmp_path, text)


# -- providers' own libraries


def claims(token: str) -> dict[str, Any]:
    """What a JSON Web Token says (RFC 7519), its signature not looked at."""
    part = token.split(".")[1]
    found = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    assert isinstance(found, dict)
    return found


def key_pair(tmp_path: Path) -> tuple[str, str]:
    """A private key and its certificate, PEM."""
    make_certificate(tmp_path)
    return (tmp_path / "server.key").read_text(), (tmp_path / "server.pem").read_text()


def test_a_google_service_account_logs_in_as_the_mailboxs_user(provider: Provider, tmp_path: Path) -> None:
    """By google-auth: a signed request in the user's name; a domain that has not allowed it needs a person."""
    pytest.importorskip("google.oauth2", reason="pip install 'bounceparse[google]'")
    path = tmp_path / "key.json"
    account = {
        "type": "service_account", "client_email": "reader@project.example", "private_key": key_pair(tmp_path)[0],
        "private_key_id": "1", "token_uri": provider.url,
    }  # fmt: skip
    path.write_text(json.dumps(account))
    ask = ServiceAccount(name="bounces", username=USER, key_file=path)
    with running_dovecot(introspection=provider.server_port) as dovecot:
        dovecot.load(dsns(2))
        assert log_in(dovecot, ask) == 2
    said = claims(provider.asked[0]["assertion"])
    assert (said["sub"], said["scope"]) == (USER, "https://mail.google.com/")
    provider.answer = (401, b'{"error": "unauthorized_client", "error_description": "not for this user"}', {})
    with pytest.raises(MailboxError, match=r"unauthorized_client.*may it act for") as caught:
        ask()
    assert not caught.value.temporary
    provider.shutdown()
    provider.server_close()
    with pytest.raises(MailboxError, match="the next poll tries again") as caught:
        ask()
    assert caught.value.temporary
    path.write_text("{}")
    with pytest.raises(MailboxError, match=r"service_account_file .*key\.json") as caught:
        ask()
    assert not caught.value.temporary


def test_a_certificate_logs_in_to_microsoft(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By msal: nobody but the server that is named is asked, over verified TLS, and no secret is sent."""
    pytest.importorskip("msal", reason="pip install 'bounceparse[microsoft]'")
    key, certificate = key_pair(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    provider.socket = context.wrap_socket(provider.socket, server_side=True)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "server.pem"))
    path = tmp_path / "app.pem"
    path.write_text(key + certificate)
    authority = f"https://localhost:{provider.server_port}/tenant"
    ask = Certificate(
        name="bounces", token_url=f"{authority}/oauth2/v2.0/token", client_id="our-app", certificate_file=path, scope="s/.default"
    )  # fmt: skip
    assert ask() == provider.good
    asked = provider.asked[0]
    assert (asked["grant_type"], asked["scope"], "client_secret" in asked) == (
        "client_credentials",
        "s/.default",
        False,
    )
    assert claims(asked["client_assertion"])["iss"] == "our-app"
    provider.answer = (401, b'{"error": "invalid_client", "error_description": "AADSTS700027"}', {})
    with pytest.raises(MailboxError, match="invalid_client: AADSTS700027: is the certificate registered") as caught:
        ask()
    assert not caught.value.temporary
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(MailboxError, match="CERTIFICATE_VERIFY_FAILED"):
        ask()
    path.write_text(certificate)
    with pytest.raises(MailboxError, match="write the private key and the certificate there"):
        ask()
    assert key.splitlines()[3] not in repr(ask)


@pytest.mark.parametrize(("extra", "module"), [("google", "google.oauth2.service_account"), ("microsoft", "msal")])
def test_a_library_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, extra: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    asks: dict[str, Callable[[], str]] = {
        "google": ServiceAccount(name="bounces", username=USER, key_file=Path("x")),
        "microsoft": Certificate(name="bounces", token_url="https://a.example/x", client_id="x", certificate_file=Path("x")),
    }  # fmt: skip
    with pytest.raises(MailboxError, match=rf"pip install 'bounceparse\[{extra}\]'"):
        asks[extra]()


def test_files_of_these_are_beside_the_configuration_and_looked_at(tmp_path: Path) -> None:
    settings = configured(tmp_path, 'service_account_file = "key.json"\n')
    (tmp_path / "key.json").write_text("{}")
    (tmp_path / "key.json").chmod(0o640)
    (account,) = imap_accounts(settings)
    assert account.token == ServiceAccount(name="bounces", username="u", key_file=tmp_path / "key.json")
    assert len(exposed_secrets(settings)) == 1

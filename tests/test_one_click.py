"""One-click unsubscription (RFC 8058), over WSGI, over TLS from a real client, and from the command line."""

from __future__ import annotations

import http.client
import io
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from servers import make_certificate

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.errors import ConfigError, StoreError
from bounceparse.outgoing import Outgoing, OutgoingHeaders, outgoing_headers, sign_message_id
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring, Purpose, Verdict, find_tokens, sign, verify
from bounceparse.web.one_click import OneClick, serve

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEYS = Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),))
OUTGOING = Outgoing(
    return_path="b+{token}@bounces.example",
    unsubscribe_address="unsubscribe+{token}@shop.example",
    unsubscribe_url="https://shop.example/unsubscribe/{token}",
    complaint_address="fbl@shop.example",
)
BODY = b"List-Unsubscribe=One-Click"
FORM = "application/x-www-form-urlencoded"
JAN = "jan@poczta.example"


@pytest.fixture
def database(database_url: str) -> Iterator[Store]:
    """A store with one message of a campaign to Jan, and one of another sender."""
    with Store(database_url, request_settings=RequestSettings(keyring=KEYS), clock=lambda: NOW) as store:
        store.record_sent("0@garden.example", JAN, stream="letters", sender="garden")
        yield store


def signed(store: Store, message_id: str = "1@shop.example", **columns: str) -> OutgoingHeaders:
    return store.sign(OUTGOING, message_id, JAN, **{"stream": "news", "sender": "shop", **columns})


def token_of(headers: OutgoingHeaders) -> str:
    return find_tokens(dict(headers.fields)["List-Unsubscribe"])[0]


class Answer:
    """What the application answered."""

    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.body = int(status[:3]), dict(headers), body


def ask(app: OneClick, method: str, path: str, body: bytes = b"", kind: str = FORM, **environ: str) -> Answer:
    """One request, as a WSGI server would hand it over."""
    got: list[Any] = []
    given: dict[str, Any] = {
        "REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": "", "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": kind, "wsgi.input": io.BytesIO(body), "REMOTE_ADDR": "192.0.2.1", **environ,
    }  # fmt: skip
    start: Callable[..., Any] = lambda status, headers, *_: got.append((status, headers))  # noqa: E731
    content = b"".join(app(given, start))
    return Answer(*got[0], content)


# The application


def test_rfc8058_3_2_a_post_unsubscribes_from_marketing_of_that_sender(database: Store) -> None:
    app = OneClick(database)
    answer = ask(app, "POST", f"/unsubscribe/{token_of(signed(database))}", BODY)
    assert answer.status == 200
    assert list(database.mailable([JAN], "news")) == []
    assert list(database.mailable([JAN], "letters")) == [JAN]
    (outcome,) = database.outcomes(status="unsubscribe")
    assert (outcome.outcome.reason, outcome.trust, outcome.matched_by, outcome.stream) == (
        "one-click",
        "verified",
        "token:unsubscribe",
        "news",
    )
    assert outcome.outcome.recipient == JAN


def test_a_list_that_is_named_is_the_only_one_left(database: Store) -> None:
    headers = signed(database, list_id="offers.shop.example")
    assert ask(OneClick(database), "POST", f"/u/{token_of(headers)}", BODY).status == 200
    assert not database.standing(JAN, "offers.shop.example").mailable
    assert database.standing(JAN, "tips.shop.example").mailable


def test_transactional_mail_goes_on(database: Store) -> None:
    signed(database, "2@shop.example", stream="orders", category="transactional")
    ask(OneClick(database), "POST", f"/u/{token_of(signed(database))}", BODY)
    assert list(database.mailable([JAN], "orders")) == [JAN]


def test_again_and_in_capitals_is_the_same(database: Store) -> None:
    app, token = OneClick(database), token_of(signed(database))
    for path in (f"/u/{token}", f"/u/{token.upper()}", f"/u/{token}"):
        assert ask(app, "POST", path, BODY).status == 200
    assert len(list(database.outcomes(status="unsubscribe"))) == 1
    assert app.counts == {"done": 3}


def test_who_comes_back_can_leave_again(database: Store) -> None:
    """What a person lifted never counts again, but a new request does."""
    app, token = OneClick(database), token_of(signed(database))
    ask(app, "POST", f"/u/{token}", BODY)
    assert database.lift(JAN, note="subscribed again") == 1
    assert list(database.mailable([JAN], "news")) == [JAN]
    later = Store(
        database._database.url.render_as_string(),
        request_settings=RequestSettings(keyring=KEYS),
        clock=lambda: NOW + timedelta(1),
    )
    assert ask(OneClick(later), "POST", f"/u/{token}", BODY).status == 200
    assert list(later.mailable([JAN], "news")) == []
    later.close()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_rfc8058_3_1_scanners_change_nothing(database: Store, method: str) -> None:
    """GET shows a page that asks, whose button posts the same body; it sets no cookie, redirects nowhere, runs nothing."""
    app = OneClick(database)
    answer = ask(app, method, f"/unsubscribe/{token_of(signed(database))}")
    assert answer.status == 200
    assert list(database.mailable([JAN], "news")) == [JAN]
    assert not {"Set-Cookie", "Location"} & set(answer.headers)
    if method == "HEAD":
        assert answer.body == b"" and int(answer.headers["Content-Length"]) > 0
    else:
        assert b'<form method="post">' in answer.body and b'name="List-Unsubscribe" value="One-Click"' in answer.body
        assert b"<script" not in answer.body


def test_the_page_speaks_the_readers_language(database: Store) -> None:
    path = f"/u/{token_of(signed(database))}"
    polish = ask(OneClick(database), "GET", path, HTTP_ACCEPT_LANGUAGE="pl-PL,pl;q=0.9,en;q=0.8")
    english = ask(OneClick(database), "GET", path, HTTP_ACCEPT_LANGUAGE="fr,*;q=0.5")
    assert "Wypisz" in polish.body.decode() and "Unsubscribe" in english.body.decode()


def multipart(value: str = "One-Click", name: str = "List-Unsubscribe", extra: str = "") -> tuple[bytes, str]:
    part = f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n{extra}--x--\r\n'
    return part.encode(), 'multipart/form-data; boundary="x"'


def test_rfc8058_3_2_both_encodings_of_a_form_are_taken(database: Store) -> None:
    body, kind = multipart()
    assert ask(OneClick(database), "POST", f"/u/{token_of(signed(database))}", body, kind).status == 200
    assert list(database.mailable([JAN], "news")) == []


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FORM),
        (b"List-Unsubscribe=one-click", FORM),
        (b"List-Unsubscribe=One-Click&x=1", FORM),
        (b"x" * 5000, FORM),
        (b'{"List-Unsubscribe": "One-Click"}', "application/json"),
        multipart("Two-Click"),
        multipart(name="Other"),
        multipart(extra='--x\r\nContent-Disposition: form-data; name="y"\r\n\r\n1\r\n'),
        (multipart()[0], "multipart/form-data"),
        (b"--\r\n\r\n", "multipart/form-data; boundary="),
    ],
)
def test_any_other_body_changes_nothing(database: Store, body: bytes, kind: str) -> None:
    app = OneClick(database)
    assert ask(app, "POST", f"/u/{token_of(signed(database))}", body, kind).status == 400
    assert list(database.mailable([JAN], "news")) == [JAN]
    assert app.counts == {"body": 1}


def test_a_wrong_length_is_answered(database: Store) -> None:
    for length in ("", "-1", "x", "99999999999"):
        answer = ask(OneClick(database), "POST", "/u/x", BODY, CONTENT_LENGTH=length)
        assert answer.status == 400


@pytest.mark.parametrize(
    ("make", "status", "verdict"),
    [
        (lambda token: token[:-2] + ("aa" if token[-2:] != "aa" else "bb"), 404, "bad-mac"),
        (lambda token: sign(KEYS, Purpose.FEEDBACK, 1), 404, "bad-mac"),
        (lambda token: sign(Keyring((Key(9, b"x" * 32, NOW.date()),)), Purpose.UNSUBSCRIBE, 1), 404, "unknown-key"),
        (lambda token: sign(KEYS, Purpose.UNSUBSCRIBE, 1), 404, "unknown-id"),
        (lambda token: sign(KEYS, Purpose.UNSUBSCRIBE, 1, expires=date(2026, 1, 1)), 410, "expired"),
        (lambda token: "", 404, "unsigned"),
        (lambda token: "%2e%2e", 404, "unsigned"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_tokens_get_a_plain_refusal_and_are_counted(
    database: Store, make: Callable[[str], str], status: int, verdict: str, method: str
) -> None:
    refused: list[tuple[str, str]] = []
    app = OneClick(database, lambda *told: refused.append(told))
    answer = ask(app, method, f"/u/{make(token_of(signed(database)))}", BODY)
    assert (answer.status, app.counts, refused) == (status, {verdict: 1}, [(verdict, "192.0.2.1")])
    assert b"<form" not in answer.body
    assert list(database.mailable([JAN], "news")) == [JAN]


def test_other_methods_are_not_taken(database: Store) -> None:
    answer = ask(OneClick(database), "DELETE", f"/u/{token_of(signed(database))}")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")


def test_a_database_that_does_not_answer_asks_to_come_back() -> None:
    class Broken:
        def check_token(self, token: str) -> Verdict:
            raise StoreError("locked", temporary=True)

        unsubscribe = check_token

    app = OneClick(Broken())
    answer = ask(app, "POST", f"/u/{'a' * 29}", BODY)
    assert (answer.status, answer.headers["Retry-After"], app.counts) == (503, "300", {"later": 1})


# Beside another writer


def test_an_answer_waits_for_no_other_writer_and_is_kept(database: Store) -> None:
    """While a poll writes, the request is answered and on disk; it acts as soon as the poll is done."""
    token = token_of(signed(database))
    with database._database.write():
        assert ask(OneClick(database), "POST", f"/u/{token}", BODY).status == 200
        assert [click.token for click in database._clicks.waiting()] == [token]
        assert list(database.mailable([JAN], "news")) == [JAN]
    database.close()  # waits for what is under way
    assert list(database.mailable([JAN], "news")) == []
    assert database._clicks.waiting() == []


def test_what_a_killed_server_answered_is_recorded_by_the_next_poll(database_url: str) -> None:
    """kill -9 right after the answer: the process that recorded in the background is gone, the request is not."""
    program = (
        "import os, sys\nfrom datetime import date\nfrom bounceparse.db import Store\nfrom bounceparse.requests import RequestSettings\n"
        "from bounceparse.verp import Key, Keyring\n"
        "keys = Keyring((Key(1, b'k' * 32, date(2026, 1, 1)),))\n"
        "with Store(sys.argv[1], request_settings=RequestSettings(keyring=keys)) as store, store._database.write():\n"
        "    print(store.unsubscribe(sys.argv[2]).value, flush=True)\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    with Store(database_url, request_settings=RequestSettings(keyring=KEYS), clock=lambda: NOW) as store:
        token = token_of(signed(store))
        killed = subprocess.run([sys.executable, "-c", program, database_url, token], capture_output=True, text=True)
        assert (killed.stdout.strip(), killed.returncode) == ("valid", -9)
        assert list(store.mailable([JAN], "news")) == [JAN]
        store.settle()
        assert list(store.mailable([JAN], "news")) == []
        store.settle()
        assert len(list(store.outcomes(status="unsubscribe"))) == 1


# Over the wire


def post(port: int, path: str, ca_file: Path, body: bytes = BODY, method: str = "POST") -> tuple[int, bytes]:
    """A request of a real HTTPS client that checks the certificate."""
    client = http.client.HTTPSConnection(
        "localhost", port, timeout=30, context=ssl.create_default_context(cafile=str(ca_file))
    )
    client.request(method, path, body, {"Content-Type": FORM})
    response = client.getresponse()
    return response.status, response.read()


def test_a_real_client_over_tls(database: Store, tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "server.key")
    path = f"/unsubscribe/{token_of(signed(database))}"
    app = OneClick(database)
    with serve(app, "localhost", 0, context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            port = server.server_port
            assert post(port, path, certificate, b"", "GET")[0] == 200
            assert list(database.mailable([JAN], "news")) == [JAN]
            assert post(port, path, certificate)[0] == 200
            assert post(port, path, certificate, b"x=1")[0] == 400
            with pytest.raises((http.client.HTTPException, OSError)):
                plain = http.client.HTTPConnection("localhost", port, timeout=5)
                plain.request("GET", path)
                plain.getresponse()
        finally:
            server.shutdown()
            thread.join()
    assert list(database.mailable([JAN], "news")) == []


def test_the_command_serves_over_tls(empty_url: str, tmp_path: Path) -> None:
    """From an empty folder: keys, headers, serve, a POST over TLS, the card."""
    certificate = make_certificate(tmp_path)
    config = tmp_path / "bounceparse.toml"
    config.write_text(
        f'[database]\nurl = "{empty_url}"\n[signing]\nkey_file = "k"\nunsubscribe_url = "{OUTGOING.unsubscribe_url}"\n'
    )
    run = lambda *words: CliRunner().invoke(main, ["--config", str(config), *words], catch_exceptions=False)  # noqa: E731
    assert run("keys", "new").exit_code == run("db", "upgrade").exit_code == 0
    printed = run("headers", "--message-id", "<1@shop.example>", "--recipient", JAN, "--stream", "news").output
    (token,) = find_tokens(printed)
    command = [
        sys.executable,
        "-m",
        "bounceparse",
        "--config",
        str(config),
        "serve",
        "--one-click",
        "--host",
        "localhost",
        "--port",
        "0",
    ]
    server = subprocess.Popen(
        [*command, "--certificate", str(certificate), "--key", str(tmp_path / "server.key")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert server.stdout
        port = int(server.stdout.readline().rstrip("/\n").rpartition(":")[2])
        assert post(port, f"/unsubscribe/{token}", certificate)[0] == 200
        assert post(port, "/unsubscribe/nobody", certificate)[0] == 404
    finally:
        server.terminate()
        output, errors = server.communicate(timeout=30)
    assert "1 done" in output and "refused" in errors and "unsigned" in errors
    assert token not in output + errors
    with Store(empty_url) as store:
        assert list(store.mailable([JAN], "news")) == []


@pytest.mark.parametrize(("words", "remedy"), [(["serve"], "db upgrade"), (["serve", "--one-click"], "keys new")])
def test_the_command_says_what_is_missing(tmp_path: Path, words: list[str], remedy: str) -> None:
    config = tmp_path / "bounceparse.toml"
    config.write_text('[database]\nurl = "sqlite:///b.db"\n')
    result = CliRunner().invoke(main, ["--config", str(config), *words])
    assert result.exit_code == 1
    assert remedy in result.output


# What outgoing mail carries


def test_rfc8058_3_and_rfc9477_headers_of_an_outgoing_message() -> None:
    made = outgoing_headers(KEYS, OUTGOING, 4711, NOW.date())
    fields = dict(made.fields)
    assert list(fields) == ["List-Unsubscribe", "List-Unsubscribe-Post", "CFBL-Address", "CFBL-Feedback-ID"]
    (token,) = set(find_tokens(fields["List-Unsubscribe"]))
    assert (
        fields["List-Unsubscribe"]
        == f"<https://shop.example/unsubscribe/{token}>, <mailto:unsubscribe+{token}@shop.example?subject=unsubscribe>"
    )
    assert fields["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert fields["CFBL-Address"] == "fbl@shop.example; report=arf"
    today = NOW.date()
    assert verify(KEYS, Purpose.UNSUBSCRIBE, token, today=date(2100, 1, 1)).token_id == 4711
    assert verify(KEYS, Purpose.FEEDBACK, fields["CFBL-Feedback-ID"], today=today).token_id == 4711
    assert made.return_path is not None
    local, _, domain = made.return_path.partition("@")
    reading = verify(KEYS, Purpose.RETURN_PATH, find_tokens(local)[0], domain, today=today)
    assert (reading.verdict, reading.token_id, reading.expires) == (Verdict.VALID, 4711, today + timedelta(30))
    assert JAN not in str(made)


def test_what_is_not_configured_is_left_out() -> None:
    """An envelope id is always there: it needs no address of ours."""
    made = outgoing_headers(KEYS, Outgoing(), 1, NOW.date())
    assert made == OutgoingHeaders(None, (), None, made.envelope_id)
    mailto = outgoing_headers(KEYS, Outgoing(unsubscribe_address="u+{token}@shop.example"), 1, NOW.date())
    assert [name for name, _ in mailto.fields] == ["List-Unsubscribe"]


def test_a_signed_message_id_proves_itself() -> None:
    left, _, right = sign_message_id(KEYS, 7, "Shop.Example").partition("@")
    assert verify(KEYS, Purpose.MESSAGE_ID, left, right, today=NOW.date()).token_id == 7


@pytest.mark.parametrize(
    "values",
    [
        {"return_path": "b@bounces.example"},
        {"return_path": "{token}{token}@bounces.example"},
        {"return_path": "b@{token}.example"},
        {"return_path": "x" * 40 + "{token}@bounces.example"},
        {"return_path": "b+{token}@bounces.example\nBcc: x@x.example"},
        {"unsubscribe_address": "u+{token}"},
        {"unsubscribe_url": "http://shop.example/{token}"},
        {"unsubscribe_url": "https://shop.example/"},
        {"unsubscribe_url": "https://shop.example/{token}>"},
        {"complaint_address": "fbl"},
    ],
)
def test_a_template_that_cannot_work_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(values))):
        Outgoing(**values)  # type: ignore[arg-type]


def test_the_same_message_again_has_the_same_token(database: Store) -> None:
    assert token_of(signed(database)) == token_of(signed(database))
    assert token_of(signed(database)) != token_of(signed(database, "2@shop.example"))


def test_headers_need_something_to_sign(tmp_path: Path) -> None:
    config = tmp_path / "bounceparse.toml"
    config.write_text('[database]\nurl = "sqlite:///b.db"\n')
    result = CliRunner().invoke(main, ["--config", str(config), "headers", "--message-id", "1@x", "--recipient", JAN])
    assert result.exit_code == 1 and "return_path" in result.output

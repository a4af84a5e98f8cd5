"""The API: over a real socket from a real client, against its own OpenAPI document, for several tenants."""

from __future__ import annotations

import csv
import io
import json
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
import schemathesis
import uvicorn
from bounces import dsn
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import positive_data_acceptance
from servers import make_certificate

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.errors import ConfigError
from bounceparse.outgoing import Outgoing
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring, find_tokens
from bounceparse.web.app import WebSettings, create_app
from bounceparse.web.guard import LARGEST, Buckets
from bounceparse.web.one_click import OneClick

KEYS = Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),))
WEB = WebSettings()
ALL = ("read", "write", "ingest")
MAIL = {"Content-Type": "message/rfc822"}
JSON = {"Content-Type": "application/json"}
SHOP, GARDEN = "user1@example.pl", "user2@example.pl"


@pytest.fixture
def database(database_url: str) -> Iterator[Store]:
    """One message of the shop's that bounced, and one of the garden's that bounced."""
    with Store(database_url, request_settings=RequestSettings(keyring=KEYS)) as store:
        store.record_sent("1@shop.example", SHOP, stream="news", sender="shop", customer="4711", subject="Hello")
        store.record_sent("2@shop.example", GARDEN, stream="letters", sender="garden", customer="4711")
        store.ingest(dsn(1))
        store.ingest(dsn(2))
        yield store


@contextmanager
def serving(store: Store, web: WebSettings = WEB) -> Iterator[str]:
    """A real server on a real port; gives its URL."""
    server = uvicorn.Server(uvicorn.Config(create_app(store, web), log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def client_of(store: Store, url: str, *scopes: str, sender: str | None = None, name: str = "t") -> httpx.Client:
    token = store.make_api_token(name, scopes or ALL, sender=sender)
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False)


@pytest.fixture
def api(database: Store) -> Iterator[httpx.Client]:
    """A client with all scopes, of a server over ``database``."""
    with serving(database) as url, client_of(database, url, name="all") as client:
        yield client


# Who may come in


def test_no_token_no_answer(api: httpx.Client) -> None:
    """Nothing is told without a token: neither paths that are there nor those that are not."""
    for path in ("/v1/addresses?address=a@example.pl", "/v1/openapi.json", "/metrics", "/", "/nothing"):
        for headers in ({}, {"Authorization": "Bearer bp_" + "A" * 43}, {"Authorization": b"Bearer \xff"}):
            answer = httpx.get(api.base_url.join(path), headers=headers, trust_env=False)
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_scope_that_the_token_lacks_is_refused(database: Store) -> None:
    with serving(database) as url:
        reader, writer = client_of(database, url, "read", name="r"), client_of(database, url, "write", name="w")
        with reader, writer:
            assert reader.get("/v1/stats").status_code == 200
            assert reader.post("/v1/addresses/suppress", json={"address": SHOP}).status_code == 403
            assert reader.post("/v1/ingest", content=dsn(3), headers=MAIL).status_code == 403
            assert writer.get("/v1/stats").status_code == 403


def test_a_revoked_token_is_worth_nothing_at_once(api: httpx.Client, database: Store) -> None:
    assert api.get("/v1/health").status_code == 200
    database.revoke_api_token("all")
    assert api.get("/v1/health").status_code == 401


def test_the_database_holds_no_token(database: Store) -> None:
    token = database.make_api_token("x", ("read",))
    assert database.check_api_token(token) is not None
    assert token not in repr(database.api_tokens())
    assert [one.used_at is not None for one in database.api_tokens()] == [True]
    with pytest.raises(ConfigError, match="already"):
        database.make_api_token("x", ("read",))
    with pytest.raises(ConfigError, match="ingest"):
        database.make_api_token("y", ("ingest",), sender="shop")


def test_too_many_requests_are_told_when_to_come_again(database: Store) -> None:
    with serving(database, WebSettings(rate=0.01, burst=2)) as url, client_of(database, url) as client:
        answers = [client.get("/v1/health") for _ in range(3)]
        assert [one.status_code for one in answers] == [200, 200, 429]
        assert 1 <= int(answers[2].headers["retry-after"]) <= 100
        with client_of(database, url, name="other") as other:
            assert other.get("/v1/health").status_code == 200


def test_a_bucket_fills_again() -> None:
    now = 0.0
    buckets = Buckets(2, 1, clock=lambda: now)
    assert buckets.take(1) == 0
    assert buckets.take(1) == 0.5
    now = 0.5
    assert buckets.take(1) == 0


def test_a_body_that_is_too_large_is_refused_told_or_not(api: httpx.Client) -> None:
    assert api.post("/v1/addresses/lift", content=b"x" * (LARGEST + 1)).status_code == 413
    chunks = (b"x" * 65536 for _ in range(LARGEST // 65536 + 1))  # no Content-Length
    assert api.post("/v1/addresses/lift", content=chunks).status_code == 413


# What it answers


def test_a_raw_message_is_recorded_once(api: httpx.Client, database: Store) -> None:
    database.record_sent("3@shop.example", "user3@example.pl", stream="news")
    assert api.post("/v1/ingest", content=dsn(3), headers=MAIL).json()["new_outcomes"] == 1
    assert api.post("/v1/ingest", content=dsn(3), headers=MAIL).json()["new_outcomes"] == 0
    told = api.get("/v1/addresses", params={"address": "USER3@example.pl"}).json()
    assert (told["mailable"], told["reason"]) == (False, "user-unknown")
    assert told["evidence"]["message_id"] == "<3@shop.example>" or told["evidence"]["message_id"] == "3@shop.example"
    assert api.post("/v1/ingest", content=b"", headers=MAIL).status_code == 422
    assert api.post("/v1/ingest", content=b"x", headers={"Content-Type": "text/html"}).status_code == 415


def test_the_trail_of_a_message(api: httpx.Client) -> None:
    for spelling in ("1@shop.example", "<1@SHOP.example>"):
        told = api.get("/v1/messages", params={"message_id": spelling}).json()
        assert [(one["recipient"], one["status"]) for one in told["sent"]] == [(SHOP, "hardbounce")]
        assert [one["reason"] for one in told["outcomes"]] == ["user-unknown"]
    assert api.get("/v1/messages", params={"message_id": "9@shop.example"}).status_code == 404


def test_outcomes_page_by_cursor_and_come_as_json_lines_and_csv(api: httpx.Client) -> None:
    first = api.get("/v1/outcomes", params={"limit": 1}).json()
    second = api.get("/v1/outcomes", params={"limit": 1, "after": first["next"]}).json()
    last = api.get("/v1/outcomes", params={"limit": 1, "after": second["next"]}).json()
    paged = [one["recipient"] for page in (first, second, last) for one in page["outcomes"]]
    assert paged == [SHOP, GARDEN]
    assert (last["more"], last["next"]) == (False, second["next"])
    lines = api.get("/v1/outcomes", params={"format": "jsonl"}).text.splitlines()
    assert [json.loads(line)["recipient"] for line in lines] == paged
    rows = list(csv.DictReader(io.StringIO(api.get("/v1/outcomes", params={"format": "csv"}).text)))
    assert [row["recipient"] for row in rows] == paged
    filtered = api.get("/v1/outcomes", params={"stream": "letters", "status": "hardbounce"}).json()["outcomes"]
    assert [one["recipient"] for one in filtered] == [GARDEN]
    assert not api.get("/v1/outcomes", params={"since": "2999-01-01T00:00:00Z"}).json()["outcomes"]


def test_suppress_and_lift_are_in_the_audit_trail(api: httpx.Client, database: Store) -> None:
    jan = "jan@example.pl"
    assert api.post("/v1/addresses/suppress", json={"address": jan, "note": "by phone"}).json() == {"changed": 1}
    assert not database.standing(jan).mailable
    assert api.post("/v1/addresses/lift", json={"address": jan}).json() == {"changed": 1}
    assert database.standing(jan).mailable
    assert [(one.actor, one.action) for one in database.audit(jan)] == [
        ("token all", "suppress"),
        ("token all", "lift"),
    ]


def test_the_card_of_a_customer(api: httpx.Client) -> None:
    card = api.get("/v1/customers", params={"customer": "4711"}).json()
    assert sorted(one["address"] for one in card["addresses"]) == [SHOP, GARDEN]
    assert card["alert"]
    assert api.post("/v1/customers/lift", json={"customer": "4711"}).json() == {"changed": 2}
    assert api.post("/v1/customers/lift", json={"customer": "none"}).status_code == 404


def test_suppressions_are_imported_exported_and_checked(api: httpx.Client) -> None:
    listed = "address,scope\na@example.pl,all\n@b.example,marketing:shop\nno address,all\n"
    told = api.post("/v1/suppressions/import", content=listed, headers={"Content-Type": "text/csv"}).json()
    assert (told["suppressed"], [one["line"] for one in told["refused"]]) == (2, [4])
    again = api.get("/v1/suppressions", params={"format": "csv"}).text
    assert "@b.example,marketing:shop," in again
    lines = api.get("/v1/suppressions", params={"format": "jsonl"}).content + rb'{"address": "\ud800"}'
    headers = {"Content-Type": "application/x-ndjson"}
    assert api.post("/v1/suppressions/import", content=lines, headers=headers).json()["refused"][0]["line"] == 5
    page = api.get("/v1/suppressions", params={"limit": 2}).json()
    assert len(page["suppressions"]) == 2
    assert page["next"]
    asked = {"addresses": ["A@example.pl", "c@example.pl"], "stream": "news"}
    assert api.post("/v1/suppressions/check", json=asked).json() == {
        "mailable": ["c@example.pl"],
        "suppressed": ["A@example.pl"],
    }


def test_streams_stop_and_go_on(api: httpx.Client, database: Store) -> None:
    wanted = {"stream": "news", "note": "complaints"}
    assert api.post("/v1/streams/stop", json=wanted).json()["may_send"] is False
    assert not database.may_send("news")
    assert api.post("/v1/streams/stop", json=wanted).status_code == 409
    assert api.get("/v1/health").json()["level"] == "stop"
    assert api.post("/v1/streams/release", json=wanted).json()["may_send"] is True
    assert api.post("/v1/streams/stop", json={"stream": "nothing", "note": "x"}).status_code == 404


def test_stats_and_metrics(api: httpx.Client) -> None:
    rows = api.get("/v1/stats", params={"by": "reason"}).json()
    assert [(one["group"], one["total"]) for one in rows] == [("user-unknown", 2)]
    assert {one["group"] for one in api.get("/v1/stats", params={"by": "stream"}).json()} == {"news", "letters"}
    assert "bounceparse_" in api.get("/metrics").text


def test_errors_are_problem_documents(api: httpx.Client) -> None:
    for answer, status in (
        (api.get("/v1/nothing"), 404),
        (api.put("/v1/stats"), 405),
        (api.get("/v1/outcomes", params={"limit": "many"}), 422),
        (api.get("/v1/outcomes", params={"since": "0001-01-01T00:00:00+14:00"}), 422),
        (api.post("/v1/addresses/lift", content=b"{", headers=JSON), 422),
        (api.post("/v1/addresses/lift", content=rb'{"address": "\ud800@example.pl"}', headers=JSON), 422),
    ):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status


# Tenants


def test_a_tenant_sees_and_touches_its_own_alone(database: Store) -> None:
    """The garden's token, at every path, beside the shop's data under the same customer number."""
    with serving(database) as url, client_of(database, url, "read", "write", sender="garden") as garden:
        told = [one["recipient"] for one in garden.get("/v1/outcomes").json()["outcomes"]]
        assert told == [GARDEN]
        assert garden.get("/v1/messages", params={"message_id": "1@shop.example"}).status_code == 404
        card = garden.get("/v1/customers", params={"customer": "4711"}).json()
        assert [one["address"] for one in card["addresses"]] == [GARDEN]
        assert [one["recipient"] for one in card["sent"] + card["outcomes"]] == [GARDEN, GARDEN]
        past = garden.get("/v1/addresses/history", params={"address": SHOP}).json()
        assert past == {"address": SHOP, "sent": [], "outcomes": []}
        standing = garden.get("/v1/addresses", params={"address": SHOP}).json()
        assert (standing["mailable"], standing["evidence"]) == (False, None)
        assert [one["name"] for one in garden.get("/v1/streams").json()] == ["letters"]
        assert [one["total"] for one in garden.get("/v1/stats").json()] == [1]
        assert garden.get("/metrics").status_code == 403
        for path in ("/v1/streams/stop", "/v1/streams/release"):
            assert garden.post(path, json={"stream": "news", "note": "x"}).status_code == 404
        asked = {"addresses": [SHOP], "stream": "news"}
        assert garden.post("/v1/suppressions/check", json=asked).status_code == 404


def test_a_tenant_suppresses_and_lifts_in_its_own_scopes(database: Store) -> None:
    jan = "jan@example.pl"
    database.suppress(jan, scope="marketing:shop")
    database.suppress(SHOP)
    with serving(database) as url, client_of(database, url, "read", "write", sender="garden") as garden:
        assert garden.get("/v1/addresses", params={"address": jan}).json()["suppressions"] == []
        assert garden.post("/v1/addresses/lift", json={"address": SHOP}).json() == {"changed": 0}
        for scope in ("all", "marketing:shop", "list:x"):
            for path in ("suppress", "lift"):
                wanted = {"address": jan, "scope": scope}
                assert garden.post(f"/v1/addresses/{path}", json=wanted).status_code == 403
        assert garden.post("/v1/addresses/suppress", json={"address": jan}).status_code == 200
        listed = garden.get("/v1/suppressions").json()["suppressions"]
        assert [(one["subject"], one["scope"]) for one in listed] == [(jan, "sender:garden")]
        told = garden.post("/v1/suppressions/import", content="a@example.pl\n", headers={"Content-Type": "text/csv"})
        assert told.json()["suppressed"] == 1
        assert garden.post("/v1/addresses/lift", json={"address": jan}).json() == {"changed": 1}
    assert {one.scope for one in database.standing(jan).suppressions} == {"marketing:shop"}


# One-click, the document, the command


def test_one_click_requests_are_answered_on_the_same_port(database: Store) -> None:
    outgoing = Outgoing(unsubscribe_url="https://shop.example/out/{token}")
    headers = database.sign(outgoing, "5@shop.example", "jan@example.pl", stream="news", sender="shop")
    token = find_tokens(dict(headers.fields)["List-Unsubscribe"])[0]
    web = WebSettings(one_click=OneClick(database), one_click_path="/out")
    with serving(database, web) as url, httpx.Client(base_url=url, trust_env=False) as client:
        assert client.get(f"/out/{token}").status_code == 200
        assert database.standing("jan@example.pl", "x").mailable
        answer = client.post(f"/out/{token}", data={"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert answer.headers["content-security-policy"]
        assert client.post("/out/forged", data={"List-Unsubscribe": "One-Click"}).status_code == 404
        assert client.get("/outside").status_code == 401
    scopes = [one.scope for one in database.standing("jan@example.pl").suppressions]
    assert scopes == ["marketing:shop"]


@schemathesis.serializer("message/rfc822")
def _as_mail(ctx: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@schemathesis.serializer("text/csv", "application/x-ndjson")
def _as_list(ctx: object, value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


def test_it_answers_as_its_openapi_document_says(database: Store) -> None:
    """Generated requests, good and bad, to every operation: each answer is one that the document describes."""
    token = database.make_api_token("all", ALL)
    headers = {"Authorization": f"Bearer {token}"}
    app = create_app(database, WebSettings(rate=100_000, burst=100_000))
    schema = schemathesis.openapi.from_asgi("/v1/openapi.json", app, headers=headers)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 19
    for operation in operations:
        _try(operation, headers)


def _try(operation: schemathesis.schemas.APIOperation, headers: dict[str, str]) -> None:
    # Whatever minLength says, empty bodies are generated as binary data; they are refused on purpose.
    excluded = [positive_data_acceptance] if operation.path == "/v1/ingest" else []

    @settings(max_examples=10, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        case.call_and_validate(headers=headers, excluded_checks=excluded)

    check()


@pytest.fixture
def config(tmp_path: Path, database_url: str) -> str:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n')
    return str(path)


def run(config: str, *words: str):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(main, ["--config", config, *words])


def test_tokens_are_made_listed_and_revoked_by_command(config: str) -> None:
    made = run(config, "tokens", "new", "shop", "--scope", "read", "--scope", "write", "--sender", "shop")
    assert made.exit_code == 0
    token = made.stdout.strip()
    assert token.startswith("bp_")
    listed = run(config, "tokens", "list", "--json").stdout
    assert token not in listed
    row = json.loads(listed)
    assert (row["name"], row["scopes"], row["sender"], row["revoked_at"]) == ("shop", ["read", "write"], "shop", None)
    assert run(config, "tokens", "revoke", "shop").exit_code == 0
    assert run(config, "tokens", "revoke", "shop").exit_code == 1
    assert json.loads(run(config, "tokens", "list", "--json").stdout)["revoked_at"]


def test_serve_refuses_an_open_address_without_tls(config: str) -> None:
    refused = run(config, "serve", "--host", "0.0.0.0", "--port", "0")
    assert refused.exit_code == 1
    assert "--behind-proxy" in refused.stderr


def test_the_command_serves_and_ends_when_told(config: str) -> None:
    token = run(config, "tokens", "new", "t").stdout.strip()
    command = [sys.executable, "-m", "bounceparse", "--config", config, "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().removeprefix("listening on ").strip()
        answer = httpx.get(f"{url}v1/health", headers={"Authorization": f"Bearer {token}"}, trust_env=False, timeout=60)
        process.terminate()
        assert process.wait(timedelta(minutes=1).total_seconds()) == 0
    assert answer.json()["level"] == "ok"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("tls", [False, True])
def test_the_command_speaks_tls_and_ipv6(config: str, tmp_path: Path, host: str, tls: bool) -> None:
    """With a certificate by itself, also on an address beside loopback."""
    token = run(config, "tokens", "new", "t").stdout.strip()
    certificate = make_certificate(tmp_path)
    words = ["--certificate", str(certificate), "--key", str(certificate.with_suffix(".key"))] if tls else []
    given = {"127.0.0.1": "0.0.0.0", "::1": "::"}[host] if tls else host
    command = [sys.executable, "-m", "bounceparse", "--config", config, "serve", "--port", "0", "--host", given, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().rstrip("/\n").rpartition(":")[2]
            path = f"://{f'[{host}]' if ':' in host else host}:{port}/v1/health"
            context = ssl.create_default_context(cafile=certificate)
            with httpx.Client(verify=context, trust_env=False, timeout=60) as client:
                as_named = {
                    "headers": {"Authorization": f"Bearer {token}"},
                    "extensions": {"sni_hostname": "localhost"},
                }
                answer = client.get(("https" if tls else "http") + path, **as_named)
                with pytest.raises(httpx.HTTPError):
                    client.get(("http" if tls else "https") + path, **as_named)
        finally:
            process.terminate()
        assert process.wait(60) == 0
    assert answer.json()["level"] == "ok"


@pytest.mark.parametrize("missing", ["fastapi", "uvicorn", "jinja2"])
def test_without_its_extra_the_command_says_which(config: str, missing: str) -> None:
    code = f"import sys; sys.modules['{missing}'] = None; from bounceparse.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--config", config, "serve", "--port", "0"]
    refused = subprocess.run(command, capture_output=True, timeout=120, check=False)
    assert refused.returncode == 1
    assert refused.stderr.count(b"\n") == 1
    assert b"pip install 'bounceparse[web]'" in refused.stderr


def test_the_page_of_the_api_names_every_operation(database: Store) -> None:
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    for path in create_app(database).openapi()["paths"]:
        parent, _, last = path.rpartition("/")
        assert path in page or f"/{last}" in page.partition(parent)[2], path

"""Webhooks from the command line: configuration, sending, dead letters, and what else touches events."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from bounces import dsn
from click.testing import CliRunner, Result
from documents import ROOT, blocks_of
from receiver import Receiver, free_port, receiving
from standardwebhooks.webhooks import Webhook
from test_erase import JAN, SETTINGS
from test_store_ledger import Clock
from test_views import connected, rows
from test_watch import wait_until
from test_webhooks import fail, send

from bounceparse.cli import main
from bounceparse.cli.webhooks import webhooks
from bounceparse.config import exposed_secrets, load_settings
from bounceparse.db import Retention, Store
from bounceparse.db.outbox import TYPES
from bounceparse.db.webhook_store import WebhookStore
from bounceparse.errors import ConfigError
from bounceparse.metrics import render
from bounceparse.sections import WebhookSection
from bounceparse.webhooks.endpoints import endpoints_of
from bounceparse.webhooks.signing import read_secret

DAY = timedelta(days=1)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
def config(tmp_path: Path, database_url: str, receiver: Receiver) -> Path:
    """A configuration with the endpoint ``crm``."""
    secret = tmp_path / "crm.secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    path = tmp_path / "bounceparse.toml"
    path.write_text(
        f'[database]\nurl = "{database_url}"\n[webhook.crm]\nurl = "{receiver.url}"\nsecret_file = "crm.secret"\n'
        "allow_private = true\n"
    )
    return path


def run(config: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["--config", str(config), *words])


@pytest.fixture
def written(config: Path, database_url: str) -> Iterator[Store]:
    """The database of the configuration, with the two events of a bounce."""
    assert run(config, "webhooks", "list").exit_code == 0
    with Store(database_url) as store:
        fail(store, "a@example.pl")
        yield store


# The configuration


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ('url = "https://crm.example/"', "secret_file"),
        (f'url = "https://crm.example/"\nsecret = "{SECRET}"\nsecret_file = "x"', "secret_file or secret"),
        (f'url = "ftp://crm.example/"\nsecret = "{SECRET}"', "https://HOST/PATH"),
        (f'url = "https://a:b@crm.example/"\nsecret = "{SECRET}"', "without a user name"),
        (f'url = "https://crm.example:99999/"\nsecret = "{SECRET}"', "https://HOST/PATH"),
        (f'url = "https://crm.example/ x"\nsecret = "{SECRET}"', "https://HOST/PATH"),
        (f'url = "http://crm.example/"\nsecret = "{SECRET}"', "allow_private"),
        (f'url = "https://crm.example/"\nsecret = "{SECRET}"\nevents = ["open"]', "outcome, standing, stream"),
        (f'url = "https://crm.example/"\nsecret = "{SECRET}"\nstatuses = ["dead"]', "hardbounce"),
        (f'url = "https://crm.example/"\nsecret = "{SECRET}"\nretry = 5', "known are"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(tmp_path: Path, section: str, told: str) -> None:
    path = tmp_path / "bounceparse.toml"
    path.write_text(f"[webhook.crm]\n{section}\n")
    with pytest.raises(ConfigError, match=r"\[webhook.crm\]|webhook") as caught:
        load_settings(path)
    assert told in str(caught.value)
    assert SECRET not in str(caught.value)


def test_endpoints_of_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files beside it; values from the environment; several secrets; a file that others may read is told."""
    path = tmp_path / "bounceparse.toml"
    path.write_text('[webhook.my-crm]\nurl = "https://crm.example/h"\nsecret_file = "s"\nca_file = "ca.pem"\n')
    (tmp_path / "s").write_text(f"{SECRET}\n{SECRET}\n")
    (tmp_path / "s").chmod(0o644)
    monkeypatch.setenv("BOUNCEPARSE_WEBHOOK__MY_CRM__STATUSES", "hardbounce, complaint")
    settings = load_settings(path)
    (found,) = endpoints_of(settings)
    assert (found.name, found.host, found.ca_file) == ("my-crm", "https://crm.example", tmp_path / "ca.pem")
    assert found.wanted.statuses == {"hardbounce", "complaint"}
    assert found.keys() == (read_secret(SECRET),) * 2
    assert str(tmp_path / "s") in exposed_secrets(settings)[0]
    with pytest.raises(ConfigError, match="ca_file"):
        found.tls()
    with pytest.raises(ConfigError, match="known are my-crm"):
        endpoints_of(settings, ["crm"])
    for text in ("", "nonsense"):
        (tmp_path / "s").write_text(text)
        with pytest.raises(ConfigError, match="secret_file"):
            found.keys()
    (tmp_path / "s").unlink()
    with pytest.raises(ConfigError, match="secret_file"):
        found.keys()


# Commands


def test_events_are_sent_by_command(config: Path, written: Store, receiver: Receiver) -> None:
    listed = json.loads(run(config, "webhooks", "list", "--json").stdout)
    assert (listed["name"], listed["waiting"], listed["dead"], listed["sent_at"]) == ("crm", 2, 0, None)
    sent = run(config, "webhooks", "send", "--json")
    assert sent.exit_code == 0
    assert json.loads(sent.stdout) == {"name": "crm", "delivered": 2, "failed": 0, "dead": 0, "error": None}
    for one in receiver.got:
        Webhook(SECRET).verify(one.body, one.headers)
    assert json.loads(run(config, "webhooks", "list", "--json").stdout)["waiting"] == 0
    again = run(config, "webhooks", "send", "crm")
    assert (again.exit_code, again.stdout) == (0, "")
    assert run(config, "webhooks", "send", "nobody").exit_code == 1


def test_what_fails_is_temporary(config: Path, written: Store, receiver: Receiver) -> None:
    receiver.refuse(500)
    sent = run(config, "webhooks", "send")
    assert sent.exit_code == 75
    assert "it answers 500" in sent.stderr
    assert "key=1" not in sent.output  # a path may hold a secret


def test_a_secret_that_cannot_be_read_needs_a_person(config: Path, written: Store, receiver: Receiver) -> None:
    (config.parent / "crm.secret").unlink()
    sent = run(config, "webhooks", "send")
    assert sent.exit_code == 1
    assert "crm.secret" in sent.stderr
    assert receiver.got == []


def test_an_endpoint_is_tested(config: Path, receiver: Receiver) -> None:
    """With an event of its own, which nothing else follows from."""
    assert run(config, "webhooks", "test", "crm").exit_code == 0
    (one,) = receiver.got
    assert Webhook(SECRET).verify(one.body, one.headers)["type"] == "webhook.test"
    receiver.refuse(404)
    refused = run(config, "webhooks", "test", "crm")
    assert refused.exit_code == 1
    assert "404" in refused.stderr
    assert json.loads(run(config, "webhooks", "list", "--json").stdout)["waiting"] == 0


def test_dead_letters_are_listed_and_replayed_by_command(
    config: Path, written: Store, receiver: Receiver, database_url: str
) -> None:
    receiver.refuse(500)
    run(config, "webhooks", "send")
    with connected(database_url, write=True) as connection:
        connection.execute(sa.text("UPDATE bounceparse_deliveries SET state = 'dead' WHERE attempts > 0"))
    (dead,) = map(json.loads, run(config, "webhooks", "dead", "--json").stdout.splitlines())
    assert (dead["endpoint"], dead["attempts"], dead["error"]) == ("crm", 1, "it answers 500")
    assert dead["payload"]["data"]["recipient"] == "a@example.pl"
    assert "a@example.pl" in run(config, "webhooks", "dead", "crm").stdout
    assert run(config, "webhooks", "dead", "other").stdout.count("\n") <= 1
    receiver.take_all()
    assert "1 events wait again" in run(config, "webhooks", "replay", "crm", "--id", str(dead["id"])).stdout
    assert run(config, "webhooks", "send").exit_code == 0
    assert [one.id for one in receiver.got].count(dead["event_id"]) == 2
    assert run(config, "webhooks", "dead", "--json").stdout == ""


def test_an_endpoint_that_is_no_more_is_forgotten(config: Path, written: Store, database_url: str) -> None:
    """With the last one no more events are written."""
    assert run(config, "webhooks", "forget", "crm").exit_code == 1
    config.write_text(f'[database]\nurl = "{database_url}"\n')
    assert "not configured" in run(config, "webhooks", "list").stdout
    assert run(config, "webhooks", "forget", "crm").exit_code == 0
    before = rows(database_url, "SELECT count(*) FROM bounceparse_outbox")
    fail(written, "b@example.pl")
    assert rows(database_url, "SELECT count(*) FROM bounceparse_outbox") == before
    assert json.loads(run(config, "webhooks", "list", "--json").stdout or "null") is None


def test_a_secret_is_made_by_command(config: Path) -> None:
    made = run(config, "webhooks", "secret").stdout.strip()
    assert len(read_secret(made)) == 32
    assert made != run(config, "webhooks", "secret").stdout.strip()


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["poll", "--watch"]])
def test_what_runs_on_sends_events_as_they_come(
    config: Path, receiver: Receiver, database_url: str, command: list[str]
) -> None:
    """And ends when told, as before."""
    with config.open("a") as file:
        file.write(
            f'[mailbox.bounces]\nhost = "127.0.0.1"\nport = {free_port()}\ntls = "none"\nusername = "u"\npassword = "p"\n'
        )
    config.chmod(0o600)
    words = [sys.executable, "-m", "bounceparse", "--config", str(config), *command]
    with (
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process,
        Store(database_url) as store,
    ):
        assert process.stdout is not None
        try:
            if command[0] == "serve":
                assert process.stdout.readline().startswith(b"listening")
            written = "SELECT count(*) FROM bounceparse_state WHERE name = 'webhooks'"
            assert wait_until(lambda: rows(database_url, written) == [(1,)])
            store.ingest(dsn(1))
            assert wait_until(lambda: len(receiver.got) == 1)
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
    assert status == 0
    assert receiver.got[0].data["recipient"] == "user1@example.pl"


# What else touches events


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_events_go_when_they_are_old_enough(database_url: str, clock: Clock, receiver: Receiver) -> None:
    """Delivered ones after events_days; others, those that no endpoint has looked at too, with the details they hold."""

    def left() -> tuple[int, int]:
        (found,) = rows(
            database_url, "SELECT (SELECT count(*) FROM bounceparse_outbox), count(*) FROM bounceparse_deliveries"
        )
        return found[0], found[1]

    with Store(database_url, clock=clock) as store:
        WebhookStore(store).register(["crm"])
        store.suppress("a@example.pl")
        send(store, receiver)
        receiver.refuse(500)
        store.suppress("b@example.pl")
        send(store, receiver)
        store.suppress("c@example.pl")
        assert left() == (3, 2)
        keep = Retention(events_days=7, details_days=15)
        clock.now += 6 * DAY
        assert store.prune(keep)["events"] == 0
        clock.now += 2 * DAY
        assert store.prune(keep, dry_run=True)["events"] == 1
        store.prune(keep)
        assert left() == (2, 1)
        clock.now += 8 * DAY
        store.prune(keep)
        assert left() == (0, 0)
        store.suppress("d@example.pl")  # what comes is not taken for something that was seen
        receiver.take_all()
        del receiver.got[:]
        clock.now += DAY
        send(store, receiver)
        assert [one.subject for one in receiver.got] == ["d@example.pl"]


def test_events_are_kept_until_all_endpoints_have_taken_them(
    database_url: str, clock: Clock, receiver: Receiver
) -> None:
    with Store(database_url, clock=clock) as store:
        WebhookStore(store).register(["crm", "other"])
        store.suppress("a@example.pl")
        send(store, receiver)
        clock.now += 8 * DAY
        store.prune()
        assert send(store, receiver, name="other").delivered == 1
        assert store.prune(Retention(details_days=0))["events"] == 1


def test_details_that_are_kept_for_no_time_leave_events_theirs(database_url: str, clock: Clock) -> None:
    """They are tried for three days."""
    with Store(database_url, clock=clock) as store:
        WebhookStore(store).register(["crm"])
        store.suppress("a@example.pl")
        clock.now += 3 * DAY
        assert store.prune(Retention(details_days=0, events_days=0))["events"] == 0


def test_who_is_forgotten_stands_in_no_event(database_url: str, receiver: Receiver) -> None:
    """What waited goes; the receiver is told which outcome and which suppression are forgotten, without the address."""
    with Store(database_url, request_settings=SETTINGS) as store:
        WebhookStore(store).register(["crm"])
        fail(store, JAN)
        fail(store, "ola@example.pl")
        sent = send(store, receiver)
        assert sent.delivered == 4
        (outcome,) = (one.data["id"] for one in receiver.got if one.data.get("recipient") == JAN)
        fail(store, JAN, "mailbox-full")
        store.erase(JAN)
        del receiver.got[:]
        send(store, receiver)
        assert receiver.got
        assert all(b"jan" not in one.body.lower() for one in receiver.got)
        assert outcome in {one.data["id"] for one in receiver.got if one.event["type"] == "outcome.recorded"}
    with connected(database_url) as connection:
        for table in ("outbox", "deliveries"):
            found = connection.execute(sa.text(f"SELECT * FROM bounceparse_{table}")).all()
            assert found
            assert JAN not in str(found)


def test_monitoring_is_told_of_what_waits(config: Path, written: Store) -> None:
    text = render(written.figures())
    assert 'bounceparse_webhook_waiting_events{webhook="crm"} 2' in text
    assert 'bounceparse_webhook_dead_events{webhook="crm"} 0' in text
    run(config, "webhooks", "send")
    assert 'bounceparse_webhook_waiting_events{webhook="crm"} 0' in render(written.figures())
    assert "bounceparse_webhook_last_success_timestamp_seconds" in render(written.figures())


def test_doctor_looks_at_endpoints(config: Path, written: Store, receiver: Receiver, database_url: str) -> None:
    def told() -> str:
        found = json.loads(run(config, "doctor", "--json").stdout)["findings"]
        (one,) = (row for row in found if row["text"].startswith("webhook crm"))
        return f"{one['level']} {one['text']}"

    assert told() == "ok webhook crm: 2 events wait, 0 were given up"
    with connected(database_url, write=True) as connection:
        connection.execute(sa.text("UPDATE bounceparse_outbox SET created_at = '2026-01-01 00:00:00.000000+00:00'"))
    assert "run `bounceparse webhooks send`" in told()
    receiver.refuse(500)
    run(config, "webhooks", "send")
    with connected(database_url, write=True) as connection:
        connection.execute(sa.text("UPDATE bounceparse_deliveries SET state = 'dead' WHERE attempts > 0"))
    assert "`bounceparse webhooks dead`" in told()
    config.write_text(config.read_text().replace("allow_private = true", "").replace("http:", "https:"))
    assert told().startswith("wrong") and "private" in told()
    (config.parent / "crm.secret").write_text("x")
    assert "crm.secret" in told()


# The page


def test_the_receiver_of_the_page_takes_events_once(config: Path, written: Store) -> None:
    """And refuses what is not signed by us."""
    (block,) = [one for one in blocks_of(ROOT / "docs/webhooks.md") if one.title == "receiver.py"]
    port = free_port()
    config.write_text(re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", config.read_text()))
    environment = {**os.environ, "WEBHOOK_SECRET": SECRET, "PORT": str(port)}
    with subprocess.Popen([sys.executable, "-c", block.text], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert wait_until(lambda: run(config, "webhooks", "test", "crm").exit_code == 0)
            assert run(config, "webhooks", "send").exit_code == 0
            told = [process.stdout.readline().split()[0] for _ in range(3)]
            assert told == [b"webhook.test", b"outcome.recorded", b"standing.changed"]
            (config.parent / "crm.secret").write_text("whsec_" + "QUJD" * 10)
            assert "401" in run(config, "webhooks", "test", "crm").stderr
        finally:
            process.terminate()


def test_the_page_names_every_command_and_key() -> None:
    page = (ROOT / "docs/webhooks.md").read_text("utf-8")
    for name in webhooks.commands:
        assert f"webhooks {name}" in page, name
    for key in set(WebhookSection.model_fields) - {"secret"}:
        assert f"`{key}" in page or f"\n{key} = " in page, key
    for kind in TYPES.values():
        assert f"| `{kind}` |" in page


def test_the_payload_of_the_page_is_one(written: Store, database_url: str) -> None:
    """Each field of the example is one of an event as it is sent."""
    (shown,) = [json.loads(one.text) for one in blocks_of(ROOT / "docs/webhooks.md") if one.language == "json"]
    ((payload,),) = rows(database_url, "SELECT payload FROM bounceparse_outbox WHERE kind = 'outcome'")
    sent = json.loads(payload)
    assert set(shown) == set(sent)
    assert set(shown["data"]) <= set(sent["data"])

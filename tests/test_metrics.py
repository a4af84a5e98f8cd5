"""Numbers for Prometheus: what its own parser makes of them, what they count, and how they are handed over."""

from __future__ import annotations

import stat
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import migrated_sqlite
from outcome_factory import NOW, make_message, make_outcome
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from bounceparse.cli import main
from bounceparse.config import load_settings
from bounceparse.db import Store
from bounceparse.db.figures import Figure
from bounceparse.db.tables import alerts, health
from bounceparse.errors import ConfigError, StoreError
from bounceparse.metrics import render, serving, write_textfile


def parsed(text: str) -> dict[str, Metric]:
    return {one.name: one for one in text_string_to_metric_families(text)}


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {(one.name, *one.labels.values()): one.value for family in parsed(text).values() for one in family.samples}


def fill(store: Store) -> None:
    store.record_sent("1@shop.example", "jan@example.pl")
    store.record([make_message(make_outcome()), make_message(make_outcome("mailbox-full", message_id="2@x.example"))])
    store.record([make_message(error="boom", raw=b"x")])
    store.count_poll("bounces", 1.25, "ok")
    store.count_poll("bounces", 0.5, "ok")
    store.count_poll("bounces", 0, "failed")
    store.note_poll("bounces")


def test_the_numbers_are_those_of_the_database(store: Store) -> None:
    """And all of them are read by the parser of Prometheus itself."""
    fill(store)
    with store._database.write() as connection:
        row = {"kind": "stop", "subject": "news", "level": "stop", "text": "t", "began_at": NOW}
        connection.execute(sa.insert(alerts).values(**row))
        told = {"stream": "news", "level": "warn", "why": "w", "since": NOW, "checked_at": NOW, "numbers": "{}"}
        connection.execute(sa.insert(health).values(**told))
    found = samples(render(store.figures()))
    assert found[("bounceparse_messages_total", "bounces")] == 3
    assert found[("bounceparse_outcomes_total", "hardbounce", "recipient")] == 1
    assert found[("bounceparse_outcomes_total", "softbounce", "recipient")] == 1
    assert found[("bounceparse_polls_total", "bounces", "ok")] == 2
    assert found[("bounceparse_polls_total", "bounces", "failed")] == 1
    assert found[("bounceparse_poll_duration_seconds_total", "bounces", "ok")] == 1.75
    assert found[("bounceparse_held_messages",)] == 1
    assert found[("bounceparse_unmatched_outcomes",)] == 1
    assert found[("bounceparse_open_alerts", "stop", "stop")] == 1
    assert found[("bounceparse_stream_level", "news")] == 1
    last = store.last_polls()["bounces"].timestamp()
    assert found[("bounceparse_last_success_timestamp_seconds", "bounces")] == last


def test_totals_only_grow_and_count_each_row_once(store: Store) -> None:
    """Asked again, by another process, after pruning."""
    fill(store)
    first = samples(render(store.figures()))
    assert samples(render(store.figures())) == first
    store.prune()
    store.record([make_message(make_outcome("mailbox-full", message_id="3@x.example"))])
    again = samples(render(store.figures()))
    assert again[("bounceparse_outcomes_total", "softbounce", "recipient")] == 2
    assert all(again[key] >= value for key, value in first.items() if key[0].endswith("_total"))


def test_names_follow_the_conventions_of_prometheus() -> None:
    """A prefix, base units, ``_total`` on what only grows, a help text and a type for each."""
    figures = [
        Figure("messages", ("a",), 1), Figure("outcomes", ("ok", "none"), 1), Figure("polls", ("a", "ok"), 1),
        Figure("seconds", ("a", "ok"), 0.1), Figure("success", ("a",), 1e9), Figure("held", (), 0),
        Figure("unmatched", (), 0), Figure("backscatter", (), 0), Figure("waiting", (), 0), Figure("events", (), 0),
        Figure("alerts", ("k", "l"), 1), Figure("level", ("s",), 2),
    ]  # fmt: skip
    found = parsed(render(figures))
    assert len(found) == len(figures) + 1
    for name, family in found.items():
        assert name.startswith("bounceparse_") and family.documentation.endswith(".")
        totals = [one.name.endswith("_total") for one in family.samples]
        assert all(totals) if family.type == "counter" else not any(totals)


def test_labels_are_escaped() -> None:
    """A stream may be called anything."""
    name = 'new\\s "of"\nMay'
    assert samples(render([Figure("level", (name,), 1)]))[("bounceparse_stream_level", name)] == 1


# -- as a file


def test_the_file_is_renamed_into_place_and_readable(tmp_path: Path) -> None:
    """The collector never sees half of it, and runs as another user."""
    path = tmp_path / "b.prom"
    path.write_text("old")
    before = path.stat().st_ino
    write_textfile(path, "new\n")
    assert path.read_text() == "new\n" and path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ConfigError, match="textfile"):
        write_textfile(tmp_path / "missing" / "b.prom", "x")


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    migrated_sqlite(tmp_path / "b.db")
    config = Path("bounceparse.toml")
    box = '[mailbox.bounces]\nhost = "127.0.0.1"\nport = 1\nusername = "u"\npassword = "p"\n'
    config.write_text(f'[database]\nurl = "sqlite:///b.db"\n[metrics]\ntextfile = "b.prom"\n{box}')
    return config


def test_a_poll_writes_the_file_even_when_it_fails(configured: Path) -> None:
    """That is when monitoring matters."""
    assert CliRunner().invoke(main, ["poll"]).exit_code == 75
    assert samples(Path("b.prom").read_text())[("bounceparse_polls_total", "bounces", "failed")] == 1


def test_a_file_that_cannot_be_written_is_said_and_stops_no_poll(configured: Path) -> None:
    configured.write_text(configured.read_text().replace("b.prom", "missing/b.prom"))
    done = CliRunner().invoke(main, ["poll"])
    assert done.exit_code == 75 and "textfile" in done.stderr


@pytest.mark.parametrize("wrong", ['textfile = "b.txt"', 'listen = "here"', 'listen = "127.0.0.1:99999"', "port = 1"])
def test_a_wrong_setting_is_refused(configured: Path, wrong: str) -> None:
    configured.write_text(f"[metrics]\n{wrong}\n")
    with pytest.raises(ConfigError, match=r"metrics"):
        load_settings()


# -- over HTTP


def get(port: int, path: str = "/metrics") -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, "", error.read().decode()


def test_the_numbers_are_served_while_it_watches(store: Store) -> None:
    fill(store)
    threads = threading.active_count()
    with serving("127.0.0.1:0", store) as port:
        status, kind, text = get(port)
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        assert samples(text)[("bounceparse_messages_total", "bounces")] == 3
        assert get(port, "/")[0] == 404
    assert threading.active_count() == threads
    with pytest.raises(urllib.error.URLError):
        get(port)


def test_a_database_that_does_not_answer_is_503(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[Figure]:
        raise StoreError("gone", temporary=True)

    with serving("127.0.0.1:0", store) as port:
        monkeypatch.setattr(store, "figures", fail)
        assert get(port) == (503, "", "the database does not answer\n")


def test_an_address_that_is_taken_is_a_fault_of_the_configuration(store: Store) -> None:
    with (
        serving("127.0.0.1:0", store) as port,
        pytest.raises(ConfigError, match="listen"),
        serving(f"127.0.0.1:{port}", store),
    ):
        pass

"""The audit trail: whatever a person does leaves who, what, to whom, when and why; what runs by itself leaves nothing."""

from __future__ import annotations

import getpass
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from outcome_factory import NOW, make_message, make_outcome

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.db.audit import PAGE, note_audit
from bounceparse.db.tables import requests

JAN = "jan@example.pl"


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n[signing]\nkey_file = "k"\n')
    run("keys", "new")
    return database_url


def run(*arguments: str, input: str | None = None) -> str:
    done = CliRunner().invoke(main, list(arguments), input=input)
    assert done.exit_code == 0, done.output
    return done.stdout


def trail(*arguments: str) -> list[tuple[str, ...]]:
    found = map(json.loads, run("audit", "--json", *arguments).splitlines())
    return [(one["actor"], one["action"], one["subject"], one["scope"], one["note"]) for one in found]


def waiting(url: str) -> None:
    """Two requests that wait for a person."""
    with Store(url) as store, store._database.write() as connection:
        for number in range(2):
            values = {"report_key": bytes([number]), "state": "pending", "why": "unproven", "scopes": "marketing:"}
            values |= {"address": "Jan@Example.pl", "mailbox": "m", "recorded_at": NOW}
            connection.execute(sa.insert(requests).values(**values))


def test_what_a_person_does_to_an_address_stands_in_the_trail(configured: str) -> None:
    """Suppress, lift, decide on requests, import; found by any spelling of the address."""
    waiting(configured)
    run("suppressions", "add", JAN, "--by", "eva", "--note", "asked")
    run("suppressions", "lift", JAN, "--by", "ola", "--note", "came back")
    run("review", "accept", "1", "--by", "eva", "--note", "clear")
    run("review", "reject", "2")
    assert trail("--subject", "JAN@example.pl") == [
        ("eva", "suppress", JAN, "all", "asked"),
        ("ola", "lift", JAN, "all", "came back"),
        ("eva", "accept request", JAN, "marketing:", "clear"),
        (getpass.getuser(), "reject request", JAN, "marketing:", None),
    ]
    assert trail("--subject", "ola@example.pl") == []


def test_an_import_is_one_entry(configured: str) -> None:
    """With the file's name and the counts, not a line an address."""
    Path("list.csv").write_text("address,reason\nola@example.pl,user-unknown\neva@example.pl,\nnonsense,\n")
    done = CliRunner().invoke(main, ["suppressions", "import", "list.csv", "--by", "eva"])
    assert done.exit_code == 1
    (found,) = map(json.loads, run("audit", "--json").splitlines())
    assert (found["actor"], found["action"], found["subject"]) == ("eva", "import", "list.csv")
    assert found["detail"] == "2 suppressed, 0 known"


def test_what_runs_by_itself_leaves_nothing(configured: str) -> None:
    """The policy suppresses and lifts; that stands with the outcome, not here."""
    with Store(configured) as store:
        store.record_sent("1@shop.example", JAN)
        store.record([make_message(make_outcome())])
        store.settle()
        assert not store.standing(JAN).mailable
        assert list(store.audit()) == []


def test_it_is_printed_for_people_and_limited_in_time(configured: str) -> None:
    with Store(configured) as store, store._database.write() as connection:
        note_audit(connection, NOW, "eva", "lift", JAN, note="\x1b[2J")
    told = run("audit")
    assert "eva" in told and JAN in told and "\x1b" not in told
    assert "eva" not in run("audit", "--since", "1d")


def test_a_long_trail_is_read_page_by_page(database_url: str) -> None:
    with Store(database_url) as store:
        with store._database.write() as connection:
            for number in range(PAGE + 1):
                note_audit(connection, NOW, "eva", "lift", f"{number}@example.pl")
        assert sum(1 for _ in store.audit()) == PAGE + 1


def test_an_act_that_is_rolled_back_leaves_no_entry(database_url: str) -> None:
    """Neither stands without the other."""
    with Store(database_url) as store:
        with pytest.raises(ZeroDivisionError), store._database.write() as connection:
            note_audit(connection, NOW, "eva", "lift", JAN)
            raise ZeroDivisionError
        assert list(store.audit()) == []

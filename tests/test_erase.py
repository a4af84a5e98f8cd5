"""Erasing a person: nothing of the address is left, what must act goes on acting, and no re-scan brings it back."""

from __future__ import annotations

import base64
import json
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import migrated_sqlite
from outcome_factory import NOW, make_message, make_outcome
from test_views import rows

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.db.erase import ACCOUNTS, searched
from bounceparse.db.hashed import hashed_subject, is_hashed
from bounceparse.db.mentions import Mentions
from bounceparse.db.tables import METADATA
from bounceparse.db.types import Utc
from bounceparse.errors import ConfigError
from bounceparse.outgoing import Outgoing
from bounceparse.reading import Place
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring, Verdict, find_tokens

JAN, OLA = "jan@example.pl", "ola@example.pl"
KEYS = Keyring((Key(1, b"k" * 32, date(2026, 1, 1)),))
SETTINGS = RequestSettings(keyring=KEYS)
HASH = hashed_subject(KEYS, JAN) or ""
OUTGOING = Outgoing(unsubscribe_url="https://shop.example/u/{token}")


def opened(url: str, **options: Any) -> Store:
    return Store(url, keep_raw=True, request_settings=SETTINGS, **options)


@pytest.fixture
def kept(database_url: str) -> Iterator[Store]:
    """A store that knows Jan, whose mail bounced, and Ola, who is named beside him in one report."""
    with opened(database_url) as store:
        store.record_sent("1@s.example", "Jan@Example.PL", subject="Invoice of Jan", customer="c7", stream="news")
        store.record_sent("2@s.example", OLA, subject="Invoice of Ola", stream="news")
        both = (
            make_outcome(message_id="1@s.example", diagnostic=f"550 <{JAN}> unknown", subject="Invoice of Jan"),
            make_outcome("mailbox-full", OLA, message_id="2@s.example"),
        )
        store.record([make_message(*both, key=b"k" * 32, raw=f"To: {JAN}\n\nno such user".encode())])
        yield store


def everything(store: Store) -> str:
    """All that all tables hold, raw messages unpacked, as one text."""
    found = []
    with store._database.read() as connection:
        for table in METADATA.sorted_tables:
            for row in connection.execute(sa.select(table)):
                found += [zlib.decompress(v) if isinstance(v, bytes) and v[:1] == b"x" else v for v in row]
    return "\n".join(map(str, found)).lower()


def test_nothing_of_the_address_is_left(kept: Store) -> None:
    """Neither the address nor what only told of that person; the figures stay."""
    assert JAN in everything(kept)
    done = kept.erase(JAN, by="eva", note=f"asked by {JAN}")
    left = everything(kept)
    assert JAN not in left and "of jan" not in left and "c7" not in left
    assert done.subject == HASH and is_hashed(HASH)
    first, second = kept.outcomes()
    assert (first.outcome.status, first.outcome.reason, first.outcome.recipient) == ("hardbounce", "user-unknown", HASH)
    assert (first.outcome.diagnostic, first.customer, first.stream) == (None, None, "news")
    assert (second.outcome.recipient, second.outcome.diagnostic) == (OLA, "550 no")


def test_the_suppression_goes_on_acting(kept: Store, database_url: str) -> None:
    """As a keyed hash; judging every address anew does not lift it."""
    assert not kept.standing(JAN).mailable
    assert kept.erase(JAN).suppressions == 1
    for _ in range(2):
        assert rows(database_url, "SELECT subject, reason, lifted_at FROM bounceparse_standing") == [
            (HASH, "user-unknown", None)
        ]
        assert not kept.standing("Jan@EXAMPLE.pl").mailable
        assert list(kept.mailable([JAN, OLA], "news")) == [OLA]
        kept.apply_policy()
    assert kept.lift(JAN, note="came back") == 1
    assert kept.standing(JAN).mailable


def test_a_rescan_brings_nobody_back(kept: Store, database_url: str) -> None:
    """The mailbox renumbered its messages and another one holds a copy: both are noted as known, no more."""
    kept.erase(JAN)
    again = make_message(make_outcome(message_id="1@s.example"), key=b"k" * 32, raw=f"To: {JAN}".encode())
    copy = make_message(make_outcome(), key=b"k" * 32, account="other", raw=f"To: {JAN}".encode())
    assert kept.record([again, copy, make_message(make_outcome(recipient=OLA))]).new_outcomes == 1
    assert JAN not in everything(kept)
    uids = [row[0] for row in rows(database_url, "SELECT uid FROM bounceparse_messages ORDER BY id")]
    assert uids[1:3] == [again.place.uid, copy.place.uid]
    assert set(kept.pending_marks("bounces", "INBOX", 7)) >= {again.place.uid}


def test_held_mail_is_erased_and_counts_as_read(database_url: str) -> None:
    """A message that nobody could read may name the person all the same, in base64 too."""
    hidden = b"Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(f"your message to {JAN} failed".encode() * 3)
    with opened(database_url) as store:
        store.record([make_message(error="boom", raw=hidden), make_message(error="boom", raw=b"of somebody else")])
        done = store.erase(JAN)
        assert done.reports == 1
        assert [one.raw for one in store.held()] == [b"of somebody else"]


def test_it_names_where_the_mail_still_lies(kept: Store) -> None:
    """Mailbox, folder and UIDs; of saved mail its name."""
    saved = make_message(make_outcome(), account="", key=b"s" * 32)
    kept.record([replace(saved, place=Place("", "old.mbox"))])
    dry = kept.erase(JAN, dry_run=True)
    done = kept.erase(JAN)
    assert done.places == dry.places
    ours = next(place for place in done.places if place.account == "bounces")
    assert (ours.folder, ours.uidvalidity, len(ours.uids), ours.marked) == ("INBOX", 7, 1, False)
    assert any(place.folder == "old.mbox" and not place.uids for place in done.places)


def test_a_dry_run_says_the_same_and_changes_nothing(kept: Store) -> None:
    before = everything(kept)
    dry = kept.erase(JAN, dry_run=True)
    assert everything(kept) == before
    assert kept.erase(JAN) == dry
    again = kept.erase(JAN)
    assert (again.rows, again.places) == ({}, dry.places)  # the mail may still be there


def test_an_unsubscribe_link_still_works(kept: Store, database_url: str) -> None:
    """Who has been forgotten may still say no, and is heard."""
    headers = kept.sign(OUTGOING, "9@s.example", JAN, stream="news")
    (token,) = find_tokens(dict(headers.fields)["List-Unsubscribe"])
    kept.erase(JAN)
    assert kept.unsubscribe(token) is Verdict.VALID
    assert JAN not in everything(kept)
    assert (HASH, "marketing:") in rows(database_url, "SELECT subject, scope FROM bounceparse_standing")


def test_two_suppressions_that_meet_become_one(kept: Store, database_url: str) -> None:
    """An address that came back after its erasure and is erased again."""
    kept.erase(JAN)
    kept.record([make_message(make_outcome(message_id="3@s.example"))])
    kept.suppress(JAN)
    kept.erase(JAN)
    kept.suppress(JAN)
    kept.erase(JAN)
    assert sorted(rows(database_url, "SELECT cause, lifted_at FROM bounceparse_standing")) == [
        ("dead-address", None), ("manual", None)
    ]  # fmt: skip


def test_the_act_stands_in_the_audit_trail_without_the_address(kept: Store) -> None:
    """Who erased whom can be asked by those who know the address."""
    kept.erase(JAN, by="eva", note=f"letter of {JAN}")
    (found,) = kept.audit(JAN)
    assert (found.actor, found.action, found.subject, found.note) == ("eva", "erase", HASH, f"letter of {HASH}")
    assert "outcomes 1" in (found.detail or "")
    assert list(kept.audit(OLA)) == []


def test_what_is_no_address_and_a_database_without_keys_are_refused(database_url: str) -> None:
    with opened(database_url) as store, pytest.raises(ConfigError, match="no address"):
        store.erase("@example.pl")
    with Store(database_url) as store, pytest.raises(ConfigError, match="keys new"):
        store.erase(JAN)


@pytest.mark.parametrize("spelling", [JAN, "JAN@example.PL", f"see <{JAN}>, please", "jan=example.pl"])
def test_no_text_column_of_any_table_is_forgotten(database_url: str, spelling: str) -> None:
    """Every table but the accounts of its operators, tables to come included."""
    with opened(database_url) as store:
        with store._database.write() as connection:
            for table in METADATA.sorted_tables:
                if table not in ACCOUNTS:
                    connection.execute(sa.insert(table).values(filled(table, spelling)))
        store.erase(JAN)
        left = everything(store)
        assert "jan@example.pl" not in left and "jan=example.pl" not in left
        assert OLA in left
    assert {table.name for table in METADATA.sorted_tables} == {table.name for table in [*searched(), *ACCOUNTS]} | {
        "bounceparse_tombstones"  # keys only
    }


def filled(table: sa.Table, text: str) -> dict[str, Any]:
    """A row whose every text names the address, and Ola too."""
    values: dict[str, Any] = {}
    for column in table.c:
        if isinstance(column.type, sa.LargeBinary):
            values[column.name] = zlib.compress(text.encode()) if column.name == "raw" else b"\1" * 32
        elif isinstance(column.type, sa.Integer):
            values[column.name] = 4711
        elif isinstance(column.type, sa.Boolean):
            values[column.name] = False
        elif isinstance(column.type, Utc):
            values[column.name] = NOW
        else:
            values[column.name] = f"{text},{OLA},{column.name}"
    closed = {"bounceparse_inbox": {"status": "injected", "category": "marketing"}}
    return values | closed.get(table.name, {})


def test_columns_of_bytes_are_known(database_url: str) -> None:
    """A new one would need a look: what is packed is not searched by itself."""
    packed = {
        f"{table.name.removeprefix('bounceparse_')}.{column.name}"
        for table in searched()
        for column in table.c
        if isinstance(column.type, sa.LargeBinary)
    }
    assert packed == {"messages.key", "messages.raw", "outcomes.key", "outcomes.report_key", "requests.report_key"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("550 <jan@example.pl>: no", True),
        ("RCPT TO:<JAN@EXAMPLE.PL>", True),
        ("bounces+jan=example.pl@shop.example", True),
        ("SRS0=abcd=tt=example.pl=jan@fwd.example", True),
        ("https://x.example/?to=jan%40example.pl&c=1", True),
        (json.dumps({"diagnostic": "no:\njan@example.pl"}), True),
        ("write to jan@example.pl.", True),
        ("anna.jan@example.pl", False),
        ("jan@example.pl.example", False),
        ("jan@example.plus", False),
        ("jan@sub.example.pl", False),
        ("marjan=example.pl@x.example", False),
    ],
)
def test_an_address_is_found_as_mail_and_urls_write_it(text: str, names: bool) -> None:
    """And no longer address that only contains it."""
    assert (Mentions(JAN).replace(text, "#") != text) is names
    assert Mentions(JAN).stands_in(text.encode()) is names


def test_an_international_address_is_found_in_both_forms() -> None:
    for address in ("ünal@bücher.example", "ünal@xn--bcher-kva.example"):
        found = Mentions(address)
        assert found.replace("an Ünal@bücher.example und ünal@XN--bcher-kva.example", "#") == "an # und #"
        assert found.replace(json.dumps("ünal@bücher.example"), "#") == '"#"'


# -- the bytes, and the command


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.name.startswith("b.db")).lower()


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    migrated_sqlite(tmp_path / "b.db")
    Path("bounceparse.toml").write_text(
        '[database]\nurl = "sqlite:///b.db"\n[signing]\nkey_file = "k"\n'
        '[mailbox.bounces]\nhost = "imap.example"\nusername = "u"\npassword = "p"\nafter = "move:Done"\n'
    )
    assert CliRunner().invoke(main, ["keys", "new"]).exit_code == 0
    return tmp_path


def run(*arguments: str, status: int = 0) -> str:
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == status, done.output
    return done.output


def test_no_byte_of_the_file_holds_the_address(configured: Path) -> None:
    """Pages that were freed and the write-ahead log included."""
    with Store("sqlite:///b.db", keep_raw=True) as store:
        store.import_sent([])
        for number in range(300):
            store.record_sent(f"{number}@s.example", JAN, subject=f"To {JAN} {number}")
            store.record([make_message(make_outcome(message_id=f"{number}@s.example", diagnostic=f"{JAN} {number}"))])
        store.note_marked("bounces", "INBOX", 7, [store.pending_marks("bounces", "INBOX", 7)[0]])
        store.prune()
    assert bytes_of(configured).count(JAN.encode()) > 300
    told = run("erase", JAN, "--by", "eva", "--note", "letter")
    assert JAN.encode() not in bytes_of(configured)
    assert "bounces" in told and "Done" in told and "backups" in told
    assert "eva" in run("audit", "--subject", JAN)
    assert is_hashed(json.loads(run("suppressions", "list", "--json"))["subject"])


def test_a_file_in_use_is_said_to_hold_bytes_still(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program reads: the erasure stands, and is to be run again for the bytes."""
    monkeypatch.setattr("bounceparse.db.keeping_store._PATIENCE", 200)
    with Store("sqlite:///b.db") as store:
        store.suppress(JAN)
    reader = sqlite3.connect("b.db")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM bounceparse_standing").fetchall()
    told = run("erase", JAN, status=75)
    assert "again" in told
    reader.close()
    run("erase", JAN)
    assert JAN.encode() not in bytes_of(configured)


def test_the_command_tells_machines_too(configured: Path) -> None:
    with Store("sqlite:///b.db") as store:
        store.record([make_message(make_outcome())])
    dry = json.loads(run("erase", JAN, "--dry-run", "--json"))
    assert dry["dry_run"] is True and dry["rows"]["outcomes"] == 1
    done = json.loads(run("erase", JAN, "--json"))
    assert done["rows"] == dry["rows"] and done["places"][0]["account"] == "bounces"
    assert JAN not in run("outcomes", "--json")

"""The views that other services read and write, on both databases."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from outcome_factory import NOW, make_message, make_outcome
from sqlalchemy.engine import Connection
from test_store_ledger import _sent

from bounceparse.cli import main
from bounceparse.db import SentMessage, Store, upgrade
from bounceparse.db.engine import Database
from bounceparse.db.schema import downgrade
from bounceparse.db.views import VIEWS, view_columns

PAGE = Path(__file__).parent.parent / "docs" / "database.md"
STATUSES = ("injected", "ok", "deferred", "softbounce", "hardbounce", "spambounce")


@contextmanager
def connected(url: str, *, write: bool = False) -> Iterator[Connection]:
    """A connection as another service has it."""
    database = Database(url)
    try:
        with database.transaction(write=write) as connection:
            yield connection
    finally:
        database.close()


def rows(url: str, query: str) -> list[Any]:
    with connected(url) as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def insert_sent(url: str, **values: Any) -> None:
    names = ", ".join(values)
    marks = ", ".join(f":{name}" for name in values)
    with connected(url, write=True) as connection:
        connection.execute(sa.text(f"INSERT INTO bounceparse_v1_sent ({names}) VALUES ({marks})"), values)


# -- their columns


@pytest.mark.parametrize("view", VIEWS)
def test_the_page_lists_the_columns_of_each_view(database_url: str, view: str) -> None:
    """docs/database.md names exactly the columns that the view has, in their order."""
    section = PAGE.read_text().split(f"## bounceparse_v1_{view}\n")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    with connected(database_url) as connection:
        found = connection.execute(sa.text(f"SELECT * FROM bounceparse_v1_{view}"))
        assert list(found.keys()) == documented == list(view_columns(view))


def test_views_survive_an_upgrade_and_go_with_a_downgrade(database_url: str) -> None:
    """Upgrading again replaces them; a downgrade to nothing leaves none."""
    upgrade(database_url)
    assert rows(database_url, "SELECT * FROM bounceparse_v1_outcomes") == []
    downgrade(database_url)
    with connected(database_url) as connection:
        assert [name for name in sa.inspect(connection).get_view_names() if name.startswith("bounceparse")] == []


def test_a_view_shows_what_the_store_recorded(store: Store, database_url: str) -> None:
    """Outcomes, standing, ledger and streams as other services see them."""
    store.record_sent("1@s.example", "Jan@Example.pl", stream="orders", sender="shop", category="transactional")
    store.record([make_message(make_outcome(message_id="1@s.example"))])
    assert rows(database_url, "SELECT status, recipient, stream, trust FROM bounceparse_v1_outcomes") == [
        ("hardbounce", "Jan@Example.pl", "orders", "correlated")
    ]
    assert rows(database_url, "SELECT subject, reason, scope FROM bounceparse_v1_standing WHERE active") == [
        ("jan@example.pl", "user-unknown", "all")
    ]
    assert rows(database_url, "SELECT recipient_key, status, sender, category FROM bounceparse_v1_sent") == [
        ("jan@example.pl", "hardbounce", "shop", "transactional")
    ]
    assert rows(database_url, "SELECT name, sender, category FROM bounceparse_v1_streams") == [
        ("orders", "shop", "transactional")
    ]


def test_active_follows_the_time(store: Store, database_url: str) -> None:
    """What is lifted or has ended is there and not active."""
    now = datetime.now(UTC)
    store.suppress("a@example.pl", until=now + timedelta(hours=1))
    store.suppress("b@example.pl", until=now - timedelta(hours=1))
    store.suppress("c@example.pl")
    store.lift("c@example.pl")
    found = rows(database_url, "SELECT subject, active FROM bounceparse_v1_standing ORDER BY subject")
    assert [(subject, bool(active)) for subject, active in found] == [
        ("a@example.pl", True),
        ("b@example.pl", False),
        ("c@example.pl", False),
    ]


# -- the cursor


def _follow(url: str, view: str, stop: threading.Event, page: int = 7) -> list[tuple[int, int]]:
    """What a service sees that asks again and again for the rows behind its cursor: (seq, id), in order."""
    query = sa.text(f"SELECT seq, id FROM bounceparse_v1_{view} WHERE seq > :last ORDER BY seq LIMIT :page")
    seen: list[tuple[int, int]] = []
    database = Database(url)
    while True:
        ending = stop.is_set()
        with database.read() as connection:
            found = [
                tuple(row) for row in connection.execute(query, {"last": seen[-1][0] if seen else 0, "page": page})
            ]
        seen += found
        if ending and not found:
            database.close()
            return seen


def test_a_reader_sees_every_row_exactly_once_while_polls_write(database_url: str) -> None:
    """Four writers record at once, each in transactions of its own; nothing is missed, nothing comes twice."""
    stop = threading.Event()

    def poll(writer: int) -> None:
        with Store(database_url) as store:
            for number in range(12):
                names = [f"u{writer}-{number}-{one}@d{number}.example" for one in range(3)]
                store.record([make_message(make_outcome(recipient=name)) for name in names])

    with ThreadPoolExecutor(6) as pool:
        reader = pool.submit(_follow, database_url, "outcomes", stop)
        list(pool.map(poll, range(4)))
        stop.set()
        seen = reader.result()
    assert len(seen) == len({id_ for _, id_ in seen}) == 4 * 12 * 3
    assert [seq for seq, _ in seen] == sorted({seq for seq, _ in seen})


def test_a_row_that_changes_comes_again_with_its_id(store: Store, database_url: str) -> None:
    """A late match renews the number of its outcome and of the standing that follows."""
    store.record([make_message(make_outcome())])
    ((first, id_),) = rows(database_url, "SELECT seq, id FROM bounceparse_v1_outcomes")
    store.record_sent("1@shop.example", "jan@example.pl")
    ((second, same),) = rows(database_url, "SELECT seq, id FROM bounceparse_v1_outcomes")
    assert (second > first, same) == (True, id_)


def test_a_mirror_of_the_standing_ends_as_the_original(database_url: str) -> None:
    """Following the cursor and writing by id gives what stands, lifts and withdrawals included."""
    stop = threading.Event()

    def work(writer: int) -> None:
        with Store(database_url) as store:
            for number in range(8):
                address = f"u{writer}-{number}@example.pl"
                store.suppress(address)
                if number % 2:
                    store.lift(address)

    with ThreadPoolExecutor(4) as pool:
        reader = pool.submit(_follow, database_url, "standing", stop)
        list(pool.map(work, range(3)))
        stop.set()
        mirror = {id_: seq for seq, id_ in reader.result()}
    assert mirror == {id_: seq for seq, id_ in rows(database_url, "SELECT seq, id FROM bounceparse_v1_standing")}
    assert len(mirror) == 24


def test_what_a_recount_withdraws_is_lifted_not_deleted(store: Store, database_url: str) -> None:
    """A later row that explains a bounce better ends the suppression, and a reader of the cursor sees that."""
    store.record_sent("1@shop.example", "jan@example.pl")
    store.record([make_message(make_outcome(occurred_at=NOW))])
    ((before,),) = rows(database_url, "SELECT seq FROM bounceparse_v1_standing WHERE active")
    with store._database.write() as connection:
        connection.execute(sa.text("UPDATE bounceparse_outcomes SET trust = 'forged'"))
    assert sum(len(page.differences) for page in store.apply_policy()) == 1
    assert store.standing("jan@example.pl").mailable
    ((after, by),) = rows(database_url, "SELECT seq, lifted_by FROM bounceparse_v1_standing")
    assert (after > before, by) == (True, "policy")


# -- writing


def test_a_service_writes_its_ledger_rows_through_the_view(store: Store, database_url: str) -> None:
    """They are seen at once, and from the next poll on matched, keys normalised, the earlier report included."""
    store.record([make_message(make_outcome(message_id="1@shop.example", recipient="jan@xn--bcher-kva.example"))])
    insert_sent(database_url, message_id="<1@Shop.Example>", recipient="Jan@Bücher.example", stream="s", sender="a")
    assert rows(database_url, "SELECT id, recipient, status, sender FROM bounceparse_v1_sent") == [
        (None, "Jan@Bücher.example", "injected", "a")
    ]
    assert store.settle() == 1
    ((id_, key, status),) = rows(database_url, "SELECT id, recipient_key, status FROM bounceparse_v1_sent")
    assert (id_ is not None, key, status) == (True, "jan@xn--bcher-kva.example", "hardbounce")
    assert not store.standing("jan@bücher.example").mailable
    assert rows(database_url, "SELECT name, sender FROM bounceparse_v1_streams") == [("s", "a")]


def test_writing_a_known_row_completes_it(store: Store, database_url: str) -> None:
    """The view takes the same message again, with what was not known before."""
    store.record_sent("1@s.example", "jan@example.pl")
    insert_sent(database_url, message_id="1@s.example", recipient="jan@example.pl", customer="c7", status="ok")
    store.settle()
    row = _sent(store)["jan@example.pl"]
    assert (row.customer, row.status) == ("c7", "ok")


@pytest.mark.parametrize("text", ["2026-01-02 10:00:00+01:00", "2026-01-02T09:00:00Z"])
def test_times_written_by_a_service_are_read(store: Store, database_url: str, text: str) -> None:
    """With an offset in either of its usual forms."""
    insert_sent(database_url, message_id="1@s.example", recipient="jan@example.pl", sent_at=text)
    store.settle()
    assert _sent(store)["jan@example.pl"].sent_at == datetime(2026, 1, 2, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    "values",
    [
        {"message_id": None, "recipient": "jan@example.pl"},
        {"message_id": "1@s.example", "recipient": None},
        {"message_id": "1@s.example", "recipient": "jan@example.pl", "status": "bounced"},
        {"message_id": "1@s.example", "recipient": "jan@example.pl", "category": "spam"},
        {"message_id": "1@s.example", "recipient": "jan@example.pl", "sent_at": "yesterday at noon"},
    ],
)
def test_a_wrong_row_is_refused_where_it_is_written(store: Store, database_url: str, values: dict[str, Any]) -> None:
    """The service learns it at once; the ledger stays as it is."""
    with pytest.raises(Exception, match=r"(?i)constraint|null|violates|invalid|time"):
        insert_sent(database_url, **values)
    store.settle()
    assert _sent(store) == {}


@pytest.mark.parametrize("status", STATUSES)
def test_the_view_takes_every_status_of_the_ledger(store: Store, database_url: str, status: str) -> None:
    """The list in the schema is the ledger's."""
    insert_sent(database_url, message_id="1@s.example", recipient="jan@example.pl", status=status)
    store.settle()
    assert _sent(store)["jan@example.pl"].status == status


def test_rows_written_while_a_poll_settles_are_not_lost(store: Store, database_url: str) -> None:
    """Every row that was ever written is in the ledger in the end."""

    def write(writer: int) -> None:
        for number in range(10):
            insert_sent(database_url, message_id=f"{writer}-{number}@s.example", recipient=f"u{number}@example.pl")

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(write, writer) for writer in range(2)]
        while not all(one.done() for one in writers):
            store.settle()
        for one in writers:
            one.result()
    store.settle()
    assert len(_sent(store, by="message_id")) == 20
    assert rows(database_url, "SELECT count(*) FROM bounceparse_inbox") == [(0,)]


def test_postgresql_takes_copy(postgresql: str, store: Store, database_url: str) -> None:
    """A service may write in bulk."""
    if database_url.startswith("sqlite"):
        return
    with connected(database_url, write=True) as connection:
        cursor: Any = connection.connection.cursor()
        with cursor.copy("COPY bounceparse_v1_sent (message_id, recipient) FROM STDIN") as copy:
            for number in range(50):
                copy.write_row((f"{number}@s.example", f"u{number}@example.pl"))
    store.settle()
    assert len(_sent(store)) == 50


def test_the_ledger_is_not_changed_through_the_view(store: Store, database_url: str) -> None:
    """There is no UPDATE and no DELETE."""
    store.import_sent([SentMessage(message_id="1@s.example", recipient="jan@example.pl")])
    for statement in ("UPDATE bounceparse_v1_sent SET status = 'ok'", "DELETE FROM bounceparse_v1_sent"):
        with pytest.raises(Exception, match="view"), connected(database_url, write=True) as connection:
            connection.execute(sa.text(statement))


# -- roles


def test_a_granted_role_reads_the_views_and_nothing_else(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SQL that `db grant-reader` prints is enough to read and write through the views, and for no table."""
    from databases import migrated_database

    url = migrated_database(postgresql)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", url)
    monkeypatch.chdir(tmp_path)
    printed = CliRunner().invoke(main, ["db", "grant-reader", 'odd "role"', "--write"])
    assert printed.exit_code == 0, printed.output
    with connected(url, write=True) as connection:
        connection.exec_driver_sql('CREATE ROLE "odd ""role""" LOGIN')
        connection.exec_driver_sql(printed.stdout)
    try:
        role = url.replace("postgres@", "odd%20%22role%22@")
        insert_sent(role, message_id="1@s.example", recipient="jan@example.pl")
        for view in VIEWS:
            rows(role, f"SELECT * FROM bounceparse_v1_{view}")
        for table in ("sent", "inbox", "messages", "state"):
            with pytest.raises(Exception, match="permission denied"):
                rows(role, f"SELECT * FROM bounceparse_{table}")
        upgrade(url)  # keeps what was granted
        assert rows(role, "SELECT recipient FROM bounceparse_v1_sent") == [("jan@example.pl",)]
    finally:
        with connected(url, write=True) as connection:
            connection.exec_driver_sql('DROP OWNED BY "odd ""role"""')
            connection.exec_driver_sql('DROP ROLE "odd ""role"""')


def test_sqlite_has_no_roles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says so."""
    upgrade(f"sqlite:///{tmp_path}/b.db")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("BOUNCEPARSE_DATABASE__URL", f"sqlite:///{tmp_path}/b.db")
    refused = CliRunner().invoke(main, ["db", "grant-reader", "shop"])
    assert (refused.exit_code, "SQLite knows no roles" in refused.stderr) == (1, True)

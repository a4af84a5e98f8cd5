"""A preview tells what recording does, on both databases, and leaves no trace."""

from __future__ import annotations

import sqlalchemy as sa
from bounces import dsn

from bounceparse.db import Store
from bounceparse.db.engine import Database
from bounceparse.db.tables import METADATA
from bounceparse.reading import Place, ReadMessage, read_message


def read(number: int, account: str = "a") -> ReadMessage:
    return read_message(Place(account, "INBOX", 1, number), dsn(number), 1)


def contents(url: str) -> dict[str, list[sa.Row[tuple[object, ...]]]]:
    """Every row of every table."""
    database = Database(url)
    with database.read() as connection:
        found = {name: list(connection.execute(sa.select(table))) for name, table in METADATA.tables.items()}
    database.close()
    return found


def test_a_preview_tells_what_recording_then_does(store: Store) -> None:
    store.record_sent("1@shop.example", "user1@example.pl", customer="7")
    (before,) = store.preview(read(1))
    store.record([read(1)])
    (row,) = store.outcomes()
    assert not before.is_known
    assert (before.recorded.outcome, before.recorded.trust, before.recorded.customer) == (
        row.outcome,
        row.trust,
        row.customer,
    )
    assert [cause.name for cause in before.causes] == ["dead-address"]
    assert before.standing is not None
    assert (before.standing.mailable, store.standing("user1@example.pl").mailable) == (False, False)
    (after,) = store.preview(read(1, "b"))
    assert after.is_known


def test_a_preview_leaves_every_table_as_it_was(store: Store, database_url: str) -> None:
    store.record_sent("1@shop.example", "user1@example.pl")
    store.record([read(2)])
    before = contents(database_url)
    store.preview(read(1))
    store.preview(read(2))
    assert contents(database_url) == before


def test_an_event_that_another_route_reported_is_no_count(store: Store) -> None:
    """The same failure told by another report of the same server on the same day."""
    store.record_sent("1@shop.example", "user1@example.pl")
    store.record([read(1)])
    raw = dsn(1).replace(b"is not known here", b"is not known here, alas")
    (found,) = store.preview(read_message(Place("b", "INBOX", 1, 1), raw, len(raw)))
    assert (found.is_known, found.is_copy, found.causes) == (False, True, ())

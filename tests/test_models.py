"""The tables as SQLModel classes: what a service that uses SQLModel reads and writes."""

from __future__ import annotations

import sqlalchemy as sa
from outcome_factory import make_message, make_outcome
from sqlmodel import Session, select

from bounceparse.db import Store, models
from bounceparse.db.tables import METADATA


def test_there_is_a_class_for_every_table_with_its_columns() -> None:
    found = {name: getattr(models, name) for name in dir(models)}
    assert {model.__tablename__ for model in found.values()} == set(METADATA.tables)
    for model in found.values():
        assert set(model.model_fields) == set(METADATA.tables[model.__tablename__].columns.keys())


def test_rows_are_read_as_objects(store: Store, database_url: str) -> None:
    store.record_sent("1@shop.example", "jan@example.pl", customer="4711")
    store.record([make_message(make_outcome())])
    engine = sa.create_engine(database_url)
    with Session(engine) as session:
        row = session.exec(select(models.SentRow).where(models.SentRow.customer == "4711")).one()
        outcome = session.exec(select(models.OutcomeRow).where(models.OutcomeRow.sent_id == row.id)).one()
    assert (row.message_id, row.status) == ("1@shop.example", "hardbounce")
    assert outcome.recorded_at.tzinfo is not None
    engine.dispose()


def test_a_row_is_written_as_an_object(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with Session(engine) as session:
        session.add(models.StreamRow(name="news", sender="shop", category="marketing"))
        session.commit()
    with Store(database_url) as store:
        assert [(stream.name, stream.sender) for stream in store.streams()] == [("news", "shop")]
    engine.dispose()


def test_a_store_is_opened_without_sqlmodel(database_url: str) -> None:
    """Its import takes longer than a poll that finds nothing new."""
    import subprocess
    import sys

    code = "import sys; from bounceparse.db import Store; Store(sys.argv[1]).settle(); print('sqlmodel' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, database_url], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"

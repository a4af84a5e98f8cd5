"""The tables as SQLModel classes, for services that read and write rows as objects::

    from sqlmodel import Session, select
    from bounceparse.db.models import SentRow

    with Session(engine) as session:
        for row in session.exec(select(SentRow).where(SentRow.customer == "4711")):
            ...

Each class has the name and the columns of its declaration in :mod:`bounceparse.db.tables`. Tables may change from release
to release; the views ``bounceparse_v1_*`` do not.
"""

from __future__ import annotations

from typing import Any, get_type_hints

from sqlmodel import Field, SQLModel

from bounceparse.db import tables


def _model(declared: type[tables.Table]) -> type[SQLModel]:
    """A SQLModel class over the very table of a declaration."""
    hints = get_type_hints(declared)
    names = [column.name for column in declared.__table__.columns]
    fields: dict[str, Any] = {name: Field(default=None, sa_column=declared.__table__.columns[name]) for name in names}
    members = {
        "__module__": __name__,
        "__doc__": declared.__doc__,
        "__tablename__": declared.__tablename__,
        "__table__": declared.__table__,
        "__annotations__": {name: hints[name] for name in names},
        **fields,
    }
    make: Any = type(SQLModel)
    model: type[SQLModel] = make(declared.__name__, (SQLModel,), members, table=True)
    return model


_MODELS = {declared.__name__: _model(declared) for declared in tables.Table.__subclasses__()}


def __getattr__(name: str) -> type[SQLModel]:
    try:
        return _MODELS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted(_MODELS)

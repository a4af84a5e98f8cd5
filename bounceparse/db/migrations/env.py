"""Alembic's entry: runs the revisions on the connection that ``bounceparse.db.schema`` opened, in its transaction."""

from __future__ import annotations

from typing import Any

from alembic import context

from bounceparse.db.tables import PREFIX, VERSION_TABLE, whole_metadata


def include_name(name: str | None, type_: str, _parents: Any) -> bool:
    """Only our own tables: the database may be shared with other applications."""
    return type_ != "table" or (name or "").startswith(PREFIX)


def run() -> None:
    """Run the revisions that were asked for."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=whole_metadata(),
        version_table=VERSION_TABLE,
        include_name=include_name,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()

"""``bounceparse db``: the schema in the shared database."""

from __future__ import annotations

import click

from bounceparse.cli.session import Session
from bounceparse.errors import ConfigError, SchemaError


@click.group(epilog="Example: bounceparse db upgrade")
def db() -> None:
    """Create, upgrade and check the database schema, and share it."""


@db.command(epilog="Example: bounceparse db upgrade")
@click.pass_obj
def upgrade(session: Session) -> None:
    """Create our tables, or bring them up to date; other tables of the database are left alone."""
    from bounceparse.db.schema import SchemaState, check, upgrade

    url = session.settings.database.url
    before = check(url)
    upgrade(url)
    told = {SchemaState.EMPTY: "the tables are created", SchemaState.CURRENT: "was up to date already"}
    click.echo(f"{session.database_name}: {told.get(before, 'the schema is up to date now')}")


@db.command(epilog="Example: bounceparse db check && bounceparse poll")
@click.pass_obj
def check(session: Session) -> None:
    """Say whether the schema is the one that this version needs; exit status 1 when it is not."""
    from bounceparse.db.schema import SchemaState, check

    state = check(session.settings.database.url)
    if state is SchemaState.CURRENT:
        click.echo(f"{session.database_name}: up to date")
        return
    remedies = {
        SchemaState.EMPTY: "has no tables of bounceparse yet: run `bounceparse db upgrade`",
        SchemaState.BEHIND: "was made by an older bounceparse: run `bounceparse db upgrade`",
        SchemaState.AHEAD: "was upgraded by a newer bounceparse: upgrade this program too",
    }
    raise SchemaError(f"{session.database_name} {remedies[state]}")


@db.command("grant-reader", epilog="Example: bounceparse db grant-reader shop --write | psql mail")
@click.argument("role")
@click.option("--write", is_flag=True, help="Also let it tell the ledger what it sends.")
@click.pass_obj
def grant_reader(session: Session, role: str, write: bool) -> None:
    """Print the SQL that lets the PostgreSQL role ROLE read the views, and nothing else of ours.

    It is to be run by the owner of our tables. The role has to be there: CREATE ROLE shop LOGIN.
    """
    from bounceparse.db.engine import Database
    from bounceparse.db.schema import require_current
    from bounceparse.db.views import grants

    database = Database(session.settings.database.url)
    try:
        if database.is_sqlite:
            raise ConfigError("SQLite knows no roles: who may read the file reads all of it")
        require_current(database)
        with database.read() as connection:
            for statement in grants(connection, role, write=write):
                click.echo(statement)
    finally:
        database.close()

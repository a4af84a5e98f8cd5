"""The tutorial on Django, tried out: its files as a project, on a real PostgreSQL, as a role that may only read views."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa
from bounces import dsn
from click.testing import CliRunner
from databases import drop_database, new_database
from documents import ROOT, blocks_of

from bounceparse.cli import main
from bounceparse.db import Store

PAGE = blocks_of(ROOT / "docs/tutorials/django.md")
CHECK = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from django.core.management import call_command
from django.db import ProgrammingError, connections
from mail.models import Outcome, Sent, Standing, Stream, why_not
from mail.sending import mailable, record

call_command("check", "--database", "mail", stdout=open(os.devnull, "w"))
call_command("migrate", verbosity=0)
call_command("migrate", "--database", "mail", verbosity=0)
if sys.argv[1] == "send":
    assert mailable(["user1@example.pl", "user2@example.pl"], "news") == ["user1@example.pl", "user2@example.pl"]
    record([("1@shop.example", "user1@example.pl"), ("2@shop.example", "user2@example.pl")], "news")
    assert sorted(Sent.objects.values_list("message_id", "status")) == [("1@shop.example", "injected"), ("2@shop.example", "injected")]
else:
    assert mailable(["user1@example.pl", "user2@example.pl"], "news") == ["user2@example.pl"]
    assert why_not("user1@example.pl", "news") == "user-unknown"
    assert Standing.objects.get().active and Stream.objects.get(name="news").level == "ok"
    assert Outcome.objects.get().trust == "correlated"
    call_command("follow_outcomes")
    print("again:")
    call_command("follow_outcomes")
for statement in ("SELECT * FROM bounceparse_messages", "DELETE FROM bounceparse_v1_outcomes", "CREATE TABLE mine (id int)"):
    try:
        connections["mail"].cursor().execute(statement)
    except ProgrammingError as error:
        assert "permission denied" in str(error)
    else:
        raise SystemExit(f"{statement}: was allowed")
"""


def project(folder: Path, url: sa.URL) -> None:
    """The tutorial's files, with its database where ours is."""
    for block in PAGE:
        if block.title:
            path = folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
    for package in ("shop", "mail", "mail/management", "mail/management/commands"):
        (folder / package / "__init__.py").touch()
    settings = folder / "shop/settings.py"
    text = settings.read_text("utf-8")
    assert '"NAME": "mail", "USER": "shop"' in text
    settings.write_text(
        text.replace('"NAME": "mail"', f'"NAME": "{url.database}", "HOST": "{url.query["host"]}"'), "utf-8"
    )
    (folder / "check.py").write_text(CHECK, "utf-8")


def test_a_django_service_shares_the_database(postgresql: str, tmp_path: Path) -> None:
    """It reads the views, writes the ledger, follows the cursor, may do nothing else, and migrates nothing of ours."""
    url = new_database(postgresql)
    config = next(block.text for block in PAGE if block.language == "toml")
    (tmp_path / "bounceparse.toml").write_text(
        config.replace("postgresql+psycopg://bounceparse@localhost/mail", url), "utf-8"
    )
    lines = [line for block in PAGE if block.language == "sh" for line in block.text.splitlines()]
    ours = [shlex.split(line.partition(" | ")[0])[1:] for line in lines if line.startswith("bounceparse ")]
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("DROP ROLE IF EXISTS shop"))
            connection.execute(sa.text("CREATE ROLE shop LOGIN"))
            for words in ours:
                done = CliRunner().invoke(main, ["--config", str(tmp_path / "bounceparse.toml"), *words])
                assert done.exit_code == 0, done.output
                if "grant-reader" in words:
                    connection.exec_driver_sql(done.stdout)
        project(tmp_path, sa.make_url(url))
        run_in(tmp_path, "send")
        with Store(url) as store:
            store.ingest(dsn(1))
            store.settle()
            said = run_in(tmp_path, "look")
        assert said == "user1@example.pl hardbounce user-unknown -\nagain:\n"
        with engine.connect() as connection:
            connection.execute(sa.text("DROP OWNED BY shop"))
            connection.execute(sa.text("DROP ROLE shop"))
    finally:
        engine.dispose()
        drop_database(postgresql, url)


def run_in(folder: Path, what: str) -> str:
    done = subprocess.run(
        [sys.executable, "check.py", what],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

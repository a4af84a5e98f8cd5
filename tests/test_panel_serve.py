"""The panel as the commands serve it: `bounceparse serve` and `bounceparse demo --serve`, over a real socket."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from panel_client import PASSWORD, fields_of

from bounceparse.db import Store


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> str:
    """A configuration that names a fresh database."""
    path = tmp_path / "bounceparse.toml"
    path.write_text(f'[database]\nurl = "{database_url}"\n')
    return str(path)


@contextmanager
def running(command: Sequence[str], folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A command that serves: its URL, and the lines that it printed before."""
    whole = [sys.executable, "-m", "bounceparse", *command]
    with subprocess.Popen(whole, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        assert process.stdout is not None
        lines = []
        while not (line := process.stdout.readline()).startswith("listening on "):
            assert line, "the command ended before it listened"
            lines.append(line)
        try:
            yield line.removeprefix("listening on ").strip(), lines
        finally:
            process.terminate()
            assert process.wait(60) == 0


def sign_in(client: httpx.Client, name: str, password: str) -> httpx.Response:
    page = client.get("/login")
    given = {**fields_of(page.text, "/login"), "name": name, "password": password}
    return client.post("/login", data=given, headers={"Origin": str(client.base_url).rstrip("/")})


def test_the_panel_is_there_once_somebody_can_sign_in(config: str, database_url: str, tmp_path: Path) -> None:
    """Before that, and with --no-panel, its paths are closed like all others."""
    with running(["--config", config, "serve", "--port", "0"], tmp_path) as (url, _):
        assert httpx.get(url, trust_env=False).status_code == 401
    with Store(database_url) as store:
        store.make_user("ola", PASSWORD)
    with (
        running(["--config", config, "serve", "--port", "0"], tmp_path) as (url, _),
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
    ):
        assert client.get("/").headers["location"] == "/login?next=%2F"
        assert sign_in(client, "ola", PASSWORD).headers["location"] == "/"
        assert "Signed in as ola" in client.get("/").text
        assert client.get("/v1/health").status_code == 401
    with running(["--config", config, "serve", "--port", "0", "--no-panel"], tmp_path) as (url, _):
        assert httpx.get(url, trust_env=False).status_code == 401


def test_the_demo_shows_the_panel(tmp_path: Path) -> None:
    """One command from nothing to the card of an address; the database is the demo's own file."""
    pytest.importorskip("pymap", reason="pip install 'bounceparse[demo]'")
    with running(["demo", "--serve"], tmp_path) as (url, lines):
        told = re.search(r"sign in as (\S+), password (\S+)", "".join(lines))
        assert told is not None
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as client:
            assert sign_in(client, told[1], told[2]).headers["location"] == "/"
            while "being counted" in (page := client.get("/").text):  # on a machine that is busy
                pass
            assert "Reported today" in page
            page = client.get("/customer", params={"customer": "K-1042"}).text
            assert "office@flowers.example" in page

"""``bounceparse demo``: two mailboxes polled for real, shown, and left behind to be asked further.

On SQLite only: the database is the demo's own, a file in its folder.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pymap", reason="pip install 'bounceparse[demo]'")


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BOUNCEPARSE_")}
    return subprocess.run(
        [sys.executable, "-m", "bounceparse", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
        env={**clean, "HOME": str(folder), **variables},
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder in which a demo ran, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    done = run(folder, "demo")
    assert (done.returncode, done.stderr) == (0, "")
    return folder, done.stdout


def test_it_shows_every_status_the_card_and_the_second_poll(demo: tuple[Path, str]) -> None:
    lines = demo[1].splitlines()
    shown = {line.split()[0] for line in lines if line}
    assert {"ok", "deferred", "softbounce", "hardbounce", "spambounce", "complaint", "unsubscribe", "notice"} <= shown
    assert "second poll: 0 new" in lines
    assert any(line.startswith("customer ") for line in lines)


def test_nothing_was_lost_and_the_ledger_was_found(demo: tuple[Path, str]) -> None:
    result = run(demo[0], "--config", "bounceparse-demo/bounceparse.toml", "outcomes", "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(rows) > 20
    delivery = [row for row in rows if row["status"] in ("hardbounce", "softbounce", "spambounce", "deferred", "ok")]
    assert [row["recipient"] for row in delivery if row["trust"] != "correlated"] == []


def test_the_three_commands_it_names_work(demo: tuple[Path, str]) -> None:
    commands = [line.strip() for line in demo[1].splitlines() if line.startswith("  bounceparse --config ")]
    assert len(commands) == 3
    for command in commands:
        done = run(demo[0], *shlex.split(command)[1:])
        assert (done.returncode, done.stderr, bool(done.stdout)) == (0, "", True), command


def test_a_rerun_replaces_its_own_files_and_no_others(demo: tuple[Path, str]) -> None:
    folder = demo[0] / "bounceparse-demo"
    (folder / "notes.txt").write_text("mine")
    done = run(demo[0], "demo")
    assert done.stdout == demo[1]
    assert (folder / "notes.txt").read_text() == "mine"


def test_the_environment_cannot_turn_it_towards_a_real_database(tmp_path: Path) -> None:
    done = run(tmp_path, "demo", BOUNCEPARSE_DATABASE__URL=f"sqlite:///{tmp_path}/real.db")
    assert done.returncode == 0
    assert not (tmp_path / "real.db").exists()

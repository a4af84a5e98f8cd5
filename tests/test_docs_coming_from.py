"""The page for those who come from other libraries: its words are ours, its programs run."""

from __future__ import annotations

import doctest
import json
import re
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner
from documents import ROOT, blocks_of

from bounceparse.cli import main
from bounceparse.db import Store
from bounceparse.outcomes import REASONS, Fault, Outcome

PAGE = ROOT / "docs/tutorials/coming-from.md"


def rows(heading: str) -> list[tuple[str, str]]:
    """The rows of the table with this heading."""
    table = PAGE.read_text("utf-8").partition(f"| {heading} |")[2].partition("\n\n")[0]
    found = [line.strip("|").split("|") for line in table.splitlines()[2:]]
    return [(row[0].strip(), row[1].strip()) for row in found]


def test_their_reasons_lead_to_ours() -> None:
    """Each word is one of ours, and whose fault a failure is, none of its reasons is missing."""
    slugs = {slug for _, ours in rows("Sisimai | bounceparse") for slug in re.findall(r"`([a-z0-9-]+)`", ours)}
    assert slugs - {"complaint", "notice"} <= set(REASONS)
    failures = {name for name, row in REASONS.items() if row.fault is not None}
    assert failures - slugs == set(), "failures without a row"
    assert {row.fault for row in REASONS.values()} >= set(Fault)


def test_their_fields_lead_to_ours() -> None:
    ours = {
        name for _, cell in rows("field of Sisimai | field of an outcome") for name in re.findall(r"`([a-z_.]+)`", cell)
    }
    known = set(Outcome.__annotations__) | {"evidence.dialect", "from_address", "source", "hardbounce"}
    assert ours <= known


def test_the_examples_give_what_they_show() -> None:
    """flufl.bounce and ours, side by side."""
    source = "\n".join(block.text for block in blocks_of(PAGE) if block.text.startswith(">>>"))
    test = doctest.DocTestParser().get_doctest(source, {}, PAGE.name, str(PAGE), 0)
    assert len(test.examples) > 5
    assert doctest.DocTestRunner().run(test).failed == 0


def test_an_archive_becomes_suppressions(database_url: str, tmp_path: Path) -> None:
    """The page's program and command, from Sisimai's JSON to an address that is not mailed."""
    (program,) = (block.text for block in blocks_of(PAGE) if block.title == "from_sisimai.py")
    archive = [
        [{"recipient": "jan@example.com", "reason": "userunknown", "hardbounce": True, "timestamp": 1767344400}],
        [{"recipient": "ola@example.com", "reason": "mailboxfull", "hardbounce": False, "timestamp": 1767344400}],
    ]
    (tmp_path / "program.py").write_text(program, "utf-8")
    lines = "".join(f"{json.dumps(one)}\n" for one in archive)
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"], input=lines, capture_output=True, text=True, check=True, timeout=60
    )
    (tmp_path / "hard.csv").write_text(done.stdout, "utf-8")
    environment = {"BOUNCEPARSE_DATABASE__URL": database_url}
    taken = CliRunner().invoke(main, ["suppressions", "import", str(tmp_path / "hard.csv")], env=environment)
    assert taken.exit_code == 0, taken.output
    with Store(database_url) as store:
        standing = store.standing("jan@example.com")
        assert (standing.mailable, standing.reason) == (False, "user-unknown")
        assert store.standing("ola@example.com").mailable

"""The site of the documentation: it builds without a warning, loads nothing from elsewhere, and misses nothing."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from databases import migrated_sqlite

from bounceparse.advice import advice
from bounceparse.cli import main
from bounceparse.config import Settings
from bounceparse.db import Store
from bounceparse.db.views import VIEWS, view_columns
from bounceparse.outcomes import REASONS, Status, Trust

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    target = tmp_path_factory.mktemp("docs") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(target)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return target


def codes(page: Path) -> set[str]:
    """What stands as code on a page."""
    found = re.findall(r"<code>(.*?)</code>", page.read_text("utf-8"), re.DOTALL)
    return {html.unescape(re.sub(r"<[^>]*>", "", one)) for one in found}


def identifiers(page: Path) -> set[str]:
    return set(re.findall(r' id="([^"]+)"', page.read_text("utf-8")))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    """No script, style, font or picture of another host: it works without a network."""
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        loaded = re.findall(r"<(?:script|img|source|iframe|link)\b[^>]*?(?:src|href)=\"?([^\s\">]+)", text)
        assert [url for url in loaded if re.match(r"(?:https?:)?//", url)] == [], page
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", sheet.read_text("utf-8")), sheet


def test_every_page_of_the_repository_is_there(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page


def commands(command: click.Command, path: str, parent: click.Context | None = None) -> dict[str, click.Command]:
    context = click.Context(command, parent=parent, info_name=path.rpartition(" ")[2])
    found = {path: command}
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            found |= commands(inner, f"{path} {name}", context)
    return found


def test_every_command_and_option_is_there(site: Path) -> None:
    page = site / "reference/commands.html"
    headings, told = identifiers(page), " ".join(codes(page))
    found = commands(main, "bounceparse")
    assert len(found) > 40
    for path, command in found.items():
        assert path.replace(" ", "-") in headings, path
        for option in (name for one in command.params if isinstance(one, click.Option) for name in one.opts):
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", told), f"{path} {option}"


def test_every_key_is_there(site: Path) -> None:
    """Each key of each table, however deep, and each table by the name that one writes."""
    page = site / "reference/configuration.html"
    schema: dict[str, Any] = Settings.model_json_schema()
    keys = {key for table in schema["$defs"].values() for key in table["properties"]}
    tables = set(schema["properties"]) - {"source"}
    assert len(keys) > 70
    titles = html.unescape(page.read_text("utf-8"))
    rows = codes(page)
    for key in keys:
        assert key in rows or re.search(rf"\[[\w.]*\b{key}\b[\w.]*\]", titles), key
    for table in tables:
        assert f"[{table}" in titles, table


def test_every_status_and_reason_is_there(site: Path) -> None:
    """Each with its advice in both languages."""
    page = site / "reference/statuses.html"
    text, told, headings = html.unescape(page.read_text("utf-8")), codes(page), identifiers(page)
    assert {*Status, *Trust} <= told
    for reason in REASONS:
        assert reason in headings
        assert advice(reason, "en") in text and advice(reason, "pl") in text


def test_every_operation_is_there(site: Path, tmp_path: Path) -> None:
    """As the OpenAPI document has them, which is there itself."""
    from bounceparse.web.app import create_app

    with Store(migrated_sqlite(tmp_path / "b.db")) as store:
        document = create_app(store).openapi()
    assert json.loads((site / "reference/openapi.json").read_text("utf-8")) == document
    text = (site / "reference/http.html").read_text("utf-8")
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}<" in text
    by_hand = (ROOT / "docs/api.md").read_text("utf-8")
    for path in document["paths"]:
        stem, _, last = path.rpartition("/")
        assert path in by_hand or (stem in by_hand and f"/{last}`" in by_hand), f"docs/api.md has no {path}"


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_there(site: Path, view: str) -> None:
    page = site / "database.html"
    assert f"bounceparse_v1_{view}" in identifiers(page)
    assert set(view_columns(view)) <= codes(page)


@pytest.mark.parametrize("page", ["configuration", "statuses"])
def test_what_has_no_meaning_ends_the_build(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key or reason that nobody has described, and a description of none, are told by name."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    from reference import configuration, statuses

    module, name = {"configuration": (configuration, "authserv_id"), "statuses": (statuses, "mailbox-full")}[page]
    text = module.MEANINGS.read_text("utf-8")
    for changed in (
        re.sub(rf"^{name} = .*$", "", text, flags=re.MULTILINE),
        text.replace(f"\n{name} = ", f"\nx{name} = "),
    ):
        (tmp_path / "meanings.toml").write_text(changed, "utf-8")
        with monkeypatch.context() as patched:
            patched.setattr(module, "MEANINGS", tmp_path / "meanings.toml")
            with pytest.raises(ValueError, match=name):
                module.page()

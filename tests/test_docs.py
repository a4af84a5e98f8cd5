"""The examples of README and docs/: configuration loads, SQL runs, JSON is JSON, commands and options exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import tomllib
from contextlib import closing
from pathlib import Path

import click
import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from documents import PAGES, ROOT, Block, all_blocks

from bounceparse.cli import main
from bounceparse.config import build_policy, load_settings
from bounceparse.db.engine import Database
from bounceparse.rules import load_rules

# What is shown and not read by bounceparse: nothing of ours can try it.
_SHOWN = {"text", "csv", "ini", "powershell", "dockerfile", "yaml", "http"}
_TRIED = {"toml", "sql", "json", "sh", "python"}


def named(block: Block) -> str:
    return f"{block.page}: {block.text[:30]!r}"


def test_every_block_says_what_it_is() -> None:
    """A block without a language, or in one that no test knows, would be tried by nobody."""
    for page in PAGES:
        text = page.read_text("utf-8")
        fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
        assert len(fences) % 2 == 0, page
        languages = {fence.split()[0] if fence else "" for fence in fences[::2]}
        assert languages <= _SHOWN | _TRIED, page


@pytest.mark.parametrize("block", all_blocks("toml"), ids=named)
def test_configuration_loads(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole file, or tables to add to one; or a file of rules."""
    for name in [name for name in os.environ if name.startswith("BOUNCEPARSE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "bounceparse.toml"
    path.write_text(block.text, "utf-8")
    if block.text.startswith("[[rule]]"):
        assert [problem for problem in load_rules([path]).check() if path.name in problem] == []
        return
    build_policy(load_settings(path))


@pytest.mark.parametrize("block", all_blocks("json"), ids=named)
def test_json_is_json(block: Block) -> None:
    for line in block.text.splitlines() if block.text.count("\n{") else [block.text]:
        json.loads(line)


def test_sql_runs(database_url: str) -> None:
    """Each statement on each database, the views being all it needs; marks like ``:last`` are numbers."""
    statements = [block.text for block in all_blocks("sql")]
    assert len(statements) > 3
    with closing(Database(database_url)) as database:
        for statement in statements:
            with database.write() as connection:
                parameters = dict.fromkeys(re.findall(r"(?<![:\w]):([a-z]\w*)", statement), 0)
                connection.execute(sa.text(statement), parameters)


def commands_in(line: str) -> list[list[str]]:
    """The words of each command of ours in a line of shell, without the ``bounceparse``."""
    line = re.sub(r"^sudo (-u \w+ )?", "", line.partition(" # ")[0])  # the user has the program's name
    parts = re.split(r"\s\|\s|\s&&\s|\$\(|\)\"", line)
    found = [shlex.split(part.replace("...", ""), comments=True) for part in parts if "bounceparse " in part]
    ours = [words[words.index("bounceparse") + 1 :] for words in found if "bounceparse" in words[:4]]
    return [words for words in ours if words and words[0] != "install"]


def shell_lines() -> list[str]:
    return [line for block in all_blocks("sh") for line in block.text.replace("\\\n", "").splitlines()]


def mentions() -> list[str]:
    """Commands in running text."""
    return [one for page in PAGES for one in re.findall(r"`(bounceparse [a-z-][^`]*)`", page.read_text("utf-8"))]


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that ``words`` name, and the rest of them; global options come first."""
    command: click.Command = main
    context = click.Context(main)
    rest = list(words)
    while rest and rest[0].startswith("--config"):
        rest = rest[1 if "=" in rest[0] else 2 :]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        inner = command.get_command(context, rest[0])
        assert inner is not None, f"no such command: bounceparse {' '.join(words)}"
        command, rest = inner, rest[1:]
    return command, rest


def test_commands_exist() -> None:
    """Each with every option that an example gives it."""
    examples = [words for line in [*shell_lines(), *mentions()] for words in commands_in(line)]
    assert len(examples) > 60
    for words in examples:
        command, rest = command_of(words)
        known = {name for one in command.params for name in one.opts} | {"--help"}
        for option in (word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)):
            assert option in known, f"bounceparse {' '.join(words)}: no {option}"


def test_commands_are_whole() -> None:
    """What stands in a block to be copied has the options that its command insists on."""
    for words in [words for line in shell_lines() for words in commands_in(line)]:
        command, rest = command_of(words)
        for param in command.params:
            given = isinstance(param, click.Argument) or any(word.partition("=")[0] in param.opts for word in rest)
            assert given or not param.required, f"bounceparse {' '.join(words)}: needs {param.opts[0]}"
        assert rest or not isinstance(command, click.Group) or command.invoke_without_command, words


def test_completion_completes() -> None:
    """The line that the pages show for a shell's start-up file gives a script."""
    shown = [block.text for block in all_blocks("sh") if "completion bash" in block.text]
    assert shown
    for shell in ("bash", "zsh", "fish"):
        script = CliRunner().invoke(main, ["completion", shell])
        assert script.exit_code == 0 and "_BOUNCEPARSE_COMPLETE" in script.stdout


def test_links_between_pages_lead_somewhere() -> None:
    """On a forge too, where nothing is built: files that are there, or pages that the site is made with."""
    for page in PAGES:
        for target in re.findall(r"(?<!!)\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text("utf-8")):
            path = (page.parent / target).resolve()
            assert path.exists() or "reference/" in target, f"{page.relative_to(ROOT)}: {target}"


def test_every_metric_is_described() -> None:
    """What Prometheus gets stands in a table of docs/polling.md."""
    source = (ROOT / "bounceparse/metrics.py").read_text("utf-8")
    page = (ROOT / "docs/polling.md").read_text("utf-8")
    names = set(re.findall(r'"(bounceparse_[a-z_]+)"', source))
    assert len(names) > 12
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_extras_exist() -> None:
    """What the pages tell to install in brackets is an extra of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [name for page in PAGES for name in re.findall(r"bounceparse\[([\w,]+)\]", page.read_text("utf-8"))]
    assert len(named) > 5
    assert {extra for name in named for extra in name.split(",")} <= set(project["optional-dependencies"])

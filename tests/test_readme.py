"""The README's examples: Python blocks run as they stand, shell lines name commands that exist, the configuration loads."""

from __future__ import annotations

import doctest
import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from bounceparse.cli import main
from bounceparse.config import load_settings

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced code blocks of one language, indentation of list items removed."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", README, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", body, flags=re.MULTILINE) for indent, body in found]


def test_the_python_examples_give_what_they_show(
    empty_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the database that they name, and on PostgreSQL in its place."""
    monkeypatch.chdir(tmp_path)
    source = "\n".join(blocks("python"))
    assert "sqlite:///bounceparse.db" in source
    source = source.replace("sqlite:///bounceparse.db", empty_url)
    test = doctest.DocTestParser().get_doctest(source, {}, "README.md", "README.md", 0)
    assert len(test.examples) > 10
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test)
    assert result.failed == 0


def shell_lines() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    inline = re.findall(r"`(bounceparse [a-z][^`]*)`", README)
    commands = [shlex.split(line, comments=True) for line in [*lines, *inline]]
    return [words[1:] for words in commands if words and words[0] == "bounceparse"]


def test_the_shell_examples_name_commands_and_options_that_exist() -> None:
    examples = shell_lines()
    assert len(examples) > 10
    for words in examples:
        path = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        group: list[str] = []
        for word in path:
            if CliRunner().invoke(main, [*group, word, "--help"]).exit_code == 0:
                group.append(word)
            else:
                break
        assert group, f"no such command: bounceparse {' '.join(words)}"
        text = CliRunner().invoke(main, [*group, "--help"]).output + CliRunner().invoke(main, ["--help"]).output
        for option in (word for word in words if word.startswith("--")):
            assert option in text, f"bounceparse {' '.join(group)} has no {option}"


def test_the_configuration_example_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BOUNCEPARSE_")]:
        monkeypatch.delenv(name)
    path = tmp_path / "bounceparse.toml"
    path.write_text(blocks("toml")[0], encoding="utf-8")
    settings = load_settings(path)
    assert settings.mailbox["bounces"].host == "imap.example.com"

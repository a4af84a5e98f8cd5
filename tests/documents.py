"""The documentation as tests read it: the fenced blocks of each page, by language and title."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^( *)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """One fenced block; ``text`` without the indentation of a list item."""

    page: str
    language: str
    title: str | None
    text: str


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    found = _FENCE.findall(page.read_text("utf-8"))
    name = page.relative_to(ROOT).as_posix()
    return [
        Block(name, language, title or None, re.sub(rf"^{indent}", "", body, flags=re.MULTILINE))
        for indent, language, title, body in found
    ]


def all_blocks(*languages: str) -> list[Block]:
    """The blocks in any of these languages, of all pages."""
    return [block for page in PAGES for block in blocks_of(page) if block.language in languages]

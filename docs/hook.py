"""What MkDocs calls: adds the generated reference, and the pages that live elsewhere in the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from reference import pages

_DOCS = Path(__file__).parent
_ELSEWHERE = {
    _DOCS.parent / "CHANGELOG.md": "changelog.md",
    _DOCS.parent / "SECURITY.md": "security.md",
    _DOCS.parent / "benchmarks/README.md": "benchmarks.md",
    _DOCS.parent / "corpus/README.md": "corpus.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what no file under docs/ holds."""
    for place, text in pages().items():
        files.append(File.generated(config, place, content=text))
    for path, place in _ELSEWHERE.items():
        files.append(File.generated(config, place, content=_relinked(path.read_text("utf-8"), path, "")))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Let links to files of the repository lead to their page of the site."""
    if not page.file.abs_src_path:
        return markdown
    path = Path(page.file.abs_src_path)
    return _relinked(markdown, path, "../" * (len(path.relative_to(_DOCS).parts) - 1))


def _relinked(markdown: str, source: Path, up: str) -> str:
    """``markdown`` of the file ``source`` with links as the site has them; what has no page there is no link."""

    def link(found: re.Match[str]) -> str:
        target = (source.parent / found[2]).resolve()
        if target.is_relative_to(_DOCS) and (target.exists() or target.is_relative_to(_DOCS / "reference")):
            place = target.relative_to(_DOCS).as_posix()
        elif (place := _ELSEWHERE.get(target, "")) == "":
            return found[1]
        return f"[{found[1]}]({up}{place}{found[3] or ''})"

    return _LINK.sub(link, markdown)

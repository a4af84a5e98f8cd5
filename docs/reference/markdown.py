"""Markdown of the parts that pages are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; ``|`` and line ends in cells are taken care of."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell(one) for one in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(text: str) -> str:
    """``text`` as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: object) -> str:
    """``text`` as code, whatever back-ticks it has."""
    value = str(text)
    return f"`` {value} ``" if "`" in value else f"`{value}`"


def from_docstring(text: str | None) -> str:
    """A docstring as Markdown: reST's roles and double back-ticks become code."""
    plain = _ROLE.sub(lambda found: f"`{found[1].rpartition('.')[2]}`", text or "")
    return plain.replace("``", "`")

"""The page of what a program may import, from signatures and docstrings."""

from __future__ import annotations

import inspect
import re
from enum import EnumMeta
from typing import Any

import bounceparse
from bounceparse import db
from reference.markdown import from_docstring

_METHODS = [
    "standing",
    "mailable",
    "may_send",
    "outcomes",
    "history",
    "customer",
    "stats",
    "rates",
    "streams",
    "health",
    "record_sent",
    "import_sent",
    "sign",
    "ingest",
    "suppress",
    "lift",
    "suppressions",
    "check_token",
    "unsubscribe",
    "requests",
    "accept_request",
    "reject_request",
    "stop_stream",
    "release_stream",
    "reclassify",
    "prune",
    "erase",
    "audit",
    "close",
]
"""What a program is meant to call; the rest of the store serves the commands and may change."""
_WIDTH = 80
_FORWARD = re.compile(r"ForwardRef\('([^']*)'\)|(?<=[:>] )'([^']*)'")
_INTRO = """# Library

The core, `import bounceparse`, is pure: no database, no network, no log, and it raises for no bytes whatever. The database
is `bounceparse.db`. Everything is annotated; what is not listed here may change.

"""


def page() -> str:
    """The Markdown of the page."""
    parts = [_INTRO]
    for module in (bounceparse, db):
        parts.append(f"## {module.__name__}\n\n")
        parts += [_item(name, getattr(module, name)) for name in module.__all__ if not name.startswith("__")]
    return "".join(parts)


def _item(name: str, found: Any) -> str:
    parts = [f"### {name}\n\n"]
    if inspect.isfunction(found) or (inspect.isclass(found) and not isinstance(found, EnumMeta)):
        parts.append(_signature(name, found))
    parts.append(_text(found))
    if isinstance(found, EnumMeta):
        parts.append("One of " + ", ".join(f"`{one.value}`" for one in found) + ".\n\n")
    if found is db.Store:
        for method in _METHODS:
            function = getattr(db.Store, method)
            parts.append(f"#### Store.{method}\n\n{_signature(method, function)}{_text(function)}")
    return "".join(parts)


def _signature(name: str, found: Any) -> str:
    """The call as one writes it, a parameter a line where it is long."""
    try:
        signature = inspect.signature(found)
    except ValueError:
        return ""
    given = [str(one) for one in signature.parameters.values() if one.name != "self"]
    kinds = [one.kind for one in signature.parameters.values() if one.name != "self"]
    if inspect.Parameter.KEYWORD_ONLY in kinds:
        given.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    result = (
        "" if signature.return_annotation in (inspect.Signature.empty, "None") else f" -> {signature.return_annotation}"
    )
    line = f"{name}({', '.join(given)}){result}"
    if len(line) > _WIDTH:
        line = f"{name}(\n" + "".join(f"    {one},\n" for one in given) + f"){result}"
    return f"```text\n{_FORWARD.sub(_unquoted, line)}\n```\n\n"


def _unquoted(found: re.Match[str]) -> str:
    return found[1] or found[2]


def _text(found: Any) -> str:
    return from_docstring(inspect.getdoc(found)) + "\n\n"

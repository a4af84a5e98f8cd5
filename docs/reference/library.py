"""The page of what a program may import, from signatures and docstrings."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import EnumMeta
from typing import Any

import bounceparse
from bounceparse import db
from reference.markdown import from_docstring

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
        for method, function in store_methods():
            parts.append(f"#### Store.{method}\n\n{_signature(method, function)}{_text(function)}")
    return "".join(parts)


def store_methods() -> Iterator[tuple[str, Any]]:
    """The public methods of the store, by name."""
    for name, function in inspect.getmembers(db.Store, inspect.isfunction):
        if not name.startswith("_"):
            yield name, function


def _signature(name: str, found: Any) -> str:
    try:
        signature = str(inspect.signature(found))
    except ValueError:
        return ""
    return f"```text\n{name}{signature.replace('self, ', '').replace('(self)', '()')}\n```\n\n"


def _text(found: Any) -> str:
    return from_docstring(inspect.getdoc(found)) + "\n\n"

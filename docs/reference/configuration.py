"""The page of all keys of ``bounceparse.toml``, from the classes that read it; meanings are in ``configuration.toml``."""

from __future__ import annotations

import tomllib
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bounceparse import sections
from bounceparse.config import Settings
from reference.markdown import code, table

MEANINGS = Path(__file__).with_name("configuration.toml")
_INTRO = """# Configuration

`bounceparse.toml` is the file named with `--config` or `BOUNCEPARSE_CONFIG`, else the first one in the working directory,
`~/.config/bounceparse/` and `/etc/bounceparse/`. `bounceparse init` writes a commented one, `bounceparse doctor` checks it.
Unknown keys are errors. Relative paths are relative to the file.

Any value may come from the environment, which goes before the file: `BOUNCEPARSE_`, the table, two underscores, the key;
`BOUNCEPARSE_DATABASE__URL`, `BOUNCEPARSE_MAILBOX__BOUNCES__PASSWORD`. The `-` of a name is `_` there, and the members of a
list are parted by commas.

A *duration* is written `30m`, `48h`, `5d` or `2w`; a number alone means hours. A *list* may be one string, its members
parted by commas.

"""


class Table(NamedTuple):
    """A table of the file: its name as one writes it, and the class that reads it."""

    name: str
    model: type[BaseModel]


def tables() -> list[Table]:
    """All tables, in the order of the file."""
    found: list[Table] = []
    for name, info in Settings.model_fields.items():
        if name != "source":
            found += _tables(name, info.annotation)
    return found


def _tables(name: str, annotation: Any) -> Iterator[Table]:
    if get_origin(annotation) is dict:
        yield from _tables(f"{name}.NAME", get_args(annotation)[1])
        return
    model = next((one for one in (annotation, *get_args(annotation)) if _is_model(one)), None)
    if model is not None:
        yield Table(name, model)
        for key, info in model.model_fields.items():
            yield from _tables(f"{name}.{key}", info.annotation)


def _is_model(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def keys(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys of a table that are values, not tables."""
    return {name: info for name, info in model.model_fields.items() if not list(_tables(name, info.annotation))}


def page() -> str:
    """The Markdown of the page; raises ``ValueError`` where meanings and keys differ."""
    meanings = tomllib.loads(MEANINGS.read_text("utf-8"))
    _check(meanings)
    parts = [_INTRO]
    for name, model in tables():
        told = meanings[_home(name)]
        parts.append(f"## [{name}]\n\n{told['about']}\n\n")
        if (same := told.get("same_as")) is not None:
            anchor = "".join(char for char in same.lower() if char.isalnum() or char in "-_")
            parts.append(f"The keys are those of [`[{same}]`](#{anchor}).\n\n")
        elif found := keys(model):
            rows = [(code(key), _kind(info), _default(info), told[key]) for key, info in found.items()]
            parts.append(table(("key", "type", "default", "meaning"), rows) + "\n")
    return "".join(parts)


def _home(name: str) -> str:
    return name.replace(".", "_")


def _check(meanings: dict[str, Any]) -> None:
    wanted = {_home(name): model for name, model in tables()}
    problems = [f"[{name}] is missing" for name in wanted if name not in meanings]
    problems += [f"[{name}] is no table of the configuration" for name in meanings if name not in wanted]
    for name, model in wanted.items():
        told = set(meanings.get(name, ())) - {"about", "same_as"}
        known = set() if "same_as" in meanings.get(name, ()) else set(keys(model))
        problems += [f"[{name}] {key} has no meaning" for key in sorted(known - told)]
        problems += [f"[{name}] {key} is no key" for key in sorted(told - known)]
    if problems:
        raise ValueError(f"{MEANINGS}: " + "; ".join(problems))


def _kind(info: FieldInfo) -> str:
    readers = {getattr(one, "func", None) for one in info.metadata}
    text = _name(info.annotation)
    if sections.split_words in readers:
        text = "list of paths" if "path" in text else "list of text"
    bounds = [
        f"{sign} {getattr(one, attribute)}"
        for one in info.metadata
        for attribute, sign in _BOUNDS
        if hasattr(one, attribute)
    ]
    return ", ".join([text, *bounds])


_BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"))
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", timedelta: "duration"}


def _name(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(code(one) for one in get_args(annotation))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(_name(one) for one in get_args(annotation) if one is not type(None))
    if get_origin(annotation) in (tuple, list, frozenset):
        return f"list of {_name(get_args(annotation)[0])}"
    if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        percent = annotation == sections.Percent
        return "percent" if percent else "duration" if annotation == sections.Duration else _name(annotation.__origin__)
    return _NAMES[annotation]


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "*required*"
    value = info.get_default(call_default_factory=True)
    if value is None or value == ():
        return ""
    if isinstance(value, timedelta):
        return code(f"{value // timedelta(hours=1)}h")
    return code(str(value).lower() if isinstance(value, bool) else value)

"""The page of the HTTP API, from its OpenAPI document."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from unittest.mock import create_autospec

from bounceparse.db import Store
from bounceparse.web.app import create_app
from reference.markdown import code, table

_INTRO = """# HTTP operations

What `bounceparse serve` answers, from its OpenAPI document, which it serves at `/v1/openapi.json` and which is
[here](openapi.json) too. Tokens, tenants, the cursor and errors: [the API](../api.md).

"""


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return create_app(create_autospec(Store, instance=True)).openapi()


def document_text() -> str:
    """The OpenAPI document as JSON."""
    return json.dumps(document(), indent=1, ensure_ascii=False)


def page() -> str:
    """The Markdown of the page."""
    parts = [_INTRO]
    for path, operations in document()["paths"].items():
        for method, operation in operations.items():
            parts.append(_operation(f"{method.upper()} {path}", operation))
    parts.append("## Objects\n\n")
    for name, schema in document()["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{_schema(schema)}\n")
    return "".join(parts)


def _operation(title: str, operation: dict[str, Any]) -> str:
    parts = [f"## {title}\n\n{operation.get('description', '')}\n\n"]
    rows = [
        (code(one["name"]), "required" if one.get("required") else "", _type(one["schema"]), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    if rows:
        parts.append(table(("parameter", "", "type", "meaning"), rows) + "\n")
    if body := operation.get("requestBody"):
        kinds = ", ".join(f"`{kind}` ({_type(found.get('schema', {}))})" for kind, found in body["content"].items())
        parts.append(f"Body: {kinds}\n\n")
    answers = operation["responses"]["200"].get("content", {})
    parts.append("Answer: " + ", ".join(f"`{kind}` ({_type(one.get('schema', {}))})" for kind, one in answers.items()))
    return "".join(parts) + "\n\n"


def _schema(schema: dict[str, Any]) -> str:
    about = schema.get("description", "")
    if "enum" in schema:
        return f"{about}\n\nOne of {', '.join(code(one) for one in schema['enum'])}.\n"
    required = set(schema.get("required", ()))
    rows = [
        (code(name), "required" if name in required else "", _type(one), one.get("description", ""))
        for name, one in schema.get("properties", {}).items()
    ]
    return f"{about}\n\n" + table(("field", "", "type", "meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_type(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(code(one) for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any").replace("date-time", "time")

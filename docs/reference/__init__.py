"""The pages of the reference, made from the code itself when the site is built: one module a page.

``pages()`` gives the text of each by its place in the site. What the code cannot tell, the meaning of a key and of a
reason, stands in the TOML files beside this one; a build fails when one is missing or one too many is there.
"""

from __future__ import annotations

from reference import api, commands, configuration, library, statuses


def pages() -> dict[str, str]:
    """Place in the site -> Markdown (one is JSON: the OpenAPI document)."""
    return {
        "reference/commands.md": commands.page(),
        "reference/configuration.md": configuration.page(),
        "reference/statuses.md": statuses.page(),
        "reference/http.md": api.page(),
        "reference/openapi.json": api.document_text(),
        "reference/library.md": library.page(),
    }

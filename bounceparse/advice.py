"""reason -> what a support desk says: what happened, whether mail is sent, what to do; data in ``advice.toml``."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

LANGUAGES = ("en", "pl")
NO_BOUNCE = "no-bounce"
"""The key of the advice where nothing is known against an address."""
PAUSED = "paused"
"""The key of the advice where many addresses of the provider failed at once."""


@cache
def _texts() -> dict[str, dict[str, str]]:
    return tomllib.loads(files("bounceparse").joinpath("advice.toml").read_text("utf-8"))


def advice(reason: str | None, language: str = "en") -> str:
    """What to tell the person who asks about an address.

    ``reason`` is a reason slug, None for no bounce known; ``language`` is ``en`` or ``pl``. Whether the address is mailed
    at present is its standing's business and not said here.
    """
    texts = _texts()
    return texts.get(reason or NO_BOUNCE, texts["undefined"])[language if language in LANGUAGES else "en"]

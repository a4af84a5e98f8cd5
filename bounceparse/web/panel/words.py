"""What the panel says, in English or Polish: its own words, numbers and times."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files

from bounceparse.health import Level

LANGUAGES = {"en": "English", "pl": "Polski"}
_NARROW = "\u202f"  # a narrow space that does not break

TRUST = {
    "verified": "a signature of ours in it proves it",
    "correlated": "the ledger has this message to this recipient",
    "forwarded": "about a message of ours, but not an address that we mailed",
    "unverified": "nothing proves that it is about our mail",
    "forged": "it carries a forged signature of ours",
}
LEVEL = {Level.OK: "all is well", Level.WARN: "warning", Level.STOP: "stopped"}
WHY_IT_WAITS = {
    "unproven": "the From address is not authenticated",
    "forged-token": "its token is forged",
    "unknown-token": "no message is known by its token",
    "several-senders": "several senders mail this address",
    "unknown-address": "nobody mailed this address",
    "not-to-us": "it did not go to an unsubscribe address",
    "transactional": "it answers a transactional message",
    "words": "it only speaks about unsubscribing",
}
_SCOPES = {
    "all": "all mail",
    "marketing": "marketing of {who}",
    "sender": "all mail of {who}",
    "list": "the list {who}",
    "from": "mail from {who}",
}
_NAMELESS = {"marketing": "marketing", "sender": "all mail of streams without a sender"}


@cache
def polish() -> Mapping[str, str]:
    """The Polish texts by the English ones."""
    return tomllib.loads(files("bounceparse.web.panel").joinpath("pl.toml").read_text("utf-8"))


class Words:
    """The words of one language: called with an English text and its values, it answers the text."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._texts: Mapping[str, str] = polish() if language == "pl" else {}

    def __call__(self, text: str, **values: object) -> str:
        told = self._texts.get(text, text)
        return told.format(**values) if values else told

    def number(self, value: float, places: int = 0) -> str:
        """A number with its thousands parted."""
        text = f"{value:,.{places}f}"
        return text if self.language == "en" else text.replace(",", _NARROW).replace(".", ",")

    def percent(self, value: float | None, places: int = 2) -> str:
        """A share; a dash where there is nothing to divide by."""
        return "–" if value is None else f"{self.number(value, places)}{_NARROW}%"

    def size(self, size: int) -> str:
        """A number of bytes."""
        return f"{self.number(size / 1024, 1)} KiB" if size >= 1024 else f"{self.number(size)} B"

    def ago(self, at: datetime, now: datetime) -> str:
        """How long ago."""
        minutes = int((now - at).total_seconds() // 60)
        if minutes < 1:
            return self("just now")
        if minutes < 120:
            return self("{n} min ago", n=minutes)
        return self("{n} h ago", n=minutes // 60) if minutes < 2880 else self("{n} days ago", n=minutes // 1440)

    def scope(self, scope: str) -> str:
        """What a suppression reaches."""
        kind, _, who = scope.partition(":")
        if not who and kind in _NAMELESS:
            return self(_NAMELESS[kind])
        return self(_SCOPES.get(kind, "{who}"), who=who)


def clock_time(at: datetime) -> str:
    """A time as people read it, in the zone of this machine: as the command line prints it."""
    return at.astimezone().strftime("%Y-%m-%d %H:%M")

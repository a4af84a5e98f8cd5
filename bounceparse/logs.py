"""What runs unattended tells of: text for people, JSON for machines, without secrets, and without addresses unless asked.

Everything is logged under ``bounceparse``. A record may carry ``event`` and ``fields`` (``extra=``): they become members
of its JSON object, beside ``time``, ``level``, ``event`` and ``message``.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from bounceparse.lazy import pattern

NAME = "bounceparse"

_ADDRESS = pattern(r"([\w.!#$%&'*+/=?^`{|}~-])[\w.!#$%&'*+/=?^`{|}~-]{0,255}@([\w-][\w.-]{0,252})")
_QUOTED = pattern(r'"[^"\n]{1,64}"@([\w-][\w.-]{0,252})')
_SECRET = pattern(
    r"(?i)\b((?:\w{0,30}(?:password|passwd|secret|token)|authorization|bearer)\b[\"']?(?:\s*[=:]\s*(?:bearer\s+|basic\s+)?|\s+bearer\s+|\s+(?=\S{16})))"
    r"[\"']?[^\s\"',;]{1,4096}"
)
_TOKEN = pattern(r"(?<![a-z0-9])[a-z2-7]{29}(?![a-z0-9])", re.IGNORECASE)
_URL_PASSWORD = pattern(r"(://[^\s:/@]{0,100}):[^\s/@]{1,200}@")


def mask_addresses(text: str) -> str:
    """``text`` with the local parts of addresses cut to their first letter: ``j***@example.com``."""
    if "@" not in text:
        return text
    return _QUOTED.sub(r"***@\1", _ADDRESS.sub(r"\1***@\2", text))


def mask_secrets(text: str) -> str:
    """``text`` without what follows ``password=``, ``token:``, ``Bearer`` and the like, and without signed tokens."""
    return _TOKEN.sub("***", _SECRET.sub(r"\1***", _URL_PASSWORD.sub(r"\1:***@", text)))


class _Formatter(logging.Formatter):
    """Masks what a record says; below INFO only secrets."""

    def __init__(self, *, addresses: bool) -> None:
        super().__init__()
        self.addresses = addresses

    def mask(self, record: logging.LogRecord, text: str) -> str:
        """``text`` as it may be shown at this record's level."""
        text = mask_secrets(text)
        return text if self.addresses or record.levelno <= logging.DEBUG else mask_addresses(text)

    def message(self, record: logging.LogRecord) -> str:
        """The whole message, with the traceback where there is one."""
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{self.formatException(record.exc_info)}"
        return self.mask(record, text)


class TextFormatter(_Formatter):
    """``bounceparse: message``, each line of it."""

    def format(self, record: logging.LogRecord) -> str:
        """The lines of a record, without anything that a terminal obeys."""
        lines = self.message(record).splitlines() or [""]
        return "\n".join(f"{NAME}: {_UNSAFE.sub('�', line)}" for line in lines)


class JsonFormatter(_Formatter):
    """An object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The object of a record: what it carries, masked as its message is."""
        row: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "log"),
            "message": self.message(record),
            "logger": record.name,
        }
        for name, value in getattr(record, "fields", {}).items():
            row[name] = self.mask(record, value) if isinstance(value, str) else value
        return json.dumps(row, default=str)


_UNSAFE = pattern("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now, not to what it was."""

    @property
    def stream(self) -> TextIO:
        """Standard error."""
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        """The handler's own idea of it is not asked."""


def set_up(form: str = "text", level: str | None = None, *, addresses: bool = False) -> None:
    """Log to standard error from now on, as ``text`` or ``json``; ``level`` is ``info`` for JSON, else ``warning``."""
    logger = logging.getLogger(NAME)
    handler = _StandardError()
    handler.setFormatter(JsonFormatter(addresses=addresses) if form == "json" else TextFormatter(addresses=addresses))
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel((level or ("info" if form == "json" else "warning")).upper())


def mask(text: str) -> str:
    """``text`` as a log may hold it: without secrets, and without addresses unless they are asked for."""
    text = mask_secrets(text)
    shown = any(isinstance(one.formatter, _Formatter) and one.formatter.addresses for one in _handlers())
    return text if shown else mask_addresses(text)


def _handlers() -> list[logging.Handler]:
    return logging.getLogger(NAME).handlers


def is_json() -> bool:
    """Whether machines read what is told on standard error."""
    return any(isinstance(one.formatter, JsonFormatter) for one in _handlers())


def log_event(event: str, message: str, *, level: int = logging.INFO, **fields: Any) -> None:
    """Log something that happened, with what machines want to know of it."""
    logging.getLogger(NAME).log(level, "%s", message, extra={"event": event, "fields": fields})

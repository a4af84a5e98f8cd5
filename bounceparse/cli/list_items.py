"""The rows of a list in whatever form it comes: JSON pages of an API, JSON lines, CSV, or an address a line. Streaming."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TextIO

_CHUNK = 65_536
_LARGEST = 1_048_576
"""Characters that one object of JSON may have."""
_LONGEST_HEAD = 5000
_PAGE = re.compile(r'\{[^\[\]{}]{0,2000}?"(?:SuppressedDestinationSummaries|Suppressions|items)"\s*:\s*\[')
"""How a page of Amazon SES, Postmark or Mailgun begins."""
_PAGE_END = re.compile(r'\]\s*(?:,\s*"\w{1,40}"\s*:\s*(?:"[^"]*"|null|\d+|\{[^{}]*\})\s*)*\}')
_ARRAY_END = re.compile(r"\]")
_BETWEEN = re.compile(r"[\s,\[]*")

Item = tuple[int, dict[str, str] | str]
"""The number of a line and the row that begins there, its names lower-case letters only, or what is wrong with it."""


def read_items(file: TextIO) -> Iterator[Item]:
    """The rows of ``file``, each value as text. A bare address becomes a row of ``address``, or with ``,BOUNCE`` of SES."""
    first = next(file, "")
    if first.lstrip()[:1] in ("{", "["):
        return _json_items(first, file)
    names = _names(first)
    if {"email", "address", "emailaddress", "recipient"} & set(names):
        return _csv_items(names, first, file)
    return _bare_items(chain([first], file))


def _names(heading: str) -> list[str]:
    return [
        re.sub(r"[^a-z]", "", name.lower()) for name in next(csv.reader([heading], delimiter=_delimiter(heading)), [])
    ]


def _delimiter(heading: str) -> str:
    return ";" if ";" in heading and "," not in heading else ","


def _csv_items(names: list[str], heading: str, lines: Iterator[str]) -> Iterator[Item]:
    reader = csv.reader(lines, delimiter=_delimiter(heading), strict=True)
    while True:
        line = reader.line_num + 2
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, f"no CSV: {error}"
            continue
        if len(values) > len(names):
            yield line, "more values than the heading has columns"
        elif any(values):
            yield line, {name: unescape_cell(value) for name, value in zip(names, values, strict=False)}


def _bare_items(lines: Iterator[str]) -> Iterator[Item]:
    for number, line in enumerate(lines, 1):
        address, _, reason = line.strip().partition(",")
        if reason.strip('" ') in ("BOUNCE", "COMPLAINT"):
            yield number, {"emailaddress": address.strip('"'), "reason": reason.strip('" ')}
        elif address:
            yield number, {"address": unescape_cell(line.strip())}


def _json_items(first: str, file: TextIO) -> Iterator[Item]:
    """The objects of JSON lines, of an array, or of the pages of an API, one after the other."""
    source = _Buffer(first, lambda: file.read(_CHUNK))
    decode = json.JSONDecoder().raw_decode
    while source.skip(_BETWEEN):
        if source.skip_over(_PAGE) or source.skip_over(_PAGE_END) or source.skip_over(_ARRAY_END):
            continue
        line = source.line
        try:
            value, end = decode(source.text, source.place)
        except json.JSONDecodeError as error:
            if source.left < _LARGEST and source.more():
                continue
            yield line, f"no JSON: {error.msg}"
            source.skip_line()
            continue
        source.advance(end)
        if isinstance(value, dict):
            yield line, {re.sub(r"[^a-z]", "", name.lower()): _as_text(one) for name, one in value.items()}
        else:
            yield line, "a row is an object"


class _Buffer:
    """Text that is read on as it is needed; ``place`` is where in ``text`` we are, in line ``line`` of the whole."""

    def __init__(self, text: str, read: Callable[[], str]) -> None:
        self.text, self.place, self.line = text, 0, 1
        self._read = read

    @property
    def left(self) -> int:
        """How many characters are there behind the place."""
        return len(self.text) - self.place

    def more(self) -> bool:
        """Read on; False at the end."""
        found = self._read()
        self.text, self.place = self.text[self.place :] + found, 0
        return bool(found)

    def advance(self, place: int) -> None:
        """Go on to a place."""
        self.line += self.text.count("\n", self.place, place)
        self.place = place

    def skip(self, between: re.Pattern[str]) -> bool:
        """Go to where the next thing begins; False at the end."""
        while True:
            if found := between.match(self.text, self.place):
                self.advance(found.end())
            if self.left or not self.more():
                return self.left > 0

    def skip_over(self, what: re.Pattern[str]) -> bool:
        """Go behind this, if it is what comes next."""
        if self.text[self.place] not in "{]":
            return False
        if self.left < _LONGEST_HEAD:
            self.more()
        found = what.match(self.text, self.place)
        self.advance(found.end() if found else self.place)
        return found is not None

    def skip_line(self) -> None:
        """Go behind the end of the line."""
        while (end := self.text.find("\n", self.place)) < 0:
            self.place = len(self.text)
            if not self.more():
                return
        self.advance(end + 1)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ",".join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)


FORMULA = tuple("=+-@\t\r\n＝＋－＠")
"""How a cell begins that a spreadsheet would run."""


def escape_cell(text: str) -> str:
    """``text`` so that no spreadsheet takes it for a formula."""
    return f"'{text}" if text.startswith(FORMULA) else text


def unescape_cell(text: str) -> str:
    """What :func:`escape_cell` was given; blanks around anything else are dropped."""
    return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text.strip()

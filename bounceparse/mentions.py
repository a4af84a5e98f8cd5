"""The words of a server -> what they mention: our address, a blocklist, a help page."""

from __future__ import annotations

import re

from bounceparse.lazy import pattern

_IP = pattern(
    r"(?<![\w.:-])(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7})(?![\w:-]|\.\d)", re.ASCII
)
# The same for IPv4 alone, which begins with a digit and is therefore found several times as fast
_IPV4 = pattern(r"\d(?<![\w.:-].)\d{0,2}(?:\.\d{1,3}){3}(?![\w:-]|\.\d)", re.ASCII)
_URL = pattern(r"https?://[^\s<>\"'\])},;]+")
_LIST = pattern(
    r"(?:using|listed (?:in|on|at|by)|black-?listed (?:in|on|at|by)|blocked (?:by|at|in)|found (?:in|on)|rejected by|dnsbl:?|rbl:?)"
    r"\s+(?:the )?([a-z0-9][\w-]*(?:\.[\w-]+)+)"
)
# Operators of public lists by a name that their refusals mention.
_OPERATORS = (
    "spamhaus",
    "spamcop",
    "barracuda",
    "sorbs",
    "uceprotect",
    "abuseat",
    "surbl",
    "uribl",
    "invaluement",
    "senderscore",
    "spamrats",
    "mailspike",
    "psbl",
    "abusix",
    "backscatterer",
    "s5h.net",
    "blocklist.de",
    "cloudmark",
)


def find_ip(words: str) -> str | None:
    """The first IP address in ``words``, which in a refusal for the sender's sake is the sender's."""
    for found in (_IP if words.count(":") > 1 else _IPV4).finditer(words):
        import socket

        family = socket.AF_INET6 if ":" in found[0] else socket.AF_INET
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, found[0]))
        except OSError:
            continue
    return None


def find_blocklist(words: str) -> str | None:
    """The DNS zone of the list that ``words`` name (``zen.spamhaus.org``), else its operator's name."""
    lower = words.lower()
    found = _LIST.search(lower)
    if found and not found[1].replace(".", "").isdigit():
        return found[1].rstrip(".")
    return next((name for name in _OPERATORS if name in lower), None)


def find_help_url(words: str) -> str | None:
    """The first web address in ``words``."""
    found = _URL.search(words)
    return found[0].rstrip(".") if found else None

"""Bounces of Exim and of those who write its frame: an indented address, words indented deeper.

GMX and 1&1, Mail.ru, MXLogic and Zoho open with the same sentences and list the recipients each in their own way.
"""

from __future__ import annotations

from bounceparse.dialects.engine import ADDRESS, Layout

_FRAME = (
    "message was created automatically by",
    "a message that you sent",
    "message that you have sent could not be delivered",
    "не может быть доставлено одному или нескольким получателям",
    "has been frozen",
)
_LISTED = (
    r"following address(?:es|\(es\))?\s+failed:|has not yet been delivered (?:is|are|to the following addresses):"
    r"|address(?:es)? to which the message has not yet been delivered (?:is|are):|incorrectly constructed:|have yet to be delivered:"
    r"|not (?:yet )?be(?:en)? delivered to (?:one or more of its|all of its|one or more) *\n?recipients?:"
    r"|(?:permanent|temporary) error\.?[ \t]*\n"
)

LAYOUTS = (
    Layout(
        name="zoho",
        hints=("error_code :", "[status: error"),
        recipient=rf"\s{{0,4}}\[?(?:Status: \w{{1,20}}, Address: <)?(?P<a>{ADDRESS})>?,?[ \t]+(?P<w>(?:.{{0,80}}ERROR_CODE|ResponseCode).*)$",
    ),
    Layout(
        name="exim",
        hints=_FRAME,
        start=_LISTED,
        recipient=rf" {{0,3}}[<\"]{{0,2}}(?P<a>{ADDRESS})[>\"]{{0,2}}(?:[ \t]*$|:[ \t]*(?P<w>\S.*)?$)",
        stop=r"No action is required|The following text was generated|The message identifier is|Рекомендуем|\*{5}|-{6} pipe |-{30}",
    ),
    Layout(  # an alias, a pipe or a file failed: the address stands on the line below
        name="exim",
        hints=_FRAME,
        start=_LISTED,
        recipient=rf"\s{{0,8}}\(?(?:ultimately )?generated (?:from|by) <?(?P<a>{ADDRESS})>?\)?$",
        stop=r"No action is required|-{6} pipe ",
    ),
    Layout(  # nobody is listed, or not in a known way: the header names them
        name="exim",
        hints=_FRAME,
        start=_LISTED + r"|the following (?:error|reason) was given:|потому что:|could not be delivered to[^.]{0,60}recipients\.",
        recipient=r"(?P<a>(?!))",
        reason=r"(?P<w>.*)$",
        senders=("mailer-daemon", "mail delivery", "ndr@", "postmaster"),
        headless=True,
        stop=r"No action is required|-{30}",
    ),
)

"""Bounces in which ``<address>:`` opens a paragraph: the qmail-send bounce message format (QSBMF) and those who took it over.

QSBMF: an introduction that sites change at will, one paragraph a recipient, a line of dashes, the copy of the message. So
the shape is looked for, not the introduction. Yahoo, Postfix, Courier and others write paragraphs of the same shape.
"""

from __future__ import annotations

from bounceparse.dialects.engine import Layout
from bounceparse.dialects.prose import ADDRESS

_PARAGRAPH = r" ?<(?P<a>[^<>\n]{1,320})>:[ \t]*(?P<w>\S.*)?$"
_EXPANDED = r" ?<(?P<a>[^<>\n]{1,320})>(?: ?\(expanded from\s{1,4}<(?P<o>[^<>]{1,320})>\))?:[ \t]*(?P<w>\S.*)?$"


LAYOUTS = (
    Layout(
        name="yahoo",
        hints=(
            "sorry, we were unable to deliver your message to the following address",
            "unable to deliver message to the following address(es)",
        ),
        recipient=_PARAGRAPH,
        paragraph=True,
    ),
    Layout(
        name="qmail",
        hints=(
            "this is the qmail-send program",
            "--- below this line is a copy",
            "--- below the next line is a copy",
            "--- enclosed is a copy of",
            "--- mensaje original adjunto",
            "--- 附件中的内容是原信件",
            "i'm afraid i wasn't able to deliver",
            "hi. this is the ",
            "i tried to deliver a bounce message to this address",
            "zdalny host odpowiedzia",
            "i wasn't able to deliver your message to the following",
        ),
        recipient=_PARAGRAPH,
        skip=r"Giving up on [\d.a-fA-F:]{2,45}\.$",
        paragraph=True,
    ),
    Layout(
        name="postfix",
        hints=(
            "this is the postfix",
            "this is the mail system at",
            "i'm sorry to have to inform you that",
            "the mail system\n",
            "could not be delivered to one or more destinations",
            "could not be delivered to one or more recipients. it's attached",
            "(in reply to ",
        ),
        recipient=_EXPANDED,
        paragraph=True,
    ),
    Layout(  # bounces in HTML: addresses without their brackets
        name="qmail",
        hints=("this is the deliver program at", "this is the qmail-send program"),
        recipient=rf"\s{{0,8}}<?(?P<a>{ADDRESS})>?:?[ \t]*$",
        stop=r"\s{0,8}(?:---|\[)",
    ),
    Layout(
        name="courier",
        hints=(
            "your message to the following recipients cannot be delivered",
            "this is a delivery status notification from",
            "undeliverable mail\n",
            "this delivery status notification is also",
        ),
        recipient=_PARAGRAPH,
        paragraph=True,
    ),
    Layout(  # a translated or rewritten introduction: the shape alone, of a mail system's own mail
        name="qmail",
        hints=(">:\n",),
        recipient=r"<(?P<a>[^<>\n]{1,320}@[^<>\n]{1,255})>:[ \t]*$",
        senders=("mailer-daemon", "mail delivery"),
        paragraph=True,
    ),
)

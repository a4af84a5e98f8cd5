"""Bounces written as labels and values: Sun and Oracle Messaging Server, MailEnable, hMailServer, LSMTP, James, MailMarshal and more."""

from __future__ import annotations

from bounceparse.dialects.engine import Layout
from bounceparse.dialects.prose import ADDRESS

LAYOUTS = (
    Layout(  # PMDF, iPlanet, Sun and Oracle; iCloud until 2015
        name="messaging-server",
        hints=("this report relates to a message you sent with the following header fields", "recipient address:"),
        recipient=rf"\s{{0,4}}Recipient address:\s{{1,4}}(?P<a>{ADDRESS})",
        skip=r"\s{0,4}Delivery attempt history",
    ),
    Layout(
        name="mailenable",
        hints=("recipient: [smtp:",),
        recipient=r"\s{0,12}Recipient: \[SMTP:(?P<a>[^\]\s]{1,320})\]",
        stop=r"Message headers follow",
        above=True,
    ),
    Layout(
        name="hmailserver",  # and Outlook, whose own notices have the same shape
        hints=(
            "the following recipient(s) could not be reached",
            "the following recipient(s) cannot be reached",
            "your message did not reach some or all of the intended recipients",
            "empfänger kann nicht erreicht werden",
            "empfänger können nicht erreicht werden",
            "empfänger konnten nicht erreicht werden",
            "impossible de joindre le ou les destinataires suivants",
            "no se puede establecer contacto con los siguientes destinatarios",
        ),
        start=r"the following recipient\(?s?\)? (?:could not|cannot) be reached:|empfänger (?:kann|können|konnten) nicht erreicht werden:"
        r"|destinataires suivants\s?:|siguientes destinatarios\s?:",
        recipient=rf"\s{{0,12}}'?(?P<a>{ADDRESS})'?(?: (?:on|am|le|il|el) \d.{{0,40}})?[ \t]*$",
        stop=r"hMailServer$",
        above=True,
    ),
    Layout(
        name="lsmtp",
        hints=("error-for:",),
        recipient=rf"Error-for:\s{{1,8}}(?P<a>{ADDRESS})",
        skip=r"Error-(?:code|end):",
    ),
    Layout(
        name="james",
        hints=("error message below:", "message details:\n"),
        start=r"(?=error(?: message below)?:)",
        recipient=rf"\s{{0,8}}RCPT TO:\s{{1,4}}(?P<a>{ADDRESS})",
        stop=r"\s{0,8}From:",
        before=True,
        skip=r"\s{0,8}(?:MAIL FROM|Subject|Sent date|Message details|Error message below)",
    ),
    Layout(
        name="mailmarshal",
        hints=("the following recipients were affected:",),
        start=r"(?=could not be delivered because)",
        recipient=rf"\s{{1,12}}<?(?P<a>{ADDRESS})>?[ \t]*$",
        stop=r"additional information",
        before=True,
        skip=r".{0,20}the following recipients were affected",
    ),
    Layout(
        name="xmail",
        hints=("xmail bounce: rcpt=[",),
        recipient=rf"\s{{0,4}}\[<\d\d>\] XMail bounce: Rcpt=\[(?P<a>{ADDRESS})\];Error=\[(?P<w>[^\]]{{0,800}})",
        stop=r"\[<\d\d>\] Error sending message|\[<\d\d>\] Here is listed",
    ),
    Layout(
        name="labelled",
        hints=(
            "failed recipient:",
            "undeliverable address:",
            "intended recipient:",
            "target mail address:",
            "delivery failed:",
            "failed address:",
            "message to:",
            "non-deliverable",
        ),
        recipient=r"\s{0,8}(?:Failed (?:Recipient|Address)|Undeliverable Address|Intended recipient|Target mail address|Delivery failed|MESSAGE TO|Addressed To)"
        rf":\s{{1,8}}<?(?P<a>{ADDRESS})>?(?P<w>.*)$",
        stop=r"STEP:|System Contact",
        above=True,
    ),
)

"""Bounces that say in one sentence or below a heading who did not get the message: hosted services and small servers."""

from __future__ import annotations

from bounceparse.dialects.engine import Layout
from bounceparse.dialects.prose import ADDRESS

_ALONE = rf"[ \t]{{0,40}}(?:[*>\-] )?[<\"'\[]{{0,2}}(?P<a>{ADDRESS})[>\"'\]]{{0,2}}(?:<mailto:[^>\n]{{1,300}}>)?[ \t]*$"

LAYOUTS = (
    Layout(  # Gmail until 2017; the SMTP service of Windows; mail gateways that borrow the sentence ("Delevery")
        name="gmail",
        hints=("delivery to the following recipient",),
        start=r"delivery to the following recipients? (?:failed|has been delayed)[^\n]*\n",
        recipient=_ALONE,
        reason=r"\s{0,60}Technical details|\s{0,8}Message will be retried",
        senders=("googlemail.com", "gmail.com"),
    ),
    Layout(  # Gmail since 2017 where the status part names nobody: the header does
        name="gmail",
        hints=(
            "** message not delivered **",
            "** address not found **",
            "** message blocked **",
            "** delivery incomplete **",
        ),
        recipient=r"(?P<a>(?!))",
        reason=r"\s{0,8}The response (?:was|from the remote server was):",
        senders=("googlemail.com", "gmail.com", "google.com"),
        above=True,
        headless=True,
    ),
    Layout(
        name="google-groups",
        hints=("google group", "groups.google.com"),
        start=r"\A",
        recipient=r"(?P<a>(?!))",
        reason=r"(?P<w>.*)$",
        senders=("googlemail.com", "gmail.com", "google.com"),
        headless=True,
    ),
    Layout(
        name="smtpsvc",
        hints=(
            "y to the following recipients",
            "unable to deliver message to the following recipients",
            "an folgende empfänger",
            "aux destinataires suivants",
            "a los siguientes destinatarios",
            "ai seguenti destinatari",
            "para os seguintes destinatários",
            "aan de volgende geadresseerden",
            "do następujących adresatów",
            "následujícím příjemcům",
            "следующим получателям",
            "次の受信者",
            "下列收件人",
            "以下收件人",
        ),
        start=r"del[ei]very to the following recipients? (?:failed|has been delayed|was aborted|have been delayed)[^\n]*\n"
        r"|unable to deliver message to the following recipients?[^\n]*\n"
        r"|übermittlung an folgende empfänger[^\n]*\n|(?:remise|remettre|distribu\w{1,4})[^\n]{0,20} aux destinataires suivants[^\n]*\n|a los siguientes destinatarios[^\n]*\n"
        r"|(?:recapit|consegn)\w{1,5}[^\n]{0,20} ai seguenti destinatari[^\n]*\n|para os seguintes destinatários[^\n]*\n|aan de volgende geadresseerden[^\n]*\n"
        r"|do następujących adresatów[^\n]*\n|doručení[^\n]{0,20} následujícím příjemcům[^\n]*\n|следующим получателям[^\n]*\n|次の受信者[^\n]*\n|(?:下列|以下)收件人[^\n]*\n",
        recipient=_ALONE,
        reason=r"\s{0,60}Technical details",
        above=True,
        skip=r"[\s=_-]{8,}$",
    ),
    Layout(
        name="messagelabs",
        hints=("this is the mail delivery agent at",),
        start=r"to the following address(?:es)?[.:][ \t]*\n",
        recipient=_ALONE,
        reason=r"\s{0,4}Reason:(?P<w>.*)$",
        stop=r"\s{0,4}The message (?:subject|date|identifier|reference) was",
    ),
    Layout(
        name="dma",
        hints=("this is the dragonfly mail agent",),
        recipient=r"There was an error delivering your mail to <(?P<a>[^<>\n]{1,320})>",
    ),
    Layout(
        name="opensmtpd",
        hints=("this is the mailer-daemon, please do not reply",),
        start=r"list of recipients:[ \t]*\n",
        recipient=rf"(?P<a>{ADDRESS}):[ \t]*(?P<w>.*)$",
        stop=r"\s{0,8}(?:Below is a copy|Please note that this is only)",
    ),
    Layout(
        name="domino",
        hints=(
            "was not delivered to:",
            "n'a pas été distribué",
            "n'a pas été remis",
            "no se entregó a",
            "no se ha entregado a",
            "wurde nicht zugestellt an",
            "non è stato consegnato a",
            "não foi entregue a",
            "に配信されませんでした",
        ),
        start=r"(?:was not delivered to|n'a pas été (?:distribué|remis) à|no se (?:ha )?entreg(?:ó|ado) a|wurde nicht zugestellt an|non è stato consegnato a|não foi entregue a)\s?:"
        r"|に配信されませんでした[^\n]*",
        recipient=_ALONE,
        reason=r"\s{0,4}(?:because|car|parce que|porque|debido a|weil|grund|perch[eé]|pois|理由)\s?[:：]?(?P<w>.*)$",
    ),
    Layout(
        name="notes",
        hints=("failure reasons  -----", "failure reasons ---"),
        start=r"-{3,20} ?failure reasons\s{1,4}-{3,20}",
        recipient=_ALONE,
        before=True,
    ),
    Layout(
        name="imail",
        hints=(
            "unknown user: ",
            "unknown host: ",
            "user mailbox exceeds allowed size: ",
            "delivery failed ",
            "undeliverable to ",
            "invalid final delivery userid: ",
        ),
        recipient=r"(?P<w>(?:Unknown (?:user|host)|User mailbox exceeds allowed size|Delivery failed \d{1,6} attempts|undeliverable to|Invalid final delivery userid)"
        rf":? (?P<a>{ADDRESS}).*)$",
    ),
    Layout(
        name="ezweb",
        hints=(
            "each of the following recipients was rejected by a remote mail server",
            "each of the following recipients was rejected by a remote\nmail server",
            "the user(s) account is ",
            "your message was not delivered within",
            "the following recipients did not receive this message",
            "the following recipients did not receive your message",
            "this message was undeliverable due to the following reason",
        ),
        recipient=r"\s{0,8}(?:Recipient: )?<(?P<a>[^<>\s]{1,320}@[^<>\s]{1,255})>[ \t]*$",
        stop=r"\s{0,8}(?:please reply to|the following is a|if you do not understand)",
        before=True,
    ),
    Layout(
        name="kddi",
        hints=("could not be delivered to: <",),
        recipient=r"\s{0,12}Could not be delivered to: <(?P<a>[^<>\s]{1,320})>",
    ),
    Layout(
        name="mimecast",
        hints=("to the following address could not be delivered:\n--", "addressed to email address :\n"),
        recipient=rf"-- (?P<a>{ADDRESS})[ \t]*$",
        reason=r"\s{0,4}(?:could not be delivered\. )?The problem appears to be",
        stop=r"\s{0,4}This condition occurred after",
        skip=r"\s{0,4}(?:Additional information follows|With subject)",
    ),
    Layout(
        name="vadesecure",
        hints=("returned an error:\n",),
        recipient=rf"\s{{0,8}}\* \[(?P<a>{ADDRESS})\]: (?P<w>.*)$",
        stop=r"original message details",
    ),
    Layout(
        name="mailfoundry",
        hints=("delivery failed for the following reason:",),
        recipient=r"Unable to deliver message to: <(?P<a>[^<>\s]{1,320})>",
        skip=r"Delivery failed for the following reason",
        stop=r"This has been a permanent",
    ),
    Layout(
        name="m-filter",
        hints=("-------server message",),
        recipient=rf"(?P<a>{ADDRESS})[ \t]*$",
        reason=r"-{7}server message",
        stop=r"-{7}(?:SMTP command|original)",
    ),
    Layout(
        name="aol",
        hints=("your mail to the following recipients could not be delivered because",),
        start=r"(?=could not be delivered because)",
        recipient=r"[ \t]{1,8}(?P<a>[\w.@-]{1,128})[ \t]*$",
        before=True,
    ),
    Layout(
        name="failed-list",
        hints=(
            "failed addresses follow:",
            "failed recipients -----",
            "had delivery errors---",
            "the following addresses did not receive",
        ),
        start=r"(?:failed addresses follow|failed recipients|had delivery errors|did not receive a copy of your message)[ :=|-]*\n",
        recipient=rf"\s{{0,4}}(?:> )?<?(?P<a>{ADDRESS})>?(?:[ \t]*$|[ \t]*(?P<w>(?:\.\.\.|:|\[).*)$)",
        skip=r"--- Session Transcript",
    ),
    Layout(
        name="returned-permanent",
        hints=(
            "the following recipients returned permanent errors:",
            "the following recipients returned temporary errors:",
            "> rejected recipient <",
        ),
        recipient=r"(?:The following recipients returned (?:permanent|temporary) errors:|SMTP Server <[^<>\n]{1,255}> rejected recipient)"
        rf" <?(?P<a>{ADDRESS})>?\.?(?: (?P<w>.*))?$",
    ),
    Layout(
        name="groupwise",
        hints=("was undeliverable to the following:", "had the following undeliverable recipient"),
        start=r"undeliverable (?:to the following|recipient\(s\)):[ \t]*\n",
        recipient=rf"[ \t]{{1,16}}(?P<a>{ADDRESS}|[\w.+-]{{1,64}}(?= \())[ \t]*(?:\((?P<w>[^\n]*)\))?[ \t]*$",
        reason=r"\s{0,4}(?:Transcript of session follows|Response):(?P<w>.*)$",
        skip=r"\s{0,4}Command:",
        stop=r"possibly truncated original message",
    ),
    Layout(  # amavis without its status part; what it tells recipients and administrators has no such sentence
        name="amavis",
        hints=("presumably from you", "carried your return address", "message was not relayed to:"),
        recipient=rf"(?:-> )?<?(?P<a>{ADDRESS})>?(?::[ \t]*(?P<w>.*))?$",
        stop=r"our internal reference code",
        above=True,
    ),
    Layout(  # fml, a list manager: to a list that does not take the message
        name="fml",
        hints=("original mail as follows",),
        recipient=r"(?P<w>[^<>\n]{3,200})<(?P<a>[^<>\s]{1,320}@[^<>\s]{1,255})>[^<>\n]{0,80}$",
        stop=r"original mail as follows",
        senders=("-admin@", "owner-", "fml"),
    ),
)

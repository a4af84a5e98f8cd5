"""The dialects: what mail systems write that is not RFC 3464, who did not get the message and in which words."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bounceparse.codes import Action, Phase
from bounceparse.dialects import ORDER, claims, fill, read_prose
from bounceparse.dialects.flufl import read_flufl
from bounceparse.dialects.prose import Prose
from bounceparse.formats.dsn import read_delivery_reports
from bounceparse.mime import Mail
from bounceparse.reports import DeliveryReport

FAILED, DELAYED = Action.FAILED, Action.DELAYED
COPY = """Return-Path: <news@sender.example>
Message-ID: <20261122.1@sender.example>
From: News <news@sender.example>
To: jan@example.org
Subject: Your order

Body text. Write to wrong@example.net, it could not be delivered to nobody@example.net.
Message-ID: <never-this@example.net>
"""


def mail(
    body: str, *, sender: str = "MAILER-DAEMON@mx.example.com", subject: str = "failure notice", head: str = ""
) -> Mail:
    """A mail of one text part."""
    text = f"From: {sender}\nTo: news@sender.example\nSubject: {subject}\n{head}Content-Type: text/plain; charset=utf-8\n\n{body}"
    return Mail(text.encode())


def with_message(body: str, **header: str) -> Mail:
    """A multipart/mixed of a text part and the returned message."""
    whole = mail("", **header).buffer.decode().partition("Content-Type")[0]
    return Mail(
        f"{whole}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"
        f"--b\nContent-Type: message/rfc822\n\n{COPY}\n--b--\n".encode()
    )


def read(message: Mail) -> tuple[str, DeliveryReport]:
    found = read_prose(message)
    assert found is not None
    return found


def told(report: DeliveryReport) -> list[tuple[str | None, Action | None]]:
    return [(entry.recipient, entry.action) for entry in report.recipients]


QMAIL = f"""Hi. This is the qmail-send program at mx.example.com.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<jan@example.org>:
192.0.2.7 does not like recipient.
Remote host said: 550-5.1.1 <jan@example.org>:
550 5.1.1 no such user
Giving up on 192.0.2.7.

<ewa@example.net>:
Connected to 192.0.2.8 but sender was rejected.
Remote host said: 553 5.1.8 sender domain does not exist

--- Below this line is a copy of the message.

{COPY}"""


def test_qmail_each_paragraph_is_a_recipient():
    """QSBMF: two recipients, each with all lines of its reply, its phase and host, and the pasted copy's Message-ID."""
    name, report = read(mail(QMAIL))
    assert name == "qmail"
    assert told(report) == [("jan@example.org", FAILED), ("ewa@example.net", FAILED)]
    jan, ewa = report.recipients
    assert jan.diagnostic is not None
    assert "550-5.1.1" in jan.diagnostic
    assert "550 5.1.1 no such user" in jan.diagnostic
    assert (jan.phase, jan.remote_mta, jan.part) == (Phase.RCPT, "192.0.2.7", "text")
    assert (ewa.phase, ewa.remote_mta) == (Phase.MAIL, "192.0.2.8")
    assert report.original.message_id == "20261122.1@sender.example"
    assert report.original.subject == "Your order"


def test_the_returned_body_names_nobody():
    """Neither an address nor a Message-ID of the returned body is ever read."""
    name, report = read(mail(QMAIL.replace("<jan@example.org>:", "Nobody is named:").replace("<ewa@example.net>:", "")))
    assert "wrong@example.net" not in {entry.recipient for entry in report.recipients}
    assert "nobody@example.net" not in {entry.recipient for entry in report.recipients}
    assert report.original.message_id != "never-this@example.net"
    assert name != "qmail"


EXIM = "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n"

CASES: list[tuple[str, str, dict[str, str], str, list[tuple[str | None, Action]], str]] = [
    (
        "qmail",
        "polish introduction",
        {},
        "Bardzo nam przykro jednakze nie udalo sie wyslac maila.\n\n<jan@example.org>:\nZdalny host odpowiedzial: 550 5.1.1 nie ma takiego uzytkownika\n\n--- Below this line is a copy of the message.\n\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 nie ma takiego",
    ),
    (
        "yahoo",
        "Yahoo",
        {"subject": "Failure Notice"},
        "Sorry, we were unable to deliver your message to the following address.\n\n<jan@example.org>:\nRemote host said:\n554 delivery error: dd\n[RCPT_TO]\n\n--- Below this line is a copy of the message.\n\n",
        [("jan@example.org", FAILED)],
        "554 delivery error: dd [RCPT_TO]",
    ),
    (
        "exim",
        "Exim, multi-line reply and an alias",
        {},
        EXIM
        + "  jan@example.org\n    (generated from team@example.com)\n    host mx.example.org [192.0.2.9]\n    SMTP error from remote mail server after RCPT TO:<jan@example.org>:\n"
        "    550-5.2.1 first line\n    550 5.2.1 second line\n  ewa@example.net\n    Unrouteable address\n\n------ This is a copy of the message, including all the headers. ------\n\n",
        [("team@example.com", FAILED), ("ewa@example.net", FAILED)],
        "550-5.2.1 first line 550 5.2.1 second line",
    ),
    (
        "exim",
        "Exim, alias hidden",
        {},
        EXIM + "  an undisclosed address\n    (generated from team@example.com)\n    mailbox is full\n\n",
        [("team@example.com", FAILED)],
        "mailbox is full",
    ),
    (
        "exim",
        "Exim delay",
        {"subject": "Warning: message 1aBcDe-000001-2f delayed 24 hours"},
        "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue on mx.example.com.\n\n"
        "The message identifier is:     1aBcDe-000001-2f\nThe subject of the message is: Your order\n\nThe address to which the message has not yet been delivered is:\n\n"
        "  jan@example.org\n    host mx.example.org [192.0.2.9]\n    Delay reason: SMTP error from remote mail server after RCPT TO:<jan@example.org>:\n    451 4.7.1 Greylisted\n\nNo action is required on your part.\n",
        [("jan@example.org", DELAYED)],
        "451 4.7.1 Greylisted",
    ),
    (
        "exim",
        "Exim frozen",
        {"subject": "Message 1aBcDe-000001-2f frozen"},
        "Message 1aBcDe-000001-2f has been frozen (delivery error message).\nThe sender is <>.\n\nThe following address(es) have yet to be delivered:\n\n  jan@example.org: Unrouteable address\n",
        [("jan@example.org", DELAYED)],
        "Unrouteable address",
    ),
    (
        "exim",
        "1&1, GMX",
        {"subject": "Mail delivery failed: returning message to sender"},
        EXIM.replace("one or more of its\nrecipients", "one or more of\nits recipients").replace(
            "address(es) failed", "address\nfailed"
        )
        + '"jan@example.org":\nSMTP error from remote server after RCPT command:\nhost: mx.example.org\n5.1.1 <jan@example.org>... User unknown\n\n--- The header of the original message is following. ---\n\n',
        [("jan@example.org", FAILED)],
        "5.1.1 <jan@example.org>... User unknown",
    ),
    (
        "postfix",
        "Postfix prose",
        {"subject": "Undelivered Mail Returned to Sender"},
        "This is the mail system at host mx.example.com.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients. It's attached below.\n\n                   The mail system\n\n"
        "<jan@example.org> (expanded from <team@example.com>): host mx.example.org[192.0.2.9] said: 550\n    5.1.1 <jan@example.org>: User unknown (in reply to RCPT TO command)\n\n<ewa@example.net>: connect to mx.example.net[192.0.2.1]:25:\n    Connection timed out\n",
        [("jan@example.org", FAILED), ("ewa@example.net", FAILED)],
        "550 5.1.1 <jan@example.org>: User unknown",
    ),
    (
        "postfix",
        "Postfix delay",
        {"subject": "Delayed Mail (still being retried)"},
        "This is the mail system at host mx.example.com.\n\nYour message could not be delivered for more than 4 hour(s).\nIt will be retried until it is 5 day(s) old.\n\n<jan@example.org>: host mx.example.org[192.0.2.9] said: 451\n    try again (in reply to RCPT TO command)\n",
        [("jan@example.org", DELAYED)],
        "451 try again",
    ),
    (
        "postfix-session",
        "Postfix's transcript for the postmaster",
        {"subject": "Postfix SMTP server: errors from app.example.com[192.0.2.3]"},
        "Transcript of session follows.\n\n Out: 220 mx.example.com ESMTP\n In:  EHLO app.example.com\n Out: 250-mx.example.com\n Out: 250 CHUNKING\n In:  MAIL FROM:<news@sender.example>\n Out: 250 2.1.0 Ok\n"
        " In:  RCPT TO:<jan@example.org>\n Out: 550 5.1.1 <jan@example.org>: Recipient address rejected: User\n     unknown\n In:  RCPT TO:<ewa@example.net>\n Out: 451 4.3.0 later\n In:  QUIT\n Out: 221 2.0.0 Bye\n",
        [("jan@example.org", FAILED), ("ewa@example.net", DELAYED)],
        "550 5.1.1 <jan@example.org>: Recipient address rejected: User unknown",
    ),
    (
        "sendmail",
        "Sendmail 8 without MIME",
        {"subject": "Returned mail: see transcript for details"},
        "The original message was received at Sun, 22 Nov 2026 10:00:00 GMT\nfrom localhost [127.0.0.1]\n\n   ----- The following addresses had permanent fatal errors -----\n<jan@example.org>\n    (reason: 550-5.1.1 first line)\n"
        '"|/usr/bin/filter"\n    (reason: 70)\n    (expanded from: <team@example.com>)\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.org.:\n>>> DATA\n<<< 550-5.1.1 first line\n<<< 550 5.1.1 second line\n'
        "550 5.1.1 <jan@example.org>... User unknown\n<<< 503 5.0.0 Need RCPT (recipient)\n\n   ----- Original message follows -----\n\n",
        [("jan@example.org", FAILED), ("team@example.com", FAILED)],
        "550-5.1.1 first line 550 5.1.1 second line",
    ),
    (
        "sendmail",
        "Sendmail warning",
        {"subject": "Warning: could not send message for past 4 hours"},
        "    **********************************************\n    **      THIS IS A WARNING MESSAGE ONLY      **\n\nThe original message was received at Sun, 22 Nov 2026 10:00:00 GMT\n\n   ----- Transcript of session follows -----\n"
        "<jan@example.org>... Deferred: Connection refused by mx.example.org.\nWarning: message still undelivered after 4 hours\nWill keep trying until message is 5 days old\n",
        [("jan@example.org", DELAYED)],
        "Deferred: Connection refused",
    ),
    (
        "sendmail",
        "Sendmail 5",
        {"subject": "Returned mail: User unknown"},
        "   ----- Transcript of session follows -----\nWhile talking to mx.example.org:\n>>> RCPT To:<jan@example.org>\n<<< 550 <jan@example.org>... No such user here\n550 <jan@example.org>... User unknown\n"
        "550 <ewa@example.net>... Host unknown\n\n   ----- Unsent message follows -----\n",
        [("jan@example.org", FAILED), ("ewa@example.net", FAILED)],
        "550 <jan@example.org>... No such user here",
    ),
    (
        "opensmtpd",
        "OpenSMTPD prose",
        {"subject": "Delivery status notification: error"},
        "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this e-mail.\n\n    An error has occurred while attempting to deliver a message for\n    the following list of recipients:\n\n"
        "jan@example.org: 550 5.1.1 no such user\newa@example.net: Domain does not exist\n\n    Below is a copy of the original message:\n\n",
        [("jan@example.org", FAILED), ("ewa@example.net", FAILED)],
        "550 5.1.1 no such user",
    ),
    (
        "opensmtpd",
        "OpenSMTPD expiry, announced as a delay",
        {"subject": "Delivery status notification: delayed"},
        "    This is the MAILER-DAEMON, please DO NOT REPLY to this email.\n\n    A message is delayed for more than 4 days for the following\n    list of recipients:\n\njan@example.org: Envelope expired\newa@example.net: 451 later\n\n"
        "    Please note that this is only a temporary failure report.\n",
        [("jan@example.org", FAILED), ("ewa@example.net", DELAYED)],
        "Envelope expired",
    ),
    (
        "dma",
        "dma gives up",
        {"subject": "Mail delivery failed", "sender": "MAILER-DAEMON <>"},
        "This is the DragonFly Mail Agent v0.13 at mx.example.com.\n\nThere was an error delivering your mail to <jan@example.org>.\n\nCould not deliver for the last 432000 seconds. Giving up.\n\nMessage headers follow.\n\n",
        [("jan@example.org", FAILED)],
        "Could not deliver for the last",
    ),
    (
        "courier",
        "Courier",
        {"subject": "NOTICE: mail delivery status."},
        "This is a delivery status notification from mx.example.com,\nrunning the Courier mail server.\n\nThe original message was received on Sun, 22 Nov 2026 10:00:00 +0000\n\nUNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n"
        "<jan@example.org>:\n    mx.example.org [192.0.2.9]:\n>>> RCPT TO:<jan@example.org>\n<<< 550 5.1.1 User unknown.\n\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 User unknown.",
    ),
    (
        "exchange5",
        "Exchange 5.5",
        {"subject": "Undeliverable: Your order", "sender": "System Administrator <postmaster@example.org>"},
        "Your message\n\n  To:      jan@example.org\n  Subject: Your order\n  Sent:    Sun, 22 Nov 2026 10:00:00 +0100\n\ndid not reach the following recipient(s):\n\nc=US;a= ;p=Example;o=Site;dda:SMTP=jan@example.org; on Sun, 22 Nov 2026\n10:00:05 +0100\n"
        "    The recipient name is not recognized\n\tThe MTS-ID of the original message is: c=us;a= ;p=example;l=MAIL1\n    MSEXCH:IMS:Example:SITE:MAIL1 0 (000C05A6) Unknown Recipient\n",
        [("jan@example.org", FAILED)],
        "(000C05A6) Unknown Recipient",
    ),
    (
        "smtpsvc",
        "Windows SMTP service",
        {"subject": "Delivery Status Notification (Failure)", "sender": "postmaster@example.org"},
        "This is an automatically generated Delivery Status Notification.\n\nUnable to deliver message to the following recipients, due to being unable to connect successfully to the destination mail server.\n\n       jan@example.org\n       ewa@example.org\n",
        [("jan@example.org", FAILED), ("ewa@example.org", FAILED)],
        "unable to connect successfully",
    ),
    (
        "gmail",
        "Gmail before 2017",
        {
            "subject": "Delivery Status Notification (Failure)",
            "sender": "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        },
        "Delivery to the following recipient failed permanently:\n\n     jan@example.org\n\nTechnical details of permanent failure: \nGoogle tried to deliver your message, but it was rejected by the server for the recipient domain example.org by mx.example.org. [192.0.2.9].\n\n"
        "The error that the other server returned was:\n550 5.1.1 <jan@example.org>... User unknown\n\n----- Original message -----\n\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 <jan@example.org>... User unknown",
    ),
    (
        "gmail",
        "Gmail delay",
        {
            "subject": "Delivery Status Notification (Delay)",
            "sender": "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
        },
        "THIS IS A WARNING MESSAGE ONLY.\n\nDelivery to the following recipient has been delayed:\n\n     jan@example.org\n\nMessage will be retried for 2 more day(s)\n\nTechnical details of temporary failure: \nThe recipient server did not accept our requests to connect.\n\n",
        [("jan@example.org", DELAYED)],
        "did not accept our requests",
    ),
    (
        "domino",
        "Domino",
        {"subject": "DELIVERY FAILURE: User jan not listed in Domino Directory", "sender": "Postmaster@example.org"},
        "Your message\n\n  Subject: Your order\n\nwas not delivered to:\n\n  jan@example.org\n\nbecause:\n\n  User jan (jan@example.org) not listed in Domino Directory\n",
        [("jan@example.org", FAILED)],
        "not listed in Domino Directory",
    ),
    (
        "notes",
        "Lotus Notes: the reason above the address",
        {"subject": "Undeliverable message", "sender": "postmaster@example.org"},
        "------- Failure Reasons  --------\n\nUser not listed in public Name & Address Book\njan@example.org\n\n------- Returned Message --------\n",
        [("jan@example.org", FAILED)],
        "not listed in public Name",
    ),
    (
        "messaging-server",
        "Sun Messaging Server",
        {"subject": "Delivery Notification: Delivery has failed", "sender": "postmaster@example.org"},
        "This report relates to a message you sent with the following header fields:\n\n  Message-id: <20261122.1@sender.example>\n  Subject: Your order\n\nYour message cannot be delivered to the following recipients:\n\n"
        "  Recipient address: jan@ims-ms-daemon.example\n  Original address: jan@example.org\n  Reason: Over quota\n",
        [("jan@example.org", FAILED)],
        "Reason: Over quota",
    ),
    (
        "imail",
        "IMail",
        {"subject": "Undeliverable Mail", "sender": "Postmaster <postmaster@example.org>"},
        "Unknown user: jan@example.org\n\nRCPT TO generated following response:\n553 5.3.0 <jan@example.org>... Addressee unknown\n\nOriginal message follows.\n\n",
        [("jan@example.org", FAILED)],
        "Unknown user: jan@example.org",
    ),
    (
        "mailmarshal",
        "MailMarshal",
        {"subject": 'Undeliverable Mail: "Your order"', "sender": "postmaster@example.org"},
        "Your message:\n   From:    news@sender.example\n   Subject: Your order\nCould not be delivered because of\n\n550 5.1.1 User unknown\n\nThe following recipients were affected: \n   jan@example.org\n\nAdditional Information\n======================\nOriginal Sender:    <news@sender.example>\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 User unknown",
    ),
    (
        "hmailserver",
        "hMailServer",
        {"subject": "Undeliverable: Your order"},
        "Your message did not reach some or all of the intended recipients.\n\n   Sent: Sun, 22 Nov 2026 10:00:00 +0100\n   Subject: Your order\n\nThe following recipient(s) could not be reached:\n\njan@example.org\n   Error Type: SMTP\n   Remote server replied: 550 5.1.1 User unknown\n\nhMailServer\n",
        [("jan@example.org", FAILED)],
        "Remote server replied: 550 5.1.1",
    ),
    (
        "hmailserver",
        "Outlook's own notice in German",
        {"subject": "Unzustellbar: Ihre Bestellung", "sender": "Systemadministrator <postmaster@example.de>"},
        "Ihre Nachricht hat einige oder alle Empfänger nicht erreicht.\n\n      Betreff:  Ihre Bestellung\n      Gesendet am:      22.11.2026 10:00\n\nFolgende(r) Empfänger kann nicht erreicht werden:\n\n"
        "      'jan@example.org' am 22.11.2026 10:00\n            550 5.1.1 unknown user\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 unknown user",
    ),
    (
        "messagelabs",
        "MessageLabs",
        {"subject": "Mail Delivery Failure"},
        "This is the mail delivery agent at mx.example.com.\nI was unable to deliver your message to the following addresses:\n\njan@example.org\n\nReason: 550 Invalid recipient <jan@example.org>\n\nThe message subject was: Your order\n",
        [("jan@example.org", FAILED)],
        "550 Invalid recipient",
    ),
    (
        "mailenable",
        "MailEnable",
        {"subject": "Message Delivery Failure"},
        "MailEnable: Message could not be delivered to some recipients.\nThe following recipient(s) could not be reached:\n\n\tRecipient: [SMTP:jan@example.org]\n\tReason: Remote SMTP Server Returned: 550 no such user\n\nMessage headers follow:\n\n",
        [("jan@example.org", FAILED)],
        "550 no such user",
    ),
    (
        "mdaemon",
        "MDaemon",
        {"subject": "Permanent Delivery Failure", "sender": "MDaemon@example.com"},
        "The following addresses did NOT receive a copy of your message:\n\n> jan@example.org\n\n--- Session Transcript ---\n Attempting SMTP connection\n --> RCPT To:<jan@example.org>\n <-- 550 5.1.1 no such user\n --- End Transcript ---\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 no such user",
    ),
    (
        "interscan",
        "InterScan",
        {"subject": "Mail could not be delivered", "sender": '"InterScan MSS" <postmaster@example.com>'},
        "****** Message from InterScan Messaging Security Suite ******\n\nSent <<< RCPT TO:<jan@example.org>\nReceived >>> 550 5.1.1 user unknown\n\n",
        [("jan@example.org", FAILED)],
        "550 5.1.1 user unknown",
    ),
    (
        "mimecast",
        "Mimecast",
        {"subject": "[Postmaster] Email Delivery Failure"},
        "An email that you attempted to send to the following address could not be delivered:\n-- jan@example.org\n\nThe problem appears to be :\n-- Recipient email address is possibly incorrect\n\nAdditional information follows :\n-- 5.4.1 Recipient address rejected\n\nThis condition occurred after 1 attempt(s)\n",
        [("jan@example.org", FAILED)],
        "5.4.1 Recipient address rejected",
    ),
    (
        "zoho",
        "Zoho",
        {"subject": "Undelivered Mail Returned to Sender"},
        "This message was created automatically by mail delivery software.\nA message that you sent could not be delivered to one or more of its recipients. This is a permanent error. \n\njan@example.org Invalid Address, ERROR_CODE :550, ERROR_CODE :5.1.1 User Unknown\n\n",
        [("jan@example.org", FAILED)],
        "ERROR_CODE :5.1.1 User Unknown",
    ),
    (
        "ezweb",
        "au",
        {"subject": "Mail System Error - Returned Mail", "sender": "Postmaster@ezweb.example"},
        "The user(s) account is temporarily over quota.\n\n<jan@example.org>\n\n",
        [("jan@example.org", FAILED)],
        "temporarily over quota",
    ),
    (
        "groupwise",
        "GroupWise",
        {"subject": "Message status - undeliverable", "sender": "Postmaster <postmaster@example.org>"},
        "The message that you sent was undeliverable to the following:\n\tjan@example.org (user not found)\n",
        [("jan@example.org", FAILED)],
        "user not found",
    ),
    (
        "generic",
        "NetEase, bilingual",
        {"subject": "系统退信/Systems bounce", "sender": "Postmaster@example.cn"},
        "抱歉，您的邮件被退回来了……\n收件人邮件地址：\njan@example.org\n退信原因：\n用户不存在 (550 User not found: jan@example.org)\n",
        [("jan@example.org", FAILED)],
        "550 User not found",
    ),
    (
        "generic",
        "a sentence in Polish",
        {"subject": "Zwrot wiadomości", "sender": "postmaster@example.pl"},
        "Wiadomość wysłana na adres jan@example.org nie została dostarczona.\nPowód: skrzynka odbiorcy jest przepełniona.\nPytania prosimy kierować na pomoc@example.pl.\n",
        [("jan@example.org", FAILED)],
        "przepełniona",
    ),
    (
        "generic",
        "a sentence in German, delayed",
        {"subject": "Zustellung verzögert", "sender": "Postmaster <postmaster@example.de>"},
        "Ihre Nachricht an jan@example.org konnte nicht zugestellt werden. Weitere Zustellversuche folgen.\n",
        [("jan@example.org", DELAYED)],
        "konnte nicht zugestellt",
    ),
]


@pytest.mark.parametrize(
    ("dialect", "header", "body", "recipients", "words"),
    [(c[0], *c[2:]) for c in CASES],
    ids=[f"{c[0]}: {c[1]}" for c in CASES],
)
def test_dialect(
    dialect: str, header: dict[str, str], body: str, recipients: list[tuple[str | None, Action]], words: str
):
    """Each system's bounce is read by its dialect: all recipients, their action, the words about the first."""
    name, report = read(mail(body, **header))
    assert name == dialect
    by_any_name = [
        (recipient if recipient in (entry.recipient, entry.final_recipient) else entry.recipient, entry.action)
        for (recipient, _), entry in zip(recipients, report.recipients, strict=True)
    ]
    assert by_any_name == recipients
    assert report.recipients[0].diagnostic is not None
    assert words in report.recipients[0].diagnostic
    assert all(entry.part == "text" for entry in report.recipients)


ADMIN_BLOCKS = {
    "en": ("Diagnostic information for administrators:", "Generating server:", "Original message headers:"),
    "de": (
        "Diagnoseinformationen für Administratoren:",
        "Generierender Server:",
        "Ursprüngliche Nachrichtenkopfzeilen:",
    ),
    "fr": (
        "Informations de diagnostic pour les administrateurs :",
        "Serveur de génération :",
        "En-têtes de message d'origine :",
    ),
    "es": (
        "Información de diagnóstico para administradores:",
        "Generando servidor:",
        "Encabezados de mensajes originales:",
    ),
    "it": (
        "Informazioni di diagnostica per gli amministratori:",
        "Server di generazione:",
        "Intestazioni originali del messaggio:",
    ),
    "nl": ("Diagnostische gegevens voor beheerders:", "Bronserver:", "Oorspronkelijke berichtkoppen:"),
    "pt": (
        "Informações de diagnóstico para administradores:",
        "Servidor de origem:",
        "Cabeçalhos originais da mensagem:",
    ),
    "pl": ("Informacje diagnostyczne dla administratorów:", "Serwer generujący:", "Oryginalne nagłówki wiadomości:"),
    "ru": ("Диагностические сведения для администраторов:", "Создающий сервер:", "Исходные заголовки сообщения:"),
    "ja": ("管理者向けの診断情報:", "生成サーバー:", "元のメッセージ ヘッダー:"),
    "xx": ("Unknown heading of some language:", "Unknown label:", "Unknown headers:"),
}


@pytest.mark.parametrize("language", ADMIN_BLOCKS)
@pytest.mark.parametrize(
    "said",
    [
        "#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##",
        "Remote Server returned '550 5.1.10 RESOLVER.ADR.RecipientNotFound; not found'",
    ],
)
def test_exchange_administrators_block(language: str, said: str):
    """The block for administrators is read in every language, one not listed included; its headers are the original's."""
    heading, server, headers = ADMIN_BLOCKS[language]
    body = f"Jan Example<mailto:jan@example.org>\nThe address was not found. Try again.\n\n{heading}\n\n{server} MX1.example.org\n\njan@example.org\n{said}\n\n{headers}\n\n{COPY}"
    name, report = read(mail(body, subject="Undeliverable: Your order", sender="postmaster@example.org"))
    assert name == "exchange"
    assert told(report) == [("jan@example.org", FAILED)]
    assert report.recipients[0].diagnostic is not None
    assert said.strip("#' ") in report.recipients[0].diagnostic
    assert report.original.message_id == "20261122.1@sender.example"


def test_the_enclosed_message_is_the_original():
    """A returned message/rfc822 gives Message-ID and Subject."""
    _, report = read(
        with_message(
            "Hi. This is the qmail-send program at mx.example.com.\n\n<jan@example.org>:\nuser is over quota\n\n--- Enclosed is a copy of the message.\n"
        )
    )
    assert report.original.message_id == "20261122.1@sender.example"


def test_message_id_in_a_field_list_of_the_text():
    """Messaging Server lists the original's fields in its text: source ``text``."""
    case = next(c for c in CASES if c[0] == "messaging-server")
    _, report = read(mail(case[3], **case[2]))
    assert (report.original.message_id, report.original.message_id_from) == ("20261122.1@sender.example", "text")


def test_exchange5_names_the_message_by_subject_and_date():
    """Without a returned header the text's labels tell Subject, To and Sent."""
    case = next(c for c in CASES if c[0] == "exchange5")
    _, report = read(mail(case[3], **case[2]))
    assert report.original.subject == "Your order"
    assert report.original.date == "Sun, 22 Nov 2026 10:00:00 +0100"
    assert report.original.to_addresses == ("jan@example.org",)


def test_quoted_copy_is_dedented():
    """A copy quoted with ``>`` is still a header block."""
    quoted = "\n".join("> " + line for line in COPY.splitlines())
    _, report = read(
        mail(
            f'Delivery of email to this address\n\n"jan@example.org"\n\nhas failed due to a full mailbox.\n\nThe first 50 lines of your original message follow:\n{quoted}',
            subject="Mail Delivery Failure",
        )
    )
    assert report.original.message_id == "20261122.1@sender.example"


FORWARDED = f"""FYI, what is this?

---------- Forwarded message ---------
From: Mail Delivery System <MAILER-DAEMON@mx.example.com>
Date: Sun, 22 Nov 2026 at 10:00
Subject: failure notice
To: <news@sender.example>


{QMAIL}"""


@pytest.mark.parametrize(
    "marker",
    [
        "---------- Forwarded message ---------",
        "-------- Weitergeleitete Nachricht --------",
        "Begin forwarded message:",
        "-----Original Message-----",
        "-------- Treść przekazanej wiadomości --------",
    ],
)
def test_a_forwarded_bounce_is_read_and_marked(marker: str):
    """A bounce that a person forwards is read as what it is, with the defect ``forwarded``."""
    message = mail(
        FORWARDED.replace("---------- Forwarded message ---------", marker),
        sender="Jan <jan@shop.example>",
        subject="Fwd: failure notice",
    )
    name, report = read(message)
    assert name == "qmail"
    assert [entry.recipient for entry in report.recipients] == ["jan@example.org", "ewa@example.net"]
    assert message.defects == ["forwarded"]


ORDINARY = {
    "a reply that quotes a bounce": mail(
        "We got this:\n\n" + "\n".join("> " + line for line in QMAIL.splitlines()),
        sender="Jan <jan@shop.example>",
        subject="Re: failure notice",
        head="In-Reply-To: <x@example.com>\n",
    ),
    "a reply below Outlook's line": mail(
        "What now?\n\n-----Original Message-----\nFrom: MAILER-DAEMON@mx.example.com\nSubject: failure notice\n\n"
        + QMAIL,
        sender="Jan <jan@shop.example>",
        subject="Re: question",
    ),
    "a vacation notice": mail(
        "My mailbox is full of mail, delivery has not failed. Write to ewa@example.net.",
        sender="Jan <jan@example.org>",
        subject="Auto: Mailbox full? Upgrade",
        head="Return-Path: <>\nAuto-Submitted: auto-replied\n",
    ),
    "a forwarded sentence in no known format": mail(
        "---------- Forwarded message ----------\nFrom: Mail Delivery Subsystem <mailer-daemon@example.com>\n\nYour message was not delivered to jan@example.org because the address could not be found.\n",
        sender="Jan <jan@shop.example>",
        subject="Fwd: Delivery Status Notification (Failure)",
    ),
    "a newsletter about bounces": mail(
        "Why could your mail not be delivered? Write to help@example.net",
        sender="News <news@example.net>",
        subject="Undeliverable mail: ten tips",
        head="List-Unsubscribe: <mailto:off@example.net>\n",
    ),
    "a person": mail("Hello, my address is jan@example.org.", sender="Jan <jan@example.org>", subject="Hello"),
    "spam from a postmaster": mail(
        "Increase your sales today! Visit http://example.net/", sender="postmaster@example.net", subject="Great offer"
    ),
    "a customer's complaint": mail(
        "My parcel was not delivered to me, user unknown they said. jan@example.org",
        sender="Jan <jan@example.org>",
        subject="Order 5",
    ),
    "nothing at all": Mail(b""),
}


@pytest.mark.parametrize("what", ORDINARY)
def test_ordinary_mail_is_declined(what: str):
    """No dialect reads mail that reports nothing."""
    assert read_prose(ORDINARY[what]) is None


def test_flufl_tells_recipients_without_words():
    """The detectors of flufl.bounce name recipients; reasons and words they have none."""
    report = read_flufl(Prose(mail("Delivery to the following recipients failed.\n\n       jan@example.org\n\n")))
    assert report is not None
    assert told(report) == [("jan@example.org", FAILED)]
    assert report.recipients[0].diagnostic is None


def test_flufl_survives_what_its_detectors_do_not(capfd: pytest.CaptureFixture[str]):
    """A detector that raises (no From field) finds nothing, and prints nothing."""
    assert read_flufl(Prose(Mail(b"Subject: failure notice\n\nnothing of use here\n"))) is None
    assert capfd.readouterr() == ("", "")


def test_the_order_is_unique_in_its_last_places():
    """The guessing readers come after all that know a format."""
    assert [dialect.name for dialect in ORDER][-2:] == ["generic", "flufl"]


def test_claims_name_the_winner_first():
    """``claims`` lists every dialect that would read a mail, the one that does first."""
    for dialect, _, header, body, _, _ in CASES:
        assert claims(mail(body, **header))[0] == dialect


def dsn(text: str, block: str, *, sender: str = "MAILER-DAEMON@mx.example.com") -> Mail:
    return Mail(
        f"From: {sender}\nSubject: x\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\n\n{text}\n--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.example.com\n\n{block}\n--b--\n".encode()
    )


def filled(text: str, block: str) -> DeliveryReport:
    message = dsn(text, block)
    (report,) = read_delivery_reports(message)
    return fill(message, report)


def test_fill_opensmtpd():
    """OpenSMTPD writes no Diagnostic-Code: each recipient gets its own line."""
    report = filled(
        "    the following list of recipients:\n\njan@example.org: 550 5.1.1 no such user\newa@example.net: 552 5.2.2 over quota\n\n    Below is a copy of the original message:\n",
        "Final-Recipient: rfc822; jan@example.org\nAction: failed\nStatus: 5.0.0\n\nFinal-Recipient: rfc822; ewa@example.net\nAction: failed\nStatus: 5.0.0\n",
    )
    assert [(entry.diagnostic, entry.part) for entry in report.recipients] == [
        ("550 5.1.1 no such user", "text"),
        ("552 5.2.2 over quota", "text"),
    ]


def test_fill_sendmail_transcript():
    """Sendmail's Diagnostic-Code holds the first line only; the transcript's whole reply becomes ``text``."""
    report = filled(
        "   ----- The following addresses had permanent fatal errors -----\n<jan@example.org>\n    (reason: 550-5.7.1 first line of the reply)\n\n   ----- Transcript of session follows -----\n... while talking to mx.example.org.:\n>>> DATA\n<<< 550-5.7.1 first line of the reply\n<<< 550 5.7.1 blocked\n554 5.0.0 Service unavailable\n",
        "Final-Recipient: RFC822; jan@example.org\nAction: failed\nStatus: 5.7.1\nDiagnostic-Code: SMTP; 550-5.7.1 first line of the reply\n",
    )
    (entry,) = report.recipients
    assert entry.diagnostic == "550-5.7.1 first line of the reply"
    assert entry.text == "550-5.7.1 first line of the reply 550 5.7.1 blocked"


def test_fill_exim_delay():
    """An Exim delay warning without Diagnostic-Code: the indented words, not the advice below them."""
    report = filled(
        "The address to which the message has not yet been delivered is:\n\n  jan@example.org\n    host mx.example.org [192.0.2.9]\n    Delay reason: SMTP error from remote mail server after RCPT TO:<jan@example.org>:\n    451 try later\n\nNo action is required on your part.\n",
        "Action: delayed\nFinal-Recipient: rfc822;jan@example.org\nStatus: 4.0.0\n",
    )
    (entry,) = report.recipients
    assert entry.diagnostic is not None
    assert entry.diagnostic.endswith("451 try later")
    assert (entry.phase, entry.remote_mta) == (Phase.RCPT, "mx.example.org")


def test_fill_gmail_sentence():
    """Gmail's sentence about the recipient where the status part has none."""
    report = filled(
        "** Address not found **\n\nYour message wasn't delivered to jan@example.org because the address couldn't be found.\n",
        "Final-Recipient: rfc822; jan@example.org\nAction: failed\nStatus: 5.0.0\n",
    )
    assert (
        report.recipients[0].diagnostic
        == "Your message wasn't delivered to jan@example.org because the address couldn't be found."
    )


def test_fill_leaves_what_is_told():
    """A diagnostic in words stays, and a sentence without a cause is none."""
    block = "Final-Recipient: rfc822; jan@example.org\nAction: failed\nStatus: 5.1.1\n"
    assert (
        filled(
            "Your message to jan@example.org: something else entirely",
            block + "Diagnostic-Code: smtp; 550 5.1.1 user unknown\n",
        )
        .recipients[0]
        .text
        is None
    )
    assert (
        filled("Delivery to the following recipients failed.\n\n       jan@example.org\n", block)
        .recipients[0]
        .diagnostic
        is None
    )


@pytest.mark.parametrize(
    "text",
    [
        "a@" * 30_000,
        "<" * 60_000,
        "(" * 60_000,
        "jan@example.org:\n" * 4000,
        "  \n" * 20_000,
        "<<< 550 x\n" * 6000,
        " In:  x\n" * 8000,
        "\t" * 60_000 + "x",
        "----- the following addresses had permanent fatal errors -----\n" * 1000,
    ],
)
def test_hostile_text(text: str):
    """Whatever stands in the text, some answer comes and nothing is raised."""
    for head in (
        "",
        "Transcript of session follows.\n\n Out: 220 x\n",
        "The following address(es) failed:\n\n",
        "did not reach the following recipient(s):\n",
        "Delivery to the following recipient failed permanently:\n",
    ):
        read_prose(mail(head + text))


def test_importing_the_dialects_imports_no_detectors():
    """flufl.bounce and the standard library's parser wait for the first mail that needs them."""
    code = "import sys, bounceparse.dialects; print(sorted(m for m in sys.modules if m in ('flufl.bounce', 'email.parser')))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"

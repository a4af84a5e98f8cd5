"""How far the reading of prose reaches: shapes that no format describes are read, what only speaks of bounces is not."""

from __future__ import annotations

import pytest

from bounceparse import classify, parse
from bounceparse.codes import Action
from bounceparse.reports import Kind

RETURNED = "From: News <news@shop.example>\nTo: jan@example.org\nSubject: Your order\nMessage-ID: <77@shop.example>\n"
QMAIL = "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\n\n<jan@example.org>:\n550 5.1.1 User unknown\n"
POSTFIX = "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\nbe delivered to one or more recipients. It's attached below.\n\n<jan@example.org>: host mx.example.org[192.0.2.4] said: 550 5.1.1 unknown\n"
GMAIL = "Delivery to the following recipient failed permanently:\n\n     jan@example.org\n\n550 5.1.1 user unknown\n"
ALARMING = {"hardbounce", "softbounce", "spambounce", "deferred", "complaint", "unsubscribe", "ok"}


def message(sender: str, subject: str, body: str, head: str = "", *, returned: bool = False) -> bytes:
    """A mail of one part, or of a part and a returned header."""
    top = f"{head}From: {sender}\nTo: news@shop.example\nSubject: {subject}\nMIME-Version: 1.0\n"
    text = f"Content-Type: text/plain; charset=utf-8\n\n{body}"
    if not returned:
        return (top + text).encode()
    parts = f"--b\n{text}\n--b\nContent-Type: text/rfc822-headers\n\n{RETURNED}\n--b--\n"
    return (top + "Content-Type: multipart/mixed; boundary=b\n\n" + parts).encode()


PERSON = "Return-Path: <anna@example.com>\n"
ORDINARY = {
    "an answer that quotes a bounce": (
        "Anna <anna@example.com>",
        "Re: Undelivered Mail Returned to Sender",
        "Please correct the address.\n\n" + "\n".join("> " + line for line in QMAIL.split("\n")),
        PERSON,
    ),
    "somebody pastes a bounce": (
        "Anna <anna@example.com>",
        "Undeliverable mail",
        f"Hello, please help:\n\n{QMAIL}\nAnna\n",
        PERSON,
    ),
    "somebody pastes a Postfix bounce": (
        "Anna <anna@example.com>",
        "Mail error",
        f"Hi, this came:\n\n{POSTFIX}\n",
        PERSON,
    ),
    "somebody pastes a bounce of Gmail": (
        "Anna <anna@example.com>",
        "delivery problem",
        f"Hi\n\n{GMAIL}\nAnna\n",
        PERSON,
    ),
    "a ticket with a bounce in it": (
        "Help <help@example.com>",
        "[RT #551] Undelivered Mail",
        f"A user sent:\n\n{POSTFIX}",
        PERSON,
    ),
    "a ticket acknowledged": (
        "Support <support@example.com>",
        "[#1234] Mail delivery problem",
        "Received: 'my mail to jan@example.org was not delivered, 550 user unknown'.\n",
        "Return-Path: <>\n",
    ),
    "an issue tracker": (
        "Tracker <jira@example.com>",
        "[JIRA] (MAIL-7) Delivery failure for jan@example.org",
        GMAIL,
        PERSON,
    ),
    "a mailing list about mail": (
        "Viktor <viktor@example.com>",
        "Bounce handling",
        "Mail that cannot be delivered comes back:\n\n<jan@example.org>: user unknown\n",
        PERSON + "List-Id: <users.example.com>\n",
    ),
    "a newsletter about bounces": (
        "Weekly <news@example.com>",
        "Bounce rates explained",
        f"'User unknown' for jan@example.org says that it could not be delivered:\n\n{POSTFIX}",
        PERSON,
    ),
    "a weekly report about bounces": (
        "Reports <postmaster@example.com>",
        "Your weekly delivery report",
        "Messages that could not be delivered this week:\n\njan@example.org: 550 user unknown\n",
        PERSON,
    ),
    "a parcel that came back": (
        "Post <noreply-delivery@example.com>",
        "Returned to sender: your parcel",
        "The parcel that you sent to Jan, jan@example.org, was returned: the address does not exist.\n",
        PERSON,
    ),
    "a parcel that was delivered": (
        "Post <delivery@example.com>",
        "Delivery notification",
        "Your parcel has been delivered to jan@example.org.\n",
        PERSON,
    ),
    "a customer's complaint": (
        "Ewa <ewa@example.org>",
        "delivery error",
        "My order was not delivered. ewa@example.org\n",
        PERSON,
    ),
    "a customer's complaint in German": (
        "Ewa <ewa@example.org>",
        "Fehler bei der Zustellung",
        "Meine Bestellung konnte nicht zugestellt werden. Bitte melden: ewa@example.org\n",
        PERSON,
    ),
    "a person tells of a new address": (
        "Ewa <ewa@example.org>",
        "Mail error",
        "Your message to me could not be delivered because my mailbox was full.\n\nNew address:\newa2@example.org\n",
        PERSON,
    ),
    "a postmaster's account notice": (
        "postmaster@example.org",
        "Account created",
        "The account jan@example.org did not exist and has been created.\n",
        PERSON,
    ),
    "a postmaster's statistics": (
        "postmaster@example.org",
        "Postfix log summaries",
        "message bounce detail\n-----\n   2   550 5.1.1 <jan@example.org>: user unknown\n",
        PERSON,
    ),
    "a quarantine digest": (
        "Spam Quarantine <postmaster@example.org>",
        "Spam quarantine summary",
        "These were not delivered to your inbox:\n\n  offers@example.net   Cheap pills\n",
        PERSON,
    ),
    "phishing in a bounce's clothes": (
        "Postmaster <postmaster@example.net>",
        "Mail delivery failure - action required",
        "5 emails could not be delivered to your inbox: http://example.net/r?e=news@shop.example\n",
        PERSON,
    ),
    "spam in a bounce's clothes": (
        "MAILER-DAEMON",
        "failure notice",
        "You were charged. Write to pills@example.net.\n",
        PERSON,
    ),
}


@pytest.mark.parametrize("what", ORDINARY)
@pytest.mark.parametrize("path", ["with", "without"])
def test_what_only_speaks_of_bounces_alarms_nobody(what: str, path: str) -> None:
    """Neither with its Return-Path nor saved without it."""
    sender, subject, body, head = ORDINARY[what]
    raw = message(sender, subject, body, head if path == "with" else head.partition("\n")[2])
    assert not {outcome.status.value for outcome in classify(parse(raw))} & ALARMING


DAEMON = "Return-Path: <>\n"
READ = {
    "a language that nobody taught": (
        "Posts <postmaster@example.org>",
        "Jūsu vēstule",
        "Vēstuli nevarēja piegādāt:\n\n   jan@example.org\n",
        ["jan@example.org"],
    ),
    "a table with words": (
        "Mercury <postmaster@example.org>",
        "Notification of failed delivery",
        "These were not delivered:\n   jan@example.org : 550 Recipient unknown\n   ewa@example.org : No response\n",
        ["jan@example.org", "ewa@example.org"],
    ),
    "two in one sentence": (
        "Mail <MAILER-DAEMON@example.org>",
        "Undeliverable",
        "The message to <jan@example.org>, <ewa@example.org> was undeliverable.\n",
        ["jan@example.org", "ewa@example.org"],
    ),
    "an address glued to Chinese": (
        "MAILER-DAEMON@example.org",
        "退信",
        "退信原因：收件人jan@example.org的邮箱不存在。\n",
        ["jan@example.org"],
    ),
    "an address glued to Korean": (
        "MAILER-DAEMON@example.org",
        "반송",
        "메일이 jan@example.org로 전송되지 못했습니다.\n",
        ["jan@example.org"],
    ),
    "a bare user with the domain of the returned message": (
        "Mailer <postmaster@example.org>",
        "Message status - undeliverable",
        "The message that you sent was undeliverable to the following:\n\tjan (user not found)\n",
        ["jan@example.org"],
    ),
    "the recipient among other addresses": (
        "MAILER-DAEMON@example.org",
        "Mail Delivery Failed",
        "The message cannot be delivered.\n\nMessage Token: ddd@rp.example.net\nMail from: b@shop.example\nRcpt To: jan@example.org\n",
        ["jan@example.org"],
    ),
    "nobody named at all": (
        "MAILER-DAEMON@example.org",
        "Undelivered Mail",
        "The mail could not be delivered.\n",
        ["jan@example.org"],
    ),
    "an alias expanded by Postfix": (
        "MAILER-DAEMON@example.org",
        "Undelivered Mail",
        'This is the mail system at host mx.example.org.\n\n<"|/usr/bin/p"@mx.example.org> (expanded from <jan@example.org>): Command died\n',
        ["jan@example.org"],
    ),
    "a list that does not take the message": (
        "team-admin@example.org",
        "NOT MEMBER article",
        "You are not a member of the mailing list <jan@example.org>.\n\nOriginal mail as follows:\n\n",
        ["jan@example.org"],
    ),
    "a session that names the recipient": (
        "MDaemon@mx.example.org",
        "Permanent Delivery Failure",
        " Fri 2026-11-20 09:00:02: --> RCPT To:<jan@example.org>\n Fri 2026-11-20 09:00:03: <-- 550 5.1.1 No such user\n",
        ["jan@example.org"],
    ),
}


@pytest.mark.parametrize("what", READ)
def test_a_mail_systems_unknown_words_are_read(what: str) -> None:
    """With a returned header: the recipients, and the Message-ID of what came back."""
    sender, subject, body, recipients = READ[what]
    report = parse(message(sender, subject, body, DAEMON, returned=True))
    assert report.kind is Kind.DELIVERY
    outcomes = classify(report)
    assert [outcome.recipient for outcome in outcomes] == recipients
    assert {outcome.message_id for outcome in outcomes} == {"77@shop.example"}


def test_each_row_of_a_table_has_its_own_fate() -> None:
    """PowerMTA's list: one failed, one still tried."""
    body = "Delivery status:\n\n  <jan@example.org>  delivery failed; will not continue trying\n  <ewa@example.org>  delivery delayed; will continue trying\n"
    outcomes = classify(parse(message("postmaster@example.org", "Delivery report", body, DAEMON, returned=True)))
    assert [(o.recipient, o.action) for o in outcomes] == [
        ("jan@example.org", Action.FAILED),
        ("ewa@example.org", Action.DELAYED),
    ]


@pytest.mark.parametrize(
    "label", ["The message identifier was:", "Original Message ID:", "Orginal Message ID:", "Message Id:"]
)
def test_a_labelled_message_id_is_found(label: str) -> None:
    """In the text, when nothing is returned; a queue's identifier is none."""
    for value, wanted in (("<9@shop.example>", "9@shop.example"), ("1tDxyz-0001ab-Cd", None)):
        body = f"Your message could not be delivered to:\n\njan@example.org\n\n{label} {value}\n"
        (outcome,) = classify(parse(message("MAILER-DAEMON@example.org", "Undeliverable", body, DAEMON)))
        assert outcome.message_id == wanted


def test_a_program_without_a_systems_name_is_believed_by_its_phrase() -> None:
    """A bounce from somebody's address: the sentence of a program, the recipient alone behind it."""
    raw = message(
        "spi@example.org",
        "RE: x : non remis",
        "Your message could not be delivered to\njan@example.org\n",
        "Return-Path: <spi@example.org>\n",
    )
    assert [outcome.recipient for outcome in classify(parse(raw))] == ["jan@example.org"]

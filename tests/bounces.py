"""Bounces made to order for tests of polling."""

from __future__ import annotations

_DSN = """\
From: MAILER-DAEMON@mx.example.pl
To: bounces@example.com
Subject: Undelivered Mail Returned to Sender
Date: Fri, 2 Jan 2026 10:00:00 +0100
Message-ID: <dsn{number}@mx.example.pl>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

I'm sorry, <user{number}@example.pl> is not known here.{padding}

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.pl

Final-Recipient: rfc822; user{number}@example.pl
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b
Content-Type: text/rfc822-headers

From: shop@example.com
To: user{number}@example.pl
Message-ID: <{number}@shop.example>
Subject: Hello

--b--
"""


def dsn(number: int, padding: int = 0) -> bytes:
    """A bounce of the message to ``user{number}@example.pl``, made longer by ``padding`` bytes of text."""
    lines = "\n".join("x" * 70 for _ in range(padding // 71))
    return _DSN.format(number=number, padding=f"\n{lines}" if lines else "").encode()


def dsns(count: int) -> list[bytes]:
    """So many different bounces."""
    return [dsn(number) for number in range(1, count + 1)]

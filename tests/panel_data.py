"""A fortnight of a small sender, made to order: what the panel's tests look at, and its screenshots show.

python tests/panel_data.py FOLDER     makes FOLDER/panel.db with a user `ola`, and prints her password
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from outcome_factory import make_message, make_outcome

from bounceparse.codes import Action
from bounceparse.db import Store, parse_sent, upgrade
from bounceparse.health import HealthSettings
from bounceparse.outcomes import Status
from bounceparse.reading import Place, ReadMessage
from bounceparse.reports import Kind, Report

DAYS = 14
PASSWORD = "wind over the harbour"
STREAMS = {"orders": "transactional", "newsletter": "marketing", "invoices": "transactional"}
BOUNCES = (
    (
        "user-unknown",
        "gmail",
        "550-5.1.1 The email account that you tried to reach does not exist. Please try double-checking",
    ),
    ("user-unknown", "wp.pl", "550 5.1.1 <{to}>: Recipient address rejected: User unknown in virtual mailbox table"),
    ("mailbox-full", "onet.pl", "552 5.2.2 <{to}>: mailbox full, quota exceeded"),
    ("mailbox-full", "gmail", "452-4.2.2 The recipient's inbox is out of storage space"),
    (
        "greylisted",
        "interia.pl",
        "450 4.7.1 <{to}>: Recipient address rejected: Greylisted, please try again in 300 seconds",
    ),
    ("blocklisted", "outlook", "550 5.7.1 Service unavailable; Client host [192.0.2.25] blocked using block list"),
    ("spam-content", "wp.pl", "554 5.7.1 Message rejected as spam"),
    ("no-answer", None, "connect to mx.closed-shop.example[192.0.2.77]:25: Connection timed out"),
)


_REQUEST = """\
From: Marta Lis <marta@office.example>
To: newsletter@shop.example
Subject: please unsubscribe me
Message-ID: <u1@office.example>

Please unsubscribe me from your newsletter, I get too much mail.
"""


class Clock:
    """A clock that is set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def seed(store: Store, clock: Clock, now: datetime, *, a_day: int = 120) -> None:
    """Write the fortnight before ``now``, with ``clock`` (the store's) at each day in turn."""
    chosen = random.Random(7)
    for ago in range(DAYS - 1, -1, -1):
        day = now - timedelta(days=ago)
        clock.now = day
        rows = list(_sent_on(day, ago, a_day, chosen))
        store.import_sent(parse_sent(row) for row in rows)
        store.record(_reports(rows, ago, chosen))
        for mailbox in ("bounces", "complaints"):
            store.note_poll(mailbox)
    clock.now = now
    store.sweep()
    _customer(store)
    store.ingest(_REQUEST.encode())
    store.record_held(
        [
            ReadMessage(
                Place("bounces", "INBOX", 7, 9001),
                b"h" * 32,
                2345,
                Report(Kind.OTHER, None, (), ()),
                (),
                error="RecursionError: too many parts inside parts",
                raw=b"From: mailer@mx.example\r\nSubject: Delivery failure\r\n\r\nYour message to <jan@example.com> was refused:\r\n550 5.1.1 no such user\r\n",
            )
        ]
    )
    store.check_health()


def _sent_on(day: datetime, ago: int, a_day: int, chosen: random.Random) -> Iterator[dict[str, Any]]:
    weekend = day.weekday() >= 5
    for number in range(a_day // 3 if weekend else a_day + chosen.randrange(a_day // 4)):
        stream = chosen.choices(list(STREAMS), (5, 6, 2))[0]
        fate = "ok" if chosen.random() < 0.4 else "injected"
        yield {
            "message_id": f"{day:%Y%m%d}.{number}@shop.example",
            "recipient": f"{chosen.choice(('anna', 'jan', 'marta', 'piotr', 'ola', 'tomasz'))}{number}@{chosen.choice(('flowers', 'mail', 'office', 'garden'))}.example",
            "customer": f"K-{number + 2000}",
            "stream": stream,
            "sender": "garden",
            "category": STREAMS[stream],
            "from_address": f"{stream}@shop.example",
            "subject": {
                "orders": "Your order is on its way",
                "newsletter": "Our autumn offer",
                "invoices": "Your invoice",
            }[stream],
            "sent_at": (day - timedelta(minutes=chosen.randrange(1, 300))).isoformat(),
            "status": fate,
        }


def _reports(rows: list[dict[str, Any]], ago: int, chosen: random.Random) -> list[ReadMessage]:
    found = []
    for row in chosen.sample(rows, max(1, len(rows) * (9 if ago == 5 else 5) // 100)):
        reason, provider, said = chosen.choice(BOUNCES)
        fields: dict[str, Any] = {
            "recipient": row["recipient"], "message_id": row["message_id"], "provider": provider,
            "diagnostic": said.format(to=row["recipient"]), "reporting_mta": f"mx.{provider or 'closed-shop.example'}",
            "subject": row["subject"], "occurred_at": datetime.fromisoformat(row["sent_at"]) + timedelta(minutes=1),
        }  # fmt: skip
        if reason == "greylisted":
            fields |= {"status": Status.DEFERRED, "action": Action.DELAYED}
        found.append(make_message(make_outcome(reason, **fields)))
    for reason in ("abuse", "unsubscribe-request", "auto-reply"):
        row = chosen.choice(rows)
        plain = {
            "recipient": row["recipient"],
            "message_id": row["message_id"],
            "diagnostic": None,
            "subject": row["subject"],
        }
        if reason != "unsubscribe-request" or ago % 5 == 0:
            found.append(make_message(make_outcome(reason, **plain), account="complaints"))
    return found


def _customer(store: Store) -> None:
    """A customer with a dead address, a good one, and a message that was first delayed and then refused."""
    for number, name in enumerate(("office", "accounts")):
        store.record_sent(
            f"77120.{number}@shop.example",
            f"{name}@flowers.example",
            customer="K-1042",
            stream="orders",
            sender="garden",
            from_address="orders@shop.example",
            subject="Your order 77120 is on its way",
            sent_at=datetime.now(UTC).isoformat(),
        )
    told = {
        "recipient": "office@flowers.example",
        "message_id": "77120.0@shop.example",
        "provider": "onet.pl",
        "subject": "Your order 77120 is on its way",
    }
    store.record(
        [
            make_message(
                make_outcome(
                    "greylisted",
                    status=Status.DEFERRED,
                    action=Action.DELAYED,
                    **{**told, "diagnostic": "450 4.7.1 Greylisted, please try again in 300 seconds"},
                )
            )
        ]
    )
    store.record(
        [
            make_message(
                make_outcome(
                    "user-unknown",
                    **{
                        **told,
                        "diagnostic": "550 5.1.1 <office@flowers.example>: Recipient address rejected: User unknown",
                    },
                )
            )
        ]
    )


def main() -> None:
    """Make the database of the screenshots."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{folder / 'panel.db'}"
    (folder / "panel.db").unlink(missing_ok=True)
    upgrade(url)
    now = datetime.now(UTC)
    clock = Clock(now)
    with Store(url, clock=clock, health=HealthSettings(mailboxes=("bounces", "complaints"))) as store:
        seed(store, clock, now, a_day=700)
        store.stop_stream("invoices", by="ola", note="wrong amounts in the mailing of this morning")
        store.make_user("ola", PASSWORD, role="write")
    (folder / "bounceparse.toml").write_text('[database]\nurl = "sqlite:///panel.db"\n')
    print(PASSWORD)


if __name__ == "__main__":
    main()

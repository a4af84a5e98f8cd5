"""From the wire to the standing: requests and complaints that a real Dovecot took by LMTP are polled, matched and acted on."""

from __future__ import annotations

import json
import smtplib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from servers import PASSWORD, USER, Dovecot, free_ports, running_dovecot, skip

from bounceparse.cli import main

LMTP = """
protocols = imap lmtp
postmaster_address = postmaster@example.com
recipient_delimiter = +
lmtp_hdr_delivery_address = original
lmtp_save_to_detail_mailbox = no
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {port}
  }}
}}
"""
FROM_SHOP = "From: news@shop.example\nSubject: Autumn offer\nMessage-ID: <{}@shop.example>\n"


@contextmanager
def dovecot_with_lmtp() -> Iterator[tuple[Dovecot, smtplib.LMTP]]:
    if not Path("/usr/lib/dovecot/lmtp").exists():
        skip("Dovecot's LMTP server is not installed: apt-get install dovecot-lmtpd")
    (port,) = free_ports(1)
    with running_dovecot(extra=LMTP.format(port=port)) as server, smtplib.LMTP("127.0.0.1", port) as lmtp:
        yield server, lmtp


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return tmp_path / "bounceparse.toml"


def run(config: Path, *words: str) -> str:
    result = CliRunner().invoke(main, ["--config", str(config), *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def write(config: Path, database_url: str, port: int) -> None:
    config.write_text(
        f'[database]\nurl = "{database_url}"\n'
        f'[mailbox.answers]\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\nusername = "{USER}"\npassword = "{PASSWORD}"\n'
        'role = "mixed"\nauthserv_id = "mx.example.com"\n'
        '[policy]\nunsubscribe_addresses = ["unsubscribe@example.com"]\n'
        '[signing]\nkey_file = "keys"\nunsubscribe_address = "bounces+{token}@example.com"\ncomplaint_address = "bounces@example.com"\n'
    )


def complaint(returned: str) -> str:
    return (
        'From: fbl@provider.example\nSubject: FW: Autumn offer\nMIME-Version: 1.0\nContent-Type: multipart/report; report-type=feedback-report; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nA complaint.\n--b\nContent-Type: message/feedback-report\n\n"
        "Feedback-Type: abuse\nUser-Agent: Reporter/1.0\nVersion: 1\n\n"
        f"--b\nContent-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    )


def test_requests_and_complaints_delivered_by_lmtp_act_on_those_who_sent_them(config: Path, empty_url: str) -> None:
    """By token in the address, by words of an authentic sender, by a header-only report, by Message-ID; noise does nothing."""
    with dovecot_with_lmtp() as (server, lmtp):
        write(config, empty_url, server.plain)
        run(config, "keys", "new")
        run(config, "db", "upgrade")
        made = {}
        people = [f"p{number}@poczta.example" for number in range(5)]
        for number, person in enumerate(people):
            words = [
                "headers",
                "--json",
                "--message-id",
                f"{number}@shop.example",
                "--recipient",
                person,
                "--stream",
                "news",
            ]
            made[person] = json.loads(run(config, *words))["headers"]
        unsubscribe = made[people[0]]["List-Unsubscribe"].partition("mailto:")[2].partition("?")[0]
        mails = [
            (unsubscribe, f"From: {people[0]}\nTo: {unsubscribe}\nSubject: unsubscribe\n\n"),
            (USER, f"Authentication-Results: mx.example.com; dmarc=pass header.from=poczta.example\nFrom: {people[1]}\nTo: unsubscribe@example.com\nSubject: Wypisz mnie\n\n"),
            (USER, complaint(f"CFBL-Feedback-ID: {made[people[2]]['CFBL-Feedback-ID']}")),
            (USER, complaint(FROM_SHOP.format(3) + f"To: {people[3]}\n")),
            (USER, f"From: {people[4]}\nTo: news@shop.example\nSubject: Re: Autumn offer\nAuto-Submitted: auto-replied\nIn-Reply-To: <4@shop.example>\n\nI am away.\n"),
            (USER, f"From: {people[4]}\nTo: news@shop.example\nSubject: unsubscribe\n\n"),
        ]  # fmt: skip
        for recipient, mail in mails:
            lmtp.sendmail("sender@poczta.example", [recipient], mail.replace("\n", "\r\n").encode())
        (polled,) = [json.loads(line) for line in run(config, "poll", "--json").splitlines()]
        assert (polled["messages"], polled["outcomes"]) == (6, 6)
        rows = [json.loads(line) for line in run(config, "outcomes", "--json").splitlines()]
        found = {
            row["recipient"]: (row["status"], row["trust"], row["matched_by"])
            for row in rows
            if row["status"] != "notice"
        }
        assert found == {
            people[0]: ("unsubscribe", "verified", "token:unsubscribe"),
            people[1]: ("unsubscribe", "unverified", "from"),
            people[2]: ("complaint", "verified", "token:feedback-id"),
            people[3]: ("complaint", "correlated", "message-id:returned"),
            people[4]: ("unsubscribe", "unverified", None),
        }
        suppressed = [json.loads(line) for line in run(config, "suppressions", "list", "--json").splitlines()]
        assert sorted(row["subject"] for row in suppressed) == people[:4]
        assert {row["scope"] for row in suppressed} == {"marketing:"}
        (waiting,) = [json.loads(line) for line in run(config, "review", "list", "--json").splitlines()]
        assert (waiting["address"], waiting["why"]) == (people[4], "not-to-us")
        assert server.flags() == ["S"] * 6
        again = json.loads(run(config, "poll", "--json"))
        assert (again["messages"], again["new_outcomes"]) == (0, 0)

"""Signed return paths through a real server: every bounce that a real Dovecot took by LMTP is verified when it is polled."""

from __future__ import annotations

import json
from pathlib import Path

from servers import PASSWORD, USER
from test_delivered import dovecot_with_lmtp, run

MAIL = 25


def bounce(recipient: str, message_id: str) -> bytes:
    """What a mail server reports of a dead address; it returns no identifier of ours but the envelope it answers."""
    return (
        f"From: MAILER-DAEMON@mx.poczta.example\nTo: <>\nSubject: Undelivered\nMessage-ID: <r-{message_id}@mx.poczta.example>\n"
        'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        "--b\nContent-Type: text/plain\n\nNot delivered.\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.poczta.example\n\n"
        f"Final-Recipient: rfc822; {recipient}\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 User unknown\n--b--\n"
    ).replace("\n", "\r\n").encode()  # fmt: skip


def write(config: Path, url: str, port: int) -> None:
    config.write_text(
        f'[database]\nurl = "{url}"\n'
        f'[mailbox.bounces]\nrole = "return-path"\nhost = "127.0.0.1"\nport = {port}\ntls = "none"\nusername = "{USER}"\npassword = "{PASSWORD}"\n'
        'recipient_headers = ["Delivered-To", "Received"]\n[signing]\nkey_file = "keys"\nreturn_path = "bounces+{token}@example.com"\n'
        'message_id = "{token}@shop.example"\n'
    )


def test_bounces_to_signed_return_paths_are_verified_to_the_last(empty_url: str, tmp_path: Path) -> None:
    """As they went out, folded to either case, wrapped by a forwarder's SRS; a guess among them is a forgery."""
    config = tmp_path / "bounceparse.toml"
    with dovecot_with_lmtp() as (server, lmtp):
        write(config, empty_url, server.plain)
        run(config, "keys", "new")
        run(config, "db", "upgrade")
        people = [f"p{number}@poczta.example" for number in range(MAIL)]
        made = [json.loads(run(config, "headers", "--json", "--recipient", one, "--stream", "news")) for one in people]
        for number, (person, headers) in enumerate(zip(people, made, strict=True)):
            path = headers["return_path"]
            local = path.partition("@")[0]
            wrapped = f"SRS0=aB3d=TT=example.com={local}@forwarder.example"
            to, original = (
                (path, ""),
                (path.upper(), ""),
                (path.lower(), ""),
                (USER, wrapped),
                (USER, wrapped.lower()),
            )[number % 5]
            xtext = original.replace("+", "+2B").replace("=", "+3D")  # RFC 3461 section 4
            options = [f"ORCPT=rfc822;{xtext}"] if original else []
            lmtp.sendmail("", [to], bounce(person, str(number)), rcpt_options=options)
        local, _, token = made[0]["return_path"].partition("+")
        broken = f"{local}+{token[:20]}{'a' if token[20] != 'a' else 'b'}{token[21:]}"
        lmtp.sendmail("", [broken], bounce("victim@poczta.example", "guess"))
        (polled,) = [json.loads(line) for line in run(config, "poll", "--json").splitlines()]
        assert (polled["messages"], polled["failed"]) == (MAIL + 1, 0)
        rows = [json.loads(line) for line in run(config, "outcomes", "--json").splitlines()]
        found = {row["recipient"]: (row["status"], row["trust"], row["matched_by"]) for row in rows}
        assert found == dict.fromkeys(people, ("hardbounce", "verified", "token:return-path")) | {
            "victim@poczta.example": ("hardbounce", "forged", "token:return-path")
        }
        suppressed = [json.loads(line) for line in run(config, "suppressions", "list", "--json").splitlines()]
        assert sorted(row["subject"] for row in suppressed) == sorted(people)

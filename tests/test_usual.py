"""The quick way through what nearly all systems write answers as the way for everything does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bounceparse.formats.dsn
import bounceparse.mime
from bounceparse.formats.dsn import read_delivery_reports, split_blocks
from bounceparse.mime import Mail
from bounceparse.parse import parse

CORPUS = Path(__file__).parent.parent / "corpus"
REPORTS = [
    path
    for family in ("dsn", "postfix", "exim", "sendmail", "opensmtpd", "dovecot", "providers", "haraka", "feedback")
    for path in sorted((CORPUS / family).glob("*.eml"))
]
# What damages or changes a report where it is put in
PIECES = (
    *(
        b"\n",
        b"\n\n",
        b" ",
        b"\t",
        b"\n ",
        b"\n \n",
        b"\r",
        b"\r\n",
        b"--",
        b"\n--",
        b'"',
        b";",
        b":",
        b"=",
        b"<",
        b">",
    ),
    *(b"\x00", b"\x1b$B", b"\xc5\x82", b"\xff", b"=?", b"From ", b"\nFrom x\n", b"//", b"  ", b"@", b"("),
    *(b"\nContent-Type: text/html\n", b"\nContent-Type: multipart/mixed; boundary=x\n", b"\nContent-Type: text/plain"),
    *(b"\nContent-Transfer-Encoding: base64\n", b"\nContent-Transfer-Encoding: quoted-printable\n", b"charset=utf-7"),
    *(b"\nContent-Disposition: attachment\n", b"Content-Type: message/delivery-status\n\n", b"message/feedback-report"),
    *(b"\nAction: failed\n", b"\nStatus: 5.1.1\n", b"\nFinal-Recipient: rfc822; jan@example.pl\n", b"\nwords\n"),
    *(b"\nReporting-MTA: dns; x\n", b"\nMessage-ID: <2@example.com>\n", b"\nX-HmXmrOriginalRecipient: a@example.com\n"),
)


@contextmanager
def without_short_cuts() -> Iterator[None]:
    """Nothing is read the quick way, nothing is remembered."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounceparse.formats.dsn, "_read_usual", lambda mail: None)
        patch.setattr(bounceparse.formats.dsn, "_split_usual", lambda text, most: None)
        patch.setattr(bounceparse.mime, "read_head", lambda written: None)
        patch.setattr(bounceparse.mime, "HEADS", {})
        patch.setattr(import_module("bounceparse.parse"), "may_hold_feedback", lambda mail: True)
        yield


def told(raw: bytes) -> str:
    """All that a mail's report says, in words."""
    return repr(parse(raw))


def damaged(raw: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """``raw`` with each piece in the place of so many bytes, at that share of its length."""
    for share, length, piece in changes:
        at = int(share * len(raw))
        raw = raw[:at] + piece + raw[at + length :]
    return raw


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_the_corpus_is_read_alike_by_both_ways(end: bytes) -> None:
    usual = 0
    for path in REPORTS:
        raw = path.read_bytes().replace(b"\n", end)
        quick = told(raw)
        with without_short_cuts():
            assert told(raw) == quick, path
        usual += bounceparse.formats.dsn._read_usual(Mail(raw)) is not None
    assert usual > len(REPORTS) / 2


CHANGES: Any = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 40), st.sampled_from((b"", *PIECES))),
    min_size=1,
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(REPORTS), CHANGES)
def test_damaged_reports_are_read_alike_by_both_ways(path: Path, changes: list[tuple[float, int, bytes]]) -> None:
    raw = damaged(path.read_bytes(), changes)
    quick = told(raw)
    with without_short_cuts():
        assert told(raw) == quick


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            (
                *("Final-Recipient: rfc822; a@example.pl", "final-recipient : a", "Action: failed", "ACTION:delayed"),
                *(
                    "Status: 5.1.1",
                    "Diagnostic-Code: smtp; 550 no",
                    " folded",
                    "\tfolded  twice ",
                    " ",
                    "",
                    "",
                    "stray",
                ),
                *(
                    "http://example.com",
                    "Reporting-MTA: dns; x",
                    "Original-Recipient:",
                    ": x",
                    "X Y: z",
                    "Ä: ö",
                    "\x0b",
                ),
            )
        ),
        max_size=14,
    ),
    st.sampled_from(("\n", " \n", "\n\n", "\x00\n")),
    st.integers(0, 4),
)
def test_status_fields_are_parted_alike_by_both_ways(lines: list[str], end: str, most: int) -> None:
    text = end.join(lines)
    quick = split_blocks(text, most)
    with without_short_cuts():
        assert split_blocks(text, most) == quick


def test_a_report_as_written_by_most_systems_is_read_the_quick_way() -> None:
    """Else nothing of the above would tell anything."""
    mail = Mail((CORPUS / "postfix" / "aol-overquota.eml").read_bytes())
    report = bounceparse.formats.dsn._read_usual(mail)
    assert report is not None
    assert read_delivery_reports(mail) == (report,)

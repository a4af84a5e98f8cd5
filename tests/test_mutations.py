"""What a message goes through on its way must not change whom a report is about and what happened."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bounceparse.classify import classify
from bounceparse.mime import Mail
from bounceparse.parse import parse

CORPUS = Path(__file__).parent.parent / "corpus"
REPORT_FAMILIES = ("dsn", "providers", "feedback", "postfix", "exim", "sendmail", "opensmtpd", "dovecot", "disposition")
PROSE_FAMILIES = ("prose", "qmail", "dma", "autoreply", "unsubscribe", "challenge")
# Mails that are about their own line ends
BARE_CR = b"\r"


def verdict(raw: bytes) -> tuple[str, list[tuple[str, str, str | None, str | None]]]:
    """What must stay: kind, and each outcome's status, reason, recipient and Message-ID."""
    report = parse(raw)
    rows = [(str(o.status), o.reason, o.recipient, o.message_id) for o in classify(report)]
    return str(report.kind), rows


def fate(raw: bytes) -> tuple[str, list[tuple[str, str | None]]]:
    """Less of it: status and recipient. Lines that are broken may cut the words that tell one reason from another."""
    kind, rows = verdict(raw)
    return kind, [(status, recipient) for status, _, recipient, _ in rows]


def mails(families: tuple[str, ...], *, multipart: bool) -> list[Path]:
    """The mails of these families; with ``multipart`` only those whose top level is one with a plain boundary."""
    found = []
    for path in sorted(path for family in families for path in (CORPUS / family).glob("*.eml")):
        raw = path.read_bytes()
        if BARE_CR in raw or (multipart and not Mail(raw).content_type.startswith("multipart/")):
            continue
        found.append(path)
    assert found
    return found


def _boundary(raw: bytes) -> bytes:
    boundary = Mail(raw).params.get("boundary", "").encode()
    assert boundary
    return boundary


def other_boundary(raw: bytes) -> bytes:
    """Another boundary, quoted, with every character that RFC 2046 section 5.1.1 allows."""
    old = _boundary(raw)
    head, blank, body = raw.partition(b"\n\n")
    new = b"=_'()+_,-./:=? x"
    head = head.replace(b'"' + old + b'"', b'"' + new + b'"').replace(b"=" + old, b'="' + new + b'"')
    lines = [b"--" + new + line[2 + len(old) :] if line.startswith(b"--" + old) else line for line in body.split(b"\n")]
    return head + blank + b"\n".join(lines)


def reversed_headers(raw: bytes) -> bytes:
    """The fields of the header in reverse order."""
    head, blank, body = raw.partition(b"\n\n")
    fields: list[bytes] = []
    for line in head.split(b"\n"):
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\n" + line
        else:
            fields.append(line)
    return b"\n".join(reversed(fields)) + blank + body


def transport_headers(raw: bytes) -> bytes:
    """What the servers on the way put on top."""
    top = b"Return-Path: <>\nDelivered-To: bounces@shop.example\nReceived: from mx.example.net (mx.example.net [192.0.2.1])\n\tby mx.shop.example; Wed, 04 Nov 2026 10:00:00 +0100\n"
    return top + raw


def mbox_line(raw: bytes) -> bytes:
    """The line that begins a message in an mbox file."""
    return b"From MAILER-DAEMON Wed Nov  4 10:00:00 2026\n" + raw


def trailing_text(raw: bytes) -> bytes:
    """A footer behind the last boundary: the epilogue of RFC 2046, which mailing lists and scanners write into."""
    return raw + b"\n-- \nScanned. To unsubscribe from this list write to leave@lists.example\n"


def wrapped_by_a_list(raw: bytes) -> bytes:
    """The body as the first part of a multipart/mixed that a mailing list manager made for its footer."""
    head, _, body = raw.partition(b"\n\n")
    fields = head.split(b"\n")
    content: list[bytes] = []
    rest: list[bytes] = []
    target = rest
    for line in fields:
        if line[:1] not in (b" ", b"\t"):
            target = content if line.lower().startswith(b"content-") else rest
        target.append(line)
    return (
        b"\n".join(rest)
        + b'\nContent-Type: multipart/mixed; boundary="wrapped"\n\n--wrapped\n'
        + b"\n".join(content)
        + b"\n\n"
        + body
        + b"\n--wrapped\nContent-Type: text/plain\n\n-- \nThe list's footer\n--wrapped--\n"
    )


def crlf(raw: bytes) -> bytes:
    """Line ends as on the wire (RFC 5322 section 2.1)."""
    return raw.replace(b"\n", b"\r\n")


def cr(raw: bytes) -> bytes:
    """Line ends as old clients and some gateways write them."""
    return raw.replace(b"\n", b"\r")


def lower_case_field_names(raw: bytes) -> bytes:
    """Field names are case-insensitive (RFC 5322 section 1.2.2)."""
    head, blank, body = raw.partition(b"\n\n")
    lines = [
        line
        if line[:1] in (b" ", b"\t") or b":" not in line
        else line[: line.index(b":")].lower() + line[line.index(b":") :]
        for line in head.split(b"\n")
    ]
    return b"\n".join(lines) + blank + body


def blank_lines_on_top(raw: bytes) -> bytes:
    """Blank lines before the header, which a careless export leaves."""
    return b"\n\n" + raw


def wrapped_at_76(raw: bytes) -> bytes:
    """Long lines broken at a space, as gateways do: fields are folded (RFC 5322 section 2.2.3), text goes on below."""
    lines: list[bytes] = []
    boundaries = tuple(b"--" + found for found in re.findall(rb'boundary="?([^";\s]+)', raw))
    in_head, folding, whole = True, False, False
    for line in raw.split(b"\n"):
        if boundaries and line.startswith(boundaries):
            in_head, folding, whole = True, False, False
        elif in_head and not line:
            in_head = False
        if in_head and line.lower().startswith(b"content-"):
            folding = folding or b"delivery-status" in line.lower() or b"rfc822-headers" in line.lower()
            whole = (
                whole or b"base64" in line.lower() or b"quoted-printable" in line.lower() or b"rfc822" in line.lower()
            )
        as_field = in_head or folding
        lines += [line] if whole and not as_field else _broken(line, b" " if as_field else b"")
    return b"\n".join(lines)


def _broken(line: bytes, indent: bytes) -> list[bytes]:
    """A line in pieces of at most 76 characters where its spaces allow that; the space goes, but for an ``indent``."""
    pieces = []
    while len(line) > 76 and (at := line.rfind(b" ", len(indent) + 1, 77)) > 0 and line[:at].strip():
        pieces.append(line[:at])
        line = indent + line[at + 1 :]
    return [*pieces, line]


Mutation = Callable[[bytes], bytes]
ANY: list[Mutation] = [
    crlf,
    cr,
    reversed_headers,
    lower_case_field_names,
    transport_headers,
    mbox_line,
    blank_lines_on_top,
    wrapped_at_76,
]
MULTIPART: list[Mutation] = [other_boundary, trailing_text, wrapped_by_a_list]


def _ids(values: list[Mutation]) -> list[str]:
    return [value.__name__ for value in values]


def _check(paths: list[Path], mutate: Mutation) -> None:
    changed = []
    judge = fate if mutate is wrapped_at_76 else verdict
    for path in paths:
        raw = path.read_bytes()
        before, after = judge(raw), judge(mutate(raw))
        if before != after:
            changed.append(f"{path.relative_to(CORPUS)}: {before} became {after}")
    assert not changed, "\n".join(changed)


@pytest.mark.parametrize("mutate", ANY, ids=_ids(ANY))
def test_a_harmless_change_leaves_the_verdict_on_reports(mutate: Mutation) -> None:
    _check(mails(REPORT_FAMILIES, multipart=False), mutate)


@pytest.mark.parametrize("mutate", ANY, ids=_ids(ANY))
def test_a_harmless_change_leaves_the_verdict_on_prose(mutate: Mutation) -> None:
    _check(mails(PROSE_FAMILIES, multipart=False), mutate)


@pytest.mark.parametrize("mutate", ANY, ids=_ids(ANY))
def test_a_harmless_change_makes_no_bounce_of_ordinary_mail(mutate: Mutation) -> None:
    _check(mails(("quiet", "notices"), multipart=False), mutate)


@pytest.mark.parametrize("mutate", MULTIPART, ids=_ids(MULTIPART))
def test_another_container_leaves_the_verdict_on_reports(mutate: Mutation) -> None:
    _check(mails(REPORT_FAMILIES, multipart=True), mutate)


def footer_in_the_text(raw: bytes) -> bytes:
    """What a list manager adds to a mail of one part."""
    return (
        raw + b"\n_______________________________________________\nOffers mailing list\nhttps://lists.example/offers\n"
    )


def test_a_list_footer_leaves_the_verdict_on_prose() -> None:
    """Below the text, where no container can be wrapped around it; an encoded body cannot take one."""
    paths = [
        path
        for path in mails(PROSE_FAMILIES, multipart=False)
        if not re.search(rb"(?im)^content-type:\s*multipart|base64", path.read_bytes())
    ]
    _check(paths, footer_in_the_text)


ALL_REPORTS = [*mails(REPORT_FAMILIES, multipart=False), *mails(PROSE_FAMILIES, multipart=False)]


@settings(max_examples=300, deadline=None)
@given(path=st.sampled_from(ALL_REPORTS), mutations=st.lists(st.sampled_from(ANY), min_size=2, max_size=5, unique=True))
def test_harmless_changes_together_leave_status_and_recipient(path: Path, mutations: list[Mutation]) -> None:
    """Every route adds its own: what each change leaves, several in any order leave too."""
    raw = path.read_bytes()
    before = fate(raw)
    line_ends = [mutate for mutate in mutations if mutate in (crlf, cr)][:1]  # the last to change, and only once
    on_top = [one for one in (mbox_line, blank_lines_on_top) if one in mutations]  # nothing else stands above these
    for mutate in [*(one for one in mutations if one not in (crlf, cr, *on_top)), *on_top, *line_ends]:
        raw = mutate(raw)
    assert fate(raw) == before


def test_a_report_cut_off_after_its_status_part_still_tells_status_and_recipient() -> None:
    """A store or a size limit may cut the returned message away; the Message-ID is lost with it, nothing else."""
    paths = [path for path in mails(REPORT_FAMILIES, multipart=True) if b"/delivery-status" in path.read_bytes()]
    changed = []
    for path in paths:
        raw = path.read_bytes()
        delimiter = b"\n--" + _boundary(raw)
        status_at = raw.lower().find(b"delivery-status", raw.find(delimiter))
        end = raw.find(delimiter, status_at)
        if status_at < 0 or end < 0 or b"multipart/related" in raw:
            continue
        before = [row[::2] for row in verdict(raw)[1]]
        after = [row[::2] for row in verdict(raw[:end])[1]]
        if before != after:
            changed.append(f"{path.relative_to(CORPUS)}: {before} became {after}")
    assert not changed, "\n".join(changed)


def test_the_mutations_change_the_mails() -> None:
    """A mutation that did nothing would prove nothing."""
    raw = (CORPUS / "dsn" / "two-fates.eml").read_bytes()
    for mutate in (*ANY, *MULTIPART):
        assert mutate(raw) != raw, mutate.__name__

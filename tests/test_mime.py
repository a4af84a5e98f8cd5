"""Messages cut from bytes: RFC 5322 headers, RFC 2045-2047 and 2231 parts and words, and the damage that occurs."""

from __future__ import annotations

import base64

import pytest

from bounceparse.decoding import collapse, decode_bytes, decode_words, html_to_text
from bounceparse.headers import Limits, parse_fields
from bounceparse.mime import Mail, report_key

TWO_PARTS = b'Content-Type: multipart/mixed; boundary="b"\n\npreamble\n--b\nContent-Type: text/plain\n\none\n--b\n\ntwo\n--b--\nepilogue\n'


def parts(raw: bytes) -> list[tuple[str, bytes]]:
    return [(part.content_type, part.payload().strip()) for part in Mail(raw).children]


# Headers


def test_rfc5322_2_2_3_folded_fields_are_unfolded() -> None:
    mail = Mail(b"Subject: one\n two\n\tthree\nFrom: a@example.com\n\nx\n")
    assert mail.get("subject") == "one two three"
    assert mail.get("from") == "a@example.com"


def test_rfc5322_1_2_2_field_names_are_case_insensitive() -> None:
    assert Mail(b"SUBJECT: x\n\n").get("subject") == "x"


def test_the_first_field_of_a_name_counts_and_all_can_be_had() -> None:
    mail = Mail(b"Received: one\nX: y\nReceived: two\n three\n\n")
    assert mail.get("received") == "one"
    assert mail.get_all("received") == ["one", "two three"]


def test_a_name_that_another_ends_with_is_not_taken_for_it() -> None:
    mail = Mail(b"X-Subject: no\nX: Subject: no\nSubject: yes\n\n")
    assert mail.get("subject") == "yes"


def test_a_field_that_is_not_there_is_none() -> None:
    mail = Mail(b"Subject: x\n\nFrom: in the body\n")
    assert mail.get("from") is None
    assert mail.raw("from") is None
    assert not mail.has("from")
    assert mail.get_all("from") == []


def test_fields_are_decoded_whether_plain_folded_or_encoded() -> None:
    mail = Mail(
        b"Subject: a\n =?iso-8859-2?Q?=B1?=\nFrom:\nTo:  x  y\t \nCc: b@example.com\n c@example.com\nDate: \xc4\x85\nX-Q: is it?\n\n"
    )
    names = ("subject", "from", "to", "cc", "date", "x-q")
    assert [mail.get(name) for name in names] == ["a ą", "", "x y", "b@example.com c@example.com", "ą", "is it?"]


def test_an_mbox_line_on_top_is_no_field() -> None:
    for line in (b"From a Wed Nov  4 10:00:00 2026\n", b">From a\n", b'"From x  Wed Nov  4"\n'):
        assert Mail(line + b"Subject: x\n\n").get("subject") == "x"


def test_blank_lines_on_top_are_skipped() -> None:
    assert Mail(b"\n\r\n \nSubject: x\n\n").get("subject") == "x"


def test_a_message_without_a_header_is_all_body() -> None:
    mail = Mail(b"just words here\nand more\n")
    assert mail.get("subject") is None
    assert mail.readable == "just words here\nand more\n"


# Line ends


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_every_kind_of_line_end_gives_the_same_parts(end: bytes) -> None:
    assert parts(TWO_PARTS.replace(b"\n", end)) == parts(TWO_PARTS) == [("text/plain", b"one"), ("text/plain", b"two")]


def test_bare_cr_is_noted_as_a_defect() -> None:
    assert Mail(TWO_PARTS.replace(b"\n", b"\r")).defects == ["cr-line-ends"]


# Encoded words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("=?utf-8?Q?Nie_mo=C5=BCna?=", "Nie można"),
        ("=?UTF-8?B?xbzDs8WCdw==?=", "żółw"),
        ("=?iso-8859-2?Q?=BF=F3=B3w?=", "żółw"),
        ("=?utf-8?Q?one?= =?utf-8?Q?two?=", "onetwo"),
        ("=?utf-8?Q?one?= and =?utf-8?Q?two?=", "one and two"),
        ("=?utf-8*pl?Q?x?=", "x"),
        ("=?utf-8?B?xbw?=", "ż"),
        ("=?no-such-charset?Q?x?=", "x"),
        ("=?utf-8?X?x?=", "=?utf-8?X?x?="),
        ("=?utf-8?Q?unfinished", "=?utf-8?Q?unfinished"),
        ("plain", "plain"),
    ],
)
def test_rfc2047_encoded_words(value: str, text: str) -> None:
    assert decode_words(value) == text


def test_rfc2047_bytes_of_one_letter_may_be_split_over_two_words() -> None:
    """Against the RFC, and common: the words are joined before they are decoded."""
    assert decode_words("=?utf-8?Q?=C5?= =?utf-8?Q?=BC?=") == "ż"


# Charsets


@pytest.mark.parametrize(
    ("raw", "charset", "text"),
    [
        ("zażółć".encode(), "", "zażółć"),
        ("zażółć".encode("iso-8859-2"), "iso-8859-2", "zażółć"),
        ("été".encode("cp1252"), "", "été"),
        ("配信".encode("iso2022_jp"), "", "配信"),
        ("配信".encode("iso2022_jp"), "us-ascii", "配信"),
        ("用户".encode("gb18030"), "gb2312", "用户"),
        ("메일".encode("cp949"), "ks_c_5601-1987", "메일"),
        ("почта".encode("koi8-r"), '"KOI8-R"', "почта"),
        ("Zustellung für".encode("utf-7"), "unicode-1-1-utf-7", "Zustellung für"),
        (b"x", "punycode", "x"),
        (b"x", "no-such-charset", "x"),
    ],
)
def test_charsets_as_mail_systems_label_them(raw: bytes, charset: str, text: str) -> None:
    assert decode_bytes(raw, charset) == text


# Parts


def test_rfc2046_5_1_preamble_and_epilogue_are_no_parts() -> None:
    assert parts(TWO_PARTS) == [("text/plain", b"one"), ("text/plain", b"two")]


def test_rfc2046_5_1_a_multipart_that_is_not_closed_ends_with_the_message() -> None:
    assert parts(TWO_PARTS[: TWO_PARTS.index(b"--b--")]) == [("text/plain", b"one"), ("text/plain", b"two")]


def test_rfc2046_5_1_2_a_boundary_that_begins_an_inner_one_is_told_from_it() -> None:
    inner = b'Content-Type: multipart/mixed; boundary="b2"\n\n--b2\n\none\n--b2\n\ntwo\n--b2--\n'
    raw = b'Content-Type: multipart/mixed; boundary="b"\n\n--b\n' + inner + b"\n--b\n\nthree\n--b--\n"
    first, second = Mail(raw).children
    assert [part.payload().strip() for part in first.children] == [b"one", b"two"]
    assert second.payload().strip() == b"three"


def test_rfc2046_5_1_5_parts_of_a_digest_are_messages() -> None:
    (part,) = Mail(b'Content-Type: multipart/digest; boundary="b"\n\n--b\n\nSubject: x\n\ny\n--b--\n').children
    assert part.content_type == "message/rfc822"
    assert part.children[0].get("subject") == "x"


def test_rfc2231_3_a_boundary_in_pieces_is_put_together() -> None:
    raw = b'Content-Type: multipart/mixed; boundary*0="a";\n boundary*1="b"\n\n--ab\n\none\n--ab--\n'
    assert parts(raw) == [("text/plain", b"one")]


def test_a_boundary_that_the_header_does_not_name_is_guessed_and_noted() -> None:
    mail = Mail(b"Content-Type: multipart/report\n\n--b\nContent-Type: text/plain\n\none\n--b--\n")
    assert [part.payload().strip() for part in mail.children] == [b"one"]
    assert mail.defects == ["boundary-missing"]


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_enclosed_message_is_decoded(encoding: str) -> None:
    """RFC 2046 section 5.2.1 forbids it; gateways do it."""
    inner = b"Subject: x=y\n\nHello\n"
    body = base64.encodebytes(inner) if encoding == "base64" else inner.replace(b"=", b"=3D")
    raw = b"Content-Type: message/rfc822\nContent-Transfer-Encoding: " + encoding.encode() + b"\n\n" + body
    assert Mail(raw).children[0].get("subject") == "x=y"


def test_walk_goes_into_enclosed_messages_only_when_asked() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n\ny\n--b--\n'
    )
    assert [part.content_type for part in Mail(raw).walk()] == ["multipart/mixed", "message/rfc822"]
    assert [part.content_type for part in Mail(raw).walk(into_messages=True)] == [
        "multipart/mixed",
        "message/rfc822",
        "text/plain",
    ]


# Bodies


@pytest.mark.parametrize("damage", [b"", b"=", b"==\njunk", b"\n\n  "])
def test_rfc2045_6_8_damaged_base64_costs_only_what_it_touches(damage: bytes) -> None:
    payload = base64.b64encode(b"Final-Recipient: rfc822; jan@firma.example").rstrip(b"=") + damage
    raw = b"Content-Type: text/plain\nContent-Transfer-Encoding: BASE64\n\n" + payload
    assert Mail(raw).text().startswith("Final-Recipient: rfc822; jan@firma.exampl")


def test_rfc2045_6_7_quoted_printable_soft_line_breaks_are_joined() -> None:
    raw = b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\nza=C5=BC=C3=B3=\n=C5=82=C4=87\n"
    assert Mail(raw).text() == "zażółć\n"


def test_of_alternatives_the_plain_text_is_read_and_attachments_are_not() -> None:
    raw = (
        b'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: multipart/alternative; boundary="c"\n\n'
        b"--c\nContent-Type: text/plain\n\nplain\n--c\nContent-Type: text/html\n\n<p>rich</p>\n--c--\n"
        b"--b\nContent-Type: text/plain\nContent-Disposition: attachment\n\nattached\n--b--\n"
    )
    assert collapse(Mail(raw).readable) == "plain"


def test_html_alone_is_read_as_text() -> None:
    raw = b"Content-Type: text/html; charset=utf-8\n\n<style>p{}</style><p>Address&nbsp;not <b>found</b></p><!-- no --><br>jan@firma.example"
    assert collapse(Mail(raw).readable) == "Address not found jan@firma.example"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("a<br>b", "a b"),
        ("1 < 2 and <3", "1 < 2 and <3"),
        ("&lt;jan@firma.example&gt;", "<jan@firma.example>"),
        ("<script>var a = '<p>no</p>'</script>yes", "yes"),
        ("open <!-- never closed", "open never closed"),
    ],
)
def test_markup_becomes_its_words(markup: str, text: str) -> None:
    assert collapse(html_to_text(markup)) == text


def test_a_letter_whose_lower_case_is_longer_shifts_nothing() -> None:
    assert collapse(html_to_text("İİİ<style>no</style>yes")).endswith("yes")


def test_the_readable_text_ends_at_its_limit() -> None:
    mail = Mail(b"Subject: x\n\n" + b"word " * 1000, Limits(text=100))
    assert len(mail.readable) == 100
    assert mail.defects == ["text-too-long"]


# Fields in a body


def test_rfc3464_2_1_fields_of_a_status_part_fold_like_headers() -> None:
    assert parse_fields("Final-Recipient: rfc822;\n jan@firma.example\nStatus : 5.1.1\n") == [
        ("final-recipient", "rfc822; jan@firma.example"),
        ("status", "5.1.1"),
    ]


def test_a_line_at_column_0_continues_the_field_above() -> None:
    fields = parse_fields("Diagnostic-Code: smtp; 550-first\n550-5.1.1 second\n550 third\nStatus: 5.1.1\n")
    assert fields == [("diagnostic-code", "smtp; 550-first 550-5.1.1 second 550 third"), ("status", "5.1.1")]


def test_a_url_at_column_0_is_no_field() -> None:
    assert parse_fields("Diagnostic-Code: smtp; 550 see\nhttps://www.example.com/x\n") == [
        ("diagnostic-code", "smtp; 550 see https://www.example.com/x")
    ]


# The report key


def test_the_key_of_a_report_is_the_same_for_every_copy() -> None:
    raw = b"From: a@example.com\nDate: Wed, 04 Nov 2026 10:00:00 +0100\nMessage-ID: <1@example.com>\n\nbody\nmore\n"
    copies = [
        raw.replace(b"\n", b"\r\n"),
        b"Return-Path: <>\nDelivered-To: x@shop.example\nReceived: by mx\n" + raw,
        raw.replace(b"From: a@example.com\n", b"").replace(b"Message-ID", b"From: a@example.com\nMessage-ID"),
    ]
    assert {report_key(Mail(copy)) for copy in copies} == {report_key(Mail(raw))}


@pytest.mark.parametrize("change", [b"body", b"<1@", b"10:00:00", b"a@example"])
def test_the_key_of_another_report_is_another(change: bytes) -> None:
    raw = b"From: a@example.com\nDate: Wed, 04 Nov 2026 10:00:00 +0100\nMessage-ID: <1@example.com>\n\nbody\nmore\n"
    assert report_key(Mail(raw.replace(change, b"x" + change))) != report_key(Mail(raw))

"""Addresses as reports write them, placeholders, and the address key."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.addresses import address_key, clean_address, decode_xtext, domain_key, find_addresses, is_placeholder


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("jan@firma.example", "jan@firma.example"),
        ("<jan@firma.example>", "jan@firma.example"),
        ("rfc822; jan@firma.example", "jan@firma.example"),
        ("RFC822;jan@Firma.EXAMPLE", "jan@firma.example"),
        ("rfc822 ; <jan@firma.example>", "jan@firma.example"),
        ("Jan Kowalski <jan@firma.example>", "jan@firma.example"),
        ('"Kowalski, Jan" <jan@firma.example>', "jan@firma.example"),
        ("jan@firma.example (Jan Kowalski)", "jan@firma.example"),
        ("'jan@firma.example'", "jan@firma.example"),
        ("mailto:jan@firma.example", "jan@firma.example"),
        ("jan@firma.example.", "jan@firma.example"),
        ("<@relay.example:jan@firma.example>", "jan@firma.example"),
        ('"jan kowalski"@firma.example', '"jan kowalski"@firma.example'),
        ("Jan.Kowalski@firma.example", "Jan.Kowalski@firma.example"),
        ("jan+shop=x@firma.example", "jan+shop=x@firma.example"),
        ("jan@[192.0.2.1]", "jan@[192.0.2.1]"),
        ("unknown; jan_k", "jan_k"),
        ("", None),
        (None, None),
        ("<>", None),
        ("@firma.example", None),
        ("jan@", None),
        ("two words", None),
        ("x" * 2000 + "@firma.example", None),
    ],
)
def test_an_address_is_taken_out_of_what_reports_wrap_around_it(value: str | None, address: str | None) -> None:
    assert clean_address(value) == address


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (r"utf-8; za\x{17C}\x{F3}\x{142}\x{107}@example.pl", "zażółć@example.pl"),
        ("utf-8; zażółć@example.pl", "zażółć@example.pl"),
        (r"utf-8; a\x{2B}b@example.pl", "a+b@example.pl"),
        (r"utf-8; \x{D800}jan@example.pl", r"\x{D800}jan@example.pl"),
        (r"utf-8; \x{110000}jan@example.pl", r"\x{110000}jan@example.pl"),
    ],
)
def test_rfc6533_3_unitext_is_undone_but_for_surrogates(value: str, address: str) -> None:
    assert clean_address(value) == address


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("a+2Bb+3Dc@x.example", "a+b=c@x.example"),
        ("Jan+20Kowalski", "Jan Kowalski"),
        ("a+2bb", "a+b"),
        ("a+b", "a+b"),
        ("+", "+"),
        ("a+2B2B", "a+2B"),
        ("abc", "abc"),
    ],
)
def test_rfc3461_4_xtext_is_undone_once(text: str, plain: str) -> None:
    assert decode_xtext(text) == plain


def test_addresses_in_running_text_come_in_order_and_once() -> None:
    text = "To <jan@firma.example>, ola@firma.example; again: jan@firma.example. Write to (ewa@example.net)."
    assert find_addresses(text) == ["jan@firma.example", "ola@firma.example", "ewa@example.net"]


def test_punctuation_of_other_scripts_ends_an_address() -> None:
    assert find_addresses("无法投递到：jan@firma.example。") == ["jan@firma.example"]
    assert find_addresses("„jan@firma.example”") == ["jan@firma.example"]


@pytest.mark.parametrize("text", ["", "@", "a@", "@b", "a @ b", "<<<<>>>>", "a@@b"])
def test_text_without_an_address_gives_none(text: str) -> None:
    assert find_addresses(text) == []


@pytest.mark.parametrize(
    "address",
    [None, "", "redacted@aol.example", "hashed@provider.example", "x", "xxx@firma.example", "jan@redacted.invalid", "***@firma.example",
     "undisclosed-recipients", "nobody@firma.example"],
)  # fmt: skip
def test_placeholders_name_nobody(address: str | None) -> None:
    assert is_placeholder(address)


@pytest.mark.parametrize("address", ["jan@firma.example", "x@firma.example", "max@firma.example", "reda@firma.example"])
def test_people_are_no_placeholders(address: str) -> None:
    assert not is_placeholder(address)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("Jan@Firma.Example", "jan@firma.example"),
        (" jan@firma.example ", "jan@firma.example"),
        ("jan@ZAŻÓŁĆ.example", "jan@xn--za-jqal0b9btk.example"),
        ("ZAŻÓŁĆ@example.pl", "zażółć@example.pl"),
        (unicodedata.normalize("NFD", "zażółć@example.pl"), "zażółć@example.pl"),
    ],
)
def test_the_key_of_an_address(address: str, key: str) -> None:
    """NFC, local part lower-cased, domain as lower-case A-label (RFC 5890)."""
    expected = key if "xn--" not in key else f"jan@{domain_key('zażółć.example')}"
    assert address_key(address) == expected


def test_a_domain_becomes_its_a_label_and_stays_it() -> None:
    label = domain_key("Żółw.example")
    assert label.startswith("xn--")
    assert label.isascii()
    assert domain_key(label) == label


@given(st.text(max_size=80))
def test_whatever_stands_in_a_field_is_answered(value: str) -> None:
    cleaned = clean_address(value)
    assert cleaned is None or cleaned
    assert isinstance(is_placeholder(value), bool)
    assert all("@" in address for address in find_addresses(value))


@given(st.emails())
def test_the_key_is_stable(address: str) -> None:
    assert address_key(address_key(address)) == address_key(address)

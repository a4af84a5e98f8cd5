"""Keyed hashes of addresses: what they hide, what they survive, and what is never hashed."""

from __future__ import annotations

from datetime import date

import pytest

from bounceparse.db.hashed import hashed_subject, is_hashed
from bounceparse.db.types import stored_key
from bounceparse.errors import ConfigError
from bounceparse.verp import Key, Keyring, Purpose, Verdict, add_key, drop_key, format_keys, parse_keys, sign, verify

TODAY = date(2026, 11, 22)
KEYS = Keyring((Key(1, b"a" * 32, TODAY),))
JAN = "jan@example.pl"


def test_all_spellings_of_an_address_have_one_hash_and_others_another() -> None:
    """What is compared is the address key."""
    hashed = hashed_subject(KEYS, JAN)
    assert hashed is not None and is_hashed(hashed) and "jan" not in hashed
    assert hashed_subject(KEYS, stored_key("Jan@EXAMPLE.pl")) == hashed
    assert hashed_subject(KEYS, "jana@example.pl") != hashed
    assert hashed_subject(Keyring((Key(1, b"b" * 32, TODAY),)), JAN) != hashed


def test_new_keys_change_no_hash() -> None:
    """The oldest key hashes for good."""
    keys = add_key(add_key(KEYS, TODAY), TODAY)
    assert hashed_subject(keys, JAN) == hashed_subject(KEYS, JAN)


def test_a_key_that_is_dropped_still_hashes_and_proves_nothing() -> None:
    """A secret that got out must be droppable without a suppressed address coming back to life."""
    token = sign(KEYS, Purpose.UNSUBSCRIBE, 7)
    keys = drop_key(add_key(add_key(KEYS, TODAY), TODAY), 1)
    again = drop_key(parse_keys(format_keys(keys)), 2)
    for one in (keys, again, parse_keys(format_keys(again))):
        assert hashed_subject(one, JAN) == hashed_subject(KEYS, JAN)
        assert verify(one, Purpose.UNSUBSCRIBE, token, today=TODAY).verdict is Verdict.UNKNOWN_KEY
    assert "a" * 32 not in repr(again)
    with pytest.raises(ConfigError, match="line 1"):
        parse_keys("hashing 2026-01-01 short")


def test_domains_hashes_and_an_empty_keyring_give_none() -> None:
    """A domain names nobody; a hash is not hashed again."""
    assert hashed_subject(KEYS, "@example.pl") is None
    assert hashed_subject(KEYS, hashed_subject(KEYS, JAN) or "") is None
    assert hashed_subject(Keyring(), JAN) is None

"""Signed tokens: what they prove, what they survive, and what is refused."""

from __future__ import annotations

import base64
import stat
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.cli import main
from bounceparse.config import load_keyring, load_settings
from bounceparse.errors import ConfigError
from bounceparse.outgoing import Outgoing, outgoing_headers, sign_message_id
from bounceparse.rewriting import find_provider_id, find_verp_recipient, unwrap
from bounceparse.verp import (
    TOKEN_IDS,
    TOKEN_LENGTH,
    Key,
    Keyring,
    Purpose,
    Reading,
    Verdict,
    add_key,
    best_reading,
    drop_key,
    find_tokens,
    format_keys,
    parse_keys,
    sign,
    verify,
)

TODAY = date(2026, 11, 22)
KEYS = Keyring((Key(1, b"a" * 32, TODAY), Key(2, b"b" * 32, TODAY)))
DOMAIN = "bounces.example"
TOKEN = sign(KEYS, Purpose.RETURN_PATH, 4711, DOMAIN, expires=TODAY)


def read(token: str, purpose: Purpose = Purpose.RETURN_PATH, domain: str = DOMAIN, keys: Keyring = KEYS) -> Reading:
    return verify(keys, purpose, token, domain, today=TODAY)


@given(st.integers(0, TOKEN_IDS - 1), st.dates(date(1970, 1, 1), date(2149, 6, 5)), st.sampled_from(Purpose))
def test_what_was_signed_is_read_back(token_id: int, expires: date, purpose: Purpose) -> None:
    token = sign(KEYS, purpose, token_id, DOMAIN, expires=expires)
    reading = verify(KEYS, purpose, token, DOMAIN, today=expires)
    assert reading == Reading(Verdict.VALID, token_id, 2, expires)
    assert len(token) == TOKEN_LENGTH
    assert token == token.lower() and token.isalnum()


@given(st.integers(0, 2**29 - 1))
def test_case_folding_does_no_harm(mask: int) -> None:
    """RFC 5321 section 2.4 lets servers keep the case of a local part; many fold it."""
    folded = "".join(char.upper() if mask >> place & 1 else char for place, char in enumerate(TOKEN))
    assert read(folded).verdict is Verdict.VALID


@given(st.integers(0, TOKEN_LENGTH - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_any_other_character_breaks_it(place: int, char: str) -> None:
    """The last bit, which carries nothing, is no exception: there is one spelling of a token."""
    changed = TOKEN[:place] + char + TOKEN[place + 1 :]
    assert (read(changed).verdict is Verdict.VALID) == (changed == TOKEN)


def test_the_spare_bit_is_refused() -> None:
    alphabet = "abcdefghijklmnopqrstuvwxyz234567"
    twin = TOKEN[:-1] + alphabet[alphabet.index(TOKEN[-1]) ^ 1]
    assert base64.b32decode(twin.upper() + "===") == base64.b32decode(TOKEN.upper() + "===")
    assert read(twin).verdict is Verdict.BAD_MAC


def test_a_return_path_leaves_room_for_srs() -> None:
    """A forwarder adds 14 octets and our domain to the local part, of which 64 may be there."""
    wrapped = f"SRS0=HHHH=TT={'d' * 20}=b{TOKEN}"
    assert len(wrapped) <= 64


def test_it_ends_with_its_last_day() -> None:
    assert verify(KEYS, Purpose.RETURN_PATH, TOKEN, DOMAIN, today=TODAY).verdict is Verdict.VALID
    late = verify(KEYS, Purpose.RETURN_PATH, TOKEN, DOMAIN, today=TODAY + timedelta(1))
    assert late == Reading(Verdict.EXPIRED, 4711, 2, TODAY)


def test_without_an_end_it_never_ends() -> None:
    token = sign(KEYS, Purpose.UNSUBSCRIBE, 1)
    assert verify(KEYS, Purpose.UNSUBSCRIBE, token, today=date(2149, 12, 31)) == Reading(Verdict.VALID, 1, 2, None)


@pytest.mark.parametrize("purpose", [one for one in Purpose if one is not Purpose.RETURN_PATH])
def test_a_token_of_another_purpose_is_a_forgery(purpose: Purpose) -> None:
    assert read(TOKEN, purpose).verdict is Verdict.BAD_MAC


def test_a_token_of_another_domain_is_a_forgery() -> None:
    assert read(TOKEN, domain="other.example").verdict is Verdict.BAD_MAC
    assert read(TOKEN, domain="BOUNCES.example").verdict is Verdict.VALID


def test_a_key_that_is_gone_proves_nothing() -> None:
    assert read(TOKEN, keys=Keyring(KEYS.keys[:1])).verdict is Verdict.UNKNOWN_KEY
    assert read(TOKEN, keys=Keyring()).verdict is Verdict.UNKNOWN_KEY


def test_another_secret_of_the_same_number_is_a_forgery() -> None:
    assert read(TOKEN, keys=Keyring((Key(2, b"c" * 32, TODAY),))).verdict is Verdict.BAD_MAC


@pytest.mark.parametrize(
    "text", ["", "jan", TOKEN[:-1], TOKEN + "a", TOKEN[:-1] + "1", TOKEN[:-1] + "\u017f", TOKEN + "\n"]
)
def test_what_is_no_token_is_unsigned(text: str) -> None:
    assert read(text).verdict is Verdict.UNSIGNED


@given(st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    assert read(text).verdict in Verdict
    assert all(len(token) == TOKEN_LENGTH for token in find_tokens(text))


def test_older_keys_go_on_verifying_after_a_rotation() -> None:
    rotated = add_key(KEYS, TODAY)
    assert [key.id for key in rotated.keys] == [1, 2, 3]
    assert read(TOKEN, keys=rotated).verdict is Verdict.VALID
    assert verify(rotated, Purpose.FEEDBACK, sign(rotated, Purpose.FEEDBACK, 9), today=TODAY).key_id == 3
    assert read(TOKEN, keys=drop_key(rotated, 2)).verdict is Verdict.UNKNOWN_KEY


def test_the_key_that_signs_cannot_be_dropped() -> None:
    for key_id in (2, 9):
        with pytest.raises(ConfigError):
            drop_key(KEYS, key_id)


def test_key_numbers_go_round() -> None:
    ring = add_key(Keyring((Key(255, b"a" * 32, TODAY),)), TODAY)
    assert [key.id for key in ring.keys] == [255, 1]
    full = Keyring(tuple(Key(one, b"a" * 32, TODAY) for one in range(1, 256)))
    with pytest.raises(ConfigError, match="255"):
        add_key(full, TODAY)


def test_nothing_is_signed_without_a_key_or_out_of_range() -> None:
    with pytest.raises(ConfigError, match="keys new"):
        sign(Keyring(), Purpose.RETURN_PATH, 1)
    for token_id in (-1, TOKEN_IDS):
        with pytest.raises(ValueError, match="40"):
            sign(KEYS, Purpose.RETURN_PATH, token_id)


def test_tokens_are_found_in_running_text() -> None:
    text = f"b+{TOKEN.upper()}@bounces.example unsubscribe:{TOKEN} x{TOKEN} {TOKEN}z"
    assert find_tokens(text) == [TOKEN]


def test_the_best_of_several_tokens_counts() -> None:
    other = sign(KEYS, Purpose.RETURN_PATH, 1, "other.example")
    places = [(other, DOMAIN), (f"b+{TOKEN}", DOMAIN)]
    found = best_reading(KEYS, Purpose.RETURN_PATH, places, today=TODAY)
    assert found is not None and found.token_id == 4711
    assert best_reading(KEYS, Purpose.RETURN_PATH, [("nothing", "")], today=TODAY) is None


def test_a_keyring_survives_its_file_and_shows_no_secret() -> None:
    assert parse_keys(format_keys(KEYS)) == KEYS
    assert "b" * 8 not in repr(KEYS)


@pytest.mark.parametrize("text", ["1", "1 2026-01-01 short", "0 2026-01-01 " + "a" * 52, "x 2026-01-01 " + "a" * 52, "1 2026-13-01 " + "a" * 52, "1 2026-01-01 " + "1" * 52, f"{format_keys(KEYS)}2 2026-01-01 {'a' * 52}"])  # fmt: skip
def test_a_damaged_file_is_an_error_without_its_secrets(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_keys(text)
    assert "a" * 20 not in str(raised.value)


# Addresses that others rewrote


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        (f"SRS0=aB3d=TT={DOMAIN}=b+{TOKEN}@forwarder.example", f"b+{TOKEN}@{DOMAIN}"),
        (f"srs0+ab3d=tt={DOMAIN}=b+{TOKEN}@forwarder.example", f"b+{TOKEN}@{DOMAIN}"),
        (f"SRS1=XY=first.example==HH=TT={DOMAIN}=b+{TOKEN}@second.example", f"b+{TOKEN}@{DOMAIN}"),
        (f"prvs=0123abcdef=b+{TOKEN}@{DOMAIN}", f"b+{TOKEN}@{DOMAIN}"),
        (f"prvs=jan=0123abcdef@{DOMAIN}", f"jan@{DOMAIN}"),
        (f"btv1==012abc==jan@{DOMAIN}", f"jan@{DOMAIN}"),
        (f"msprvs1=17000abcdefg=bounces-1-2@{DOMAIN}", f"bounces-1-2@{DOMAIN}"),
        ("jan+caf_=ola=example.pl@example.com", "jan@example.com"),
        (f"prvs=0123abcdef=SRS0=aB3d=TT={DOMAIN}=jan@forwarder.example", f"jan@{DOMAIN}"),
        ("jan@example.pl", "jan@example.pl"),
        ("nobody", "nobody"),
    ],
)
def test_wrappers_of_forwarders_and_signers_are_undone(address: str, inside: str) -> None:
    assert unwrap(address) == inside


def test_a_token_survives_case_folding_and_srs_together() -> None:
    address = unwrap(f"SRS0=HHHH=TT={DOMAIN}=b+{TOKEN}@forwarder.example".lower())
    local, _, domain = address.rpartition("@")
    assert verify(KEYS, Purpose.RETURN_PATH, find_tokens(local)[0], domain, today=TODAY).verdict is Verdict.VALID


@pytest.mark.parametrize(
    "address",
    [
        "list-bounces+jan=example.pl@lists.example",
        "list-return-42-jan=example.pl@lists.example",
        "bounce-5899542-1206365-jan=example.pl@sender.example",
        "bounces+61689-10be-jan=example.pl@sender.example",
        "bounce+585af8.1a95e6-jan=example.pl@sender.example",
        "bounce+jan==a==example.pl==news@lists.example",
        "SRS0=aB3d=TT=lists.example=list-bounces+jan=example.pl@forwarder.example",
    ],
)
def test_plain_verp_names_its_recipient(address: str) -> None:
    assert find_verp_recipient(address) == "jan@example.pl"


@pytest.mark.parametrize("address", [f"b+{TOKEN}@{DOMAIN}", "jan=example.pl@x.example", "jan@example.pl", "list-bounces@lists.example", ""])  # fmt: skip
def test_other_addresses_name_nobody(address: str) -> None:
    assert find_verp_recipient(address) is None


def test_a_providers_return_path_holds_its_id() -> None:
    ses = "0102018f00000000-12345678-1234-1234-1234-123456789012-000000"
    assert find_provider_id(f"{ses.upper()}@mail.shop.example") == ses
    assert find_provider_id("jan@example.pl") is None


# Where tokens stand in outgoing mail


@pytest.mark.parametrize(
    ("name", "template", "words"),
    [
        ("return_path", "b{token}@bounces.example", "set {token} off"),
        ("unsubscribe_address", "u+{token}x@shop.example", "set {token} off"),
        ("message_id", "m.{token}@shop.example", "{token}@DOMAIN"),
        ("message_id", "shop.example", "before the @"),
    ],
)
def test_a_template_whose_tokens_would_not_be_found_is_refused(name: str, template: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Outgoing(**{name: template})  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_every_place_of_outgoing_mail_has_a_token_of_its_purpose() -> None:
    outgoing = Outgoing(return_path="b-{token}@bounces.example", message_id="{token}@Shop.example")
    made = outgoing_headers(KEYS, outgoing, 4711, TODAY, sign_message_id(KEYS, 4711, "Shop.example"))
    assert made.return_path and made.message_id and made.envelope_id
    assert outgoing.token_domains == {"bounces.example", "shop.example"}
    for purpose, text, domain in (
        (Purpose.RETURN_PATH, made.return_path, "bounces.example"),
        (Purpose.MESSAGE_ID, made.message_id, "shop.example"),
        (Purpose.ENVELOPE_ID, made.envelope_id, ""),
    ):
        found = verify(KEYS, purpose, find_tokens(text)[0], domain, today=TODAY)
        assert (found.verdict, found.token_id) == (Verdict.VALID, 4711)


# The keys command


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bounceparse.toml"
    path.write_text('[signing]\nkey_file = "secret.keys"\n')
    return path


def run(config: Path, *words: str, status: int = 0) -> str:
    result = CliRunner().invoke(main, ["--config", str(config), *words])
    assert result.exit_code == status, result.output
    return result.output


def test_new_makes_a_file_that_its_owner_alone_may_read(config: Path) -> None:
    run(config, "keys", "new")
    path = config.with_name("secret.keys")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert "rotate" in run(config, "keys", "new", status=1)
    assert path.read_text() == before


def test_rotate_adds_a_key_and_list_shows_no_secret(config: Path) -> None:
    run(config, "keys", "new")
    assert "key 2 signs" in run(config, "keys", "rotate")
    output = run(config, "keys", "list")
    assert [line.split()[::2] for line in output.splitlines()[1:]] == [["1", "verifies"], ["2", "signs"]]
    path = config.with_name("secret.keys")
    assert not any(line.split()[2] in output for line in path.read_text().splitlines()[1:])
    run(config, "keys", "rotate", "--drop", "1")
    assert [key.id for key in load_keyring(load_settings(config)).keys] == [2, 3]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_may_read_is_refused(config: Path) -> None:
    run(config, "keys", "new")
    config.with_name("secret.keys").chmod(0o640)
    assert "chmod 600" in run(config, "keys", "list", status=1)


def test_without_keys_the_command_says_what_to_do(config: Path, tmp_path: Path) -> None:
    assert "keys new" in run(config, "keys", "list", status=1)
    config.write_text("[signing]\n")
    assert "key_file" in run(config, "keys", "new", status=1)
    assert "keys new" in run(config, "keys", "list", status=1)


def test_keys_may_come_from_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text("[database]\n")
    monkeypatch.setenv("BOUNCEPARSE_SIGNING__KEYS", format_keys(KEYS).partition("\n")[2].replace("\n", ";"))
    assert load_keyring(load_settings(config)) == KEYS

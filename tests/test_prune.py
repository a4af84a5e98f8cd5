"""Retention: what is cleared when, what stays for good, on both databases and from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from outcome_factory import NOW, make_message, make_outcome
from test_store_ledger import Clock, _sent
from test_views import rows

from bounceparse.cli import main
from bounceparse.config import Settings, load_settings
from bounceparse.db import Retention, Store
from bounceparse.db.audit import note_audit
from bounceparse.db.hashed import hashed_subject
from bounceparse.db.tables import requests
from bounceparse.errors import ConfigError
from bounceparse.outgoing import Outgoing
from bounceparse.requests import RequestSettings
from bounceparse.verp import Key, Keyring, Verdict, find_tokens

DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kept(database_url: str, clock: Clock) -> Iterator[Store]:
    """A store that keeps the first 1,000 bytes of each message, with a bounced and a delivered message."""
    with Store(database_url, keep_raw=True, raw_limit=1000, clock=clock) as store:
        store.record_sent("1@s.example", "jan@example.pl", subject="Invoice", customer="c7", envelope_id="E1")
        store.record_sent("2@s.example", "ola@example.pl", subject="Invoice", provider_id="p2")
        store.record([make_message(make_outcome(message_id="1@s.example", subject="Invoice"), raw=b"x" * 5000)])
        store.record(
            [make_message(make_outcome("mailbox-full", "ola@example.pl", message_id="2@s.example", subject="I"))]
        )
        yield store


def lengths(url: str) -> list[int]:
    """The bytes that are kept of each message."""
    import zlib

    return [
        len(zlib.decompress(raw)) if raw else 0
        for (raw,) in rows(url, "SELECT raw FROM bounceparse_messages ORDER BY id")
    ]


def test_raw_messages_are_kept_compressed_up_to_a_limit(kept: Store, database_url: str) -> None:
    """The first bytes of a message stay, with its headers and its report."""
    assert lengths(database_url) == [1000, 0]
    ((stored,),) = rows(database_url, "SELECT length(raw) FROM bounceparse_messages WHERE raw IS NOT NULL")
    assert stored < 100


def test_nothing_goes_before_its_time(kept: Store, clock: Clock) -> None:
    """Fifteen days of details, to the second."""
    clock.now += 15 * DAY
    assert set(kept.prune().values()) == {0}


def test_details_go_and_statuses_stay(kept: Store, clock: Clock, database_url: str) -> None:
    """After fifteen days the server's words, subjects and raw messages are cleared; who, what and why is not."""
    kept.lift("jan@example.pl")
    clock.now += 15 * DAY + timedelta(seconds=1)
    kept.prune()
    assert lengths(database_url) == [0, 0]
    for found in kept.outcomes():
        outcome = found.outcome
        assert (outcome.diagnostic, outcome.subject, outcome.evidence.matched) == (None, None, "")
        assert outcome.message_id is not None
    assert [(one.outcome.status, one.outcome.reason, one.outcome.recipient) for one in kept.outcomes()] == [
        ("hardbounce", "user-unknown", "jan@example.pl"),
        ("softbounce", "mailbox-full", "ola@example.pl"),
    ]
    row = _sent(kept)["jan@example.pl"]
    assert (row.subject, row.status, row.customer, row.message_id) == (None, "hardbounce", "c7", "1@s.example")


def test_the_words_that_a_suppression_rests_on_stay_with_it(kept: Store, clock: Clock) -> None:
    """A support desk can say why an address is not mailed as long as it is not."""
    clock.now += 100 * DAY
    kept.prune()
    assert [one.outcome.diagnostic for one in kept.history("jan@example.pl")] == ["550 no"]
    assert [one.outcome.diagnostic for one in kept.history("ola@example.pl")] == [None]
    kept.lift("jan@example.pl")
    kept.prune()
    assert [one.outcome.diagnostic for one in kept.history("jan@example.pl")] == [None]


def test_ids_go_after_180_days_and_the_row_stays(kept: Store, clock: Clock) -> None:
    """The ledger forgets how to match, not what became of the mail; a new message may bear the old id."""
    clock.now += 180 * DAY + timedelta(seconds=1)
    kept.prune()
    row = _sent(kept)["jan@example.pl"]
    assert (row.message_id, row.message_key, row.envelope_id, row.status) == (None, None, None, "hardbounce")
    assert _sent(kept)["ola@example.pl"].provider_key is None
    assert [one.outcome.message_id for one in kept.outcomes()] == [None, None]
    assert not kept.standing("jan@example.pl").mailable
    assert [one.recipient for one in kept.customer("c7").sent] == ["jan@example.pl"]
    kept.record_sent("1@s.example", "jan@example.pl")
    assert len(rows_of_jan(kept)) == 2


def rows_of_jan(store: Store) -> list[object]:
    with store._database.read() as connection:
        found = connection.execute(sa.text("SELECT id FROM bounceparse_sent WHERE recipient_key = 'jan@example.pl'"))
        return list(found)


def test_a_held_message_stays_until_it_is_read(database_url: str, clock: Clock) -> None:
    """What could not be read is no record yet."""
    with Store(database_url, clock=clock) as store:
        store.record([make_message(error="boom", raw=b"raw bytes")])
        clock.now += 1000 * DAY
        store.prune()
        assert [one.raw for one in store.held()] == [b"raw bytes"]


def test_a_dry_run_counts_what_the_next_run_clears(kept: Store, clock: Clock) -> None:
    """The same numbers, and again none."""
    clock.now += 200 * DAY
    counted = kept.prune(dry_run=True)
    assert counted == kept.prune()
    assert sum(counted.values()) > 5
    assert set(kept.prune().values()) == {0}


def test_days_can_be_set(kept: Store, clock: Clock) -> None:
    """Details of a day, ids of a month."""
    clock.now += 2 * DAY
    found = kept.prune(Retention(details_days=1, keys_days=30))
    assert (found["raw messages"], found["ids of sent messages"]) == (1, 0)


def test_pruning_does_not_renew_the_cursor(kept: Store, clock: Clock, database_url: str) -> None:
    """A service does not read the whole history again because it was cleared."""
    before = rows(database_url, "SELECT seq FROM bounceparse_v1_outcomes ORDER BY id")
    clock.now += 200 * DAY
    kept.prune()
    assert rows(database_url, "SELECT seq FROM bounceparse_v1_outcomes ORDER BY id") == before


# -- addresses, after two years


HASHING = RequestSettings(keyring=Keyring((Key(1, b"k" * 32, NOW.date()),)))
JAN = hashed_subject(HASHING.keyring, "jan@example.pl")
OLA = hashed_subject(HASHING.keyring, "ola@example.pl")


@pytest.fixture
def hashing(kept: Store, database_url: str, clock: Clock) -> Iterator[Store]:
    """The same database, opened with keys."""
    with Store(database_url, clock=clock, request_settings=HASHING) as store:
        yield store


def test_addresses_become_hashes_after_two_years(hashing: Store, clock: Clock, database_url: str) -> None:
    """Statuses, reasons and counts stay; no address is left in what is that old."""
    clock.now += 730 * DAY
    hashing.prune()
    assert [one.outcome.recipient for one in hashing.outcomes()] == ["jan@example.pl", "ola@example.pl"]
    before = [(one.outcome.status, one.outcome.reason) for one in hashing.outcomes()]
    clock.now += DAY
    counted = hashing.prune(dry_run=True)
    assert counted == hashing.prune()
    assert counted["addresses of outcomes"] == counted["addresses of sent messages"] == 2
    assert set(hashing.prune().values()) == {0}
    assert [(one.outcome.status, one.outcome.reason) for one in hashing.outcomes()] == before
    assert [(one.outcome.recipient, one.outcome.final_recipient) for one in hashing.outcomes()] == [
        (JAN, JAN),
        (OLA, OLA),
    ]
    for table in ("outcomes", "sent", "standing"):
        assert "@example.pl" not in str(rows(database_url, f"SELECT * FROM bounceparse_{table}"))


def test_a_suppression_outlives_its_address(hashing: Store, clock: Clock, database_url: str) -> None:
    """It acts by the hash, and judging everything anew neither lifts nor doubles it."""
    clock.now += 731 * DAY
    hashing.prune()
    for _ in range(2):
        assert rows(database_url, "SELECT subject, reason, count, lifted_at FROM bounceparse_standing") == [
            (JAN, "user-unknown", 1, None)
        ]
        assert not hashing.standing("jan@example.pl").mailable
        hashing.apply_policy()


def test_what_a_younger_suppression_rests_on_keeps_its_address(database_url: str, clock: Clock) -> None:
    """Two refusals two days apart suppress; one grows old before the other, and the suppression stands."""
    with Store(database_url, clock=clock, request_settings=HASHING) as store:
        for days in (0, 2):
            clock.now = NOW + days * DAY
            store.record([make_message(make_outcome(message_id=None, occurred_at=clock.now))])
        clock.now = NOW + 731 * DAY
        store.prune()
        store.apply_policy()
        assert not store.standing("jan@example.pl").mailable
        clock.now = NOW + 733 * DAY
        store.prune()
        store.apply_policy()
        assert rows(database_url, "SELECT subject, count, lifted_at FROM bounceparse_standing") == [(JAN, 2, None)]


def test_words_that_name_the_address_go_with_it(database_url: str, clock: Clock) -> None:
    """The words that a suppression rests on stay as long as they do not tell who it is."""
    told = ("550 5.1.1 <jan@example.pl>: unknown", "550 user JAN unknown", "550 no such user")
    with Store(database_url, clock=clock, request_settings=HASHING) as store:
        for place, words in enumerate(told):
            store.record_sent(f"{place}@s.example", f"jan@{place}.example")
            outcome = make_outcome(recipient=f"jan@{place}.example", message_id=f"{place}@s.example", diagnostic=words)
            store.record([make_message(outcome)])
        clock.now += 731 * DAY
        store.prune()
        assert [one.outcome.diagnostic for one in store.outcomes()] == [None, None, "550 no such user"]


def test_requests_and_the_audit_trail_are_hashed_too(database_url: str, clock: Clock) -> None:
    """Who was lifted two years ago is nobody's business now; who asks by address still finds it."""
    with Store(database_url, clock=clock, request_settings=HASHING) as store:
        with store._database.write() as connection:
            note_audit(connection, clock.now, "eva", "lift", "jan@example.pl", note="jan@example.pl wrote")
            note_audit(connection, clock.now, "eva", "release", "news", note="went well")
            for place, state in enumerate(("accepted", "pending")):
                values = {"report_key": bytes([place]), "state": state, "why": "unproven", "scopes": "marketing:"}
                values |= {"address": "jan@example.pl", "words": "stop", "subject": "Re", "mailbox": "m"}
                connection.execute(sa.insert(requests).values(recorded_at=clock.now, **values))
        clock.now += 731 * DAY
        store.prune()
        assert [(one.subject, one.note) for one in store.audit()] == [(JAN, None), ("news", "went well")]
        assert [one.action for one in store.audit("Jan@Example.pl")] == ["lift"]
        assert [(one.address, one.words) for one in store.requests(None)] == [(JAN, None), ("jan@example.pl", "stop")]


def test_a_hash_that_meets_one_of_its_own_is_one(database_url: str, clock: Clock) -> None:
    """An address suppressed by hand, forgotten, suppressed and forgotten again."""
    with Store(database_url, clock=clock, request_settings=HASHING) as store:
        for _ in range(2):
            store.suppress("jan@example.pl")
            store.suppress("@example.pl")
            clock.now += 731 * DAY
            store.prune()
    assert sorted(rows(database_url, "SELECT subject FROM bounceparse_standing")) == [("@example.pl",), (JAN,)]


def test_tokens_live_as_long_as_unsubscribe_links(hashing: Store, clock: Clock) -> None:
    """A link in a mail of ten years ago still unsubscribes."""
    outgoing = Outgoing(unsubscribe_url="https://shop.example/u/{token}")
    headers = hashing.sign(outgoing, "9@s.example", "jan@example.pl", stream="news")
    (token,) = find_tokens(dict(headers.fields)["List-Unsubscribe"])
    clock.now += 3650 * DAY
    hashing.prune()
    assert hashing.unsubscribe(token) is Verdict.VALID
    assert [one.scope for one in hashing.suppressions() if one.subject == "jan@example.pl"] == ["marketing:"]


def test_without_a_key_addresses_stay_and_are_counted(kept: Store, clock: Clock) -> None:
    clock.now += 731 * DAY
    kept.prune()
    assert not kept.can_hash
    assert kept.old_addresses() == 5
    assert kept.old_addresses(Retention(addresses_days=1000)) == 0


# -- the command and its settings


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    config = Path("bounceparse.toml")
    config.write_text(f'[database]\nurl = "{database_url}"\n[retention]\ndetails_days = 1\n')
    return config


def test_the_command_counts_and_clears(configured: Path, database_url: str) -> None:
    """With the days of the configuration; a dry run changes nothing."""
    with Store(database_url, keep_raw=True, clock=lambda: NOW) as store:
        store.record([make_message(make_outcome(), raw=b"x")])
    for arguments, left in ((["--dry-run"], 1), ([], 1), ([], 0)):
        done = CliRunner().invoke(main, ["prune", "--json", *arguments])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["pruned"]["raw messages"] == left
    told = CliRunner().invoke(main, ["prune"])
    assert "raw messages" in told.stdout and "keys new" not in told.stderr


def test_the_command_asks_for_a_key_when_addresses_grow_old(configured: Path, database_url: str) -> None:
    with Store(database_url, clock=lambda: NOW - 1000 * DAY) as store:
        store.record([make_message(make_outcome())])
    told = CliRunner().invoke(main, ["prune"])
    assert (told.exit_code, "keys new" in told.stderr) == (0, True)
    configured.write_text(f'[database]\nurl = "{database_url}"\n[signing]\nkey_file = "k"\n')
    CliRunner().invoke(main, ["keys", "new"])
    assert json.loads(CliRunner().invoke(main, ["prune", "--json"]).stdout)["pruned"]["addresses of outcomes"] == 1


def test_settings_have_defaults_and_limits(configured: Path) -> None:
    """15 and 180 days unless set; ids are needed for as long as matching again may need them."""
    default = Settings().retention
    assert (default.details_days, default.keys_days, default.raw_limit) == (15, 180, 131_072)
    assert load_settings().retention.details_days == 1
    configured.write_text("[retention]\nkeys_days = 13\n")
    with pytest.raises(ConfigError, match="keys_days"):
        load_settings()
    configured.write_text("[retention]\ndays = 13\n")
    with pytest.raises(ConfigError, match="details_days"):
        load_settings()


@pytest.mark.parametrize(("limit", "kept_bytes"), [(0, 0), (500, 500)])
def test_what_is_kept_of_a_message_can_be_set(configured: Path, database_url: str, limit: int, kept_bytes: int) -> None:
    """The first bytes of each message, or none."""
    configured.write_text(f'[database]\nurl = "{database_url}"\n[retention]\nraw_limit = {limit}\n')
    Path("m.eml").write_bytes(b"Subject: hello\n\n" + b"x" * 2000)
    assert CliRunner().invoke(main, ["replay", "m.eml"]).exit_code == 0
    assert lengths(database_url) == [kept_bytes]

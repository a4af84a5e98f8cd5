"""The policy table, line by line: what suppresses, after how much, for how long, and what does not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.causes import SETTINGS, TABLE, Cause, change_cause, change_table, find_contradiction
from bounceparse.config import build_policy, load_settings
from bounceparse.errors import ConfigError
from bounceparse.outcomes import REASONS, Status, Trust
from bounceparse.policy import (
    NOT_COVERED,
    Changes,
    Coverage,
    Event,
    Policy,
    Proof,
    Suppression,
    judge_address,
    judge_domain,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANY = Policy(trust=Proof.ANY)
REQUIRE = Policy(trust=Proof.REQUIRE)


def event(reason: str, day: float = 0, **fields: Any) -> Event:
    """A correlated event ``day`` days after the start, about a message of its own."""
    values: dict[str, Any] = {
        "at": START + timedelta(days=day),
        "status": REASONS[reason].status.value,
        "reason": reason,
        "address": "jan@example.pl",
        "domain": "example.pl",
        "message": f"m{day}",
        "trust": Trust.CORRELATED.value,
        "mailbox": "bounces",
        "from_domain": "shop.example",
        "sender": "shop",
    }
    return Event(**(values | fields))


def judged(*events: Event, policy: Policy = ANY, coverage: Coverage = NOT_COVERED) -> list[Suppression]:
    return judge_address("jan@example.pl", events, policy, coverage, {})


def judged_domain(*events: Event, policy: Policy = ANY) -> list[Suppression]:
    return judge_domain("example.pl", events, policy, NOT_COVERED, {})


DEAD = ["user-unknown", "bad-address-syntax", "address-moved", "owner-changed"]


@pytest.mark.parametrize("reason", DEAD)
@pytest.mark.parametrize("trust", ["verified", "correlated"])
def test_a_proven_dead_address_acts_at_once(reason: str, trust: str) -> None:
    """One user-unknown that is verified, or correlated by an unshared Message-ID, suppresses until lifted."""
    (found,) = judged(event(reason, trust=trust), policy=REQUIRE)
    assert (found.scope, found.status, found.reason, found.until) == ("all", "hardbounce", reason, None)


@pytest.mark.parametrize("fields", [{"shared": True}, {"trust": "unverified"}])
def test_a_weakly_proven_dead_address_needs_two_days(fields: dict[str, Any]) -> None:
    """A shared Message-ID, or no match where none is required, needs two counts on two days."""
    one, same_day, next_day = (event("user-unknown", day, **fields) for day in (0, 0.2, 1))
    assert judged(one) == []
    assert judged(one, same_day) == []
    (found,) = judged(one, next_day)
    assert (found.since, found.count) == (next_day.at, 2)


@pytest.mark.parametrize("reason", ["mailbox-disabled", "address-ambiguous"])
def test_a_disabled_address_needs_two_three_days_apart(reason: str) -> None:
    """Two counts, the first and last three days apart, suppress for 180 days."""
    assert judged(event(reason), event(reason, 2.9)) == []
    (found,) = judged(event(reason), event(reason, 3))
    assert found.until == START + timedelta(days=183)


def test_one_count_an_address_a_day_and_a_message() -> None:
    """The same message on the same day counts once, though it is reported three times."""
    same = [event("mailbox-full", 0, message="m"), event("mailbox-full", 0.1, message="m")]
    later = [event("mailbox-full", day) for day in (7, 15)]
    assert judged(*same, *later) == []


@pytest.mark.parametrize("reason", ["mailbox-full", "undefined"])
def test_mailbox_full_needs_four_over_fourteen_days(reason: str) -> None:
    """Four counts over fourteen days suppress for 30 days; four in a week do not."""
    assert judged(*(event(reason, day, final_5xx=True) for day in (0, 2, 4, 6))) == []
    (found,) = judged(*(event(reason, day, final_5xx=True) for day in (0, 5, 10, 14)))
    assert found.until == START + timedelta(days=44)


def test_undefined_without_a_final_5xx_never_acts() -> None:
    """A bare "failed" is not evidence against an address."""
    assert judged(*(event("undefined", day) for day in range(0, 60, 5))) == []


@pytest.mark.parametrize("sign", ["read-receipt", "auto-reply", "abuse"])
def test_a_sign_of_life_resets_mailbox_full(sign: str) -> None:
    """A later MDN, auto-reply or complaint clears the counts of a full mailbox."""
    full = [event("mailbox-full", day) for day in (0, 5, 10, 14)]
    assert [one for one in judged(*full[:3], event(sign, 11), full[3]) if one.cause == "mailbox-full"] == []
    assert judged(*full[:3], event(sign, 11, trust="unverified"), full[3])[0].cause == "mailbox-full"


def test_a_reported_delivery_resets_counts_and_lifts_nothing() -> None:
    """Delivered clears what was counted before, and does not end a suppression that has begun."""
    assert judged(event("mailbox-disabled"), event("delivered", 1), event("mailbox-disabled", 4)) == []
    assert len(judged(event("user-unknown"), event("delivered", 1))) == 1


def test_forwarded_failures_need_four_over_fourteen_days() -> None:
    """A failure behind a forward never counts as the address's own, whatever its reason."""
    hits = [event("user-unknown", day, trust="forwarded", status="softbounce") for day in (0, 5, 10, 14)]
    assert judged(*hits[:3]) == []
    (found,) = judged(*hits)
    assert (found.cause, found.until) == ("forwarded", START + timedelta(days=44))


def test_a_recipient_who_blocks_us_is_spared_one_from_domain() -> None:
    """Two on two days suppress that From domain only, for 180 days."""
    blocked = [event("recipient-blocks-sender", day) for day in (0, 1)]
    (found,) = judged(*blocked)
    assert (found.scope, found.until) == ("from:shop.example", START + timedelta(days=181))
    assert judged(blocked[0], event("recipient-restricted", 1, from_domain="other.example")) == []


@pytest.mark.parametrize(("transactional", "scope"), [(False, "marketing:shop"), (True, "sender:shop")])
def test_a_complaint_stops_the_senders_marketing(transactional: bool, scope: str) -> None:
    """One complaint stops that sender's marketing, all of its mail by setting."""
    policy = Policy(complaint_stops_transactional=transactional)
    assert [one.scope for one in judged(event("abuse"), policy=policy)] == [scope]


def test_an_unsubscribe_acts_only_with_a_token_or_authenticated() -> None:
    """A From that anyone can write never unsubscribes, even where no match is required."""
    assert judged(event("unsubscribe-request", trust="unverified")) == []
    assert judged(event("unsubscribe-request")) == []
    assert [one.scope for one in judged(event("one-click", trust="verified", list_id="news.example"))] == [
        "list:news.example"
    ]
    assert [one.scope for one in judged(event("unsubscribe-request", authenticated=True))] == ["marketing:shop"]


def test_bad_domain_needs_three_days_and_null_mx_one_proof() -> None:
    """A domain is suppressed for 90 days after three bad-domain on three days, or one proven null-mx."""
    assert judged_domain(event("bad-domain"), event("bad-domain", 1)) == []
    (found,) = judged_domain(*(event("bad-domain", day) for day in (0, 1, 2)))
    assert (found.subject, found.until) == ("@example.pl", START + timedelta(days=92))
    assert len(judged_domain(event("null-mx"))) == 1
    assert judged_domain(event("null-mx", trust="unverified")) == []


def test_a_domain_is_not_given_up_on_unproven_reports() -> None:
    """With ``auto`` no number of unmatched reports suppresses a domain; ``any`` forces it."""
    reports = [event("bad-domain", day, trust="unverified") for day in range(5)]
    assert judged_domain(*reports, policy=Policy()) == []
    assert len(judged_domain(*reports)) == 1


NETWORK = ["no-answer", "bad-connection", "dns-failure", "unroutable", "expired", "relay-denied"]


@pytest.mark.parametrize("reason", NETWORK)
def test_a_domain_that_is_down_needs_five_days_over_21_then_gets_one_try(reason: str) -> None:
    """Five on five days over 21 suppress for 30 days; the first failure after that renews it, a delivery forgives."""
    days = (0, 5, 10, 15, 21)
    assert judged_domain(*(event(reason, day) for day in (0, 2, 4, 6, 8))) == []
    (found,) = judged_domain(*(event(reason, day) for day in days))
    assert found.until == START + timedelta(days=51)
    (again,) = judged_domain(*(event(reason, day) for day in (*days, 60)))
    assert again.since == START + timedelta(days=60)
    (ended,) = judged_domain(*(event(reason, day) for day in days), event("delivered", 55), event(reason, 60))
    assert ended.until == START + timedelta(days=51)


LISTED = frozenset().union(*(cause.reasons for cause in TABLE))


@pytest.mark.parametrize("reason", sorted(set(REASONS) - LISTED))
def test_all_else_never_acts(reason: str) -> None:
    """A reason that the table does not list suppresses nothing, however often it comes."""
    events = [event(reason, day, trust="verified", authenticated=True, final_5xx=True) for day in range(40)]
    assert judged(*events) == []
    assert judged_domain(*events) == []


@pytest.mark.parametrize("reason", sorted(LISTED))
def test_a_deferral_never_acts(reason: str) -> None:
    """A warning that mail waits is no failure, whatever reason it gives."""
    events = [event(reason, day, status=Status.DEFERRED.value, trust="verified", final_5xx=True) for day in range(40)]
    assert judged(*events) == []
    assert judged_domain(*events) == []


@pytest.mark.parametrize("reason", sorted(LISTED))
def test_forged_never_acts(reason: str) -> None:
    """A wrong signature never counts, even where anything does."""
    events = [event(reason, day, trust="forged", authenticated=True, final_5xx=True) for day in range(40)]
    assert judged(*events) == []
    assert judged_domain(*events) == []


def test_proof_is_required_where_the_ledger_covers_the_mailbox() -> None:
    """``auto`` asks for a match in proven mailboxes, ``require`` everywhere, ``any`` nowhere."""
    unmatched = [event("user-unknown", day, trust="unverified") for day in (0, 1)]
    assert len(judged(*unmatched, policy=Policy())) == 1
    assert judged(*unmatched, policy=Policy(), coverage=Coverage(frozenset({"bounces"}))) == []
    assert judged(*unmatched, policy=REQUIRE) == []
    assert len(judged(*unmatched, policy=ANY, coverage=Coverage(frozenset({"bounces"})))) == 1


def test_what_was_forgiven_never_counts_again() -> None:
    """After a lift only later events count."""
    forgiven = {("all", "dead-address"): START + timedelta(days=1)}
    before, after = event("user-unknown"), event("user-unknown", 2)
    assert judge_address("jan@example.pl", [before], ANY, NOT_COVERED, forgiven) == []
    assert len(judge_address("jan@example.pl", [before, after], ANY, NOT_COVERED, forgiven)) == 1


def test_a_softbounce_with_a_hard_reason_does_not_count() -> None:
    """user-unknown by a 4.x reply is never a hardbounce, and never suppresses."""
    assert judged(*(event("user-unknown", day, status="softbounce") for day in range(5))) == []


def test_order_of_arrival_does_not_matter() -> None:
    """The same history in any order gives the same suppressions."""
    events = [event("mailbox-full", day) for day in (0, 5, 10, 14)] + [event("abuse", 20)]
    assert judged(*events) == judged(*reversed(events))


def test_proof_is_required_where_the_ledger_covers_the_stream() -> None:
    """A report that leads to a stream is judged by that stream's coverage, whatever its mailbox."""
    weak = [event("user-unknown", day, trust="unverified", stream="news") for day in (0, 1)]
    covered = Coverage(frozenset({"bounces"}), frozenset({"orders"}))
    assert len(judged(*weak, policy=Policy(), coverage=covered)) == 1
    assert judged(*weak, policy=Policy(), coverage=Coverage(streams=frozenset({"news"}))) == []
    strict = Policy(streams={"news": Changes(trust=Proof.REQUIRE)})
    assert judged(*weak, policy=strict) == []
    assert len(judged(*[one._replace(stream=None) for one in weak], policy=strict)) == 1


# -- the table as data


def told(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        configured(text)
    return str(caught.value)


def configured(text: str) -> Policy:
    Path("bounceparse.toml").write_text(text)
    return build_policy(load_settings("bounceparse.toml"))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_configuration_changes_the_table(folder: Path) -> None:
    """For all, for a sender and for a stream, each on top of the other; what is not given stays."""
    policy = configured("""
        [policy]
        cause.mailbox-full.needs = 6
        [policy.breaker]
        count = 20
        pause = "24h"
        [sender.shop.policy]
        trust = "require"
        cause.mailbox-full.lasts = 0
        [stream.news.policy.cause.mailbox-full]
        acts = false
    """)

    def full(stream: str | None, sender: str) -> tuple[bool, int, int | None]:
        (found,) = [cause for cause in policy.of(stream, sender).table if cause.name == "mailbox-full"]
        return found.acts, found.needs, found.lasts

    assert full(None, "") == (True, 6, 30)
    assert full(None, "shop") == (True, 6, None)
    assert full("news", "shop") == (False, 6, None)
    assert [policy.of("news", sender).trust for sender in ("shop", "club")] == [Proof.REQUIRE, Proof.AUTO]
    assert policy.of("orders", "club") is policy
    assert (policy.breaker.count, policy.breaker.pause) == (20, timedelta(hours=24))
    assert configured("[policy]") == Policy()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[policy.cause.mailbox-ful]\nneeds = 1",
            "[policy] cause: unknown cause 'mailbox-ful': known are dead-address, ",
        ),
        (
            "[policy.cause.mailbox-full]\nneed = 1",
            "[policy.cause.mailbox-full] need: unknown key: known are acts, days, ",
        ),
        (
            "[stream.a.policy.cause.undefined]\nx = 1",
            "[stream.a.policy.cause.undefined] x: unknown key: known are acts",
        ),
        ("[sender.a.policy]\nbreaker = 1", "[sender.a.policy] breaker: unknown key: known are cause, "),
        (
            "[policy.cause.mailbox-full]\ndays = 9",
            "[policy.cause.mailbox-full] days: 4 counts cannot lie on 9 days: raise",
        ),
        ("[policy.cause.dead-address]\nneeds_proved = 3", "needs_proved: proof must not make it harder to act: write"),
        ("[policy.cause.domain-down]\nwindow = 9", "window: counts are forgotten before they lie 21 days apart: raise"),
        ("[policy.cause.unsubscribe]\nacts = false", "acts: who asks to be left alone must be: remove it"),
        ("[sender.a.policy.cause.undefined]\nspread = 99", "[sender.a.policy.cause.undefined] window: counts are"),
    ],
)
def test_what_cannot_be_meant_is_an_error(folder: Path, text: str, said: str) -> None:
    """With the file, the setting and what to do, as in the rules."""
    message = told(text)
    assert message.startswith(str(folder / "bounceparse.toml"))
    assert said in message


@given(
    st.sampled_from(TABLE),
    st.fixed_dictionaries(
        {},
        optional={
            name: st.integers(0 if name in ("lasts", "spread", "needs_proved") else 1, 400) for name in SETTINGS[1:]
        },
    ),
)
def test_a_changed_line_can_always_be_met(cause: Cause, values: dict[str, int]) -> None:
    """Whatever is set, some history acts: what contradicts itself is told where it is configured, and gives way."""
    changed = change_cause(cause, values)
    assert changed.days <= changed.needs
    assert changed.needs_proved <= changed.needs
    assert changed.spread <= changed.window
    assert changed.lasts != 0
    if not find_contradiction(cause, values):
        assert all(
            getattr(changed, name) == (value or None if name == "lasts" else value) for name, value in values.items()
        )


def test_one_count_may_be_made_enough() -> None:
    """``needs = 1`` alone takes the days along that two counts had to lie on."""
    eager = Policy(trust=Proof.ANY, table=change_table(TABLE, {"blocked-by-recipient": {"needs": 1}}))
    assert len(judged(event("recipient-blocks-sender"), policy=eager)) == 1
    never = Policy(trust=Proof.ANY, table=change_table(TABLE, {"complaint": {"acts": 0}}))
    assert judged(event("abuse"), policy=never) == []

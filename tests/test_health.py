"""Health: which reasons count, thresholds, hysteresis, and the command that tells a person."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.alerting import AlertCommand, run_alert
from bounceparse.errors import AlertError
from bounceparse.health import (
    CHOICE_REASONS,
    CLEAR,
    SETUP_REASONS,
    Cohort,
    Level,
    Thresholds,
    Verdict,
    assess,
    stream_alert,
)
from bounceparse.outcomes import REASONS, Status

LIMITS = Thresholds()


def level(**counts: int) -> Level:
    return assess(Cohort(**counts), LIMITS).level


# -- what counts


def test_each_spambounce_reason_counts_or_is_the_recipients_choice_or_our_set_up() -> None:
    """The whole list by name: a new reason must be put where it belongs."""
    spam = {reason for reason, row in REASONS.items() if row.status is Status.SPAMBOUNCE}
    assert spam >= SETUP_REASONS | CHOICE_REASONS
    assert spam - SETUP_REASONS - CHOICE_REASONS == {
        "spam-content", "blocklisted", "bad-reputation", "rate-limited", "policy", "sender-rejected",
        "content-error", "virus", "attachment-banned",
    }  # fmt: skip
    assert {reason for reason in spam if reason.startswith("auth-")} <= SETUP_REASONS
    assert not SETUP_REASONS & CHOICE_REASONS


def test_spambounces_by_choice_or_set_up_do_not_stop_a_stream() -> None:
    """The same number stops it when it answers what was sent; set-up faults warn."""
    assert level(injected=1000, spambounce=50) is Level.STOP
    assert level(injected=1000, spambounce=50, choice=50) is Level.OK
    assert level(injected=1000, spambounce=500, setup=500) is Level.WARN
    assert level(injected=1000, spambounce=70, setup=25, choice=20) is Level.STOP


COUNTS = st.integers(0, 10_000)


@given(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
def test_every_message_is_in_one_place(
    delivered: int, presumed: int, waiting: int, deferred: int, soft: int, presumed_soft: int, hard: int, spam: int
) -> None:
    """What waits and what reached somebody follow from the rest; confirmed and presumed never mix."""
    parts = (delivered, presumed, waiting, deferred, soft, presumed_soft, hard, spam)
    cohort = Cohort(
        injected=sum(parts), delivered=delivered, presumed=presumed, deferred=deferred, softbounce=soft,
        presumed_softbounce=presumed_soft, hardbounce=hard, spambounce=spam,
    )  # fmt: skip
    assert cohort.waiting == waiting
    assert cohort.reached == delivered + presumed + waiting
    assert cohort.measures()["hardbounce"] == (hard, sum(parts))


def test_rates_are_of_their_own_denominators() -> None:
    """Bounces of all injected, complaints of what reached somebody; of nothing there is no rate."""
    rates = Cohort(injected=1000, delivered=300, presumed=200, deferred=100, hardbounce=100, complaint=4).rates()
    assert rates == {
        "delivered": 30.0, "presumed": 20.0, "hardbounce": 10.0, "spambounce": 0.0, "setup": 0.0, "complaint": 0.5,
    }  # fmt: skip
    assert set(Cohort().rates().values()) == {None}


# -- thresholds


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ({"injected": 1000, "hardbounce": 100}, Level.WARN),  # 10 % is not over 10 %
        ({"injected": 1000, "hardbounce": 101}, Level.STOP),
        ({"injected": 1000, "hardbounce": 51}, Level.WARN),
        ({"injected": 1000, "hardbounce": 50}, Level.OK),
        ({"injected": 1000, "spambounce": 21}, Level.STOP),
        ({"injected": 2000, "spambounce": 21}, Level.WARN),
        ({"injected": 499, "hardbounce": 499}, Level.OK),  # too few messages
        ({"injected": 500, "spambounce": 19}, Level.OK),  # too few events
        ({"injected": 500, "spambounce": 20}, Level.STOP),
        ({"injected": 19_000, "complaint": 20}, Level.WARN),
        ({"injected": 6_000, "complaint": 20}, Level.STOP),
        ({"injected": 6_000, "complaint": 19}, Level.OK),
        ({"injected": 12_000, "hardbounce": 5400, "complaint": 20}, Level.STOP),
        ({"injected": 1000, "presumed_softbounce": 1000}, Level.OK),  # shown, never counted
        ({"injected": 1000, "softbounce": 500, "deferred": 500}, Level.OK),
    ],
)
def test_a_level_follows_from_rate_and_volume(counts: dict[str, int], expected: Level) -> None:
    """Over 10 % hardbounces or 2 % spambounces stop, 0.1 and 0.3 % complaints warn and stop; 500 sent and 20 events."""
    assert level(**counts) is expected


def test_the_verdict_tells_the_figures() -> None:
    """Rate, count, denominator and limit of each measure that is over."""
    found = assess(Cohort(injected=1000, hardbounce=120, spambounce=15), Thresholds(least_events=10))
    assert found == Verdict(
        Level.STOP,
        "hardbounce 12.00 %: 120 of 1000 (stop above 10 %); spambounce 1.50 %: 15 of 1000 (warn above 1 %)",
        ("hardbounce", "spambounce"),
    )


def test_thresholds_are_settings() -> None:
    """A stream may have its own."""
    strict = Thresholds(least_sent=100, least_events=1, hardbounce_stop=1.0)
    assert assess(Cohort(injected=100, hardbounce=2), strict).level is Level.STOP


# -- hysteresis


def test_a_warning_clears_well_below_its_threshold() -> None:
    """At 80 % of it, not at the threshold; and only the measure that warned is eased."""
    warned = frozenset({"hardbounce"})
    assert assess(Cohort(injected=1000, hardbounce=45), LIMITS, warned).over == ("hardbounce",)
    assert assess(Cohort(injected=1000, hardbounce=39), LIMITS, warned) == Verdict(Level.OK)
    assert assess(Cohort(injected=5000, spambounce=45), LIMITS, warned) == Verdict(Level.OK)


def test_a_warning_survives_a_volume_that_wavers() -> None:
    """What it needs of messages and events is eased as well, yet never enough to stop."""
    warned = frozenset({"spambounce"})
    assert assess(Cohort(injected=480, spambounce=18), LIMITS, warned).level is Level.WARN
    assert assess(Cohort(injected=399, spambounce=18), LIMITS, warned).level is Level.OK


@given(st.lists(st.integers(0, 99), min_size=1, max_size=50))
def test_nothing_flaps(hardbounces: list[int]) -> None:
    """A warning begins only above its threshold and ends only below 80 % of it; in between nothing changes."""
    warned: frozenset[str] = frozenset()
    for count in hardbounces:
        before, rate = "hardbounce" in warned, count / 10
        found = assess(Cohort(injected=1000, hardbounce=count), LIMITS, warned)
        after = "hardbounce" in found.over
        if after and not before:
            assert rate > LIMITS.hardbounce_warn
        if before and not after:
            assert rate < CLEAR * LIMITS.hardbounce_warn
        if CLEAR * LIMITS.hardbounce_warn <= rate <= LIMITS.hardbounce_warn:
            assert after is before
        assert (found.level is Level.WARN) is after
        warned = frozenset(found.over)


@given(
    st.integers(0, 5000),
    st.integers(0, 5000),
    st.sets(st.sampled_from(["hardbounce", "spambounce"])),
    st.integers(0, 9),
)
def test_more_bounces_never_make_a_stream_better(sent: int, hard: int, warned: set[str], more: int) -> None:
    """Of the same volume, a higher rate is never judged milder."""
    hard = min(hard, sent)
    worse = min(hard + more, sent)
    first = assess(Cohort(injected=sent, hardbounce=hard), LIMITS, frozenset(warned)).level
    second = assess(Cohort(injected=sent, hardbounce=worse), LIMITS, frozenset(warned)).level
    assert second.rank >= first.rank


def test_the_alert_of_a_stop_names_the_remedy() -> None:
    """As a command line that a shell takes."""
    found = stream_alert("spring sale", Verdict(Level.STOP, "hardbounce 12.00 %"))
    assert found is not None
    assert "bounceparse streams release 'spring sale' --note" in found.text
    assert stream_alert("news", Verdict(Level.OK)) is None


# -- the command


EVENT = {
    "kind": "stream-stop",
    "subject": "news",
    "level": "stop",
    "text": "stream news is stopped: ę\n$(false)",
    "told_at": None,
}


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def test_the_command_gets_the_event_on_its_input_and_in_its_environment(tmp_path: Path) -> None:
    """As one line of JSON, and each value as a variable; no shell ever reads the event."""
    command = script(tmp_path / "alert", f'cd {tmp_path}; cat > event; printf "%s" "$ALERT_TEXT" > text; env > env')
    run_alert(AlertCommand([command]), EVENT)
    assert json.loads((tmp_path / "event").read_text()) == EVENT
    assert (tmp_path / "text").read_text() == EVENT["text"]
    assert "ALERT_TOLD_AT=\n" in (tmp_path / "env").read_text()
    run_alert(AlertCommand(f"cat > {tmp_path}/by-shell"), EVENT)
    assert json.loads((tmp_path / "by-shell").read_text()) == EVENT


def test_a_command_need_not_read_its_input(tmp_path: Path) -> None:
    """One that closes it at once has not failed, however long the event is."""
    run_alert(AlertCommand("exec 0<&-"), {**EVENT, "text": "x" * 100_000})


@pytest.mark.parametrize(
    ("command", "told"), [("exit 3", "status 3"), (["/nonexistent"], "cannot be run"), ("kill -9 $$", "status -9")]
)
def test_a_command_that_fails_is_told_so(command: Any, told: str) -> None:
    """It raises, so that the event stays due."""
    with pytest.raises(AlertError, match=told):
        run_alert(AlertCommand(command), EVENT)


def test_a_command_that_hangs_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """A grandchild that would go on for an hour does not."""
    with pytest.raises(AlertError, match="not ended after 1 s"):
        run_alert(AlertCommand(f"sleep 3600 & echo $! > {tmp_path}/pid; wait", timeout=1), EVENT)
    pid = int((tmp_path / "pid").read_text())
    for _ in range(100):
        if not _is_running(pid):
            return
        time.sleep(0.1)
    pytest.fail("the grandchild is still running")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False

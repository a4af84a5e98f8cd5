"""Mass events, on both databases: paused instead of suppressed, released in time, discarded or undone by a person."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from outcome_factory import make_message, make_outcome

from bounceparse.advice import PAUSED, advice
from bounceparse.breaker import HOUR, Breaker, find_bursts
from bounceparse.cli import main
from bounceparse.db import SentMessage, Store
from bounceparse.errors import ConfigError
from bounceparse.policy import Policy
from bounceparse.reading import ReadMessage

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
_numbers = count(1)


class Clock:
    """A clock that stands where it is put."""

    def __init__(self) -> None:
        self.now = START + 2 * HOUR

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, clock: Clock) -> Iterator[Store]:
    with Store(database_url, clock=clock) as opened:
        yield opened


def failures(
    store: Store, number: int, *, since: datetime = START, step: timedelta = MINUTE / 2, domain: str = "p.example"
) -> list[ReadMessage]:
    """Proven reports of ``number`` unknown users at a domain, one every ``step``."""
    names = [f"u{next(_numbers)}" for _ in range(number)]
    store.import_sent(SentMessage(message_id=f"{one}@shop.example", recipient=f"{one}@{domain}") for one in names)
    return [
        make_message(
            make_outcome(
                recipient=f"{one}@{domain}", message_id=f"{one}@shop.example", occurred_at=since + place * step
            )
        )
        for place, one in enumerate(names)
    ]


def addresses(messages: Sequence[ReadMessage]) -> list[str]:
    return [str(message.outcomes[0].recipient) for message in messages]


def states(store: Store, messages: Sequence[ReadMessage]) -> set[str]:
    """How the addresses of these messages stand: ``mailed``, ``paused``, ``suppressed``."""
    found = set()
    for address in addresses(messages):
        standing = store.standing(address)
        found.add("mailed" if standing.mailable else "paused" if standing.paused_until else "suppressed")
    return found


# -- the pure part


@given(st.lists(st.integers(0, 400), max_size=60), st.integers(1, 8))
def test_a_burst_is_whatever_lies_in_a_crowded_hour(minutes: list[int], threshold: int) -> None:
    """A time is in a burst exactly when some hour that holds it holds enough; order makes no difference."""
    times = [START + one * MINUTE for one in minutes]
    bursts = find_bursts(times, threshold)
    for at in times:
        crowded = any(
            first <= at <= first + HOUR and sum(first <= one <= first + HOUR for one in times) >= threshold
            for first in times
        )
        assert crowded == any(first <= at <= last for first, last in bursts)
    assert bursts == find_bursts(reversed(times), threshold)
    assert bursts == sorted(bursts)


@pytest.mark.parametrize(("week", "threshold"), [(0, 50), (840, 50), (841, 51), (16_800, 1000)])
def test_an_event_takes_fifty_and_ten_times_the_mean(week: int, threshold: int) -> None:
    """The week's suppressions, by 168 hours, times ten; never fewer than fifty."""
    assert Breaker().threshold(week) == threshold


# -- pausing


def test_fifty_in_an_hour_are_paused_and_forty_nine_are_not(store: Store) -> None:
    """The fiftieth makes an event of all fifty, those of former batches too, verified or correlated alike."""
    messages = failures(store, 50)
    store.record(messages[:49])
    assert states(store, messages[:49]) == {"suppressed"}
    assert list(store.events()) == []
    store.record(messages[49:])
    assert states(store, messages) == {"paused"}
    (event,) = store.events()
    assert (event.provider, event.reason, event.state, event.count) == ("p.example", "user-unknown", "open", 50)
    assert (event.began_at, event.last_at) == (START, START + 49 * MINUTE / 2)


def test_the_same_in_two_hours_is_no_event(store: Store) -> None:
    """Fifty that are spread out, of two providers, or for two reasons, are fifty dead addresses."""
    messages = failures(store, 60, step=timedelta(minutes=2))
    messages += failures(store, 30, domain="q.example") + failures(store, 30, domain="r.example")
    store.record(messages)
    assert states(store, messages) == {"suppressed"}


def test_a_provider_with_many_failures_a_week_needs_more(store: Store, clock: Clock) -> None:
    """Ten times the week's hourly mean: 1,680 suppressions in the week before make it 100 in an hour."""
    before = failures(store, 1680, since=START - 6 * DAY, step=timedelta(minutes=3))
    store.record(before)
    assert list(store.events()) == []
    messages = failures(store, 100, step=MINUTE / 4)
    store.record(messages[:99])
    assert states(store, messages[:99]) == {"suppressed"}
    store.record(messages[99:])
    assert states(store, messages) == {"paused"}
    assert states(store, before[-20:]) == {"suppressed"}


def test_who_asked_to_be_left_alone_is_never_paused(store: Store) -> None:
    """A hundred complaints in an hour are complaints: nobody may mail them again."""
    messages = [
        make_message(
            make_outcome("abuse", f"c{number}@p.example", message_id=f"c{number}@shop.example", occurred_at=START)
        )
        for number in range(100)
    ]
    store.record(messages)
    assert list(store.events()) == []


def test_mail_that_is_replayed_makes_no_event(store: Store, clock: Clock) -> None:
    """An event of which the pause would be over is none: its addresses are suppressed."""
    clock.now = START + 4 * DAY
    messages = failures(store, 80)
    store.record(messages)
    assert states(store, messages) == {"suppressed"}
    assert list(store.events()) == []


def test_the_breaker_can_be_turned_off(database_url: str, clock: Clock) -> None:
    """``count = 0``: whatever comes is suppressed."""
    with Store(database_url, policy=Policy(breaker=Breaker(count=0)), clock=clock) as store:
        messages = failures(store, 80)
        store.record(messages)
        assert states(store, messages) == {"suppressed"}


def test_a_paused_address_is_not_mailed_and_says_why(store: Store, clock: Clock) -> None:
    """Neither by ``mailable`` nor by the card, and the advice is not to ask for another address."""
    messages = failures(store, 50)
    store.record(messages)
    address = addresses(messages)[0]
    standing = store.standing(address)
    assert list(store.mailable([address, "other@p.example"], "any")) == ["other@p.example"]
    assert (standing.reason, standing.provider) == ("user-unknown", "p.example")
    assert standing.paused_until == clock.now + timedelta(hours=72)
    assert standing.advice("pl") == advice(PAUSED, "pl")
    (row,) = [one for one in store.suppressions() if one.subject == address]
    assert row.paused_until == standing.paused_until


# -- what becomes of it


def test_a_pause_ends_in_suppression_whether_or_not_anything_runs(store: Store, clock: Clock) -> None:
    """After 72 hours the address is suppressed by the clock alone; the next poll notes it."""
    messages = failures(store, 50)
    store.record(messages)
    clock.now += timedelta(hours=72)
    assert states(store, messages) == {"suppressed"}
    assert [one.state for one in store.events()] == ["open"]
    store.settle()
    (event,) = store.events()
    assert (event.state, event.decided_by) == ("released", "policy")
    assert states(store, messages) == {"suppressed"}


def test_a_released_event_is_suppressed_and_what_comes_later_too(store: Store, clock: Clock) -> None:
    """A person who knows the addresses to be dead need not wait."""
    messages = failures(store, 60)
    store.record(messages[:50])
    (event,) = store.events(undecided=True)
    done = store.release_event(event.id, by="anna", note="closed down")
    assert (done.state, done.decided_by, done.note) == ("released", "anna", "closed down")
    store.record(messages[50:])
    assert states(store, messages) == {"suppressed"}
    assert list(store.events(undecided=True)) == []
    with pytest.raises(ConfigError, match="released already"):
        store.release_event(event.id)


def test_a_discarded_event_never_counts(store: Store, clock: Clock) -> None:
    """The addresses are mailed, late reports of the fault change nothing, nor does judging anew; later failures count."""
    messages = failures(store, 70)
    store.record(messages[:60])
    (event,) = store.events()
    store.discard_event(event.id, by="anna", note="their fault")
    assert states(store, messages) == {"mailed"}
    store.record(messages[60:])
    assert states(store, messages) == {"mailed"}
    assert [page.differences for page in store.apply_policy()] == [()]
    assert [(one.state, one.count) for one in store.events()] == [("discarded", 70)]
    clock.now += 3 * DAY
    first = addresses(messages)[0]
    store.record_sent("later@shop.example", first)
    late = make_outcome(recipient=first, message_id="later@shop.example", occurred_at=START + 2 * DAY)
    store.record([make_message(late)])
    assert store.standing(first).paused_until is None
    assert not store.standing(first).mailable


def test_who_failed_after_the_event_stays_suppressed_when_it_is_discarded(store: Store, clock: Clock) -> None:
    """Only what happened in the event is forgiven."""
    messages = failures(store, 50)
    store.record(messages)
    clock.now += DAY
    dead = addresses(messages)[0]
    store.record_sent("later@shop.example", dead)
    store.record([make_message(make_outcome(recipient=dead, message_id="later@shop.example", occurred_at=START + DAY))])
    (event,) = store.events()
    store.discard_event(event.id)
    assert states(store, messages[:1]) == {"suppressed"}
    assert states(store, messages[1:]) == {"mailed"}


def test_a_released_event_can_still_be_discarded(store: Store, clock: Clock) -> None:
    """Somebody may find out on the fourth day only."""
    messages = failures(store, 50)
    store.record(messages)
    clock.now += 4 * DAY
    store.release_expired()
    (event,) = store.events()
    store.discard_event(event.id)
    assert states(store, messages) == {"mailed"}
    with pytest.raises(ConfigError, match="discarded already"):
        store.release_event(event.id)
    with pytest.raises(ConfigError, match="no event 99"):
        store.discard_event(99)


def test_a_past_event_is_undone(store: Store, clock: Clock) -> None:
    """By reason, provider and time; a dry run changes nothing, and others stay suppressed."""
    clock.now = START + 30 * DAY
    messages = failures(store, 20)
    others = failures(store, 5, domain="q.example") + failures(store, 5, since=START + 5 * DAY)
    store.record([*messages, *others])
    told = {"reason": "user-unknown", "provider": "p.example", "since": START, "until": START + HOUR}
    assert sorted(store.undo_event(**told, dry_run=True)) == sorted(addresses(messages))
    assert states(store, messages) == {"suppressed"}
    assert sorted(store.undo_event(**told, by="anna", note="their fault")) == sorted(addresses(messages))
    assert states(store, messages) == {"mailed"}
    assert states(store, others) == {"suppressed"}
    assert store.undo_event(**told) == []
    assert sum(len(page.differences) for page in store.apply_policy()) == 0


def test_what_persons_decide_is_in_the_audit_trail(store: Store, database_url: str) -> None:
    """Who, what and why; and how much it touched."""
    store.record(failures(store, 50))
    (event,) = store.events()
    store.discard_event(event.id, by="anna", note="their fault")
    store.suppress("x@p.example", by="ewa", note="asked")
    store.lift("x@p.example", by="ola", note="mistake")
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        query = sa.text("SELECT actor, action, subject, note, detail FROM bounceparse_audit ORDER BY id")
        rows = [tuple(row) for row in connection.execute(query)]
    engine.dispose()
    assert rows == [
        ("anna", "discard event", str(event.id), "their fault", "p.example user-unknown: 50 suppressions lifted"),
        ("ewa", "suppress", "x@p.example", "asked", "manual"),
        ("ola", "lift", "x@p.example", "mistake", None),
    ]


def test_every_change_of_a_pause_renews_the_cursor(store: Store, database_url: str) -> None:
    """A service that follows ``seq`` sees the pause, and its end."""

    def rows() -> dict[str, tuple[int, bool]]:
        engine = sa.create_engine(database_url)
        with engine.connect() as connection:
            query = sa.text("SELECT subject, seq, paused_until IS NOT NULL AS paused FROM bounceparse_v1_standing")
            found = {row.subject: (row.seq, bool(row.paused)) for row in connection.execute(query)}
        engine.dispose()
        return found

    messages = failures(store, 50)
    store.record(messages[:49])
    before = rows()
    store.record(messages[49:])
    paused = rows()
    assert all(paused[one][0] > before[one][0] and paused[one][1] for one in before)
    assert len({seq for seq, _ in paused.values()}) == 50
    (event,) = store.events()
    store.release_event(event.id)
    after = rows()
    assert all(after[one][0] > paused[one][0] and not after[one][1] for one in paused)


@settings(max_examples=6, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.data())
def test_batches_and_their_order_make_no_difference(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever the order and the size of the batches, the same addresses are paused, suppressed or mailed."""
    from databases import migrated_sqlite

    results = []
    clock = Clock()
    clock.now += DAY
    for run in range(2):
        url = migrated_sqlite(tmp_path_factory.mktemp("events") / "b.db")
        with Store(url, clock=clock, policy=Policy(breaker=Breaker(count=8))) as store:
            names = [f"n{number}" for number in range(24)]
            store.import_sent(SentMessage(message_id=f"{one}@s.example", recipient=f"{one}@p.example") for one in names)
            messages = [
                make_message(
                    make_outcome(
                        recipient=f"{one}@p.example",
                        message_id=f"{one}@s.example",
                        occurred_at=START + place * (4 if place < 12 else 12) * MINUTE,
                    ),
                    key=one.encode().ljust(32),
                )
                for place, one in enumerate(names)
            ]
            if run:
                messages = data.draw(st.permutations(messages))
            size = data.draw(st.integers(1, 24)) if run else 24
            for start in range(0, len(messages), size):
                store.record(messages[start : start + size])
            results.append({one: states(store, [message]) for message in messages for one in addresses([message])})
    assert results[0] == results[1]
    assert {"paused"} in results[0].values()
    assert {"suppressed"} in results[0].values()


# -- the command line


def test_events_on_the_command_line(database_url: str, tmp_path: Path) -> None:
    """list, release and discard with a note; lift undoes a past event, and says so beforehand."""
    config = tmp_path / "bounceparse.toml"
    config.write_text(f'[database]\nurl = "{database_url}"\n')

    def run(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(main, ["--config", str(config), *words])
        assert result.exit_code == status, result.output
        return result.output

    now = datetime.now(UTC).replace(microsecond=0)
    with Store(database_url) as store:
        messages = failures(store, 50, since=now - HOUR)
        store.record(messages)
        address = addresses(messages)[0]
    assert "open until" in run("events", "list", "--open")
    card = run("address", address)
    assert "since many of p.example's addresses failed at once" in card
    assert "zawiodło wiele adresów u p.example" in run("address", address, "--lang", "pl")
    assert '"state": "open"' in run("events", "list", "--json")
    assert "Missing option '--note'" in run("events", "discard", "1", status=2)
    assert "50 addresses may be mailed" in run("events", "discard", "1", "--note", "their fault")
    assert "discarded already" in run("events", "release", "1", "--note", "no", status=1)
    assert "their fault" in run("events", "list")
    assert "mail is sent: yes" in run("address", address)

    with Store(database_url) as store:
        store.record(failures(store, 3, since=now - 5 * DAY, domain="q.example"))
    event = ["--reason", "user-unknown", "--provider", "q.example", "--between", "6d", "4d"]
    assert "3 would be lifted" in run("suppressions", "lift", *event, "--dry-run")
    assert run("suppressions", "lift", *event, "--note", "their fault") == "3 lifted\n"
    assert run("suppressions", "lift", *event, status=1) == "0 lifted\n"
    assert "leave the address out" in run("suppressions", "lift", address, "--reason", "user-unknown", status=2)
    assert "name an address" in run("suppressions", "lift", "--reason", "user-unknown", status=2)

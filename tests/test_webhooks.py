"""Events: each change has one and each one its change; what goes to which endpoint, in which order, how often."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from threading import Event
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from bounces import dsn
from outcome_factory import NOW, make_message, make_outcome
from receiver import Received, Receiver, receiving
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from test_erase import JAN
from test_store_ledger import Clock
from test_views import connected, rows

from bounceparse.db import Store, parse_sent, recording
from bounceparse.db.deliveries import Subscription
from bounceparse.db.outbox import EventKind
from bounceparse.db.webhook_store import WebhookStore
from bounceparse.errors import ConfigError, MailboxLocked
from bounceparse.webhooks import backoff, sending
from bounceparse.webhooks.endpoints import Endpoint
from bounceparse.webhooks.sending import Sent, keep_sending, send_due
from bounceparse.webhooks.signing import new_secret, read_secret

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=one) for one in (1, 60, 3600, 86400))
_OUTBOX = "SELECT id, event_id, kind, subject, stream, status, payload FROM bounceparse_outbox ORDER BY id"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database_url: str, clock: Clock) -> Iterator[Store]:
    """A store whose events go to the endpoint ``crm``, and whose time stands still."""
    with Store(database_url, clock=clock) as store:
        WebhookStore(store).register(["crm"])
        yield store


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


def endpoint(receiver: Receiver, name: str = "crm", **values: Any) -> Endpoint:
    """The endpoint of a receiver; ``kinds``, ``statuses`` and ``streams`` say what it wants."""
    wanted = {key: frozenset(values.pop(key)) for key in ("kinds", "statuses", "streams") if key in values}
    given = {"allow_private": True, "timeout": 10.0, "keys": lambda: (read_secret(SECRET),)} | values
    return Endpoint(name, urlsplit(receiver.url), Subscription(name, **wanted), **given)


def send(store: Store, receiver: Receiver, **values: Any) -> Sent:
    return send_due(WebhookStore(store), endpoint(receiver, **values), Event())


_numbers = count(1)


def fail(store: Store, recipient: str, reason: str = "user-unknown", stream: str | None = None) -> None:
    """Record a bounce of a message that is in the ledger."""
    message_id = f"{next(_numbers)}@s.example"
    store.record_sent(message_id, recipient, stream=stream)
    store.record([make_message(make_outcome(reason, recipient, message_id=message_id))])


# Each change has its event, and each event its change


def seqs(url: str) -> dict[str, set[int]]:
    """The numbers of what is told of, and of the events."""
    return {
        "outcome": {row[0] for row in rows(url, "SELECT seq FROM bounceparse_outcomes WHERE NOT is_copy")},
        "standing": {row[0] for row in rows(url, "SELECT seq FROM bounceparse_standing")},
        "told": {row[0] for row in rows(url, "SELECT id FROM bounceparse_outbox WHERE kind <> 'stream'")},
    }


def test_every_change_has_its_event_and_every_event_its_change(timed: Store, database_url: str, clock: Clock) -> None:
    """Recording, a late ledger, hand-made suppressions, imports, sweeps, a changed policy, forgetting: all of it."""
    for number in (1, 2, 3):
        timed.ingest(dsn(number))
    timed.record_sent("2@shop.example", "user2@example.pl", stream="news", customer="4711")
    timed.suppress("ola@example.pl", scope="marketing:shop", note="called")
    timed.suppress("@example.net")
    assert timed.lift("user2@example.pl") == 1
    fail(timed, "full@example.pl", "mailbox-full")
    for page in timed.apply_policy():
        assert page.last
    with connected(database_url) as connection:
        highest = connection.execute(sa.text("SELECT value FROM bounceparse_state WHERE name = 'seq'")).scalar_one()
    found = seqs(database_url)
    assert found["outcome"] | found["standing"] <= found["told"]
    told = [(row[2], json.loads(row[6])) for row in rows(database_url, _OUTBOX)]
    recorded = {one.id for one in timed.outcomes()}
    assert {event["data"]["id"] for kind, event in told if kind == "outcome"} == recorded
    assert max(found["told"]) == highest
    by_state = [event["data"]["state"] for kind, event in told if kind == "standing"]
    assert by_state.count("lifted") == 1
    latest = {event["data"]["id"]: event["data"] for kind, event in told if kind == "outcome"}
    for one in timed.outcomes():  # the last event of an outcome tells it as it is recorded
        assert latest[one.id] == {"id": one.id, "seq": one.seq, **one.to_json(), "copy": False}


def test_no_event_without_its_change(timed: Store, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is rolled back, or only looked at beforehand, is told nowhere."""
    message = make_message(make_outcome())
    assert timed.preview(message)
    with monkeypatch.context() as broken:
        broken.setattr(recording, "note_waiting", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            timed.record([message])
    assert list(timed.reclassify(dry_run=True)) == []
    assert rows(database_url, _OUTBOX) == []


def test_nothing_is_written_while_there_is_no_endpoint(store: Store, database_url: str) -> None:
    store.ingest(dsn(1))
    assert rows(database_url, _OUTBOX) == []


def test_another_program_s_changes_are_told_too(timed: Store, database_url: str) -> None:
    """Of a release that knows no events, say: the next transaction tells them."""
    with connected(database_url, write=True) as connection:
        connection.execute(sa.text("UPDATE bounceparse_state SET value = 7 WHERE name = 'seq'"))
        connection.execute(
            sa.text(
                "INSERT INTO bounceparse_standing (seq, subject, scope, cause, status, reason, since, count, last_at,"
                " origin) VALUES (7, 'a@example.pl', 'all', 'manual', 'manual', 'manual', :now, 1, :now, 'manual')"
            ),
            {"now": NOW.isoformat(" ", "microseconds")},
        )
    timed.suppress("b@example.pl")
    assert [row[3] for row in rows(database_url, _OUTBOX)] == ["a@example.pl", "b@example.pl"]


def test_what_another_route_reported_is_not_told_again(timed: Store, database_url: str, clock: Clock) -> None:
    """Until it turns out to be such after it was told: then it is told with "copy": true."""
    outcome = make_outcome()
    timed.record_sent("1@shop.example", JAN, stream="news")
    for account in ("bounces", "mixed"):
        timed.record([make_message(outcome, account=account)])
    told = [json.loads(row[6])["data"] for row in rows(database_url, _OUTBOX) if row[2] == "outcome"]
    assert [(one["mailbox"], one["copy"]) for one in told] == [("bounces", False)]
    late = make_outcome(message_id="2@shop.example")
    for account in ("bounces", "mixed"):
        timed.record([make_message(late, account=account)])
        clock.now += SECOND
    timed.record_sent("2@shop.example", JAN, stream="news")
    told = [json.loads(row[6])["data"] for row in rows(database_url, _OUTBOX) if row[2] == "outcome"]
    assert sorted((one["mailbox"], one["copy"]) for one in told[-2:]) == [("bounces", False), ("mixed", True)]


def test_streams_tell_when_their_level_changes(timed: Store, database_url: str) -> None:
    timed.set_stream("news", sender="shop")
    for _ in range(2):
        timed.check_health()
    timed.stop_stream("news", by="jan", note="wrong list")
    timed.check_health()
    timed.release_stream("news", by="jan", note="mended")
    told = [(row[3], row[4], row[5], json.loads(row[6])["data"]) for row in rows(database_url, _OUTBOX)]
    assert [one[:3] for one in told] == [("stream:news", "news", "stop"), ("stream:news", "news", "ok")]
    assert [(one[3]["may_send"], one[3]["sender"], one[3]["note"]) for one in told] == [
        (False, "shop", "wrong list"),
        (True, "shop", "mended"),
    ]


def test_a_stream_that_goes_bad_tells_it(timed: Store, database_url: str) -> None:
    """By its rates, when they are looked at."""
    messages = ({"message_id": f"{n}@s.example", "recipient": f"u{n}@example.pl"} for n in range(600))
    timed.import_sent(parse_sent(one | {"stream": "news", "sent_at": NOW}) for one in messages)
    timed.record(
        [
            make_message(make_outcome("user-unknown", f"u{n}@example.pl", message_id=f"{n}@s.example"))
            for n in range(100)
        ]
    )
    timed.check_health()
    told = [row[3:6] for row in rows(database_url, _OUTBOX) if row[2] == "stream"]
    assert told == [("stream:news", "news", "stop")]


def test_ids_are_stable_unique_and_in_the_order_of_commits(timed: Store, database_url: str) -> None:
    for number in range(30):
        fail(timed, f"u{number}@example.pl")
    found = rows(database_url, _OUTBOX)
    assert len({row[1] for row in found}) == len(found) == 60
    recipients = [row[3] for row in found if row[2] == "outcome"]
    assert recipients == [f"u{number}@example.pl" for number in range(30)]
    with connected(database_url, write=True) as connection:
        connection.execute(sa.text("DELETE FROM bounceparse_outbox"))
    timed.suppress("x@example.pl")
    assert rows(database_url, _OUTBOX)[0][0] > found[-1][0]  # an endpoint's place never lies ahead of what comes


# What is sent


def test_an_event_is_signed_as_standard_webhooks_has_it(database_url: str, receiver: Receiver) -> None:
    """Verified by that project's own library; a key more signs too, and another key does not verify."""
    old, new, other = (new_secret() for _ in range(3))
    with Store(database_url) as store:
        WebhookStore(store).register(["crm"])
        fail(store, "zażółć@example.pl")
        assert send(store, receiver, keys=lambda: (read_secret(new), read_secret(old))).delivered == 2
    for one in receiver.got:
        assert one.headers["content-type"] == "application/json"
        assert one.path == "/hook?key=1"
        for secret in (new, old):
            assert Webhook(secret).verify(one.body, one.headers) == one.event
        for body, secret in ((one.body, other), (one.body + b" ", new)):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(body, one.headers)
    assert [one.event["type"] for one in receiver.got] == ["outcome.recorded", "standing.changed"]
    assert {one.id for one in receiver.got} == {row[1] for row in rows(database_url, _OUTBOX)}


def test_the_specification_s_own_vector() -> None:
    """The example of its reference libraries."""
    from bounceparse.webhooks.signing import sign

    made = sign((read_secret(SECRET),), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("secret", ["", "x", "whsec_", "whsec_!!", "whsec_c2hvcnQ=", "whsec_" + "QUFB" * 22])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ConfigError, match="whsec_"):
        read_secret(secret)


@pytest.mark.parametrize(
    ("wanted", "kinds"),
    [
        ({}, {"outcome": 3, "standing": 3, "stream": 2}),
        ({"kinds": [EventKind.OUTCOME]}, {"outcome": 3}),
        ({"statuses": ["hardbounce"]}, {"outcome": 1, "standing": 1, "stream": 2}),
        ({"statuses": ["manual"], "kinds": [EventKind.STANDING]}, {"standing": 1}),
        ({"streams": ["news"]}, {"outcome": 1, "standing": 1, "stream": 2}),
        ({"streams": ["letters"]}, {"outcome": 1}),
    ],
)
def test_an_endpoint_gets_what_it_wants(
    timed: Store, receiver: Receiver, wanted: dict[str, Any], kinds: dict[str, int]
) -> None:
    for stream, reason, address in (
        ("news", "user-unknown", "a@example.pl"),
        ("letters", "mailbox-full", "b@example.pl"),
    ):
        fail(timed, address, reason, stream)
    timed.record([make_message(make_outcome("abuse", "c@example.pl", message_id=None))])
    timed.suppress("d@example.pl")
    timed.stop_stream("news", by="jan", note="x")
    timed.release_stream("news", by="jan", note="x")
    send(timed, receiver, **wanted)
    counted: dict[str, int] = {}
    for one in receiver.got:
        kind = one.event["type"].partition(".")[0]
        counted[kind] = counted.get(kind, 0) + 1
    assert counted == kinds


def test_a_new_endpoint_gets_what_comes_from_then_on(timed: Store, receiver: Receiver) -> None:
    fail(timed, "a@example.pl")
    WebhookStore(timed).register(["crm", "later"])
    fail(timed, "b@example.pl")
    assert send(timed, receiver, name="later").delivered == 2
    assert {one.subject for one in receiver.got} == {"b@example.pl"}
    assert send(timed, receiver).delivered == 4


# In which order, and how often


def test_events_of_an_address_wait_for_each_other_and_for_no_others(
    timed: Store, receiver: Receiver, clock: Clock
) -> None:
    """What is refused holds back what is behind it, of this address alone, until it is taken."""
    receiver.refuse(400, lambda one: one.subject == "a@example.pl")
    for address in ("a@example.pl", "b@example.pl"):
        fail(timed, address)
    timed.lift("a@example.pl")
    timed.lift("b@example.pl")
    assert send(timed, receiver) == Sent(3, 1, 0, "it answers 400")
    assert [one.event["type"] for one in receiver.got if one.subject == "a@example.pl"] == ["outcome.recorded"]
    fail(timed, "a@example.pl", "mailbox-full")
    assert send(timed, receiver).failed == 0  # not before it is due
    receiver.take_all()
    clock.now += 6 * SECOND
    del receiver.got[:]
    assert send(timed, receiver).delivered == 4
    told = [(one.event["type"], one.data.get("state") or one.data["status"]) for one in receiver.got]
    assert told == [
        ("outcome.recorded", "hardbounce"),
        ("standing.changed", "suppressed"),
        ("standing.changed", "lifted"),
        ("outcome.recorded", "softbounce"),
    ]


def test_many_addresses_are_sent_at_once_and_each_in_order(timed: Store, receiver: Receiver) -> None:
    """Over a few connections that are kept."""
    for number in range(3):
        timed.record(
            [
                make_message(make_outcome("mailbox-full", f"u{n}@example.pl", message_id=f"{number}.{n}@s.example"))
                for n in range(80)
            ]
        )
    assert send(timed, receiver).delivered == 240
    for address in {one.subject for one in receiver.got}:
        seqs = [one.data["seq"] for one in receiver.got if one.subject == address]
        assert seqs == sorted(seqs)
        assert len(seqs) == 3
    assert receiver.connections <= 8


def run_for(timed: Store, receiver: Receiver, clock: Clock, time: timedelta, step: timedelta) -> int:
    """Run so long, every ``step``; returns how many requests were made."""
    start, before = clock.now, len(receiver.got)
    while clock.now - start <= time:
        send(timed, receiver)
        clock.now += step
    return len(receiver.got) - before


def test_an_event_is_tried_for_three_days_and_then_given_up(
    timed: Store, receiver: Receiver, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 5 s, 5 and 30 minutes, 2, 5, 10, 14 and 20 hours, and last when three days are over; never in between."""
    monkeypatch.setattr(backoff.random, "uniform", lambda least, most: 0)
    receiver.refuse(500)
    timed.suppress("a@example.pl")
    timed.lift("a@example.pl")
    due = [0, 5, 305, 2105, 9305, 27305, 63305, 113705, 185705, 259200]
    for requests, seconds in enumerate(due):
        for early in (True, False) if seconds else (False,):
            clock.now = NOW + timedelta(seconds=seconds - early)
            send(timed, receiver)
            assert len(receiver.got) == requests + (not early) + (seconds == due[-1] and not early), seconds
    first, *_, last, behind = receiver.got
    assert first.id == last.id
    assert behind.data["state"] == "lifted"  # it had waited behind the other, and is tried for three days of its own
    (dead,) = WebhookStore(timed).dead_letters()
    assert (dead.endpoint, dead.attempts, dead.error, dead.event_id) == ("crm", 10, "it answers 500", first.id)


def test_pauses_differ_a_little_and_never_end_later() -> None:
    for failed in range(1, 12):
        found = {backoff.next_attempt(failed, NOW, NOW + 2 * DAY) for _ in range(20)}
        assert all(one is not None and one <= NOW + backoff.GIVE_UP for one in found)
    assert len({backoff.next_attempt(3, NOW, NOW) for _ in range(20)}) > 1
    assert backoff.next_attempt(1, NOW, NOW + backoff.GIVE_UP) is None
    assert backoff.next_attempt(1, NOW, NOW, HOUR) == NOW + HOUR


def test_dead_letters_are_replayed_with_their_ids(timed: Store, receiver: Receiver, clock: Clock) -> None:
    receiver.refuse(404)
    for address in ("a@example.pl", "b@example.pl"):
        timed.suppress(address)
    run_for(timed, receiver, clock, 3 * DAY + 2 * HOUR, HOUR)
    store = WebhookStore(timed)
    first, second = store.dead_letters("crm")
    assert (first.subject, second.subject) == ("a@example.pl", "b@example.pl")
    receiver.take_all()
    del receiver.got[:]
    assert send(timed, receiver) == Sent()
    assert store.replay("crm", [second.id]) == 1
    assert send(timed, receiver).delivered == 1
    assert store.replay("crm") == 1
    assert send(timed, receiver).delivered == 1
    assert [one.id for one in receiver.got] == [second.event_id, first.event_id]
    assert list(store.dead_letters()) == []


def test_an_endpoint_that_is_down_is_left_alone_and_loses_nothing(
    timed: Store, receiver: Receiver, clock: Clock
) -> None:
    """Five failures, then a single event now and then; when it takes one, all that waits comes at once."""
    receiver.refuse(500)
    timed.record([make_message(make_outcome(recipient=f"u{n}@example.pl", message_id=None)) for n in range(50)])
    first = send(timed, receiver)
    assert 5 <= first.failed <= 5 + 8
    assert 15 < run_for(timed, receiver, clock, 3 * HOUR, MINUTE) < 50  # every five minutes, by and by
    (state,) = WebhookStore(timed).endpoints()
    assert (state.waiting, state.dead) == (50, 0)
    assert state.down_since is not None
    receiver.take_all()
    clock.now += 6 * MINUTE
    assert send(timed, receiver).delivered == 50
    (state,) = WebhookStore(timed).endpoints()
    assert (state.waiting, state.down_since, state.sent_at) == (0, None, clock.now)


def test_of_a_long_outage_only_what_was_tried_is_given_up(timed: Store, receiver: Receiver, clock: Clock) -> None:
    receiver.refuse(500)
    timed.record([make_message(make_outcome(recipient=f"u{n}@example.pl", message_id=None)) for n in range(400)])
    run_for(timed, receiver, clock, 4 * DAY, HOUR)
    (state,) = WebhookStore(timed).endpoints()
    assert state.waiting + state.dead == 400
    assert 100 <= state.dead <= 200
    receiver.take_all()
    clock.now += 6 * MINUTE
    assert send(timed, receiver).delivered == state.waiting


def test_a_receiver_that_asks_to_be_left_alone_is(timed: Store, receiver: Receiver, clock: Clock) -> None:
    """429 and 503 with Retry-After, at the first of them."""
    receiver.refuse(429, Retry_After="3600")
    timed.record([make_message(make_outcome(recipient=f"u{n}@example.pl", message_id=None)) for n in range(50)])
    assert send(timed, receiver).failed <= 8
    before = len(receiver.got)
    clock.now += 59 * MINUTE
    send(timed, receiver)
    assert len(receiver.got) == before
    clock.now += 2 * MINUTE
    receiver.take_all()
    assert send(timed, receiver).delivered == 50


def test_one_process_at_a_time_sends_to_an_endpoint(timed: Store, database_url: str, receiver: Receiver) -> None:
    """So that the order holds."""
    fail(timed, "a@example.pl")
    with Store(database_url) as other, WebhookStore(other).sending_to("crm"), pytest.raises(MailboxLocked):
        send(timed, receiver)
    assert send(timed, receiver).delivered == 2


def test_a_sender_stops_between_events(timed: Store, receiver: Receiver) -> None:
    """What it has sent by then is noted; the rest is for the next one."""
    stop = Event()

    def answer(one: Received) -> tuple[int, dict[str, str]]:
        stop.set()
        return 204, {}

    receiver.answer = answer
    for number in range(3):
        fail(timed, f"u{number}@example.pl")
    first = send_due(WebhookStore(timed), endpoint(receiver), stop)
    assert 1 <= first.delivered < 6
    assert send(timed, receiver).delivered == 6 - first.delivered
    assert len(receiver.got) == 6


def test_events_are_sent_as_they_come(timed: Store, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours ends nothing."""
    monkeypatch.setattr(sending, "_SHORTEST_WAIT", 0.01)
    monkeypatch.setattr(sending, "_LONGEST_WAIT", 0.01)
    from threading import Thread

    from test_watch import wait_until

    stop = Event()
    faults = iter([ConfigError("no secret"), None])

    def keys() -> tuple[bytes, ...]:
        if (fault := next(faults, None)) is not None:
            raise fault
        return (read_secret(SECRET),)

    to = endpoint(receiver, keys=keys)
    thread = Thread(target=keep_sending, args=(WebhookStore(timed), to, stop))
    thread.start()
    try:
        fail(timed, "a@example.pl")
        assert wait_until(lambda: len(receiver.got) == 2)
        fail(timed, "b@example.pl")
        assert wait_until(lambda: len(receiver.got) == 4)
    finally:
        stop.set()
        thread.join()

"""The ledger, matching, and the standing of addresses, through the store on both databases."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from databases import NewDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from outcome_factory import NOW, make_message, make_outcome

from bounceparse.db import SentMessage, Store, parse_sent
from bounceparse.db.engine import Database
from bounceparse.db.ledger import COLUMNS, RANK
from bounceparse.db.tables import SentRow
from bounceparse.errors import ConfigError
from bounceparse.outcomes import Status
from bounceparse.policy import Policy, Proof

DAY = timedelta(days=1)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def timed(database_url: str, clock: Clock) -> Iterator[Store]:
    """A store whose time stands at NOW."""
    with Store(database_url, clock=clock) as store:
        yield store


def _sent(store: Store, by: str = "recipient") -> dict[str, Any]:
    """The ledger by a column."""
    with store._database.read() as connection:
        rows = connection.execute(sa.select(SentRow.__table__)).all()
    return {getattr(row, by): row for row in rows}


def _statuses(store: Store) -> dict[str, str]:
    return {recipient: row.status for recipient, row in _sent(store).items()}


def test_ledger_columns_are_what_the_importer_takes() -> None:
    """Every column of an import has its place in the ledger, the stream or the message's token."""
    assert set(COLUMNS) - {"sender", "category", "token_id"} <= set(SentRow.__table__.columns.keys())


def test_a_matched_bounce_takes_the_ledgers_words(timed: Store) -> None:
    """Recipient, stream and customer are the ledger's, and the sent row has failed."""
    timed.record_sent("<1@Shop.Example>", "Jan@Example.pl", stream="orders", customer="c7", list_id="news.example")
    timed.record([make_message(make_outcome(recipient="jan@example.pl"))])
    (found,) = timed.outcomes()
    assert found.outcome.recipient == "Jan@Example.pl"
    assert found.outcome.list_id == "news.example"
    assert (found.trust, found.matched_by) == ("correlated", "message-id:returned")
    assert (found.stream, found.customer, found.match_evidence) == ("orders", "c7", "1@shop.example")
    assert _statuses(timed) == {"Jan@Example.pl": "hardbounce"}


def test_address_key_meets_spellings(timed: Store) -> None:
    """Case of the local part, Unicode and A-label of the domain do not part an address from itself."""
    timed.record_sent("1@shop.example", "Zoë@Bücher.Example")
    timed.record([make_message(make_outcome(recipient="zoë@xn--bcher-kva.example"))])
    assert not timed.standing("ZOË@BÜCHER.example").mailable


def test_provider_id_matches_where_ours_was_replaced(timed: Store) -> None:
    """The provider's id is known as it gave it, alone or as the left side of a Message-ID."""
    timed.record_sent("1@shop.example", "jan@example.pl", provider_id="0100abc-000000")
    timed.record_sent("2@shop.example", "ewa@example.pl", provider_id="<p2@relay.example>")
    timed.record(
        [
            make_message(make_outcome(message_id="0100abc-000000@eu.mail.example")),
            make_message(make_outcome(message_id="p2@Relay.example", recipient="ewa@example.pl")),
        ]
    )
    assert [one.trust for one in timed.outcomes()] == ["correlated", "correlated"]


def test_envelope_id_matches_without_a_message_id(timed: Store) -> None:
    """An ENVID that comes back is enough."""
    timed.record_sent("1@shop.example", "jan@example.pl", envelope_id="E-1")
    timed.record([make_message(make_outcome(message_id=None, envelope_id="E-1"))])
    assert [one.matched_by for one in timed.outcomes()] == ["envelope-id"]


def test_a_forward_is_at_most_a_softbounce(timed: Store) -> None:
    """The address that we mailed is not blamed for the one behind it."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome(recipient="j@forward.example"))])
    (found,) = timed.outcomes()
    assert (found.outcome.status, found.outcome.recipient, found.trust) == ("softbounce", "jan@example.pl", "forwarded")
    assert found.outcome.final_recipient == "j@forward.example"
    assert _statuses(timed) == {"jan@example.pl": "softbounce"}
    assert timed.standing("jan@example.pl").mailable
    assert timed.standing("j@forward.example").mailable


def test_a_shared_message_id_needs_a_second_day(timed: Store) -> None:
    """A campaign's Message-ID, known to all its readers, proves less."""
    timed.import_sent(
        SentMessage(message_id=f"{n}@c.example", recipient=f"u{k}@example.pl") for n in (1, 2) for k in range(3)
    )
    timed.record(
        [make_message(make_outcome(message_id="1@c.example", recipient="u1@example.pl", occurred_at=NOW - 5 * DAY))]
    )
    assert timed.standing("u1@example.pl").mailable
    timed.record([make_message(make_outcome(message_id="2@c.example", recipient="u1@example.pl", occurred_at=NOW))])
    assert not timed.standing("u1@example.pl").mailable


def test_a_million_reader_campaign_is_not_loaded(timed: Store) -> None:
    """A stranger's report about a shared Message-ID matches nobody."""
    timed.import_sent(SentMessage(message_id="1@c.example", recipient=f"u{k}@example.pl") for k in range(3000))
    timed.record([make_message(make_outcome(message_id="1@c.example", recipient="stranger@example.pl"))])
    timed.record([make_message(make_outcome("abuse", message_id="1@c.example", recipient=None))])
    assert [one.trust for one in timed.outcomes()] == ["unverified", "unverified"]


STEPS = [("deferred", "expired"), ("ok", "delivered"), ("softbounce", "mailbox-full"), ("hardbounce", "user-unknown")]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(range(len(STEPS))), min_size=1, max_size=6))
def test_status_of_a_message_only_moves_up(new_url: NewDatabase, order: list[int]) -> None:
    """injected -> deferred -> final; failed beats ok and deferred, in whatever order the reports arrive."""
    with Store(new_url()) as store:
        store.record_sent("1@shop.example", "jan@example.pl")
        for step in order:
            status, reason = STEPS[step]
            store.record([make_message(make_outcome(reason, status=Status(status)))])
        assert _statuses(store) == {"jan@example.pl": STEPS[max(order)][0]}


def test_a_late_deferred_never_undoes_a_final_status(timed: Store) -> None:
    """A delay warning that arrives after the bounce changes nothing."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome(occurred_at=NOW - DAY))])
    timed.record([make_message(make_outcome("expired", status=Status.DEFERRED, occurred_at=NOW))])
    assert _statuses(timed) == {"jan@example.pl": "hardbounce"}


def test_complaint_and_unsubscribe_stand_beside_the_delivery(timed: Store) -> None:
    """A complaint proves delivery and does not replace its status; the first time is kept."""
    timed.record_sent("1@shop.example", "jan@example.pl", status="ok", status_at=NOW - 3 * DAY)
    for days in (1, 2):
        timed.record([make_message(make_outcome("abuse", occurred_at=NOW - days * DAY))])
    timed.record([make_message(make_outcome("unsubscribe-request", occurred_at=NOW))])
    row = _sent(timed)["jan@example.pl"]
    assert (row.status, row.complained_at, row.unsubscribed_at) == ("ok", NOW - 2 * DAY, NOW)


def test_import_twice_completes_and_doubles_nothing(timed: Store) -> None:
    """Rows that are known are completed by what is new in them, and never overwritten."""
    rows = [
        SentMessage(message_id=f"{n}@s.example", recipient=f"u{n}@example.pl", subject="first") for n in range(2500)
    ]
    assert timed.import_sent(rows) == (2500, 0)
    later = [SentMessage(message_id="7@s.example", recipient="U7@example.pl", subject="second", provider_id="p7")]
    assert timed.import_sent(iter(rows[:1000] + later)) == (0, 1001)
    row = _sent(timed)["u7@example.pl"]
    assert (row.subject, row.provider_id, row.status) == ("first", "p7", "injected")


def test_import_tells_statuses_of_the_log(timed: Store) -> None:
    """Rows of a mail server's log move the status as reports do."""
    for status in ("ok", "deferred"):
        timed.record_sent("1@shop.example", "jan@example.pl", status=status, status_at=NOW)
    assert _statuses(timed) == {"jan@example.pl": "ok"}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"recipient": "jan@example.pl"}, "message_id"),
        ({"message_id": "1@s.example", "recipient": ""}, "recipient"),
        ({"message_id": "1@s.example", "recipient": "x@example.pl", "colour": "red"}, "colour"),
        ({"message_id": "1@s.example", "recipient": "x@example.pl", "sent_at": "yesterday"}, "sent_at"),
        ({"message_id": "1@s.example", "recipient": "x@example.pl", "status": "bounced"}, "hardbounce"),
        ({"message_id": "1@s.example", "recipient": "x@example.pl", "category": "spam"}, "transactional"),
    ],
)
def test_a_bad_row_names_what_is_wrong(row: dict[str, Any], words: str) -> None:
    """The error names the column and what it takes."""
    with pytest.raises(ConfigError, match=words):
        parse_sent(row)


def test_a_row_of_text_is_read() -> None:
    """Times without an offset are UTC, empty values are none."""
    row = parse_sent(
        {"message_id": "1@s.example", "recipient": "x@example.pl", "sent_at": "2026-01-02T10:00:00", "stream": ""}
    )
    assert (row.sent_at, row.stream) == (datetime(2026, 1, 2, 10, tzinfo=UTC), None)


# Matching again.


def test_a_late_ledger_row_is_found(timed: Store) -> None:
    """An outcome without a match is matched when its row arrives, and standing follows."""
    timed.record([make_message(make_outcome())])
    (before,) = timed.outcomes()
    assert timed.standing("jan@example.pl").mailable
    timed.record_sent("1@shop.example", "jan@example.pl", customer="c7")
    (after,) = timed.outcomes()
    assert (after.trust, after.customer) == ("correlated", "c7")
    assert after.seq > before.seq
    assert not timed.standing("jan@example.pl").mailable
    assert _statuses(timed) == {"jan@example.pl": "hardbounce"}


def test_matching_again_ends_after_fourteen_days(timed: Store, clock: Clock) -> None:
    """What found no match in 14 days is backscatter and stays so."""
    timed.record([make_message(make_outcome())])
    clock.now += timedelta(days=14, seconds=1)
    timed.record_sent("1@shop.example", "jan@example.pl")
    assert timed.rematch() == 0
    assert [one.trust for one in timed.outcomes()] == ["unverified"]


def test_a_row_that_explains_better_takes_a_forward_back(timed: Store) -> None:
    """With the second recipient's row the bounce is his own: the first one's status and standing are as before."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome(recipient="ewa@example.pl", final_recipient=None))])
    assert _statuses(timed) == {"jan@example.pl": "softbounce"}
    timed.record_sent("1@shop.example", "ewa@example.pl")
    (found,) = timed.outcomes()
    assert (found.outcome.status, found.outcome.recipient, found.trust) == (
        "hardbounce",
        "ewa@example.pl",
        "correlated",
    )
    assert _statuses(timed) == {"jan@example.pl": "injected", "ewa@example.pl": "hardbounce"}


def test_settle_matches_by_envelope_id_at_the_next_poll(timed: Store) -> None:
    """What no Message-ID leads to waits for the poll; a poll without new ledger rows does not look again."""
    timed.record([make_message(make_outcome(message_id=None, envelope_id="E1"))])
    timed.record_sent("1@shop.example", "jan@example.pl", envelope_id="E1")
    assert timed.settle() == 1
    assert timed.settle() == 0


def test_ledger_before_or_after_reports_ends_the_same(new_url: NewDatabase) -> None:
    """Rows and reports in any order lead to the same outcomes, statuses and standing."""
    reasons = ["user-unknown", "mailbox-full", "abuse", "delivered", "recipient-restricted", "null-mx"]
    steps: list[Any] = []
    for number in range(40):
        name = f"u{number % 7}@d{number % 3}.example"
        steps.append(SentMessage(message_id=f"{number}@s.example", recipient=name, stream="s", sent_at=NOW - 30 * DAY))
        at = NOW - timedelta(days=30 - number / 2)
        outcome = make_outcome(reasons[number % 6], name, message_id=f"{number}@s.example", occurred_at=at)
        steps.append(make_message(outcome))
    ends = []
    for seed in range(3):
        random.Random(seed).shuffle(steps)
        with Store(new_url(), clock=Clock()) as store:
            for step in steps:
                store.import_sent([step]) if isinstance(step, SentMessage) else store.record([step])
            found = sorted((one.outcome.message_id or "", one.trust, one.outcome.status) for one in store.outcomes())
            stands = sorted((one.subject, one.scope, one.cause, one.since, one.count) for one in store.suppressions())
            statuses = {name: row.status for name, row in _sent(store, by="message_id").items()}
            ends.append((found, statuses, stands))
    assert ends[0] == ends[1] == ends[2]
    assert ends[0][2]


# Two routes.


def test_the_same_event_by_two_routes_is_one(timed: Store) -> None:
    """A second report of the same failure by the same reporter on the same day is a copy, the next day's is not."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome("mailbox-full", occurred_at=NOW - timedelta(hours=1)))])
    timed.record([make_message(make_outcome("mailbox-full", occurred_at=NOW - timedelta(hours=2)), account="fbl")])
    timed.record([make_message(make_outcome("mailbox-full", occurred_at=NOW - DAY))])
    timed.record([make_message(make_outcome("mailbox-full", reporting_mta="other.example", occurred_at=NOW))])
    assert len(list(timed.outcomes())) == 3
    assert len(list(timed.outcomes(copies=True))) == 4
    assert [line.total for line in timed.stats("reason")] == [3]


# Standing.


def test_standing_says_why_since_when_and_how_often(timed: Store) -> None:
    """The answer names status, reason, time, scope, count and the outcome it rests on."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome(occurred_at=NOW - DAY))])
    found = timed.standing("JAN@example.pl")
    (outcome,) = timed.history("jan@example.pl")
    assert not found.mailable
    assert (found.status, found.reason, found.since, found.until, found.count, found.scope, found.outcome_id) == (
        "hardbounce",
        "user-unknown",
        NOW - DAY,
        None,
        1,
        "all",
        outcome.id,
    )
    assert timed.standing("ewa@example.pl").status is None


def test_a_complaint_stops_marketing_of_that_sender_only(timed: Store) -> None:
    """One tenant's complaint never silences another, nor transactional mail."""
    streams = {"news": ("a", "marketing"), "orders": ("a", "transactional"), "other": ("b", "marketing")}
    for name, (sender, category) in streams.items():
        timed.record_sent(f"{name}@s.example", "jan@example.pl", stream=name, sender=sender, category=category)
    timed.record([make_message(make_outcome("abuse", message_id="news@s.example"))])
    allowed = {name: list(timed.mailable(["jan@example.pl"], name)) == ["jan@example.pl"] for name in streams}
    assert allowed == {"news": False, "orders": True, "other": True}
    assert timed.standing("jan@example.pl").mailable
    assert not timed.standing("jan@example.pl", list="news.example").mailable


def test_mailable_keeps_order_and_spelling(timed: Store) -> None:
    """The addresses that may be mailed come back as they were given."""
    for number in (3, 5):
        timed.suppress(f"u{number}@example.pl", note="asked by phone")
    given_ = [f"U{number}@Example.pl" for number in range(7)]
    assert list(timed.mailable(given_, "any")) == [one for one in given_ if one[1] not in "35"]


def test_a_suppressed_domain_covers_its_addresses(timed: Store) -> None:
    """A domain without mail is not mailed until the suppression ends."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome("null-mx", occurred_at=NOW))])
    assert not timed.standing("ewa@example.pl").mailable
    assert timed.standing("ewa@other.example").mailable
    assert [one.subject for one in timed.suppressions()] == ["@example.pl"]


def test_a_suppression_ends_by_itself(timed: Store, clock: Clock) -> None:
    """Until is honoured by every question."""
    timed.suppress("jan@example.pl", until=NOW + DAY)
    assert not timed.standing("jan@example.pl").mailable
    clock.now += 2 * DAY
    assert timed.standing("jan@example.pl").mailable
    assert list(timed.mailable(["jan@example.pl"], "s")) == ["jan@example.pl"]
    assert list(timed.suppressions()) == []


def test_a_lift_forgives_the_past_and_not_the_future(timed: Store, clock: Clock) -> None:
    """Neither a recount nor an old report brings a lifted suppression back; a new failure does."""
    timed.record_sent("1@shop.example", "jan@example.pl")
    timed.record([make_message(make_outcome(occurred_at=NOW - DAY))])
    assert timed.lift("Jan@example.pl", by="anna", note="corrected") == 1
    assert sum(len(page.differences) for page in timed.apply_policy()) == 0
    timed.record([make_message(make_outcome(occurred_at=NOW - 2 * DAY, reporting_mta="b.example"))])
    assert timed.standing("jan@example.pl").mailable
    assert timed.lift("jan@example.pl") == 0
    clock.now += DAY
    timed.record([make_message(make_outcome(occurred_at=clock.now))])
    assert not timed.standing("jan@example.pl").mailable


def test_a_manual_suppression_survives_the_policy(timed: Store) -> None:
    """What a person suppressed is never removed by counting; suppressing twice is once."""
    for _ in range(2):
        timed.suppress("jan@example.pl")
    timed.suppress("@bad.example")
    list(timed.apply_policy())
    assert [one.subject for one in timed.suppressions()] == ["jan@example.pl", "@bad.example"]
    assert not timed.standing("x@BAD.example").mailable
    assert timed.lift("@bad.example") == 1
    assert timed.standing("x@bad.example").mailable


def test_a_domain_with_mail_that_got_through_is_not_given_up(timed: Store) -> None:
    """Five timeouts at a large provider are nothing while other mail to it is not returned."""

    def fail(number: int) -> None:
        for days in (22, 15, 10, 5, 0):
            name = f"m{number}-{days}@s.example"
            timed.record_sent(name, f"u{days}@d{number}.example", sent_at=NOW - days * DAY)
            outcome = make_outcome(
                "no-answer", f"u{days}@d{number}.example", message_id=name, occurred_at=NOW - days * DAY
            )
            timed.record([make_message(outcome)])

    fail(1)
    timed.record_sent("fine@s.example", "fine@d2.example", sent_at=NOW - 10 * DAY)
    fail(2)
    assert [one.subject for one in timed.suppressions()] == ["@d1.example"]


def test_policy_is_retroactive(database_url: str, clock: Clock) -> None:
    """A stricter setting, applied, takes suppressions back; a laxer one makes them."""
    unmatched = [
        make_message(make_outcome(occurred_at=NOW - days * DAY, message_id=f"{days}@x.example")) for days in (1, 2)
    ]
    with Store(database_url, policy=Policy(trust=Proof.ANY), clock=clock) as lax:
        lax.record(unmatched)
        assert not lax.standing("jan@example.pl").mailable
    with Store(database_url, policy=Policy(trust=Proof.REQUIRE), clock=clock) as strict:
        assert sum(len(page.differences) for page in strict.apply_policy()) == 1
        assert strict.standing("jan@example.pl").mailable


def test_auto_requires_proof_once_the_ledger_covers_a_mailbox(timed: Store) -> None:
    """At 95 % of a week's reports unmatched ones stop counting, and a flood of forged ones cannot undo that."""
    forged = [
        make_outcome(recipient="boss@example.pl", message_id=f"{n}@evil.example", occurred_at=NOW - n * DAY)
        for n in range(3)
    ]
    timed.record([make_message(forged[0]), make_message(forged[1])])
    assert not timed.standing("boss@example.pl").mailable
    timed.import_sent(SentMessage(message_id=f"{n}@s.example", recipient=f"u{n}@e.example") for n in range(40))
    timed.record(
        [make_message(make_outcome(recipient=f"u{n}@e.example", message_id=f"{n}@s.example")) for n in range(40)]
    )
    timed.settle()
    assert timed.standing("boss@example.pl").mailable
    timed.record(
        [make_message(make_outcome(recipient=f"v{n}@e.example", message_id=f"{n}@evil.example")) for n in range(90)]
    )
    timed.settle()
    timed.record([make_message(forged[2])])
    assert timed.standing("boss@example.pl").mailable


def test_log_deliveries_reset_counts(timed: Store) -> None:
    """A delivery that the mail server's log reports counts as one that a report tells."""
    for days in (20, 14, 8, 2):
        timed.record_sent(f"{days}@s.example", "jan@example.pl")
    timed.record_sent("ok@s.example", "jan@example.pl", status="ok", status_at=NOW - 10 * DAY)
    for days in (20, 14, 8, 2):
        outcome = make_outcome("mailbox-full", message_id=f"{days}@s.example", occurred_at=NOW - days * DAY)
        timed.record([make_message(outcome)])
    assert timed.standing("jan@example.pl").mailable


def test_customer_card_shows_all_addresses(timed: Store) -> None:
    """A customer's card has every address with its standing, the mail and what became of it."""
    timed.record_sent("1@s.example", "jan@old.example", customer="c7", subject="Invoice", sent_at=NOW - DAY)
    timed.record_sent("2@s.example", "jan@new.example", customer="c7", subject="Invoice again", sent_at=NOW)
    timed.record([make_message(make_outcome(recipient="jan@old.example", message_id="1@s.example"))])
    card = timed.customer("c7")
    assert [(one.address, one.mailable) for one in card.addresses] == [
        ("jan@new.example", True),
        ("jan@old.example", False),
    ]
    assert [(one.subject, one.status) for one in card.sent] == [
        ("Invoice again", "injected"),
        ("Invoice", "hardbounce"),
    ]
    assert [one.outcome.reason for one in card.outcomes] == ["user-unknown"]
    assert timed.customer("nobody").addresses == ()


def test_every_final_status_has_a_rank() -> None:
    """The ledger knows each delivery status, in this order."""
    assert sorted(RANK, key=RANK.__getitem__) == [
        "injected",
        "deferred",
        "ok",
        "softbounce",
        "spambounce",
        "hardbounce",
    ]


def test_questions_use_indexes(database_url: str) -> None:
    """standing() and the unsettled lookup never scan a table."""
    database = Database(database_url)
    queries = [
        "SELECT * FROM bounceparse_standing WHERE subject IN ('a', '@b') AND lifted_at IS NULL",
        "SELECT * FROM bounceparse_outcomes WHERE trust IN ('unverified', 'forwarded') AND message_key IN ('a', 'b')",
        "SELECT * FROM bounceparse_outcomes WHERE domain_key = 'a' AND of_domain",
        "SELECT id FROM bounceparse_sent WHERE provider_key = 'a' ORDER BY recipient_key LIMIT 1",
        "SELECT uid FROM bounceparse_messages WHERE account = 'a' AND folder = 'b' AND uidvalidity = 1 AND uid > 0",
    ]
    with database.read() as connection:
        if not database.is_sqlite:
            connection.execute(sa.text("SET enable_seqscan = off"))  # empty tables are scanned whatever there is
        for query in queries:
            plan = connection.execute(sa.text(f"EXPLAIN {'QUERY PLAN' if database.is_sqlite else ''} {query}")).all()
            words = [str(row[-1]) for row in plan]
            assert any("USING" in line or "Index Cond" in line for line in words), (query, plan)
            assert not any(line.startswith("SCAN") or "Seq Scan" in line for line in words), (query, plan)
    database.close()

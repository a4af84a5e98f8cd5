"""Clues and matching: which sent message an outcome is about, and how far that is proven."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from outcome_factory import make_outcome

from bounceparse.clues import Clues, Key, find_clues, message_key
from bounceparse.match import UNMATCHED, Found, Lookup, Match, Sent, match, matched_status, settle_by_signature
from bounceparse.outcomes import Status, Trust
from bounceparse.signatures import Signature
from bounceparse.verp import Verdict


class FakeLedger:
    """Sent mail in a list: (key, value, recipient)."""

    def __init__(self, *rows: tuple[str, str]) -> None:
        self.rows = [
            (message_id, Sent(number, message_id, recipient, recipient, None, "orders", None, None, None))
            for number, (message_id, recipient) in enumerate(rows, 1)
        ]
        self.questions = 0

    def find(self, lookups: Iterable[Lookup]) -> Mapping[Lookup, Found]:
        self.questions += 1
        answers = {}
        for lookup in lookups:
            rows = [row for value, row in self.rows if value == lookup.value]
            wanted = rows if len(rows) == 1 else [row for row in rows if row.recipient_key in lookup.recipients]
            if rows:
                answers[lookup] = Found(tuple(wanted), shared=len(rows) > 1)
        return answers


def _match(ledger: FakeLedger, **fields: object) -> Match:
    return match([find_clues(make_outcome(**fields), "returned")], ledger)[0]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("<1@Shop.Example>", "1@shop.example"),
        ("1@shop.example", "1@shop.example"),
        ("<AbC@SHOP.example>", "AbC@shop.example"),
        ("  <1@shop.example> (added by relay)", "1@shop.example"),
        ("1@shop.example (comment)", "1@shop.example"),
        ("&lt;1@shop.example&gt;", "1@shop.example"),
        ("<1@\r\n shop.example>", "1@shop.example"),
        ("<1@shop.example", "1@shop.example"),
        ("bare-id", "bare-id"),
        ("<>", None),
        ("", None),
        (None, None),
    ],
)
def test_message_ids_meet_under_one_key(written: str | None, key: str | None) -> None:
    """Brackets, comments, folding and escapes go; the left side is exact, the right without case."""
    assert message_key(written) == key


def test_clues_stand_best_first() -> None:
    """The envelope id goes before the Message-ID; each recipient stands once, the original first."""
    outcome = make_outcome(
        recipient="Jan@Example.pl",
        original_recipient="jan@example.pl",
        final_recipient="j@other.example",
        envelope_id="E1",
    )
    clues = find_clues(outcome, "status")
    assert [(clue.key, clue.source) for clue in clues.ladder] == [
        (Key.ENVELOPE_ID, "envelope-id"),
        (Key.MESSAGE_ID, "message-id:status"),
    ]
    assert clues.recipients == ("jan@example.pl", "j@other.example")


def test_message_and_recipient_in_the_ledger_correlate() -> None:
    """The Message-ID is ours and the recipient is one of its recipients."""
    found = _match(FakeLedger(("1@shop.example", "jan@example.pl")))
    assert (found.trust, found.matched_by, found.evidence) == (
        Trust.CORRELATED,
        "message-id:returned",
        "1@shop.example",
    )
    assert not found.shared


def test_a_shared_message_id_is_marked() -> None:
    """The recipient picks the row of a campaign, and the match says that it proves less."""
    ledger = FakeLedger(("1@shop.example", "ewa@example.pl"), ("1@shop.example", "jan@example.pl"))
    found = _match(ledger)
    assert found.sent is not None
    assert (found.sent.recipient, found.trust, found.shared) == ("jan@example.pl", Trust.CORRELATED, True)


def test_a_report_without_recipient_correlates_when_there_was_one() -> None:
    """A redacted complaint is about the only recipient of its message; of a campaign's it proves nobody."""
    assert _match(FakeLedger(("1@shop.example", "jan@example.pl")), recipient=None).trust is Trust.CORRELATED
    shared = FakeLedger(("1@shop.example", "ewa@example.pl"), ("1@shop.example", "jan@example.pl"))
    assert _match(shared, recipient=None) == UNMATCHED


def test_another_address_behind_ours_is_forwarded() -> None:
    """The message is ours, the failing address is not: recorded for the address we mailed, at most a softbounce."""
    found = _match(FakeLedger(("1@shop.example", "jan@example.pl")), recipient="j@forward.example")
    assert found.sent is not None
    assert (found.trust, found.sent.recipient) == (Trust.FORWARDED, "jan@example.pl")
    assert matched_status(Status.HARDBOUNCE, found) is Status.SOFTBOUNCE
    assert matched_status(Status.SPAMBOUNCE, found) is Status.SOFTBOUNCE
    assert matched_status(Status.DEFERRED, found) is Status.DEFERRED
    assert matched_status(Status.COMPLAINT, found) is Status.COMPLAINT


def test_a_stranger_to_a_campaign_matches_nobody() -> None:
    """Which of many recipients forwarded it cannot be told, so nothing is blamed."""
    shared = FakeLedger(("1@shop.example", "ewa@example.pl"), ("1@shop.example", "jan@example.pl"))
    assert _match(shared, recipient="j@forward.example") == UNMATCHED


@pytest.mark.parametrize(
    ("final", "trust"),
    [
        ("JAN@example.PL", Trust.CORRELATED),
        ("jan@mx1.example.pl", Trust.CORRELATED),  # its server's own name
        ("jan@cluster", Trust.CORRELATED),
        ("jan+offers@example.pl", Trust.CORRELATED),
        ("jan", Trust.CORRELATED),
        ("j@internal.example", Trust.FORWARDED),
        ("jan@gmail.example", Trust.FORWARDED),
        ("jan@notexample.pl", Trust.FORWARDED),
        ("ewa@example.pl", Trust.FORWARDED),
    ],
)
def test_another_final_recipient_is_a_forward_though_the_original_one_is_ours(final: str, trust: Trust) -> None:
    """A member of an alias: the address that we mailed may reach others still."""
    found = _match(
        FakeLedger(("1@shop.example", "jan@example.pl")),
        recipient="jan@example.pl",
        original_recipient="jan@example.pl",
        final_recipient=final,
    )
    assert found.trust is trust


def test_a_clue_that_names_our_recipient_goes_before_one_that_does_not() -> None:
    """An envelope id that leads to another's row does not hide the Message-ID that leads to ours."""
    ledger = FakeLedger(("E1", "ewa@example.pl"), ("1@shop.example", "jan@example.pl"))
    assert _match(ledger, envelope_id="E1").matched_by == "message-id:returned"


def test_nothing_known_is_unverified() -> None:
    """Without a clue that the ledger knows there is no proof."""
    assert _match(FakeLedger()) == UNMATCHED
    assert match([Clues((), ())], FakeLedger(("1@shop.example", "jan@example.pl"))) == [UNMATCHED]


def test_a_batch_asks_the_ledger_once() -> None:
    """Two hundred outcomes cost one question."""
    ledger = FakeLedger(("1@shop.example", "jan@example.pl"))
    assert len(match([find_clues(make_outcome()) for _ in range(200)], ledger)) == 200
    assert ledger.questions == 1


# What a token makes of it

SENT = Sent(7, "1@shop.example", "Jan@Example.pl", "jan@example.pl", None, None, None, None, None)
LADDER = Match(SENT._replace(id=8), Trust.CORRELATED, "message-id:returned", "1@shop.example")
PATH, FEEDBACK = "token:return-path", "token:feedback-id"


@pytest.mark.parametrize(
    ("source", "verdict", "recipients", "known", "expected"),
    [
        (PATH, Verdict.VALID, ("jan@example.pl",), True, (7, Trust.VERIFIED, PATH, "4711")),
        (PATH, Verdict.VALID, (), True, (7, Trust.VERIFIED, PATH, "4711")),
        (PATH, Verdict.VALID, ("jan",), True, (7, Trust.VERIFIED, PATH, "4711")),
        (PATH, Verdict.VALID, ("x@example.pl",), True, (7, Trust.FORWARDED, PATH, "4711")),
        (PATH, Verdict.VALID, (), False, (8, Trust.CORRELATED, "message-id:returned", "1@shop.example")),
        (PATH, Verdict.BAD_MAC, (), False, (None, Trust.FORGED, PATH, "bad-mac")),
        (PATH, Verdict.EXPIRED, (), True, (None, Trust.UNVERIFIED, PATH, "expired 4711")),
        (PATH, Verdict.UNKNOWN_KEY, (), False, (None, Trust.UNVERIFIED, PATH, "unknown-key")),
        (FEEDBACK, Verdict.EXPIRED, (), True, (8, Trust.CORRELATED, "message-id:returned", "1@shop.example")),
    ],
)
def test_a_token_goes_before_the_ladder(
    source: str,
    verdict: Verdict,
    recipients: tuple[str, ...],
    known: bool,
    expected: tuple[int | None, Trust, str, str],
) -> None:
    """The trust table, line by line."""
    holds = verdict in (Verdict.VALID, Verdict.EXPIRED)
    signature = Signature(source, verdict, 4711 if holds else None)
    found = settle_by_signature(signature, SENT if known else None, LADDER, recipients)
    assert (found.sent.id if found.sent else None, found.trust, found.matched_by, found.evidence) == expected


def test_a_token_that_nobody_knows_yet_says_so_where_nothing_else_matches() -> None:
    found = settle_by_signature(Signature(PATH, Verdict.VALID, 4711), None, UNMATCHED, ())
    assert (found.sent, found.trust, found.matched_by, found.evidence) == (
        None,
        Trust.UNVERIFIED,
        PATH,
        "unknown-id 4711",
    )
    assert settle_by_signature(None, None, LADDER, ()) is LADDER


def test_the_last_rung_is_asked_for_only_where_no_id_leads_anywhere_and_leads_to_no_row() -> None:
    """Recipient, subject and time: a hint for people."""
    at = datetime(2026, 3, 1, tzinfo=UTC)

    class BySubject(FakeLedger):
        def find(self, lookups: Iterable[Lookup]) -> dict[Lookup, Found]:
            asked = list(lookups)
            weak = [one for one in asked if one.key is Key.SUBJECT]
            rows = tuple(SENT._replace(message_id=str(days), sent_at=at - timedelta(days)) for days in (30, 9, 3))
            return super().find(one for one in asked if one not in weak) | {one: Found(rows, False) for one in weak}

    ledger = BySubject(("1@shop.example", "jan@example.pl"))
    none = Clues((), ("jan@example.pl",), None, "Hello", at)
    some = Clues(find_clues(make_outcome()).ladder, ("jan@example.pl",), None, "Hello", at)
    (weak, strong) = match([none, some], ledger)
    assert (weak.sent, weak.trust, weak.matched_by, weak.evidence) == (None, Trust.UNVERIFIED, "recipient-subject", "3")
    assert strong.trust is Trust.CORRELATED and ledger.questions == 2
    (verp,) = match([Clues((), (), "jan@example.pl")], FakeLedger())
    assert (verp.sent, verp.matched_by, verp.evidence) == (None, "verp", "jan@example.pl")

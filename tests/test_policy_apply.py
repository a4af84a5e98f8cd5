"""Today's policy over the past, on both databases: page by page, as a dry run says, and once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from databases import migrated_sqlite
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from outcome_factory import make_message, make_outcome

from bounceparse.causes import TABLE, change_table
from bounceparse.cli import main
from bounceparse.db import SentMessage, Store, applying
from bounceparse.policy import Changes, Policy, Proof
from bounceparse.reading import ReadMessage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
EAGER = Policy(table=change_table(TABLE, {"mailbox-full": {"needs": 1, "spread": 0, "lasts": 0}}))


def at_now() -> datetime:
    return NOW


def opened(url: str, policy: Policy | None = None, now: Callable[[], datetime] = at_now) -> Store:
    return Store(url, policy=policy, clock=now)


def failure(address: str, reason: str = "user-unknown", days: float = 1, **fields: Any) -> ReadMessage:
    message = f"{address}-{reason}-{days}".replace("@", "_")
    values = {"message_id": f"{message}@shop.example", "occurred_at": NOW - days * DAY, "enhanced_status": "5.2.0"}
    return make_message(make_outcome(reason, address, **(values | fields)), key=message.encode().ljust(32)[:32])


def whole_run(store: Store) -> list[int]:
    """The last outcomes of the pages of a run that comes to its end."""
    return [page.last for page in store.apply_policy()]


def standings(url: str) -> set[tuple[Any, ...]]:
    """What stands, without the numbers that depend on the order of recording."""
    with opened(url) as store:
        return {(one.subject, one.scope, one.cause, one.since, one.until, one.count) for one in store.suppressions()}


def test_a_dry_run_says_what_applying_does_and_again_changes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New suppressions, lifted ones and changed ones; in pages of three outcomes."""
    monkeypatch.setattr(applying, "PAGE", 3)
    with opened(database_url, Policy(trust=Proof.ANY)) as store:
        store.import_sent([SentMessage(message_id="1@shop.example", recipient="gone@example.pl")])
        store.record([failure("gone@example.pl", message_id="1@shop.example")])
        store.record([failure(f"full{number}@example.pl", "mailbox-full") for number in range(4)])
        store.record([failure("forged@example.pl", days=days) for days in (1, 2)])
        store.record([failure("x@down.example", "bad-domain", days=days) for days in (1, 2, 3)])
    strict = Policy(trust=Proof.REQUIRE, table=change_table(TABLE, {"dead-address": {"lasts": 10}}))
    for policy in (strict, EAGER, Policy(trust=Proof.ANY)):
        before = standings(database_url)
        with opened(database_url, policy) as store:
            told = [
                (one.effect, one.before, one.after)
                for page in store.apply_policy(dry_run=True)
                for one in page.differences
            ]
            assert standings(database_url) == before
            done = [(one.effect, one.before, one.after) for page in store.apply_policy() for one in page.differences]
            assert done == told
            assert [one for page in store.apply_policy() for one in page.differences] == []
        lifted = {one[1].subject for one in told if one[0] == "lifted" and one[1]}
        suppressed = {one[2].subject for one in told if one[0] == "suppressed" and one[2]}
        assert {row[0] for row in before} - lifted | suppressed == {row[0] for row in standings(database_url)}
        assert lifted | suppressed


def test_an_interrupted_run_goes_on_where_it_was(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after a page it begins with the next; by another policy, or when it was at its end, with the first."""
    monkeypatch.setattr(applying, "PAGE", 2)
    with opened(database_url) as store:
        store.record([failure(f"u{number}@example.pl", "mailbox-full") for number in range(6)])
    with opened(database_url, EAGER) as store:
        run = store.apply_policy()
        first = next(run)
        run.close()
        assert whole_run(store)[0] > first.last
        assert whole_run(store)[0] == first.last
        next(store.apply_policy())
    with opened(database_url) as store:
        assert whole_run(store)[0] == first.last


def test_what_a_person_did_stays(database_url: str) -> None:
    """Neither a suppression by hand nor a lift is touched."""
    with opened(database_url, Policy(trust=Proof.ANY)) as store:
        store.suppress("hand@example.pl")
        store.record([failure("lifted@example.pl", days=days) for days in (1, 2)])
        store.lift("lifted@example.pl", by="anna")
        assert [one for page in store.apply_policy() for one in page.differences] == []
        assert not store.standing("hand@example.pl").mailable
        assert store.standing("lifted@example.pl").mailable


def test_a_stream_and_a_sender_have_policies_of_their_own(database_url: str) -> None:
    """A stream's settings go before its sender's, and those before the installation's."""
    policy = Policy(
        trust=Proof.ANY,
        senders={"shop": Changes(causes={"dead-address": {"acts": False}}, complaint_stops_transactional=True)},
        streams={"orders": Changes(causes={"dead-address": {"acts": True, "lasts": 5}})},
    )
    with opened(database_url, policy) as store:
        for stream, sender in (("news", "shop"), ("orders", "shop"), ("other", "club")):
            address = f"{stream}@example.pl"
            store.record_sent(f"{stream}@shop.example", address, stream=stream, sender=sender)
            store.record([failure(address, message_id=f"{stream}@shop.example")])
            store.record([failure(address, "abuse", 0.5, message_id=f"{stream}@shop.example")])
        found = {(one.subject.partition("@")[0], one.cause): one for one in store.suppressions()}
    assert set(found) == {
        ("orders", "dead-address"),
        ("other", "dead-address"),
        ("news", "complaint"),
        ("orders", "complaint"),
        ("other", "complaint"),
    }
    assert found["orders", "dead-address"].until == NOW + 4 * DAY
    assert found["other", "dead-address"].until is None
    assert [found[one, "complaint"].scope for one in ("news", "other")] == ["sender:shop", "marketing:club"]


REASONS = ("user-unknown", "mailbox-disabled", "mailbox-full", "bad-domain", "abuse", "delivered", "undefined")


@settings(max_examples=15, deadline=None, phases=PHASES)
@given(st.data())
def test_judging_does_not_depend_on_batches_or_their_order(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The same reports, in any order and any batches, leave the same standings; judging them anew changes nothing."""
    told = data.draw(
        st.lists(
            st.tuples(st.sampled_from(REASONS), st.sampled_from(["a@x.example", "b@x.example"]), st.integers(1, 40)),
            max_size=14,
            unique=True,
        )
    )
    messages = [failure(address, reason, days) for reason, address, days in told]
    size = data.draw(st.integers(1, 14))
    results = []
    for batches in (messages, data.draw(st.permutations(messages))):
        url = migrated_sqlite(tmp_path_factory.mktemp("apply") / "b.db")
        with opened(url, Policy(trust=Proof.ANY)) as store:
            store.import_sent(
                SentMessage(
                    message_id=str(one.outcomes[0].message_id), recipient=str(one.outcomes[0].recipient), sent_at=NOW
                )
                for one in messages[::2]
            )
            step = len(messages) + 1 if batches is messages else size
            for start in range(0, len(batches), step):
                store.record(batches[start : start + step])
            assert [one for page in store.apply_policy() for one in page.differences] == []
        results.append(standings(url))
    assert results[0] == results[1]


def test_apply_on_the_command_line(database_url: str, tmp_path: Path) -> None:
    """The differences as a table and as JSON; who applied it is in the audit trail."""
    config = tmp_path / "bounceparse.toml"
    config.write_text(
        f'[database]\nurl = "{database_url}"\n[policy.cause.mailbox-full]\nneeds = 1\nspread = 0\nlasts = 0\n'
    )

    def run(*words: str) -> str:
        result = CliRunner().invoke(main, ["--config", str(config), "policy", *words])
        assert result.exit_code == 0, result.output
        return result.output

    with Store(database_url) as store:
        store.record([failure("jan@example.pl", "mailbox-full")])
    assert "needs" not in run("show")
    assert "mailbox-full          addresses  1 " in run("show")
    dry = run("apply", "--dry-run")
    assert "would be suppressed" in dry
    assert "jan@example.pl" in dry
    assert '"effect": "suppressed"' in run("apply", "--dry-run", "--json")
    assert "suppressed" in run("apply", "--by", "anna")
    assert "nothing changed" in run("apply")
    engine = sa.create_engine(database_url)
    with engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT actor, action, detail FROM bounceparse_audit ORDER BY id")).all()
    engine.dispose()
    assert tuple(rows[0]) == ("anna", "apply policy", "1 suppressions changed")

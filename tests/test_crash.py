"""``kill -9`` at every step of a poll, for each way of marking, on both databases: the next poll repairs everything."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from bounces import dsns
from crashes import Databases, poll_in_child, state
from servers import Dovecot, running_dovecot

from bounceparse.db import Store
from bounceparse.mailboxes.account import ImapAccount
from bounceparse.mailboxes.imap import open_mailbox
from bounceparse.mailboxes.polling import poll_account

MAILS = dsns(4)
SENT = [(f"{number}@shop.example", f"user{number}@example.pl") for number in range(1, 5)]


@pytest.fixture(scope="module")
def dovecots() -> Iterator[dict[bool, Dovecot]]:
    """One server with MOVE, one without."""
    with running_dovecot() as new, running_dovecot(capability="IMAP4rev1 UIDPLUS") as old:
        yield {True: new, False: old}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Databases:
    server = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    return Databases(tmp_path_factory.mktemp("crash"), server, SENT)


CASES = [
    (after, move)
    for after in ("seen", "keyword:Done", "move:", "delete", "keep_days", "nothing")
    for move in (True, False)
    if move or after == "move:"  # the other ways do not ask for MOVE
]


@dataclass
class Scene:
    """A server and a kind of database, and one way of marking: each poll gets a folder and a database of its own."""

    dovecot: Dovecot
    databases: Databases
    after: str

    def set_up(self) -> tuple[ImapAccount, str]:
        folder = f"F{uuid.uuid4().hex}"
        self.dovecot.load(MAILS, folder)
        changes: dict[str, Any] = {"after": self.after}
        if self.after == "move:":
            changes = {"after": f"move:Done{folder}"}
        elif self.after == "keep_days":
            changes = {"after": "seen", "keep_days": 0}
        # two batches where most can go wrong between them
        return self.dovecot.account(folder=folder, batch_messages=2 if self.after == "delete" else 9, **changes), (
            self.databases.fresh()
        )

    def end_state(self, account: ImapAccount, url: str) -> tuple[dict[str, Any], list[str], list[str]]:
        """The database, and the flags of what is left in the folder and in the target."""
        with Store(url) as store, open_mailbox(account) as mailbox:
            poll_account(mailbox, store)
        target = self.dovecot.flags(account.target) if account.target else []
        return state(url), self.dovecot.flags(account.folder), target


@pytest.mark.parametrize(("after", "move"), CASES)
def test_a_poll_killed_at_any_step_ends_as_an_undisturbed_one(
    dovecots: dict[bool, Dovecot], databases: Databases, after: str, move: bool
) -> None:
    """Same rows, same standing, every message once in its place; only a copy may be left over where there is no MOVE."""
    scene = Scene(dovecots[move], databases, after)
    account, url = scene.set_up()
    steps = poll_in_child(account, url)
    calm, folder, target = scene.end_state(account, url)
    assert steps is not None and steps >= 9
    assert [len(calm[name]) for name in ("messages", "outcomes", "standing")] == [4, 4, 4]
    assert len(folder) == (0 if after in ("move:", "delete", "keep_days") else 4)
    for moment in range(1, steps + 1):
        account, url = scene.set_up()
        assert poll_in_child(account, url, moment) is None, "it was not killed"
        rows, left, moved = scene.end_state(account, url)
        assert rows == calm, f"killed at step {moment}"
        assert left == folder, f"killed at step {moment}"
        if move:
            assert moved == target, f"killed at step {moment}"
        else:
            assert set(moved) == {""} and len(moved) in (4, 8), f"killed at step {moment}"

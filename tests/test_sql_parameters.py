"""Values reach the database as bound parameters only: a look at the source, and hostile text through every door."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from outcome_factory import make_message, make_outcome

import bounceparse
from bounceparse.db import Store

SOURCE = Path(bounceparse.__file__).parent
PUT_TOGETHER = {"intake.py", "ledger.py", "recording.py", "schema.py", "listed.py", "views.py"}
"""Where statements are put together, each looked at: of names of our own tables and columns, and of placeholders."""
EXECUTING = {"text", "exec_driver_sql", "execute", "executemany"}


def statements(path: Path) -> list[str]:
    """The calls that are given a statement which was put together on the spot, beyond names in capitals."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = node.args[0]
        if name in EXECUTING and isinstance(given, ast.JoinedStr | ast.BinOp):
            values = [one.value for one in ast.walk(given) if isinstance(one, ast.FormattedValue)]
            if not values or not all(isinstance(one, ast.Name) and one.id.isupper() for one in values):
                found.append(f"{path.name}:{node.lineno}")
    return found


def test_no_statement_is_put_together_where_it_is_executed() -> None:
    """But of constants: whoever adds one has to look at it here."""
    found = [one for path in sorted(SOURCE.rglob("*.py")) for one in statements(path)]
    allowed = {"engine.py", "views.py", "0006_services.py"}  # pragmas, and views and their rights by our own names
    assert {one.partition(":")[0] for one in found} <= allowed, found


def test_waivers_of_the_linter_are_those_that_were_looked_at() -> None:
    """Ruff's S608 finds statements made of strings; each waiver is in a file of the list."""
    found = Counter(path.name for path in SOURCE.rglob("*.py") for line in path.open() if "S608" in line)
    assert set(found) <= PUT_TOGETHER, found


HOSTILE = [
    "'; DROP TABLE bounceparse_outcomes; --",
    '" OR ""="',
    "%s %(x)s ? :x {0} $1 \\",
    "a\x00b\ud800c",
    "100%_[a-z]*",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_only_text(store: Store, text: str) -> None:
    """In every column that mail, the ledger, a service or a person fills, and in every question."""
    address = f"{text.replace(' ', '')}@example.pl"
    store.record_sent(text, address, subject=text, stream=text, customer=text, provider_id=text, envelope_id=text)
    outcome = make_outcome(
        recipient=address, message_id=text, diagnostic=text, subject=text, list_id=text, envelope_id=text
    )
    store.record([make_message(outcome, account=text)])
    store.suppress(address, note=text, scope=f"list:{text}")
    store.standing(address, list=text)
    list(store.mailable([address], text))
    store.customer(text)
    store.history(address)
    list(store.outcomes(status=text, address=address, customer=text, mailbox=text))
    list(store.audit(address))
    store.lift(address, by=text, note=text)
    store.note_poll(text)
    store.count_poll(text, 1, "ok")
    store.figures()
    assert sum(1 for _ in store.outcomes()) == 1

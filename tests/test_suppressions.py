"""Suppression lists in and out: our forms and those of Amazon SES, SendGrid, Postmark and Mailgun."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from bounceparse.cli import main
from bounceparse.cli.list_items import _LARGEST, escape_cell, read_items, unescape_cell
from bounceparse.cli.provider_lists import FORMATS, KINDS
from bounceparse.db import Store

SES_PAGE = {
    "SuppressedDestinationSummaries": [
        {"EmailAddress": "jan@example.pl", "Reason": "BOUNCE", "LastUpdateTime": "2026-01-02T10:00:00.123000+01:00"},
        {"EmailAddress": "ola@example.pl", "Reason": "COMPLAINT", "LastUpdateTime": 1767344400.5},
    ],
    "NextToken": "abc",
}
SENDGRID_BOUNCES = [
    {"created": 1767344400, "email": "jan@example.pl", "reason": "550 5.1.1 user unknown", "status": "5.1.1"},
    {"created": 1767344400, "email": "ola@example.pl", "reason": "552 5.2.2 mailbox full", "status": "5.2.2"},
]
POSTMARK = {
    "Suppressions": [
        {"EmailAddress": "jan@example.pl", "SuppressionReason": "HardBounce", "Origin": "Recipient",
         "CreatedAt": "2026-01-02T04:00:00-05:00"},
        {"EmailAddress": "ola@example.pl", "SuppressionReason": "SpamComplaint", "Origin": "Recipient",
         "CreatedAt": "2026-01-02T04:00:00-05:00"},
        {"EmailAddress": "ewa@example.pl", "SuppressionReason": "ManualSuppression", "Origin": "Recipient",
         "CreatedAt": "2026-01-02T04:00:00-05:00"},
        {"EmailAddress": "iza@example.pl", "SuppressionReason": "ManualSuppression", "Origin": "Customer",
         "CreatedAt": "2026-01-02T04:00:00-05:00"},
    ]
}  # fmt: skip
MAILGUN_BOUNCES = {
    "items": [
        {"address": "jan@example.pl", "code": "550", "error": "No such user here",
         "created_at": "Fri, 02 Jan 2026 09:00:00 UTC"},
    ],
    "paging": {"first": "https://api.example/v3/x?page=first", "next": "https://api.example/v3/x?page=next"},
}  # fmt: skip
AT = datetime(2026, 1, 2, 9, tzinfo=UTC)


@pytest.fixture
def configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("bounceparse.toml").write_text(f'[database]\nurl = "{database_url}"\n')
    return database_url


@pytest.fixture
def known(configured: str) -> Iterator[Store]:
    with Store(configured) as store:
        yield store


def run(*arguments: str, text: str | None = None, status: int = 0) -> Result:
    done = CliRunner().invoke(main, ["suppressions", *arguments], input=text)
    assert done.exit_code == status, done.output
    return done


def imported(text: str, *arguments: str, status: int = 0) -> Result:
    return run("import", *arguments, "-", text=text, status=status)


def standing(store: Store) -> dict[str, tuple[str, str, str]]:
    return {one.subject: (one.status, one.reason, one.scope) for one in store.suppressions()}


def as_csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


# -- in: what each form says


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SES_PAGE),
        json.dumps(SES_PAGE, indent=4),
        json.dumps(SES_PAGE["SuppressedDestinationSummaries"]),
        "".join(
            json.dumps({"emailAddress": one["EmailAddress"], "reason": one["Reason"], "lastUpdateTime": "2026-01-02"})
            + "\n"
            for one in SES_PAGE["SuppressedDestinationSummaries"]  # type: ignore[attr-defined]
        ),
        as_csv([{"EmailAddress": "jan@example.pl", "Reason": "BOUNCE"}, {"EmailAddress": "ola@example.pl", "Reason": "COMPLAINT"}]),
        "jan@example.pl,BOUNCE\nola@example.pl,COMPLAINT\n",
    ],
    ids=["page", "indented", "array", "lines", "csv", "bare"],
)  # fmt: skip
def test_amazon_ses_in_all_its_forms(known: Store, text: str) -> None:
    """Bounces stop all mail, complaints the marketing."""
    assert imported(text).stdout == "2 suppressed, 0 refused\n"
    assert standing(known) == {
        "jan@example.pl": ("hardbounce", "undefined", "all"),
        "ola@example.pl": ("complaint", "abuse", "marketing:"),
    }


def test_times_are_kept(known: Store) -> None:
    """ISO 8601 with an offset, seconds since 1970, RFC 5322."""
    for text in (json.dumps(POSTMARK), json.dumps(MAILGUN_BOUNCES), json.dumps(SENDGRID_BOUNCES)):
        imported(text)
        assert {one.since for one in known.suppressions()} == {AT}, text
        for subject in standing(known):
            known.lift(subject)


def test_sendgrid_bounces_get_the_reason_of_their_words(known: Store) -> None:
    """By the rules that read bounces; JSON or CSV."""
    wanted = {
        "jan@example.pl": ("hardbounce", "user-unknown", "all"),
        "ola@example.pl": ("hardbounce", "mailbox-full", "all"),
    }
    for text in (json.dumps(SENDGRID_BOUNCES), as_csv(SENDGRID_BOUNCES)):
        imported(text)
        assert standing(known) == wanted


@pytest.mark.parametrize(
    ("kind", "row", "wanted"),
    [
        ("spam", {"created": 1767344400, "email": "j@example.pl", "ip": "192.0.2.1"}, ("complaint", "abuse", "marketing:")),
        ("invalid", {"created": 1767344400, "email": "j@example.pl", "reason": "is not a valid address"},
         ("hardbounce", "bad-address-syntax", "all")),
        ("unsubscribes", {"created": 1767344400, "email": "j@example.pl"},
         ("unsubscribe", "unsubscribe-request", "marketing:")),
    ],
)  # fmt: skip
def test_sendgrid_lists_are_told_by_what_they_have(
    known: Store, kind: str, row: dict[str, Any], wanted: tuple[str, ...]
) -> None:
    imported(json.dumps([row]))
    assert standing(known) == {"j@example.pl": wanted}
    imported(json.dumps([row]), "--format", "sendgrid", "--kind", kind)
    assert standing(known) == {"j@example.pl": wanted}


def test_a_block_of_sendgrid_ends(known: Store) -> None:
    """It was one message that was refused: an old one suppresses nobody."""
    now = int(datetime.now(UTC).timestamp())
    rows = [
        {"created": created, "email": f"{name}@example.pl", "reason": "421 try later", "status": "4.2.0"}
        for name, created in (("new", now), ("old", now - 40 * 86400))
    ]
    assert imported(json.dumps(rows)).stdout == "1 suppressed, 1 known, 0 refused\n"
    (found,) = known.suppressions()
    assert found.subject == "new@example.pl" and found.until is not None
    assert (found.until - found.since).days == 30


def test_postmark_and_mailgun(known: Store) -> None:
    imported(json.dumps(POSTMARK))
    assert standing(known) == {
        "jan@example.pl": ("hardbounce", "undefined", "all"),
        "ola@example.pl": ("complaint", "abuse", "marketing:"),
        "ewa@example.pl": ("unsubscribe", "unsubscribe-request", "marketing:"),
        "iza@example.pl": ("manual", "manual", "all"),
    }
    for subject in standing(known):
        known.lift(subject)
    pages = json.dumps(MAILGUN_BOUNCES) + "\n" + json.dumps(MAILGUN_BOUNCES).replace("jan@", "ola@")
    assert imported(pages).stdout == "2 suppressed, 0 refused\n"
    assert standing(known)["ola@example.pl"] == ("hardbounce", "user-unknown", "all")
    imported("address,tags,created_at\newa@example.pl,*,2026-01-02\n")
    assert standing(known)["ewa@example.pl"][0] == "unsubscribe"
    imported(json.dumps({"items": [{"address": "iza@example.pl", "created_at": "2026-01-02"}]}))
    assert standing(known)["iza@example.pl"][0] == "complaint"


# -- in: manners


def test_an_import_again_changes_nothing(known: Store, configured: str) -> None:
    """Not a row, not a number of the cursor; what the policy found itself is not doubled either."""
    known.suppress("Jan@Example.pl", note="by hand")
    imported(json.dumps(POSTMARK))

    def table() -> list[Any]:
        with known._database.read() as connection:
            return list(connection.execute(sa.text("SELECT * FROM bounceparse_standing ORDER BY id")))

    before = table()
    assert len(before) == 4
    assert imported(json.dumps(POSTMARK)).stdout == "0 suppressed, 4 known, 0 refused\n"
    assert table() == before


def test_what_was_lifted_can_be_left_out(known: Store) -> None:
    """A nightly import of a provider's list must not undo what the support desk did; an import by hand may."""
    imported(json.dumps(POSTMARK))
    known.lift("jan@example.pl")
    imported(json.dumps(POSTMARK), "--skip-lifted")
    assert known.standing("jan@example.pl").mailable
    imported(json.dumps(POSTMARK))
    assert not known.standing("jan@example.pl").mailable


def test_a_bad_row_is_named_by_its_line_and_left_out(known: Store) -> None:
    """In CSV, JSON lines and an indented page alike."""
    told = imported("email,reason,status\njan@example.pl,550,5.1.1\nnobody,x,5.1.1\n", status=1)
    assert (told.stdout, "line 3" in told.stderr) == ("1 suppressed, 1 refused\n", True)
    lines = '{"emailAddress": "a@example.pl", "reason": "BOUNCE"}\n{"emailAddress": broken\n[1]\n' + (
        '{"emailAddress": "b@example.pl", "reason": "MAYBE"}\n{"emailAddress": "c@example.pl", "reason": "BOUNCE"}\n'
    )
    told = imported(lines, status=1)
    assert "2 suppressed" in told.stdout
    assert [f": line {number}:" in told.stderr for number in (1, 2, 4, 5)] == [False, True, True, False]
    page = json.dumps(POSTMARK, indent=1).replace('"SpamComplaint"', '"Whatever"')
    told = imported(page, status=1)
    assert "line 9" in told.stderr and "Whatever" in told.stderr


@pytest.mark.parametrize(
    ("text", "arguments", "words"),
    [
        ("address,colour\njan@example.pl,red\n", [], "unknown column"),
        ("address,until\njan@example.pl,tomorrowish\n", [], "no time"),
        ("address,reason\njan@example.pl,bad-mood\n", [], "unknown reason"),
        ("address,scope\njan@example.pl,some\n", [], "scope"),
        ("name,mail\njan,jan@example.pl\n", [], "no address"),
        ('{"who": "jan@example.pl"}\n', [], "--format"),
    ],
)
def test_what_is_wrong_is_said(known: Store, text: str, arguments: list[str], words: str) -> None:
    assert words in imported(text, *arguments, status=1).stderr
    assert standing(known) == {}


def test_complaints_of_several_senders_need_a_scope(known: Store) -> None:
    """Whose marketing they stop is not guessed."""
    known.set_stream("a", sender="one")
    known.set_stream("b", sender="two")
    told = imported("jan@example.pl,COMPLAINT\nola@example.pl,BOUNCE\n", status=1)
    assert "--scope" in told.stderr and set(standing(known)) == {"ola@example.pl"}
    imported("jan@example.pl,COMPLAINT\n", "--scope", "marketing:one", "--scope", "marketing:two")
    assert sorted(one.scope for one in known.suppressions() if one.subject == "jan@example.pl") == [
        "marketing:one", "marketing:two",
    ]  # fmt: skip


def test_a_large_list_streams(known: Store) -> None:
    """Ten thousand entries of one JSON array."""
    rows = [{"created": 1767344400, "email": f"{number}@example.pl", "ip": "192.0.2.1"} for number in range(10_000)]
    assert imported(json.dumps(rows)).stdout == "10000 suppressed, 0 refused\n"


def test_endless_json_ends() -> None:
    """An object that never closes costs a bounded amount of memory and is one bad row."""

    class Endless(io.StringIO):
        left = 40

        def read(self, size: int | None = -1) -> str:
            self.left -= 1
            return "x" * (size or 0) if self.left > 0 else ""

    found = list(read_items(Endless('{"email": "')))
    assert len(found) == 1 and isinstance(found[0][1], str)
    assert _LARGEST < 40 * 65_536


@given(st.text(alphabet='{}[]",:\\ \n1aé@.', max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Every row is read or named with a line that exists."""
    for line, row in read_items(io.StringIO(text)):
        assert 1 <= line <= text.count("\n") + 2
        assert isinstance(row, str | dict)


# -- out


ENTRIES = {
    "jan@example.pl": ("user-unknown", "all"),
    "=1+1@example.pl": ("user-unknown", "all"),
    "ola@example.pl": ("abuse", "marketing:"),
    "ewa@example.pl": ("unsubscribe-request", "marketing:"),
    "ida@example.pl": ("spam-content", "all"),
    "iza@example.pl": ("bad-address-syntax", "all"),
    "@example.org": ("manual", "all"),
    "hash:aaaabbbbccccdddd": ("user-unknown", "all"),
}


@pytest.fixture
def listed(known: Store) -> Store:
    imported(
        "address,reason,scope,since\n"
        + "".join(
            f"{escape_cell(one)},{reason},{scope},2026-01-02T09:00Z\n" for one, (reason, scope) in ENTRIES.items()
        )
    )
    return known


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_our_own_forms_bring_everything_back(listed: Store, form: str) -> None:
    """Addresses, domains, hashes, reasons, scopes, times."""
    before = {(one.subject, one.scope, one.status, one.reason, one.since) for one in listed.suppressions()}
    assert len(before) == len(ENTRIES)
    exported = run("export", "--format", form).stdout
    for subject in standing(listed):
        listed.lift(subject)
    assert imported(exported, "--format", form).stdout == "8 suppressed, 0 refused\n"
    assert {(one.subject, one.scope, one.status, one.reason, one.since) for one in listed.suppressions()} == before


def test_a_spreadsheet_runs_nothing_of_an_export(listed: Store) -> None:
    for row in csv.reader(io.StringIO(run("export").stdout)):
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_cells_are_escaped_and_unescaped(text: str) -> None:
    """Blanks around a cell are no part of it."""
    assert not escape_cell(text).startswith(("=", "+", "-", "@", "\t", "\r"))
    if text == text.strip() and not text.startswith("'"):
        assert unescape_cell(escape_cell(text)) == text


@pytest.mark.parametrize(
    ("form", "kind"),
    [("ses", None), ("postmark", None), *[(form, kind) for form, kinds in KINDS.items() for kind in kinds]],
)
def test_a_provider_takes_back_what_it_gives(listed: Store, form: str, kind: str | None) -> None:
    """Each list of each provider, read again, is what it was written from, as far as the provider knows reasons."""
    asked = [*(["--kind", kind] if kind else []), "--scope", "all", "--scope", "marketing:"]
    exported = run("export", "--format", form, *asked).stdout
    before = {one.subject: one for one in listed.suppressions()}
    for subject in before:
        listed.lift(subject)
    imported(exported, *(["--format", form, "--kind", kind] if kind else []))
    after = {one.subject: one for one in listed.suppressions()}
    assert after or kind == "blocks", exported  # a block of January is over
    for subject, one in after.items():
        was = before[subject]
        assert one.scope == was.scope
        if form in ("sendgrid", "mailgun"):
            assert one.reason == was.reason
        if form != "ses" and kind != "blocks":
            assert one.since == was.since
        if was.status in ("complaint", "unsubscribe") and form != "ses":
            assert one.status == was.status


def test_every_entry_is_in_one_list_of_a_provider_or_named(listed: Store) -> None:
    """Nothing is left out in silence."""
    for form in ("sendgrid", "mailgun"):
        found: list[str] = []
        for kind in KINDS[form]:
            text = run("export", "--format", form, "--kind", kind, "--scope", "all", "--scope", "marketing:").stdout
            found += [one.get("email") or one.get("address") for one in json.loads(text)]
        assert sorted(found) == sorted(one for one in ENTRIES if one[0] not in "@h")
    told = run("export", "--format", "ses").stderr
    assert "2 left out: they stop part" in told and "whole domains" in told and "hashes" in told


def test_ses_gets_lines_for_its_import_job(listed: Store) -> None:
    lines = [json.loads(line) for line in run("export", "--format", "ses").stdout.splitlines()]
    assert lines[0] == {"emailAddress": "jan@example.pl", "reason": "BOUNCE"}


def test_an_empty_export_is_valid(known: Store) -> None:
    assert json.loads(run("export", "--format", "postmark").stdout) == {"Suppressions": []}
    assert json.loads(run("export", "--format", "mailgun", "--kind", "bounces").stdout) == []
    assert run("export", "--format", "ses").stdout == ""


@pytest.mark.parametrize("arguments", [["--format", "sendgrid"], ["--format", "ses", "--kind", "bounces"],
                                       ["--format", "mailgun", "--kind", "blocks"]])  # fmt: skip
def test_a_kind_that_does_not_fit_is_a_usage_error(known: Store, arguments: list[str]) -> None:
    assert (
        "--kind" in run("export", *arguments, status=2).stderr or "kind" in run("export", *arguments, status=2).stderr
    )


def test_the_forms_on_the_command_line_are_those_that_are_known() -> None:
    from bounceparse.cli import suppressions

    assert suppressions._FORMATS == FORMATS
    assert set(suppressions._KINDS) == {kind for kinds in KINDS.values() for kind in kinds}

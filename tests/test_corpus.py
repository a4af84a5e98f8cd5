"""The corpus: every mail agrees with what people decided and with its golden answer, whatever its line ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bounceparse.corpus import TRUTH_FIELDS, answer, answers, check, generate, mails, main, truths
from bounceparse.decoding import collapse, decode_bytes
from bounceparse.errors import InputError
from bounceparse.mime import Mail

CORPUS = Path(__file__).parent.parent / "corpus"
MAILS = mails(CORPUS)
TRUTHS = truths(CORPUS)
CAPTURED = (
    *("postfix", "exim", "sendmail", "opensmtpd", "qmail", "dma", "dovecot"),
    *("courier", "chasquid", "nullmailer", "haraka"),
)
NAMES = [str(path.relative_to(CORPUS)) for path in MAILS]
BAD_STATUSES = {"hardbounce", "softbounce", "spambounce", "deferred", "complaint", "unsubscribe", "ok"}
SAMPLE = b"From: jan@example.com\nTo: news@shop.example\nSubject: Hello\n\nGood morning\n"
TRUTH = {"file": "hello.eml", "kind": "other", "outcomes": []}


def test_the_corpus_agrees_with_its_truths_and_golden_files() -> None:
    problems = check(CORPUS)
    assert not problems, "\n".join(f"{problem.path.relative_to(CORPUS)}: {problem.text}" for problem in problems)


@pytest.mark.parametrize("name", [name for name in NAMES if b"\r" not in (CORPUS / name).read_bytes()])
def test_line_ends_of_the_wire_give_the_same_answer(name: str) -> None:
    raw = (CORPUS / name).read_bytes()
    assert answer(raw.replace(b"\n", b"\r\n")) == answer(raw)


def test_some_mails_have_line_ends_of_their_own() -> None:
    assert sum(b"\r" in path.read_bytes() for path in MAILS) >= 3


def test_a_third_of_the_mails_comes_from_real_servers() -> None:
    captured = [path for path in MAILS if path.parent.name in CAPTURED]
    assert len(MAILS) >= 60
    assert len(captured) * 3 >= len(MAILS)


def test_every_truth_tells_all_that_is_compared() -> None:
    for path, truth in TRUTHS.items():
        for outcome in truth["outcomes"]:
            assert set(outcome) == set(TRUTH_FIELDS), path


def test_every_status_but_the_ledgers_own_occurs() -> None:
    statuses = {outcome["status"] for truth in TRUTHS.values() for outcome in truth["outcomes"]}
    assert statuses == BAD_STATUSES | {"notice"}


def test_every_kind_of_report_occurs() -> None:
    assert {truth["kind"] for truth in TRUTHS.values()} == {
        "delivery", "feedback", "unsubscribe", "disposition", "challenge", "autoreply", "notice", "other",
    }  # fmt: skip


@pytest.mark.parametrize("family", ["autoreply", "disposition", "challenge", "notices", "quiet"])
def test_mail_that_reports_nothing_never_acts(family: str) -> None:
    for path, produced in answers(CORPUS / family):
        assert not {outcome["status"] for outcome in produced["outcomes"]} & BAD_STATUSES, path


@pytest.mark.parametrize("family", ["autoreply", "challenge", "notices", "quiet", "unsubscribe"])
def test_an_empty_return_path_alone_makes_no_bounce(family: str) -> None:
    """Servers and forwarders drop the return path of ordinary mail too: it proves nothing by itself."""
    for path in (path for path in MAILS if path.parent.name == family):
        raw = re.sub(rb"(?im)\Areturn-path:[^\n]*\n", b"", path.read_bytes())
        assert answer(b"Return-Path: <>\n" + raw)["kind"] not in ("delivery", "feedback"), path


def test_auto_replies_in_fifteen_languages_are_there() -> None:
    languages = "english polish german french spanish italian portuguese dutch swedish finnish czech hungarian russian turkish japanese chinese korean"
    present = {path.stem for path in MAILS if path.parent.name == "autoreply"}
    assert set(languages.split()) <= present


def test_golden_answers_are_whole() -> None:
    """A key left out of a golden file would leave that field untested."""
    keys = {
        "status", "reason", "fault", "recipient", "original_recipient", "final_recipient", "message_id", "envelope_id",
        "feedback_id", "list_id", "action", "enhanced_status", "smtp_code", "diagnostic", "smtp_phase", "reporting_mta",
        "remote_mta", "sending_ip", "provider", "blocklist", "help_url", "subject", "occurred_at", "evidence",
    }  # fmt: skip
    for path in MAILS:
        golden = json.loads(path.with_suffix(".json").read_text("utf-8"))
        assert set(golden) == {"kind", "dialect", "defects", "outcomes"}, path
        assert all(set(outcome) == keys for outcome in golden["outcomes"]), path


def test_mails_hold_reserved_addresses_only() -> None:
    """RFC 2606 and 6761 names; provider hosts may stand in the words that providers write, not in addresses."""
    reserved = re.compile(rb"(?:^|[.@])(?:example|invalid|localhost|test)$|(?:^|[.@])example\.(?:com|net|org|pl)$")
    for path in MAILS:
        for found in re.finditer(rb"[\w.+=-]@((?:[\w-]+\.)+[a-z]{2,})\b", path.read_bytes(), re.IGNORECASE):
            assert reserved.search(found[1].lower()), (path, found[0])


def test_every_family_is_described() -> None:
    readme = (CORPUS / "README.md").read_text("utf-8")
    for family in {path.parent.name for path in MAILS}:
        assert f"`{family}/`" in readme, family


def _small(folder: Path, truth: dict[str, object] | None = None) -> Path:
    family = folder / "family"
    family.mkdir()
    (family / "hello.eml").write_bytes(SAMPLE)
    (family / "truth.jsonl").write_text(json.dumps(TRUTH if truth is None else truth) + "\n")
    return family


def test_an_empty_corpus_fails(tmp_path: Path) -> None:
    for run in (check, generate, mails):
        with pytest.raises(InputError, match="no mails"):
            run(tmp_path)


def test_generate_writes_what_is_missing_and_check_is_content(tmp_path: Path) -> None:
    family = _small(tmp_path)
    assert [problem.text for problem in check(tmp_path)] == ["has no golden file"]
    written, problems = generate(tmp_path)
    assert (written, problems) == ([family / "hello.json"], [])
    assert check(tmp_path) == []


def test_generate_never_overwrites_silently(tmp_path: Path) -> None:
    golden = _small(tmp_path) / "hello.json"
    golden.write_text('{"kind": "delivery", "dialect": null, "defects": [], "outcomes": []}')
    assert generate(tmp_path) == ([], [])
    (problem,) = check(tmp_path)
    assert problem.text == "golden: kind: wanted 'delivery', got 'other'"
    assert generate(tmp_path, replace=True)[0] == [golden]
    assert check(tmp_path) == []


def test_a_wrong_answer_is_never_blessed(tmp_path: Path) -> None:
    """An answer that contradicts the truth is reported and not written, even when replacing."""
    family = _small(tmp_path, {**TRUTH, "kind": "autoreply"})
    written, problems = generate(tmp_path, replace=True)
    assert written == []
    assert [problem.text for problem in problems] == ["truth: kind: wanted 'autoreply', got 'other'"]
    assert not (family / "hello.json").exists()


def test_a_mail_without_a_truth_is_a_problem(tmp_path: Path) -> None:
    family = _small(tmp_path)
    (family / "truth.jsonl").unlink()
    assert [problem.text for problem in check(tmp_path)] == ["no truth is told for it"]


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"file": "gone.eml", "kind": "other", "outcomes": []}', '{"file": "hello.eml"}']
)
def test_a_truth_that_cannot_be_used_names_its_line(tmp_path: Path, line: str) -> None:
    family = _small(tmp_path)
    (family / "truth.jsonl").write_text(json.dumps(TRUTH) + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"truth\.jsonl:2"):
        truths(tmp_path)


def test_the_command_says_what_it_wrote_and_fails_on_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    family = _small(tmp_path)
    assert main(["generate", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"{family / 'hello.json'}: written\n"
    assert main(["check", str(tmp_path)]) == 0
    (family / "truth.jsonl").write_text(json.dumps({**TRUTH, "kind": "notice"}))
    assert main(["check", str(tmp_path)]) == 1
    assert main(["replace", str(tmp_path)]) == 1
    assert "truth: kind: wanted 'notice', got 'other'" in capsys.readouterr().err
    assert main(["check", str(tmp_path / "nowhere")]) == 1
    assert main(["bless", str(tmp_path)]) == 2


def test_what_the_demo_needs_is_listed_and_there() -> None:
    """The demo's list names each mail of its family once, with a ledger row for whatever came back."""
    listing = json.loads((CORPUS / "demo.json").read_text("utf-8"))
    named = [name for mailbox in listing["mailboxes"].values() for name in mailbox["mails"]]
    assert sorted(named) == sorted(path.name for path in (CORPUS / "demo").glob("*.eml"))
    assert {mailbox["role"] for mailbox in listing["mailboxes"].values()} == {"return-path", "feedback"}
    ledger = {(row["message_id"], row["recipient"]) for row in listing["sent"]}
    assert len(ledger) == len(listing["sent"])
    outcomes = [outcome for name in named for outcome in TRUTHS[CORPUS / "demo" / name]["outcomes"]]
    assert {outcome["status"] for outcome in outcomes} == BAD_STATUSES | {"notice"}
    ids = {message_id for message_id, _ in ledger}
    recipients = {recipient for _, recipient in ledger}
    for outcome in outcomes:
        assert outcome["message_id"] is None or outcome["message_id"] in ids
        assert outcome["recipient"] is None or outcome["recipient"] in recipients
    customers = [row["customer"] for row in listing["sent"]]
    assert customers.count(listing["customer"]) >= 3


def _texts_of(mail: Mail, part: str) -> list[str]:
    """The decoded, whitespace-collapsed texts that ``evidence.part`` may mean."""
    if part == "subject":
        return [mail.get("subject") or ""]
    if part == "headers":
        names = [
            line.partition(":")[0].lower() for line in mail.header_text().split("\n") if line[:1] not in (" ", "\t")
        ]
        return [collapse(mail.header_text()), *(mail.get(name) or "" for name in names)]
    if part == "text":
        return [collapse(mail.readable)]
    bodies = [entity for entity in mail.walk(into_messages=True) if entity.content_type.endswith(part)]
    return [
        collapse(decode_bytes(entity.payload(), entity.params.get("charset", "")).replace("\0", ""))
        for entity in bodies
    ]


def test_evidence_stands_in_the_part_that_it_names() -> None:
    """Words that are nowhere in the mail could not be shown to a person who asks why."""
    invented = []
    for path in MAILS:
        mail = Mail(path.read_bytes())
        for outcome in answer(path.read_bytes())["outcomes"]:
            evidence = outcome["evidence"]
            texts = _texts_of(mail, evidence["part"])
            if not evidence["matched"] or not any(evidence["matched"] in text for text in texts):
                invented.append(f"{path.relative_to(CORPUS)}: {evidence}")
    assert not invented, "\n".join(invented)

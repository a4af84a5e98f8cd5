"""``evaluate``: what counts as right, what a wrong answer costs, what two runs differ in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from bounces import dsn
from click.testing import CliRunner, Result

from bounceparse.cli import main
from bounceparse.errors import InputError
from bounceparse.evaluate import Run, compare, evaluate, find_cost, load_run, read_labels

EXPECTED = {
    "recipient": "jan@example.com",
    "status": ["hardbounce"],
    "reason": ["user-unknown"],
    "enhanced_status": "5.1.1",
}


def label(**fields: Any) -> dict[str, Any]:
    return {"file": "a/mails/1.eml", "kind": ["delivery"], "outcomes": [EXPECTED], **fields}


def outcome(**fields: Any) -> dict[str, Any]:
    right = {
        "recipient": "jan@example.com",
        "status": "hardbounce",
        "reason": "user-unknown",
        "enhanced_status": "5.1.1",
        "message_id": "1@shop.example",
    }
    return {**right, **fields}


def judged(folder: Path, row: dict[str, Any], *outcomes: dict[str, Any], kind: str = "delivery") -> Run:
    """The run over one mail with this label and these answers."""
    (folder / "a").mkdir(exist_ok=True)
    (folder / "a/labels.jsonl").write_text(json.dumps(row) + "\n")
    return evaluate(read_labels(folder), {"a/mails/1.eml": {"kind": kind, "outcomes": list(outcomes)}}, "1")


def wrong(run: Run) -> set[str]:
    return {mistake.field for found in run.mistakes.values() for mistake in found}


def test_a_right_answer_has_no_mistakes(tmp_path: Path) -> None:
    run = judged(tmp_path, label(message_id=["1@Shop.example"]), outcome(recipient="Jan@example.com"))
    assert (run.mistakes, run.cost) == ({}, 0)
    assert run.total == dict.fromkeys(run.total, 1)


@pytest.mark.parametrize(
    ("fields", "mistaken"),
    [
        ({"status": "softbounce"}, {"status"}),
        ({"reason": "undefined"}, {"reason"}),
        ({"enhanced_status": None}, {"enhanced_status"}),
        ({"recipient": "ola@example.com"}, {"recipients"}),
        ({"message_id": None}, {"message_id"}),
    ],
)
def test_each_field_is_judged_by_itself(tmp_path: Path, fields: dict[str, Any], mistaken: set[str]) -> None:
    run = judged(tmp_path, label(message_id=["1@shop.example"]), outcome(**fields))
    assert wrong(run) == mistaken


def test_what_the_label_leaves_out_is_not_judged(tmp_path: Path) -> None:
    run = judged(tmp_path, label(outcomes=[{"recipient": "jan@example.com"}]), outcome(status="ok", reason="x"))
    assert {name: total for name, total in run.total.items() if total} == {"survived": 1, "kind": 1, "recipients": 1}


def test_a_mail_without_an_answer_is_wrong_in_every_field(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/labels.jsonl").write_text(json.dumps(label()))
    run = evaluate(read_labels(tmp_path), {}, "1")
    assert wrong(run) == {"survived", "kind", "recipients", "status", "reason", "enhanced_status"}
    assert run.status == {"hardbounce": {"nothing": 1}}


def test_outcomes_are_paired_by_any_of_their_addresses(tmp_path: Path) -> None:
    """Two recipients in another order, one known by its final address."""
    expected = [{**EXPECTED}, {"recipient": "ola@example.com", "status": ["deferred"]}]
    answers = [outcome(recipient="ola@example.com", status="deferred"), outcome(final_recipient="jan@example.com")]
    assert judged(tmp_path, label(outcomes=expected), *answers).mistakes == {}


def test_a_recipient_too_many_is_a_mistake_and_its_harm_counts(tmp_path: Path) -> None:
    """A hard bounce of somebody else is allowed by no label."""
    expected = [{**EXPECTED, "status": ["softbounce"]}]
    run = judged(tmp_path, label(outcomes=expected), outcome(status="softbounce"), outcome(recipient="x@example.com"))
    assert wrong(run) == {"recipients", "unharmed"}
    assert run.cost == 20


def test_mail_that_reports_nothing_must_not_suppress(tmp_path: Path) -> None:
    """A false complaint is the dearest mistake, a false deferral a small one, a notice none."""
    quiet = label(kind=["autoreply"], outcomes=[])
    assert judged(tmp_path, quiet, outcome(status="complaint"), kind="feedback").cost == 20
    assert judged(tmp_path, quiet, outcome(status="deferred")).cost == 1
    run = judged(tmp_path, quiet, outcome(status="notice"), kind="autoreply")
    assert (run.cost, run.mistakes) == (0, {})


@pytest.mark.parametrize(
    ("wanted", "got", "cost"),
    [
        (["softbounce"], "hardbounce", 20),
        (["softbounce"], "complaint", 20),
        (["complaint"], "unsubscribe", 10),
        (["complaint"], None, 5),
        (["unsubscribe"], "notice", 5),
        (["hardbounce"], "softbounce", 1),
        (["spambounce", "softbounce"], "softbounce", 0),
        ([], None, 0),
    ],
)
def test_what_a_wrong_status_costs(wanted: list[str], got: str | None, cost: int) -> None:
    assert find_cost(wanted, got) == cost


def test_matrices_have_right_answers_on_their_diagonal(tmp_path: Path) -> None:
    """An answer that is one of several right ones stands for itself."""
    several = label(outcomes=[{**EXPECTED, "status": ["softbounce", "hardbounce"], "reason": ["a", "b"]}])
    run = judged(tmp_path, several, outcome(reason="c"))
    assert run.status == {"hardbounce": {"hardbounce": 1}}
    assert run.reason == {"a | b": {"c": 1}}


@pytest.mark.parametrize("line", ["{", "[]", '{"kind": ["delivery"]}'])
def test_a_label_that_cannot_be_read_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/labels.jsonl").write_text(json.dumps(label()) + "\n" + line + "\n")
    with pytest.raises(InputError, match=r"labels\.jsonl:2"):
        read_labels(tmp_path)


def test_a_folder_without_labels_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels"):
        read_labels(tmp_path)


def test_two_runs_differ_in_what_was_mended_and_what_broke(tmp_path: Path) -> None:
    """Another wrong answer to the same question is no change."""
    before = judged(tmp_path, label(), outcome(status="softbounce", reason="x"))
    after = judged(tmp_path, label(), outcome(enhanced_status=None, reason="y"))
    changes = compare(before, after)
    assert [change.mistake.field for change in changes.mended] == ["status"]
    assert [change.mistake.field for change in changes.broken] == ["enhanced_status"]


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three bounces with right labels but for the last one; the second is an mbox."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("BOUNCEPARSE_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "samples"
    (folder / "a/mails").mkdir(parents=True)
    rows = []
    for number in (1, 2, 3):
        mail = dsn(number)
        if number == 2:
            line = b"From MAILER-DAEMON Fri Jan  2 10:00:00 2026\n"
            mail = line + mail + b"\n" + line + dsn(9)
        (folder / f"a/mails/{number}.eml").write_bytes(mail)
        expected = {
            "recipient": f"user{number}@example.pl",
            "status": ["hardbounce"] if number < 3 else ["softbounce"],
            "reason": ["user-unknown"],
        }
        rows.append(label(file=f"a/mails/{number}.eml", outcomes=[expected], message_id=[f"{number}@shop.example"]))
    (folder / "a/labels.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ("evaluate", *arguments), prog_name="bounceparse")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_the_command_reads_and_judges(samples: Path, jobs: str) -> None:
    """Accuracy, matrix, harm and mistakes by file; of an mbox the first message counts."""
    result = run("--json", "--jobs", jobs, "samples")
    found = json.loads(result.stdout)
    assert (found["mails"], found["right"]["recipients"], found["right"]["status"]) == (3, 3, 2)
    assert found["status"] == {"hardbounce": {"hardbounce": 2}, "softbounce": {"hardbounce": 1}}
    assert found["cost"] == 20
    assert {mistake["field"] for mistake in found["mistakes"]["a/mails/3.eml"]} == {"status", "unharmed"}


def test_a_run_is_kept_and_compared(samples: Path) -> None:
    """Against a kept run the present one, and two kept ones."""
    assert run("--save", "before.json", "samples").exit_code == 0
    listing = samples / "a/labels.jsonl"
    listing.write_text(listing.read_text().replace('"softbounce"', '"hardbounce"'))
    result = run("--compare", "before.json", "--save", "after.json", "samples")
    assert "mended: 2" in result.stdout
    assert "broken: 0" in result.stdout
    assert "harm: 0 points over 3 mails (before: 20 over 3)" in result.stdout
    found = json.loads(run("--json", "--compare", "after.json", "before.json").stdout)
    assert [change["field"] for change in found["broken"]] == ["unharmed", "status"]
    assert load_run(samples.parent / "after.json").mistakes == {}


def test_people_see_figures_matrix_and_the_dearest_mistakes_first(samples: Path) -> None:
    result = run("samples")
    assert result.exit_code == 0
    assert "softbounce           1" in result.stdout
    assert "a/mails/3.eml: status: softbounce, answered hardbounce (20 points)" in result.stdout.split("mistakes: 2")[1]


def test_what_is_no_run_is_refused(samples: Path) -> None:
    Path("x.json").write_text("{}")
    result = run("--compare", "x.json", "samples")
    assert result.exit_code == 1
    assert "x.json: is no run that --save wrote" in result.stderr


def test_a_mail_that_is_missing_is_told_and_counts_as_wrong(samples: Path) -> None:
    (samples / "a/mails/1.eml").unlink()
    result = run("--json", "samples")
    assert "1.eml: cannot be read" in result.stderr
    assert json.loads(result.stdout)["right"]["survived"] == 2

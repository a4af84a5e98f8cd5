"""One message -> :class:`Explanation`: how it was read and why each outcome is what it is.

It looks at everything that :func:`bounceparse.parse` and :func:`bounceparse.classify` pass over once they have an answer,
and costs accordingly; nothing else calls it. Like the core it answers for any bytes. The Received fields are read by
mail-parser, from values that were cut before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from bounceparse.classify import classify, refusal_as_delivery
from bounceparse.clues import Clues, find_originals, ladder, message_key
from bounceparse.codes import Action
from bounceparse.decoding import collapse, decode_bytes
from bounceparse.diagnosis import UNDEFINED, Candidate, trace
from bounceparse.dialects import claims
from bounceparse.mime import Entity, Mail
from bounceparse.outcomes import REASONS, Outcome, Status
from bounceparse.parse import read_report
from bounceparse.reports import (
    DeliveryReport,
    DispositionReport,
    FeedbackReport,
    OriginalMessage,
    RecipientReport,
    Report,
)
from bounceparse.rules import Rule, RuleSet, packaged_rules

_MOST_HOPS = 50
_HOP_CAP = 1000  # characters of a Received field that are looked at
_CONTEXT = 60  # characters shown on each side of the span that decided
_MOST_NAMES = 300  # of header fields: each is looked for in the whole header


class Part(NamedTuple):
    """One part of the message; ``depth`` is 0 for the message itself, ``size`` its bytes as they stand."""

    depth: int
    content_type: str
    size: int
    encoding: str
    charset: str | None
    name: str | None


class Hop(NamedTuple):
    """One Received field, the first hop first; ``delay`` is in seconds since the hop before, None where not told."""

    sender: str | None
    receiver: str | None
    protocol: str | None
    at: str | None
    delay: float | None


class Lost(NamedTuple):
    """A candidate that did not decide, and why."""

    candidate: Candidate
    why: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Why an outcome is what it is.

    Attributes:
        outcome: what :func:`bounceparse.classify` answers.
        rule, line: the rule that decided and where it stands in its file; None for verdicts of a format.
        source: what the rule matched (``the server's words``, ``the Status field``, ...).
        context: the text around the deciding span, white space collapsed: before it, the span, after it.
        steps: how the status follows, a sentence each.
        lost: what else would have matched; the same rule in another place is left out.
        clues: what leads back to the sent message.
    """

    outcome: Outcome
    rule: Rule | None
    line: int | None
    source: str | None
    context: tuple[str, str, str]
    steps: tuple[str, ...]
    lost: tuple[Lost, ...]
    clues: Clues


@dataclass(frozen=True, slots=True)
class Explanation:
    """How a message was read.

    Attributes:
        report: what :func:`bounceparse.parse` answers.
        claims: the dialects that would read it, in their order.
        parts: its parts, each before those inside it.
        hops, original_hops: the way of the report to us, and of the returned message before that.
        reasonings: one an outcome.
    """

    report: Report
    claims: tuple[str, ...]
    parts: tuple[Part, ...]
    hops: tuple[Hop, ...]
    original_hops: tuple[Hop, ...]
    reasonings: tuple[Reasoning, ...]

    def to_json(self) -> dict[str, Any]:
        """The object of ``explain --json``."""
        return {
            "kind": self.report.kind,
            "dialect": self.report.dialect,
            "claims": self.claims,
            "defects": self.report.defects,
            "parts": [part._asdict() for part in self.parts],
            "hops": [hop._asdict() for hop in self.hops],
            "original_hops": [hop._asdict() for hop in self.original_hops],
            "outcomes": [_reasoning_json(reasoning) for reasoning in self.reasonings],
        }


def explain(raw: bytes, rules: RuleSet | None = None) -> Explanation:
    """Read one message and tell how; ``rules`` are the packaged ones unless given."""
    if rules is None:
        rules = packaged_rules()
    report = read_report(Mail(raw, own_header=rules.own_header))
    mail = Mail(raw)  # another one: looking at all parts may note defects that reading did not meet
    originals = find_originals(report)
    reasonings = []
    for outcome, subject in zip(classify(report, rules), _subjects(report), strict=True):
        original = originals.get(outcome.message_id)
        reasonings.append(_reason(mail, outcome, subject, _clues(outcome, original), rules))
    return Explanation(
        report,
        tuple(claims(Mail(raw))),
        tuple(_parts(mail)),
        find_hops(mail),
        _original_hops(mail),
        tuple(reasonings),
    )


def _subjects(report: Report) -> Iterator[tuple[RecipientReport, DeliveryReport] | None]:
    """What each outcome of ``classify`` was judged by, in its order; None for what is no matter of rules."""
    for item in report.items:
        if isinstance(item, DispositionReport) and item.refusal:
            item = refusal_as_delivery(item)
        if isinstance(item, DeliveryReport):
            yield from ((recipient, item) for recipient in item.recipients or (RecipientReport(),))
        elif isinstance(item, FeedbackReport):
            yield from (None for _ in item.recipients or (None,))
        else:
            yield None


def _clues(outcome: Outcome, original: OriginalMessage | None) -> Clues:
    """What leads back to the sent message, the sender's own header among it."""
    return ladder(
        message_key(outcome.message_id),
        original.message_id_from if original else None,
        outcome.envelope_id,
        (outcome.original_recipient, outcome.recipient, outcome.final_recipient),
        original.own_id if original else None,
    )


def _reason(
    mail: Mail, outcome: Outcome, subject: tuple[RecipientReport, DeliveryReport] | None, clues: Clues, rules: RuleSet
) -> Reasoning:
    evidence = outcome.evidence
    candidates = trace(*subject, rules) if subject else []
    winner = next((one for one in candidates if _decided(one, outcome)), None)
    return Reasoning(
        outcome,
        winner.rule if winner else None,
        find_line(winner.rule) if winner else None,
        winner.source if winner else None,
        _context(mail, evidence.part, evidence.matched),
        tuple(_steps(outcome, winner.rule if winner else None)),
        tuple(
            Lost(one, _why_lost(one, winner, candidates))
            for one in candidates
            if winner is None or one.rule is not winner.rule
        ),
        clues,
    )


def _decided(candidate: Candidate, outcome: Outcome) -> bool:
    evidence = outcome.evidence
    if candidate.unmet is not None or (candidate.rule.id, candidate.part) != (evidence.rule, evidence.part):
        return False
    return collapse(candidate.matched).startswith(collapse(evidence.matched))  # it may be quoted in part only


def _why_lost(candidate: Candidate, winner: Candidate | None, candidates: list[Candidate]) -> str:
    if candidate.unmet is not None:
        return candidate.unmet
    first = next(one for one in candidates if one.unmet is None and one.source == candidate.source)
    if first is not candidate:
        return f"{first.rule.id} stands before it in the order of the rules"
    if candidate.rule.reason == UNDEFINED:
        return "gives no reason, and something else does"
    if winner is None:
        return "the Action says that nothing failed"
    return f"{winner.source} were asked before" if winner.source.endswith("s") else f"{winner.source} was asked before"


def _steps(outcome: Outcome, rule: Rule | None) -> Iterator[str]:
    """How the status follows from reason, Action and codes."""
    usual = REASONS[outcome.reason].status
    if rule and rule.reason != outcome.reason and usual not in (Status.OK,):
        yield f"rule {rule.id} says {rule.reason}; what stands beside it in the report makes that {outcome.reason}"
    if outcome.action is Action.DELAYED and outcome.status is Status.DEFERRED:
        yield "Action says delayed: deferred, whatever the reason"
    elif outcome.status is Status.DEFERRED:
        yield "the text says that delivery is still being tried: deferred, whatever the reason"
    elif outcome.status is Status.OK:
        yield f"{'Action' if outcome.action else 'Status'} says that it went well: ok"
    elif rule and rule.status is not None and rule.status is outcome.status:
        yield f"rule {rule.id} gives {outcome.status} itself"
    elif usual is Status.HARDBOUNCE and outcome.status is Status.SOFTBOUNCE:
        yield f"{outcome.reason} is a {usual}, but the codes say that it is a passing failure: {outcome.status}"
    elif outcome.status is usual:
        yield f"{outcome.reason} is always a {usual}"
    else:
        yield f"the text says that the server gave up: {outcome.status}"


def find_line(rule: Rule) -> int | None:
    """The line of the rule's file on which its id stands; None when the file can no longer be read."""
    try:
        text = Path(rule.file).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(rf"^[ \t]*id[ \t]*=[ \t]*[\"']{re.escape(rule.id)}[\"']", text, re.MULTILINE)
    return text.count("\n", 0, found.start()) + 1 if found else None


def texts_of(mail: Mail, part: str, deeper: int = 4) -> Iterator[str]:
    """The decoded, white-space-collapsed texts that ``Evidence.part`` may mean: the mail's own, then those of messages in it.

    A report that somebody forwarded stands in such a message, ``deeper`` ones inside each other at most.
    """
    yield from _own_texts(mail, part)
    for entity in mail.walk():
        if deeper and entity.content_type == "message/rfc822" and (inner := entity.children):
            within = Mail(inner[0].buffer[inner[0].start : inner[0].end], mail.limits)
            yield from texts_of(within, part, deeper - 1)


def _own_texts(mail: Mail, part: str) -> Iterator[str]:
    if part == "subject":
        yield mail.get("subject") or ""
    elif part == "headers":
        text = mail.header_text()
        yield collapse(text)
        lines = (line for line in text.split("\n") if line[:1] not in (" ", "\t"))
        for name in islice(dict.fromkeys(line.partition(":")[0].lower() for line in lines), _MOST_NAMES):
            yield from mail.get_all(name)
            yield mail.line(name) or ""
    elif part == "text":
        yield collapse(mail.readable)
        for entity in mail.walk():  # a status part under another type
            if entity.content_type.startswith(("text/", "application/octet")):
                yield collapse(entity.decode(entity.payload(mail.limits.text)))
    else:
        entities = tuple(mail.walk(into_messages=True))
        typed = [entity for entity in entities if entity.content_type.endswith(part)]
        for entity in (*typed, *entities):  # a part of a wrong type says what it is by its fields
            text = decode_bytes(entity.payload(4 * mail.limits.text), entity.params.get("charset", ""))
            yield collapse(text.replace("\0", ""))


def _context(mail: Mail, part: str, matched: str) -> tuple[str, str, str]:
    for text in texts_of(mail, part):
        at = text.find(matched)
        if at >= 0:
            end = at + len(matched)
            return text[max(0, at - _CONTEXT) : at], matched, text[end : end + _CONTEXT]
    return "", matched, ""


def _parts(mail: Mail) -> Iterator[Part]:
    for entity in mail.walk(into_messages=True):
        params = entity.params
        name = params.get("name") or None
        if name is None and (disposition := entity.get("content-disposition")):
            found = re.search(r"filename\*?=\"?([^\";]{1,200})", disposition, re.IGNORECASE)
            name = found[1] if found else None
        yield Part(
            entity.depth,
            entity.content_type,
            entity.end - entity.start,
            entity.encoding,
            params.get("charset"),
            name,
        )


def find_hops(entity: Entity) -> tuple[Hop, ...]:
    """The Received fields of a header (RFC 5321 section 4.4), the first hop first; at most 50, the latest."""
    values = [value[:_HOP_CAP] for value in entity.get_all("received", _MOST_HOPS)]
    if not values:
        return ()
    from datetime import datetime

    try:
        from mailparser import parse_from_string

        read = parse_from_string("".join(f"Received: {value}\n" for value in values) + "\n").received
    except Exception:  # not installed, or stumbled over what a stranger wrote: the words themselves remain
        return tuple(Hop(value, None, None, None, None) for value in reversed(values))
    hops: list[Hop] = []
    before: datetime | None = None
    for row in read:
        at = datetime.fromisoformat(row["date_utc"]) if row.get("date_utc") else None
        delay = (at - before).total_seconds() if at and before else None
        hops.append(Hop(row.get("from") or row.get("raw"), row.get("by"), row.get("with"), row.get("date_utc"), delay))
        before = at or before
    return tuple(hops)


def _original_hops(mail: Mail) -> tuple[Hop, ...]:
    """The way of the returned message, where its header came back as a part."""
    for entity in mail.walk(into_messages=True):
        if entity.content_type in ("message/rfc822", "message/global") and entity.children:
            return find_hops(entity.children[0])
        if entity.content_type in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
            return find_hops(Mail(entity.payload(mail.limits.header)))
    return ()


def _reasoning_json(reasoning: Reasoning) -> dict[str, Any]:
    return {
        **reasoning.outcome.to_json(),
        "rule": _rule_json(reasoning.rule, reasoning.line) if reasoning.rule else None,
        "source": reasoning.source,
        "context": reasoning.context,
        "steps": reasoning.steps,
        "lost": [
            {
                **_rule_json(one.rule, find_line(one.rule)),
                "source": one.source,
                "part": one.part,
                "matched": one.matched,
                "why": why,
            }
            for one, why in reasoning.lost
        ],
        "clues": [clue._asdict() for clue in reasoning.clues.ladder],
    }


def _rule_json(rule: Rule, line: int | None) -> dict[str, Any]:
    return {"rule": rule.id, "file": rule.file, "line": line, "reason": rule.reason}

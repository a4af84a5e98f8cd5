"""What a delivery report says of one recipient -> :class:`Diagnosis`: the reason, what decided it, and the codes as written.

The order of evidence: the words of the server that refused (a provider's text, its codes, other text), the enhanced code
in them, the words around them, what the human-readable part says near the address, the reply code, the phase, the
Status field. Codes are reported as written, the server's own before the Status field.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import NamedTuple

from bounceparse.codes import Action, Phase
from bounceparse.decoding import collapse
from bounceparse.outcomes import ASSUMED, REASONS, Status
from bounceparse.replies import Reply, mask, read_reply
from bounceparse.reports import DeliveryReport, RecipientReport
from bounceparse.rules import Hit, Rule, RuleSet, find_unmet
from bounceparse.transcript import find_phase, find_reply_lines, paragraph_of

UNDEFINED = "undefined"
_new = tuple.__new__
_FAILED, _DELAYED = Action.FAILED, Action.DELAYED
_NO_REPLY = read_reply("")
_MOST_COMPARED = 20_000_000  # characters: a text that tells of thousands is not gone through for each


class Diagnosis(NamedTuple):
    """Why a recipient failed.

    Attributes:
        reason: a slug of :data:`bounceparse.outcomes.REASONS`.
        rule: the rule that decided, None where nothing did.
        part, matched: where the deciding words stand, and the words as spelled there.
        code, enhanced: as written; ``diagnostic``: the words of the server, capped.
        temporary: whether the codes say that the failure was a passing one.
        by_text: whether words decided, not a code.
    """

    reason: str
    rule: Rule | None
    part: str
    matched: str
    code: int | None
    enhanced: str | None
    diagnostic: str | None
    phase: Phase | None
    host: str | None
    provider: str | None
    temporary: bool
    by_text: bool


class _Finding(NamedTuple):
    rule: Rule
    part: str
    matched: str
    by_text: bool = False
    enhanced: str | None = None


def diagnose(recipient: RecipientReport, report: DeliveryReport, rules: RuleSet) -> Diagnosis:
    """Judge what ``report`` says of ``recipient``."""
    text = report.text
    alone = len(report.recipients) <= 1
    words, part = _words_of(recipient, text)
    reply = _read(words, recipient)
    code, enhanced = reply.code, reply.enhanced
    host = _host_of(recipient)
    phase = recipient.phase or find_phase(recipient, text, alone)
    finding: _Finding | None = None
    if tells_success(recipient):
        provider = rules.provider_of(host)
    else:
        hit, provider = rules.match_words(reply.words, code, enhanced, host, phase)
        finding = _of_hit(hit, reply, part) if hit else None
        if finding is None or finding.rule.reason == UNDEFINED:
            finding = _find_weaker(recipient, report, rules, reply, part, phase, alone, finding)
    status = recipient.status
    written = enhanced or status
    if finding is None:
        rule, reason, by_text = None, UNDEFINED, False
        part, matched = _anything(recipient, report, words, part)
    else:
        rule, part, matched, by_text, further = finding
        reason = rule.reason
        if further and not enhanced and (written or ".0.0").endswith(".0.0"):
            written = further
    if part == "text" and len(text) * len(report.recipients) < _MOST_COMPARED and matched not in text:
        matched = _verbatim(matched, text)
    diagnostic = reply.text.replace(" <<< ", " ") or None
    temporary = code < 500 if code and code > 399 else (enhanced or status or "5").startswith("4")
    return Diagnosis(reason, rule, part, matched, code, written, diagnostic, phase, host, provider, temporary, by_text)


def _verbatim(matched: str, text: str) -> str:
    """``matched``, white space collapsed, as far as it stands in ``text``: a reader may put words of two places together.

    Unchanged where not even its first word stands there.
    """
    matched, said = collapse(matched), collapse(text)
    ends = [at for at, char in enumerate(matched) if char == " "] + [len(matched)]
    kept = bisect_left(ends, True, key=lambda end: matched[:end] not in said)
    return matched[: ends[kept - 1]] if kept else matched


def tells_success(recipient: RecipientReport) -> bool:
    """Whether the message reached ``recipient`` or was passed on: no rule about failures is asked then."""
    action = recipient.action
    if action is None:
        return (recipient.status or "").startswith("2.")
    return action is not _FAILED and action is not _DELAYED


def _words_of(recipient: RecipientReport, text: str) -> tuple[str, str]:
    """The words to judge and the part they stand in."""
    words = recipient.diagnostic
    if not words:
        return recipient.text or paragraph_of(recipient, text) or "", "text"
    if words[3:4] == "-" and "\n<<< " in text:  # Sendmail gives the first line of a reply only
        lines = find_reply_lines(words, text)
        if lines:
            return lines, "text"
    return words, recipient.part


def _read(words: str, recipient: RecipientReport) -> Reply:
    """The reply in ``words``, the recipient's domain masked as addresses are."""
    if not words:
        return _NO_REPLY
    reply = read_reply(words)
    domain = (recipient.recipient or "").rpartition("@")[2].lower()
    if len(domain) > 3 and domain.isascii() and domain in reply.around:
        masked = mask(domain)
        reply.words, reply.around = reply.words.replace(domain, masked), reply.around.replace(domain, masked)
    return reply


def _host_of(recipient: RecipientReport) -> str | None:
    """The host whose words these are; where none is named, the recipient's domain speaks through its exchangers."""
    if recipient.remote_mta:
        return recipient.remote_mta.lower().rstrip(".")
    if recipient.recipient and recipient.diagnostic_type in (None, "smtp"):
        return recipient.recipient.rpartition("@")[2] or None
    return None


def _find_weaker(
    recipient: RecipientReport,
    report: DeliveryReport,
    rules: RuleSet,
    reply: Reply,
    part: str,
    phase: Phase | None,
    alone: bool,
    weak: _Finding | None,
) -> _Finding | None:
    """The first finding in the order of evidence where the server's words decided nothing, or no more than ``weak``."""
    if recipient.diagnostic_type == "x-unix" and recipient.diagnostic and recipient.diagnostic.isdigit():
        rule = rules.match_exit(int(recipient.diagnostic[:6]))
        if rule:
            return _Finding(rule, part, recipient.diagnostic)
    if reply.enhanced:
        rule = rules.match_enhanced(reply.enhanced, code=reply.code, phase=phase)
        if rule and rule.reason != UNDEFINED:
            return _Finding(rule, part, reply.enhanced)
    by_status = _find_by_status(recipient, rules, reply)
    told = by_status is not None and by_status.rule.reason not in (UNDEFINED, "expired") and not reply.text
    return (
        _find_around(recipient, report, rules, reply, part)
        or (by_status if told else None)
        or (_find_in(collapse(report.text[:4096]), rules) if alone else None)
        or _find_by_code(rules, reply, part, phase)
        or weak
        or by_status
    )


def _of_hit(hit: Hit, reply: Reply, part: str) -> _Finding:
    if hit.end > hit.begin:
        return _Finding(hit.rule, part, reply.spelled(hit.begin, hit.end), True)
    return _Finding(hit.rule, part, reply.enhanced or str(reply.code or ""))


def _find_around(
    recipient: RecipientReport, report: DeliveryReport, rules: RuleSet, reply: Reply, part: str
) -> _Finding | None:
    """What stands around the reply: in the diagnostic, then in the human-readable part near the address."""
    if len(reply.around) > len(reply.words):
        hit, _ = rules.match_words(reply.around)
        if hit and hit.end:
            return _Finding(hit.rule, part, reply.spelled(hit.begin, hit.end, around=True), True)
    if not recipient.diagnostic:
        return None
    return _find_in(recipient.text, rules) or _find_in(paragraph_of(recipient, report.text), rules)


def _find_in(text: str | None, rules: RuleSet) -> _Finding | None:
    """What the words of a text decide."""
    if not text:
        return None
    said = read_reply(text)
    hit, _ = rules.match_words(said.words, said.code, said.enhanced)
    return (
        _Finding(hit.rule, "text", said.spelled(hit.begin, hit.end), True, said.enhanced) if hit and hit.end else None
    )


def _find_by_code(rules: RuleSet, reply: Reply, part: str, phase: Phase | None) -> _Finding | None:
    rule = rules.match_code(reply.code, phase=phase) if reply.code else None
    if rule:
        return _Finding(rule, part, str(reply.code))
    rule = rules.match_phase(phase) if phase else None
    return _Finding(rule, part, reply.text[:200]) if rule and reply.text else None


def _find_by_status(recipient: RecipientReport, rules: RuleSet, reply: Reply) -> _Finding | None:
    """The Status field; a code that the reporting system derived never proves that an address is dead."""
    if not recipient.status:
        return None
    rule = rules.match_enhanced(recipient.status, code=reply.code)
    if rule is None or (recipient.derived_status and REASONS[rule.reason].status is Status.HARDBOUNCE):
        return None
    return _Finding(rule, "delivery-status", recipient.status)


def _anything(recipient: RecipientReport, report: DeliveryReport, words: str, part: str) -> tuple[str, str]:
    """Part and words that a verdict without a rule rests on: the Status, the server's words, the address, the text."""
    if recipient.status:
        return "delivery-status", recipient.status
    if words:
        return part, collapse(words[:200])
    if recipient.recipient and recipient.recipient in report.text:
        return "text", recipient.recipient
    if said := collapse(report.text[:200]):
        return "text", said
    return ASSUMED, str(recipient.action or "none")


class Candidate(NamedTuple):
    """A rule that matches something that is said of a recipient.

    Attributes:
        source: what it matches; the order of evidence is the order of :func:`trace`.
        rule, part, matched: as in :class:`Diagnosis`.
        unmet: why it may not decide by this, None where it may.
    """

    source: str
    rule: Rule
    part: str
    matched: str
    unmet: str | None = None


def trace(recipient: RecipientReport, report: DeliveryReport, rules: RuleSet) -> list[Candidate]:
    """Every rule that matches anything said of ``recipient``, in the order in which :func:`diagnose` asks.

    For explanations: it looks at everything, where a diagnosis stops at the first answer.
    """
    alone = len(report.recipients) == 1
    words, part = _words_of(recipient, report.text)
    reply = _read(words, recipient)
    host = _host_of(recipient)
    phase = recipient.phase or find_phase(recipient, report.text, alone)
    by_status = _trace_status(recipient, rules, reply)
    told = [one for one in by_status if not reply.text and one.rule.reason not in (UNDEFINED, "expired")]
    found = _trace_words(rules, reply, part, host, phase)
    found += _trace_codes(recipient, rules, reply, part, phase)
    if len(reply.around) > len(reply.words):
        for hit in rules.all_matches(reply.around):
            matched = reply.spelled(hit.begin, hit.end, around=True)
            unmet = find_unmet(hit.rule, None, None, None, None)
            found.append(Candidate("words around the reply", hit.rule, part, matched, unmet))
    if recipient.diagnostic:
        for text in (recipient.text, paragraph_of(recipient, report.text)):
            found += _trace_text("text near the address", text, rules)
    found += told
    if alone:
        found += _trace_text("the whole text", collapse(report.text[:4096]), rules)
    if reply.code and (rule := rules.match_code(reply.code, phase=phase)):
        found.append(Candidate("the reply code", rule, part, str(reply.code)))
    if phase and reply.text and (rule := rules.match_phase(phase)):
        found.append(Candidate("the phase", rule, part, reply.text[:200]))
    found += by_status
    unique: dict[tuple[str, str, str, str | None], Candidate] = {}
    for one in found:
        unique.setdefault((one.rule.id, one.part, one.matched, one.unmet), one)
    return list(unique.values())


def _trace_words(rules: RuleSet, reply: Reply, part: str, host: str | None, phase: Phase | None) -> list[Candidate]:
    """A provider's text, a provider's code, other text: what the server's words match."""
    _, provider = rules.match_words(reply.words, reply.code, reply.enhanced, host, phase)
    found = [
        Candidate(
            "the server's words",
            hit.rule,
            part,
            reply.spelled(hit.begin, hit.end),
            find_unmet(hit.rule, reply.code, reply.enhanced, host, phase),
        )
        for hit in rules.all_matches(reply.words)
    ]
    rule = rules.match_provider(provider, code=reply.code, enhanced=reply.enhanced, phase=phase) if provider else None
    if rule:
        by_code = Candidate(f"a code of {provider}", rule, part, reply.enhanced or str(reply.code))
        found.insert(sum(one.rule.tier == 0 for one in found), by_code)
    return found


def _trace_codes(
    recipient: RecipientReport, rules: RuleSet, reply: Reply, part: str, phase: Phase | None
) -> list[Candidate]:
    """The exit status of a local delivery agent, the enhanced code in the server's words."""
    found = []
    if recipient.diagnostic_type == "x-unix" and recipient.diagnostic and recipient.diagnostic.isdigit():
        rule = rules.match_exit(int(recipient.diagnostic[:6]))
        if rule:
            found.append(Candidate("the exit status", rule, part, recipient.diagnostic))
    if reply.enhanced and (rule := rules.match_enhanced(reply.enhanced, code=reply.code, phase=phase)):
        found.append(Candidate("the enhanced code", rule, part, reply.enhanced))
    return found


def _trace_text(source: str, text: str | None, rules: RuleSet) -> list[Candidate]:
    if not text:
        return []
    said = read_reply(text)
    return [
        Candidate(
            source,
            hit.rule,
            "text",
            said.spelled(hit.begin, hit.end),
            find_unmet(hit.rule, said.code, said.enhanced, None, None),
        )
        for hit in rules.all_matches(said.words)
    ]


def _trace_status(recipient: RecipientReport, rules: RuleSet, reply: Reply) -> list[Candidate]:
    rule = rules.match_enhanced(recipient.status, code=reply.code) if recipient.status else None
    if rule is None or recipient.status is None:
        return []
    trusted = _find_by_status(recipient, rules, reply) is not None
    unmet = None if trusted else "the reporting system made this code up: it never proves that an address is dead"
    return [Candidate("the Status field", rule, "delivery-status", recipient.status, unmet)]

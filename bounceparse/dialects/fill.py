"""A standard report whose status part says too little, completed from its human-readable part.

OpenSMTPD writes no Diagnostic-Code, Exim's delay warnings and the SMTP service of Windows none either, Sendmail only the
first line of a reply that its transcript holds whole. Nothing here changes what the status part does say.
"""

from __future__ import annotations

import re

from bounceparse.addresses import place_of
from bounceparse.codes import Phase
from bounceparse.decoding import collapse
from bounceparse.dialects.engine import find_phase, find_remote
from bounceparse.dialects.exchange import LAYOUTS as EXCHANGE
from bounceparse.dialects.labels import LAYOUTS as LABELS
from bounceparse.dialects.prose import Prose, Wording
from bounceparse.dialects.transcripts import has_transcript, read_sendmail
from bounceparse.lazy import pattern, replace
from bounceparse.reports import DeliveryReport, RecipientReport

_TELLING = (*EXCHANGE, LABELS[0])
_HINTS = Wording("|".join(sorted({re.escape(hint) for layout in _TELLING for hint in layout.hints})))
_WORD = pattern(r"[^\W\d_]{2,}")
_CAP = 2048
_REGION = 65_536  # characters behind an address that may be about it
# Paragraphs that stand in many reports and say nothing of the cause
_IDLE = pattern(
    r"\s*(?:hi!$|this is (?:an automatically generated|the mailer-daemon|the mail system)|this (?:message|report) (?:was created|relates)|\*\*|delivery to the following recipients failed"
    r"|your message\s*$|for further|if you do so|please note|no action is|below is|-{2,} ?original|note:|\[?https?://|__|an error has occurred while attempting|mime-version|content-type|(?:final|original)-recipient|action:|reporting-mta)",
    re.IGNORECASE,
)


def is_contentless(diagnostic: str | None) -> bool:
    """Whether a diagnostic holds codes only, or next to nothing."""
    if diagnostic is None:
        return True
    return not _holds_words(diagnostic, 400)


def _holds_words(text: str, most: int = _CAP) -> bool:
    """Whether there are two words in the first ``most`` characters."""
    first = _WORD.search(text, 0, most)
    return first is not None and _WORD.search(text, first.end(), most) is not None


def fill_report(prose: Prose, report: DeliveryReport) -> DeliveryReport:
    """``report`` with ``text``, and where there was none ``diagnostic``, for the recipients that the text tells more about."""
    told = _told(prose)
    alone = len(report.recipients) == 1
    lower = prose.said.lower()
    recipients = tuple([_filled(entry, prose.said, lower, told, alone) for entry in report.recipients])
    return DeliveryReport(
        recipients, report.original, report.reporting_mta, report.envelope_id, report.arrival_date, report.text
    )


def _filled(
    entry: RecipientReport, said: str, lower: str, told: dict[str, RecipientReport], alone: bool
) -> RecipientReport:
    more = None
    if told:
        more = told.get((entry.final_recipient or "").lower()) or told.get((entry.recipient or "").lower())
        if more is None and alone and len(told) == 1:
            more = next(iter(told.values()))
    if more is not None and (more.diagnostic or not is_contentless(entry.diagnostic)):
        return _completed(
            entry, more.diagnostic, more.phase, more.remote_mta, None if entry.recipient else more.recipient
        )
    words = _words_about(said, lower, entry, alone) if is_contentless(entry.diagnostic) else None
    phase, remote = (find_phase(words), find_remote(words)) if words else (None, None)
    return _completed(entry, words, phase, remote, more.recipient if more and entry.recipient is None else None)


def _completed(
    entry: RecipientReport, words: str | None, phase: Phase | None, remote: str | None, address: str | None
) -> RecipientReport:
    if address:
        entry = replace(entry, recipient=address)
    if not words or (entry.diagnostic and not _tells_more(words, entry.diagnostic)):
        return entry
    if entry.diagnostic is None:
        return replace(
            entry, diagnostic=words, part="text", phase=entry.phase or phase, remote_mta=entry.remote_mta or remote
        )
    return replace(entry, text=words, phase=entry.phase or phase)


def _tells_more(words: str, diagnostic: str) -> bool:
    """Whether ``words`` hold the whole of a reply whose beginning the diagnostic is, or anything where that is codes only."""
    if len(words) <= len(diagnostic):
        return False
    return is_contentless(diagnostic) or words.startswith(diagnostic[:24])


def _told(prose: Prose) -> dict[str, RecipientReport]:
    """What a transcript or an administrators' block tells, by lower-case address."""
    report = read_sendmail(prose) if has_transcript(prose) else None
    if report is None and _HINTS.is_in(prose.lower):
        report = next((r for layout in _TELLING if layout.hint(prose) and (r := layout.read(prose))), None)
    if report is None:
        return {}
    return {
        name.lower(): entry for entry in report.recipients for name in (entry.recipient, entry.final_recipient) if name
    }


def _words_about(said: str, lower: str, entry: RecipientReport, alone: bool) -> str | None:
    """What stands behind the recipient's address, on its line or below, in running text; None where nothing does.

    ``lower`` is ``said`` in lower case.
    """
    names = dict.fromkeys(name for name in (entry.final_recipient, entry.original_recipient, entry.recipient) if name)
    at, name = min(((at, name) for name in names if (at := place_of(name.lower(), lower)) >= 0), default=(-1, ""))
    if at < 0:
        return None
    line_start = said.rfind("\n", 0, at) + 1
    before = said[line_start:at].strip(" \t<*-'\"[(")
    if before:  # a sentence around the address: its paragraph
        begin = max(said.rfind("\n\n", 0, at), 0)
        end = said.find("\n\n", at)
        paragraph = collapse(said[begin : end if end >= 0 else len(said)])[:_CAP]
        telling = len(_WORD.findall(paragraph.replace(name, ""))) > 3 and not _IDLE.match(paragraph)
        return paragraph if telling else None
    words = _behind(said[at + len(name) : at + len(name) + _REGION], alone)
    if words is None and alone:  # "Unable to deliver message to the following recipients, due to ..."
        above = collapse(said[max(said.rfind("\n\n", 0, max(line_start - 2, 0)), 0) : line_start])
        if re.search(r"due to|because|exceed|\bfull\b|unknown|not exist|could not be", above, re.IGNORECASE):
            words = above[:_CAP]
    return words


# Courier's transcript of what a server answered
_SAID = pattern(r"^ *<<< (.*(?:\n *<<< .*)*)", re.MULTILINE)
_GAP = pattern(r"\n[ \t]*\n")
_FOOTER = pattern(r"^(?:-- ?$|_{8,} ?\w|-{70,}[ \t]*$)", re.MULTILINE)
_NEXT = pattern(r"^[ \t*<\-'\"]{0,12}[^\s<>@]{1,128}@[\w.-]{1,255}[>'\"]{0,2}(?::|[ \t]*$)", re.MULTILINE)


def _behind(text: str, alone: bool) -> str | None:
    """Words behind an address up to the next recipient; of one recipient alone the paragraphs below it as well."""
    following = _NEXT.search(text, text.find("\n") + 1) if "\n" in text and "@" in text else None
    text = text[: following.start()] if following else text
    said = _SAID.search(text) if "<<< " in text else None
    if said:
        return collapse(said[1])[:_CAP]
    if "--" in text or "____" in text:
        text = _FOOTER.split(text, maxsplit=1)[0]
    text = text.lstrip(">'\")]: \t;")
    paragraphs = [p for p in _GAP.split(text[:8192]) if p.strip()]
    if not alone or (text[:1] != "\n" and paragraphs and _holds_words(paragraphs[0], 8192)):
        paragraphs = paragraphs[:1]
    kept = [p for p in paragraphs if not _IDLE.match(p)]
    words = collapse(" ".join(kept))[:_CAP]
    return words if _holds_words(words) or re.match(r"[245]\d\d\b", words) else None

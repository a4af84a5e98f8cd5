"""Mail -> :class:`DeliveryReport`: delivery status notifications, RFC 3464 with RFC 6533.

Declines when no part holds per-recipient fields. The status part is looked for by its media type first; systems that
send its fields as plain text (Amazon WorkMail) or under a wrong type are read too when both a recipient and an Action or
Status field stand at the start of lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from bounceparse.addresses import clean_address
from bounceparse.codes import Action, parse_action, parse_enhanced_status
from bounceparse.decoding import collapse
from bounceparse.headers import ENCODED, Fields, parse_fields, usual_fields
from bounceparse.lazy import pattern, replace
from bounceparse.mime import Entity, Mail, usual_text
from bounceparse.reports import DeliveryReport, OriginalMessage, RecipientReport
from bounceparse.returned import RETURNED_TYPES, clean_message_id, find_in_text, find_returned, read_original

STATUS_TYPES = frozenset(
    ("message/delivery-status", "message/global-delivery-status", "text/delivery-status", "application/delivery-status")
)
_CONTAINERS = ("multipart/report", "multipart/mixed")
_PAIR = pattern(rb"\n(?:original-|final-)recipient[ \t]*:[^\n]*\n(?:[^\n]*\n){0,12}?(?:action|status)[ \t]*:")
_PAIR_REVERSED = pattern(rb"\n(?:action|status)[ \t]*:[^\n]*\n(?:[^\n]*\n){0,12}?(?:original-|final-)recipient[ \t]*:")
_BLANK = pattern(r"\n[ \t]*\n")
_TYPED = pattern(r"\s*([A-Za-z][\w-]{0,30})\s*;\s*", re.ASCII)
# Exchange 2007 and 2010 at the edge: <mx.google.com #5.1.1 smtp;550-5.1.1 ...> in place of Diagnostic-Code
_SUPPLEMENT = pattern(r"<?\s*(?:(\S+)\s+)?#(\S+)\s+(smtp;\s*.*?)>?\s*$", re.DOTALL | re.IGNORECASE)
_RECIPIENT_FIELDS = ("final-recipient", "original-recipient", "x-actual-recipient")
_BLOCK_KEYS = frozenset(("final-recipient", "action", "status"))
_NAMES_RECIPIENT = _BLOCK_KEYS | {"original-recipient"}
# Sendmail derives Status from the reply (550 -> 5.1.1).
_DERIVING = ("fatal errors -----", "ranscript of session follows")
# Haraka makes up the Status of what it could not even try: "5.1.2 (550 Tried all MXs example.com)".
_MADE_UP = pattern(r"\s*[245]\.\d+\.\d+ \([245]\d\d ", re.ASCII)
_DIAGNOSTIC_CAP = 4096
_LARGE = 8_000_000  # bytes of a status part
_USUAL_SIZE = 16_000  # characters of one
# A line of a status part with its folded ones: (name, value); a blank line ("", ""), words that are no field ("", words).
# Possessive throughout: what it took it keeps.
_LINE = pattern(r"\n(?:([A-Za-z][!-9;-~]*+)[ \t]*+:(?!//))?+[ \t]*+([^\n]*+(?:\n[ \t]++[^\s][^\n]*+)*+)", re.ASCII)
_USUAL_CODES = frozenset(f"{c}.{s}.{d}" for c in (2, 4, 5) for s in range(8) for d in range(10))
# Comments that systems put beside any Status of a class or number: RFC 3463's own names, Sun's and others' phrases.
_CODE_NAMES = frozenset(
    (
        "permanent failure",
        "temporary failure",
        "unknown permanent failure",
        "unknown temporary failure",
        "persistent transient failure - routing/network: no answer from host",
        "persistent transient failure",
        "other undefined status",
        "other address status",
        "bad destination mailbox address",
        "bad destination system address",
        "other or undefined mailbox status",
        "mailbox disabled, not accepting messages",
        "other or undefined mail system status",
        "other or undefined network or routing status",
        "other or undefined protocol status",
        "other or undefined security status",
        "remote smtp server has rejected address",
        "lmtp transmission failure has occurred",
        "undefined status",
        "failure",
        "failed",
    )
)


def read_delivery_reports(mail: Mail) -> tuple[DeliveryReport, ...]:
    """Every delivery report that the mail holds outside enclosed messages, in order; empty where there is none."""
    if mail.content_type in _CONTAINERS and (report := _read_usual(mail)):
        return (report,)
    if mail.content_type == "text/plain" and b"ecipient:" not in mail.buffer and mail.encoding not in ENCODED:
        return ()
    parts = mail.children
    if parts is mail.below:  # no container in another: what nearly all reports are
        status = [part for part in parts or (mail,) if part.content_type in STATUS_TYPES]
        if status:
            returned = find_returned(mail)
            return tuple([report for part in status if (report := _read_part(mail, returned, part))])
    return _read_nested(mail)


def _read_usual(mail: Mail) -> DeliveryReport | None:
    """The report of a mail as nearly all systems write it: one text, one status part, what is returned.

    None for any other, and where anything is odd. It looks at each part once and makes nothing of it but what is asked
    for; the readers below answer the same for the same mail.
    """
    parts = mail.usual_parts()
    if parts is None:
        return None
    buffer = mail.buffer
    said = status = -1
    returned: Fields | None = None
    for number, (begin, end, head) in enumerate(parts):
        kind = head.kind
        if kind == "text/plain" or kind is None:
            if said >= 0 or b"attachment" in head.lower:
                return None
            said = number
        elif kind in STATUS_TYPES:
            if status >= 0:
                return None
            status = number
        elif kind in RETURNED_TYPES:
            if returned is None:
                if head.encoding in ENCODED:
                    return None
                returned = usual_fields(buffer, begin, end, mail.reading)
                if returned is None:
                    return None
        elif kind == "text/html" or kind.startswith("multipart/"):
            return None
    if said < 0 or status < 0:
        return None
    prose = usual_text(mail, parts[said])
    text = usual_text(mail, parts[status])
    if prose is None or text is None or prose.isspace():
        return None
    mail.set_readable(prose)
    return _build(mail, returned, text, "delivery-status")


def _read_nested(mail: Mail) -> tuple[DeliveryReport, ...]:
    reports: list[DeliveryReport] = []
    last: Entity | None = None
    returned: Entity | None = None
    for container, part in _status_parts(mail):
        if container is not last:  # many may stand in one
            last, returned = container, find_returned(container)
            if returned is None and container is not mail:
                returned = find_returned(mail)
        report = _read_part(mail, returned, part)
        if report is not None:
            reports.append(report)
    return tuple(reports)


def _status_parts(mail: Mail) -> Iterator[tuple[Entity, Entity]]:
    """Each status part with the multipart that holds it (the part itself where it stands alone)."""
    found = False
    stack: list[tuple[Entity, Entity]] = [(mail, mail)]
    while stack:
        container, entity = stack.pop()
        if entity.content_type in STATUS_TYPES:
            found = True
            yield container, entity
        elif entity.content_type.startswith("multipart/"):
            stack.extend((entity, child) for child in reversed(entity.children))
    if found or mail.has("list-unsubscribe"):  # a newsletter that explains bounces is none
        return
    for entity in mail.walk():  # a status part under another type
        if entity.content_type.startswith(("text/", "application/octet")) and _looks_like_status(entity):
            mail.note("status-part-mistyped")
            yield mail, entity
            return


def _looks_like_status(entity: Entity) -> bool:
    if (
        entity.encoding not in ("quoted-printable", "base64")
        and entity.buffer.find(b"ecipient:", entity.body_at, entity.end) < 0
    ):
        return False
    body = b"\n" + entity.payload(entity.reading.limits.text).lower()
    return bool(_PAIR.search(body) or _PAIR_REVERSED.search(body))


def _read_part(mail: Mail, returned: Entity | None, part: Entity) -> DeliveryReport | None:
    text = part.plain_text() if part.end - part.body_at < _LARGE else None
    if text is None:
        text = part.decode(part.payload(_LARGE))
    where = "delivery-status"
    if part.content_type not in STATUS_TYPES and part.content_type.startswith("text/"):
        text, where = _cut_to_fields(text), "text"
    return _build(mail, returned, text, where)


def _build(mail: Mail, returned: Fields | None, text: str, where: str) -> DeliveryReport | None:
    """The report whose status part has this ``text``."""
    message_fields, blocks = split_blocks(text, mail.limits.recipients + 1)
    prose = mail.readable
    derived = _DERIVING[0] in prose or _DERIVING[1] in prose
    cap = mail.limits.recipients
    if len(blocks) > cap:
        mail.note("too-many-recipients")
    if len(blocks) == 1:
        recipients: tuple[RecipientReport, ...] = (_read_recipient(blocks[0], derived, where),)
    else:
        recipients = _merged((_place(block), _read_recipient(block, derived, where)) for block in blocks[:cap])
        if message_fields.get("reporting-mta", "").startswith("x-local-hostname"):
            recipients = _told_apart(recipients)
    if not recipients and not message_fields:
        mail.note("status-part-empty")
        return None
    for entry in recipients:
        if entry.recipient:
            break
    else:
        recipients = _with_failed_recipients(mail, recipients)
        if not recipients:
            return None
    envelope_id = message_fields.get("original-envelope-id")
    return DeliveryReport(
        recipients,
        _original(mail, returned, message_fields, text),
        _host(message_fields.get("reporting-mta")),
        collapse(envelope_id) or None if envelope_id else None,
        message_fields.get("arrival-date"),
        prose,
    )


def _place(block: dict[str, str]) -> tuple[str | None, str | None]:
    """Where an alias led to: what keeps two members of one alias apart when both stand under its name."""
    actual = block.get("x-actual-recipient") or block.get("final-recipient")
    return clean_address(actual), block.get("remote-mta")


def _merged(recipients: Iterable[tuple[tuple[str | None, str | None], RecipientReport]]) -> tuple[RecipientReport, ...]:
    """One entry a recipient: a loop makes Sendmail name one many times. The final and the more telling one stays."""
    kept: dict[tuple[str | None, ...], RecipientReport] = {}
    for place, entry in recipients:
        key = (entry.recipient, entry.final_recipient, *place)
        before = kept.get(key)
        if before is None or _weight(entry) > _weight(before):
            kept[key] = entry
    return tuple(kept.values())


def _told_apart(recipients: tuple[RecipientReport, ...]) -> tuple[RecipientReport, ...]:
    """nullmailer's entries: it copies the refusal of one recipient to all, those included that were accepted.

    Where the words name a recipient, the others keep no words of that server; where they name none, nobody can tell.
    """
    if len(recipients) < 2 or len({entry.diagnostic for entry in recipients}) > 1:
        return recipients
    words = (recipients[0].diagnostic or "").lower()
    named = {entry.recipient for entry in recipients if entry.recipient and entry.recipient.lower() in words}
    if not named:
        return tuple(replace(entry, shared=True) for entry in recipients)
    return tuple(
        entry if entry.recipient in named else replace(entry, diagnostic=None, status=None) for entry in recipients
    )


def _weight(entry: RecipientReport) -> tuple[bool, bool]:
    return entry.action is Action.FAILED, entry.diagnostic is not None


def _cut_to_fields(text: str) -> str:
    """A text part from its first status field on; what stands above would be read as continuation of nothing."""
    start = re.search(
        r"^(?:reporting-mta|original-recipient|final-recipient|action|status|arrival-date)[ \t]*:", text, re.I | re.M
    )
    return text[start.start() :] if start else text


def split_blocks(text: str, most: int = 10_000) -> tuple[dict[str, str], list[dict[str, str]]]:
    """The per-message fields and one dict a recipient (RFC 3464 sections 2.2 and 2.3).

    Blocks are separated by blank lines; where an emitter forgot them (Dovecot's LDA), or put one too many, a repeated
    Final-Recipient, Action or Status begins the next recipient. What follows ``most`` recipients is not read.
    """
    return _split_usual(text, most) or _split_any(text, most)


def _split_usual(text: str, most: int) -> tuple[dict[str, str], list[dict[str, str]]] | None:
    """:func:`split_blocks` of what is written as the standard has it, in one pass; None for anything else."""
    if len(text) > _USUAL_SIZE or "\x00" in text:
        return None
    blocks: list[dict[str, str]] = []
    block: dict[str, str] = {}
    for name, value in _LINE.findall("\n" + text):
        if name:
            name = name.lower()
            if name in block:
                return None
            block[name] = collapse(value) if "\n" in value else value.strip()
        elif value:
            return None
        elif block:
            blocks.append(block)
            block = {}
    if block:
        blocks.append(block)
    if len(blocks) < 2 or len(blocks) > most or not _NAMES_RECIPIENT.isdisjoint(blocks[0]):
        return None
    message = blocks.pop(0)
    for block in blocks:
        if not ("final-recipient" in block or "original-recipient" in block) or not _MESSAGE_FIELDS.isdisjoint(block):
            return None
    return message, blocks


def _split_any(text: str, most: int) -> tuple[dict[str, str], list[dict[str, str]]]:
    message: dict[str, str] = {}
    blocks: list[dict[str, str]] = []
    # a line of white space alone ends in white space
    for chunk in _BLANK.split(text) if " \n" in text or "\t\n" in text else text.split("\n\n"):
        if len(blocks) > most:
            break
        fields = parse_fields(chunk)
        if not fields:
            continue
        if _NAMES_RECIPIENT.isdisjoint([name for name, _ in fields]):
            _add_stray(fields, message, blocks)
            continue
        block: dict[str, str] = {}
        for name, value in fields:
            if name in _BLOCK_KEYS and name in block and ("final-recipient" in block or name == "final-recipient"):
                blocks.append(block)
                block = {}
            if name in _MESSAGE_FIELDS:
                message.setdefault(name, value)
            else:
                block.setdefault(name, value)
        if blocks and "final-recipient" not in block and "original-recipient" not in block:
            for name, value in block.items():
                blocks[-1].setdefault(name, value)
        else:
            blocks.append(block)
    return message, [block for block in blocks if block]


_MESSAGE_FIELDS = frozenset(
    (
        "reporting-mta",
        "original-envelope-id",
        "dsn-gateway",
        "received-from-mta",
        "arrival-date",
        "x-original-message-id",
        "x-postfix-queue-id",
        "x-postfix-sender",
        "content-type",
        "content-transfer-encoding",
    )
)


def _add_stray(fields: list[tuple[str, str]], message: dict[str, str], blocks: list[dict[str, str]]) -> None:
    """Fields of a block that names no recipient: the per-message block, or what a blank line cut off from a recipient."""
    for name, value in fields:
        if blocks and name not in _MESSAGE_FIELDS:
            blocks[-1].setdefault(name, value)
        else:
            message.setdefault(name, value)


def _read_recipient(block: dict[str, str], derived: bool, where: str) -> RecipientReport:
    find = block.get
    written = find("status", "")
    original, final = find("original-recipient"), find("final-recipient")
    if original:
        original = clean_address(original)
    if final:
        final = clean_address(final)
    if "x-actual-recipient" in block:
        actual = clean_address(block["x-actual-recipient"])
        if actual and (final is None or actual.lower() != final.lower()):
            original, final = original or final, actual  # Sendmail: Final-Recipient is the alias, this whom it led to
    kind = diagnostic = remote = None
    if value := find("diagnostic-code"):
        kind, diagnostic = _split_type(value)
    if value := find("remote-mta"):
        remote = _host(value)
    if diagnostic is None:
        if (value := find("x-supplementary-info")) and (told := _SUPPLEMENT.match(collapse(value)[:_DIAGNOSTIC_CAP])):
            kind, diagnostic = _split_type(told[3])
            remote = remote or told[1]
        if diagnostic is None and "(" in written:
            diagnostic = _status_comment(written)
    value = find("action")
    action = parse_action(value) if value else None
    text = find("x-exim-diagnostic") or find("localized-diagnostic")
    return RecipientReport(
        original or final or None,
        original or None,
        final or None,
        action or _action_of_status(written),
        written if written in _USUAL_CODES else _status(written),
        diagnostic,
        kind,
        (_plain(find("x-exim-diagnostic")) or _plain(find("localized-diagnostic"))) if text else None,
        where,
        remote,
        None,
        find("last-attempt-date"),
        find("will-retry-until"),
        derived or ("(" in written and _MADE_UP.match(written) is not None),
    )


def _status(written: str) -> str | None:
    """The code of a Status field without leading zeros."""
    status = parse_enhanced_status(written)
    return str(status) if status else None


def _status_comment(status: str) -> str | None:
    """What a comment says beside the code (RFC 3464 section 2.3.4), unless that only names the code."""
    words = collapse(status.partition("(")[2][:_DIAGNOSTIC_CAP]).removesuffix(")").rstrip()
    return words if words and words.lower() not in _CODE_NAMES else None


def _action_of_status(status: str) -> Action | None:
    """What the class of a Status says where Action is missing: 2 delivered; 4 and 5 say nothing of finality."""
    return Action.DELIVERED if status.lstrip().startswith("2.") else None


def _split_type(value: str) -> tuple[str | None, str | None]:
    """``smtp; 550 ...`` -> (``smtp``, ``550 ...``); a value without a type keeps all its text."""
    if value.startswith("smtp; ") and value.isprintable() and "  " not in value and len(value) < _DIAGNOSTIC_CAP:
        return "smtp", value[6:].strip(" ") or None  # what nearly all fields hold
    typed = _TYPED.match(value)
    kind = typed[1].lower() if typed else None
    text = collapse(value[typed.end() if typed else 0 : _DIAGNOSTIC_CAP].replace("\x00", ""))
    return kind, text or None


def _plain(value: str | None) -> str | None:
    return _split_type(value)[1] if value else None


def _host(value: str | None) -> str | None:
    """The name in an MTA-name field (``dns; mx.example.com``), comment dropped (RFC 3464 section 2.2.2)."""
    if not value:
        return None
    name = value[value.find(";") + 1 :].strip()
    if "(" in name:
        name = name.partition(" (")[0].strip()
    return name.strip("<>") or None


def _with_failed_recipients(mail: Mail, recipients: tuple[RecipientReport, ...]) -> tuple[RecipientReport, ...]:
    """A report whose blocks name nobody, completed by the X-Failed-Recipients header (Exim, Gmail)."""
    value = mail.get("x-failed-recipients")
    addresses = [a for item in value.split(",") if (a := clean_address(item))] if value else []
    if len(addresses) == 1 and len(recipients) <= 1:
        template = recipients[0] if recipients else RecipientReport(action=Action.FAILED)
        return (
            RecipientReport(
                recipient=addresses[0],
                action=template.action,
                status=template.status,
                diagnostic=template.diagnostic,
                diagnostic_type=template.diagnostic_type,
                text=template.text,
                remote_mta=template.remote_mta,
                last_attempt_date=template.last_attempt_date,
                will_retry_until=template.will_retry_until,
            ),
        )
    if not recipients:
        return tuple(RecipientReport(recipient=address, action=Action.FAILED) for address in addresses)
    return recipients


def _original(mail: Mail, returned: Fields | None, fields: dict[str, str], status_text: str) -> OriginalMessage:
    status_id = clean_message_id(fields.get("x-original-message-id"))
    envelope_id = fields.get("original-envelope-id")
    if (
        envelope_id
        and status_id is None
        and envelope_id.startswith("<")
        and "@" in envelope_id
        and (returned is None or not returned.has("message-id"))
    ):
        status_id = clean_message_id(envelope_id)  # Haraka
    if returned is None and status_id is None:
        # A status part with a wrong boundary swallows the returned headers; a pasted report has them below its fields
        lower = status_text.lower()
        at = max(lower.rfind("\nfinal-recipient"), lower.rfind("\naction"), 0)
        returned = find_in_text(status_text[at:], mail) or find_in_text(mail.readable, mail)
    return read_original(returned, mail, status_id)

"""An unsubscribe request or a complaint -> what proves it: our token, or the requester's authentication.

The policy lets an unsubscribe request act by our token (an expired one too), or by its From address when DMARC or an aligned
DKIM signature passed and the request went to an address that is there for requests. Everything else waits for a person
(``bounceparse review``); nothing is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from bounceparse.addresses import address_key, domain_key
from bounceparse.mime import Mail
from bounceparse.reports import FeedbackReport, Item, Report, UnsubscribeRequest
from bounceparse.rewriting import unwrap
from bounceparse.verp import Keyring, Purpose, Reading, Verdict, best_reading

_METHOD = re.compile(r"\s*([\w-]+)(?:/\d+)?=(\w+)")
_PROPERTY = re.compile(r"\s([a-z]+\.[a-z0-9-]+)=([^\s;]+)")
_EQUALS = re.compile(r"\s*=\s*")
_DNS_SECONDS = 5
_MOST_SIGNATURES = 3
AskDns = Callable[..., bytes | None]


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """What the sender's configuration tells about how requests come in.

    Attributes:
        keyring: the keys of our tokens.
        addresses: address keys to which nothing but unsubscribe requests is sent.
        mailboxes: accounts that take nothing else.
        authserv_ids: by account, the name under which its own server writes Authentication-Results.
        check_dkim: accounts whose requests and complaints are checked by dkimpy where that field proves nothing.
        authentic: report keys of the messages that were found authentic in that way.
    """

    keyring: Keyring = field(default_factory=Keyring)
    addresses: frozenset[str] = frozenset()
    mailboxes: frozenset[str] = frozenset()
    authserv_ids: Mapping[str, str] = field(default_factory=dict)
    check_dkim: frozenset[str] = frozenset()
    authentic: frozenset[bytes] = frozenset()


NO_SETTINGS = RequestSettings()


def read_token(item: Item, report: Report, keyring: Keyring, today: date) -> Reading | None:
    """The best token of ours that a request or a complaint carries; None where nothing is spelled like one."""
    if not keyring.keys:
        return None
    if isinstance(item, UnsubscribeRequest):
        places = [(unwrap(address), "") for _, address in report.addressed_to]
        places += [(report.subject or "", ""), *((token, "") for token in item.tokens)]
        return best_reading(keyring, Purpose.UNSUBSCRIBE, places, today=today)
    if isinstance(item, FeedbackReport):
        original = item.original
        found = best_reading(keyring, Purpose.FEEDBACK, [(original.cfbl_feedback_id or "", "")], today=today)
        if found is not None and found.verdict is Verdict.VALID:
            return found
        by_header = best_reading(keyring, Purpose.UNSUBSCRIBE, [(original.list_unsubscribe or "", "")], today=today)
        return by_header if by_header is not None and by_header.verdict is Verdict.VALID else found
    return None


def is_for_requests(report: Report, account: str, settings: RequestSettings) -> bool:
    """Whether the mail went to an address, or into a mailbox, that is there for unsubscribe requests."""
    return account in settings.mailboxes or any(
        address_key(_plain(address)) in settings.addresses for _, address in report.addressed_to
    )


def _plain(address: str) -> str:
    """The address without what follows a ``+``."""
    local, at, domain = unwrap(address).rpartition("@")
    return f"{local.partition('+')[0]}{at}{domain}"


def is_authenticated(report: Report, account: str, settings: RequestSettings) -> bool:
    """Whether our own server found the From address authentic: by DMARC, or by DKIM of its domain or a parent of it.

    Only the topmost Authentication-Results field that bears our server's name counts (RFC 8601 section 5); our server
    must take that name out of what comes in.
    """
    ours = settings.authserv_ids.get(account)
    domain = from_domain(report)
    return bool(ours and domain) and _is_attested(report, domain, ours or "")


def from_domain(report: Report) -> str:
    """The domain of the report's own From address (A-label), empty where there is none."""
    return domain_key((report.from_address or "").rpartition("@")[2])


def _is_attested(report: Report, domain: str, ours: str) -> bool:
    for value in report.authentication_results:
        server, *results = _EQUALS.sub("=", _bare(value)).lower().split(";")
        if server.partition(" ")[0].strip() == ours.lower():
            return any(_proves(result, domain) for result in results)
    return False


def _bare(value: str) -> str:
    """The field's value without comments and quoted strings, in which a sender's own words may stand."""
    kept: list[str] = []
    depth, quoted, skip = 0, False, False
    for char in value[:8192]:
        if skip:
            skip = False
        elif char == "\\":
            skip = True
        elif char == '"' and not depth:
            quoted = not quoted
        elif not quoted and char == "(":
            depth += 1
        elif not quoted and char == ")" and depth:
            depth -= 1
        elif not quoted and not depth:
            kept.append(char)
    return "".join(kept).strip()


def _proves(result: str, domain: str) -> bool:
    """Whether one result says that DMARC passed for ``domain``, or DKIM for it or a parent of it."""
    method = _METHOD.match(result)
    if method is None or method[2] != "pass":
        return False
    properties = dict(_PROPERTY.findall(result))
    if method[1] == "dmarc":
        return domain_key(properties.get("header.from", "").rpartition("@")[2]) == domain
    if method[1] != "dkim":
        return False
    signer = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
    return is_aligned(domain, signer)


def is_aligned(domain: str, signer: str) -> bool:
    """Whether a signature of ``signer`` speaks for ``domain``: the same, or a parent of it (RFC 9477 section 3.1)."""
    signer = domain_key(signer)
    return "." in signer and (domain == signer or domain.endswith(f".{signer}"))


def is_signed(report: Report, raw: bytes, ask_dns: AskDns | None = None) -> bool:
    """Whether a DKIM signature (RFC 6376) of the From domain, or of a parent of it, in ``raw`` holds.

    Verified by dkimpy (extra ``dkim``), which asks the DNS: never part of ``parse``. ``ask_dns`` gives the text of a name.
    """
    import dkim

    domain = from_domain(report)
    checked = dkim.DKIM(raw, minkey=1024, timeout=_DNS_SECONDS)
    for place in range(len(Mail(raw).get_all("dkim-signature", _MOST_SIGNATURES))):
        try:
            holds = checked.verify(idx=place, **({"dnsfunc": ask_dns} if ask_dns else {}))
        except dkim.DKIMException:
            continue
        if holds and is_aligned(domain, checked.domain.decode("ascii", "replace").lower()):
            return True
    return False

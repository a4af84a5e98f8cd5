"""An unsubscribe request or a complaint -> what proves it beside a token of ours: the requester's authentication.

The policy lets an unsubscribe request act by our token (an expired one too), or by its From address when DMARC or an aligned
DKIM signature passed and the request went to an address that is there for requests. Everything else waits for a person
(``bounceparse review``); nothing is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bounceparse.addresses import address_key, domain_key
from bounceparse.lazy import pattern
from bounceparse.mime import Mail
from bounceparse.reports import Report
from bounceparse.rewriting import unwrap
from bounceparse.signatures import TokenSettings

_METHOD = pattern(r"\s*([\w-]+)(?:/\d+)?=(\w+)")
_PROPERTY = pattern(r"\s([a-z]+\.[a-z0-9-]+)=([^\s;]+)")
_EQUALS = pattern(r"\s*=\s*")
_DNS_SECONDS = 5
_MOST_SIGNATURES = 3
AskDns = Callable[..., bytes | None]


@dataclass(frozen=True, slots=True)
class RequestSettings(TokenSettings):
    """What the sender's configuration tells about how reports and requests come in.

    Attributes:
        addresses: address keys to which nothing but unsubscribe requests is sent.
        mailboxes: accounts that take nothing else.
        authserv_ids: by account, the name under which its own server writes Authentication-Results.
        check_dkim: accounts whose requests and complaints are checked by dkimpy where that field proves nothing.
        authentic: report keys of the messages that were found authentic in that way.
    """

    addresses: frozenset[str] = frozenset()
    mailboxes: frozenset[str] = frozenset()
    authserv_ids: Mapping[str, str] = field(default_factory=dict)
    check_dkim: frozenset[str] = frozenset()
    authentic: frozenset[bytes] = frozenset()


NO_SETTINGS = RequestSettings()


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
    """Whether our own server found the From address authentic: by DMARC, or by DKIM of its domain or a parent of it."""
    domain = from_domain(report)
    return any(_proves(result, domain) for result in _own_results(report, account, settings)) if domain else False


def reporter_auth(report: Report, account: str, settings: RequestSettings) -> str | None:
    """What our own server found of the reporter's From domain, such as ``dmarc=pass header.from=example.net``.

    DMARC's result goes before that of an aligned DKIM signature, a pass before a failure. None where our server told
    nothing. It supports a report and proves none: whoever owns a domain can authenticate with it.
    """
    domain = from_domain(report)
    if not domain:
        return None
    found = [
        told for result in _own_results(report, account, settings) if (told := _told_of(result, domain)) is not None
    ]
    return min(found, key=lambda told: ("=pass " not in told, not told.startswith("dmarc=")), default=None)


def from_domain(report: Report) -> str:
    """The domain of the report's own From address (A-label), empty where there is none."""
    return domain_key((report.from_address or "").rpartition("@")[2])


def _own_results(report: Report, account: str, settings: RequestSettings) -> list[str]:
    """The results in the topmost Authentication-Results field that bears our server's name (RFC 8601 section 5).

    Those below it came with the mail; our server must take its own name out of what comes in.
    """
    ours = settings.authserv_ids.get(account)
    for value in report.authentication_results if ours else ():
        server, *results = _EQUALS.sub("=", _bare(value)).lower().split(";")
        if server.partition(" ")[0].strip() == (ours or "").lower():
            return results
    return []


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


def _told_of(result: str, domain: str) -> str | None:
    """A result about ``domain`` in one form, None for any other."""
    method = _METHOD.match(result)
    if method is None or method[1] not in ("dmarc", "dkim"):
        return None
    properties = dict(_PROPERTY.findall(result))
    if method[1] == "dmarc":
        of = domain_key(properties.get("header.from", "").rpartition("@")[2])
        return f"dmarc={method[2]} header.from={of}" if of == domain else None
    signer = properties.get("header.d") or properties.get("header.i", "").rpartition("@")[2]
    return f"dkim={method[2]} header.d={domain_key(signer)}" if is_aligned(domain, signer) else None


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

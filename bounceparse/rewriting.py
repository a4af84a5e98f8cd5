"""An address as it arrived -> the address that it was made from: SRS, BATV, VERP and plus tags undone.

What forwarders (SRS), signers (BATV) and list managers or sending services (VERP) wrap around an address carries
somebody else's signature or none: the result says where to look and proves nothing.
"""

from __future__ import annotations

import re

from bounceparse.lazy import pattern

_SRS0 = pattern(r"SRS0[=+-][^=]+=[A-Z2-7]{2}=([^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
_SRS1 = pattern(r"SRS1[=+-][^=]+=([^=]+)=([=+-][^=]+=[A-Z2-7]{2}=.+)", re.IGNORECASE | re.DOTALL)
# draft-levine-smtp-batv, its swapped form, Barracuda's and SparkPost's
_BATV = pattern(r"(?:prvs=[0-9]{4}[0-9a-f]{6}|btv1==[0-9a-z]+=|msprvs1=[^=]+)=(.+)", re.IGNORECASE | re.DOTALL)
_BATV_SWAPPED = pattern(r"prvs=(.+)=[0-9]{4}[0-9a-f]{6}", re.IGNORECASE | re.DOTALL)
_SYMPA = pattern(r"bounce\+(.+?)==a==(.+?)==.*", re.IGNORECASE | re.DOTALL)
# What stands before the recipient: the list's own name, a message's number, the account's id at a sending service.
_VERP_PREFIX = pattern(
    r"(?:[\w.]{1,64}-return-\d{1,12}-|[\w.]{0,64}bounces?[+-]|[\w.-]{1,64}\+|[\w.]{1,64}-)(?:[a-f.]{0,64}\d[\da-f.]{0,64}-)*",
    re.IGNORECASE | re.ASCII,
)
_DOMAIN = pattern(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+", re.IGNORECASE)
_CAF = pattern(r"(.+)\+caf_=.*", re.IGNORECASE | re.DOTALL)
# Amazon SES: the local part of its return path is the id that it gave the message
_SES_ID = pattern(r"[0-9a-f]{16}-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-000000", re.IGNORECASE | re.ASCII)
_MOST = 5  # wrappers around wrappers
_CAP = 512


def unwrap(address: str) -> str:
    """The address inside SRS0, SRS1, BATV and Gmail's forwarding tag, however they are nested; else ``address``.

    ``SRS0=hash=day=shop.example=b+token@forwarder.example`` is ``b+token@shop.example``; the case of what is inside stays.
    """
    for _ in range(_MOST):
        local, at, domain = address[-_CAP:].rpartition("@")
        if not at:
            return address
        if found := _SRS1.fullmatch(local):
            address = f"SRS0{found[2]}@{found[1]}"
        elif found := _SRS0.fullmatch(local):
            address = f"{found[2]}@{found[1].lower()}"
        elif found := _BATV.fullmatch(local) or _BATV_SWAPPED.fullmatch(local) or _CAF.fullmatch(local):
            address = f"{found[1]}@{domain}"
        else:
            return address
    return address


def find_verp_recipient(address: str) -> str | None:
    """The recipient that an unsigned VERP address names, None where it names none.

    ``list-bounces+jan=example.pl@shop.example`` (Mailman, ezmlm, SendGrid, Mailgun, PowerMTA) and Sympa's ``==a==``.
    Anybody can write one: it is a clue, never a proof.
    """
    local, _, _ = unwrap(address).rpartition("@")
    if found := _SYMPA.fullmatch(local[-_CAP:]):
        return f"{found[1]}@{found[2].lower()}"
    left, _, domain = local[-_CAP:].rpartition("=")
    prefix = _VERP_PREFIX.match(left)
    if prefix is None or prefix.end() == len(left) or not _DOMAIN.fullmatch(domain):
        return None
    return f"{left[prefix.end() :]}@{domain.lower()}"


def find_provider_id(address: str) -> str | None:
    """The id of a sending service that its return path consists of, None where it is none that we know.

    Anybody can write one who has seen it: a clue, as a Message-ID is.
    """
    local = unwrap(address).rpartition("@")[0]
    return local.lower() if _SES_ID.fullmatch(local) else None

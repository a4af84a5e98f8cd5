"""Addresses and customers: may we mail them, what happened, suppress and lift."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from bounceparse.db.api_store import own_scopes
from bounceparse.web.guard import Caller, Reader, Writer
from bounceparse.web.models import (
    Changed,
    CustomerOut,
    History,
    Language,
    Lift,
    LiftCustomer,
    OutcomeOut,
    SentOut,
    StandingOut,
    Suppress,
    SuppressCustomer,
    Text,
)

router = APIRouter(prefix="/v1")
_Latest = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]


@router.get("/addresses", tags=["addresses"])
def standing(
    caller: Reader,
    address: Text,
    list: Annotated[str | None, Query(max_length=1000, description="Also for this List-Id.")] = None,
    lang: Language = "en",
) -> StandingOut:
    """May we mail this address? Anything else about it is in its history."""
    return StandingOut.of(caller.store.standing_for(address, list, sender=caller.sender), lang)


@router.get("/addresses/history", tags=["addresses"])
def history(caller: Reader, address: Text, latest: _Latest = 20) -> History:
    """The latest messages to an address and what was reported of it, newest first."""
    found = caller.store.history_of(address, latest, sender=caller.sender)
    sent = caller.store.sent_to_of(address, latest, sender=caller.sender)
    return History(
        address=address, sent=[SentOut.of(one) for one in sent], outcomes=[OutcomeOut.of(one) for one in found]
    )


@router.post("/addresses/suppress", tags=["addresses"])
def suppress(caller: Writer, wanted: Suppress) -> Changed:
    """Suppress an address or @domain by hand, until lifted or a time; again it changes nothing but the time and note."""
    _suppress(caller, [wanted.address], wanted.scope, wanted.until, wanted.note)
    return Changed(changed=1)


@router.post("/addresses/lift", tags=["addresses"])
def lift(caller: Writer, wanted: Lift) -> Changed:
    """Lift the suppressions of an address or @domain; what led to them never counts again."""
    return Changed(changed=_lift(caller, [wanted.address], wanted.scope, wanted.note))


@router.get("/customers", tags=["customers"])
def customer(caller: Reader, customer: Text, lang: Language = "en") -> CustomerOut:
    """The card of a customer: all addresses, the latest mail and what became of it. Unknown: no addresses."""
    card = caller.store.customer_of(customer, sender=caller.sender)
    return CustomerOut(
        customer=customer,
        alert=card.alert,
        addresses=[
            StandingOut.of(
                caller.store.standing_for(one.address, sender=caller.sender), lang, card.replaced.get(one.address)
            )
            for one in card.addresses
        ],
        sent=[SentOut.of(one) for one in card.sent],
        outcomes=[OutcomeOut.of(one) for one in card.outcomes],
    )


@router.post("/customers/suppress", tags=["customers"])
def suppress_customer(caller: Writer, wanted: SuppressCustomer) -> Changed:
    """Suppress all addresses that the customer was mailed at."""
    addresses = _addresses(caller, wanted.customer)
    _suppress(caller, addresses, wanted.scope, wanted.until, wanted.note)
    return Changed(changed=len(addresses))


@router.post("/customers/lift", tags=["customers"])
def lift_customer(caller: Writer, wanted: LiftCustomer) -> Changed:
    """Lift the suppressions of all addresses that the customer was mailed at."""
    return Changed(changed=_lift(caller, _addresses(caller, wanted.customer), wanted.scope, wanted.note))


def _addresses(caller: Caller, customer: str) -> list[str]:
    found = [one.address for one in caller.store.customer_of(customer, sender=caller.sender).addresses]
    if not found:
        raise HTTPException(404, "the ledger has no message to this customer")
    return found


def _suppress(
    caller: Caller, addresses: list[str], scope: str | None, until: datetime | None, note: str | None
) -> None:
    chosen = _scopes(caller, scope)
    reach = "all" if chosen is None else chosen[-1]
    for address in addresses:
        caller.store.suppress(address, scope=reach, until=until, by=caller.name, note=note)


def _lift(caller: Caller, addresses: list[str], scope: str | None, note: str | None) -> int:
    scopes = _scopes(caller, scope) or (None,)
    return sum(
        caller.store.lift(address, scope=one, by=caller.name, note=note) for address in addresses for one in scopes
    )


def _scopes(caller: Caller, scope: str | None) -> tuple[str, ...] | None:
    """The scopes that are meant, None for all; a tenant touches its own alone."""
    if caller.sender is None:
        return None if scope is None else (scope,)
    own = own_scopes(caller.sender)
    if scope is not None and scope not in own:
        raise HTTPException(403, f"this token may touch {' and '.join(own)}")
    return own if scope is None else (scope,)

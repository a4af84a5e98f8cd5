"""What the first visitor would wait for is done before: templates and statements compiled, counts begun."""

from __future__ import annotations

from bounceparse.db.panel import Wanted
from bounceparse.web.panel.overview import DAYS
from bounceparse.web.panel.visit import House, templates

_NOBODY = "nobody@nowhere.invalid"


def warm(house: House) -> None:
    """Ask once for all that is quick to answer, and begin to count what takes longer; raises ``StoreError``."""
    from bounceparse.explain import explain

    templates()
    explain(b"")
    store = house.store
    store.signed_in("")
    store.waiting()
    store.stream_levels()
    store.address_card(_NOBODY, 1)
    store.customer_cards(_NOBODY, 1)
    store.trail(_NOBODY)
    store.log_choices()
    store.log(Wanted())
    store.outcome(0)
    store.held_page(0, 1)
    next(store.requests(), None)
    house.figures.get(("reported", None), lambda: store.reported(DAYS))

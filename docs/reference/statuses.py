"""The page of statuses and reasons, from the tables that judge; meanings are in ``statuses.toml``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from bounceparse.advice import advice
from bounceparse.causes import TABLE, Cause
from bounceparse.outcomes import REASONS, Fault, Status, Trust
from reference.markdown import code, table

MEANINGS = Path(__file__).with_name("statuses.toml")
_SCOPES = {
    "all": "all mail",
    "from": "mail with that From domain",
    "marketing": "the sender's marketing mail",
    "sender": "the sender's mail",
    "list": "mail of that list",
}
_FAULTS = {
    Fault.RECIPIENT: "The address or its owner",
    Fault.NETWORK: "The way there",
    Fault.MESSAGE: "The message",
    Fault.SENDER: "Us, the sender",
    Fault.UNKNOWN: "Not known",
    None: "No failure",
}


def page() -> str:
    """The Markdown of the page; raises ``ValueError`` where meanings and code differ."""
    told = tomllib.loads(MEANINGS.read_text("utf-8"))
    for kind, known in (("status", Status), ("reason", REASONS), ("trust", Trust)):
        if differing := set(told[kind]) ^ {str(one) for one in known}:
            raise ValueError(f"{MEANINGS}: [{kind}]: missing, or one too many: {', '.join(sorted(differing))}")
    parts = [told["intro"], "## Statuses\n\n"]
    parts.append(
        table(("status", "meaning", "what follows"), [(code(n), m[0], m[1]) for n, m in told["status"].items()])
    )
    parts.append("\n## Trust\n\n")
    parts.append(table(("trust", "when"), [(code(name), meaning) for name, meaning in told["trust"].items()]))
    parts.append(f"\n## Reasons\n\n{told['about_reasons']}\n")
    for fault, title in _FAULTS.items():
        parts.append(f"\n### {title}\n\n")
        if fault is not None:
            parts.append(f"`fault` is `{fault}`.\n\n")
        parts += [_reason(name, told["reason"][name]) for name, row in REASONS.items() if row.fault == fault]
    return "".join(parts)


def _reason(reason: str, meaning: str) -> str:
    return (
        f"#### {reason}\n\n{meaning}\n\n"
        f"* Status: {code(REASONS[reason].status)}\n"
        f"* By default: {' '.join(_follows(reason))}\n"
        f"* Advice: {advice(reason, 'en')}\n"
        f"* Rada: {advice(reason, 'pl')}\n\n"
    )


def _follows(reason: str) -> list[str]:
    found = [_act(cause) for cause in TABLE if reason in cause.reasons]
    return found or ["suppresses nothing."]


def _act(cause: Cause) -> str:
    """What a line of the policy comes to, in words."""
    what = "the domain" if cause.of_domain else "the address"
    text = f"suppresses {what} for {_SCOPES[cause.scope]} after {_counts(cause.needs, cause.days, cause.spread)}"
    if 0 < cause.needs_proved < cause.needs:
        text += f", after {cause.needs_proved} when the report is proven"
    if cause.unless_delivered:
        text += ", unless other mail to the domain gets through"
    if cause.token:
        text += ", only by a token of ours or an authenticated From address"
    return f"{text}; {f'for {cause.lasts} days' if cause.lasts else 'until lifted'} (`{cause.name}`)."


def _counts(needs: int, days: int, spread: int) -> str:
    if needs == 1:
        return "one"
    on = f" on {days} days" if days > 1 else ""
    return f"{needs}{on}" + (f", the first and the last {spread} days apart" if spread else "")

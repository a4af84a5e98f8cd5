"""What a rule file holds: frozen values."""

from __future__ import annotations

from bounceparse.codes import Phase
from bounceparse.lazy import dataclass
from bounceparse.outcomes import Status


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. ``tier`` is its place in the order of evidence: 0 a provider's text, 1 its codes, 2 text, 3 codes.

    ``line`` is where it begins in ``file``, 0 where that is not known.
    """

    id: str
    reason: str
    status: Status | None
    text: tuple[str, ...]
    code: frozenset[int]
    enhanced: frozenset[str]
    exit: frozenset[int]
    remote_mta: tuple[str, ...]
    phase: frozenset[Phase]
    examples: tuple[str, ...]
    source: str
    provider: str | None
    tier: int
    rank: int
    file: str
    line: int
    unconditional: bool


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What one file holds."""

    rules: tuple[Rule, ...]
    provider: str | None
    hosts: tuple[str, ...]
    signatures: tuple[str, ...]

"""Counts that may take longer than a page: kept, and counted anew behind the pages that show them."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any

_SHARE = 20
"""A count that took longer is good for so many times as long: counting takes a twentieth of one core at most."""
_MOST = 200
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    value: Any = None
    counted_at: float | None = None
    took: float = 0.0
    running: Future[None] | None = None

    def is_fresh(self, now: float, patience: float) -> bool:
        return self.counted_at is not None and self.took > patience and now - self.counted_at < _SHARE * self.took


@dataclass(frozen=True, slots=True)
class Counted:
    """A count; ``age`` is how many seconds old it is."""

    value: Any
    age: float


class Figures:
    """Counts by key, one counted at a time by a thread of its own.

    ``patience`` is how many seconds a page waits for a count. One that takes no longer is made for each page, and is
    never old.
    """

    def __init__(self, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._clock = patience, clock
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = Lock()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="panel")

    def get(self, key: Hashable, count: Callable[[], Any]) -> Counted | None:
        """What ``count`` answers, or answered a while ago; None where it was never counted and takes long.

        Raises what ``count`` raises where it does so at once; later it is logged, and tried again for the next page.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > _MOST:
                self._entries.popitem(last=False)
            if not entry.is_fresh(self._clock(), self._patience) and (entry.running is None or entry.running.done()):
                entry.running = self._worker.submit(self._count, entry, count)
            running = entry.running  # done already, or under way
        if running is not None:
            with suppress(NotYet):
                running.result(self._patience)
        if entry.counted_at is None:
            return None
        return Counted(entry.value, max(0.0, self._clock() - entry.counted_at))

    def _count(self, entry: _Entry, count: Callable[[], Any]) -> None:
        began = self._clock()
        try:
            value = count()
            entry.value, entry.took, entry.counted_at = value, self._clock() - began, self._clock()
        except Exception:
            _LOG.warning("a count of the panel failed", exc_info=True)
            raise

    def close(self) -> None:
        """Wait for the count that is under way, and count no more."""
        self._worker.shutdown(cancel_futures=True)

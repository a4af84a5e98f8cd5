"""How often sign-ins may fail: the more of them, the longer the wait before the next try. In this process alone."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

FREE = {"both": 5, "name": 30, "client": 30}
"""Failures without a wait: of one name from one client, of one name, of one client."""
_FIRST, _LONGEST = 5.0, 900.0
_FORGOTTEN = 3600.0
"""Seconds after which what failed before counts no more."""
_MOST = 10_000


class Throttle:
    """Counts failures by user name, by client, and by both together."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()
        self._lock = Lock()

    def begin(self, name: str, client: str) -> float:
        """Begin a try, which counts as failed until :meth:`succeed`; the seconds to wait where it may not be made yet."""
        now = self._clock()
        with self._lock:
            wait = max(self._failed.get(key, (0, 0.0))[1] - now for key in _keys(name, client))
            if wait > 0:
                return wait
            for key in _keys(name, client):
                failures, until = self._failed.pop(key, (0, 0.0))
                failures = 1 if now - until > _FORGOTTEN else failures + 1
                over = failures - FREE[key[0]]
                pause = min(_LONGEST, _FIRST * 2 ** min(over, 20)) if over >= 0 else 0.0
                self._failed[key] = failures, now + pause
            while len(self._failed) > _MOST:
                self._failed.popitem(last=False)
        return 0.0

    def succeed(self, name: str, client: str) -> None:
        """Forget the failures of this name and client; those from elsewhere go on counting."""
        now = self._clock()
        with self._lock:
            for key in _keys(name, client):
                failures = self._failed.pop(key, (0, 0.0))[0]
                if key[0] != "both" and failures > 1:
                    self._failed[key] = failures - 1, now


def _keys(name: str, client: str) -> tuple[tuple[str, str], ...]:
    return ("both", f"{name}\n{client}"), ("name", name), ("client", client)

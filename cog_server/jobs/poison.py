"""`Poison`: inputs that have crashed workers again and again, so that they are not run once more."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

WINDOW_S = 600.0
# The oldest are forgotten first: who sends so many different ones is not stopped by this.
MAX_INPUTS = 10_000


class Poison:
    """Knows inputs by their hashes. `limit` crashes within ten minutes are enough; 0 for never.

    What runs beside others when their worker crashes is under suspicion too, until it succeeds: that it did not crash
    the worker is known then.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._crashes: OrderedDict[bytes, list[float]] = OrderedDict()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under suspicion, which is nearly always so: then there is nothing to ask or tell."""
        return not self._crashes

    def crash(self, given: bytes) -> None:
        """A worker has crashed while this input ran in it."""
        if not self._limit:
            return
        key = _key(given)
        self._crashes[key] = [*self._recent(key), self._clock()][-self._limit :]
        self._crashes.move_to_end(key)
        if len(self._crashes) > MAX_INPUTS:
            self._crashes.popitem(last=False)

    def succeed(self, given: bytes) -> None:
        """This input has gone well."""
        self._crashes.pop(_key(given), None)

    def verdict(self, given: bytes) -> str | None:
        """Why this input is not to be run; None if it is."""
        if len(self._recent(_key(given))) < self._limit:
            return None
        return (
            f"this input has crashed the model's worker {self._limit} times within {WINDOW_S / 60:.0f} minutes, and is "
            "not run again until some of that time has passed (COG_POISON_LIMIT)"
        )

    def _recent(self, key: bytes) -> list[float]:
        now = self._clock()
        return [moment for moment in self._crashes.get(key, ()) if now - moment < WINDOW_S]


def _key(given: bytes) -> bytes:
    return hashlib.sha256(given).digest()

"""`Restarts`: when a worker that has died is replaced. Pure: the moments are given."""

from __future__ import annotations

# docs/decisions/021-restarts-delayed.md

# So many crashes are answered at once, and one more for each `_FORGET_S` in which none came.
AT_ONCE = 5
_FORGET_S = 12.0
_FIRST_DELAY_S = 1.0
_FIRST_RETRY_S = 0.2
MAX_DELAY_S = 30.0
WINDOW_S = 60.0


class Restarts:
    """Counts one worker's deaths. With a `limit`, more of them than that within a minute are the last.

    No delay is longer than `max_delay_s`.
    """

    def __init__(self, limit: int | None, *, max_delay_s: float = MAX_DELAY_S) -> None:
        self._limit = limit
        self._max_delay_s = max_delay_s
        self._deaths: list[float] = []
        self._level = 0.0
        self._failed_starts = 0

    def die(self, now: float, *, was_ready: bool) -> float | None:
        """The worker has died; gives how many seconds to wait before the next is started, None to give up."""
        if self._deaths:
            self._level = max(self._level - (now - self._deaths[-1]) / _FORGET_S, 0.0)
        self._level += 1
        self._failed_starts = 0 if was_ready else self._failed_starts + 1
        self._deaths = [moment for moment in self._deaths if now - moment < WINDOW_S] + [now]
        if self._limit is not None and len(self._deaths) > self._limit:
            return None
        # The exponents have bounds: a float has too.
        crash_s = _FIRST_DELAY_S * 2.0 ** min(self._level - AT_ONCE - 1, 10) if self._level > AT_ONCE else 0.0
        retry_s = _FIRST_RETRY_S * 2.0 ** min(self._failed_starts - 1, 10) if self._failed_starts else 0.0
        return min(max(crash_s, retry_s), self._max_delay_s)

    def succeed(self) -> None:
        """A prediction has succeeded: the next crash is waited for less."""
        if self._level:
            self._level = max(self._level - 1, 0.0)

    @property
    def recent(self) -> int:
        """How many deaths there were within a minute of the last."""
        return len(self._deaths)

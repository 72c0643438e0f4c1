"""When a webhook call is tried again: pure, from what the last try gave."""

from __future__ import annotations

import enum
from dataclasses import dataclass

MAX_TRIES = 12
# Behind what else failed waits the end of the prediction: from then on it is tried more often, but not for long.
HURRIED_DELAY_S = 2.0
HURRIED_FOR_S = 60.0

_RETRIED = frozenset((408, 425, 429))


class Verdict(enum.Enum):
    """What a try means: RETRY it, or REFUSED for good; with GONE nothing more is wanted for this prediction."""

    DELIVERED = "delivered"
    RETRY = "retry"
    REFUSED = "refused"
    GONE = "gone"


@dataclass(frozen=True)
class Answer:
    """What a try gave: `reason` is for the log; `retry_after_s` is what the receiver asked for, no more than 5 min."""

    verdict: Verdict
    reason: str = ""
    retry_after_s: float = 0.0


def judge(status: int) -> Verdict:
    """What an HTTP status means. A redirect is refused: a webhook goes where its request said, or nowhere."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == 410:
        return Verdict.GONE
    return Verdict.RETRY if status in _RETRIED or status >= 500 else Verdict.REFUSED


def next_try(failed_at: float, wait_s: float, *, not_before: float, hurried_since: float | None) -> float | None:
    """When to try again, on the clock of `failed_at`; None for not at all.

    `hurried_since` is when the prediction ended, if something else than its end is being tried.
    """
    if hurried_since is None:
        return max(failed_at + wait_s, not_before)
    at = max(failed_at + min(wait_s, HURRIED_DELAY_S), not_before)
    return at if at <= hurried_since + HURRIED_FOR_S else None

"""`delay_s` and `read_retry_after`: how long to wait before something is tried again."""

from __future__ import annotations

import email.utils
import random

FIRST_DELAY_S = 0.2
MAX_DELAY_S = 102.4
MAX_RETRY_AFTER_S = 300.0


def delay_s(tries: int, jitter: float | None = None) -> float:
    """How long to wait after so many tries: doubling from 0.2 to 102.4 s, a fifth more or less, so that calls spread.

    `jitter` is from 0 to 1, by chance if not given.
    """
    part = random.random() if jitter is None else jitter
    return float(min(FIRST_DELAY_S * 2.0 ** (tries - 1), MAX_DELAY_S) * (0.8 + 0.4 * part))


def read_retry_after(text: str | None, now: float) -> float:
    """The seconds that a Retry-After asks for, as a number or a date, at most 300; 0 for one that means nothing.

    `now` is in seconds since 1970.
    """
    if not text:
        return 0.0
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), MAX_RETRY_AFTER_S)
    try:
        moment = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(moment - now, 0.0), MAX_RETRY_AFTER_S)

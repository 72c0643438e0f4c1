"""The predictors of `make bench`: they do nothing, so that what is left is ours. The environment names the class."""

import time
from collections.abc import AsyncIterator, Iterator

from cog import BasePredictor

PAUSE_S = 0.005


class Empty(BasePredictor):
    def predict(self) -> str:
        return "nothing"


class Clock(BasePredictor):
    def predict(self) -> Iterator[float]:
        """Think, give the moment by a clock that all processes share, and go on."""
        time.sleep(PAUSE_S)
        yield time.monotonic()
        time.sleep(PAUSE_S)


class Stream(BasePredictor):
    def predict(self, count: int) -> Iterator[str]:
        for _ in range(count):
            yield "token"


class AsyncStream(BasePredictor):
    async def predict(self, count: int) -> AsyncIterator[str]:
        for _ in range(count):
            yield "token"


class Lines(BasePredictor):
    def predict(self, count: int) -> str:
        for number in range(count):
            print(f"line {number}")
        return "done"

"""An async generator, several at once."""

from typing import AsyncIterator

import cog


class Predictor(cog.BasePredictor):
    async def setup(self) -> None:
        self.ready = True

    @cog.concurrent(max=8)
    async def predict(self, prompt: str, count: int = cog.Input(default=3, ge=0)) -> AsyncIterator[str]:
        assert self.ready
        for position in range(count):
            yield f"{prompt} {position}"


CASES = [({"prompt": "a", "count": 2}, ["a 0", "a 1"]), ({"prompt": "a", "count": 0}, [])]
BAD_INPUTS = [({"prompt": "a", "count": -1}, "count"), ({}, "prompt")]

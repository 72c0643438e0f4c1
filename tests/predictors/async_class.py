"""A class with an async setup() and an async predict()."""

import asyncio

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    async def setup(self) -> None:
        await asyncio.sleep(0)
        self.loop = asyncio.get_running_loop()

    async def predict(self, document: Path, times: int = 1) -> str:
        assert asyncio.get_running_loop() is self.loop
        return document.read_text() * times


CASES = [({"document": "data:text/plain;base64,aGk="}, "hi"), ({"document": "data:,ho", "times": 2}, "hoho")]
BAD_INPUTS = [({"document": "hi"}, "document")]

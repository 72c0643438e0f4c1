"""ConcatenateIterator without its type; async, with the async spelling in a second method."""

from cog import AsyncConcatenateIterator, BasePredictor


class Predictor(BasePredictor):
    async def setup(self) -> None:
        pass

    async def predict(self, prompt: str) -> AsyncConcatenateIterator:
        for word in prompt.split():
            yield word


CASES = [({"prompt": "to be or"}, ["to", "be", "or"]), ({"prompt": ""}, [])]
BAD_INPUTS = [({"prompt": ["a"]}, "prompt")]

"""Text that comes in pieces which belong together."""

from cog import BasePredictor, ConcatenateIterator, Input, streaming


class Predictor(BasePredictor):
    @streaming()
    def predict(self, prompt: str = Input(description="Say this")) -> ConcatenateIterator[str]:
        yield from prompt.split()


CASES = [({"prompt": "to be or"}, ["to", "be", "or"])]
BAD_INPUTS = [({}, "prompt")]

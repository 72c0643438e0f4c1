"""`type X = ...` (Python 3.12 and newer)."""

from cog import BasePredictor

type Pair = tuple[int, int]
type Pairs = list[Pair] | None


class Predictor(BasePredictor):
    def predict(self, pair: Pair, pairs: Pairs = None) -> Pairs:
        return [pair]

"""A tuple as output, in and out."""

from typing import Tuple

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, pair: Tuple[int, Path]) -> Tuple[Path, int]:
        assert type(pair) is tuple
        return pair[1], pair[0] + len(pair[1].read_text())


CASES = [({"pair": [1, "data:text/plain;base64,aGk="]}, ["data:text/plain;base64,aGk=", 3])]
BAD_INPUTS = [({"pair": ["data:,", 1]}, "pair.0"), ({"pair": [1, "hi"]}, "pair.1"), ({"pair": {}}, "pair")]

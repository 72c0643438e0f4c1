"""A set as output."""

from typing import List, Set

from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, words: List[str]) -> Set[int]:
        return {len(word) for word in words}


CASES = [({"words": ["a", "b", "ab"]}, [1, 2]), ({"words": []}, [])]
BAD_INPUTS = [({"words": {}}, "words")]

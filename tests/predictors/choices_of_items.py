"""choices of a list or set: each item is one of them."""

from typing import List, Optional, Set

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        words: List[str] = Input(choices=["a", "b"]),
        numbers: Set[int] = Input(choices=[1, 2, 3], default={1}),
        maybe: Optional[List[float]] = Input(choices=[0.5, 1.5], default=None, max_items=2),
    ) -> str:
        assert isinstance(numbers, set)
        return f"{words} {sorted(numbers)} {maybe}"


CASES = [
    ({"words": ["b", "b"]}, "['b', 'b'] [1] None"),
    ({"words": [], "numbers": [3, 2, 3], "maybe": [0.5, 1.5]}, "[] [2, 3] [0.5, 1.5]"),
]
BAD_INPUTS = [
    ({"words": ["a", "c"]}, "words.1"),
    ({"words": "a"}, "words"),
    ({"words": [], "numbers": [1, 4]}, "numbers.1"),
    ({"words": [], "numbers": 1}, "numbers"),
    ({"words": [], "maybe": [1]}, "maybe.0"),
    ({"words": [], "maybe": [0.5, 0.5, 0.5]}, "maybe"),
]

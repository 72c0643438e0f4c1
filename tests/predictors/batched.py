"""A predict that takes lists: each client sends one, and gets its own back."""

from typing import List, Optional

import cog


class Predictor(cog.BasePredictor):
    @cog.batch(max_size=16, max_wait_ms=1)
    def predict(
        self,
        text: List[str] = cog.Input(min_length=1, description="What one client sends"),
        times: List[int] = cog.Input(default=2, ge=1, le=3),
        tags: List[List[str]] = cog.Input(default=[], max_items=2),
        file: List[Optional[cog.Path]] = None,
    ) -> List[str]:
        def read(path: Optional[cog.Path]) -> str:
            return "" if path is None else path.read_text()

        return [f"{a * b} {c} {read(d)}" for a, b, c, d in zip(text, times, tags, file)]


CASES = [
    ({"text": "ab"}, "abab [] "),
    ({"text": "a", "times": 3, "tags": ["b", "c"], "file": "data:,hi"}, "aaa ['b', 'c'] hi"),
    ({"text": "a", "times": 1, "file": None}, "a [] "),
]
BAD_INPUTS = [
    ({"text": ["a"]}, "text"),
    ({"text": ""}, "text"),
    ({"text": "a", "times": 4}, "times"),
    ({"text": "a", "tags": ["a", "b", "c"]}, "tags"),
]

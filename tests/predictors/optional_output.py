"""An output that may be None."""

from typing import List, Optional

from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self, numbers: List[int]) -> Optional[int]:
        return max(numbers) if numbers else None


CASES = [({"numbers": [1, 3, 2]}, 3), ({"numbers": []}, None)]
BAD_INPUTS = [({"numbers": [None]}, "numbers.0")]

"""Lists in lists."""

from typing import List, Optional

from cog import BasePredictor, Path


class Predictor(BasePredictor):
    def predict(self, cube: List[List[List[int]]], files: Optional[List[List[Path]]] = None) -> List[List[List[float]]]:
        assert all(type(number) is int for plane in cube for row in plane for number in row)
        lengths = [[float(len(file.read_text())) for file in row] for row in files or []]
        return [[[number / 2 for number in row] for row in plane] for plane in cube] + [lengths]


CASES = [
    ({"cube": [[[1, 2], []], []]}, [[[0.5, 1.0], []], [], []]),
    ({"cube": [], "files": [["data:,a", "data:,ab"], []]}, [[[1.0, 2.0], []]]),
]
BAD_INPUTS = [({"cube": [[[1, 2.5]]]}, "cube.0.0.1"), ({"cube": [], "files": [["data:,"], ["a"]]}, "files.1.0")]

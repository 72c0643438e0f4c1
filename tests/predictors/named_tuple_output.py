"""A NamedTuple as input and output."""

from typing import NamedTuple, Optional

from cog import BasePredictor, Path


class Point(NamedTuple):
    x: int
    file: Optional[Path] = None


class Predictor(BasePredictor):
    def predict(self, point: Point) -> Point:
        assert type(point) is Point
        return point._replace(x=point.x + (len(point.file.read_text()) if point.file else 0))


CASES = [
    ({"point": {"x": 1, "file": "data:text/plain;base64,aGk="}}, {"x": 3, "file": "data:text/plain;base64,aGk="}),
    ({"point": {"x": 1}}, {"x": 1, "file": None}),
]
BAD_INPUTS = [({"point": [1]}, "point"), ({"point": {"y": 1}}, "point.x"), ({"point": {"x": 1, "file": "a"}}, "point.file")]

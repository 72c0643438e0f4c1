"""A predictor that is named as `package.module:Name`, and uses its package."""

from typing import List

from cog import BasePredictor, Input, Path

from .files import text_file
from .parts.constants import ANGLES


class Predictor(BasePredictor):
    def predict(self, angle: int = Input(choices=ANGLES), names: List[str] = ["a"]) -> List[Path]:  # noqa: B006
        return [text_file(f"{name} {angle}") for name in names]


CASES = [
    ({"angle": 90}, ["data:text/plain;base64,YSA5MA=="]),  # a 90
    ({"angle": 0, "names": ["b", "c"]}, ["data:text/plain;base64,YiAw", "data:text/plain;base64,YyAw"]),  # b 0, c 0
]
BAD_INPUTS = [({"angle": 45}, "angle"), ({"angle": 0, "names": "a"}, "names")]

"""A TypedDict some of whose keys are required (Python 3.8 does not keep which)."""

from typing import TypedDict

from cog import BasePredictor


class Box(TypedDict, total=False):
    left: int
    right: int


class LabelledBox(Box):
    label: str


class Predictor(BasePredictor):
    def predict(self, box: LabelledBox) -> LabelledBox:
        return LabelledBox(left=box["right"], right=box["left"], label=box["label"][::-1])


CASES = [({"box": {"left": 1, "right": 2, "label": "ab"}}, {"left": 2, "right": 1, "label": "ba"})]
BAD_INPUTS = [
    ({"box": {"left": "1", "right": 2, "label": "ab"}}, "box.left"),
    ({"box": {"left": 1, "right": 2, "label": "ab", "top": 3}}, "box.top"),
]

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
        return box

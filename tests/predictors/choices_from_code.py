"""Choices and inputs that only running the module can tell: from a loop, and from calls of its own functions."""

from cog import BasePredictor, Input
from shapes.inputs import Inputs

NAMES = []
for name in ("x", "y"):
    NAMES.append(f"{name}-model")
NAMES.insert(0, NAMES[-1][:2])


def sizes(step):
    found = []
    for factor in range(1, 4):
        if factor != 2:
            found.append(step * factor)
    return found


class Predictor(BasePredictor):
    def predict(
        self,
        model: str = Input(choices=NAMES, default="y-"),
        size: int = Input(choices=sizes(8), default=8),
        guidance: float = Inputs.guidance_with(default=3.5, le=10),
        seed: int = Inputs.seed(),
    ) -> str:
        return f"{model} {size} {guidance} {seed}"


CASES = [({}, "y- 8 3.5 None"), ({"model": "x-model", "size": 24, "seed": 1}, "x-model 24 3.5 1")]
BAD_INPUTS = [({"size": 16}, "size"), ({"guidance": 10.5}, "guidance"), ({"model": "x"}, "model")]

"""A training function."""

from typing import Optional

from cog import BaseModel, Input, Path
from shapes.files import text_file


class TrainingOutput(BaseModel):
    weights: Path


def train(
    dataset: Path = Input(description="A .tar of pictures"),
    steps: int = Input(default=1000, ge=10, le=4000),
    token: Optional[str] = Input(default=None),
) -> TrainingOutput:
    return TrainingOutput(weights=text_file(f"{dataset.read_text()} {steps} {token}"))


CASES = [
    ({"dataset": "data:text/plain;base64,aGk="}, {"weights": "data:text/plain;base64,aGkgMTAwMCBOb25l"}),  # hi 1000 None
    (
        {"dataset": "data:text/plain;base64,aGk=", "steps": 10, "token": "t"},
        {"weights": "data:text/plain;base64,aGkgMTAgdA=="},  # hi 10 t
    ),
]
BAD_INPUTS = [({"dataset": "data:,", "steps": 9}, "steps"), ({}, "dataset")]

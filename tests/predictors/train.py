"""A training function."""

from typing import Optional

from cog import BaseModel, Input, Path


class TrainingOutput(BaseModel):
    weights: Path


def train(
    dataset: Path = Input(description="A .tar of pictures"),
    steps: int = Input(default=1000, ge=10, le=4000),
    token: Optional[str] = Input(default=None),
) -> TrainingOutput:
    return TrainingOutput(weights=dataset)

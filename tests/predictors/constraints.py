"""Every option of Input that limits or describes a value."""

from typing import List

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        steps: int = Input(description="How many", default=50, ge=1, le=500, examples=[20, 30]),
        scale: float = Input(default=7.5, gt=0, lt=20.5),
        size: int = Input(default=512, multiple_of=8),
        name: str = Input(title="Full name", min_length=1, max_length=40, regex="^[a-z]+$"),
        tags: List[str] = Input(default=["a"], min_items=1, max_items=3),
        sampler: str = Input(choices=["DDIM", "K_EULER"], default="DDIM"),
        batch: int = Input(choices=[1, 4, 8], default=4),
        strength: float = Input(choices=[0.5, 1], default=1),
        old: str = Input(default="", deprecated=True),
        image: Path = Input(accept="image/*"),
    ) -> str:
        return f"{steps} {scale} {size} {name} {tags} {sampler} {batch} {strength} {old} {image.name}"

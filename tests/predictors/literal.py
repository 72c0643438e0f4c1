"""Literal inputs."""

from typing import List, Literal, Optional

from cog import BasePredictor, Input

Format = Literal["png", "webp"]


class Predictor(BasePredictor):
    def predict(
        self,
        kind: Literal["a", "b"],
        format: Format = "png",
        level: Literal[1, 2, 3] = Input(default=2, description="How much"),
        either: Optional[Literal["x", True, 1]] = None,
        many: List[Format] = Input(default=["png"]),
    ) -> Literal["done"]:
        return "done"

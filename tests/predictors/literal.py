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
    ) -> Literal["done", "default"]:
        assert type(level) is int and either in ("x", True, None)
        if (format, level, either, many) == ("png", 2, None, ["png"]):
            return "default"
        assert (kind, format, level, either is True, many) == ("b", "webp", 3, True, ["webp", "png"])
        return "done"


CASES = [
    ({"kind": "a"}, "default"),
    ({"kind": "b", "format": "webp", "level": 3, "either": True, "many": ["webp", "png"]}, "done"),
]
BAD_INPUTS = [
    ({"kind": "c"}, "kind"),
    ({"kind": "a", "level": "2"}, "level"),
    ({"kind": "a", "level": 2.0}, "level"),
    ({"kind": "a", "level": True}, "level"),
    ({"kind": "a", "either": 2}, "either"),
    ({"kind": "a", "many": ["png", "gif"]}, "many.1"),
]

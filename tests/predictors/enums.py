"""Enum inputs, of text, of numbers and by the functional form."""

from enum import Enum, IntEnum
from typing import List, Optional

from cog import BasePredictor, Input

Shape = Enum("Shape", [("ROUND", "round"), ("SQUARE", "square")])


class Color(str, Enum):
    RED = "red"
    GREEN = "green"
    ALSO_RED = "red"

    @property
    def code(self) -> str:
        return self.value[0]


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Predictor(BasePredictor):
    def predict(
        self,
        color: Color,
        color2: Color = Color.GREEN,
        level: Level = Input(default=Level.HIGH),
        shape: Optional[Shape] = None,
        colors: List[Color] = [Color.RED],  # noqa: B006 - defaults are copied
        name: str = Input(choices=[item.value for item in Color], default=Color.RED.value),
        key: str = Input(choices=list(Color.__members__), default=Color["RED"].name),
    ) -> Color:
        return color

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
        assert color2 is Color.GREEN and shape in (None, Shape.SQUARE)
        assert isinstance(level, Level) and isinstance(colors[0], Color)
        print(color.code, level.name, shape and shape.name, [item.name for item in colors], name, key)
        return {"RED": Color.GREEN, "GREEN": Color.RED}[color.name]


CASES = [
    ({"color": "red"}, "green"),
    (
        {"color": "green", "level": 1, "shape": "square", "colors": ["green", "red"], "name": "green", "key": "ALSO_RED"},
        "red",
    ),
]
BAD_INPUTS = [
    ({"color": "RED"}, "color"),
    ({"color": "red", "level": 3}, "level"),
    ({"color": "red", "level": True}, "level"),
    ({"color": "red", "level": 1.0}, "level"),
    ({"color": "red", "shape": "oval"}, "shape"),
    ({"color": "red", "colors": ["red", "blue"]}, "colors.1"),
    ({"color": "red", "key": "BLUE"}, "key"),
]

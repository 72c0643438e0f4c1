"""Objects as inputs: dataclasses, named tuples, typed dicts and cog.BaseModel, inside each other."""

from dataclasses import dataclass, field
from typing import ClassVar, Dict, List, NamedTuple, Optional, TypedDict

from cog import BaseModel, BasePredictor, Input, Path

class Point(NamedTuple):
    x: float
    y: float = 0.5


class Box(TypedDict, total=False):
    left: int
    right: int


@dataclass(frozen=True)
class Size:
    width: int
    height: int = 512
    unit: ClassVar[str] = "px"
    names: List[str] = field(default_factory=list)
    limit: int = field(default=3, repr=False)


@dataclass(frozen=True)
class NamedSize(Size):
    name: str = "plain"


class Settings(BaseModel):
    size: Size
    points: List[Point]
    steps: int = Input(default=4, ge=1, le=9, description="How many")
    note: Optional[str]
    _private: int = 3


class Predictor(BasePredictor):
    def predict(
        self,
        settings: Settings,
        size: NamedSize,
        point: Point = Point(1.5),
        boxes: Dict[str, Box] = {},  # noqa: B006 - defaults are copied
        plain: Size = Size(3, height=4),
        image: Optional[Path] = None,
    ) -> Settings:
        return settings

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
        assert type(settings) is Settings and type(settings.size) is Size and type(settings.points[0]) is Point
        assert type(size) is NamedSize and type(plain) is Size and type(point) is Point
        assert all(type(box) is dict for box in boxes.values())
        area = settings.size.width * settings.size.height + size.width * size.height + plain.width * plain.height
        note = f"{area} {size.name} {size.names} {size.limit} {sorted(boxes)} {image and image.read_text()}"
        return Settings(size=settings.size, points=[*settings.points, point], note=note)


CASES = [
    (
        {"settings": {"size": {"width": 1}, "points": [{"x": 1}]}, "size": {"width": 1}},
        {
            "size": {"width": 1, "height": 512, "names": [], "limit": 3},
            "points": [{"x": 1.0, "y": 0.5}, {"x": 1.5, "y": 0.5}],
            "steps": 4,
            "note": "1036 plain [] 3 [] None",
        },
    ),
    (
        {
            "settings": {"size": {"width": 1, "height": 2, "names": ["a"]}, "points": [{"x": 1, "y": 2}], "steps": 9},
            "size": {"width": 1, "height": 1, "name": "n", "names": ["b"], "limit": 4},
            "point": {"x": 0.5},
            "boxes": {"all": {"left": 1, "right": 2}, "none": {}},
            "plain": {"width": 5, "height": 5},
            "image": "data:text/plain;base64,aGk=",
        },
        {
            "size": {"width": 1, "height": 2, "names": ["a"], "limit": 3},
            "points": [{"x": 1.0, "y": 2.0}, {"x": 0.5, "y": 0.5}],
            "steps": 4,
            "note": "28 n ['b'] 4 ['all', 'none'] hi",
        },
    ),
]
BAD_INPUTS = [
    ({"settings": {"size": {"width": 1}, "points": []}, "size": {}}, "size.width"),
    ({"settings": {"points": []}, "size": {"width": 1}}, "settings.size"),
    ({"settings": {"size": {"width": 1}, "points": [{"y": 1}]}, "size": {"width": 1}}, "settings.points.0.x"),
    ({"settings": {"size": {"width": 1}, "points": [], "steps": 10}, "size": {"width": 1}}, "settings.steps"),
    ({"settings": {"size": {"width": 1, "unit": "m"}, "points": []}, "size": {"width": 1}}, "settings.size.unit"),
]

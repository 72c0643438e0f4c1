"""A dataclass of everything that has a JSON form, as output."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any, Dict, List, NamedTuple, Optional, Set, Tuple

from cog import BasePredictor, Path, Secret
from shapes.files import text_file


class Color(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int


@dataclass
class Inner:
    file: Path
    at: datetime = datetime(2024, 1, 2)


@dataclass
class Result:
    inner: Inner
    color: Color = Color.RED
    by_color: Dict[str, Color] = field(default_factory=dict)
    point: Point = Point(1)
    numbers: Set[int] = field(default_factory=lambda: {2})
    pair: Tuple[int, Optional[date]] = (1, date(2024, 1, 2))
    content: bytes = b"hi"
    hidden: Secret = Secret("shown as stars")
    anything: Any = None
    files: List[Path] = field(default_factory=list)


class Predictor(BasePredictor):
    def predict(self, text: str) -> Result:
        by_color = {Color.RED: Color.RED}
        return Result(Inner(text_file(text)), by_color=by_color, anything=(item for item in "ab"), files=[text_file("ho")])


CASES = [
    (
        {"text": "hi"},
        {
            "inner": {"file": "data:text/plain;base64,aGk=", "at": "2024-01-02T00:00:00"},
            "color": "red",
            "by_color": {"red": "red"},
            "point": {"x": 1},
            "numbers": [2],
            "pair": [1, "2024-01-02"],
            "content": "data:application/octet-stream;base64,aGk=",
            "hidden": "**********",
            "anything": ["a", "b"],
            "files": ["data:text/plain;base64,aG8="],
        },
    ),
]
BAD_INPUTS = [({"text": {}}, "text")]

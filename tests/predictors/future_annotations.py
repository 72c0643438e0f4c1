"""`from __future__ import annotations`, with names that are imported further down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, List, Optional

from cog import BasePredictor, Input

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass
class Size:
    width: int
    kind: ClassVar[str] = "px"
    names: Optional[List[str]] = None


class Predictor(BasePredictor):
    def helper(self, array: ndarray) -> ndarray:
        return array

    def predict(self, size: Size, mode: Mode = Input(default="a"), n: int = 3) -> List[Size]:
        return [size, Size(size.width + n, [mode, *(size.names or [])])]


from typing import Literal  # noqa: E402

Mode = Literal["a", "b"]


CASES = [
    ({"size": {"width": 1}}, [{"width": 1, "names": None}, {"width": 4, "names": ["a"]}]),
    (
        {"size": {"width": 1, "names": ["x"]}, "mode": "b", "n": 1},
        [{"width": 1, "names": ["x"]}, {"width": 2, "names": ["b", "x"]}],
    ),
]
BAD_INPUTS = [
    ({"size": {}}, "size.width"),
    ({"size": {"width": 1, "kind": "px"}}, "size.kind"),
    ({"size": {"width": 1}, "mode": "c"}, "mode"),
]

"""Inputs that may be left out or be None, in every spelling."""

from typing import List, Optional, Union

from cog import BasePredictor, Input, Path


class Predictor(BasePredictor):
    def predict(
        self,
        a: Optional[str],
        b: Optional[int] = None,
        c: str = Input(default=None),
        d: Path = None,  # type: ignore[assignment]  # an older spelling that must work
        e: Union[int, str, None] = Input(default=3),
        f: Optional[List[Optional[float]]] = Input(default=None, description="numbers"),
        g: Union[float, List[float]] = 0.5,
    ) -> Optional[str]:
        if a is None:
            return None
        return f"{a} {b} {c} {d and d.read_text()} {e!r} {f} {g}"


CASES = [
    ({"a": "x"}, "x None None None 3 None 0.5"),
    ({"a": None}, None),
    (
        {"a": "", "b": 1, "c": "c", "d": "data:text/plain;base64,aGk=", "e": "three", "f": [1, None], "g": [1, 2]},
        " 1 c hi 'three' [1.0, None] [1.0, 2.0]",
    ),
    ({"a": "x", "b": None, "c": None, "d": None, "e": None, "f": None, "g": 2}, "x None None None None None 2"),
    ({}, None),
]
BAD_INPUTS = [
    ({"a": 1}, "a"),
    ({"a": None, "d": "no URL"}, "d"),
    ({"a": None, "f": ["1"]}, "f.0"),
]

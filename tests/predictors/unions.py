"""Unions: each value arrives as the member it fits."""

from dataclasses import dataclass
from datetime import date
from typing import Dict, List, Union

from cog import BasePredictor, Path


@dataclass
class Circle:
    radius: int


@dataclass
class Square:
    side: int


@dataclass
class Ball:
    radius: float


class Predictor(BasePredictor):
    def predict(
        self,
        file: Union[Path, List[Path]],
        shape: Union[Circle, Square, Ball] = Circle(1),
        text: Union[Path, str] = "plain",
        value: Union[int, date, List[int], List[str], Dict[str, Path], bool] = 0,
    ) -> str:
        files = file if isinstance(file, list) else [file]
        read = "+".join(each.read_text() for each in files)
        word = text.read_text().upper() if isinstance(text, Path) else text
        if isinstance(value, dict):
            value = {key: path.read_text() for key, path in value.items()}
        return f"{read} {shape} {word} {value!r}"


CASES = [
    ({"file": "data:text/plain;base64,aGk="}, "hi Circle(radius=1) plain 0"),
    (
        {"file": ["data:,a", "data:,b"], "shape": {"side": 2}, "text": "data:,file", "value": "2024-01-02"},
        "a+b Square(side=2) FILE datetime.date(2024, 1, 2)",
    ),
    ({"file": [], "shape": {"radius": 0.5}, "text": "/etc/hostname", "value": ["a"]}, " Ball(radius=0.5) /etc/hostname ['a']"),
    ({"file": "data:,", "value": {"k": "data:,x"}}, " Circle(radius=1) plain {'k': 'x'}"),
    ({"file": "data:,", "value": True}, " Circle(radius=1) plain True"),
]
BAD_INPUTS = [({"shape": {"side": 2}}, "file")]

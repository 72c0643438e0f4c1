"""Random signatures as source text: types, defaults and Input options, fitting together or not."""

from __future__ import annotations

from random import Random

HEAD = """\
import datetime
import typing
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import (
    Annotated, Any, Dict, FrozenSet, Iterator, List, Literal, NamedTuple, NewType, Optional, Sequence, Set, Tuple,
    TypedDict, Union,
)
import cog
from cog import BaseModel, BasePredictor, ConcatenateIterator, Input, Opaque, Path, Secret


class Color(str, Enum):
    RED = "red"
    BLUE = "blue"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


UserId = NewType("UserId", int)
WORDS = ["a", "b", "c"]
"""

_SCALARS = ["str", "int", "float", "bool", "Path", "Secret", "Any", "datetime.datetime", "datetime.date", "cog.Path"]
_NAMED = ["Color", "Level", "UserId", "None", 'Literal["a", "b"]', "Literal[1, 2, None]", "Literal[True]"]
_ODD = ["bytes", "object", "list", "List", "dict", "Dict", "set", "tuple", "type", "NoSuchInText", "Literal[1.5]"]
_GENERIC = [
    "List[{0}]",
    "list[{0}]",
    "Set[{0}]",
    "FrozenSet[{0}]",
    "Tuple[{0}, {1}]",
    "tuple[{0}, ...]",
    "Dict[str, {0}]",
    "dict[str, {0}]",
    "Dict[int, {0}]",
    "Sequence[{0}]",
    "Optional[{0}]",
    "Union[{0}, {1}]",
    "Annotated[{0}, 'note']",
    "Annotated[{0}, Opaque]",
    "Annotated[{0}, Input(description='inner')]",
    "Annotated[{0}, Input(ge=1)]",
    "typing.Iterator[{0}]",
]
_VALUES = [
    "None",
    "0",
    "1",
    "-3",
    "True",
    "2.5",
    "1e3",
    "'a'",
    "'red'",
    "''",
    "'2024-01-01'",
    "[]",
    "['a']",
    "[1, 2]",
    "[['a']]",
    "(1, 'a')",
    "{'a': 1}",
    "{'b', 'a'}",
    "{}",
    "Color.RED",
    "Level.HIGH",
    "Path('x/y')",
    "datetime.date(2024, 1, 2)",
    "datetime.datetime(2024, 1, 2, 3)",
    "WORDS[0]",
    "WORDS",
    "...",
    "b'x'",
    "1j",
    "float('inf')",
]
_OPTIONS = {
    "description": ["'Say'", "f'{len(WORDS)} words'", "None", "('a',)"],
    "title": ["'T'"],
    "ge": ["0", "1.5", "-1", "'a'", "True"],
    "gt": ["0", "10"],
    "le": ["10", "0", "2.5"],
    "lt": ["11", "1"],
    "multiple_of": ["2", "0.5", "0"],
    "min_length": ["0", "1", "-1"],
    "max_length": ["0", "3"],
    "min_items": ["0", "1"],
    "max_items": ["1", "5"],
    "regex": ["'^a'", "'('"],
    "choices": ["['a', 'b']", "WORDS", "[1, 2]", "[]", "[0.5, 1]", "['a', 1]", "[None, 'a']", "list(Color)"],
    "deprecated": ["True", "False"],
    "accept": ["'image/*'"],
    "examples": ["['a']", "[1]", "'a'"],
    "order": ["0", "3", "-1", "'a'"],
}


class SignatureMaker:
    """Makes the source of one predictor from `random`."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.classes: list[str] = []

    def source(self) -> str:
        """A module with a class `Predictor` or a function `predict`, named in its last line."""
        pick = self.random
        head = "from __future__ import annotations\n" if pick.random() < 0.2 else ""
        classes = [line for _ in range(pick.randrange(3)) for line in self.class_()]
        parameters = [self.parameter(f"p{position}") for position in range(pick.randrange(5))]
        returns = pick.choice(["", *[f" -> {self.returned()}"] * 12])
        asynchronous = "async " if pick.random() < 0.2 else ""
        star = ["*"] if parameters and pick.random() < 0.8 else []  # else a default may come before none
        body = "yield 1" if "Iterator" in returns else "return None"
        inside = f"{asynchronous}def predict({{}}){returns}:"
        if pick.random() < 0.3:
            lines = [inside.format(", ".join([*star, *parameters])), f"    {body}", "TARGET = predict"]
        else:
            base = pick.choice(["(BasePredictor)", "(cog.Predictor)", "", "(BasePredictor)"])
            lines = [f"class Predictor{base}:"]
            if pick.random() < 0.3:
                lines += [f"    {pick.choice(['', 'async '])}def setup(self): pass"]
            lines += ["    " + inside.format(", ".join(["self", *star, *parameters])), f"        {body}"]
            lines.append("TARGET = Predictor")
        return head + "\n".join([HEAD, *classes, *lines, ""])

    def type(self, depth: int = 0) -> str:
        roll = self.random.random()
        if roll < 0.04:
            return self.random.choice(_ODD)
        if self.classes and roll < 0.2:
            return self.random.choice(self.classes)
        if depth < 3 and roll < 0.5:
            return self.random.choice(_GENERIC).format(self.type(depth + 1), self.type(depth + 1))
        if roll < 0.65:
            return self.random.choice(_NAMED)
        return self.random.choice(_SCALARS)

    def written_type(self) -> str:
        """A type, sometimes as text or with `|`."""
        text = self.type()
        roll = self.random.random()
        if roll < 0.1 and '"' not in text:
            return f'"{text}"'
        if roll < 0.2 and not text.startswith(("None", "'")) and text != "NoSuchInText":
            return f"{text} | None"
        return text if text != "NoSuchInText" else '"NoSuchInText"'

    def returned(self) -> str:
        return self.random.choice([self.written_type(), f"Iterator[{self.type()}]", "ConcatenateIterator[str]", "str"])

    def parameter(self, name: str) -> str:
        roll = self.random.random()
        annotation = "" if roll < 0.03 else f": {self.written_type()}"
        if roll < 0.25:
            return f"{name}{annotation}"
        if roll < 0.4:
            return f"{name}{annotation} = {self.random.choice(_VALUES)}"
        return f"{name}{annotation} = {self.input()}"

    def input(self) -> str:
        options = self.random.sample(sorted(_OPTIONS), self.random.randrange(4))
        words = [f"{option}={self.random.choice(_OPTIONS[option])}" for option in options]
        if self.random.random() < 0.6:
            words.insert(0, f"default={self.random.choice(_VALUES)}")
        return f"Input({', '.join(words)})"

    def class_(self) -> list[str]:
        name = f"K{len(self.classes)}"
        kind = self.random.choice(["dataclass", "model", "typed", "named", "total"])
        heads = {
            "dataclass": ["@dataclass", f"class {name}:"],
            "model": [f"class {name}(BaseModel):"],
            "typed": [f"class {name}(TypedDict):"],
            "total": [f"class {name}(TypedDict, total=False):"],
            "named": [f"class {name}(NamedTuple):"],
        }
        lines = heads[kind]
        has_default = False
        for position in range(self.random.randrange(1, 4)):
            default = ""
            if kind in ("dataclass", "named", "model") and (has_default or self.random.random() < 0.4):
                simple = ["None", "1", "'a'", "2.5", "(1, 2)", "Color.RED"]
                extra = {
                    "model": ["Input(ge=1)", "Input(default=1)", "[1]"],
                    "dataclass": ["field(default_factory=list)"],
                }
                default = f" = {self.random.choice([*simple, *extra.get(kind, [])])}"
                has_default = kind != "model"
            lines.append(f"    f{position}: {self.written_type()}{default}")
        self.classes.append(name)
        return lines

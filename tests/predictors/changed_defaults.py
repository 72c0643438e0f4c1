"""A predictor that changes what it is given: the next prediction gets the default as it was written."""

from dataclasses import dataclass, field
from typing import Any, Dict, List, Set

from cog import BasePredictor, Input


@dataclass
class Size:
    names: List[str] = field(default_factory=lambda: ["s"])
    limits: List[int] = Input(default=[1])


class Predictor(BasePredictor):
    def predict(
        self,
        size: Size,
        tags: List[str] = ["a"],  # noqa: B006
        numbers: Set[int] = {1},  # noqa: B006
        options: Dict[str, Any] = Input(default={"deep": [1]}),
        anything: Any = [1],  # noqa: B006
        other: Size = Size(["o"], [2]),
    ) -> str:
        for values in (tags, options["deep"], anything, size.names, size.limits, other.names, other.limits):
            values.append(0)
        numbers.add(0)
        return f"{tags} {sorted(numbers)} {options} {anything} {size} {other}"


# Twice the same.
CASES = [
    (
        {"size": {}},
        "['a', 0] [0, 1] {'deep': [1, 0]} [1, 0] "
        "Size(names=['s', 0], limits=[1, 0]) Size(names=['o', 0], limits=[2, 0])",
    ),
    (
        {"size": {}},
        "['a', 0] [0, 1] {'deep': [1, 0]} [1, 0] "
        "Size(names=['s', 0], limits=[1, 0]) Size(names=['o', 0], limits=[2, 0])",
    ),
]
BAD_INPUTS = [({"size": {}, "tags": "a"}, "tags")]

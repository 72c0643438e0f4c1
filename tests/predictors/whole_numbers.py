"""Numbers as clients write them: 20.0 for an int, and what a union makes of a number."""

from typing import Any, Dict, List, Optional, Union

from cog import BasePredictor, Input


class Predictor(BasePredictor):
    def predict(
        self,
        steps: int = Input(default=1, ge=1, le=50),
        sizes: List[int] = [],  # noqa: B006 - defaults are copied
        by_name: Dict[str, List[Optional[int]]] = {},  # noqa: B006
        either: Union[int, float] = 0,
        other: Union[str, float] = "",
        counted: Union[int, str] = "",
        anything: Any = 0,
    ) -> str:
        return repr([steps, sizes, by_name, either, other, counted, anything])


CASES = [
    ({"steps": 20.0}, "[20, [], {}, 0, '', '', 0]"),
    ({"sizes": [1.0, 2], "by_name": {"a": [3.0, None]}}, "[1, [1, 2], {'a': [3, None]}, 0, '', '', 0]"),
    (
        {"either": 2.0, "other": 1, "counted": 7.0, "anything": 1.0},
        "[1, [], {}, 2.0, 1, 7, 1.0]",
    ),
    ({"either": 2, "other": 1.5}, "[1, [], {}, 2, 1.5, '', 0]"),
]
BAD_INPUTS = [
    ({"steps": 20.5}, "steps"),
    ({"steps": 51.0}, "steps"),
    ({"steps": 1e300}, "steps"),
    ({"sizes": [1, 2.5]}, "sizes.1"),
    ({"by_name": {"a": [True]}}, "by_name.a.0"),
]

"""functools.partial of a function."""

import functools

from cog import Input, Path


def repeat(separator: str, document: Path, times: int = Input(ge=1, le=9), mark: str = "!") -> str:
    return separator.join([document.read_text()] * times) + mark


predict = functools.partial(repeat, "-", mark="?")

CASES = [
    ({"document": "data:text/plain;base64,aGk=", "times": 2}, "hi-hi?"),
    ({"document": "data:,ho", "times": 1, "mark": "."}, "ho."),
]
BAD_INPUTS = [({"document": "data:,", "times": 10}, "times"), ({"document": "data:,", "times": 1, "separator": "-"}, "separator")]

"""A plain function that yields."""

from typing import Iterator


def predict(count: int = 2) -> Iterator[int]:
    for number in range(count):
        yield number * 10


CASES = [({}, [0, 10]), ({"count": 0}, []), ({"count": 4}, [0, 10, 20, 30])]
BAD_INPUTS = [({"count": "2"}, "count")]

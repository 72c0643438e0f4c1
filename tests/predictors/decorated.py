"""Decorators that keep the signature: functools.wraps, with and without arguments, and lru_cache on a helper."""

import functools

from cog import BasePredictor, Input, concurrent


def timed(function):
    """Measure a call."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def retried(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            for _ in range(times):
                return function(*args, **kwargs)

        return wrapper

    return decorate


@functools.lru_cache(maxsize=None)
def sizes(step):
    found = []
    for factor in range(1, 4):
        if factor != 2:
            found.append(step * factor)
    return found


class Predictor(BasePredictor):
    @retried(times=3)
    @timed
    @concurrent(max=2)
    async def predict(self, text: str, size: int = Input(choices=sizes(8), default=8)) -> str:
        return text * size


CASES = [({"text": "a"}, "aaaaaaaa"), ({"text": "", "size": 24}, "")]
BAD_INPUTS = [({"text": "a", "size": 16}, "size"), ({"text": "a", "args": 1}, "args")]

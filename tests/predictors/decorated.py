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
def repeated(text, size):
    return text * size


SIZES = [step * 8 for step in (1, 3)]


class Predictor(BasePredictor):
    @retried(times=3)
    @timed
    @concurrent(max=2)
    async def predict(self, text: str, size: int = Input(choices=SIZES, default=8)) -> str:
        return repeated(text, size)


CASES = [({"text": "a"}, "aaaaaaaa"), ({"text": "", "size": 24}, "")]
BAD_INPUTS = [({"text": "a", "size": 16}, "size"), ({"text": "a", "args": 1}, "args")]

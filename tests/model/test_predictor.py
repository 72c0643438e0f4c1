"""A predictor in a test of its author's own, called like any class."""

from __future__ import annotations

import asyncio
import inspect
from typing import AsyncIterator, Iterator, List

import pydantic
import pytest

from cog import BasePredictor, BaseRunner, Input
from cog.predictor import entry_method


class Greeter(BasePredictor):
    def predict(self, text: str, times: int = Input(default=2), marks: List[str] = Input(default=[])) -> str:
        marks.append("!")
        return text * times + "".join(marks)


def test_what_is_left_out_gets_its_default() -> None:
    assert Greeter().predict("a") == "aa!"
    assert Greeter().predict("a", 3) == "aaa!"
    assert Greeter().predict(text="a", marks=["?"]) == "aa?!"


def test_a_default_is_not_shared_between_calls() -> None:
    assert [Greeter().predict("a") for _ in range(2)] == ["aa!", "aa!"]


def test_a_required_input_is_missed_by_name() -> None:
    class Strict(BasePredictor):
        def predict(self, text: str = Input(description="no default")) -> str:
            return text

    with pytest.raises(TypeError, match="'text'"):
        Strict().predict()
    assert Strict().predict("x") == "x"


def test_pydantic_fields_and_runners_too() -> None:
    class Runner(BaseRunner):
        def run(self, scale: float = pydantic.Field(1.5, ge=1)) -> float:
            return scale

    assert Runner().run() == 1.5
    assert entry_method(Runner) == "run"


def test_async_and_generators_stay_what_they_are() -> None:
    class Streams(BasePredictor):
        def predict(self, n: int = Input(default=2)) -> Iterator[int]:
            yield from range(n)

    class Waits(BasePredictor):
        async def predict(self, n: int = Input(default=2)) -> int:
            return n

    class AsyncStreams(BasePredictor):
        async def predict(self, n: int = Input(default=2)) -> AsyncIterator[int]:
            for item in range(n):
                yield item

    async def collect() -> list[int]:
        return [item async for item in AsyncStreams().predict()]

    assert list(Streams().predict()) == [0, 1]
    assert asyncio.run(Waits().predict()) == 2
    assert inspect.iscoroutinefunction(Waits.predict)
    assert asyncio.run(collect()) == [0, 1]

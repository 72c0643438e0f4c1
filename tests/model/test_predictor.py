"""A predictor in a test of its author's own, called like any class."""

from __future__ import annotations

import asyncio
import inspect
from typing import AsyncIterator, Iterator, List

import pydantic
import pytest

from cog import BasePredictor, BaseRunner, Input, batch, current_scope, record_metric
from cog.predictor import entry_method
from cog.scope import Scope


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


def test_in_a_batch_every_item_gets_the_default() -> None:
    class Batched(BasePredictor):
        @batch(max_size=4)
        def predict(self, a: List[int], b: List[int] = Input(default=2), c: List[int] = 3) -> List[int]:  # type: ignore[assignment]  # of one item
            return [*a, *b, *c]

    assert Batched().predict([0, 1]) == [0, 1, 2, 2, 3, 3]
    assert Batched().predict(a=[0, 1], c=[4, 5]) == [0, 1, 2, 2, 4, 5]


@pytest.mark.parametrize(
    "name", ["", "1a", "a__b", "a_", "a.b.c.d.e", "a-b", "x" * 129, "predict_time", "predict_time.a", "cog.x", 3]
)
def test_a_metric_of_a_bad_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="metric name"):
        record_metric(name, 1)


def test_a_metric_is_a_value_or_a_group_not_both() -> None:
    scope = Scope("", {}, lambda name, value: None)
    scope.record_metric("timing.load", 1)
    scope.record_metric("timing.predict", 2)
    with pytest.raises(ValueError, match=r"the metric timing would be a value, but there is timing\.load inside it"):
        scope.record_metric("timing", 3)
    with pytest.raises(ValueError, match=r"timing\.load\.disk would be inside timing\.load, which is a value"):
        scope.metrics["timing.load.disk"] = 4

    del scope.metrics["timing.load"], scope.metrics["timing.predict"]
    scope.record_metric("timing", 3)

    assert dict(scope.metrics) == {"timing": 3}


def test_a_metric_keeps_its_type_until_it_is_deleted() -> None:
    scope = Scope("", {}, lambda name, value: None)
    scope.record_metric("a", 1)
    with pytest.raises(TypeError, match="holds a number, not a text"):
        scope.record_metric("a", "x")
    scope.record_metric("a", None)
    scope.record_metric("a", "x")
    assert dict(scope.metrics) == {"a": "x"}


@pytest.mark.parametrize(
    ("value", "mode"),
    [(object(), "replace"), (float("nan"), "replace"), ("x", "incr")],
    ids=("object", "nan", "text"),
)
def test_a_metric_that_is_no_json_is_refused(value: object, mode: str) -> None:
    with pytest.raises(TypeError, match="the metric a"):
        record_metric("a", value, mode)


def test_a_predict_that_measures_can_be_called_in_a_test() -> None:
    class Measuring(BasePredictor):
        def predict(self) -> str:
            self.record_metric("tokens", 1)
            return current_scope().context.get("who", "nobody")

    assert Measuring().predict() == "nobody"

"""Predictions as server-sent events, read over real HTTP as they come."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.server.conftest import Serve, Server, serving, wait_until

COUNTING = """
    import asyncio
    class Predictor(BasePredictor):
        async def setup(self):
            pass
        async def predict(self, count: int = 3, pause: float = 0.0, say: str = None) -> AsyncIterator[str]:
            for position in range(count):
                print("line", position)
                record_metric("items", 1, mode="incr")
                yield f"item {position}" if say is None else say
                await asyncio.sleep(pause)
"""
STREAM = {"accept": "text/event-stream"}


@dataclass(frozen=True)
class Event:
    id: str | None
    name: str
    data: Any
    at: float


def read_events(lines: Iterator[str]) -> Iterator[Event]:
    """Server-sent events, as the HTML standard has a client read them."""
    fields: dict[str, str] = {}
    for line in lines:
        if line == "":
            if "data" in fields:
                yield Event(fields.get("id"), fields["event"], json.loads(fields["data"]), time.monotonic())
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value


@contextlib.contextmanager
def streaming(server: Server, method: str, path: str, **given: Any) -> Iterator[Iterator[Event]]:
    headers = {**STREAM, **given.pop("headers", {})}
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client:
        with client.stream(method, path, headers=headers, **given) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield read_events(answer.iter_lines())


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("counting")) as start:
        yield start(COUNTING, environment={"COG_MAX_CONCURRENCY": "8", "COG_STREAM_GRACE": "0.5"})


def test_a_stream_tells_everything_in_order(counting: Server) -> None:
    with streaming(counting, "POST", "/predictions", json={"id": "all", "input": {"count": 2}}) as events:
        found = list(events)

    assert [event.name for event in found if event.name not in ("log", "metric")] == [
        "start",
        "output",
        "output",
        "completed",
    ]
    assert [event.data for event in found if event.name == "output"] == [
        {"index": 0, "chunk": "item 0"},
        {"index": 1, "chunk": "item 1"},
    ]
    # Clients that compare text want this order.
    assert [list(event.data) for event in found if event.name == "output"] == [["chunk", "index"]] * 2
    assert "".join(event.data["data"] for event in found if event.name == "log") == "line 0\nline 1\n"
    assert [event.data["value"] for event in found if event.name == "metric"] == [1, 2]
    assert found[0].data == {"id": "all", "status": "processing"}
    assert found[-1].data["status"] == "succeeded"
    assert found[-1].data == counting.http.get("/predictions/all").json()
    assert [int(event.id or 0) for event in found] == list(range(1, len(found) + 1))


def test_the_first_item_of_an_async_generator_comes_long_before_its_last(counting: Server) -> None:
    with streaming(counting, "POST", "/predictions", json={"input": {"count": 4, "pause": 0.3}}) as events:
        moments = [event.at for event in events if event.name == "output"]

    assert moments[-1] - moments[0] > 0.6


def test_a_reader_that_comes_back_gets_what_it_missed_and_nothing_twice(counting: Server) -> None:
    given = {"id": "resumed", "input": {"count": 6, "pause": 0.1}}
    with streaming(counting, "POST", "/predictions", json=given) as events:
        first = [next(events) for _ in range(5)]
    last = {"last-event-id": first[-1].id or ""}
    with streaming(counting, "GET", "/predictions/resumed", headers=last) as events:
        rest = list(events)

    chunks = [event.data["chunk"] for event in first + rest if event.name == "output"]
    assert chunks == [f"item {position}" for position in range(6)]
    assert rest[-1].data["status"] == "succeeded"


def test_a_stream_of_a_finished_prediction_replays_it(counting: Server) -> None:
    counting.http.put("/predictions/done", json={"input": {"count": 2}})

    with streaming(counting, "GET", "/predictions/done") as events:
        names = [event.name for event in events]

    assert names[0] == "start"
    assert names[-1] == "completed"


def test_a_stream_that_nobody_reads_any_more_is_canceled_after_its_grace(counting: Server) -> None:
    given = {"id": "left", "input": {"count": 1000, "pause": 0.1}}
    with streaming(counting, "POST", "/predictions", json=given) as events:
        next(events)

    wait_until(lambda: counting.http.get("/predictions/left").json()["status"] == "canceled", "it goes on", timeout_s=5)


@pytest.mark.parametrize("keep", ["another reader", "respond-async"])
def test_a_stream_that_somebody_counts_on_goes_on(counting: Server, keep: str) -> None:
    name = keep.replace(" ", "-")
    given = {"id": name, "input": {"count": 12, "pause": 0.1}}
    headers = {"prefer": "respond-async"} if keep == "respond-async" else {}
    with contextlib.ExitStack() as stack:
        with streaming(counting, "POST", "/predictions", json=given, headers=headers) as events:
            next(events)
            if keep == "another reader":
                other = stack.enter_context(streaming(counting, "GET", f"/predictions/{name}"))
        if keep == "another reader":
            assert list(other)[-1].data["status"] == "succeeded"
    wait_until(lambda: counting.http.get(f"/predictions/{name}").json()["status"] == "succeeded", "it was canceled")


def test_a_failed_prediction_ends_its_stream_with_the_reason(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> Iterator[str]:
                yield "one"
                raise ValueError("out of words")
        """
    )

    with streaming(server, "POST", "/predictions", json={}) as events:
        last = list(events)[-1]

    assert (last.name, last.data["status"], last.data["error"]) == ("completed", "failed", "out of words")
    assert last.data["output"] == ["one"]


def test_a_reader_who_comes_too_late_for_the_beginning_is_told_so(serve: Serve) -> None:
    server = serve(COUNTING, environment={"COG_STREAM_HISTORY_CAPACITY": "4"})
    server.http.put("/predictions/long", json={"input": {"count": 20}})

    with streaming(server, "GET", "/predictions/long") as events:
        [event] = events

    assert event.name == "error"
    assert "no longer kept" in event.data["error"]


def test_without_a_history_a_late_reader_gets_the_end_only(serve: Serve) -> None:
    server = serve(COUNTING, environment={"COG_STREAM_HISTORY_CAPACITY": "0"})
    server.http.put("/predictions/done", json={"input": {"count": 3}})

    with streaming(server, "GET", "/predictions/done") as events:
        assert [event.name for event in events] == ["completed"]


def test_a_reader_that_does_not_read_slows_nothing(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, count: int) -> Iterator[str]:
                for position in range(count):
                    yield "x" * 100_000
        """
    )

    with streaming(server, "POST", "/predictions", json={"id": "fast", "input": {"count": 400}}):
        wait_until(
            lambda: server.http.get("/predictions/fast").json()["status"] == "succeeded",
            "the model waits for its reader",
            timeout_s=15,
        )
        assert server.http.get("/predictions/fast").json()["metrics"]["predict_time"] < 10


@pytest.mark.parametrize("text", ["a\nb", "a\r\n\r\ndata: x", "\u2028\u2029\x85\x0b\x1c", "ÄÖÜ 🙂", ""], ids=ascii)
def test_no_text_splits_an_event(counting: Server, text: str) -> None:
    with streaming(counting, "POST", "/predictions", json={"input": {"count": 1, "say": text}}) as events:
        chunks = [event.data["chunk"] for event in events if event.name == "output"]

    assert chunks == [text]


def test_a_training_streams_too(tmp_path: Path) -> None:
    with serving(tmp_path) as start:
        server = start(
            """
            def Predictor(steps: int = 2) -> int:
                print("training")
                return steps
            """,
            arguments=["--x-mode", "train"],
            environment={"COG_TRAIN": "predict.py:Predictor"},
        )
        with streaming(server, "POST", "/trainings", json={}) as events:
            names = [event.name for event in events]

    assert names == ["start", "log", "output", "completed"]

"""Traces, as a collector gets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cog_server.observe.trace_context import read_parent
from cog_server.observe.trace_options import read_trace_options
from cog_server.settings import SettingsError, read_settings
from tests.conftest import REPOSITORY
from tests.fakes.otlp_collector import Collector, Received, Reply, collecting
from tests.server.conftest import Serve, Server, wait_until
from tests.server.observe.test_metrics import scrape
from tests.shared import free_port

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, how: str = "", file: Optional[Path] = None, sleep_s: float = 0.0) -> str:
            time.sleep(sleep_s)
            if how == "fail":
                raise ValueError("no weights")
            return current_scope().traceparent or ""
"""
FILES = """
    class Predictor(BasePredictor):
        def predict(self, file: Path) -> Path:
            time.sleep(0.05)
            Path("/tmp/cog-traced.txt").write_text(file.read_text())
            return Path("/tmp/cog-traced.txt")
"""
MAKE = """
import asyncio, os, sys
import cog_server.serving
from cog_server.http.app import create_app
from cog_server.jobs.service import Service
from cog_server.observe.logs import ModelLog
from cog_server.settings import read_settings
from cog_server.predictions.store.memory import MemoryStore
from cog_server.worker.pool import WorkerPool

async def make():
    settings = read_settings({"COG_PREDICT": "predict.py:Predictor", **os.environ})
    model_log = ModelLog("json")
    pool = WorkerPool(settings, on_text=model_log.write)
    service = Service(settings, MemoryStore(1), pool, model_log, shut_down=lambda code: None)
    app = create_app(settings, service, shut_down=lambda code: None, middleware=service.middleware)
    return app.app.user_middleware

middleware = asyncio.run(make())
print(len(middleware), *(each.cls.__name__ for each in middleware), *sys.modules)
"""
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def traced(serve: Serve, collector: Collector, source: str = SOURCE, **environment: str) -> Server:
    return serve(source, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **environment})


def spans_of(collector: Collector, prediction_id: str) -> dict[str, Received]:
    wait_until(lambda: bool(collector.of(prediction_id)), "no spans of it have come")
    return collector.of(prediction_id)


@pytest.mark.slow
def test_a_prediction_is_a_span_below_its_caller_with_its_steps_below_it(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector, OTEL_SERVICE_NAME="painter", OTEL_RESOURCE_ATTRIBUTES="region=eu%20west,a=b")

    answer = server.http.post(
        "/predictions", json={"input": {"sleep_s": 0.1}}, headers={"traceparent": PARENT, "tracestate": "v=1"}
    ).json()

    spans = spans_of(collector, answer["id"])
    root, queue, predict = spans["prediction"], spans["queue"], spans["predict"]
    assert set(spans) == {"prediction", "queue", "predict"}, "there were no files"
    assert (root.trace_id, root.parent_id, root.state) == (TRACE, CALLER, "v=1")
    assert (root.kind, queue.kind) == (Span.SPAN_KIND_SERVER, Span.SPAN_KIND_INTERNAL)
    assert root.attributes == {
        "cog.prediction.id": answer["id"],
        "cog.prediction.status": "succeeded",
        "http.request.method": "POST",
        "http.route": "/predictions",
    }
    assert {queue.parent_id, predict.parent_id} == {root.span_id}
    assert root.start_ns <= queue.start_ns <= queue.end_ns <= predict.start_ns <= predict.end_ns <= root.end_ns
    assert abs(root.end_ns - time.time_ns()) < 60e9
    assert (predict.end_ns - predict.start_ns) / 1e9 == pytest.approx(answer["metrics"]["predict_time"], abs=0.01)
    assert not any(span.is_error for span in spans.values())
    assert answer["output"] == f"00-{TRACE}-{predict.span_id}-01", "the model continues the span predict"
    assert collector.resources[0] == {"service.name": "painter", "region": "eu west", "a": "b"}


@pytest.mark.slow
def test_files_are_spans_too(serve: Serve, collector: Collector, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    server = traced(serve, collector, FILES, COG_FILE_ROOTS=str(tmp_path))

    answer = server.http.put("/predictions/mine", json={"input": {"file": f"file://{tmp_path}/in.txt"}}).json()

    assert answer["status"] == "succeeded", answer
    spans = spans_of(collector, "mine")
    assert set(spans) == {"prediction", "queue", "download", "predict", "upload"}
    assert spans["download"].attributes == {"cog.files": 1}
    assert spans["queue"].end_ns <= spans["download"].start_ns <= spans["download"].end_ns <= spans["predict"].start_ns
    assert spans["predict"].start_ns + 40e6 <= spans["upload"].start_ns <= spans["upload"].end_ns
    assert spans["prediction"].attributes["http.route"] == "/predictions/{prediction_id}"
    assert spans["prediction"].parent_id == ""


@pytest.mark.slow
def test_what_fails_says_why(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector)

    failed = spans_of(collector, server.predict(how="fail")["id"])
    unfetched = spans_of(collector, server.predict(file="http://127.0.0.1:9/x")["id"])

    for name in ("prediction", "predict"):
        assert (failed[name].is_error, failed[name].message) == (True, "no weights")
    assert failed["prediction"].attributes["cog.prediction.status"] == "failed"
    assert not failed["queue"].is_error
    assert set(unfetched) == {"prediction", "queue", "download"}
    assert unfetched["download"].is_error
    assert unfetched["download"].message == unfetched["prediction"].message != ""


def test_a_canceled_one_is_no_error(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector)
    body = {"input": {"sleep_s": 20}}
    for name in ("runs", "waits"):
        server.http.put(f"/predictions/{name}", json=body, headers={"prefer": "respond-async"})
    for name in ("waits", "runs"):
        server.http.post(f"/predictions/{name}/cancel")

    assert set(spans_of(collector, "waits")) >= {"prediction", "queue"}
    root = spans_of(collector, "runs")["prediction"]
    assert (root.is_error, root.attributes["cog.prediction.status"]) == (False, "canceled")


def test_the_callers_decision_not_to_sample_is_kept_and_handed_on(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector)

    answer = server.http.post("/predictions", json={}, headers={"traceparent": PARENT[:-1] + "0"}).json()
    spans_of(collector, server.predict()["id"])

    assert answer["output"].startswith(f"00-{TRACE}-")
    assert answer["output"].endswith("-00")
    assert not collector.of(answer["id"])


def test_a_share_of_traces_is_chosen_by_their_ids(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector, OTEL_TRACES_SAMPLER="traceidratio", OTEL_TRACES_SAMPLER_ARG="0.5")
    low, high = "0" * 31 + "1", "f" * 32

    answers = [
        server.http.post("/predictions", json={}, headers={"traceparent": f"00-{trace}-{CALLER}-01"}).json()
        for trace in (high, low)
    ]

    assert spans_of(collector, answers[1]["id"])
    assert not collector.of(answers[0]["id"])


@pytest.mark.slow
def test_lines_of_the_log_carry_the_trace(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector, SOURCE.replace("time.sleep", "print('hello'); time.sleep"), LOG_FORMAT="json")
    server.http.post("/predictions", json={}, headers={"traceparent": PARENT})

    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line["trace_id"] for line in lines if line["message"] == "hello"] == [TRACE]


@pytest.mark.slow
def test_a_collector_that_is_busy_is_asked_again_when_it_says(serve: Serve, collector: Collector) -> None:
    collector.replies = [Reply(503, {"Retry-After": "2"}), Reply(429)]
    server = traced(serve, collector, OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b")

    spans_of(collector, server.predict()["id"])

    (first, path, headers), (second, _, _), _ = collector.requests
    assert second - first >= 1.9
    assert (path, headers["x-key"], headers["content-type"]) == ("/v1/traces", "a b", "application/json")
    assert scrape(server)["cog_trace_spans_dropped_total"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(400), "it answers 400"),
        (Reply(body=b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"too old"}}'), "too old"),
    ],
    ids=["refused", "partly"],
)
def test_what_the_collector_refuses_is_counted_and_said(
    serve: Serve, collector: Collector, reply: Reply, words: str
) -> None:
    collector.always = reply
    server = traced(serve, collector)
    server.predict()

    wait_until(lambda: scrape(server)["cog_trace_spans_dropped_total"] == 3, "none is counted")
    assert words in server.log.read_text()
    assert len(collector.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize("manner", ["down", "hangs"])
def test_predictions_do_not_feel_a_collector_in_trouble(serve: Serve, collector: Collector, manner: str) -> None:
    collector.always = Reply(hangs_s=30)
    url = collector.url if manner == "hangs" else f"http://127.0.0.1:{free_port()}"
    server = serve(SOURCE, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    started = time.monotonic()

    # Three spans each: more than may wait.
    for _ in range(900):
        server.predict()

    assert time.monotonic() - started < 20
    # 2048 wait and 256 are on their way.
    assert scrape(server)["cog_trace_spans_dropped_total"] >= 900 * 3 - 2048 - 256
    ending = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    assert time.monotonic() - ending < 10


def test_what_waits_is_sent_at_sigterm(serve: Serve, collector: Collector) -> None:
    server = traced(serve, collector)
    server.http.put("/predictions/last", json={"input": {"sleep_s": 1}}, headers={"prefer": "respond-async"})
    wait_until(lambda: server.health()["status"] == "BUSY", "it does not begin")

    server.process.send_signal(signal.SIGTERM)

    assert server.process.wait(20) == 0
    assert set(collector.of("last")) == {"prediction", "queue", "predict"}


@pytest.mark.slow
def test_off_nothing_is_sent_imported_or_given_to_the_model(serve: Serve, collector: Collector) -> None:
    for environment in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SDK_DISABLED": "true"}):
        server = serve(SOURCE, environment=environment)
        assert server.http.post("/predictions", json={}, headers={"traceparent": PARENT}).json()["output"] == ""
        assert "cog_trace_spans_dropped_total" not in scrape(server)
    time.sleep(1.5)
    assert not collector.requests


@pytest.mark.parametrize("is_on", [False, True], ids=["off", "on"])
def test_only_with_traces_they_are_imported_and_the_short_way_is_left(*, is_on: bool) -> None:
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9" if is_on else ""}
    found = subprocess.run(
        [sys.executable, "-c", MAKE], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()

    assert ("CallMiddleware" in found, "cog_server.observe.traces" in found) == (is_on, is_on)
    assert found[0] == ("2" if is_on else "1")


@pytest.mark.parametrize(
    ("text", "is_read"),
    [
        (PARENT, True),
        (PARENT.replace("-01", "-ff"), True),
        ("01" + PARENT[2:] + "-more", True),
        ("cc" + PARENT[2:], True),
        ("", False),
        ("ff" + PARENT[2:], False),
        (PARENT + "-more", False),
        ("01" + PARENT[2:] + "more", False),
        (PARENT.upper(), False),
        (PARENT + " ", False),
        (f"00-{'0' * 32}-{CALLER}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE}-{CALLER}-1", False),
        (f"00-{TRACE}-{CALLER}-0g", False),
    ],
)
def test_traceparent_is_read_as_the_standard_says(text: str, is_read: bool) -> None:
    parent = read_parent({"traceparent": text, "tracestate": "a=1"})

    assert (parent is not None) is is_read
    if parent is not None:
        assert (parent.trace_id, parent.span_id, parent.state) == (TRACE, CALLER, "a=1")


ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318/"}


@pytest.mark.parametrize(
    ("environment", "url"),
    [
        (ENDPOINT, "http://collector:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/base"}, "https://c/base/v1/traces"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/x"}, "http://t:1/x"),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_endpoint_is_found_as_opentelemetry_says(environment: dict[str, str], url: str | None) -> None:
    options = read_trace_options(environment)

    assert (options.url if options else None) == url


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "must be http://host:port"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://u:s3cret@c"}, "must be http://host:port"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "4318"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "some"}, "OTEL_TRACES_SAMPLER"),
        ({**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "from 0 to 1"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "s3cret"}, "key=value"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_HEADERS": "a=s3cret%0a"}, "no HTTP header can carry"),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "OTEL_EXPORTER_OTLP_TIMEOUT"),
    ],
    ids=str,
)
def test_a_variable_that_means_nothing_is_an_error(environment: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        read_settings({"COG_PREDICT": "predict.py:Predictor", **environment})

    assert "s3cret" not in str(error.value)

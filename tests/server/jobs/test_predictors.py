"""Every predictor of tests/predictors over real HTTP, its worker in each environment that a model may have.

What a predictor is made of and what is asked of it: tests/predictor_cases.py. The server runs in this process, on a
socket; only the worker is a process, and those of the next tests start while this one asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import jsonschema
import pytest

from cog_server.__main__ import listen
from cog_server.http.app import create_app
from cog_server.http.server import HTTPFront
from cog_server.jobs.service import Service
from cog_server.observe.logs import ModelLog
from cog_server.predictions.store.memory import MemoryStore
from cog_server.settings import Settings
from cog_server.worker.pool import WorkerPool
from tests.conftest import REPOSITORY
from tests.environments import ENVIRONMENTS, Environment, Interpreters
from tests.model.test_agreement import as_json_schema
from tests.predictor_cases import PREDICTORS, Case, PredictorFile, is_like, load_predictors

LOADED = load_predictors()
PAIRS = [
    (predictor, environment)
    for environment in ENVIRONMENTS
    for predictor in LOADED
    if predictor.runs_with(environment.version, environment.packages)
]
# How many workers are started before the test that asks them.
AHEAD = 3

Pair = tuple[PredictorFile, Environment]


class Servers:
    """Servers on an event loop of their own, started in the order in which the tests will ask them."""

    def __init__(self, order: list[Pair], settings_of: Callable[[Pair], Settings]) -> None:
        self._order = order
        self._settings_of = settings_of
        self._started: dict[Pair, tuple[str, HTTPFront, Future[None]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def client(self, pair: Pair) -> Iterator[httpx.Client]:
        """A client of one server; those of the next tests are started too."""
        position = self._order.index(pair)
        for each in self._order[position : position + 1 + AHEAD]:
            if each not in self._started:
                self._started[each] = self._start(self._settings_of(each))
        url, server, _ = self._started[pair]
        with httpx.Client(base_url=url, timeout=30, trust_env=False, verify=False) as http:  # certificates take 40 ms
            yield http
        server.end()

    def close(self) -> None:
        """Wait for the end of every server and its worker."""
        for _, server, _ in self._started.values():
            server.end()
        for _, _, end in self._started.values():
            end.result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _start(self, settings: Settings) -> tuple[str, HTTPFront, Future[None]]:
        listener = listen("127.0.0.1", 0)
        front: Future[HTTPFront] = Future()
        end = asyncio.run_coroutine_threadsafe(_serve(settings, listener, front), self._loop)
        return f"http://127.0.0.1:{listener.getsockname()[1]}", front.result(10), end


async def _serve(settings: Settings, listener: socket.socket, made: Future[HTTPFront]) -> None:
    model_log = ModelLog(settings.log_format)
    pool = WorkerPool(settings, on_text=model_log.write)
    store = MemoryStore(settings.keep_predictions)
    service = Service(settings, store, pool, model_log, shut_down=lambda code: None)
    front = HTTPFront(settings, create_app(settings, service, shut_down=lambda code: None))
    made.set_result(front)
    await service.open()
    try:
        await front.serve(sockets=[listener])
    finally:
        await service.close()


@pytest.fixture(scope="module")
def servers(
    request: pytest.FixtureRequest, interpreters: Interpreters, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("predictors")
    project = folder / "project"
    shutil.copytree(PREDICTORS, project, ignore=shutil.ignore_patterns("__pycache__"))
    model_path = folder / "model"
    model_path.mkdir()
    (model_path / "cog").symlink_to(REPOSITORY / "cog")
    items = [item for item in request.session.items if isinstance(item, pytest.Function)]
    order: list[Any] = [item.callspec.params["pair"] for item in items if item.function is test_it_answers]

    def settings_of(pair: Pair) -> Settings:
        predictor, environment = pair
        python = str(interpreters.python(environment))
        return Settings(
            predictor.reference, mode=predictor.mode, python=python, model_path=str(model_path), folder=project
        )

    # Where the models write their files.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        servers = Servers(order, settings_of)
        yield servers
        servers.close()


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: f"{pair[1]}-{pair[0].name}")
def test_it_answers(pair: Pair, servers: Servers, interpreters: Interpreters) -> None:
    predictor, environment = pair
    if interpreters.version(environment) < predictor.python:
        pytest.skip(f"there is no Python {environment.python} here, and none can be fetched")
    path = "/trainings" if predictor.mode == "train" else "/predictions"

    with servers.client(pair) as http:
        wait_until_ready(http)
        document = http.get("/openapi.json").json()
        for case in predictor.cases:
            check(http.post(path, json={"input": case.given}), case, document)
        for given, place in predictor.bad_inputs:
            answer = http.post(path, json={"input": given})
            assert answer.status_code == 422, (given, answer.text)
            location = answer.json()["detail"][0]["loc"]
            assert (location[:2], ".".join(map(str, location[2:]))) == (["body", "input"], place), given


def wait_until_ready(http: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while True:
        health = http.get("/health-check").json()
        if health["status"] == "READY":
            return
        assert health["status"] == "STARTING", health
        assert time.monotonic() < deadline, health
        time.sleep(0.01)


def check(answer: httpx.Response, case: Case, document: dict[str, Any]) -> None:
    prediction = answer.json()
    assert answer.status_code == 200, answer.text
    assert prediction["status"] == "succeeded", prediction["logs"]
    assert is_like(case.output, prediction["output"]), (case.given, prediction["output"])
    assert {**case.metrics, "predict_time": prediction["metrics"]["predict_time"]} == prediction["metrics"]
    shown = json.dumps([prediction["input"], prediction["logs"]])
    assert "secret-" not in shown, shown
    schemas = document["components"]["schemas"]
    output = "TrainingOutput" if "TrainingInput" in schemas else "Output"
    schema = {**as_json_schema(schemas[output]), "components": as_json_schema(document["components"])}
    # None is an output too: the document says so of `output`, not of its type.
    if prediction["output"] is not None:
        jsonschema.Draft4Validator(schema).validate(prediction["output"])

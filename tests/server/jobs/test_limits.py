"""Deadlines, caps, and who keeps a prediction alive by waiting for it."""

from __future__ import annotations

import concurrent.futures
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cog_server.http.routes.prefer_header import Preference, read_preference
from tests.server.conftest import Serve, Server, serving, wait_until
from tests.server.http.test_streams import streaming

SLEEPING = """
    class Predictor(BasePredictor):
        def predict(self, seconds: float = 0.0) -> str:
            print("asleep")
            time.sleep(seconds)
            return "awake"
"""


@pytest.fixture(scope="module")
def sleeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sleeping")) as start:
        yield start(SLEEPING)


def put_later(server: Server, name: str, seconds: float, **more: Any) -> None:
    given = {"id": name, "input": {"seconds": seconds}, **more}
    assert server.http.post("/predictions", json=given, headers={"prefer": "respond-async"}).status_code == 202


# --- Prefer ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (["respond-async"], Preference(True, None)),
        (["Respond-Async, wait=10"], Preference(True, 10)),
        (["wait=5"], Preference(False, 5)),
        (['foo; bar, wait="7" ; x=y'], Preference(False, 7)),
        (["wait=5, wait=9"], Preference(False, 5)),
        (["handling=lenient", "respond-async"], Preference(True, None)),
        (['foo="respond-async, wait=3"'], Preference(False, None)),
        (["wait=-1"], Preference(False, None)),
        (["wait=soon"], Preference(False, None)),
        (["wait=99999999999999999999"], Preference(False, None)),
        (["return=minimal; respond-async"], Preference(False, None)),
        ([""], Preference(False, None)),
    ],
    ids=str,
)
def test_prefer_is_read_as_rfc_7240_says(values: list[str], wanted: Preference) -> None:
    assert read_preference(values) == wanted


@pytest.mark.slow
def test_a_client_that_waits_only_so_long_gets_a_202_and_the_prediction_goes_on(sleeping: Server) -> None:
    given = {"id": "slow", "input": {"seconds": 2}}
    started = time.monotonic()
    answer = sleeping.http.post("/predictions", json=given, headers={"prefer": "wait=1"})

    assert answer.status_code == 202
    assert answer.json()["status"] == "processing"
    assert 0.9 < time.monotonic() - started < 1.9
    assert sleeping.http.put("/predictions/slow", json={}).json()["status"] == "succeeded"


def test_a_client_that_waits_long_enough_gets_the_result(sleeping: Server) -> None:
    answer = sleeping.http.post("/predictions", json={}, headers={"prefer": "wait=20"})

    assert (answer.status_code, answer.json()["output"]) == (200, "awake")


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_prediction_over_its_time_fails_and_the_next_one_works(serve: Serve) -> None:
    server = serve(SLEEPING, environment={"COG_PREDICT_TIMEOUT": "0.5"})

    document = server.predict(seconds=60)

    assert document["status"] == "failed"
    assert document["error"] == "the prediction took longer than 0.5 seconds"
    assert document["logs"] == "asleep\n"
    assert server.predict()["output"] == "awake"


@pytest.mark.parametrize("form", ["seconds", "moment"])
def test_the_deadline_of_a_request_counts_the_waiting_too(sleeping: Server, form: str) -> None:
    put_later(sleeping, f"first-{form}", 1.5)
    deadline: object = 0.5
    if form == "moment":
        deadline = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    started = time.monotonic()
    document = sleeping.http.post("/predictions", json={"deadline": deadline}).json()

    assert document["status"] == "failed"
    assert document["error"] == "the deadline of the request passed"
    assert document["started_at"] is None
    assert time.monotonic() - started < 1.4
    assert sleeping.http.put(f"/predictions/first-{form}", json={}).json()["status"] == "succeeded"


@pytest.mark.parametrize("deadline", [0, -1, "soon", "2026-01-01T00:00:00", True, [], 1e300])
def test_a_deadline_that_is_none_is_a_422(sleeping: Server, deadline: object) -> None:
    answer = sleeping.http.post("/predictions", json={"deadline": deadline})

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "deadline"]


def test_a_generator_that_never_ends_is_cut_at_the_time_limit(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> Iterator[int]:
                position = 0
                while True:
                    yield position
                    position += 1
                    time.sleep(0.01)
        """,
        environment={"COG_PREDICT_TIMEOUT": "0.5"},
    )

    document = server.predict()

    assert document["status"] == "failed"
    assert document["output"][:3] == [0, 1, 2]


# --- outputs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["one", "many"])
def test_an_output_over_the_limit_fails_its_prediction_only(serve: Serve, how: str) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, one: int = 0, many: int = 0) -> Iterator[str]:
                yield "x" * one
                for _ in range(many):
                    yield "x" * 100_000
        """,
        environment={"COG_MAX_OUTPUT_BYTES": "1000000"},
    )
    workers = server.worker_pids()

    document = server.predict(**{how: {"one": 2_000_000, "many": 10**9}[how]})

    assert document["status"] == "failed"
    assert "larger than 1000000 bytes (COG_MAX_OUTPUT_BYTES)" in document["error"]
    assert server.predict(one=10)["output"] == ["x" * 10]
    assert server.worker_pids() == workers


@pytest.mark.parametrize("exponent", range(0, 25, 3))
def test_outputs_of_every_size_come_back_as_they_were(exponent: int, sized: Server) -> None:
    for size in (2**exponent - 1, 2**exponent, 2**exponent + 1):
        output = sized.predict(size=size)["output"]
        assert len(output) == size
        assert output == "é" * size


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("sized")) as start:
        yield start(
            """
            class Predictor(BasePredictor):
                def predict(self, size: int) -> str:
                    return "é" * size
            """
        )


@pytest.mark.slow
def test_a_flood_of_items_does_not_fill_the_servers_memory(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self, count: int) -> Iterator[str]:
                for _ in range(count):
                    print("y" * 100_000)
                    yield "x"
        """
    )
    server.predict(count=10)
    before = rss_kib(server.process.pid)

    assert len(server.predict(count=2000)["output"]) == 2000

    # 200 MB of text went through; 16 Mi characters of it are kept, in a log, its history and an answer.
    assert rss_kib(server.process.pid) - before < 150 * 1024


def rss_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


# --- watchers --------------------------------------------------------------------------------------------------------


def test_a_prediction_goes_on_as_long_as_anybody_waits_for_it(sleeping: Server) -> None:
    host, _, port = sleeping.url.removeprefix("http://").partition(":")
    body = b'{"input":{"seconds":1.5}}'
    with socket.create_connection((host, int(port))) as first:
        first.sendall(b"PUT /predictions/shared HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: sleeping.http.get("/predictions/shared").status_code == 200, "it is not taken")
        with streaming(sleeping, "GET", "/predictions/shared") as second:
            next(second)
            first.close()

            assert list(second)[-1].data["status"] == "succeeded"


def test_fifty_puts_of_one_id_are_one_run(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def setup(self):
                self.runs = 0
            def predict(self) -> int:
                self.runs += 1
                time.sleep(0.2)
                return self.runs
        """
    )
    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        for number in range(3):
            answers = list(pool.map(server.http.put, [f"/predictions/r{number}"] * 50))
            assert {answer.status_code for answer in answers} == {200}
            assert {answer.json()["output"] for answer in answers} == {number + 1}


# --- the worker ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["def", "async def"])
def test_teardown_runs_before_the_worker_ends(serve: Serve, form: str) -> None:
    server = serve(
        f"""
        class Predictor(BasePredictor):
            {form} predict(self) -> str:
                return ""
            {form} teardown(self):
                print("tearing", "down")
        """
    )
    server.predict()
    server.process.terminate()

    assert server.process.wait(10) == 0
    assert "tearing down" in server.log.read_text()


def test_a_model_that_only_fails_gets_a_fresh_worker_if_the_operator_says_so(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def setup(self):
                self.calls = 0
            def predict(self) -> int:
                self.calls += 1
                if self.calls > 2:
                    raise RuntimeError("CUDA error: an illegal memory access was encountered")
                return self.calls
        """,
        environment={"COG_RESTART_AFTER_FAILURES": "3"},
    )
    statuses = [server.predict()["status"] for _ in range(5)]

    assert statuses == ["succeeded"] * 2 + ["failed"] * 3
    wait_until(lambda: server.predict()["output"] == 1, "the worker is still the old one")


def test_a_crash_in_c_code_leaves_its_stack_in_the_logs(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                import ctypes
                ctypes.string_at(0)
        """
    )

    logs = server.predict()["logs"]

    assert "Segmentation fault" in logs
    assert "predict.py" in logs


def test_a_cancel_that_comes_with_its_prediction_costs_no_worker(serve: Serve) -> None:
    server = serve(
        """
        class Predictor(BasePredictor):
            async def predict(self) -> str:
                return "done"
        """
    )
    workers = server.worker_pids()

    for _ in range(50):
        body = {"input": {}, "deadline": "2000-01-01T00:00:00Z"}
        assert server.http.post("/predictions", json=body).json()["status"] in ("failed", "succeeded")

    assert server.worker_pids() == workers

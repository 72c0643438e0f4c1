"""G: the server's own end, wanted and unwanted."""

from __future__ import annotations

import signal
import threading
import time

import httpx

from tests.faults.lab import Lab, during, fault, percentiles, submit, time_to, wait_started
from tests.server.conftest import is_alive

_SLEEPING = """
    class Predictor(BasePredictor):
        def predict(self, seconds: float = 0.0) -> str:
            time.sleep(seconds)
            return "done"
"""
_STUBBORN = """
    class Predictor(BasePredictor):
        def predict(self) -> str:
            while True:
                try:
                    time.sleep(600)
                except BaseException:
                    pass
"""


@fault("G1", "SIGTERM while idle", size=50)
def idle(lab: Lab, size: int) -> str:
    times = []
    for _ in range(size):
        server = lab.serve(_SLEEPING)
        started = time.monotonic()
        server.process.terminate()
        assert server.process.wait(10) == 0
        times.append(time.monotonic() - started)
    return f"{size} times exit code 0, {percentiles(times)}"


@fault("G2", "SIGTERM in the middle of predictions: they end, new ones are told 503", size=100)
def drained(lab: Lab, size: int) -> str:
    times = []
    for _ in range(size):
        server = lab.serve(_SLEEPING, environment={"COG_DRAIN_TIMEOUT": "10"})
        with httpx.Client(base_url=server.url, timeout=30) as client, lab.pool(3) as pool:
            seconds = lab.chance.random() * 0.5 + 0.1
            given = {"input": {"seconds": seconds}}
            running = [pool.submit(httpx.post, f"{server.url}/predictions", json=given, timeout=30) for _ in range(2)]
            time_to(lambda: len(client.get("/predictions").json()["results"]) == 2, "they are not taken")
            started = time.monotonic()
            server.process.terminate()
            time_to(lambda: client.get("/readyz").status_code == 503, "it is still ready")
            refused = httpx.post(f"{server.url}/predictions", json={}, timeout=30)
            assert refused.status_code == 503, refused.text
            assert refused.headers["retry-after"]
            answers = [each.result().json() for each in running]
            assert [each["status"] for each in answers] == ["succeeded"] * 2, answers
        assert server.process.wait(20) == 0
        times.append(time.monotonic() - started)
    return f"{size} times: 0 dropped, 0 resets, exit code 0, {percentiles(times)}"


@fault("G3", "SIGTERM, and a prediction that outlives the drain", size=20)
def outlived(lab: Lab, size: int) -> str:
    times = []
    for _ in range(size):
        server = lab.serve(_STUBBORN, environment={"COG_DRAIN_TIMEOUT": "1", "COG_CANCEL_GRACE": "0.5"})
        wait_started(server.http, submit(server.http))
        [worker] = server.worker_pids()
        started = time.monotonic()
        server.process.terminate()
        assert server.process.wait(20) == 1, server.process.returncode
        times.append(time.monotonic() - started)
        assert not is_alive(worker)
    return f"{size} times exit code 1 (drain 1 s, grace 0.5 s), {percentiles(times)}"


@fault("G4", "a second signal ends it at once", size=20)
def second_signal(lab: Lab, size: int) -> str:
    times = []
    for number in range(size):
        server = lab.serve(_STUBBORN)
        wait_started(server.http, submit(server.http))
        [worker] = server.worker_pids()
        server.process.terminate()
        time.sleep(0.1)
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM if number % 2 else signal.SIGINT)
        assert server.process.wait(5) != 0
        time_to(lambda worker=worker: not is_alive(worker), "the worker lives on")  # type: ignore[misc]
        times.append(time.monotonic() - started)
    return f"{size} times, worker included, {percentiles(times)}"


@fault("G5", "SIGTERM in setup", size=20)
def in_setup(lab: Lab, size: int) -> str:
    times = []
    source = "class Predictor(BasePredictor):\n    def setup(self):\n        time.sleep(600)\n    def predict(self) -> str: ..."
    for _ in range(size):
        server = lab.serve(source, ready=False)
        started = time.monotonic()
        server.process.terminate()
        server.process.wait(10)
        times.append(time.monotonic() - started)
    return f"{size} times, {percentiles(times)}"


@fault("G8", "requests across the edge of a shutdown: answered, or 503", size=20)
def across_the_edge(lab: Lab, size: int) -> str:
    statuses: list[int] = []
    refused = 0

    for _ in range(size):
        server = lab.serve(_SLEEPING)

        def ask(stop: threading.Event, url: str = server.url) -> None:
            nonlocal refused
            while not stop.is_set():
                try:
                    statuses.append(httpx.post(f"{url}/predictions", json={"input": {"seconds": 0.002}}).status_code)
                except httpx.ConnectError:
                    refused += 1  # Nobody listens any more: it is over.
                    return

        with during(ask, times=2):
            time.sleep(0.3)
            server.process.terminate()
            assert server.process.wait(20) == 0
    assert set(statuses) <= {200, 503}, set(statuses)
    return f"{len(statuses)} requests over {size} ends: {statuses.count(200)} answered, {statuses.count(503)} 503, 0 others"

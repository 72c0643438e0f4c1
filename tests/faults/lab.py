"""`Lab`: servers to break, clients to break them with, and what must hold after every fault."""

from __future__ import annotations

import concurrent.futures
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.server.conftest import Footprint, Serve, Server, wait_until

T = TypeVar("T")

# Short times, so that what takes its time in production can be waited for.
SHORT = {
    "COG_CANCEL_GRACE": "0.5",
    "COG_DRAIN_TIMEOUT": "5",
    "COG_MAX_RESTART_DELAY": "0",
    "COG_POISON_LIMIT": "0",
    "COG_STREAM_GRACE": "1",
}


@dataclass(frozen=True)
class Fault:
    """One row of the matrix: `size` is how often, or how much, in the full run."""

    id: str
    what: str
    size: int
    run: Callable[[Lab, int], str]


FAULTS: list[Fault] = []


def fault(identifier: str, what: str, *, size: int = 1) -> Callable[[Callable[[Lab, int], str]], None]:
    """Register a function as a row of the matrix."""

    def register(function: Callable[[Lab, int], str]) -> None:
        FAULTS.append(Fault(identifier, what, size, function))

    return register


@dataclass
class Lab:
    """What a fault works with. `chance` is seeded: a run can be repeated."""

    serve: Serve
    chance: random.Random = field(default_factory=lambda: random.Random(20260101))

    @contextmanager
    def server(self, source: str, **environment: str) -> Iterator[Server]:
        """A server that must be as it was, once the fault is over: no fd, thread, child, file or slot more."""
        server = self.serve(source, environment={**SHORT, **environment})
        server.predict_quietly()
        before = Footprint.of(server)
        yield server
        settle(server, before)

    def pool(self, size: int) -> concurrent.futures.ThreadPoolExecutor:
        """Threads to send requests from."""
        return concurrent.futures.ThreadPoolExecutor(size)


def settle(server: Server, before: Footprint) -> None:
    """Wait until the server is idle and holds no more than before; fail if that does not come."""
    server.wait_for("READY", timeout_s=30)
    server.reconnect()
    wait_until(
        lambda: not Footprint.of(server).exceeds(before),
        f"something is left: {Footprint.of(server)}, before {before}: {_open(server)}",
        timeout_s=15,
    )
    # The model's tracebacks are in the log too, as they should be; the server's own have its files in them.
    log = server.log.read_text(errors="replace")
    assert "/cog_server/" not in log, log[-3000:]


def percentiles(seconds: Iterable[float]) -> str:
    """p50, p99 and the longest, in milliseconds."""
    found = sorted(seconds)
    if not found:
        return "none"
    at = [found[min(len(found) - 1, int(len(found) * share))] * 1000 for share in (0.5, 0.99)]
    return f"p50 {at[0]:.0f} ms, p99 {at[1]:.0f} ms, max {found[-1] * 1000:.0f} ms"


@contextmanager
def during(work: Callable[[threading.Event], None], *, times: int = 1) -> Iterator[None]:
    """Do `work` on so many threads while the block runs; the event tells them to end. What they raise is raised here."""
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(times) as pool:
        futures = [pool.submit(work, stop) for _ in range(times)]
        try:
            yield
        finally:
            stop.set()
        for future in futures:
            future.result(60)


def submit(http: httpx.Client, **given: Any) -> str:
    """Start a prediction and give its id, once it is accepted."""
    answer = http.post("/predictions", json=given, headers={"prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def end_of(http: httpx.Client, prediction_id: str, *, timeout_s: float = 30) -> dict[str, Any]:
    """The prediction once it has ended."""
    deadline = time.monotonic() + timeout_s
    while True:
        document: dict[str, Any] = http.get(f"/predictions/{prediction_id}").json()
        if document["status"] in ("succeeded", "failed", "canceled"):
            return document
        assert time.monotonic() < deadline, f"{prediction_id} does not end: {document['status']}"
        time.sleep(0.005)


def wait_started(http: httpx.Client, prediction_id: str) -> None:
    """Return when the prediction runs, or has ended."""
    wait_until(
        lambda: http.get(f"/predictions/{prediction_id}").json()["status"] != "starting",
        "it does not begin",
        timeout_s=30,
    )


def time_to(condition: Callable[[], bool], problem: str, *, timeout_s: float = 30) -> float:
    """Seconds until the condition holds."""
    started = time.monotonic()
    deadline = started + timeout_s
    while not condition():
        assert time.monotonic() < deadline, problem
        time.sleep(0.002)
    return time.monotonic() - started


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{pid} is gone")


def _open(server: Server) -> list[str]:
    folder = f"/proc/{server.process.pid}/fd"
    return sorted(os.readlink(f"{folder}/{each}") for each in os.listdir(folder))

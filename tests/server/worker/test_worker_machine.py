"""A server driven at random: predictions of every kind, cancels, drops, kills, stops, ends; and what holds after each step."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from tests.conftest import examples
from tests.faults.lab import SHORT, Footprint, rss_mib, settle
from tests.server.conftest import Server, serving, wait_until

KINDS = ("ok", "raise", "exit", "segfault", "loop", "wait", "flood", "big", "generator")
ENDLESS = ("loop", "wait")
TERMINAL = ("succeeded", "failed", "canceled")

_BODY = """
                print("log of", token)
                if kind == "raise":
                    raise ValueError("raised by " + token)
                if kind == "exit":
                    os._exit(3)
                if kind == "segfault":
                    ctypes.string_at(0)
                if kind == "loop":
                    while True:
                        {pause}
                if kind == "wait":
                    {wait}
                if kind == "flood":
                    for _ in range(200):
                        print("y" * 10_000)
                if kind == "big":
                    yield "x" * 3_000_000
                if kind == "generator":
                    for position in range(50):
                        yield str(position)
                yield token
"""
ONE_SLOT = """
    import ctypes
    class Predictor(BasePredictor):
        def predict(self, token: str = "", kind: str = "ok") -> Iterator[str]:
""" + _BODY.format(pause="pass", wait="time.sleep(600)")
FOUR_SLOTS = """
    import asyncio, ctypes
    class Predictor(BasePredictor):
        @concurrent(max=4)
        async def predict(self, token: str = "", kind: str = "ok") -> AsyncIterator[str]:
""" + _BODY.format(pause="await asyncio.sleep(0)", wait="await asyncio.sleep(600)")


class Machine(RuleBasedStateMachine):
    """One server for all runs, until a run ends it; every run begins and ends with an idle one."""

    source = ONE_SLOT
    workers = 1
    stack: contextlib.ExitStack | None = None
    server: Server

    ids = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        cls = type(self)
        if cls.stack is None:
            cls.stack = contextlib.ExitStack()
            folder = cls.stack.enter_context(tempfile.TemporaryDirectory(prefix="cog-machine-"))
            self._serve = cls.stack.enter_context(serving(Path(folder)))
            cls.server = self._start()
        self.number = 0
        self.kinds: dict[str, str] = {}
        self.ends: dict[str, Any] = {}
        self.is_stopped = False
        # READY says that one of several workers is: the others may be on their way.
        wait_until(self._has_all_workers, "a worker is missing")
        self.before = Footprint.of(self.server)

    def _has_all_workers(self) -> bool:
        health = self.server.health()
        return all(each["state"] == "READY" for each in health.get("workers", [{"state": health["status"]}]))

    def _start(self) -> Server:
        type(self).start = self._serve if hasattr(self, "_serve") else type(self).start
        server = type(self).start(
            self.source, environment={**SHORT, "COG_DRAIN_TIMEOUT": "0.5", "COG_WORKERS": str(self.workers)}
        )
        server.predict_quietly()
        return server

    start: Any = None

    # What happens.

    @rule(target=ids, kind=st.sampled_from(KINDS))
    def predict(self, kind: str) -> str:
        self.number += 1
        name = f"m{id(self)}-{self.number}"
        given = {"id": name, "input": {"token": name, "kind": kind}}
        answer = self.server.http.post("/predictions", json=given, headers={"prefer": "respond-async"})
        assert answer.status_code == 202, answer.text
        self.kinds[name] = kind
        return name

    @rule(kind=st.sampled_from(KINDS), reset=st.booleans())
    def drop(self, kind: str, reset: bool) -> None:
        self.number += 1
        name = f"d{id(self)}-{self.number}"
        host, _, port = self.server.url.removeprefix("http://").partition(":")
        body = f'{{"id":"{name}","input":{{"token":"{name}","kind":"{kind}"}}}}'.encode()
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(
                b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self._status(name) is not None, "never taken", timeout_s=0.5)
        if self._status(name) is not None:
            self.kinds[name] = f"dropped {kind}"

    @rule(name=ids)
    def cancel(self, name: str) -> None:
        assert self.server.http.post(f"/predictions/{name}/cancel").status_code in (200, 404)

    @rule()
    def cancel_nobody(self) -> None:
        assert self.server.http.post("/predictions/nobody/cancel").status_code == 404

    @rule()
    def kill_worker(self) -> None:
        for worker in self.server.worker_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
        self.is_stopped = False

    @rule()
    def stop_worker(self) -> None:
        for worker in self.server.worker_pids():
            os.kill(worker, signal.SIGSTOP)
            self.is_stopped = True

    @precondition(lambda self: self.is_stopped)
    @rule()
    def continue_worker(self) -> None:
        for worker in self.server.worker_pids():
            os.kill(worker, signal.SIGCONT)
        self.is_stopped = False

    @rule(name=ids)
    def wait_for_end(self, name: str) -> None:
        is_stuck = self.is_stopped or any(each in ENDLESS for each in self._running())
        if name not in self.kinds or is_stuck:
            return
        wait_until(lambda: self._status(name) in TERMINAL, f"{name} ({self.kinds[name]}) does not end", timeout_s=20)

    @rule()
    def end_server(self) -> None:
        started = time.monotonic()
        self.server.process.terminate()
        self.server.process.wait(20)
        assert time.monotonic() - started < 0.5 + 0.5 + 6, "the drain and the grace together are shorter"
        self.kinds.clear()
        self.ends.clear()
        self.is_stopped = False
        type(self).server = self._start()
        self.before = Footprint.of(self.server)

    # What holds.

    @invariant()
    def an_end_never_changes(self) -> None:
        for name, kind in list(self.kinds.items()):
            document = self.server.http.get(f"/predictions/{name}").json()
            assert document["status"] in ("starting", "processing", *TERMINAL), document
            if name in self.ends:
                assert document == self.ends[name]
            elif document["status"] in TERMINAL:
                self.ends[name] = document
                self._check_end(name, kind, document)

    def _check_end(self, name: str, kind: str, document: dict[str, Any]) -> None:
        if document["status"] == "succeeded":
            assert kind.removeprefix("dropped ") not in ("raise", "exit", "segfault", *ENDLESS), document
            assert document["output"][-1] == name
        if document["status"] == "failed":
            assert document["error"], document
        if document["error"] and "raised by" in document["error"]:
            assert f"raised by {name}" in document["error"], document
        lines = [line for line in document["logs"].splitlines() if line.startswith("log of")]
        assert set(lines) <= {f"log of {name}"}, lines

    @invariant()
    def health_tells_the_truth(self) -> None:
        with httpx.Client(base_url=self.server.url, timeout=2) as client:
            assert client.get("/health-check").json()["status"] in ("READY", "BUSY", "STARTING")
            assert client.get("/livez").status_code == 200

    @invariant()
    def memory_is_bounded(self) -> None:
        assert rss_mib(self.server.process.pid) < 600

    def teardown(self) -> None:
        if self.server.process.poll() is not None:
            return
        for worker in self.server.worker_pids() if self.is_stopped else ():
            os.kill(worker, signal.SIGCONT)
        for name in self.kinds:
            self.server.http.post(f"/predictions/{name}/cancel")
        for name in self.kinds:
            wait_until(lambda name=name: self._status(name) in TERMINAL, f"{name} does not end", timeout_s=30)  # type: ignore[misc]
        settle(self.server, self.before)
        assert self.server.predict(token="last")["output"] == ["last"]

    def _status(self, name: str) -> str | None:
        document = self.server.http.get(f"/predictions/{name}").json()
        status = document.get("status")
        return status if isinstance(status, str) else None

    def _running(self) -> list[str]:
        return [kind.removeprefix("dropped ") for name, kind in self.kinds.items() if name not in self.ends]


class MachineOfFour(Machine):
    source = FOUR_SLOTS
    stack = None
    start = None


class MachineOfTwoWorkers(Machine):
    workers = 2
    stack = None
    start = None

    @rule(which=st.integers(0, 1))
    def kill_worker(self, which: int) -> None:
        for worker in self.server.worker_pids()[which : which + 1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)


_RUNS = settings(
    max_examples=examples(4),
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.slow
def test_one_slot() -> None:
    _run(Machine)


@pytest.mark.slow
def test_four_slots() -> None:
    _run(MachineOfFour)


@pytest.mark.slow
def test_two_workers() -> None:
    _run(MachineOfTwoWorkers)


def _run(machine: type[Machine]) -> None:
    machine.TestCase.settings = _RUNS
    case = machine.TestCase()
    try:
        case.runTest()
    finally:
        if machine.stack is not None:
            machine.stack.close()
            machine.stack = None

"""C: clients that leave, come back, ask too much or too fast."""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import httpx

from tests.faults.lab import Lab, during, end_of, fault, percentiles, submit, time_to, wait_started
from tests.server.conftest import Footprint, Server
from tests.server.http.test_streams import streaming

_SLEEPING = """
    class Predictor(BasePredictor):
        def predict(self, token: str = "", seconds: float = 0.0) -> str:
            time.sleep(seconds)
            return token
"""
_MANY = """
    import asyncio
    class Predictor(BasePredictor):
        async def predict(self, count: int = 0, pause: float = 0.0) -> AsyncIterator[str]:
            for position in range(count):
                yield f"item {position}"
                await asyncio.sleep(pause)
"""


def _request(server: Server, body: bytes, headers: str = "") -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    head = f"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    connection.sendall(head.encode() + body)
    return connection


@fault("C1", "clients that drop a synchronous request", size=500)
def drops(lab: Lab, size: int) -> str:
    times = []
    with lab.server(_SLEEPING) as server:
        for number in range(size):
            connection = _request(server, b'{"id":"c%d","input":{"seconds":600}}' % number)
            time.sleep(lab.chance.random() * 0.03)
            if lab.chance.random() < 0.5:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST, not FIN
            connection.close()
            started = time.monotonic()
            assert server.predict(token="next")["output"] == "next"
            times.append(time.monotonic() - started)
        statuses = {server.http.get(f"/predictions/c{number}").json().get("status") for number in range(size)}
        assert statuses <= {"canceled", None}, statuses
    return f"{size} of {size} canceled, every slot back; slot back after {percentiles(times)}"


@fault("C2", "clients that drop a stream or an asynchronous request: it goes on, and can be read again", size=200)
def left_streams(lab: Lab, size: int) -> str:
    wanted = [f"item {position}" for position in range(5)]
    with lab.server(_MANY, COG_MAX_CONCURRENCY="4") as server:
        for number in range(size):
            given = {"id": f"s{number}", "input": {"count": 5, "pause": 0.01}}
            with streaming(server, "POST", "/predictions", json=given) as events:
                seen = [next(events) for _ in range(lab.chance.randrange(1, 5))]
            last = {"last-event-id": seen[-1].id or ""}
            with streaming(server, "GET", f"/predictions/s{number}", headers=last) as events:
                seen += list(events)
            assert [event.data["chunk"] for event in seen if event.name == "output"] == wanted, seen
            assert seen[-1].data["status"] == "succeeded", seen[-1]
    return f"{size} streams dropped and resumed: 0 lost items, 0 twice"


@fault("C3", "slow headers, slow bodies and silence: cut at their deadlines, others are served meanwhile", size=900)
def slow_clients(lab: Lab, size: int) -> str:
    """`size` connections: two ninths trickle headers, two ninths a body, the rest say nothing. Deadlines of 3 s."""
    limits = {"COG_HEADER_TIMEOUT": "3", "COG_BODY_TIMEOUT": "3"}
    with lab.server(_SLEEPING, **limits) as server:
        host, _, port = server.url.removeprefix("http://").partition(":")

        def good(count: int) -> list[float]:
            times = []
            for _ in range(count):
                started = time.monotonic()
                assert server.http.post("/predictions", json={}).status_code == 200
                times.append(time.monotonic() - started)
            return times

        before = percentiles(good(100))
        connections = [socket.create_connection((host, int(port)), timeout=20) for _ in range(size)]
        for number, connection in enumerate(connections):
            if number % 9 < 2:
                connection.sendall(b"POST /predictions HTTP/1.1\r\nHost: x\r\nX-")
            elif number % 9 < 4:
                connection.sendall(b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        meanwhile = percentiles(good(100))
        for connection in connections:
            while connection.recv(4096):
                pass
            connection.close()
    return f"{size} connections, all closed by the server; good requests before {before}, meanwhile {meanwhile}"


@fault("C4", "a client that reads nothing of a large answer: the slot is free at the end of predict", size=20)
def unread_answers(lab: Lab, size: int) -> str:
    """`size` is the answer in MiB."""
    source = """
        class Predictor(BasePredictor):
            def predict(self, size: int = 0) -> str:
                return "x" * size
        """
    with lab.server(source, COG_SEND_TIMEOUT="2") as server:
        before = Footprint.of(server)
        connection = _request(server, b'{"id":"big","input":{"size":%d}}' % (size << 20))
        end_of(server.http, "big")
        started = time.monotonic()
        assert server.predict(size=3)["output"] == "xxx"
        seconds = time.monotonic() - started
        server.reconnect()
        time_to(lambda: not Footprint.of(server).exceeds(before), "it is held for ever", timeout_s=20)
        connection.close()
    return f"{size} MiB unread: the next prediction took {seconds * 1000:.0f} ms; the connection was broken at its deadline"


@fault("C6", "fifty PUTs of one id at once are one run", size=100)
def same_id(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def setup(self):
                self.runs = 0
            def predict(self, wait: bool = False) -> int:
                self.runs += wait
                time.sleep(0.02 * wait)
                return self.runs
        """
    with lab.server(source) as server, lab.pool(50) as pool:
        client = httpx.Client(base_url=server.url, timeout=30, limits=httpx.Limits(max_connections=50))
        with client:
            for number in range(size):
                body = {"input": {"wait": True}}
                paths = [f"/predictions/r{number}"] * 50
                answers = list(pool.map(functools.partial(client.put, json=body), paths))
                assert {(each.status_code, each.json()["output"]) for each in answers} == {(200, number + 1)}
    return f"{size} rounds of 50: {size} runs, one answer to all"


@fault("C7", "more requests than slots: a bounded queue, and 409 beyond it", size=1000)
def capacity(lab: Lab, size: int) -> str:
    times, statuses = [], []
    room = size // 10
    with lab.server(_SLEEPING, COG_MAX_QUEUE=str(room)) as server:
        held = submit(server.http, input={"seconds": 600})
        wait_started(server.http, held)
        accepted = []
        for _ in range(size):
            started = time.monotonic()
            answer = server.http.post("/predictions", json={}, headers={"prefer": "respond-async"})
            times.append(time.monotonic() - started)
            statuses.append(answer.status_code)
            if answer.status_code == 202:
                accepted.append(answer.json()["id"])
            else:
                assert answer.headers["retry-after"], answer.headers
        assert statuses.count(202) == room, statuses.count(202)
        assert set(statuses) == {202, 409}, set(statuses)
        server.http.post(f"/predictions/{held}/cancel")
        assert {end_of(server.http, each)["status"] for each in accepted} <= {"succeeded"}
    return f"{size} requests: {room} accepted (the queue), the rest 409; answer {percentiles(times)}"


@fault("C7", "one client that waits for each answer is never refused", size=2000)
def back_to_back(lab: Lab, size: int) -> str:
    with lab.server(_SLEEPING) as server:
        started = time.monotonic()
        statuses = [server.http.post("/predictions", json={"input": {"token": "x"}}).status_code for _ in range(size)]
        seconds = time.monotonic() - started
        assert set(statuses) == {200}, set(statuses)
    return f"{size} answers with 200 on one connection, {size / seconds:.0f} a second"


@fault("C8", "a storm of health checks while the model's own healthcheck hangs", size=60)
def health_storm(lab: Lab, size: int) -> str:
    """`size` is the number of seconds."""
    source = """
        class Predictor(BasePredictor):
            def predict(self) -> str:
                return ""
            def healthcheck(self) -> bool:
                time.sleep(600)
        """
    times: list[float] = []

    def ask(stop: threading.Event) -> None:
        with httpx.Client(base_url=server.url, timeout=30) as client:
            while not stop.is_set():
                started = time.monotonic()
                assert client.get("/health-check").json()["status"] == "UNHEALTHY"
                times.append(time.monotonic() - started)

    server = lab.serve(source, ready=False)
    time_to(lambda: server.http.get("/readyz").status_code == 200, "it does not start")
    before = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    lives = []
    with during(ask, times=20):
        end = time.monotonic() + size
        while time.monotonic() < end:
            started = time.monotonic()
            assert server.http.get("/livez").status_code == 200
            assert server.http.post("/predictions", json={}).status_code == 200
            lives.append(time.monotonic() - started)
            time.sleep(0.05)
    assert max(times) < 7, max(times)
    time_to(lambda: len(os.listdir(f"/proc/{server.process.pid}/fd")) <= before, "fds left", timeout_s=15)
    return (
        f"{len(times)} checks cut at 5 s ({percentiles(times)}); /livez and a prediction meanwhile {percentiles(lives)}"
    )


@fault("C10", "kept-alive connections across crashes of the worker: answers are never swapped", size=10_000)
def swapped(lab: Lab, size: int) -> str:
    numbers = itertools.count()
    done = 0

    def ask(stop: threading.Event) -> None:
        nonlocal done
        with httpx.Client(base_url=server.url, timeout=60) as client:
            while (number := next(numbers)) < size:
                document = client.post("/predictions", json={"input": {"token": f"t{number}"}}).json()
                assert document["input"]["token"] == f"t{number}", document
                assert document["status"] == "failed" or document["output"] == f"t{number}", document
                done += 1

    kills = 0
    with lab.server(_SLEEPING) as server:
        with during(ask, times=20):
            while done < size:
                time.sleep(0.5)
                for worker in server.worker_pids():
                    kills += 1
                    os.kill(worker, signal.SIGKILL)
    return f"{size} tokens on 20 connections, {kills} kills: 0 swapped"


@fault("C11", "a port in use: said before the model starts", size=20)
def port_in_use(lab: Lab, size: int) -> str:
    times = []
    server = lab.serve(_SLEEPING)
    port = server.url.rpartition(":")[2]
    for _ in range(size):
        started = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-m", "cog_server", "--host", "127.0.0.1", "--port", port],
            env={**os.environ, "COG_PREDICT": "predict.py:Predictor"},
            cwd=server.log.parent,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        times.append(time.monotonic() - started)
        assert answer.returncode == 1, answer
        assert port in answer.stderr, answer.stderr
        assert "Traceback" not in answer.stderr, answer.stderr
    return f"{size} of {size} exit code 1 with the port, {percentiles(times)}"


@fault("D10", "cancels in the middle of downloads: no file left, every slot back", size=200)
def canceled_downloads(lab: Lab, size: int) -> str:
    source = """
        class Predictor(BasePredictor):
            def predict(self, file: Path = None, token: str = "") -> str:
                return token
        """

    def hang(stop: threading.Event) -> None:
        """Take connections; break some at once, leave others without an answer."""
        held = []
        listener.settimeout(0.05)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                if lab.chance.random() < 0.3:
                    connection.close()
                else:
                    held.append(connection)
        for connection in held:
            connection.close()

    times = []
    with socket.create_server(("127.0.0.1", 0)) as listener, during(hang), lab.server(source) as server:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/file"
        for number in range(size):
            submit(server.http, id=f"d{number}", input={"file": url})
            time.sleep(lab.chance.random() * 0.01)
            server.http.post(f"/predictions/d{number}/cancel")
            started = time.monotonic()
            assert end_of(server.http, f"d{number}")["status"] in ("canceled", "failed")
            times.append(time.monotonic() - started)
            assert server.predict(token="next")["output"] == "next"
    return f"{size} of {size} ended, {percentiles(times)}; 0 files left, 0 slots lost"

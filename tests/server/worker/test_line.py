"""Predictions that wait in the worker's socket behind the one that runs: nobody can tell that they are there."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server, serving, wait_until
from tests.server.connection import Client

SOURCE = """
    import ctypes, subprocess
    class Predictor(BasePredictor):
        def predict(self, text: str = "", seconds: float = 0.0, kind: str = "", note: str = "") -> str:
            if note:
                with open(note, "a") as file:
                    file.write(text + ",")
            if kind == "stubborn":
                until = time.monotonic() + seconds
                while time.monotonic() < until:
                    try:
                        time.sleep(seconds)
                    except BaseException:
                        pass
            elif kind == "c":
                ctypes.PyDLL(None).usleep(int(seconds * 1e6))
            elif kind == "raw":
                os.write(1 + len(text) % 2, f"raw {text}\\n".encode())
            elif kind == "child":
                subprocess.run(["echo", "child", text], check=True)
            else:
                time.sleep(seconds)
            return "hello " + text
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("line")) as start:
        yield start(SOURCE, environment={"COG_CANCEL_GRACE": "1"})


class Waiting:
    """One prediction that runs, and others behind it, by their texts."""

    def __init__(self, server: Server, first: dict[str, Any], *others: dict[str, Any]) -> None:
        self.server = server
        self.clients = [Client(server).__enter__() for _ in (first, *others)]
        self.clients[0].socket.sendall(self.clients[0].request({"input": {"text": "first", **first}}))
        wait_until(lambda: bool(self.of_status("processing")), "it does not begin")
        for number, other in enumerate(others, 1):
            client = self.clients[number]
            client.socket.sendall(client.request({"input": {"text": str(number), **other}}))
            wait_until(lambda: len(self.of_status("starting")) == number, "it is not taken")  # noqa: B023 - called here

    def of_status(self, status: str) -> dict[str, str]:
        """The ids of those of a status, by their texts."""
        found = self.server.http.get(f"/predictions?status={status}").json()["results"]
        return {each["input"]["text"]: each["id"] for each in found}

    def answers(self) -> list[dict[str, Any]]:
        found = [client.answer()[1] for client in self.clients]
        for client in self.clients:
            client.socket.close()
        return found


def test_they_have_not_begun_and_run_one_after_the_other(server: Server) -> None:
    waiting = Waiting(server, {"seconds": 0.6}, {"seconds": 0.2}, {"seconds": 0.2})

    assert set(waiting.of_status("starting")) == {"1", "2"}
    assert list(waiting.of_status("processing")) == ["first"]
    found = waiting.answers()

    assert [each["output"] for each in found] == ["hello first", "hello 1", "hello 2"]
    assert found[1]["started_at"] >= found[0]["completed_at"][:22]
    assert found[2]["started_at"] > found[1]["started_at"]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_what_had_not_begun_outlives_the_worker(server: Server, tmp_path: Path, how: int) -> None:
    note = str(tmp_path / "note")
    waiting = Waiting(server, {"seconds": 30}, *[{"note": note}] * 4)
    os.kill(server.worker_pids()[0], how)
    first, *others = waiting.answers()

    assert first["status"] == "failed"
    assert "signal" in first["error"]
    assert [each["output"] for each in others] == [f"hello {number}" for number in range(1, 5)]
    assert Path(note).read_text() == "1,2,3,4,"


@pytest.mark.parametrize("kind", ["", "c"], ids=["python", "c"])
def test_one_that_is_canceled_never_begins_and_the_others_go_on(server: Server, tmp_path: Path, kind: str) -> None:
    note = str(tmp_path / "note")
    waiting = Waiting(server, {"seconds": 2, "kind": kind}, *[{"note": note}] * 3)
    workers = server.worker_pids()
    began = time.monotonic()
    assert server.http.post(f"/predictions/{waiting.of_status('starting')['2']}/cancel").status_code == 200
    _, canceled = waiting.clients[2].answer()
    took_s = time.monotonic() - began
    del waiting.clients[2]
    found = waiting.answers()

    assert (canceled["status"], canceled["started_at"], canceled["output"]) == ("canceled", None, None)
    assert took_s < 1
    assert [each["output"] for each in found] == ["hello first", "hello 1", "hello 3"]
    assert Path(note).read_text() == "1,3,"
    assert server.worker_pids() == workers


def test_one_whose_client_leaves_never_begins(server: Server, tmp_path: Path) -> None:
    note = str(tmp_path / "note")
    waiting = Waiting(server, {"seconds": 1}, *[{"note": note}] * 3)
    waiting.clients.pop(1).socket.close()
    waiting.answers()

    assert Path(note).read_text() == "2,3,"


def test_a_stuck_one_is_killed_and_those_behind_it_are_not_lost(server: Server) -> None:
    waiting = Waiting(server, {"seconds": 30, "kind": "stubborn"}, {}, {})
    server.http.post(f"/predictions/{waiting.of_status('processing')['first']}/cancel")
    first, *others = waiting.answers()

    assert first["status"] == "canceled"
    assert [each["output"] for each in others] == ["hello 1", "hello 2"]


@pytest.mark.slow
def test_the_time_limit_counts_from_the_beginning_of_each(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_PREDICT_TIMEOUT": "1"})
    found = Waiting(server, {"seconds": 0.7}, {"seconds": 0.7}, {"seconds": 0.7}, {"seconds": 3}).answers()

    assert [each["status"] for each in found] == ["succeeded"] * 3 + ["failed"]


@pytest.mark.parametrize("kind", ["raw", "child"])
def test_text_that_is_not_pythons_goes_to_its_own_prediction(server: Server, kind: str) -> None:
    said = "raw" if kind == "raw" else "child"
    wrong: list[Any] = []

    def ask(name: int) -> None:
        with Client(server) as client:
            for number in range(50):
                text = f"{name}-{number}"
                _, document = client.ask({"input": {"text": text, "kind": kind}})
                if document["logs"] != f"{said} {text}\n":
                    wrong.append((text, document["logs"]))

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not wrong, wrong


def test_a_model_that_only_fails_is_replaced_before_the_next(serve: Serve) -> None:
    source = """
        class Predictor(BasePredictor):
            def setup(self):
                self.count = 0
            def predict(self, text: str = "", seconds: float = 0.0) -> int:
                time.sleep(seconds)
                self.count += 1
                if text == "first" or text == "1":
                    raise ValueError(text)
                return self.count
    """
    server = serve(source, environment={"COG_RESTART_AFTER_FAILURES": "2"})
    found = Waiting(server, {"seconds": 0.5}, {}, {}, {}).answers()

    assert [each["status"] for each in found] == ["failed", "failed", "succeeded", "succeeded"]
    assert [each["output"] for each in found[2:]] == [1, 2]

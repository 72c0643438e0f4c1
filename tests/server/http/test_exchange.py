"""Requests that come again with the same head are answered without ASGI, and nobody can tell."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI

from cog_server.http.access import AccessMiddleware, add_access
from cog_server.http.exchange import Heads
from cog_server.http.fast_path import FastPath
from cog_server.settings import Settings
from tests.server.conftest import Serve, Server, serving, wait_until
from tests.server.connection import Client

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, text: str = "", seconds: float = 0.0, kind: str = "", file: Path = None) -> str:
            print("took", text)
            time.sleep(seconds)
            if kind == "raise":
                raise ValueError("no such luck")
            if kind == "die":
                os._exit(7)
            return "hello " + text
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("exchange")) as start:
        yield start(SOURCE, environment={"COG_MAX_QUEUE": "3"})


def of_status(server: Server, status: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.http.get(f"/predictions?status={status}").json()["results"]
    return found


def test_the_second_request_is_answered_as_the_first(server: Server) -> None:
    with Client(server) as client:
        answers = []
        for _ in range(3):
            client.socket.sendall(client.request({"input": {"text": "a"}}))
            answers.append(client.whole_answer())

    shown = [re.sub(rb'"(id|\w+_at|predict_time)":("[^"]*"|[0-9.e-]+)', b"", body) for _, _, body in answers]
    assert shown[0] == shown[1] == shown[2]
    assert {status for status, _, _ in answers} == {200}
    assert len({frozenset(headers) for _, headers, _ in answers}) == 1
    document = json.loads(answers[2][2])
    assert document["output"] == "hello a"
    assert document["logs"] == "took a\n"
    assert server.http.get(f"/predictions/{document['id']}").json() == document


def test_it_can_be_followed_and_read_again(server: Server) -> None:
    with Client(server) as client:
        client.ask({"input": {"text": "b"}})
        _, document = client.ask({"input": {"text": "b"}})

    events = server.http.get(f"/predictions/{document['id']}", headers={"Accept": "text/event-stream"}).text
    assert [line for line in events.splitlines() if line.startswith("event")] == [
        f"event: {name}" for name in ("start", "log", "output", "completed")
    ]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"input": {"text": 5}}, 422),
        ({"input": {"nothing": 5}}, 422),
        ({"input": [1]}, 422),
        ([1], 422),
        ({"input": {}, "id": "not an id"}, 422),
        ({"input": {}, "webhook": 5}, 422),
        ({"input": {"file": "data:text/plain,x"}}, 200),
        ({"input": None}, 200),
        ({}, 200),
    ],
    ids=["type", "unknown", "list", "no object", "id", "webhook", "file", "null", "empty"],
)
def test_what_it_does_not_take_is_answered_as_ever(server: Server, body: Any, status: int) -> None:
    usual = server.http.post("/predictions", json=body)
    with Client(server) as client:
        client.ask({"input": {}})
        got, document = client.ask(body)
        after, _ = client.ask({"input": {}})

    assert got == usual.status_code == status
    assert document.get("detail") == usual.json().get("detail")
    assert after == 200


def test_an_error_of_the_model_and_the_end_of_its_worker_are_told(server: Server) -> None:
    with Client(server) as client:
        raised = client.ask({"input": {"kind": "raise"}})
        died = client.ask({"input": {"kind": "die"}})
        after = client.ask({"input": {"text": "c"}})

    assert (raised[0], raised[1]["status"], raised[1]["error"]) == (200, "failed", "no such luck")
    assert (died[0], died[1]["status"]) == (200, "failed")
    assert "exited with code 7" in died[1]["error"]
    assert (after[0], after[1]["output"]) == (200, "hello c")


def test_a_bare_input_is_answered_bare(server: Server) -> None:
    with Client(server, "/predict") as client:
        good = client.ask({"text": "d"})
        bad = client.ask({"kind": "raise"})

    assert good == (200, {"output": "hello d"})
    assert (bad[0], bad[1]["detail"]) == (500, "no such luck")


def test_a_client_that_leaves_has_its_prediction_canceled(server: Server) -> None:
    with Client(server) as client:
        client.socket.sendall(client.request({"input": {"text": "leaves", "seconds": 30}}))
        wait_until(lambda: bool(of_status(server, "processing")), "none is processing")

    wait_until(lambda: not of_status(server, "processing"), "it goes on")
    assert server.predict(text="e")["output"] == "hello e"


def test_those_that_wait_keep_their_order_and_the_queue_its_bound(server: Server) -> None:
    clients = [Client(server).__enter__() for _ in range(6)]
    try:
        for number, client in enumerate(clients):
            client.socket.sendall(client.request({"input": {"text": str(number), "seconds": 0.3}}))
            time.sleep(0.05)
        answers = [client.answer() for client in clients]
    finally:
        for client in clients:
            client.socket.close()

    assert [status for status, _ in answers] == [200, 200, 200, 200, 409, 409]
    starts = [document["started_at"] for _, document in answers[:4]]
    assert starts == sorted(starts)


def test_one_that_waits_can_be_canceled(server: Server) -> None:
    with Client(server) as first, Client(server) as second:
        first.socket.sendall(first.request({"input": {"seconds": 1}}))
        wait_until(lambda: bool(of_status(server, "processing")), "none is processing")
        second.socket.sendall(second.request({"input": {"text": "waits"}}))
        wait_until(lambda: bool(of_status(server, "starting")), "none is starting")
        waiting = of_status(server, "starting")[0]["id"]
        assert server.http.post(f"/predictions/{waiting}/cancel").status_code == 200
        status, document = second.answer()
        assert first.answer()[1]["status"] == "succeeded"

    assert (status, document["status"], document["logs"]) == (200, "canceled", "")


def test_what_is_pipelined_behind_it_waits_for_it(server: Server) -> None:
    with Client(server) as client:
        client.socket.sendall(client.request({"input": {"text": "0", "seconds": 0.2}}))
        time.sleep(0.05)
        for number in range(1, 5):
            client.socket.sendall(client.request({"input": {"text": str(number)}}))
        outputs = [client.answer()[1]["output"] for _ in range(5)]

    assert outputs == [f"hello {number}" for number in range(5)]


@pytest.mark.parametrize("cut", [1, 10, 60, 85, 90, 91, 92, 93, 94, 100, 490])
def test_a_request_in_pieces_is_put_together(server: Server, cut: int) -> None:
    with Client(server) as client:
        request = client.request({"input": {"text": "pieces"}})
        client.socket.sendall(request[:cut])
        time.sleep(0.05)
        client.socket.sendall(request[cut:] + request[:cut])
        first = client.answer()
        client.socket.sendall(request[cut:])
        second = client.answer()

    assert [(status, document["output"]) for status, document in (first, second)] == [(200, "hello pieces")] * 2


@pytest.mark.slow
def test_a_body_that_comes_slowly_is_read_to_its_end(server: Server) -> None:
    with Client(server) as client:
        request = client.request({"input": {"text": "slow"}})
        for start in range(0, len(request), 100):
            client.socket.sendall(request[start : start + 100])
            time.sleep(0.6)
        status, document = client.answer()

    assert (status, document["output"]) == (200, "hello slow")


def test_a_large_body_is_read_whole(server: Server) -> None:
    with Client(server) as client:
        for size in (300, 100_000, 100_000, 900_000, 900_000, 2_000_000, 2_000_000):
            text = "x" * size
            status, document = client.ask({"input": {"text": text}})
            assert (status, document["output"]) == (200, "hello " + text)


def test_a_client_that_leaves_in_the_middle_of_a_body_leaves_nothing(server: Server) -> None:
    with Client(server) as client:
        client.socket.sendall(client.request({"input": {"text": "middle"}})[:200])
        time.sleep(0.1)

    assert server.predict(text="f")["output"] == "hello f"
    assert all(each["input"] != {"text": "middle"} for each in server.http.get("/predictions").json()["results"])


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["first", "pipelined"])
@pytest.mark.parametrize("is_head", [False, True], ids=["body", "head"])
def test_a_request_inside_another_one_is_not_taken_for_one(server: Server, before: bytes, *, is_head: bool) -> None:
    # What comes in a packet of its own, and looks as a known request does, is still the rest of the one before.
    with Client(server) as client:
        inside = client.request({"input": {"text": "smuggled"}})
        if is_head:
            outer = b"GET / HTTP/1.1\r\nHost: x\r\nX-More: "
        else:
            outer = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
            outer %= len(inside)
        client.socket.sendall(before + outer)
        time.sleep(0.1)
        client.socket.sendall(inside)
        if before:
            assert client.answer()[0] == 200
        status, _, body = client.whole_answer()

    assert status == (400 if is_head else 415)
    assert b"smuggled" not in body
    found = server.http.get("/predictions").json()["results"]
    assert all(each["input"] != {"text": "smuggled"} for each in found)


@pytest.mark.slow
def test_a_connection_is_closed_when_nothing_comes_any_more(server: Server) -> None:
    with Client(server) as client:
        client.ask({"input": {}})
        client.ask({"input": {}})
        began = time.monotonic()
        assert client.socket.recv(1) == b""

    assert 4 < time.monotonic() - began < 9


def test_a_server_that_ends_answers_first_and_closes(serve: Serve) -> None:
    server = serve(SOURCE)
    with Client(server) as client:
        client.ask({"input": {}})
        client.socket.sendall(client.request({"input": {"text": "last", "seconds": 1}}))
        wait_until(lambda: bool(of_status(server, "processing")), "none is processing")
        server.http.close()
        os.kill(server.process.pid, signal.SIGTERM)
        status, document = client.answer()
        assert client.socket.recv(1) == b""

    assert (status, document["output"]) == (200, "hello last")
    assert server.process.wait(10) == 0


def test_a_request_whose_body_comes_after_the_end_began_is_answered(serve: Serve) -> None:
    server = serve(SOURCE)
    with Client(server) as client:
        request = client.request({"input": {}})
        client.socket.sendall(request[:-10])
        time.sleep(0.1)
        os.kill(server.process.pid, signal.SIGTERM)
        time.sleep(0.6)
        client.socket.sendall(request[-10:])
        status, _ = client.answer()

    assert status == 503
    assert server.process.wait(10) == 0


def test_a_request_on_a_new_connection_of_a_server_that_ends_is_answered(serve: Serve) -> None:
    server = serve(SOURCE)
    client = Client(server)
    try:
        time.sleep(0.1)
        os.kill(server.process.pid, signal.SIGTERM)
        time.sleep(0.3)
        status, _ = client.ask({"input": {}})
    finally:
        client.socket.close()

    assert status == 503
    assert server.process.wait(10) == 0


def test_a_head_that_was_not_allowed_is_not_remembered(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_AUTH_TOKEN": "secret"})
    client = Client(server)
    try:
        assert [client.ask({"input": {}})[0] for _ in range(3)] == [401] * 3
    finally:
        client.socket.close()


PLAIN = ((b"host", b"x"), (b"content-type", b"application/json"), (b"content-length", b"2"))


@pytest.mark.parametrize(
    ("more", "is_taken"),
    [
        ({}, True),
        ({"headers": (*PLAIN, (b"user-agent", b"y"), (b"accept", b"*/*"))}, True),
        ({"headers": (*PLAIN, (b"prefer", b"respond-async"))}, False),
        ({"headers": (*PLAIN, (b"accept", b"text/event-stream"))}, False),
        ({"headers": (*PLAIN, (b"accept", b"Text/Event-Stream"))}, False),
        ({"headers": (*PLAIN, (b"connection", b"close"))}, False),
        ({"headers": (*PLAIN, (b"content-encoding", b"gzip"))}, False),
        ({"headers": (*PLAIN, (b"origin", b"http://elsewhere"))}, False),
        ({"headers": (*PLAIN, PLAIN[1])}, False),
        ({"headers": (*PLAIN[:1], (b"content-type", b"text/plain"), PLAIN[2])}, False),
        ({"headers": (*PLAIN[:2], (b"transfer-encoding", b"chunked"))}, False),
        ({"query_string": b"a=b"}, False),
        ({"http_version": "1.0"}, False),
        ({"method": "PUT"}, False),
        ({"path": "/other"}, False),
    ],
    ids=lambda value: str(value)[-60:] if isinstance(value, dict) else None,
)
def test_only_plain_heads_are_taken(more: dict[str, Any], *, is_taken: bool) -> None:
    scope = {"method": "POST", "path": "/predictions", "http_version": "1.1", "query_string": b"", "headers": PLAIN}
    app = FastAPI()
    access = add_access(app, Settings(target="predict.py:Predictor"))
    path = FastPath(app, access, {}, {("POST", "/predictions"): lambda body, exchange: True})

    assert (path.lane({**scope, **more}) is not None) is is_taken

    app.add_middleware(AccessMiddleware, tokens=(), origins=())
    assert path.lane({**scope, **more}) is None


def test_heads_are_known_to_the_letter_and_not_without_end() -> None:
    heads = Heads(lambda scope: lambda body, exchange: True)
    two = {"headers": [(b"content-length", b"2")]}
    for number in range(1000):
        heads.learn(b"%d\r\n\r\n" % number, two, 2)
    heads.learn(b"a\r\n\r\n", two, 3)
    heads.learn(b"b\n\nc\r\n\r\n", two, 2)
    heads.learn(b"d\r\n\r\n", {"headers": [(b"content-length", b"2000000")]}, 2_000_000)
    heads.learn(b"", two, 2)

    assert heads.find(b"999\r\n\r\n[]") == heads.find(b"999\r\n\r\n")
    assert heads.find(b"999\r\n\r\n[]") is not None
    for unknown in (
        b"0\r\n\r\n[]",
        b"999 \r\n\r\n[]",
        b"999\r\n",
        b"a\r\n\r\n",
        b"b\n\nc\r\n\r\n",
        b"d\r\n\r\n",
        b"",
        b"[]",
    ):
        assert heads.find(unknown) is None

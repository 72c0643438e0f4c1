"""The short way to a prediction answers as the long one does, and gives way to middleware."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from cog_server.http.access import AccessMiddleware, add_access
from cog_server.http.fast_path import FastPath
from cog_server.settings import Settings
from tests.server.conftest import Server, serving

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, text: str = "") -> str:
            return "hello " + text
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("fast")) as start:
        yield start(SOURCE)


def test_the_short_way_has_the_headers_of_the_long_one(server: Server) -> None:
    short = server.http.post("/predictions", json={"input": {"text": "a"}})
    long = server.http.get(f"/predictions/{short.json()['id']}")

    assert short.status_code == 200
    assert set(short.headers) == set(long.headers)
    assert short.headers["content-type"] == long.headers["content-type"] == "application/json"
    assert short.content == long.content


@pytest.mark.parametrize(
    ("version", "header", "closes"),
    [("1.1", "", False), ("1.1", "Connection: close\r\n", True), ("1.0", "", True)],
    ids=["kept", "close", "1.0"],
)
def test_a_connection_is_kept_or_closed_as_asked(server: Server, version: str, header: str, *, closes: bool) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = b'{"text": "b"}'
    request = (
        f"POST /predict HTTP/{version}\r\nHost: x\r\nContent-Type: application/json\r\n{header}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request + body)
        answer = connection.recv(65536)
        connection.settimeout(1)
        try:
            is_closed = b"" in (connection.recv(65536), connection.recv(65536))
        except TimeoutError:
            is_closed = False

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert is_closed is closes


def test_pipelined_requests_are_answered_in_their_order(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    request = b""
    for number in range(20):
        body = b'{"text": "%d"}' % number
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        request += head % len(body) + body
    got = b""
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(request)
        while got.count(b'{"output"') < 20:
            got += connection.recv(65536)

    order = [int(part.split(b'"')[0]) for part in got.split(b"hello ")[1:]]
    assert order == list(range(20))


@pytest.mark.parametrize("has_middleware", [False, True], ids=["bare", "wrapped"])
def test_middleware_of_others_is_not_gone_around(*, has_middleware: bool) -> None:
    app = FastAPI()
    access = add_access(app, Settings(target="predict.py:Predictor"))
    app.add_route("/predictions", _long, methods=["POST"])
    if has_middleware:
        app.add_middleware(AccessMiddleware, tokens=(), origins=())

    status = asyncio.run(_status(FastPath(app, access, {("POST", "/predictions"): _short})))

    assert status == (299 if has_middleware else 298)


def test_the_short_way_needs_a_token_too() -> None:
    app = FastAPI()
    access = add_access(app, Settings(target="predict.py:Predictor", auth_tokens=(b"secret",)))

    assert asyncio.run(_status(FastPath(app, access, {("POST", "/predictions"): _short}))) == 401


async def _short(request: Request) -> Response:
    return Response(status_code=298)


async def _long(request: Request) -> Response:
    return Response(status_code=299)


async def _status(app: FastPath) -> int:
    found: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "POST", "path": "/predictions", "headers": [], "query_string": b""}
    await app(scope, receive, send)
    return found[0]

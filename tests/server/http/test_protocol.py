"""What clients may take of the connections: time, size, number. Bytes over real sockets."""

from __future__ import annotations

import json
import re
import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Serve, Server, serving, wait_until

SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, text: str = "you", sleep_s: float = 0.0, mib: int = 0) -> str:
            time.sleep(sleep_s)
            return text + "x" * (mib << 20)
"""
SHORT = {"COG_HEADER_TIMEOUT": "1", "COG_BODY_TIMEOUT": "2", "COG_SEND_TIMEOUT": "2", "COG_MAX_CONNECTIONS": "400"}
HEAD = b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
# The sweep is once per second, and this machine may be busy.
LATE_S = 8.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("protocol")) as start:
        yield start(SOURCE, environment=SHORT)


def connect(server: Server, *, receive_bytes: int | None = None) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.socket()
    if receive_bytes is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(20)
    connection.connect((host, int(port)))
    return connection


def read_all(connection: socket.socket) -> bytes:
    """What the server says until it closes."""
    data = b""
    try:
        while piece := connection.recv(1 << 16):
            data += piece
    except ConnectionResetError:
        pass
    return data


def read_answer(connection: socket.socket) -> tuple[int, dict[str, Any]]:
    """One answer of a connection that stays open."""
    data = b""
    while True:
        head, _, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        if length and len(body) >= int(length[1]):
            return int(head[9:12]), json.loads(body)
        piece = connection.recv(1 << 16)
        assert piece, data
        data += piece


def statuses(data: bytes) -> list[int]:
    return [int(text) for text in re.findall(rb"HTTP/1\.1 (\d\d\d)", data)]


def _assert_refused(data: bytes, status: int) -> str:
    """A whole problem in its one shape, the last thing on the connection; gives its sentence."""
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), data[:500]
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    document = json.loads(body)
    assert document["status"] == status
    return str(document["detail"])


@pytest.mark.slow
def test_headers_that_trickle_are_ended_by_their_deadline(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        begun = time.monotonic()
        while not select.select([connection], [], [], 0.2)[0] and time.monotonic() < begun + LATE_S:
            connection.sendall(b"x-a: b\r\n")

        assert "headers" in _assert_refused(read_all(connection), 408)


def test_a_silent_connection_is_closed_by_the_header_deadline(server: Server) -> None:
    with connect(server) as connection:
        assert read_all(connection) == b""


def test_the_next_request_of_a_connection_has_the_same_deadline(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200
        connection.sendall(b"GET /livez")

        _assert_refused(read_all(connection), 408)


def test_an_empty_line_does_not_keep_a_connection_open(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200
        connection.sendall(b"\r\n")

        assert statuses(read_all(connection)) == [408]


@pytest.mark.parametrize(
    "start",
    [b"Content-Length: 1000\r\n\r\n{", b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"],
    ids=["length", "chunked"],
)
def test_a_body_that_stops_is_ended_by_its_deadline(server: Server, start: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + start)

        assert "body" in _assert_refused(read_all(connection), 408)


@pytest.mark.slow
def test_a_body_that_flows_is_given_more_time(server: Server) -> None:
    body = b'{"input": {"text": "%s"}}' % (b"x" * (6 << 20))
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 1 << 20):
            connection.sendall(body[start : start + (1 << 20)])
            time.sleep(0.7)  # 4.9 s in all: more than the 2 s of a body that stops.

        assert read_answer(connection)[0] == 200


@pytest.mark.slow
def test_a_prediction_may_take_longer_than_any_deadline(server: Server) -> None:
    assert server.predict(text="slow", sleep_s=5)["output"] == "slow"


@pytest.mark.slow
def test_a_client_that_reads_nothing_holds_neither_the_slot_nor_the_connection(server: Server) -> None:
    with connect(server, receive_bytes=4096) as connection:
        body = b'{"input": {"mib": 20}}'
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        assert select.select([connection], [], [], LATE_S)[0]
        begun = time.monotonic()
        assert server.predict(text="next")["output"] == "next"
        assert time.monotonic() - begun < 1.5
        descriptors = len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))

        wait_until(
            lambda: len(list(Path(f"/proc/{server.process.pid}/fd").iterdir())) < descriptors, "it is not aborted"
        )
        assert len(read_all(connection)) < 20 << 20


@pytest.mark.slow
def test_a_client_that_reads_slowly_gets_everything(server: Server) -> None:
    with connect(server, receive_bytes=65536) as connection:
        body = b'{"input": {"mib": 20}}'
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        data = bytearray()
        while len(data) < 600_000:  # 6 s of 100 kB each: so little that the system takes nothing new of the server.
            data += connection.recv(10_000)
            time.sleep(0.1)
        data += read_all(connection)

    assert data.endswith(b"}")
    assert len(data) > 20 << 20


def test_connections_over_the_cap_are_told_to_come_back(serve: Serve) -> None:
    server = serve(SOURCE, environment={"COG_MAX_CONNECTIONS": "10"})
    server.http.close()
    first = [connect(server) for _ in range(10)]
    time.sleep(0.2)

    with connect(server) as connection:
        data = read_all(connection)
    wait_until(lambda: "all 10 connections" in server.log.read_text(), "the log says nothing of it")
    for each in first:
        each.close()

    assert "too many" in _assert_refused(data, 503)
    assert b"retry-after: 1\r\n" in data.lower()
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(connection)[0] == 200


@pytest.mark.parametrize(
    ("start", "status"),
    [
        (b"GET /livez HTTP/1.1\r\nx: " + b"a" * 70_000, 431),
        (b"GET /livez HTTP/1.1" + b"\r\nx: y" * 12_000, 431),
        (b"GET /livez?" + b"a" * 70_000 + b" HTTP/1.1", 414),
    ],
    ids=["header", "headers", "path"],
)
@pytest.mark.parametrize("end", [b"", b"\r\nHost: x\r\n\r\n"], ids=["endless", "whole"])
def test_headers_have_a_size(server: Server, start: bytes, status: int, end: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(start + end)

        _assert_refused(read_all(connection), status)


def test_empty_lines_before_a_request_count_as_its_headers(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"\r\n" * 40_000)

        _assert_refused(read_all(connection), 431)


def test_a_declared_body_over_the_limit_is_refused_before_it_comes(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: 104857601\r\n\r\n")

        _assert_refused(read_all(connection), 413)


def test_a_client_in_the_middle_of_its_upload_hears_that_it_is_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: 104857601\r\n\r\n")
        for _ in range(16):
            connection.sendall(b" " * (1 << 20))

        _assert_refused(read_all(connection), 413)


def test_a_chunked_body_over_the_limit_is_refused_when_it_gets_there(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(101):
            connection.sendall(b"100000\r\n%s\r\n" % (b" " * (1 << 20)))

        _assert_refused(read_all(connection), 413)


@pytest.mark.parametrize(
    ("body", "piece"),
    [(b"", b"1\r\n \r\n"), (b"1;x=", b"y" * 100), (b"1\r\n \r\n0\r\n", b"x: y\r\n")],
    ids=["chunks", "extension", "trailers"],
)
def test_a_body_that_is_mostly_framing_is_refused(server: Server, body: bytes, piece: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        time.sleep(0.2)
        connection.sendall(body + piece * 20_000)

        _assert_refused(read_all(connection), 400)


def test_small_chunks_of_a_small_body_are_taken(server: Server) -> None:
    body = b'{"input": {"text": "%s"}}' % (b"x" * 900)
    with connect(server) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
        connection.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")

        assert read_answer(connection)[1]["output"] == "x" * 900


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /livez\r\n",
        b"GET /livez HTTP/0.9\r\n",
        b"GET /livez HTTP/2.0\r\nHost: x\r\n",
        b"GET /livez HTTP/1.1\r\n",
        b"GET /livez HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        b"GET /livez HTTP/1.0\r\nHost: a\r\nHost: b\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n",
        b"\x16\x03\x01\r\n",
    ],
    ids=str,
)
def test_a_request_that_is_not_one_is_refused_as_a_problem(server: Server, request_head: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(request_head + b"\r\n")

        _assert_refused(read_all(connection), 400)


def test_http_1_0_needs_no_host(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.0\r\n\r\n")

        assert statuses(read_all(connection)) == [200]


@pytest.mark.parametrize("is_at_once", [True, False])
def test_the_body_of_a_request_that_asks_for_http_2_is_its_body(server: Server, is_at_once: bool) -> None:
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    body = b'{"input": {"text": "java"}}'
    with connect(server) as connection:
        for _ in range(2):
            connection.sendall(HEAD + upgrade + b"Content-Length: %d\r\n\r\n" % len(body) + body * is_at_once)
            if not is_at_once:
                time.sleep(0.2)
                connection.sendall(body)
            assert read_answer(connection)[1]["output"] == "java"


def test_a_request_before_a_wrong_one_gets_its_answer(server: Server) -> None:
    body = b'{"input": {"text": "good", "sleep_s": 0.5}}'
    with connect(server) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body) + b"GET / HTTP/9\r\n\r\n")
        data = read_all(connection)

    assert statuses(data) == [200]
    assert b'"output":"good"' in data


def test_a_queued_request_that_turns_out_wrong_is_refused_in_its_turn(server: Server) -> None:
    body = b'{"input": {"text": "good", "sleep_s": 0.5}}'
    good = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    with connect(server) as connection:
        connection.sendall(good + HEAD + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        data = read_all(connection)

    assert statuses(data) == [200, 400]


def test_only_so_many_requests_wait_on_a_connection(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n" * 500)
        found = statuses(read_all(connection))

    assert set(found) == {200}
    assert 100 <= len(found) <= 102


@pytest.mark.slow
def test_a_connection_that_was_answered_before_its_body_came_is_closed_when_idle(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        assert read_answer(connection)[0] == 404
        connection.sendall(b"body")

        assert read_all(connection) == b""


@pytest.mark.slow
def test_slow_and_silent_clients_disturb_nobody_and_leave_nothing(server: Server) -> None:
    descriptors = Path(f"/proc/{server.process.pid}/fd")
    wait_until(lambda: server.predict()["output"] == "you", "it does not answer")
    before = len(list(descriptors.iterdir()))
    crowd = [connect(server) for _ in range(270)]
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.2):
            for index, connection in enumerate(crowd[:120]):
                try:
                    connection.send(b"x: y\r\n" if index < 60 else b" ")
                except OSError:
                    continue

    for index, connection in enumerate(crowd[:120]):
        connection.sendall(b"GET /livez HTTP/1.1\r\n" if index < 60 else HEAD + b"Content-Length: 99999\r\n\r\n")
    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        slowest_s = 0.0
        closed = select.poll()
        for connection in crowd:
            closed.register(connection, select.POLLRDHUP)
        deadline = time.monotonic() + 2 * LATE_S
        while len(closed.poll(0)) < len(crowd) and time.monotonic() < deadline:
            begun = time.monotonic()
            assert server.predict(text="good")["output"] == "good"
            slowest_s = max(slowest_s, time.monotonic() - begun)
        assert len(closed.poll(0)) == len(crowd)
    finally:
        ended.set()
        thread.join()
    answers = [statuses(read_all(connection)) for connection in crowd]
    for connection in crowd:
        connection.close()

    assert answers == [[408]] * 120 + [[]] * 150
    assert slowest_s < 1.5
    wait_until(lambda: len(list(descriptors.iterdir())) <= before, "connections are left")

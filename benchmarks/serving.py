"""What our server adds to a model that does nothing: its start, its memory, and the time of items and lines.

It is started as in an image: `python -m cog_server`, with the packages of its lock, and COG_PREDICT.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.peers import processes
from benchmarks.peers.kinds import HOST, KINDS
from benchmarks.peers.servers import Server, ServerError, serving
from benchmarks.peers.workloads import Workload

STARTS = 7
STREAMS = 100
ITEMS = 10_000
LONG_STREAMS = 5
LINES = 100
PAIRS = 300
_DEADLINE_S = 60.0
_WRONG: dict[str, object] = {"count": "three"}
_OURS = replace(KINDS["ours"], app=Path(__file__).resolve().parent / "models")
_EMPTY = Workload("empty", "", "Empty", (), dict, _WRONG, lambda output: output == "nothing")
_CLOCK = Workload("clock", "", "Clock", (), dict, _WRONG, lambda output: isinstance(output, list))
_STREAM = Workload("stream", "", "Stream", (), lambda: {"count": 2}, _WRONG, lambda output: output == ["token"] * 2)
_LINES = Workload("lines", "", "Lines", (), lambda: {"count": 2}, _WRONG, lambda output: output == "done")
_MOMENT = re.compile(rb'"chunk":([0-9.]+)[,}]')


def measure_serving() -> list[Figure]:
    """Start a server for each model and measure it. Raises InstallError or ServerError."""
    processes.adopt_orphans()
    return [
        *_start(),
        _first_item(),
        _long_stream("Stream", "a generator"),
        _long_stream("AsyncStream", "an async generator"),
        _lines(),
    ]


def _start() -> list[Figure]:
    starts, sizes = [], []
    for _ in range(STARTS):
        with serving(_OURS, _EMPTY) as server:
            starts.append(server.start_s)
            sizes.append(processes.pss_mb())
    start_s, size_mb = statistics.median(starts), statistics.median(sizes)
    return [
        Figure("start to the first answer, empty model", f"{start_s * 1000:.0f} ms", "", "python -m cog_server"),
        Figure("memory of server and worker, PSS", f"{size_mb:.0f} MB", "<= 80 MB", "/proc/PID/smaps_rollup"),
    ]


def _first_item() -> Figure:
    with serving(_OURS, _CLOCK) as server:
        delays = sorted(_first_delay_s(server) * 1000 for _ in range(STREAMS))
    value = f"{statistics.median(delays):.2f} ms, p99 {delays[STREAMS * 99 // 100 - 1]:.2f} ms"
    return Figure("first item of a stream, yield to client", value, "< 5 ms", "Accept: text/event-stream")


def _first_delay_s(server: Server) -> float:
    """The time from the yield of a moment to the arrival of its event."""
    content, delay_s = b"", None
    for piece in _stream(server, {}):
        now = time.monotonic()
        content += piece
        found = _MOMENT.search(content)
        if found and delay_s is None:
            delay_s = now - float(found[1])
    if delay_s is None:
        raise ServerError(f"a stream without an item: {content[-300:]!r}")
    return delay_s


def _long_stream(model: str, what: str) -> Figure:
    with serving(_OURS, replace(_STREAM, model=model)) as server:
        rates = [ITEMS / _stream_s(server) for _ in range(LONG_STREAMS + 1)][1:]
    value = f"{statistics.median(rates):.0f} /s"
    return Figure(f"items of {what} on one stream", value, ">= 20000 /s", "Accept: text/event-stream")


def _stream_s(server: Server) -> float:
    """The time of a whole stream, from the request to its end; no item of it may be missing."""
    started = time.perf_counter()
    content = b"".join(_stream(server, {"count": ITEMS}))
    seconds = time.perf_counter() - started
    count = content.count(b"\nevent: output\n")
    if count != ITEMS or b'"status":"succeeded"' not in content:
        raise ServerError(f"{count} of {ITEMS} items came: {content[-300:]!r}")
    return seconds


def _stream(server: Server, given: dict[str, object]) -> Iterator[bytes]:
    """The bytes of an event stream as they come, with the head and the framing of HTTP.

    A socket and no more: a client that takes HTTP apart takes its time from the server, on a machine of few cores.
    """
    body = server.kind.body(server.workload, given)
    lines = (
        f"POST {server.kind.address(server.workload)} HTTP/1.1",
        f"Host: {HOST}",
        "Accept: text/event-stream",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
        "\r\n",
    )
    with socket.create_connection((HOST, server.port), timeout=_DEADLINE_S) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        while piece := connection.recv(1 << 16):
            yield piece


def _lines() -> Figure:
    with (
        serving(_OURS, _LINES) as server,
        contextlib.closing(http.client.HTTPConnection(HOST, server.port, timeout=_DEADLINE_S)) as connection,
    ):
        pairs = [(_request_s(server, connection, LINES), _request_s(server, connection, 0)) for _ in range(PAIRS)]
    talking, silent = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    value = f"{talking / silent:.2f}x ({talking:.2f} / {silent:.2f} ms)"
    return Figure(f"{LINES} lines printed, over a silent predict", value, "< 1.5x", "POST /predictions")


def _request_s(server: Server, connection: http.client.HTTPConnection, count: int) -> float:
    body = server.kind.body(server.workload, {"count": count})
    started = time.perf_counter()
    connection.request("POST", server.kind.address(server.workload), body, {"Content-Type": "application/json"})
    content = connection.getresponse().read()
    seconds = time.perf_counter() - started
    if b'"status":"succeeded"' not in content:
        raise ServerError(f"a prediction failed: {content[:300]!r}")
    return seconds

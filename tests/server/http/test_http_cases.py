"""A corpus of bad requests, sent as bytes: a client library would refuse some of them."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import Server, serving, wait_until

CASES = json.loads((Path(__file__).parent / "http_cases.json").read_text())["cases"]

# These are about a server that has a token.
WITH_TOKEN = {"http-headers-010", "http-headers-011"}
# How many bytes the server may grow by while it reads a flood.
MOST_RISE = 50 << 20
# The corpus was made for servers that drop unknown inputs; here they are refused by name.
DECIDED = {"http-body-037": {422}}

SOURCE = """
    class Predictor(BasePredictor):
        def predict(
            self,
            s: str = Input(default="x", min_length=1),
            n: int = Input(default=1, le=10),
            f: float = 1.0,
            choice: str = Input(default="a", choices=["a", "b"]),
            code: str = Input(default="A", regex="^[A-Z]+$"),
            image: Path = None,
            images: List[Path] = Input(default=[]),
            secret: Secret = None,
            a: dict = Input(default={}),
        ) -> str:
            return s
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("guarded")) as start:
        yield start(SOURCE, environment={"COG_AUTH_TOKEN": "right"})


def _is_for_all(case: dict[str, Any]) -> bool:
    """Not those that need a server of their own, or what does not exist yet."""
    return case["id"] not in WITH_TOKEN and "$silent" not in str(case["input"].get("raw"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("corpus")) as start:
        yield start(SOURCE)


@pytest.mark.parametrize("case", [case for case in CASES if _is_for_all(case)], ids=lambda case: case["id"])
def test_a_bad_request_is_answered_as_the_corpus_says(server: Server, case: dict[str, Any]) -> None:
    given = case["input"]
    if "$reset" in str(given.get("raw")):
        _reset(server)
    else:
        peak_bytes = _peak_bytes(server)
        status, body = _exchange(server, given)
        allowed = DECIDED.get(case["id"]) or _allowed(case["expected"])
        assert status in allowed, (status, body[:500])
        place = re.match(r"422 loc=([\w.]+)", case["expected"])
        if place and status == 422 and case["id"] not in DECIDED:
            places = [".".join(map(str, item["loc"])) for item in json.loads(body)["detail"]]
            assert place[1] in places, places
        assert b"tok3n-in-wrong-field" not in body
        assert _peak_bytes(server) - peak_bytes < MOST_RISE
    assert server.predict(s="still here")["output"] == "still here"
    log = server.log.read_text()
    assert "Traceback" not in log
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", log), "text of a client steers the terminal of who reads the log"


@pytest.mark.parametrize("case", [case for case in CASES if case["id"] in WITH_TOKEN], ids=lambda case: case["id"])
def test_a_wrong_token_is_refused_where_one_is_set(guarded: Server, case: dict[str, Any]) -> None:
    assert _exchange(guarded, case["input"])[0] == 401
    assert "Traceback" not in guarded.log.read_text()


def test_an_authorization_that_nobody_asked_for_is_ignored(server: Server) -> None:
    case = next(case for case in CASES if case["id"] == "http-headers-010")

    assert _exchange(server, case["input"])[0] == 200


@pytest.mark.slow
def test_silent_connections_are_closed(tmp_path: Path) -> None:
    silent = next(case for case in CASES if "$silent" in str(case["input"].get("raw")))["input"]["raw"]["$silent"]
    with serving(tmp_path) as start:
        server = start(SOURCE, environment={"COG_HEADER_TIMEOUT": "2"})
        host, _, port = server.url.removeprefix("http://").partition(":")
        poll = select.poll()
        with contextlib.ExitStack() as stack:
            for _ in range(silent["connections"]):
                poll.register(stack.enter_context(socket.create_connection((host, int(port)))), select.POLLRDHUP)
            wait_until(lambda: len(poll.poll(0)) == silent["connections"], "some are still open", timeout_s=15)
        assert server.predict(s="still here")["output"] == "still here"


def _peak_bytes(server: Server) -> int:
    """The most memory that the server has had in its life."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _allowed(expected: str) -> set[int | None]:
    """The statuses that are right; None is a connection closed without an answer."""
    head = expected.split(";")[0]
    found: set[int | None] = {int(text) for text in re.findall(r"\b([1-5]\d\d)\b", head)}
    if re.search(r"ignored|dropped|never reflected|treated as|working round trip", head):
        found.add(200)
    if "close" in head:
        found.add(None)
    if "no CORS" in head:
        found |= {403, 415}
    if 100 in found:
        found.add(200)
    return found


def _exchange(server: Server, given: dict[str, Any]) -> tuple[int | None, bytes]:
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        for piece in _pieces(given):
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
        return _answer(connection)


def _pieces(given: dict[str, Any]) -> Iterator[bytes]:
    raw = given.get("raw")
    if isinstance(raw, str):
        yield raw.encode("latin-1")
    elif isinstance(raw, dict):
        yield b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunk = raw["chunk"].encode()
        for _ in range(raw["$chunks"] // 1000):
            yield chunk * 1000
        yield b"0\r\n\r\n"
    else:
        body = _expand(given["body"])
        headers = {name: _expand(value) for name, value in given["headers"].items()}
        lines = [
            f"{given['method']} ".encode() + _expand(given["path"]) + b" HTTP/1.1",
            b"host: x",
            b"connection: close",
        ]
        lines += [name.encode() + b": " + value for name, value in headers.items()]
        lines.append(b"content-length: %d" % len(body))
        yield b"\r\n".join(lines) + b"\r\n\r\n" + body


def _expand(value: Any) -> bytes:
    """The corpus's generators as bytes."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if "$repeat" in value:
        text, count = value["$repeat"]
        return _expand(value.get("$pre", "")) + text.encode() * count + _expand(value.get("$post", ""))
    if "$hex" in value:
        return bytes.fromhex(value["$hex"])
    if "$utf16" in value:
        return str(value["$utf16"]).encode("utf-16")
    if "$gzip_bomb_mib" in value:
        return gzip.compress(bytes(8 << 20))  # The encoding is refused before its size could matter.
    if "$pickle" in value:
        return b"cos\nsystem\n(S'true'\ntR."
    raise AssertionError(f"an unknown generator: {value}")


def _answer(connection: socket.socket) -> tuple[int | None, bytes]:
    data = b""
    try:
        while b"\r\n\r\n" not in data or not _is_whole(data):
            piece = connection.recv(1 << 16)
            if not piece:
                break
            data += piece
    except ConnectionResetError:
        pass
    match = re.match(rb"HTTP/1\.1 (\d\d\d)", data)
    return (int(match[1]) if match else None), data.partition(b"\r\n\r\n")[2]


def _is_whole(data: bytes) -> bool:
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return length is not None and len(body) >= int(length[1])


def _reset(server: Server) -> None:
    """Close with a RST right after the headers."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.sendall(b"POST /predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    connection.close()

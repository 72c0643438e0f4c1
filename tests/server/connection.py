"""`Client`: requests whose heads are all the same, on one connection, each byte as it is meant."""

from __future__ import annotations

import json
import socket
from typing import Any

from tests.server.conftest import Server


class Client:
    """A connection on which the same head is sent again and again, whatever the body says."""

    def __init__(self, server: Server, path: str = "/predictions") -> None:
        host, port = server.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20)
        self._path = path
        self._got = b""

    def __enter__(self) -> Client:
        # So that the head is known: by more than one connection, one of which is this.
        self.ask({"input": {}} if self._path == "/predictions" else {})
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def request(self, value: Any) -> bytes:
        # White space makes every body as long as any other: the heads must not differ in Content-Length.
        body = json.dumps(value).encode().ljust(400)
        head = f"POST {self._path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        return head.encode() + b"\r\n\r\n" + body

    def ask(self, value: Any) -> tuple[int, dict[str, Any]]:
        self.socket.sendall(self.request(value))
        return self.answer()

    def answer(self) -> tuple[int, dict[str, Any]]:
        status, _, body = self.whole_answer()
        return status, json.loads(body)

    def whole_answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        while b"\r\n\r\n" not in self._got:
            self._receive()
        head, _, rest = self._got.partition(b"\r\n\r\n")
        first, *lines = head.split(b"\r\n")
        headers = dict(line.split(b": ", 1) for line in lines)
        size = int(headers[b"content-length"])
        while len(rest) < size:
            self._receive()
            rest = self._got.partition(b"\r\n\r\n")[2]
        self._got = rest[size:]
        return int(first.split()[1]), headers, rest[:size]

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        assert data, f"closed after {self._got!r}"
        self._got += data

"""A model's server that says what the test wants, over real HTTP, and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import multipart

_KEPT_BYTES = 1 << 20


@dataclass
class Received:
    """A request: its whole size, and the beginning of its body."""

    path: str
    headers: dict[str, str]
    body: bytes = b""
    size_bytes: int = 0

    def parts(self) -> list[Part]:
        boundary = self.headers["content-type"].partition("boundary=")[2]
        parser = multipart.PushMultipartParser(boundary)
        parts: list[Part] = []
        with parser:
            for event in parser.parse(self.body):
                if isinstance(event, multipart.MultipartSegment):
                    parts.append(Part(event.name or "", event.filename, event.content_type))
                elif event:
                    parts[-1].content += event
        return parts


@dataclass
class Part:
    name: str
    filename: str | None
    media_type: str | None
    content: bytes = b""


@dataclass
class Answer:
    """What is answered: JSON data, or bytes, which come in pieces with a pause before each."""

    content: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause_s: float = 0.0
    is_early: bool = False
    reading_pause_s: float = 0.0


class ModelServer:
    """Answers every request with what `answer` gives for it. Use as a context manager; it is a `RunningModel`."""

    def __init__(self, answer: Callable[[Received], Answer]) -> None:
        self.received: list[Received] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers)
                owner.received.append(received)
                wanted = answer(received)
                if not wanted.is_early:
                    self._read(received, wanted.reading_pause_s)
                    wanted = answer(received)
                self._answer(wanted)

            do_GET = do_PUT = do_POST

            def _read(self, received: Received, pause_s: float) -> None:
                left = int(received.headers.get("content-length", 0))
                while left > 0:
                    piece = self.rfile.read(min(left, 1 << 18))
                    left -= len(piece)
                    received.size_bytes += len(piece)
                    if len(received.body) < _KEPT_BYTES:
                        received.body += piece
                    time.sleep(pause_s)

            def _answer(self, wanted: Answer) -> None:
                is_bytes = isinstance(wanted.content, bytes)
                content = wanted.content if is_bytes else json.dumps(wanted.content).encode()
                self.send_response(wanted.status)
                for name, value in {"content-length": str(len(content)), **wanted.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for start in range(0, len(content), 1 << 18):
                    time.sleep(wanted.pause_s)
                    self.wfile.write(content[start : start + (1 << 18)])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, *details: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def exit_code(self) -> int | None:
        return None

    def wait(self) -> int:
        return 0

"""`python -m benchmarks.large_files [GIB]`: a large file in and out; the server's memory must not notice."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.server.conftest import Server, serving

GIB = 1024**3
_PIECE = bytes(1 << 20)
SOURCE = """
    class Predictor(BasePredictor):
        def predict(self, file: Path) -> Path:
            return file
"""


def measure(size: int) -> str:
    """Send a file of `size` bytes through an input and an output over HTTP; give peak memory and rates in words."""
    with tempfile.TemporaryDirectory(prefix="cog-large-") as folder, _web(size) as (web, seen):
        environment = {
            "COG_ALLOW_PRIVATE_URLS": "127.0.0.1",
            "COG_MAX_FILE_BYTES": str(size),
            "COG_MAX_INPUT_BYTES": str(size),
        }
        with serving(Path(folder)) as start:
            server = start(SOURCE, environment=environment)
            server.http.timeout = 3600  # type: ignore[assignment]  # httpx takes seconds
            started = time.monotonic()
            body = {"input": {"file": f"{web}/in"}, "output_path": f"{web}/out/"}
            document = server.http.post("/predictions", json=body).json()
            seconds = time.monotonic() - started
            if document["status"] != "succeeded" or seen != [size]:
                sys.exit(f"{document['status']}: {document['error']}; {seen} of {size} bytes came out")
            peak = _peak_mib(server)
    return f"peak {peak} MiB, {seconds:.0f} s, {2 * size / seconds / 1e6:.0f} MB/s"


@contextlib.contextmanager
def _web(size: int) -> Iterator[tuple[str, list[int]]]:
    """A server that gives a file of zeros and counts the bytes that are put to it."""
    seen: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", str(size))
            self.end_headers()
            left = size
            while left:
                left -= self.wfile.write(_PIECE[:left])

        def do_PUT(self) -> None:
            left = int(self.headers["content-length"])
            seen.append(left)
            while left:
                left -= len(self.rfile.read(min(left, len(_PIECE))))
            self.send_response(201)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{web.server_port}", seen
    finally:
        web.shutdown()
        web.server_close()


def _peak_mib(server: Server) -> int:
    for line in Path(f"/proc/{server.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    raise AssertionError("the kernel does not say")


if __name__ == "__main__":
    print(measure(int(float(sys.argv[1] if len(sys.argv) > 1 else 10) * GIB)))

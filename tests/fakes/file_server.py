"""A server of files over real HTTP. The first segment of a path says how it fails; it remembers what it was asked."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import socket
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CONTENT = b"from the web"
_BLOCK = 1 << 16
# The pause between two bytes, or blocks, of what is slow.
_DRIP_S = 0.1


@dataclass(frozen=True)
class Request:
    """What came. Header names are in lower case; `path` has its query; `body` is as far as it was read."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.body).hexdigest()


class FileServer:
    """Listens on a port of its own until `stop`.

    `files` are what GET gives by path, CONTENT for all others; `moved` sends it elsewhere. `stored` is what PUT brought, the last by each path, in
    the order it was whole.
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.requests: list[Request] = []
        self.stored: dict[str, Request] = {}
        self.connections = 0
        self.most_open = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        self._host = host
        self._tls = tls
        self.open_now = 0
        self._lock = threading.Lock()
        self._listener = _Listener(self, host, port, tls)
        self.port = int(self._listener.server_port)
        serve = self._listener.serve_forever
        self._thread = threading.Thread(target=serve, args=(0.02,), name="file-server", daemon=True)
        self._thread.start()

    def url(self, path: str = "/file/picture.png", host: str = "") -> str:
        """The URL of a path, by another name of this machine if one is given."""
        return f"{'https' if self._tls else 'http'}://{host or self._host}:{self.port}{path}"

    def of(self, path: str, method: str = "") -> list[Request]:
        """The requests to a path, whatever their queries, in the order they ended."""
        found = [each for each in list(self.requests) if urlsplit(each.path).path == path]
        return [each for each in found if method in ("", each.method)]

    def forget(self) -> None:
        """Begin anew."""
        self.requests.clear()
        self.stored.clear()
        self.counts.clear()
        self.files.clear()
        self.moved.clear()
        self.connections = self.most_open = 0

    def stop(self) -> None:
        """End it."""
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join(10)

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """One more is served while the block runs."""
        with self._lock:
            self.open_now += 1
            self.most_open = max(self.most_open, self.open_now)
        try:
            yield
        finally:
            with self._lock:
                self.open_now -= 1


@contextlib.contextmanager
def serving_files(**options: Any) -> Iterator[FileServer]:
    """A FileServer for a `with` block."""
    server = FileServer(**options)
    try:
        yield server
    finally:
        server.stop()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, files: FileServer, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__((host, port), _Handler)
        self.files = files
        self._tls = tls

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        self.files.connections += 1
        if self._tls is None:
            return connection, address
        # The handshake comes with the first read, on the connection's own thread.
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients break off; that is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def do_GET(self) -> None:
        files = self.server.files
        parts = urlsplit(self.path)
        self.asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.manner, _, self.rest = parts.path.lstrip("/").partition("/")
        self.body = bytearray()
        self.is_recorded = False
        files.counts[self.command, self.path] += 1
        with files.counting():
            try:
                manners = _PUT if self.command == "PUT" else _GET
                if self.command == "DELETE":
                    self.say(204 if files.stored.pop(parts.path, None) else 404)
                else:
                    manners.get(self.manner, _store if self.command == "PUT" else _file)(self)
            finally:
                self.record()

    do_PUT = do_DELETE = do_GET

    @property
    def nth(self) -> int:
        """The how manieth request of this method to this path it is, from 1 on."""
        return self.server.files.counts[self.command, self.path]

    def record(self) -> None:
        """Write the request down, before its answer if there is one."""
        if not self.is_recorded:
            self.is_recorded = True
            headers = {name.lower(): value for name, value in self.headers.items()}
            request = Request(self.command, self.path, headers, bytes(self.body), time.monotonic())
            self.server.files.requests.append(request)

    def say(self, status: int, body: bytes = b"", *, length: int | None = -1, **headers: str) -> None:
        """Answer. `length` is what is said of the body, None nothing at all."""
        self.record()
        lines = [f"HTTP/1.1 {status} X"]
        if length is not None and status not in (204, 304):
            lines.append(f"Content-Length: {len(body) if length < 0 else length}")
        if length is None:
            self.close_connection = True
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines).encode("utf-8", "surrogateescape")
        self.wfile.write(head + b"\r\n\r\n" + body)

    def read_body(self, share: float = 1.0, pause_s: float = 0.0) -> None:
        """Read the body, or a part of it. Raises ConnectionError if the client leaves before."""
        left = int(int(self.headers.get("content-length") or 0) * share)
        while left:
            block = self.rfile.read(min(left, _BLOCK))
            if not block:
                raise ConnectionError("the body is not whole")
            self.body += block
            left -= len(block)
            time.sleep(pause_s)

    def reset(self) -> None:
        """Close with a RST."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.rfile.close()

    def wait_for_end(self) -> None:
        """Say nothing until the client leaves."""
        self.close_connection = True
        while self.connection.recv(_BLOCK):
            pass

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def _file(it: _Handler) -> None:
    if it.path in it.server.files.moved:
        return it.say(302, Location=it.server.files.moved[it.path])
    body = it.server.files.files.get(urlsplit(it.path).path, CONTENT)
    return it.say(200, body, Content_Type=it.asked.get("type", "application/octet-stream"))


def _last(it: _Handler) -> None:
    """The last answer on its connection."""
    it.close_connection = True
    it.say(200, CONTENT, Connection="close")


def _status(it: _Handler) -> None:
    it.read_body()
    it.say(int(it.rest.partition("/")[0]), b"secret body")


def _flaky(it: _Handler) -> None:
    it.read_body()
    if it.nth <= 2:
        return it.say(500)
    return _keep(it) if it.command == "PUT" else _file(it)


def _hang(it: _Handler) -> None:
    it.read_body()
    it.wait_for_end()


def _drip(it: _Handler) -> None:
    it.say(200, length=None)
    while True:
        it.wfile.write(b"x")
        time.sleep(_DRIP_S)


def _endless(it: _Handler) -> None:
    it.say(200, length=None)
    while True:
        it.wfile.write(b"x" * _BLOCK)


def _liar(it: _Handler) -> None:
    it.say(200, b"0123456789", length=10)
    it.close_connection = True
    for _ in range(160):
        it.wfile.write(b"x" * _BLOCK)


def _truncated(it: _Handler) -> None:
    it.say(200, b"x" * 100, length=1000)
    it.close_connection = True


def _huge(it: _Handler) -> None:
    it.say(200, length=999_999_999_999)
    it.wait_for_end()


def _reset(it: _Handler) -> None:
    """`/reset/...` breaks always, `/reset/once/...` the first time."""
    if it.rest.startswith("once/") and it.nth > 1:
        it.read_body()
        return _keep(it) if it.command == "PUT" else _file(it)
    if it.command == "PUT":
        it.read_body(0.5)
    else:
        it.say(200, b"x" * 100, length=1000)
    return it.reset()


def _bomb(it: _Handler) -> None:
    it.say(200, _zeros(), Content_Encoding="gzip")


def _gzip(it: _Handler) -> None:
    """`/gzip/plain`, `/gzip/parts` of two members, `/gzip/torn` before its end, `/gzip/wrong` that is none."""
    body = {
        "plain": gzip.compress(CONTENT),
        "parts": gzip.compress(CONTENT[:5]) + gzip.compress(CONTENT[5:]),
        "torn": gzip.compress(CONTENT * 1000)[:-12],
        "wrong": CONTENT,
    }[it.rest]
    it.say(200, body, Content_Encoding="gzip")


def _br(it: _Handler) -> None:
    it.say(200, b"\x8b\x05\x80from the web\x03", Content_Encoding="br")


def _redirect(it: _Handler) -> None:
    it.read_body()
    it.say(int(it.asked.get("status", 302)), Location=it.asked["to"])


def _loop(it: _Handler) -> None:
    it.read_body()
    it.say(int(it.asked.get("status", 302)), Location=it.path)


def _hops(it: _Handler) -> None:
    """`/hops/3` redirects three times."""
    left = int(it.rest)
    it.say(302, Location=f"/hops/{left - 1}") if left else _file(it)


def _disposition(it: _Handler) -> None:
    it.say(200, CONTENT, Content_Type="text/plain", Content_Disposition=it.asked["value"])


def _etag(it: _Handler) -> None:
    body = it.server.files.files.get(urlsplit(it.path).path, CONTENT)
    etag = f'"{hashlib.sha256(body).hexdigest()[:8]}"'
    if it.headers.get("if-none-match") == etag:
        return it.say(304, ETag=etag)
    return it.say(200, body, ETag=etag)


def _private(it: _Handler) -> None:
    """For `user` with the password `pa:ss`."""
    wanted = "Basic " + base64.b64encode(b"user:pa:ss").decode()
    if it.headers.get("authorization") != wanted:
        return it.say(401, WWW_Authenticate="Basic")
    return _file(it)


def _store(it: _Handler) -> None:
    it.read_body()
    if it.headers.get("if-none-match") == "*" and urlsplit(it.path).path in it.server.files.stored:
        return it.say(412)
    return _keep(it)


def _keep(it: _Handler, **headers: str) -> None:
    path = urlsplit(it.path).path
    found = {name.lower(): value for name, value in it.headers.items()}
    it.server.files.stored.pop(path, None)
    it.server.files.stored[path] = Request("PUT", it.path, found, bytes(it.body), time.monotonic())
    it.say(201, **headers)


def _slow(it: _Handler) -> None:
    it.read_body(pause_s=_DRIP_S)
    _keep(it)


def _location(it: _Handler) -> None:
    """`/location/name?to=URL` keeps the file and says that it is at URL."""
    it.read_body()
    _keep(it, Location=it.asked["to"])


_GET: dict[str, Callable[[_Handler], None]] = {
    "last": _last,
    "status": _status,
    "flaky": _flaky,
    "hang": _hang,
    "drip": _drip,
    "endless": _endless,
    "liar": _liar,
    "truncated": _truncated,
    "huge": _huge,
    "reset": _reset,
    "bomb": _bomb,
    "gzip": _gzip,
    "br": _br,
    "redirect": _redirect,
    "loop": _loop,
    "hops": _hops,
    "disposition": _disposition,
    "etag": _etag,
    "private": _private,
}
_PUT: dict[str, Callable[[_Handler], None]] = {
    "status": _status,
    "flaky": _flaky,
    "hang": _hang,
    "reset": _reset,
    "redirect": _redirect,
    "loop": _loop,
    "slow": _slow,
    "location": _location,
}


@lru_cache(1)
def _zeros() -> bytes:
    """1 GiB of zeros as 1 MiB of gzip, without its end: who gets there has lost already."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    head = packer.compress(b"") + packer.compress(b"\0" * (16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    # Whole blocks, which can be repeated.
    plain = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = plain.compress(b"\0" * (16 << 20)) + plain.flush(zlib.Z_FULL_FLUSH)
    return head + block * 63

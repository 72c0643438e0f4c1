"""`LimitedProtocol`: uvicorn's HTTP protocol with the limits that it lacks: deadlines, sizes, connections."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import logging
import math
import resource
import struct
import termios
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import httptools
from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from cog_server.http.routes.answers import problem
from cog_server.http.routes.extensions import ANSWER, LEAVE
from cog_server.settings import Settings

log = logging.getLogger("cog.server")

MAX_HEADER_BYTES = 64 * 1024
MAX_PIPELINED = 100
# A body may come in this many pieces, and one more for every so many bytes: each costs the same, however small.
FREE_PIECES = 1000
BYTES_PER_PIECE = 64
_BYTES_PER_BODY_SECOND = 1024 * 1024
# How long a client may go on sending after it was refused: closing at once would destroy the answer on its way.
_LINGER_S = 2.0
# Connections over the cap that may wait for their answer; what comes on top is closed without one.
_SPARE_CONNECTIONS = 64
_OTHER_FILES = 64
_RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Limits:
    """What one client, and all together, may take. Times in seconds, sizes in bytes; infinity is no limit."""

    header_s: float = math.inf
    body_s: float = math.inf
    send_s: float = math.inf
    connections: int = 1000
    body_bytes: int = 100 * 1024 * 1024
    form_bytes: int = 100 * 1024 * 1024

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits that are set, with no more connections than this process may have files open."""
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return cls(
            header_s=settings.header_timeout_s or math.inf,
            body_s=settings.body_timeout_s or math.inf,
            send_s=settings.send_timeout_s or math.inf,
            connections=max(1, min(settings.max_connections, files - _SPARE_CONNECTIONS - _OTHER_FILES)),
            body_bytes=settings.max_body_bytes,
            form_bytes=settings.max_input_bytes + settings.max_body_bytes,
        )


def sweep(connections: Iterable[asyncio.Protocol], now: float) -> None:
    """End the connections whose clients have used up their time; `now` is the loop's.

    One look at all of them per second: a timer for each would be made and cancelled with every request.
    """
    ours = [connection for connection in connections if isinstance(connection, LimitedProtocol)]
    if ours and len(ours) >= ours[0].limits.connections:
        log.warning("all %d connections are taken: new ones get 503", ours[0].limits.connections)
    for connection in ours:
        connection.check(now)


class Phase(enum.Enum):
    """What a connection's client owes: nothing, the rest of the headers, of the body, or that it goes."""

    IDLE = enum.auto()
    HEADERS = enum.auto()
    BODY = enum.auto()
    ENDED = enum.auto()


# Looking them up in the class takes a tenth of a microsecond, several times per request.
_IDLE, _HEADERS, _BODY, _ENDED = Phase


class _Refusal(Exception):
    """Raised in the parser's callbacks, to end its work."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


# docs/decisions/024-connection-limits-in-the-protocol.md
class LimitedProtocol(HttpToolsProtocol):
    """One connection. Whatever is refused is answered with a problem, in its turn, and closed."""

    # In the instance's dictionary there would be more than the 30 attributes that Python keeps in an array, and all of
    # uvicorn's would be slower too: 2 microseconds per request.
    __slots__ = (
        "_body_bytes",
        "_fed_bytes",
        "_leaving",
        "_may_be_large",
        "_phase",
        "_pieces",
        "_since",
        "_unsent_bytes",
        "_unsent_since",
    )
    limits: ClassVar[Limits] = Limits()
    _lines: ClassVar[tuple[Any, bytes]] = (None, b"")

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.url = b""
        self._phase = _HEADERS
        self._since = self.loop.time()
        self._fed_bytes = 0
        self._may_be_large = False
        self._body_bytes = 0
        self._pieces = 0
        self._unsent_bytes = 0
        self._unsent_since = 0.0
        self._leaving: list[Callable[[], None]] = []

    def check(self, now: float) -> None:
        """End the connection if the client has used up its time."""
        waited_s = now - self._since
        if self._phase is _HEADERS and waited_s > self.limits.header_s:
            if self._fed_bytes:
                self._refuse(408, f"the headers did not come within {self.limits.header_s:g} seconds")
            else:
                self.transport.close()
        elif self._phase is _BODY:
            if self.flow.read_paused:
                self._since = now  # It is we who do not read.
            elif waited_s > self.limits.body_s + self._body_bytes / _BYTES_PER_BODY_SECOND:
                self._refuse(408, f"the body did not come within {self.limits.body_s:g} seconds and 1 s per MiB")
        elif waited_s > self._patience_s():
            self.transport.close()
        self._check_sending(now)

    def on_leave(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` when the connection is lost; the function given back ends that."""
        if self.transport.is_closing():
            self.loop.call_soon(listener)
            return _nothing
        self._leaving.append(listener)
        return lambda: self._leaving.remove(listener) if listener in self._leaving else None

    def answer(self, cycle: RequestResponseCycle, body: bytes) -> bool:
        """Answer a request with 200 and JSON in one write; False, and nothing done, where that is not enough.

        The usual two ASGI messages are two writes, and a look at every header.
        """
        if cycle.disconnected or cycle.response_started or not cycle.keep_alive or self.flow.write_paused:
            return False
        if any(name == b"connection" for name, _ in cycle.scope["headers"]):
            return False  # Older uvicorns look at it only when they answer.
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = b"%s%scontent-length: %d\r\n\r\n" % (JSON_HEAD, self.default_lines(), len(body))
        self.transport.writelines((head, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    def _patience_s(self) -> float:
        """How long a client that owes nothing may be silent. After most answers uvicorn's own timer sees to that."""
        return _LINGER_S if self._phase is _ENDED else math.inf

    def default_lines(self) -> bytes:
        """The headers that every answer has, as bytes; uvicorn makes a new list of them every second."""
        headers, lines = self._lines
        if headers is not self.server_state.default_headers:
            headers = self.server_state.default_headers
            lines = lines_of(headers)
            type(self)._lines = (headers, lines)
        return lines

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        listeners, self._leaving = self._leaving, []
        for listener in listeners:
            listener()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        excess = len(self.connections) - self.limits.connections
        if excess > _SPARE_CONNECTIONS:
            self._phase = _ENDED
            transport.abort()
        elif excess > 0:
            self._end(problem(503, "too many connections", retry_after_s=_RETRY_AFTER_S, headers=_CLOSE))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._phase is not _ENDED:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        if self._phase is _IDLE:
            self._phase = _HEADERS
            self._since = self.loop.time()
            self._fed_bytes = 0
        self._fed_bytes += len(data)
        self._may_be_large = self._fed_bytes > MAX_HEADER_BYTES or len(data) > MAX_HEADER_BYTES
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if not isinstance(cause, _Refusal):
                cause = _Refusal(400, "this is not a valid HTTP request")
            self._refuse(cause.status, cause.detail)
        if self._phase is _HEADERS and self._fed_bytes > MAX_HEADER_BYTES:
            refusal = self._too_large()
            self._refuse(refusal.status, refusal.detail)
        elif self._phase is _BODY and self._fed_bytes > MAX_HEADER_BYTES + 2 * self._body_bytes:
            # Chunk extensions and trailers have no callback while they come, and no end.
            self._refuse(400, "the body is mostly framing")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        names = [name for name, _ in self.headers]
        version, hosts = self.parser.get_http_version(), names.count(b"host")
        if version not in _VERSIONS:
            raise _Refusal(400, "only HTTP/1.1 and HTTP/1.0 are spoken here")
        if hosts != 1 and (hosts or version == "1.1"):
            raise _Refusal(400, f"a request has one Host header, not {hosts}")
        if self._may_be_large and len(self.url) + _size(self.headers) > MAX_HEADER_BYTES:
            raise self._too_large()
        if b"content-length" in names:
            self._check_size(int(dict(self.headers)[b"content-length"]), self.headers)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refusal(400, f"more than {MAX_PIPELINED} requests at once on a connection")
        # What ASGI has no message for, or only a slow one: see routes/extensions.py.
        extensions: dict[str, Any] = {LEAVE: self.on_leave}
        self.scope["extensions"] = extensions
        super().on_headers_complete()
        extensions[ANSWER] = partial(self.answer, self.cycle)
        # The app has the list now. Trailers come by the same callback and must not get into it.
        self.headers = []
        self._phase = _BODY
        self._since = self.loop.time()
        self._fed_bytes = self._body_bytes = self._pieces = 0

    def on_body(self, body: bytes) -> None:
        self._pieces += 1
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            self._check_size(self._body_bytes, self.cycle.scope["headers"])
        if self._pieces > FREE_PIECES + self._body_bytes // BYTES_PER_PIECE:
            raise _Refusal(400, f"the body comes in more than {FREE_PIECES} pieces of under {BYTES_PER_PIECE} bytes")
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._phase is _HEADERS:
            return  # It asked for an upgrade, see `_feed`.
        self._phase = _IDLE
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:
            # It was answered before its body had come, and uvicorn's own timer was ended by the body.
            handler = self.timeout_keep_alive_handler
            self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)

    def _feed(self, data: bytes) -> None:
        """Parse. A request that asks for another protocol is parsed again as one that does not.

        The parser takes what follows such a request for the other protocol, so its body would be lost, or be the next
        request. Java's client asks for HTTP/2 with its first request, whatever that is.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                method, version = self.parser.get_method(), self.parser.get_http_version().encode()
                if method == b"CONNECT":
                    self._refuse(400, "this is no proxy")
                    return
                lines = [b"%s %s HTTP/%s" % (method, self.url, version)]
                lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
                data = b"\r\n".join((*lines, b"", data[upgrade.args[0] :]))
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it

    def _check_size(self, size: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise a 413 if a body is too large. Files of a form may be larger than JSON: they are not held in memory."""
        if size <= self.limits.body_bytes:
            return
        is_form = dict(headers).get(b"content-type", b"").lower().startswith(b"multipart/form-data")
        most = self.limits.form_bytes if is_form else self.limits.body_bytes
        if size > most:
            raise _Refusal(413, f"the body is larger than {most} bytes")

    def _too_large(self) -> _Refusal:
        if len(self.url) > MAX_HEADER_BYTES:
            return _Refusal(414, f"the path is longer than {MAX_HEADER_BYTES} bytes")
        return _Refusal(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer so to the request that is being read, and read no more; what was asked before it is answered first."""
        log.info("refused with %d: %s", status, detail)
        is_begun = self._phase is _BODY
        self._phase, self._since = _ENDED, math.inf
        cycle, answer = self.cycle, problem(status, detail, headers=_CLOSE)
        if is_begun and self.pipeline:
            self.pipeline[0] = (cycle, answer)  # type: ignore[assignment]  # a Response is an ASGI app, in Starlette's types
            cycle.keep_alive = False
        elif cycle is None or cycle.response_complete:
            self._end(None if is_begun else answer)
        elif not is_begun:
            cycle.keep_alive = False
        elif cycle.response_started:
            self.transport.close()
        else:
            # For the app, the client has left.
            cycle.disconnected = True
            cycle.message_event.set()
            self._end(answer)

    def _end(self, answer: Response | None) -> None:
        """Say the last word, and give the client some time to hear it."""
        self._phase, self._since = _ENDED, self.loop.time()
        if self.transport.is_closing():
            return
        if answer is not None:
            lines = lines_of((*self.server_state.default_headers, *answer.raw_headers))
            self.transport.write(STATUS_LINE[answer.status_code] + lines + b"\r\n" + bytes(answer.body))
        self.flow.resume_reading()
        with contextlib.suppress(OSError):  # The other side has gone already.
            self.transport.write_eof()

    def _check_sending(self, now: float) -> None:
        """Break the connection if its client has taken nothing of what waits to be sent for too long."""
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._unsent_bytes = 0
            return
        unsent = waiting + _queued_bytes(self.transport)
        if unsent != self._unsent_bytes:
            self._unsent_bytes, self._unsent_since = unsent, now
        elif now - self._unsent_since > self.limits.send_s:
            log.info("a client took nothing of its answer for %g seconds", self.limits.send_s)
            self.transport.abort()


JSON_HEAD = STATUS_LINE[200] + b"content-type: application/json\r\n"


def lines_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as they are sent."""
    return b"".join(b"%s: %s\r\n" % header for header in headers)


def _nothing() -> None:
    pass


_VERSIONS = ("1.1", "1.0")
_CLOSE = {"Connection": "close"}


def _size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(b": \r\n") + len(name) + len(value) for name, value in headers)


def _queued_bytes(transport: asyncio.Transport) -> int:
    """What the system holds that the other side has not taken: it takes more from us in large steps only."""
    queued = bytearray(4)
    with contextlib.suppress(OSError, ValueError):
        fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    return int(struct.unpack("i", queued)[0])

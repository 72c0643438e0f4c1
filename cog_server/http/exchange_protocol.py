"""`protocol_with`: the protocol of one server, which answers requests with known heads without parsing them again."""

from __future__ import annotations

from typing import Any, ClassVar

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from cog_server.http.exchange import Exchange, Heads, Known, Lane, Taker, head_of
from cog_server.http.protocol import JSON_HEAD, LimitedProtocol, Limits, Phase, lines_of
from cog_server.http.routes.answers import is_plain

# How long a new connection of a server that ends has to ask something, and be refused in words.
_FIRST_WORD_S = 0.5
# How long the body of a request with a known head may take before it is parsed as others are.
_COLLECT_S = 1.0

_IDLE, _HEADERS, _BODY, _ENDED = Phase


def _nobody(scope: Any) -> Taker | None:
    return None


def protocol_with(limits: Limits, lane: Lane = _nobody) -> type[ExchangeProtocol]:
    """The protocol class of one server. Its deadlines are kept by whoever calls `sweep` every second.

    `lane` says who answers requests without ASGI.
    """

    class Protocol(ExchangeProtocol):
        __slots__ = ()

    Protocol.limits = limits
    Protocol.heads = Heads(lane)
    return Protocol


class ExchangeProtocol(LimitedProtocol):
    """One connection, with an `Exchange` for requests that need no ASGI."""

    __slots__ = ("_collected", "_exchange", "_head", "_is_ending", "_known")
    heads: ClassVar[Heads] = Heads(_nobody)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        # The head of the request that is parsed, if it is short and came at once.
        self._head = b""
        # What there is of a request whose head is known, until the rest of its body has come.
        self._known: Known | None = None
        self._collected = bytearray()
        self._exchange: Exchange | None = None
        self._is_ending = False

    def check(self, now: float) -> None:
        if self._known is None:
            super().check(now)
            return
        if now - self._since > _COLLECT_S:
            self._parse_collected()
        self._check_sending(now)

    def _patience_s(self) -> float:
        exchange: object = self._exchange
        is_kept = self._phase is _IDLE and self.cycle is exchange and self.cycle.response_complete
        return float(self.timeout_keep_alive) if is_kept else super()._patience_s()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._exchange is not None:
            self._exchange.lose()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._phase is _ENDED:
            return
        if self._known is not None:
            self._collect(self._known, data)
            return
        self._head = b""
        if self._phase is _IDLE or self.scope is None:
            # It begins with a request.
            known = self.heads.find(data)
            if known is not None and self._is_free():
                self._collect(known, data)
                return
            self._head = head_of(data)
        self._parse(data)

    def _is_free(self) -> bool:
        """Whether nothing has to be answered first."""
        return (self.cycle is None or self.cycle.response_complete) and not self.flow.write_paused

    def _collect(self, known: Known, data: bytes) -> None:
        """Take what there is of a request with a known head; have it answered without ASGI once it is whole."""
        if self._known is not None:
            self._collected += data
            data = bytes(self._collected) if len(self._collected) >= known.head_bytes + known.body_bytes else b""
        elif len(data) < known.head_bytes + known.body_bytes:
            self._known, self._since = known, self.loop.time()
            self._collected += data
            data = b""
        if not data:
            return
        self._known = None
        self._collected.clear()
        if len(data) > known.head_bytes + known.body_bytes or not self._exchange_of(known, data):
            self._parse(data)

    def _parse_collected(self) -> None:
        """The rest is long in coming: have it parsed, as what comes slowly is."""
        data = bytes(self._collected)
        self._known = None
        self._collected.clear()
        self._parse(data)

    def shutdown(self) -> None:
        if self._known is not None:
            self._parse_collected()  # It has begun: it is answered.
        if self._is_new():
            # Its first request may be on its way, which is its last.
            self._is_ending = True
            self.loop.call_later(_FIRST_WORD_S, self._end_silence)
        else:
            super().shutdown()

    def _is_new(self) -> bool:
        """Whether nothing has come yet."""
        return self.scope is None and self._exchange is None and self._phase is not _ENDED

    def _end_silence(self) -> None:
        if self._is_new():
            self.transport.close()

    def _exchange_of(self, known: Known, data: bytes) -> bool:
        """Have a request answered without ASGI, if its taker takes it."""
        if self._exchange is None:
            self._exchange = Exchange(self._write_answer)
        self._exchange.begin()
        self._exchange.keep_alive = not self._is_ending
        before, self.cycle = self.cycle, self._exchange  # type: ignore[assignment]  # as much of one as is needed
        phase, self._phase = self._phase, _IDLE
        if known.taker(data[known.head_bytes :], self._exchange):
            return True
        self._exchange.response_complete = True
        self.cycle, self._phase = before, phase
        return False

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Also of one that begins behind another: from here on the parser is inside it.
        self._phase = _HEADERS

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._is_ending and self._phase is _BODY:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        super().on_message_complete()
        if self._head and self._phase is _IDLE:
            self.heads.learn(self._head, self.cycle.scope, self._body_bytes)
            self._head = b""

    def _write_answer(self, answer: Response) -> None:
        """Write the answer of the exchange."""
        assert self._exchange is not None, "it writes it"
        if self.transport.is_closing():
            return
        closing = b"" if self._exchange.keep_alive else b"connection: close\r\n"
        if is_plain(answer):
            start = b"%scontent-length: %d\r\n" % (JSON_HEAD, len(answer.body))
        else:
            start = STATUS_LINE[answer.status_code] + lines_of(answer.raw_headers)
        self.transport.write(b"%s%s%s\r\n%s" % (start, self.default_lines(), closing, answer.body))
        if closing:
            self.transport.close()
        elif self.pipeline or self.flow.read_paused:
            self.on_response_complete()
        else:
            self.server_state.total_requests += 1
            self._since = self.loop.time()

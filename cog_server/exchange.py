"""`Exchange`: a request that is answered without ASGI, and `Heads`, which knows such requests by their first bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from starlette.responses import Response

# What is taken by a `Taker` is answered by it; False, and nothing done, for what is to go the usual way.
Taker = Callable[[bytes, "Exchange"], bool]

_MAX_HEADS = 256
_MAX_HEAD_BYTES = 2048
_END = b"\r\n\r\n"


class Lane(Protocol):
    """Says who answers requests without ASGI."""

    def __call__(self, scope: Any) -> Taker | None:
        """The taker of requests with the head that this scope was made from; None if they all go the usual way."""


class Exchange:
    """One such request at a time of a connection.

    It stands where uvicorn has a `RequestResponseCycle`: what is pipelined behind it waits for it, and a server that
    shuts down has it close the connection.
    """

    __slots__ = ("_write", "disconnected", "keep_alive", "leave", "message_event", "response_complete")

    def __init__(self, write: Callable[[Response], None]) -> None:
        self._write = write
        self.keep_alive = True
        self.response_complete = True
        self.disconnected = False
        self.message_event = asyncio.Event()
        self.leave: Callable[[], None] | None = None

    @property
    def response_started(self) -> bool:
        """An answer is written in one piece."""
        return self.response_complete

    def begin(self) -> None:
        """The next request is there."""
        self.response_complete = False
        self.leave = None

    def answer(self, response: Response) -> None:
        """Answer it; nothing happens if its client has left."""
        if not self.response_complete:
            self.response_complete = True
            self.leave = None
            if not self.disconnected:
                self._write(response)

    def lose(self) -> None:
        """The client has left."""
        self.disconnected = True
        if self.leave is not None:
            self.leave()


class Heads:
    """Heads of requests that came before, to the letter, with the size of their bodies and their taker.

    A client that keeps its connection sends the same head again and again: it need not be parsed again. Only what was
    parsed, and found to be fit for it, gets in here; a few hundred at most.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._known: dict[bytes, tuple[int, Taker]] = {}

    def find(self, data: bytes) -> tuple[bytes, Taker] | None:
        """The body and the taker of the one whole request that `data` is, if its head is known."""
        end = data.find(_END) + len(_END)
        known = self._known.get(data[:end])
        if known is None or len(data) - end != known[0]:
            return None
        return data[end:], known[1]

    def learn(self, data: bytes, scope: Any, body_bytes: int) -> None:
        """Remember the head of the request that `data` is, of which this scope was made, if it has a taker."""
        end = data.find(_END) + len(_END)
        if end > _MAX_HEAD_BYTES or len(data) - end != body_bytes:
            return
        taker = self._lane(scope)
        if taker is not None:
            if len(self._known) >= _MAX_HEADS:
                self._known.clear()
            self._known[data[:end]] = (body_bytes, taker)

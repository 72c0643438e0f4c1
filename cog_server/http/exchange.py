"""`Exchange`: a request that is answered without ASGI, and `Heads`, which knows such requests by their first bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.responses import Response

# What is taken by a `Taker` is answered by it; False, and nothing done, for what is to go the usual way.
Taker = Callable[[bytes, "Exchange"], bool]

_MAX_HEADS = 256
_MAX_HEAD_BYTES = 2048
_MAX_BODY_BYTES = 1024 * 1024
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


@dataclass(frozen=True)
class Known:
    """A head that came before: its own length and that of the body behind it, and who takes the request."""

    head_bytes: int
    body_bytes: int
    taker: Taker


# docs/decisions/015-known-heads-are-not-parsed-again.md
class Heads:
    """Heads of requests that came before, to the letter.

    A client that keeps its connection sends the same head again and again: it need not be parsed again. Only what was
    parsed, and found to be fit for it, gets in here; a few hundred at most, with bodies of a megabyte at most.
    """

    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._known: dict[bytes, Known] = {}

    def find(self, data: bytes) -> Known | None:
        """What is known of the head at the beginning of `data`."""
        return self._known.get(head_of(data))

    def learn(self, head: bytes, scope: Any, body_bytes: int) -> None:
        """Remember a head, from which this scope was made, if requests that begin so have a taker."""
        # Lines that end otherwise may have ended the head earlier.
        is_plain = head.count(b"\n") == head.count(b"\r\n")
        if not is_plain or not 0 < len(head) <= _MAX_HEAD_BYTES or body_bytes > _MAX_BODY_BYTES:
            return
        taker = self._lane(scope)
        if taker is not None and dict(scope["headers"]).get(b"content-length") == b"%d" % body_bytes:
            if len(self._known) >= _MAX_HEADS:
                self._known.clear()
            self._known[head] = Known(len(head), body_bytes, taker)


def head_of(data: bytes) -> bytes:
    """The head of the request that begins with `data`, with the empty line at its end; b"" if that has not come yet."""
    end = data.find(_END, 0, _MAX_HEAD_BYTES)
    return data[: end + len(_END)] if end >= 0 else b""

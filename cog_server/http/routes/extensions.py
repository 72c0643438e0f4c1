"""What our protocol offers beyond ASGI's messages, in the scope's extensions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Receive, Scope

# A function that registers who wants to know when the client leaves.
LEAVE = "cog.leave"
# A function that answers with 200 and JSON in one write, or gives False.
ANSWER = "cog.answer"


def on_leave(scope: Scope, receive: Receive, listener: Callable[[], None]) -> Callable[[], None]:
    """Call `listener` when the client leaves; the function given back ends that. The body must have been read.

    By the connection itself, under our own protocol: to wait for ASGI's `http.disconnect` takes a task for each
    request, and that more time than a small prediction.
    """
    register = scope.get("extensions", {}).get(LEAVE)
    if register is not None:
        stop: Callable[[], None] = register(listener)
        return stop
    waiting = asyncio.ensure_future(_disconnected(receive))
    waiting.add_done_callback(lambda task: None if task.cancelled() else listener())

    def stop_waiting() -> None:
        waiting.cancel()

    return stop_waiting


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

"""`three_times`: what may go better the next time is tried again, from its beginning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from cog_server.files.transfer import TransferError

T = TypeVar("T")
_PAUSES_S = (0.2, 1.0)


async def three_times(work: Callable[[], Awaitable[T]], *, total_s: float | None) -> T:
    """What `work` gives, tried up to three times within `total_s` seconds. Raises its TransferError, or one of time."""
    try:
        # Not asyncio.wait_for: its single cancel may be lost in anyio, below httpx, and it waits for ever.
        with anyio.fail_after(total_s):
            for pause_s in _PAUSES_S:
                try:
                    return await work()
                except TransferError as error:
                    if not error.is_passing:
                        raise
                await asyncio.sleep(pause_s)
            return await work()
    except TimeoutError as error:
        raise TransferError(f"it took longer than {total_s:g} seconds (COG_FILE_TIMEOUT)") from error

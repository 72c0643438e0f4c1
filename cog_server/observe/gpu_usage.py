"""`GpuUsage`: what the GPUs hold and do, as nvidia-smi says, for whoever scrapes /metrics."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import time
from dataclasses import dataclass

from cog_server.observe.nvidia_smi import QUERY_TIMEOUT_S, output_of

EVERY_S = 5.0
_QUERY = ("--query-gpu=index,memory.used,memory.total,utilization.gpu", "--format=csv,noheader,nounits")
_MIB = 1024 * 1024


@dataclass(frozen=True)
class GpuLoad:
    """One GPU as it was a moment ago; None for what it does not tell. `utilization` is from 0 to 1."""

    used_bytes: float | None
    total_bytes: float | None
    utilization: float | None


class GpuUsage:
    """Asks when somebody wants to know and the last question is `EVERY_S` old, in the background.

    nvidia-smi takes from 20 ms to seconds, or hangs with a broken driver: who asks gets the answer of the time before.
    """

    def __init__(self, *, every_s: float = EVERY_S, timeout_s: float = QUERY_TIMEOUT_S) -> None:
        self._every_s = self._pause_s = every_s
        self._timeout_s = timeout_s
        self._loads: dict[str, GpuLoad] = {}
        self._asked_s = float("-inf")
        self._task: asyncio.Task[None] | None = None

    def latest(self) -> dict[str, GpuLoad]:
        """The last answer, by the index of the GPU: empty without one, and before the first answer."""
        is_asking = self._task is not None and not self._task.done()
        if not is_asking and time.monotonic() - self._asked_s >= self._pause_s:
            self._asked_s = time.monotonic()
            self._task = asyncio.create_task(self._ask(), name="gpu-usage")
        return self._loads

    async def stop(self) -> None:
        """Ask no further."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _ask(self) -> None:
        program = shutil.which("nvidia-smi")
        pause_s, code, text = self._every_s, 1, ""
        try:
            if program is not None:
                code, text = await output_of([program, *_QUERY], self._timeout_s)
        except asyncio.TimeoutError:
            # One that hangs in the driver outlives its SIGKILL: there must not be one more of them every few seconds.
            pause_s = 2 * self._pause_s
        except OSError:
            pass
        # What is not known any more is not shown any more.
        self._pause_s, self._loads = pause_s, read_loads(text) if code == 0 else {}


def read_loads(text: str) -> dict[str, GpuLoad]:
    """The loads in lines of `index, MiB used, MiB in all, percent`; other lines, such as warnings, are none."""
    loads = {}
    for line in text.splitlines():
        index, *fields = (field.strip() for field in line.split(","))
        if index.isascii() and index.isdigit() and len(fields) == 3:
            used, total, percent = map(_value, fields)
            loads[index] = GpuLoad(_scaled(used, _MIB), _scaled(total, _MIB), _scaled(percent, 0.01))
    return loads


def _value(field: str) -> float | None:
    """A number; None for `[N/A]`, `[Not Supported]` and the like."""
    return float(field) if re.fullmatch(r"\d{1,15}(\.\d{1,15})?", field, re.ASCII) else None


def _scaled(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor

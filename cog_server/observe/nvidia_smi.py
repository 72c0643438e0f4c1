"""`list_gpus`, and `output_of`: nvidia-smi asked without waiting for it longer than one has to."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess

log = logging.getLogger("cog.server")

QUERY_TIMEOUT_S = 20.0
_KILL_S = 1.0
_POLL_S = 0.01
_MAX_BYTES = 1 << 16


async def list_gpus(*, timeout_s: float = QUERY_TIMEOUT_S) -> tuple[str, ...]:
    """The indexes of the GPUs that nvidia-smi lists: none without it; none and a warning if it fails or hangs."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    try:
        code, text = await output_of([program, "--query-gpu=index", "--format=csv,noheader"], timeout_s)
    except (OSError, asyncio.TimeoutError) as error:
        code, text = -1, f"no answer ({type(error).__name__})"
    if code != 0:
        log.warning("GPU: nvidia-smi fails, so no GPU is counted: %s", text.strip()[:300])
        return ()
    # Other lines, such as warnings, are none.
    return tuple(re.findall(r"^\s*([0-9]+)\s*$", text, re.MULTILINE))


async def output_of(command: list[str], timeout_s: float) -> tuple[int, str]:
    """The exit code of a program and what it printed. Raises asyncio.TimeoutError, and kills it, after `timeout_s`."""
    # Not by the event loop: uvloop forks, which takes 5 ms of all that runs here; this is vfork, and takes 0.3.
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), process.stdout
    )
    try:
        text = await asyncio.wait_for(_read(stream), timeout_s)
        code = await asyncio.wait_for(_exit_of(process), timeout_s)
    finally:
        transport.close()
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # A process that hangs in the driver cannot be killed: it is left to itself.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(_exit_of(process), _KILL_S)
    return code, text.decode("utf-8", "replace")


async def _exit_of(process: subprocess.Popen[bytes]) -> int:
    while (code := process.poll()) is None:
        await asyncio.sleep(_POLL_S)
    return code


async def _read(stream: asyncio.StreamReader) -> bytes:
    text = b""
    while len(text) < _MAX_BYTES and (chunk := await stream.read(_MAX_BYTES)):
        text += chunk
    return text

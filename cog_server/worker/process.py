"""`WorkerProcess`: one worker from its spawn to its end, as messages, text and an exit code."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import fcntl
import json
import logging
import os
import signal
import socket
import tempfile
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cog.worker import wire
from cog.worker.text_memory import EMPTY, SIZE_BYTES, read_texts
from cog_server.predictions.json_pieces import encode_json
from cog_server.worker.oom import OomKills

log = logging.getLogger("cog.server")

# How long a dead worker's last messages may take to arrive; they lie in the kernel already.
_DRAIN_S = 1.0
# So many messages are sent together at most.
_TOGETHER = 8
# What a pipe holds. Source: pipe(7).
_PIPE_BYTES = 64 * 1024
# How long text in the pipe waits for what Python has printed before it and not sent yet. A worker sends after 5 ms,
# unless C code holds its interpreter.
_MAX_PRINTED_S = 0.05


@dataclass(frozen=True)
class Callbacks:
    """Whom a worker tells what: all are called on the event loop, `on_exit` last and exactly once.

    `on_exit` gets the exit code, negative for a signal, and whether the kernel's OOM killer sent it.
    """

    on_message: Callable[[wire.Message], None]
    on_text: Callable[[str], None]
    on_exit: Callable[[int, bool], None]


class WorkerProcess:
    """A worker in a session of its own, with a socket for messages and one pipe for stdout and stderr.

    What it prints and has not sent lies in memory that is shared with it, and is read when it has died.
    """

    def __init__(self, callbacks: Callbacks, oom: OomKills) -> None:
        self._callbacks = callbacks
        self._oom = oom
        self._process: asyncio.subprocess.Process | None = None
        self._guard: asyncio.subprocess.Process | None = None
        self._transport: asyncio.Transport | None = None
        self._text_fd = self._socket_fd = self._memory_fd = -1
        self._last_batch = 0
        self._waiting: asyncio.TimerHandle | None = None
        self._has_waited = False
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._watch: asyncio.Task[None] | None = None
        self._frames: list[bytes] = []
        self._is_sending = False
        self._oom_count = 0
        self._is_killed = False
        self._end_of_stream: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def spawn(self, command: list[str], *, folder: Path, environment: Mapping[str, str]) -> None:
        """Start `command` with `--fd N --memory N` added. Raises OSError if it cannot be started.

        What the worker says first may be told before this returns; its exit is not.
        """
        self._memory_fd = _make_memory()
        ours, theirs = socket.socketpair()
        text_fd, their_text_fd = os.pipe()
        self._oom_count = self._oom.count()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                "--fd",
                str(theirs.fileno()),
                "--memory",
                str(self._memory_fd),
                cwd=folder,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=their_text_fd,
                stderr=their_text_fd,
                pass_fds=(theirs.fileno(), self._memory_fd),
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            os.close(text_fd)
            self._close_memory()
            raise
        finally:
            theirs.close()
            os.close(their_text_fd)
        try:
            self._guard = await _spawn_guard(self._process.pid)
            self._text_fd = text_fd
            os.set_blocking(text_fd, False)
            ours.setblocking(False)
            self._socket_fd = ours.fileno()
            self._transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: _Protocol(self._on_message, self._end_of_stream), sock=ours
            )
        except BaseException:
            self.kill()
            ours.close()
            os.close(text_fd)
            self._text_fd = -1
            self._close_memory()
            raise
        asyncio.get_running_loop().add_reader(text_fd, self._on_text)
        self._watch = asyncio.create_task(self._wait(), name="cog-worker-exit")
        if self._is_killed:
            self.kill()

    @property
    def pid(self) -> int:
        """The process id, 0 before the spawn."""
        return self._process.pid if self._process else 0

    def send(self, kind: bytes, head: dict[str, object], body: bytes = b"") -> None:
        """Send one message; nothing happens if the worker is gone, its exit says so.

        The first of a turn of the event loop goes at once, for the worker to begin; what follows goes together: a call
        of the system takes longer than a message.
        """
        frame = wire.frame(kind, encode_json(head), body)
        if not self._is_sending:
            self._is_sending = True
            asyncio.get_running_loop().call_soon(self._end_turn)
            self._write([frame])
            return
        self._frames.append(frame)
        if len(self._frames) == _TOGETHER:
            self._flush()

    def _end_turn(self) -> None:
        self._is_sending = False
        self._flush()

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        if frames:
            self._write(frames)

    def _write(self, frames: list[bytes]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(frames)

    def poke(self) -> None:
        """Have a worker that is inside a synchronous `predict` look at what was sent."""
        self._flush()
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGUSR1)

    def _on_message(self, message: wire.Message) -> None:
        self._callbacks.on_message(message)
        if message.kind == wire.LOG:
            self._last_batch = message.head["batch"]
            self._has_waited = False
            if self._waiting is not None:
                self._read_on()

    def _on_text(self) -> None:
        """There is text in the pipe: a line that was printed before it comes first, if it comes soon."""
        if self._transport is not None and self._transport.is_reading() and _unread(self._socket_fd):
            # Whose text it is depends on what the worker has said before, which is read in this turn of the loop or the
            # next; then this is called again.
            return
        if self._has_waited or not self._printed():
            self.read_text()
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._text_fd)
        self._has_waited = True
        self._waiting = loop.call_later(_MAX_PRINTED_S, self._read_on)

    def _printed(self) -> dict[str, bytes]:
        """What Python has printed and has not come, by prediction."""
        return read_texts(os.pread(self._memory_fd, SIZE_BYTES, 0), self._last_batch)

    def _read_on(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._text_fd >= 0:
            asyncio.get_running_loop().add_reader(self._text_fd, self._on_text)
            self.read_text()

    def read_text(self) -> None:
        """Take all the text that lies in the pipe now; when a prediction ends, so that none is attributed late.

        In one call of the system: what comes behind it may be the next prediction's.
        """
        if self._text_fd < 0:
            return
        try:
            data = os.read(self._text_fd, _PIPE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self._close_text()
            return
        text = self._decoder.decode(data)
        if text:
            self._callbacks.on_text(text)

    def pause(self) -> None:
        """Read no more of the worker's messages for now; it blocks once the socket is full."""
        if self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def kill(self) -> None:
        """SIGKILL the worker and whatever it started in its session; one that is being spawned, as soon as it is."""
        self._is_killed = True
        # SIGKILL, not SIGTERM: Python runs signal handlers between bytecodes, so a long C call never sees one.
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, wait for `grace_s`, then kill it. Returns when it is gone."""
        if self._watch is None:
            return
        self.send(wire.STOP, {})
        done, _ = await asyncio.wait({self._watch}, timeout=grace_s)
        if not done:
            self.kill()
            await self._watch

    async def _wait(self) -> None:
        assert self._process is not None
        code = await self._process.wait()
        # Children of the model outlive it otherwise, with the GPU's memory in their hands.
        self.kill()
        if self._guard is not None:
            self._guard.kill()
            await self._guard.wait()
        # What the worker sent before it died may still lie in the socket: read to its end first.
        await asyncio.wait({self._end_of_stream}, timeout=_DRAIN_S)
        for prediction_id, text in self._printed().items():
            self._callbacks.on_message(wire.Message(wire.LOG, {"id": prediction_id}, text))
        self._close_memory()
        self.read_text()
        self._close_text()
        if self._transport is not None:
            self._transport.close()
        was_oom = code == -signal.SIGKILL and self._oom.claim(since=self._oom_count)
        self._callbacks.on_exit(code, was_oom)

    def _close_memory(self) -> None:
        os.close(self._memory_fd)
        self._memory_fd = -1

    def _close_text(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        if self._text_fd >= 0:
            asyncio.get_running_loop().remove_reader(self._text_fd)
            os.close(self._text_fd)
            self._text_fd = -1


def _make_memory() -> int:
    """Open a file without a name that holds what cog/worker/text_memory.py describes."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("cog-text")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.write(fd, EMPTY)
    return fd


# docs/decisions/009-guard-process.md
async def _spawn_guard(group: int) -> asyncio.subprocess.Process:
    """Start the process that kills a worker's group when this one is gone, however it went.

    It waits for the end of a pipe that only we hold. Not PR_SET_PDEATHSIG, which spares the worker's children; not
    the worker itself, which may hang in C code.
    """
    return await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        'read -r _; kill -9 "-$1"',
        "cog-guard",
        str(group),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


class _Protocol(asyncio.Protocol):
    def __init__(self, on_message: Callable[[wire.Message], None], end: asyncio.Future[None]) -> None:
        self._on_message = on_message
        self._reader = wire.FrameReader(_decode)
        self._end = end

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._end.done():
            self._end.set_result(None)

    def data_received(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            try:
                self._on_message(message)
            except Exception:
                # What comes behind it is about other predictions.
                log.exception("a message of the worker: %r %s", message.kind, message.head)


def _decode(line: bytes) -> Any:
    try:
        return from_json(line)
    except ValueError:
        return json.loads(line)  # Half a surrogate pair, in an error's text: that is no JSON to the faster one.


def _unread(fd: int) -> bool:
    """Whether something lies in a socket."""
    waiting = bytearray(4)
    with contextlib.suppress(OSError):
        fcntl.ioctl(fd, termios.FIONREAD, waiting)
    return any(waiting)


def describe_exit(code: int, *, was_oom: bool) -> str:
    """Say in words how a process ended."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "an unknown signal"
    hint = ""
    if -code == signal.SIGKILL:
        hint = ": out of memory, says the kernel" if was_oom else ", probably out of memory"
    return f"was killed by signal {-code} ({name}){hint}"

"""What the model prints, attributed to the prediction that printed it."""

import io
import os
import sys
from types import FrameType
from typing import Callable, Dict, Optional

from cog.scope import Scope, _current
from cog.worker.channel import Channel

# A line that grows longer than this while others print is sent in pieces.
_MAX_PIECES_BYTES = 1 << 16

OnlyRunning = Callable[[], Optional[str]]


# docs/decisions/007-python-text-by-the-channel.md
class Logs:
    """Puts files of its own in the place of sys.stdout and sys.stderr.

    Text printed inside a prediction goes to the server with its id, line by line; everything else goes to the file
    descriptor, which the server reads too, and so does what a forked child prints. Threads that a prediction starts
    have no id of their own: their text belongs to the prediction that runs, if it is the only one.
    """

    def __init__(self, channel: Channel, only_running: OnlyRunning) -> None:
        self._channel = channel
        self._sinks = [_Sink(fd, channel, only_running) for fd in (1, 2)]
        self._streams = [LogStream(sink) for sink in self._sinks]
        sys.stdout, sys.stderr = self._streams
        os.register_at_fork(before=self._before_fork, after_in_child=self._after_fork)

    def expect_one_at_a_time(self) -> None:
        """From now on at most one prediction runs: its lines are put together by the streams, which do it in C."""
        for sink, stream in zip(self._sinks, self._streams):
            stream.reconfigure(line_buffering=True, write_through=False)
            sink.gets_lines = True

    def finish(self, prediction_id: str) -> None:
        """Let the rest of a prediction's text, which has no line break, go with the next message."""
        self._flush()
        for sink in self._sinks:
            sink.finish(prediction_id)

    def _flush(self) -> None:
        for stream in self._streams:
            try:
                stream.flush()
            except ValueError:
                pass  # The model has detached it.

    def _before_fork(self) -> None:
        # It is older than what the child prints, and must not come from there again.
        self._flush()
        self._channel.send_printed()

    def _after_fork(self) -> None:
        self._channel.leave()
        for sink in self._sinks:
            sink.leave()


class LogStream(io.TextIOWrapper):
    """Stands in for sys.stdout and sys.stderr."""

    def __init__(self, sink: "_Sink") -> None:
        # io asks a buffer for no more than a sink has.
        super().__init__(sink, encoding="utf-8", errors="replace", newline="\n", write_through=True)  # type: ignore[arg-type]
        self._binary = _BinaryLog(self)

    @property
    def buffer(self) -> "_BinaryLog":  # type: ignore[override]  # a sink takes UTF-8 only
        return self._binary


class _BinaryLog(io.RawIOBase):
    """`sys.stdout.buffer` of a LogStream."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # any buffer, and 3.8 has no name for that
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def flush(self) -> None:
        self._stream.flush()

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class _Sink:
    """Where a LogStream writes: whole lines while one prediction runs at a time, everything as it comes otherwise.

    A cancel never breaks off `write`; see `must_not_break_off`.
    """

    closed = False

    def __init__(self, fd: int, channel: Channel, only_running: OnlyRunning) -> None:
        self._fd = fd
        self._channel = channel
        self._printed = channel.printed
        self._only_running = only_running
        self._pieces: Dict[str, bytearray] = {}
        self.name = f"<{'stdout' if fd == 1 else 'stderr'}>"
        self.gets_lines = False
        self._is_forked = False

    def write(self, text: bytes) -> int:
        """Take some UTF-8. Most lines are of the same scope as the one before; for those it is as short as can be."""
        scope = _current.get()
        if scope is not self._printed.scope:
            return self._write_slowly(text, scope)
        self._add(text)
        return len(text)

    def _add(self, text: bytes) -> None:
        printed = self._printed
        printed.add(text)
        try:
            printed.copy(text)
        except ValueError:  # It is full.
            with self._channel.lock:
                printed.skip(text)
                printed.send()
        if not printed.is_due:
            printed.make_due()

    def _write_slowly(self, text: bytes, scope: Optional[Scope]) -> int:
        with self._channel.lock:
            prediction_id = self._whose(scope)
            if prediction_id is None:
                _write_all(self._fd, text)
            elif self.gets_lines:
                self._put(prediction_id, text, scope)
            else:
                pieces = self._pieces.setdefault(prediction_id, bytearray())
                pieces += text
                if b"\n" in text or len(pieces) > _MAX_PIECES_BYTES:
                    cut = pieces.rfind(b"\n") + 1 or len(pieces)
                    lines = bytes(pieces[:cut])
                    del pieces[:cut]
                    self._put(prediction_id, lines, None)
        return len(text)

    def _whose(self, scope: Optional[Scope]) -> Optional[str]:
        return scope.prediction_id if scope else self._only_running()

    def _put(self, prediction_id: str, text: bytes, scope: Optional[Scope]) -> None:
        if self._is_forked:
            _write_all(self._fd, text)
            return
        self._printed.turn_to(prediction_id, scope)
        self._add(text)

    def flush(self) -> None:
        """Take pieces of lines of whoever asks as whole. A stream that gives lines calls it behind each."""
        if self._channel.must_signal:
            self._channel.signal_again()
        if self._pieces:
            prediction_id = self._whose(_current.get())
            if prediction_id is not None:
                self.finish(prediction_id)

    def finish(self, prediction_id: str) -> None:
        """Take what there is of a prediction's last line as whole."""
        if self._pieces:
            with self._channel.lock:
                pieces = self._pieces.pop(prediction_id, None)
                if pieces:
                    self._put(prediction_id, bytes(pieces), None)

    def leave(self) -> None:
        """Called in a forked child: it writes to the pipe, as other programs do."""
        self._is_forked = True
        self._pieces.clear()

    # What else a stream asks.

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        """Stay open: the next prediction prints too."""


def must_not_break_off(frame: Optional[FrameType]) -> bool:
    """Whether a frame is inside of what would lose text, send it twice, or swallow an exception.

    It is asked of the frame that a signal interrupted, because that costs nothing while there is none.
    """
    whole = (_Sink.write.__code__, Logs._before_fork.__code__)
    while frame is not None and frame.f_code not in whole:
        frame = frame.f_back
    return frame is not None


def _write_all(fd: int, text: bytes) -> None:
    while text:
        try:
            text = text[os.write(fd, text) :]
        except OSError:
            return  # The model closed its stdout; its text has nowhere to go, its prediction does.

"""What the model prints, attributed to the prediction that printed it."""

import io
import os
import sys
import threading
from typing import Callable, Dict, Iterable, Optional

from cog import wire
from cog.scope import _current
from cog.worker.channel import Channel

MAX_LINE_CHARS = 1 << 20


class LogStream(io.TextIOBase):
    """Stands in for sys.stdout and sys.stderr.

    Text printed inside a prediction goes to the server with its id, line by line; everything else goes to the file
    descriptor, which the server reads too. Threads that a prediction starts have no id of their own: their text
    belongs to the prediction that runs, if it is the only one.
    """

    def __init__(self, fd: int, channel: Channel, only_running: Callable[[], Optional[str]]) -> None:
        self._fd = fd
        self._channel = channel
        self._only_running = only_running
        self._pending: Dict[str, str] = {}
        self._lock = threading.RLock()
        self.buffer = _BinaryLog(self)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        scope = _current.get()
        prediction_id = scope.prediction_id if scope else self._only_running()
        if prediction_id is None:
            _write_all(self._fd, text.encode("utf-8", "replace"))
            return len(text)
        with self._lock:
            pending = self._pending.get(prediction_id, "") + text
            cut = len(pending) if len(pending) > MAX_LINE_CHARS else pending.rfind("\n") + 1
            self._pending[prediction_id] = pending[cut:]
            if cut:
                self._send(prediction_id, pending[:cut])
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]  # typeshed types it by the buffer
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with self._lock:
            for prediction_id in list(self._pending):
                self.finish(prediction_id)

    def finish(self, prediction_id: str) -> None:
        """Send what is left of a prediction's text, and forget it."""
        with self._lock:
            text = self._pending.pop(prediction_id, "")
            if text:
                self._send(prediction_id, text)

    def _send(self, prediction_id: str, text: str) -> None:
        self._channel.send(wire.LOG, {"id": prediction_id}, text.encode("utf-8", "replace"))

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]  # io.TextIOBase declares it as a plain attribute
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]  # as above
        return "replace"


class _BinaryLog(io.RawIOBase):
    """`sys.stdout.buffer` of a LogStream."""

    def __init__(self, stream: LogStream) -> None:
        self._stream = stream

    def write(self, data) -> int:  # type: ignore[no-untyped-def]  # any buffer, and 3.8 has no name for that
        raw = bytes(data)
        self._stream.write(raw.decode("utf-8", "replace"))
        return len(raw)

    def writable(self) -> bool:
        return True


def _write_all(fd: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError:
            return  # The model closed its stdout; its text has nowhere to go, its prediction does.


def capture(channel: Channel, only_running: Callable[[], Optional[str]]) -> Callable[[str], None]:
    """Put LogStreams in place of stdout and stderr; give the function that sends a finished prediction's last text."""
    streams = [LogStream(1, channel, only_running), LogStream(2, channel, only_running)]
    sys.stdout, sys.stderr = streams[0], streams[1]

    def finish(prediction_id: str) -> None:
        for stream in streams:
            stream.finish(prediction_id)

    return finish

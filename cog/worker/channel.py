"""The worker's end of the socket to the server."""

import os
import select
import signal
import socket
import threading
from collections import deque
from typing import Any, Deque, Dict, List, Optional, Sequence

from cog.worker import wire
from cog.worker.printed import Printed

_CHUNK = 1 << 20
_MAX_HELD_BYTES = 1 << 20
# What the kernel takes as one piece, all of it or nothing.
_WHOLE_BYTES = 1 << 15


class Channel:
    """Sends from any thread; read by the main thread alone. What was printed goes before every message."""

    def __init__(self, fd: int, memory_fd: int = -1) -> None:
        self._socket = socket.socket(fileno=fd)
        # Children of the model must not hold the channel open.
        self._socket.set_inheritable(False)
        self.lock = threading.RLock()
        self.printed = Printed(memory_fd, self.send_printed)
        self._reader = wire.FrameReader()
        self._messages: Deque[wire.Message] = deque()
        self._held: List[bytes] = []
        self._held_bytes = 0
        # How many of them there are up to the last text.
        self._texts = 0
        self._poll = select.poll()  # not select(): the descriptor may be above 1023
        self._poll.register(fd, select.POLLIN)
        self._main = threading.get_ident()
        # True while the main thread sends: to break off in the middle of a frame would garble all that follow.
        self.is_sending = False
        # Whether a signal's handler wants to be called again.
        self.must_signal = False
        self._is_putting = False

    def fileno(self) -> int:
        """The socket's descriptor, to wait for what comes."""
        return self._socket.fileno()

    def send(self, kind: bytes, head: Dict[str, Any], body: bytes = b"", *, is_held: bool = False) -> None:
        """Send one message. Blocks while the server reads slower than we write, which bounds our memory.

        One that is held goes out with the next one, or once a megabyte is: what belongs together wakes the server once.
        """
        self.send_frame(wire.encode(kind, head, body), is_held=is_held)

    def send_frame(self, frame: bytes, *, is_held: bool = False) -> None:
        """The same for a message that is bytes already."""
        with self.lock:
            if self._is_putting:
                self._hold(frame)  # A destructor that runs in between: who is at it goes on.
            else:
                self._put(frame, is_held=is_held)

    def send_printed(self) -> None:
        """Send what was printed, and what is held."""
        with self.lock:
            if not self._is_putting:
                self._put(None, is_held=False)

    def _put(self, frame: Optional[bytes], *, is_held: bool) -> None:
        try:
            self.is_sending = threading.get_ident() == self._main
            self._is_putting = True
            if not self.printed.is_empty:
                for prediction_id, text in self.printed.take():
                    self._hold(wire.encode(wire.LOG, {"id": prediction_id, "batch": self.printed.batch}, text))
                    self._texts = len(self._held)
            if frame is not None:
                self._hold(frame)
            if not is_held or self._held_bytes > _MAX_HELD_BYTES:
                self._send_held()
        except (BrokenPipeError, ConnectionResetError):
            _die()
        finally:
            self._is_putting = False
            self.is_sending = False
            if self.must_signal:
                self.signal_again()

    def _hold(self, frame: bytes) -> None:
        self._held.append(frame)
        self._held_bytes += len(frame)

    def _send_held(self) -> None:
        frames, texts, size = self._held, self._texts, self._held_bytes
        self._held, self._texts, self._held_bytes = [], 0, 0
        if texts and size > _WHOLE_BYTES:
            # Texts first: what is sent of them and not yet cleared would be told twice if we are killed meanwhile.
            self._socket.sendall(b"".join(frames[:texts]))
            self.printed.clear()
            frames = frames[texts:]
        if frames:
            self._socket.sendall(frames[0] if len(frames) == 1 else b"".join(frames))
        if not self.printed.is_empty:
            self.printed.clear()

    def signal_later(self) -> None:
        """For a signal's handler that came in the middle of something: have it called again, behind that or soon."""
        self.must_signal = True
        if not self.is_sending:
            self.printed.make_due()

    def signal_again(self) -> None:
        """Call a signal's handler that came in the middle of something."""
        self.must_signal = False
        signal.pthread_kill(self._main, signal.SIGUSR1)

    def leave(self) -> None:
        """Called in a forked child: what its parent holds and has printed is the parent's."""
        self.lock = threading.RLock()
        self._held, self._texts, self._held_bytes = [], 0, 0
        self._is_putting = self.is_sending = self.must_signal = False
        self.printed.leave()

    def receive(self) -> wire.Message:
        """Wait for the next message; when the server is gone, end the process group."""
        while not self._messages:
            self._read(0)
        return self._messages.popleft()

    def receive_only(self, kind: bytes) -> wire.Message:
        """Wait for a message of this kind; what comes before it is received later."""
        passed: List[wire.Message] = []
        while True:
            message = self.receive()
            if message.kind == kind:
                self.put_first(passed)
                return message
            passed.append(message)

    def arrived(self) -> List[wire.Message]:
        """All messages that have come, without waiting."""
        try:
            while True:
                self._read(socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        found = list(self._messages)
        self._messages.clear()
        return found

    def put_back(self, message: wire.Message) -> None:
        """Have `receive` give a message again."""
        self._messages.append(message)

    def put_first(self, messages: Sequence[wire.Message]) -> None:
        """Have `receive` give these messages again, before all others."""
        self._messages.extendleft(reversed(messages))

    def withdraw(self, prediction_id: str) -> bool:
        """Forget a prediction that waits to be received; False if there is none of that id."""
        for message in self._messages:
            if message.kind == wire.PREDICT and message.head["id"] == prediction_id:
                self._messages.remove(message)
                return True
        return False

    def wait(self, timeout_s: float) -> bool:
        """Wait until something has come; False if nothing did in time, which is rounded up to milliseconds."""
        return bool(self._messages or self._poll.poll(timeout_s * 1000))

    def _read(self, flags: int) -> None:
        try:
            data = self._socket.recv(_CHUNK, flags)
        except BlockingIOError:
            raise
        except OSError:
            data = b""
        if not data:
            _die()
        self._messages.extend(self._reader.feed(data))


def _die() -> None:
    """End this process and the children it started: nobody is left to answer to."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)

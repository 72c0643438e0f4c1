"""The worker's end of the socket to the server."""

import os
import signal
import socket
import threading
from typing import Any, Callable, Dict

from cog import wire


class Channel:
    """Sends from any thread; receives on a thread of its own."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        # Children of the model must not hold the channel open.
        self._socket.set_inheritable(False)
        self._lock = threading.RLock()

    def send(self, kind: bytes, head: Dict[str, Any], body: bytes = b"") -> None:
        """Send one message. Blocks while the server reads slower than we write, which bounds our memory."""
        frame = wire.encode(kind, head, body)
        with self._lock:
            try:
                self._socket.sendall(frame)
            except (BrokenPipeError, ConnectionResetError):
                _die()

    def listen(self, on_message: Callable[[wire.Message], None]) -> None:
        """Call `on_message` for each message, on a daemon thread; when the server is gone, end the process group."""
        threading.Thread(target=self._receive, args=(on_message,), name="cog-channel", daemon=True).start()

    def _receive(self, on_message: Callable[[wire.Message], None]) -> None:
        reader = wire.FrameReader()
        while True:
            try:
                data = self._socket.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                _die()
            for message in reader.feed(data):
                on_message(message)


def _die() -> None:
    """End this process and the children it started: nobody is left to answer to."""
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)

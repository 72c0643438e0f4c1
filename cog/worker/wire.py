"""The frames between the server and a worker: how a message becomes bytes and back.

A frame is a big-endian uint32 with the length of what follows, one byte that names the kind, a JSON head on one
line, a newline and a body. The body is opaque bytes, so that JSON which exists already is never encoded again.
"""

import json
import struct
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional, Union

# Server to worker.
# head: id, folder, max_output, and where there are any: context, files (their places), traceparent; body: the input as
# a JSON object, files as local paths
PREDICT = b"P"
CANCEL = b"C"  # head: id
HEALTH = b"H"  # head: id
READ = b"R"  # what lay in the pipe at the end of a prediction was read; where one runs after the other
STOP = b"S"

# Worker to server.
SPEC = b"s"  # body: the PredictorSpec
READY = b"r"  # head: has_healthcheck
SETUP_FAILED = b"f"  # head: error
LOG = b"l"  # head: id, batch (a number that grows; see text_memory.py); body: text
OUTPUT = b"o"  # head: id, files, item (true for one of many); body: the value as JSON
METRIC = b"m"  # head: id, name; body: the value as JSON
BATCH = b"b"  # head: ids of the predictions that predict is called with now
DONE = b"d"  # head: id, status, error, predict_time, text (whether some may lie in the pipe)
HEALTHY = b"h"  # head: id, ok, error

_LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 2**32 - 1


class Message(NamedTuple):
    """One message: its kind (a constant of this module), its head and its body."""

    kind: bytes
    head: Dict[str, Any]
    body: bytes


def encode(kind: bytes, head: Dict[str, Any], body: bytes = b"") -> bytes:
    """Give the frame's bytes. Raises ValueError if it would be larger than 4 GiB."""
    return frame(kind, _encode(head).encode(), body)


def frame(kind: bytes, line: bytes, body: bytes = b"") -> bytes:
    """The same with a head that is JSON already, on one line."""
    length = len(line) + len(body) + 2
    if length > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {length} bytes is larger than a frame can be (4 GiB)")
    return b"".join((_LENGTH.pack(length), kind, line, b"\n", body))


class FrameReader:
    """Puts frames together from bytes that arrive in any pieces. `decode` reads their heads: any JSON decoder does."""

    def __init__(self, decode: Optional[Callable[[bytes], Any]] = None) -> None:
        self._buffer = bytearray()
        self._decode = decode or decode_json

    def feed(self, data: bytes) -> Iterator[Message]:
        """Add `data` and give every message that is complete now."""
        if not self._buffer:
            # Mostly whole frames come, one or two: they need not be put together.
            start, end = 0, _end_of(data, 0)
            while end is not None:
                yield self._message(data, start, end)
                start, end = end, _end_of(data, end)
            self._buffer += data[start:]
            return
        self._buffer += data
        end = _end_of(self._buffer, 0)
        while end is not None:
            frame = bytes(self._buffer[:end])
            del self._buffer[:end]
            yield self._message(frame, 0, end)
            end = _end_of(self._buffer, 0)

    def _message(self, frame: bytes, start: int, end: int) -> Message:
        start += _LENGTH.size
        newline = frame.index(b"\n", start)
        return Message(frame[start : start + 1], self._decode(frame[start + 1 : newline]), frame[newline + 1 : end])


def _end_of(data: Union[bytes, bytearray], start: int) -> Optional[int]:
    """Where the frame that begins at `start` ends; None if that is not there yet."""
    if len(data) - start < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack_from(data, start)
    end: int = start + _LENGTH.size + length
    return end if end <= len(data) else None


# What json.loads() and json.dumps() come down to for text without white space around it; they look at their arguments,
# and make a decoder or an encoder, for a while before that.
_scan = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(separators=(",", ":")).encode


def decode_json(text: bytes) -> Any:
    """The value of JSON that this room's encoders wrote: UTF-8, with no white space around it."""
    return _scan(text.decode())[0]

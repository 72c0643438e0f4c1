"""`Upload`: a file of this machine that goes with an input, as it is or as a data: URL."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from pybase64 import b64encode

from cog.file_names import media_type_of
from cog_cli.errors import CogError

# As a data: URL: the server takes JSON bodies of 100 MiB, and base64 makes a third more of a file.
MAX_EMBEDDED_BYTES = 70 * 1024 * 1024
# Read when it is named: what /proc and /sys say about the size of their small files is not so.
_SMALL_BYTES = 64 * 1024
_PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Upload:
    """A regular file for the input `input`, sent as the part `part`. `content` is set if it is small."""

    input: str
    part: str
    path: Path
    media_type: str
    content: bytes | None = None

    @property
    def reference(self) -> str:
        """What stands in the input where the file belongs."""
        return f"upload:{self.part}"

    def size_bytes(self) -> int:
        """How much `pieces` gives. Raises CogError."""
        if self.content is not None:
            return len(self.content)
        with _open(self.input, self.path) as file:
            return os.fstat(file.fileno()).st_size

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """The file, from the disk piece by piece. Raises CogError, also if it has not `size_bytes` any more."""
        if self.content is not None:
            yield self.content
            return
        left = size_bytes
        with _open(self.input, self.path) as file:
            while left > 0:
                piece = _read(self.input, self.path, file, min(left, _PIECE_BYTES))
                if not piece:
                    break
                left -= len(piece)
                yield piece
            if left > 0 or _read(self.input, self.path, file, 1):
                raise CogError(f"the input {self.input}: {self.path} changed while it was sent")

    def data_url(self) -> str:
        """The whole file as a data: URL. Raises CogError if it is too large for that."""
        size_bytes = self.size_bytes()
        if size_bytes > MAX_EMBEDDED_BYTES:
            raise CogError(
                f"the input {self.input}: {self.path} is larger than {MAX_EMBEDDED_BYTES // 1024**2} MiB",
                hint="Put it where the model can fetch it, and give its URL.",
            )
        content = b"".join(self.pieces(size_bytes))
        return f"data:{self.media_type};base64,{b64encode(content).decode()}"


def find_upload(name: str, path: Path, part: str) -> Upload:
    """The file at `path` for the input `name`. Raises CogError if it is no regular file, or cannot be read."""
    with _open(name, path) as file:
        if os.fstat(file.fileno()).st_size > _SMALL_BYTES:
            _read(name, path, file, 1)
            content = None
        else:
            content = b"".join(iter(lambda: _read(name, path, file, _PIECE_BYTES), b""))
    return Upload(name, part, path, media_type_of(path.name), content)


def _open(name: str, path: Path) -> FileIO:
    try:
        # A pipe without a writer must not keep us waiting, and a pipe is no file.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise _unreadable(name, path, error) from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise CogError(f"the input {name}: {path} is not a regular file")
    return FileIO(handle)


def _read(name: str, path: Path, file: FileIO, size: int) -> bytes:
    try:
        return file.read(size) or b""
    except OSError as error:
        raise _unreadable(name, path, error) from error


def _unreadable(name: str, path: Path, error: OSError) -> CogError:
    return CogError(f"the input {name}: {path} cannot be read: {error.strerror}")

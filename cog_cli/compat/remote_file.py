"""`RemoteFile`: a file on a server that answers range requests, read in blocks, for `zipfile`."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer


class RemoteFile(io.RawIOBase):
    """`read` gives the bytes from its first argument up to and with its second."""

    BLOCK_BYTES = 256 * 1024

    def __init__(self, size_bytes: int, read: Callable[[int, int], bytes]) -> None:
        self._size_bytes, self._read, self._position = size_bytes, read, 0
        self._blocks: dict[int, bytes] = {}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Buffer) -> int:
        """Fill the buffer from one block; a short read is fine, `BufferedReader` asks again."""
        view = memoryview(buffer)
        number, start = divmod(self._position, self.BLOCK_BYTES)
        part = self._block(number)[start : start + len(view)] if self._position < self._size_bytes else b""
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            first = number * self.BLOCK_BYTES
            self._blocks[number] = self._read(first, min(first + self.BLOCK_BYTES, self._size_bytes) - 1)
        return self._blocks[number]

"""What a scheme of URLs must do: open a file to be read, take a file to be kept. One module for each, no more."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

CHUNK = 1 << 20


class TransferError(Exception):
    """A file could not be moved. The text is for clients: the class of failure and the host, no address, no credential.

    `is_passing`: another try may go better.
    """

    def __init__(self, text: str, *, is_passing: bool = False) -> None:
        super().__init__(text)
        self.is_passing = is_passing


class NotModified(Exception):
    """The file is still the one with the `etag` that was given."""


class NameTaken(Exception):
    """There is a file of this name already."""


@dataclass(frozen=True)
class Opened:
    """A file that is being read. `name` is as its source calls it, not yet a safe one; `size` is in bytes, if known.

    `etag` is what `Source.open` takes to ask whether it has changed, None where there is nothing of the kind.
    """

    name: str
    media_type: str | None
    size: int | None
    etag: str | None
    chunks: AsyncIterator[bytes]


# docs/decisions/025-module-for-each-scheme.md
class Source(Protocol):
    """Files that can be read."""

    def open(self, url: str, *, etag: str | None = None) -> AbstractAsyncContextManager[Opened]:
        """Open `url`; what it gives is read once, and not after the context.

        Entering and reading raise TransferError; entering raises NotModified if the file has `etag` still.
        """

    async def close(self) -> None:
        """Give the connections back."""


class Sink(Protocol):
    """Places that files can be put to."""

    async def put(self, url: str, file: OutgoingFile) -> str:
        """Put a file to `url`, where there is none yet, and give the URL to show. Raises TransferError, NameTaken."""

    async def delete(self, url: str) -> None:
        """Delete what `put` gave this URL for, if that can be done. Raises TransferError."""

    async def close(self) -> None:
        """Give the connections back."""


@dataclass
class OutgoingFile:
    """A local file on its way out: `size` bytes that lie in `path`, by a safe `name`.

    `digest` is the SHA-256 in hex of what was read, once it was read to its end; "" unless `is_hashed`.
    """

    path: str
    name: str
    media_type: str
    size: int
    handle: int = field(repr=False)
    modified_ns: int = field(repr=False)
    is_hashed: bool = True
    digest: str = field(default="", init=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """The content from its first byte, each time anew. Raises TransferError if the file has changed meanwhile."""
        found = hashlib.sha256()
        offset = 0
        while offset < self.size:
            chunk = await asyncio.to_thread(self._read_at, offset, CHUNK)
            offset += len(chunk)
            if self.is_hashed:
                found.update(chunk)
            yield chunk
        self._finish(found)

    def read(self) -> bytes:
        """The whole content. Raises TransferError if the file has changed meanwhile."""
        found = hashlib.sha256()
        content = bytearray()
        while len(content) < self.size:
            content += self._read_at(len(content), self.size)
        if self.is_hashed:
            found.update(content)
        self._finish(found)
        return bytes(content)

    def _read_at(self, offset: int, size: int) -> bytes:
        # By position: a second try may begin while the first one's last read is under way.
        chunk = os.pread(self.handle, min(size, self.size - offset), offset)
        if not chunk:
            raise self._changed()
        return chunk

    def _finish(self, found: Any) -> None:
        status = os.fstat(self.handle)
        if (status.st_size, status.st_mtime_ns) != (self.size, self.modified_ns):
            raise self._changed()
        if self.is_hashed:
            self.digest = found.hexdigest()

    def _changed(self) -> TransferError:
        return TransferError(f"the file {self.path} changed while it was stored")

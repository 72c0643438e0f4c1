"""`LocalFiles`: `file:` URLs, below the folders that the operator names and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import stat
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from urllib.parse import unquote

from cog_server.files.transfer import CHUNK, NameTaken, Opened, OutgoingFile, TransferError

# With a host, or with none and one slash: a host is never taken for a folder.
_FORM = re.compile(r"file:(?://(?:localhost)?(?=/)|(?!//))/*(/.*)", re.IGNORECASE | re.DOTALL)


class LocalFiles:
    """Reads and writes below `roots`, whatever links lead to."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self._roots = tuple(os.path.realpath(root) for root in roots)

    @contextlib.asynccontextmanager
    async def open(self, url: str, *, etag: str | None = None) -> AsyncIterator[Opened]:
        """Open a regular file. There is no `etag`: what is near is not kept twice."""
        path = self._inside(path_of(url))
        try:
            # A pipe is not waited for, and a link that took the file's place meanwhile is not followed.
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError as error:
            raise TransferError(f"the file cannot be read: {error.strerror}") from error
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise TransferError("it is not a regular file")
            yield Opened(os.path.basename(path), None, status.st_size, None, _chunks(handle))
        finally:
            os.close(handle)

    async def put(self, url: str, file: OutgoingFile) -> str:
        """Write a new file; folders are made."""
        path = path_of(url)
        parent = self._inside(os.path.dirname(path))
        try:
            await asyncio.to_thread(os.makedirs, parent, exist_ok=True)
            target = os.path.join(parent, os.path.basename(path))
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        except FileExistsError as error:
            raise NameTaken from error
        except OSError as error:
            raise TransferError(f"the folder cannot be written: {error.strerror}") from error
        try:
            with open(handle, "wb") as stream:
                async for chunk in file.chunks():
                    await asyncio.to_thread(stream.write, chunk)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(target)
            if isinstance(error, OSError):
                raise TransferError(f"the file cannot be written: {error.strerror}") from error
            raise
        return url

    async def delete(self, url: str) -> None:
        """Delete a file that `put` made."""
        with contextlib.suppress(OSError):
            os.unlink(self._inside(path_of(url)))

    async def close(self) -> None:
        """Nothing is held."""

    def check(self, url: str) -> None:
        """Raise TransferError unless the URL is below a root."""
        self._inside(path_of(url))

    def _inside(self, path: str) -> str:
        real = os.path.realpath(path)
        if not any(os.path.commonpath((real, root)) == root for root in self._roots):
            raise TransferError("outside the allowed folders (COG_FILE_ROOTS names them)")
        return real


def path_of(url: str) -> str:
    """The absolute path in a `file:` URL. Raises TransferError."""
    match = _FORM.fullmatch(url)
    path = unquote(match[1], errors="surrogateescape") if match else ""
    if not path or "\0" in path:
        raise TransferError("a file: URL has the form file:///folder/name")
    return path


async def _chunks(handle: int) -> AsyncIterator[bytes]:
    while True:
        try:
            chunk = await asyncio.to_thread(os.read, handle, CHUNK)
        except OSError as error:
            raise TransferError(f"the file cannot be read: {error.strerror}") from error
        if not chunk:
            return
        yield chunk

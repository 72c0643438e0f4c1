"""`OutputStore`: the files in an output, put where they are to go, and replaced by their URLs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cog.file_names import media_type_of, safe_name
from cog_server.files.cancellation import stop
from cog_server.files.data_urls import data_url
from cog_server.files.destination import Destination, PlacedFile
from cog_server.files.transfer import OutgoingFile, TransferError

_MAX_AT_ONCE = 8
_MAX_FILES = 100_000
_UNDO_S = 10.0


class OutputError(Exception):
    """An output file could not be taken or stored; says which place of the output and why."""


@dataclass(frozen=True)
class StoredOutput:
    """An output's JSON with URLs in it; `info` describes the files: place, name, media type, size, SHA-256."""

    body: bytes
    info: list[dict[str, Any]]


@dataclass(frozen=True)
class _Put:
    """One file that is stored, and what there is to say about it."""

    placed: PlacedFile
    info: dict[str, Any]


class OutputStore:
    """Takes files below `roots` only, whatever links lead to. `max_inline_bytes`: the most for one `data:` URL.

    Only `with_info` are files described.
    """

    def __init__(self, roots: Iterable[Path], *, max_inline_bytes: int, with_info: bool = False) -> None:
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._max_inline_bytes = max_inline_bytes
        self._with_info = with_info
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)

    async def store(self, body: bytes, files: list[list[Any]], destination: Destination | None) -> StoredOutput:
        """Store every file of an output, all or none; without a destination they become `data:` URLs.

        `files` has the place (keys and indexes into the output) and local path of each; the JSON has null at such
        places. Raises OutputError.
        """
        if not files:
            return StoredOutput(body, [])
        if len(files) > _MAX_FILES:
            raise OutputError(f"an output has at most {_MAX_FILES} files, not {len(files)}")
        if destination is None:
            stored = await self._inline_all(files)
        else:
            stored = await self._put_all(files, destination)
        urls = [each.placed.url for each in stored]
        return StoredOutput(_filled(body, files, urls), [each.info for each in stored] if self._with_info else [])

    async def _put_all(self, files: list[list[Any]], destination: Destination) -> list[_Put]:
        """In order the names are given, side by side the files are put. The first failure takes all back."""
        places: list[str] = []
        tasks: list[asyncio.Task[_Put]] = []
        try:
            for place, path in files:
                name = safe_name(os.path.basename(path))
                try:
                    places.append(destination.reserve(name))
                except TransferError as error:
                    raise OutputError(f"{_show(place)}: {error}") from error
            tasks = [
                asyncio.ensure_future(self._put(destination, target, place, path))
                for target, (place, path) in zip(places, files, strict=True)
            ]
            return await asyncio.gather(*tasks)
        except BaseException:
            try:
                await stop(tasks)
            finally:
                done = [task.result() for task in tasks if not task.cancelled() and task.exception() is None]
                await asyncio.shield(_take_back(destination, [each.placed for each in done]))
            raise

    async def _put(self, destination: Destination, target: str, place: list[Any], path: str) -> _Put:
        async with self._slots:
            try:
                with self._opened(path) as file:
                    placed = await destination.put(target, file)
            except TransferError as error:
                raise OutputError(f"{_show(place)} cannot be stored: {error}") from error
            except OSError as error:
                raise OutputError(f"{_show(place)}: the file {path} cannot be read: {error.strerror}") from error
        return _Put(placed, {"place": place, "url": placed.url, **_describe(file)})

    async def _inline_all(self, files: list[list[Any]]) -> list[_Put]:
        stored: list[_Put] = []
        left = self._max_inline_bytes
        for place, path in files:
            stored.append(await asyncio.to_thread(self._inline, place, path, left))
            left -= len(stored[-1].placed.url)
        return stored

    def _inline(self, place: list[Any], path: str, most: int) -> _Put:
        try:
            with self._opened(path) as file:
                if file.size > most:
                    # Said before it is read: what one file may not take, all together may not either.
                    limit = self._max_inline_bytes
                    raise OutputError(
                        f"{_show(place)}: with the file {path} the output is larger than {limit} bytes"
                        " (COG_MAX_OUTPUT_BYTES)"
                    )
                content = file.read()
        except TransferError as error:
            raise OutputError(f"{_show(place)}: {error}") from error
        except OSError as error:
            raise OutputError(f"{_show(place)}: the file {path} cannot be read: {error.strerror}") from error
        return _Put(PlacedFile(data_url(file.media_type, content)), {"place": place, **_describe(file)})

    @contextlib.contextmanager
    def _opened(self, path: str) -> Iterator[OutgoingFile]:
        """An output file that may be taken. Raises OSError and TransferError."""
        real = os.path.realpath(path)
        if not any(os.path.commonpath((real, root)) == root for root in self._roots):
            raise TransferError(
                f"the file {path} is outside of the folders that outputs may come from; COG_OUTPUT_ROOTS adds others"
            )
        # What was a file when the model gave it may be a pipe by now: never wait for one.
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise TransferError(f"the file {path} is not a regular file")
            name = safe_name(os.path.basename(path))
            size, modified_ns = status.st_size, status.st_mtime_ns
            yield OutgoingFile(path, name, media_type_of(name), size, handle, modified_ns, self._with_info)
        finally:
            os.close(handle)


async def _take_back(destination: Destination, placed: list[PlacedFile]) -> None:
    """Delete what was stored of an output that was not stored whole; what cannot be deleted stays."""
    with contextlib.suppress(asyncio.TimeoutError):
        deleting = asyncio.gather(*(destination.take_back(each) for each in placed), return_exceptions=True)
        await asyncio.wait_for(deleting, _UNDO_S)


def _describe(file: OutgoingFile) -> dict[str, Any]:
    return {"name": file.name, "media_type": file.media_type, "size": file.size, "sha256": file.digest}


def _filled(body: bytes, files: list[list[Any]], urls: list[str]) -> bytes:
    if not files[0][0]:
        # The whole output is one file. A data: URL, which is long, needs no escapes.
        return b'"%s"' % urls[0].encode() if urls[0].startswith("data:") else json.dumps(urls[0]).encode()
    output = json.loads(body)
    for url, (place, _) in zip(urls, files, strict=True):
        holder = output
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = url
    return json.dumps(output, separators=(",", ":"), ensure_ascii=False).encode()


def _show(place: list[Any]) -> str:
    return "output" + "".join(f"[{key!r}]" for key in place)

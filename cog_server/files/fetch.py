"""`FileFetcher`: the one place where the server opens a URL that a client named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from dataclasses import dataclass

from cog.file_names import safe_name
from cog_server.files.budget import Budget
from cog_server.files.cache import CachedFile, InputCache, clone
from cog_server.files.data_urls import DataUrl, TooLarge
from cog_server.files.retries import three_times
from cog_server.files.schemes import Schemes, scheme_of
from cog_server.files.transfer import NotModified, Opened, TransferError

_MAX_AT_ONCE = 8


class FetchError(Exception):
    """An input file could not be had; says which input and why, without the URL's secrets."""


@dataclass(frozen=True)
class FileLimits:
    """Sizes in bytes, times in seconds: of one file, and of all that one prediction brings."""

    file_bytes: int
    total_bytes: int
    total_s: float | None

    def budget(self) -> Budget:
        """What one prediction may bring."""
        return Budget(file_bytes=self.file_bytes, total_bytes=self.total_bytes)


class FileFetcher:
    """Copies files to local ones, at most eight at a time. `cache` keeps them for the next time, None nothing."""

    def __init__(self, schemes: Schemes, limits: FileLimits, cache: InputCache | None = None) -> None:
        self.limits = limits
        self._schemes = schemes
        self._cache = cache
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)

    async def fetch(self, url: str, *, folder: str, name: str, budget: Budget) -> str:
        """Copy `url` into `folder` and give the file's path; its name and extension survive, made safe.

        `name` is the input's, for errors. Raises FetchError; a partial file is left to the owner of `folder`.
        """
        scheme = scheme_of(url)
        async with self._slots:
            try:
                if scheme == "data":
                    return await asyncio.to_thread(_write_data, url, folder, name, budget)
                self._schemes.check(url)
                return await three_times(lambda: self._fetch(scheme, url, folder, budget), total_s=self.limits.total_s)
            except TransferError as error:
                raise FetchError(f"{name}: {error}") from error
            except OSError as error:
                raise FetchError(f"{name}: the file cannot be stored: {error.strerror}") from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._schemes.close()

    async def _fetch(self, scheme: str, url: str, folder: str, budget: Budget) -> str:
        kept = self._cache.find(url) if self._cache is not None else None
        source = self._schemes.source(scheme)
        try:
            async with source.open(url, etag=kept.etag if kept else None) as opened:
                path = new_path(folder, safe_name(opened.name, media_type=opened.media_type))
                size = await _save(opened, path, budget)
                if self._cache is not None and opened.etag:
                    # Without room to keep it, it is there all the same.
                    with contextlib.suppress(OSError):
                        await asyncio.to_thread(self._cache.add, url, path=path, etag=opened.etag, size=size)
                return path
        except NotModified:
            assert kept is not None, "nobody asked"
            return await _copy(kept, folder, budget)


async def _copy(kept: CachedFile, folder: str, budget: Budget) -> str:
    budget.take(kept.size)
    path = new_path(folder, kept.name)
    try:
        await asyncio.to_thread(clone, kept.path, path)
    except FileNotFoundError as error:
        # Given up for others meanwhile.
        budget.give_back(kept.size)
        raise TransferError("the cached file is gone", is_passing=True) from error
    return path


async def _save(opened: Opened, path: str, budget: Budget) -> int:
    """Write what comes to `path` and give its size; no more than the budget allows, which a failure gives back."""
    if opened.size is not None and opened.size > budget.next_bytes:
        raise budget.refusal()
    taken = 0
    try:
        with open(path, "wb") as file:
            async for chunk in opened.chunks:
                if taken + len(chunk) > budget.file_bytes:
                    raise budget.refusal()
                budget.take(len(chunk))
                taken += len(chunk)
                await asyncio.to_thread(file.write, chunk)
        if opened.size is not None and taken != opened.size:
            raise TransferError(f"the file ended after {taken} of {opened.size} bytes", is_passing=True)
    except BaseException:
        budget.give_back(taken)
        os.truncate(path, 0)
        raise
    return taken


def _write_data(url: str, folder: str, name: str, budget: Budget) -> str:
    found = DataUrl(url)
    path = new_path(folder, safe_name(found.name or name, media_type=found.media_type))
    try:
        budget.take(found.write(path, budget.next_bytes))
    except TooLarge as error:
        raise budget.refusal() from error
    return path


def new_path(folder: str, name: str) -> str:
    """A place for a file of a safe name, in a new folder inside `folder`: namesakes do not meet."""
    return os.path.join(tempfile.mkdtemp(dir=folder), name)

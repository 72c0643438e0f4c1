"""`InputCache`: files that were fetched before, by their URL, as long as their source says that they are the same."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from cog_server.files.transfer import CHUNK


@dataclass(frozen=True)
class CachedFile:
    """A file that is kept: its `name` and size in bytes, and the `etag` to ask with whether it is the same still."""

    path: str
    name: str
    etag: str
    size: int


class InputCache:
    """Keeps at most `max_bytes` of files, those that were used last, in the folder that `folder` makes."""

    def __init__(self, folder: Callable[[], str], max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, CachedFile] = OrderedDict()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def find(self, url: str) -> CachedFile | None:
        """What is kept of a URL, used now."""
        key = _key(url)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
            return self._files.get(key)

    def add(self, url: str, *, path: str, etag: str, size: int) -> None:
        """Keep a copy of a file that was fetched. On any thread: it blocks while it copies; raises OSError."""
        if size > self._max_bytes:
            return
        kept = CachedFile(os.path.join(self._folder(), str(next(self._numbers))), os.path.basename(path), etag, size)
        try:
            clone(path, kept.path)
        except OSError:
            _remove(kept.path)
            raise
        for each in self._exchange(_key(url), kept):
            _remove(each.path)

    def _exchange(self, key: str, kept: CachedFile) -> list[CachedFile]:
        """Put a file in the first place and give those that make room for it."""
        with self._lock:
            gone = [self._files.pop(key)] if key in self._files else []
            self._files[key] = kept
            while sum(each.size for each in self._files.values()) > self._max_bytes:
                gone.append(self._files.popitem(last=False)[1])
            return gone


def clone(source: str, target: str) -> None:
    """Copy a file, without its bytes passing through here, or being there twice, where the file system can do that."""
    with open(source, "rb") as given, open(target, "wb") as made:
        try:
            while os.copy_file_range(given.fileno(), made.fileno(), CHUNK * 64):
                pass
        except (OSError, AttributeError):  # Another file system, or another system.
            made.truncate(0)
            made.seek(0)
            given.seek(0)
            shutil.copyfileobj(given, made, CHUNK)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _key(url: str) -> str:
    return hashlib.sha256(url.partition("#")[0].encode("utf-8", "surrogatepass")).hexdigest()

"""Output files: the paths in an output, read and replaced by `data:` URLs."""

from __future__ import annotations

import asyncio
import base64
import json
import mimetypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any


class OutputError(Exception):
    """An output file could not be taken; says which place of the output and why."""


class OutputFiles:
    """Reads files below `roots` only, whatever links lead to, and none that is larger than `max_bytes`."""

    def __init__(self, roots: Iterable[Path], *, max_bytes: int) -> None:
        self._roots = tuple(os.path.realpath(root) for root in roots)
        self._max_bytes = max_bytes

    async def with_data_urls(self, body: bytes, files: list[list[Any]]) -> bytes:
        """Give the output's JSON with each file in it as a `data:` URL. Raises OutputError.

        `files` has pairs of place (keys and indexes into the output) and local path; the JSON has null at such places.
        """
        if not files:
            return body
        return await asyncio.to_thread(self._replace, body, files)

    def _replace(self, body: bytes, files: list[list[Any]]) -> bytes:
        output = json.loads(body)
        for place, path in files:
            try:
                url = self._data_url(path)
            except OSError as error:
                raise OutputError(f"{_show(place)}: the file {path} cannot be read: {error.strerror}") from error
            except ValueError as error:
                raise OutputError(f"{_show(place)}: the file {path} {error}") from error
            if not place:
                return json.dumps(url).encode()
            holder = output
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = url
        return json.dumps(output, separators=(",", ":"), ensure_ascii=False).encode()

    def _data_url(self, path: str) -> str:
        """Raises OSError, or ValueError with the rest of a sentence."""
        real = os.path.realpath(path)
        if not any(os.path.commonpath((real, root)) == root for root in self._roots):
            raise ValueError("is outside of the folders that outputs may come from; COG_OUTPUT_ROOTS adds others")
        # What was a file when the model gave it may be a pipe by now: never wait for one.
        handle = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("is not a regular file")
            if status.st_size > self._max_bytes:
                raise ValueError(f"is larger than {self._max_bytes} bytes (COG_MAX_OUTPUT_BYTES)")
            content = file.read(self._max_bytes)
        media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
        return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


def _show(place: list[Any]) -> str:
    return "output" + "".join(f"[{key!r}]" for key in place)

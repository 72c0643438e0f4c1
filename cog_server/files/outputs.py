"""Output files: the paths in an output, read and replaced by `data:` URLs."""

from __future__ import annotations

import asyncio
import base64
import json
import mimetypes
import os
from typing import Any


class OutputError(Exception):
    """An output file could not be read; says which place of the output and why."""


async def with_data_urls(body: bytes, files: list[list[Any]]) -> bytes:
    """Give the output's JSON with each file in it as a `data:` URL.

    `files` has pairs of place (keys and indexes into the output) and local path; the JSON has null at such places.
    """
    if not files:
        return body
    return await asyncio.to_thread(_replace, body, files)


def _replace(body: bytes, files: list[list[Any]]) -> bytes:
    output = json.loads(body)
    for place, path in files:
        url = _data_url(path, place)
        if not place:
            return json.dumps(url).encode()
        holder = output
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = url
    return json.dumps(output, separators=(",", ":"), ensure_ascii=False).encode()


def _data_url(path: str, place: list[Any]) -> str:
    media_type = mimetypes.guess_type(path)[0] or "application/octet-stream"
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        shown = "output" + "".join(f"[{key!r}]" for key in place)
        raise OutputError(f"{shown}: the file {os.path.basename(path)} cannot be read: {error.strerror}") from error
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"

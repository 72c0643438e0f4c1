"""`FileFetcher`: the one place where the server opens a URL that a client named."""

from __future__ import annotations

import asyncio
import base64
import binascii
import mimetypes
import os
import re
import tempfile
import urllib.parse
from pathlib import Path

import anyio
import httpx

from cog_server.addresses import AddressPolicy
from cog_server.outgoing import open_transport

_CONNECT_S = 5.0
_READ_S = 10.0
_TOTAL_S = 600.0
_MAX_REDIRECTS = 5
_MAX_AT_ONCE = 8
_MAX_NAME_BYTES = 200
_CHUNK = 1 << 16


class FetchError(Exception):
    """An input file could not be had; says which input and why, without the URL's secrets."""


class FileFetcher:
    """Copies `data:` and `http(s):` URLs to local files, at most eight at a time, none larger than `max_bytes`."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(_MAX_AT_ONCE)
        self._client: httpx.AsyncClient | None = None

    async def fetch(self, url: str, *, folder: str, name: str) -> str:
        """Copy `url` into `folder` and give the file's path; the extension survives, the name is made safe.

        `name` is the input's, for errors. Raises FetchError; a partial file is left to the owner of `folder`.
        """
        scheme = url.partition(":")[0].lower()
        async with self._slots:
            if scheme == "data":
                return await asyncio.to_thread(self._from_data, url, folder, name)
            if scheme in ("http", "https"):
                try:
                    # Not asyncio.wait_for: its single cancel may be lost in anyio, below httpx, and it waits for ever.
                    with anyio.fail_after(_TOTAL_S):
                        return await self._from_http(url, folder, name)
                except TimeoutError as error:
                    raise FetchError(f"{name}: the download took longer than {_TOTAL_S:.0f} seconds") from error
        raise FetchError(f"{name}: {scheme}: URLs are not supported; use http, https or data")

    async def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            await self._client.aclose()

    def _from_data(self, url: str, folder: str, name: str) -> str:
        head, comma, payload = url[5:].partition(",")
        if not comma:
            raise FetchError(f"{name}: the data URL has no comma")
        media_type, *parameters = head.split(";")
        if "base64" in (item.strip().lower() for item in parameters):
            if len(payload) * 3 // 4 > self._max_bytes + 2:
                raise self._too_large(name)
            try:
                content = base64.b64decode(urllib.parse.unquote_to_bytes(payload), validate=True)
            except (binascii.Error, ValueError) as error:
                raise FetchError(f"{name}: the data URL is not valid base64") from error
        else:
            content = urllib.parse.unquote_to_bytes(payload)
        if len(content) > self._max_bytes:
            raise self._too_large(name)
        extension = mimetypes.guess_extension(media_type.strip().lower() or "text/plain") or ""
        path = _new_file(folder, f"{name}{extension}")
        Path(path).write_bytes(content)
        return path

    async def _from_http(self, url: str, folder: str, name: str) -> str:
        if self._client is None:
            timeout = httpx.Timeout(_READ_S, connect=_CONNECT_S)
            self._client = httpx.AsyncClient(
                # Any address, as yet: what is gained here is that a cancel in the middle of a connect loses nothing.
                transport=open_transport(AddressPolicy(allows_all=True)),
                timeout=timeout,
                follow_redirects=True,
                max_redirects=_MAX_REDIRECTS,
            )
        try:
            async with self._client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                if response.status_code >= 400:
                    raise FetchError(f"{name}: the download answered {response.status_code}")
                path = _new_file(folder, _file_name(str(response.url), response.headers.get("content-type", "")))
                await self._save(response, path, name)
                return path
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise FetchError(f"{name}: the download failed ({type(error).__name__})") from error

    async def _save(self, response: httpx.Response, path: str, name: str) -> None:
        total = 0
        with open(path, "wb") as file:
            async for chunk in response.aiter_bytes(_CHUNK):
                total += len(chunk)
                if total > self._max_bytes:
                    raise self._too_large(name)
                file.write(chunk)

    def _too_large(self, name: str) -> FetchError:
        return FetchError(f"{name}: the file is larger than {self._max_bytes} bytes")


def _file_name(url: str, content_type: str) -> str:
    name = urllib.parse.unquote(urllib.parse.urlsplit(url).path).rpartition("/")[2]
    if not os.path.splitext(name)[1]:
        name += mimetypes.guess_extension(content_type.partition(";")[0].strip()) or ""
    return name


def _new_file(folder: str, name: str) -> str:
    """Make an empty file in a new folder inside `folder`: namesakes do not meet. `name` is made safe and short."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".-") or "file"
    stem, extension = os.path.splitext(safe)
    path = os.path.join(tempfile.mkdtemp(dir=folder), stem[: _MAX_NAME_BYTES - len(extension[:20])] + extension[:20])
    Path(path).touch()
    return path

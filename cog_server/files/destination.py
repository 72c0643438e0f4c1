"""`Destination`: where the output files of one prediction go, and by which names."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from cog.file_names import numbered
from cog_server.files.retries import three_times
from cog_server.files.schemes import CLOUDS, Schemes, check_form, scheme_of
from cog_server.files.transfer import NameTaken, OutgoingFile, TransferError

MAX_URLS = 10_000
_MAX_URL_CHARS = 4096
_MAX_NAMESAKES = 10_000
_FIELD = re.compile(r"\{([^{}]*)\}")
# What differs between predictions may not say whose the files become.
_HOST = re.compile(r"[a-z]+[0-9]?://[^/?#{}]+([/?#]|$)", re.IGNORECASE)
# What of a URL a name may be put into without changing what it means.
_SCHEMES = ("http", "https", "file", *CLOUDS)


class DestinationError(Exception):
    """What is said about where outputs go means nothing; `place` is where in the list, if it is one."""

    def __init__(self, text: str, place: tuple[int, ...] = ()) -> None:
        super().__init__(text)
        self.place = place


@dataclass(frozen=True)
class OutputPath:
    """Where outputs go: a folder's URL that may have `{id}` and `{name}`, or `signed` URLs, one for each file in order.

    `is_trusted`: the operator said so, not a request.
    """

    folder: str = ""
    signed: tuple[str, ...] = ()
    is_trusted: bool = False


@dataclass(frozen=True)
class PlacedFile:
    """A file that is stored: the URL to show, and the one it was put to, "" where it cannot be taken back."""

    url: str
    target: str = ""


def read_output_path(value: Any, *, is_trusted: bool = False) -> OutputPath:
    """Read a URL or a list of presigned ones. Raises DestinationError."""
    if isinstance(value, list):
        if not value or len(value) > MAX_URLS:
            raise DestinationError(f"A list has 1 to {MAX_URLS} URLs to PUT to")
        for index, url in enumerate(value):
            if not isinstance(url, str) or not re.match("https?://", url, re.IGNORECASE) or len(url) > _MAX_URL_CHARS:
                raise DestinationError("This should be an http or https URL to PUT to", (index,))
        return OutputPath(signed=tuple(value), is_trusted=is_trusted)
    if not isinstance(value, str) or len(value) > _MAX_URL_CHARS:
        raise DestinationError("This should be a URL, or a list of URLs to PUT to")
    scheme = scheme_of(value)
    if scheme not in _SCHEMES or ":" not in value:
        raise DestinationError("This should be a URL of " + ", ".join(each + ":" for each in _SCHEMES))
    for field in _FIELD.findall(value):
        if field not in ("id", "name"):
            raise DestinationError(f"{{{field}}} means nothing here; {{id}} and {{name}} do")
    if scheme != "file" and not _HOST.match(value):
        raise DestinationError("This should be a URL with a host, or a bucket, before anything that differs")
    try:
        check_form(_filled(value, "id", "name"))
    except TransferError as error:
        raise DestinationError(str(error)) from error
    return OutputPath(folder=value, is_trusted=is_trusted)


class Destination:
    """Puts the files of one prediction where `path` says; it knows which names that prediction has taken."""

    def __init__(self, path: OutputPath, schemes: Schemes, prediction_id: str, *, total_s: float | None) -> None:
        self._path = path
        self._schemes = schemes
        self._id = prediction_id
        self._total_s = total_s
        self._taken: set[str] = set()
        self._next_signed = 0

    def check(self) -> None:
        """Raise TransferError if nothing could be put there, as far as that can be said without asking."""
        if not self._path.is_trusted:
            for url in self._path.signed or (self._url("name"),):
                self._schemes.check(url)

    def reserve(self, name: str) -> str:
        """The place for the next file, as `put` takes it; called in the order of the files. Raises TransferError."""
        if self._path.signed:
            self._next_signed += 1
            if self._next_signed > len(self._path.signed):
                raise TransferError(f"there are more files than the {len(self._path.signed)} URLs of `output_path`")
            return self._path.signed[self._next_signed - 1]
        return self._free(name)

    async def put(self, place: str, file: OutgoingFile) -> PlacedFile:
        """Put a file to its place, or if that is taken, to one like it. Raises TransferError."""
        if self._path.signed:
            web = self._schemes.web(place, is_trusted=self._path.is_trusted)
            return PlacedFile(await self._try(partial(web.put_signed, place, file)))
        name = place
        while True:
            url = self._url(name)
            sink = self._schemes.sink(self._path.folder, is_trusted=self._path.is_trusted)
            try:
                return PlacedFile(await self._try(partial(sink.put, url, file)), url)
            except NameTaken:
                # By another prediction, or by somebody else.
                name = self._free(file.name)

    async def take_back(self, placed: PlacedFile) -> None:
        """Delete what was put, if that can be done. Raises TransferError."""
        if placed.target:
            sink = self._schemes.sink(self._path.folder, is_trusted=self._path.is_trusted)
            await sink.delete(placed.target)

    async def _try(self, put: Callable[[], Awaitable[str]]) -> str:
        return await three_times(put, total_s=self._total_s)

    def _free(self, name: str) -> str:
        for number in range(_MAX_NAMESAKES):
            candidate = numbered(name, number)
            if candidate not in self._taken:
                self._taken.add(candidate)
                return candidate
        raise TransferError(f"there are {_MAX_NAMESAKES} files called {name} already")

    def _url(self, name: str) -> str:
        return _filled(self._path.folder, self._id, name)


def _filled(folder: str, prediction_id: str, name: str) -> str:
    """The URL of a file. Id and name are letters, digits, `.`, `-` and `_`: no scheme reads more in them."""
    base, question, query = folder.partition("?") if folder[:4].lower() == "http" else (folder, "", "")
    if "{name}" not in base:
        base += "{name}" if base.endswith("/") else "/{name}"
    return base.replace("{id}", prediction_id).replace("{name}", name) + question + query

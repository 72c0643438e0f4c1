"""`IndexClient`: what a package index serves, asked over HTTP with limits, and remembered for a day."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import httpx

from cog_cli.compat.remote_file import RemoteFile
from cog_cli.requirements.lines import ARCHIVES

MAX_PAGE_BYTES = 32 << 20  # the largest of the packages in question has 0.5 MB
MAX_METADATA_BYTES = 1 << 20
CACHE_S = 24 * 3600.0
_CONNECT_S = 1.0
_MAX_CACHED_FILES = 200
_MAX_RANGES = 24  # 6 MB: the directory of a large wheel has 2 MB
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class IndexUnreachable(Exception):
    """The index did not give a usable answer in time."""


class NotThere(Exception):
    """The index answered that it does not have this."""


@dataclass(frozen=True)
class IndexFile:
    """A file of a package, as the index lists it (PEP 691, PEP 503)."""

    name: str
    url: str
    requires_python: str = ""
    is_yanked: bool = False
    has_metadata: bool | None = None  # a METADATA file lies beside it (PEP 658); None if the index does not say
    size_bytes: int | None = None


class IndexClient:
    """One index. `deadline` is a `time.monotonic()`: nothing goes on after it. Safe to use from several threads."""

    def __init__(self, url: str, *, deadline: float, cache: Path | None) -> None:
        self.url = url.rstrip("/") + "/"
        self._deadline = deadline
        self._cache = cache
        try:
            self._http = httpx.Client(
                timeout=httpx.Timeout(_remaining(deadline), connect=min(_CONNECT_S, _remaining(deadline))),
                follow_redirects=True,
            )
        except (OSError, ValueError, ImportError, httpx.InvalidURL) as error:
            # A certificate file or a proxy in the environment that httpx cannot use.
            raise IndexUnreachable(str(error)) from error

    def files(self, package: str) -> tuple[IndexFile, ...]:
        """Every file of a package. Raises IndexUnreachable or NotThere."""
        url = f"{self.url}{package}/"
        body = self._get(url, MAX_PAGE_BYTES, {"Accept": _ACCEPT}, is_usable=lambda body: bool(_parse(body, url)))
        return _parse(body, url)

    def metadata(self, file: IndexFile) -> str:
        """METADATA of a wheel: the file beside it, or the member of the wheel. Raises IndexUnreachable or NotThere."""
        if file.has_metadata is not False:
            try:
                url = f"{file.url}.metadata"
                body = self._get(url, MAX_METADATA_BYTES, {}, is_usable=lambda body: b"Metadata-Version:" in body)
                return body.decode("utf-8", "replace")
            except NotThere:
                pass
        return self._member(file).decode("utf-8", "replace")

    def _member(self, file: IndexFile) -> bytes:
        """Read METADATA out of the wheel by ranges: mirrors may not have the file beside it."""
        if file.size_bytes is None:
            raise NotThere(file.name)
        if (kept := self._cached(file.url)) is not None:
            return kept
        reads = 0

        def read(first: int, last: int) -> bytes:
            nonlocal reads
            reads += 1
            if reads > _MAX_RANGES:
                raise IndexUnreachable(f"{file.name}: its directory is too large")
            return self._fetch(file.url, last - first + 1, {"Range": f"bytes={first}-{last}"})

        try:
            with zipfile.ZipFile(io.BufferedReader(RemoteFile(file.size_bytes, read), 64 * 1024)) as wheel:
                for item in wheel.infolist():
                    if re.fullmatch(r"[^/]+\.dist-info/METADATA", item.filename):
                        if item.file_size > MAX_METADATA_BYTES:
                            break
                        body = wheel.read(item)
                        self._keep(file.url, body)
                        return body
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error) as error:
            raise IndexUnreachable(f"{file.name}: {error}") from error
        raise NotThere(file.name)

    # --- one request ----------------------------------------------------------------------------------------------

    def _get(self, url: str, max_bytes: int, headers: dict[str, str], *, is_usable: Callable[[bytes], bool]) -> bytes:
        kept = self._cached(url)
        if kept is not None and len(kept) <= max_bytes and _is(is_usable, kept):
            return kept
        body = self._fetch(url, max_bytes, headers)
        if _is(is_usable, body):
            self._keep(url, body)
        return body

    def _fetch(self, url: str, max_bytes: int, headers: dict[str, str]) -> bytes:
        body = bytearray()
        try:
            with self._http.stream("GET", url, headers=headers) as answer:
                if answer.status_code in (404, 410):
                    raise NotThere(url)
                answer.raise_for_status()
                for chunk in answer.iter_bytes():
                    body += chunk
                    if len(body) > max_bytes:
                        raise IndexUnreachable(f"{_host(url)} sent more than {max_bytes} bytes")
                    _remaining(self._deadline)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise IndexUnreachable(f"{_host(url)}: {error}") from error
        return bytes(body)

    # --- the cache: files named by the hash of their URL, which may hold a password -------------------------------

    def _cached(self, url: str) -> bytes | None:
        path = self._path(url)
        try:
            if path is None or not 0 <= time.time() - path.stat().st_mtime < CACHE_S:
                return None
            return path.read_bytes()
        except OSError:
            return None

    def _keep(self, url: str, body: bytes) -> None:
        path = self._path(url)
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=path.parent.parent) as folder:
                file = Path(folder, path.name)
                file.write_bytes(body)
                os.replace(file, path)
            files = sorted(path.parent.iterdir(), key=lambda item: item.stat().st_mtime)
            for old in files[:-_MAX_CACHED_FILES]:
                old.unlink()
        except OSError:
            pass  # a full disk or a folder that cannot be written costs a question, no more

    def _path(self, url: str) -> Path | None:
        return self._cache / hashlib.sha256(url.encode()).hexdigest() if self._cache else None


def _remaining(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise IndexUnreachable("the time is up")
    return left


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _is(check: Callable[[bytes], bool], body: bytes) -> bool:
    try:
        return check(body)
    except IndexUnreachable:
        return False


# --- pages ------------------------------------------------------------------------------------------------------------


def _parse(body: bytes, url: str) -> tuple[IndexFile, ...]:
    """The files of a page, JSON or HTML. Raises IndexUnreachable if it is neither."""
    if body.lstrip()[:1] == b"{":
        return _parse_json(body, url)
    page = _Page(url)
    page.feed(body.decode("utf-8", "replace"))
    if not page.files:
        raise IndexUnreachable(f"{_host(url)} answered with something that is not a page of an index")
    return tuple(page.files)


def _parse_json(body: bytes, url: str) -> tuple[IndexFile, ...]:
    try:
        return tuple(
            IndexFile(
                name=str(file["filename"]),
                url=urljoin(url, str(file["url"])),
                requires_python=str(file.get("requires-python") or ""),
                is_yanked=bool(file.get("yanked")),
                has_metadata=_truth(file.get("core-metadata", file.get("dist-info-metadata"))),
                size_bytes=size if isinstance(size := file.get("size"), int) else None,
            )
            for file in json.loads(body)["files"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise IndexUnreachable(f"{_host(url)} answered with something that is not a page of an index") from error


def _truth(value: object) -> bool | None:
    return None if value is None else bool(value)


class _Page(HTMLParser):
    """The links of a PEP 503 page."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.files: list[IndexFile] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag != "a" or not values.get("href"):
            return
        url = urldefrag(urljoin(self.url, values["href"] or "")).url
        metadata = values.get("data-core-metadata", values.get("data-dist-info-metadata"))
        name = urlsplit(url).path.rpartition("/")[2]
        if not name.endswith(ARCHIVES):  # a link of another page, such as a login
            return
        self.files.append(
            IndexFile(
                name=name,
                url=url,
                requires_python=values.get("data-requires-python") or "",
                is_yanked="data-yanked" in values,
                has_metadata=None if metadata is None else metadata != "false",
            )
        )

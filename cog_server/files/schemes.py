"""`Schemes`: which module reads and writes the URLs of which scheme. A new scheme is one module and its lines here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from cog_server.files.clouds.urls import parse_cloud_url
from cog_server.files.huggingface import HubFiles, endpoint_of
from cog_server.files.local import LocalFiles, path_of
from cog_server.files.roots import FileRoots
from cog_server.files.transfer import Sink, Source, TransferError
from cog_server.files.web import WebFiles, check_web_url
from cog_server.network.addresses import AddressPolicy

T = TypeVar("T")
CLOUDS = ("s3", "gs", "gcs", "az", "abfs", "abfss")
_MAX_SCHEME_CHARS = 64
SCHEMES = ("data", "http", "https", "file", "hf", *CLOUDS)


# docs/decisions/027-trust-by-who-names-it.md
@dataclass(frozen=True)
class SchemeOptions:
    """`roots` and `policy` bind what requests name, not the operator. `sign_s`: for how long URLs are signed."""

    environment: Mapping[str, str]
    policy: AddressPolicy
    roots: FileRoots
    read_s: float | None
    sign_s: int | None


def scheme_of(url: str) -> str:
    """The scheme of a URL in lower case; "" if it has none. Not by partition(), which copies the rest, a file maybe."""
    return url[: max(url.find(":", 0, _MAX_SCHEME_CHARS), 0)].lower()


def check_form(url: str) -> None:
    """Raise TransferError if this is not how URLs of its scheme are written."""
    scheme = scheme_of(url)
    if scheme in ("http", "https"):
        check_web_url(url)
    elif scheme == "file":
        path_of(url)
    elif scheme in CLOUDS:
        parse_cloud_url(url)


class Schemes:
    """The sources and sinks of one server, each made when it is first needed."""

    def __init__(self, options: SchemeOptions) -> None:
        self._options = options
        self._made: dict[str, Any] = {}

    def source(self, scheme: str) -> Source:
        """What reads URLs of a scheme, in lower case, that a request named. Raises TransferError."""
        if scheme == "hf":
            return self._make("hub", self._hub)
        source: Source | None = self._known(scheme)
        if source is None:
            raise TransferError(
                f"scheme not allowed: {scheme[:20]}: URLs are not supported; these are: {', '.join(SCHEMES)}"
            )
        return source

    def sink(self, url: str, *, is_trusted: bool) -> Sink:
        """What writes to a URL, or to those that it is the pattern of. Raises TransferError.

        `is_trusted` means that the operator named it, not a request.
        """
        scheme = scheme_of(url)
        if scheme in ("http", "https"):
            return self.web(url, is_trusted=is_trusted)
        if is_trusted and scheme == "file":
            return self._make(f"folder {path_of(url)}", lambda: LocalFiles([_folder_of(url)]))
        known: Sink | None = self._known(scheme)
        if known is None:
            raise TransferError(f"scheme not allowed: outputs cannot be put to {scheme[:20]}: URLs")
        return known

    def web(self, url: str, *, is_trusted: bool) -> WebFiles:
        """What writes to an http(s) URL; the operator's may be at an address that is not public."""
        options = self._options
        if not is_trusted:
            return self._make("web", lambda: WebFiles(options.policy, read_s=options.read_s))
        policy = options.policy.with_host(url)
        return self._make(f"web {urlsplit(url).netloc}", lambda: WebFiles(policy, read_s=options.read_s))

    def check(self, url: str) -> None:
        """Raise TransferError if a request may not name this URL, as far as can be said without asking anybody."""
        check_form(url)
        scheme = scheme_of(url)
        if scheme == "file":
            LocalFiles(self._options.roots.folders).check(url)
        elif scheme in CLOUDS and not self._options.roots.allow_cloud(url):
            raise TransferError("outside the allowed places (COG_FILE_ROOTS names them)")

    async def close(self) -> None:
        """Give all connections back."""
        for each in self._made.values():
            await each.close()

    def _known(self, scheme: str) -> Any:
        """What both reads and writes."""
        options = self._options
        if scheme in ("http", "https"):
            return self.web("", is_trusted=False)
        if scheme == "file":
            return self._make("file", lambda: LocalFiles(options.roots.folders))
        if scheme in CLOUDS:
            return self._make("clouds", self._clouds)
        return None

    def _hub(self) -> HubFiles:
        options = self._options
        policy = options.policy.with_host(endpoint_of(options.environment))
        return HubFiles(WebFiles(policy, read_s=options.read_s), options.environment)

    def _make(self, key: str, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    def _clouds(self) -> Any:
        # Only who uses a cloud pays for its library: 16 MB, and threads of its own.
        # docs/decisions/026-obstore-for-the-clouds.md
        module = importlib.import_module("cog_server.files.clouds.storage")
        return module.CloudStorage(self._options.environment, sign_s=self._options.sign_s)


def _folder_of(url: str) -> Path:
    """The operator's own folder: what is before the first thing that differs between predictions."""
    path, field, _ = path_of(url).partition("{")
    return Path(path.rpartition("/")[0] or "/") if field else Path(path)

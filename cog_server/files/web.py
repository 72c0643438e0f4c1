"""`WebFiles`: files of http and https, read with GET and written with PUT."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from email.message import Message
from typing import Any
from urllib.parse import unquote

import httpx

from cog_server.files.transfer import CHUNK, NameTaken, NotModified, Opened, OutgoingFile, TransferError
from cog_server.network.addresses import AddressPolicy, is_metadata_name
from cog_server.network.outgoing import AddressRefused, Resolve, open_transport

MAX_REDIRECTS = 5
CONNECT_S = 5.0
# A store may need a while for the end of a large file.
_ANSWER_S = 60.0
_MAX_ANSWER_BYTES = 1 << 16
_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECTS_OF_FILES = (307, 308)
# Statuses after which another try may go better (RFC 9110, RFC 6585).
_PASSING = (429, 500, 502, 503, 504)
# There is such a file already, says a server that knows `If-None-Match: *` (RFC 9110; S3 also answers 409).
_TAKEN = (409, 412)
_AZURE = ".blob.core.windows.net"
_SCHEMES = ("http", "https")
# For so long connections wait for more work.
_IDLE_S = 3.0
_NAME = re.compile(r"[a-z0-9_]([a-z0-9._-]*[a-z0-9_.])?")
_MAX_NAME_CHARS = 254
_IPV6 = re.compile(r"[0-9a-f:.]+")
# A host whose last part is a number is an address and no name (WHATWG).
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")
# Control characters, space and backslash: two readers of a URL understand them differently.
_ODD = re.compile(r"[\x00-\x20\x7f\\]")

Headers = Mapping[str, str]


class WebFiles:
    """Connects only where `policy` allows, redirects included. `read_s`: how long a server may send nothing."""

    def __init__(self, policy: AddressPolicy, *, read_s: float | None = 10.0, resolve: Resolve | None = None) -> None:
        self._policy = policy
        self._read_s = read_s
        self._resolve = resolve
        self._client: httpx.AsyncClient | None = None
        self._transport: httpx.AsyncBaseTransport | None = None
        self._users = 0
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    @contextlib.asynccontextmanager
    async def open(self, url: str, *, etag: str | None = None, headers: Headers | None = None) -> AsyncIterator[Opened]:
        """Read a file. `headers` go to the URL's own origin only, as does a name and password in the URL."""
        given = {**_authorization(url), **(headers or {})}
        with self._in_use():
            response = await self._follow(_parse(url), given, {"If-None-Match": etag} if etag else {})
            try:
                if response.status_code == 304 and etag is not None:
                    raise NotModified
                if not response.is_success:
                    raise _refusal(response)
                yield _opened(response)
            finally:
                await response.aclose()

    async def put(self, url: str, file: OutgoingFile) -> str:
        """Write a new file. Gives what `Location` says, if that is at the same site, or the URL without its query."""
        return await self._put(url, file, {"If-None-Match": "*"})

    async def put_signed(self, url: str, file: OutgoingFile) -> str:
        """Write a file to a presigned URL: that allows what was signed and no more, so nothing else is asked."""
        return await self._put(url, file, {})

    async def delete(self, url: str) -> None:
        """Ask for the file's deletion; a server may not know that."""
        with self._in_use():
            response = await self._send("DELETE", _parse(url), _authorization(url))
            await response.aclose()

    async def close(self) -> None:
        """Give the connections back."""
        if self._timer is not None:
            self._timer.cancel()
        if self._client is not None:
            await self._client.aclose()

    async def _put(self, url: str, file: OutgoingFile, conditions: Headers) -> str:
        with self._in_use():
            response, target = await self._send_file(url, file, conditions)
            try:
                if response.status_code in _TAKEN and conditions:
                    raise NameTaken
                if response.status_code in _REDIRECTS:
                    raise TransferError(
                        f"{target.host} answered {response.status_code}, which does not say where the file is to go: "
                        "an upload is redirected with 307 or 308 and a Location"
                    )
                if not response.is_success:
                    raise _refusal(response)
                await _skip(response)
                return _place_of(response, target)
            finally:
                await response.aclose()

    async def _send_file(self, url: str, file: OutgoingFile, conditions: Headers) -> tuple[httpx.Response, httpx.URL]:
        """The answer, and where it came from. Another host than the first gets neither its password nor conditions:
        a presigned URL allows what was signed and no more.
        """
        first = target = _parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Content-Type": file.media_type, "Content-Length": str(file.size)}
            if _origin(target) == _origin(first):
                headers.update({**_authorization(url), **conditions})
            if target.host.endswith(_AZURE):
                headers["x-ms-blob-type"] = "BlockBlob"
            response = await self._send("PUT", target, headers, content=file.chunks() if file.size else b"")
            if response.status_code not in _REDIRECTS_OF_FILES or "location" not in response.headers:
                return response, target
            await response.aclose()
            target = _redirected(target, response.headers["location"])
        raise TransferError(f"{target.host} redirects more than {MAX_REDIRECTS} times")

    async def _follow(self, url: httpx.URL, secret: Headers, plain: Headers) -> httpx.Response:
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send("GET", url, {**plain, **(secret if _origin(url) == origin else {})})
            if response.status_code not in _REDIRECTS or "location" not in response.headers:
                return response
            # Unread: its body may be without end.
            await response.aclose()
            url = _redirected(url, response.headers["location"])
        raise TransferError(f"{url.host} redirects more than {MAX_REDIRECTS} times")

    async def _send(self, method: str, url: httpx.URL, headers: Headers, *, content: Any = None) -> httpx.Response:
        if is_metadata_name(url.host):
            raise TransferError(f"address not allowed: {url.host} is no public host")
        # For a file that is sent the answer comes only when all of it is stored.
        read_s = self._read_s if content is None or self._read_s is None else max(self._read_s, _ANSWER_S)
        timeout = httpx.Timeout(read_s, connect=CONNECT_S)
        request = self._http().build_request(method, url, headers=headers, content=content, timeout=timeout)
        try:
            return await self._http().send(request, stream=True, auth=None)
        except AddressRefused as error:
            raise TransferError(f"address not allowed: {error}") from error
        except httpx.InvalidURL as error:
            # httpx reads the Location of an answer, whoever follows it.
            raise TransferError(f"{url.host} redirects to what is no URL") from error
        except httpx.HTTPError as error:
            raise _failure(error, url.host) from error

    @contextlib.contextmanager
    def _in_use(self) -> Iterator[None]:
        """Close the connections soon after the last use: by itself httpx closes idle ones at the next request only."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_later(_IDLE_S, self._close_idle)

    def _close_idle(self) -> None:
        if self._transport is not None and not self._users:
            # The transport makes new ones when it is asked; to make another transport would read all certificates.
            self._closing = asyncio.ensure_future(self._transport.aclose())

    def _http(self) -> httpx.AsyncClient:
        if self._client is None:
            self._transport = open_transport(self._policy, resolve=self._resolve)
            self._client = httpx.AsyncClient(
                transport=self._transport,
                headers={"Accept-Encoding": "identity", "Accept": "*/*", "User-Agent": "cog"},
                trust_env=False,
            )
        return self._client


def check_web_url(url: str) -> None:
    """Raise TransferError if this is no http(s) URL that we would use."""
    _parse(url)


def _parse(url: str) -> httpx.URL:
    """The URL without name and password. What two readers might understand differently is refused."""
    if _ODD.search(url):
        raise TransferError("address not allowed: the URL has a space, a control character or a backslash")
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise TransferError("address not allowed: the URL names no host that can be understood") from error
    if parsed.scheme not in _SCHEMES:
        raise TransferError(f"scheme not allowed: {parsed.scheme}: is neither http nor https")
    if not _is_host(parsed.raw_host.decode("ascii", "replace").lower().strip("[]"), url):
        raise TransferError("address not allowed: the URL names no host that can be understood")
    if parsed.port is not None and not 0 < parsed.port < 1 << 16:
        raise TransferError("address not allowed: a port is a number from 1 to 65535")
    return parsed.copy_with(username=None, password=None, fragment=None)


def _is_host(host: str, url: str) -> bool:
    if ":" in host:
        return _IPV6.fullmatch(host) is not None
    if not _NAME.fullmatch(host) or len(host) > _MAX_NAME_CHARS:
        return False
    if not _NUMBER.fullmatch(host):
        return True
    try:
        socket.inet_aton(host)
    except OSError:
        return False
    # Not in digits and dots of other scripts: whoever writes these has an address to hide.
    return host in url.lower()


def _authorization(url: str) -> dict[str, str]:
    _parse(url)
    user = httpx.URL(url).userinfo
    if not user:
        return {}
    name, _, password = user.decode("ascii", "replace").partition(":")
    text = f"{unquote(name)}:{unquote(password)}"
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    try:
        joined = str(url.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise TransferError(f"{url.host} redirects to what is no URL") from error
    target = _parse(joined)
    if url.scheme == "https" and target.scheme == "http":
        raise TransferError(f"{url.host} redirects from https to http")
    return target


def _refusal(response: httpx.Response) -> TransferError:
    status = response.status_code
    return TransferError(f"{response.request.url.host} answered {status}", is_passing=status in _PASSING)


def _failure(error: httpx.HTTPError, host: str) -> TransferError:
    """What went wrong, in words of our own: the library's name addresses."""
    if isinstance(error, httpx.ConnectTimeout):
        return TransferError(f"{host} cannot be reached within {CONNECT_S:g} seconds")
    if isinstance(error, httpx.TimeoutException):
        return TransferError(f"{host} took too long: nothing came within the time for reading (COG_FILE_READ_TIMEOUT)")
    if isinstance(error, httpx.ConnectError):
        text = str(error).lower()
        if "certificate" in text or "ssl" in text or "tls" in text:
            return TransferError(f"the TLS connection to {host} failed: its certificate is not trusted")
        if "name" in text and "known" in text:
            return TransferError(f"the name {host} is not known")
        return TransferError(f"{host} cannot be reached")
    # A reset, or an end before the end.
    return TransferError(f"the connection to {host} broke", is_passing=True)


def _opened(response: httpx.Response) -> Opened:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    length = response.headers.get("content-length", "")
    is_plain = encoding in ("", "identity")
    return Opened(
        name=_attachment_name(response) or unquote(response.url.path).rpartition("/")[2],
        media_type=response.headers.get("content-type"),
        size=int(length) if is_plain and length.isascii() and length.isdigit() else None,
        etag=response.headers.get("etag"),
        chunks=_chunks(response, None if is_plain else encoding),
    )


def _attachment_name(response: httpx.Response) -> str:
    header = Message()
    header["content-disposition"] = response.headers.get("content-disposition", "")
    try:
        return header.get_filename("") or ""
    except (LookupError, ValueError, TypeError):
        return ""  # A charset that nobody knows, or worse.


async def _chunks(response: httpx.Response, encoding: str | None) -> AsyncIterator[bytes]:
    host = response.request.url.host
    inflater = _Inflater(encoding, host) if encoding is not None else None
    try:
        async for raw in response.aiter_raw(CHUNK):
            for piece in inflater.inflate(raw) if inflater is not None else (raw,):
                yield piece
    except zlib.error as error:
        raise TransferError(f"{host} sent what is not {encoding}") from error
    except httpx.HTTPError as error:
        raise _failure(error, host) from error
    if inflater is not None and not inflater.is_whole:
        raise TransferError(f"the connection to {host} broke", is_passing=True)


class _Inflater:
    """Unpacks gzip, of which one part may follow another, and deflate."""

    def __init__(self, encoding: str, host: str) -> None:
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise TransferError(f"{host} sent an encoding that was not asked for: {encoding[:20]}")
        self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._is_empty = True

    @property
    def is_whole(self) -> bool:
        """Whether what came has come to its end."""
        return self._unpacker.eof or self._is_empty

    def inflate(self, raw: bytes) -> Iterator[bytes]:
        """In pieces of bounded size: a few bytes may inflate to a thousand times as many."""
        self._is_empty = self._is_empty and not raw
        piece = b""
        # A full piece may have more behind it, though all the bytes are used up.
        while raw or (len(piece) == CHUNK and not self._unpacker.eof):
            if self._unpacker.eof:
                self._unpacker = zlib.decompressobj(zlib.MAX_WBITS | 32)
            piece = self._unpacker.decompress(raw, CHUNK)
            raw = self._unpacker.unconsumed_tail or self._unpacker.unused_data
            if piece:
                yield piece


async def _skip(response: httpx.Response) -> None:
    """Read what little an answer says, so that the connection can serve again."""
    read = 0
    with contextlib.suppress(httpx.HTTPError):
        async for chunk in response.aiter_raw():
            read += len(chunk)
            if read > _MAX_ANSWER_BYTES:
                return


def _place_of(response: httpx.Response, target: httpx.URL) -> str:
    """Where the file is now: `Location` counts at the same site, that is the same host, or one below the other."""
    shown = target.copy_with(query=None)
    location = response.headers.get("location")
    if location is None:
        return str(shown)
    try:
        found = _parse(str(target.join(location)))
    except (TransferError, httpx.InvalidURL, ValueError):
        return str(shown)
    is_downgrade = target.scheme == "https" and found.scheme == "http"
    return str(found) if _is_same_site(found.host, target.host) and not is_downgrade else str(shown)


def _is_same_site(one: str, other: str) -> bool:
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    return "." in short.strip(".") and not short.replace(".", "").isdigit() and long.endswith("." + short)

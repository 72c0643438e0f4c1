"""`CloudStorage`: files in S3, Google Cloud Storage and Azure Blob Storage, by their URLs.

To be imported when the first such URL comes: obstore costs 20 ms and 5 MB, and then starts threads of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast

import certifi
import obstore
from obstore.exceptions import AlreadyExistsError, NotModifiedError
from obstore.store import AzureStore, GCSStore, S3Store

from cog_server.files.clouds.errors import explain, ignores_preconditions
from cog_server.files.clouds.machine import DMI, machine_cloud
from cog_server.files.clouds.settings import StoreSettings, settle_store
from cog_server.files.clouds.urls import CloudLocation, parse_cloud_url
from cog_server.files.transfer import CHUNK, NameTaken, NotModified, Opened, OutgoingFile, TransferError

if TYPE_CHECKING:
    from obstore import Attributes, PutResult
    from obstore.store import (
        AzureConfig,
        AzureCredentialProvider,
        ClientConfig,
        GCSConfig,
        GCSCredentialProvider,
        RetryConfig,
        S3Config,
        S3CredentialProvider,
    )

_PART = 8 << 20
# Of 10 000 that the clouds allow, with something to spare.
_MAX_PARTS = 9000
_PARTS_AT_ONCE = 4
_MAX_BUCKETS = 64
_MAX_SIGN_S = 7 * 24 * 3600
_ABORT_S = 5.0
_HEADER = re.compile(r"[\x20-\x7e]+")
_SIGNABLE = re.compile(r"[A-Za-z0-9._~/-]+")
_RETRY: RetryConfig = {
    "max_retries": 2,
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=1), "base": 2},
}
_Store = S3Store | GCSStore | AzureStore


class CloudStorage:
    """A source and a sink for `s3:`, `gs:`, `gcs:`, `az:`, `abfs:` and `abfss:` URLs.

    Endpoints and credentials are those of `environment`, by the names that each cloud gives them; it is the process's
    own or holds it. With `sign_s`, `put` gives URLs that anyone can read for so many seconds, seven days at most.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        sign_s: int | None = None,
        connect_timeout_s: float = 5.0,
        read_timeout_s: float = 10.0,
        put_timeout_s: float = 60.0,
        dmi: Path = DMI,
    ) -> None:
        """The timeouts are for silence, none for a whole file; `put_timeout_s` for a part to go out and be answered."""
        if sign_s is not None and not 0 < sign_s <= _MAX_SIGN_S:
            raise ValueError(f"URLs can be signed for 1 to {_MAX_SIGN_S} seconds, not {sign_s}")
        self._environment = environment
        self._sign_s = sign_s
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        self._put_timeout_s = put_timeout_s
        self._dmi = dmi
        self._buckets: OrderedDict[tuple[str, str, str | None, bool], _Bucket] = OrderedDict()
        self._aborting: set[asyncio.Task[PutResult]] = set()

    @contextlib.asynccontextmanager
    async def open(self, url: str, *, etag: str | None = None) -> AsyncIterator[Opened]:
        """Open an object. See `Source.open`."""
        location = parse_cloud_url(url)
        bucket = self._bucket(location)
        with bucket.explaining(location):
            result = await obstore.get_async(
                bucket.store,
                location.key,
                options={"if_none_match": etag} if etag and _HEADER.fullmatch(etag) else {},
            )
        chunks = _read(result, bucket, location)
        try:
            yield Opened(
                name=location.name,
                media_type=result.attributes.get("Content-Type"),
                size=result.meta["size"],
                etag=result.meta["e_tag"],
                chunks=chunks,
            )
        finally:
            # The connection goes with the stream, and the stream with its last reference.
            await chunks.aclose()

    async def put(self, url: str, file: OutgoingFile) -> str:
        """Put a file where there is none, and give the URL, or a signed one. See `Sink.put`.

        Up to 8 MiB the store itself sees to it that nothing is overwritten. For more it is asked before, and the last
        of two that come at once wins.
        """
        location = parse_cloud_url(url)
        bucket = self._bucket(location, is_put=True)
        # Before the work: credentials that cannot sign are no reason to leave a file behind.
        await self._shown_url(bucket, location)
        if file.size <= _PART:
            await self._put_whole(bucket, location, file)
        else:
            await self._put_parts(bucket, location, file)
        return await self._shown_url(bucket, location)

    async def delete(self, url: str) -> None:
        """Delete an object; one that is not there is no error.

        `url` is the one that `put` was called with: of a signed one nothing is known here.
        """
        location = parse_cloud_url(url)
        bucket = self._bucket(location)
        with bucket.explaining(location), contextlib.suppress(FileNotFoundError):
            await obstore.delete_async(bucket.store, location.key)

    async def close(self) -> None:
        """Give the connections back, after a last chance for uploads that are being aborted."""
        if self._aborting:
            await asyncio.wait(self._aborting, timeout=_ABORT_S)
        self._buckets.clear()

    async def _put_whole(self, bucket: _Bucket, location: CloudLocation, file: OutgoingFile) -> None:
        content = b"".join([chunk async for chunk in file.chunks()])
        attributes = _attributes(file)
        if bucket.has_preconditions:
            try:
                with bucket.explaining(location):
                    await obstore.put_async(bucket.store, location.key, content, mode="create", attributes=attributes)
                    return
            except _PreconditionsIgnored:
                bucket.has_preconditions = False
        await self._check_is_free(bucket, location)
        with bucket.explaining(location):
            await obstore.put_async(bucket.store, location.key, content, use_multipart=False, attributes=attributes)

    async def _put_parts(self, bucket: _Bucket, location: CloudLocation, file: OutgoingFile) -> None:
        await self._check_is_free(bucket, location)
        is_canceled = asyncio.Event()
        uploading = asyncio.ensure_future(
            obstore.put_async(
                bucket.store,
                location.key,
                _until(is_canceled, file.chunks()),
                attributes=_attributes(file),
                use_multipart=True,
                chunk_size=max(_PART, -(-file.size // _MAX_PARTS)),
                max_concurrency=_PARTS_AT_ONCE,
            )
        )
        try:
            with bucket.explaining(location):
                await asyncio.shield(uploading)
        except asyncio.CancelledError:
            # obstore aborts an upload whose content fails, but not one that is canceled: the parts would stay, unseen
            # and paid for.
            is_canceled.set()
            self._aborting.add(uploading)
            uploading.add_done_callback(self._forget)
            await asyncio.wait({uploading}, timeout=_ABORT_S)
            raise

    def _forget(self, uploading: asyncio.Task[PutResult]) -> None:
        self._aborting.discard(uploading)
        if not uploading.cancelled():
            uploading.exception()

    async def _check_is_free(self, bucket: _Bucket, location: CloudLocation) -> None:
        with bucket.explaining(location), contextlib.suppress(FileNotFoundError):
            await obstore.head_async(bucket.store, location.key)
            raise NameTaken(location.name)

    async def _shown_url(self, bucket: _Bucket, location: CloudLocation) -> str:
        if self._sign_s is None:
            return location.url
        if not bucket.settings.can_sign:
            reason = (
                "no credentials are set"
                if bucket.settings.is_anonymous
                else "the credentials are of a kind that cannot"
            )
            raise TransferError(f"{location.place}: the URL cannot be signed: {reason}")
        if location.kind != "s3" and not _SIGNABLE.fullmatch(location.key):
            # obstore 0.12 encodes the names wrongly here: Azure denies the URL, and Google may read another file by it.
            raise TransferError(f"{location.place}: the URL cannot be signed: its path is not plain letters and digits")
        with bucket.explaining(location):
            signed: str = await obstore.sign_async(bucket.store, "GET", location.key, timedelta(seconds=self._sign_s))
        return signed

    def _bucket(self, location: CloudLocation, *, is_put: bool = False) -> _Bucket:
        # Two of each: while a part goes out there is silence, for longer than a reader has patience.
        key = (location.kind, location.bucket, location.account, is_put)
        found = self._buckets.get(key)
        if found is None:
            settings = settle_store(location, self._environment, machine=machine_cloud(self._dmi))
            silence_s = self._put_timeout_s if is_put else self._read_timeout_s
            try:
                found = _Bucket(settings, self._new_store(location, settings, silence_s))
            except Exception:
                raise TransferError(f"{location.place}: the settings for the store are not valid") from None
            self._buckets[key] = found
            if len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return found

    def _new_store(self, location: CloudLocation, settings: StoreSettings, silence_s: float) -> _Store:
        client: ClientConfig = {
            "allow_http": settings.allows_http,
            "connect_timeout": timedelta(seconds=self._connect_timeout_s),
            "read_timeout": timedelta(seconds=silence_s),
            # Of the whole, its body included: 30 seconds if nothing is said, and it cannot be turned off.
            "timeout": timedelta(days=7),
        }
        authorities = _authorities(self._environment)
        if authorities:
            client["root_certificate"] = authorities
        provider = None if settings.credentials is None else _Given(settings.credentials)
        if location.kind == "s3":
            return S3Store(
                location.bucket,
                config=cast("S3Config", settings.options),
                client_options=client,
                retry_config=_RETRY,
                credential_provider=cast("S3CredentialProvider | None", provider),
            )
        if location.kind == "gcs":
            return GCSStore(
                location.bucket,
                config=cast("GCSConfig", settings.options),
                client_options=client,
                retry_config=_RETRY,
                credential_provider=cast("GCSCredentialProvider | None", provider),
            )
        return AzureStore(
            location.bucket,
            config=cast("AzureConfig", settings.options),
            client_options=client,
            retry_config=_RETRY,
            credential_provider=cast("AzureCredentialProvider | None", provider),
        )


@dataclass
class _Bucket:
    settings: StoreSettings
    store: _Store
    has_preconditions: bool = True

    @contextlib.contextmanager
    def explaining(self, location: CloudLocation) -> Iterator[None]:
        try:
            yield
        except NotModifiedError:
            raise NotModified from None
        except AlreadyExistsError:
            raise NameTaken(location.name) from None
        except (TransferError, NotModified, NameTaken, _Canceled):
            raise
        # Every other: a panic in obstore's own language is an Exception and no more.
        except Exception as error:
            if ignores_preconditions(error):
                raise _PreconditionsIgnored(f"{location.place}: the store answered 501") from None
            # Without its cause, which would be logged with it: URLs with signatures, keys, the store's own numbers.
            raise explain(
                error,
                place=location.place,
                endpoint=self.settings.endpoint,
                is_anonymous=self.settings.is_anonymous,
            ) from None


class _PreconditionsIgnored(TransferError):
    pass


class _Given:
    """What obstore asks for credentials."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._credentials = credentials

    def __call__(self) -> dict[str, str | None]:
        return {**self._credentials, "expires_at": None}


class _Canceled(Exception):
    pass


async def _until(is_canceled: asyncio.Event, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        if is_canceled.is_set():
            raise _Canceled
        yield chunk
    if is_canceled.is_set():
        raise _Canceled


def _attributes(file: OutgoingFile) -> Attributes:
    # obstore would panic at what cannot be in a header.
    return {"Content-Type": file.media_type} if _HEADER.fullmatch(file.media_type) else {}


async def _read(result: obstore.GetResult, bucket: _Bucket, location: CloudLocation) -> AsyncGenerator[bytes, None]:
    with bucket.explaining(location):
        async for chunk in result.stream(CHUNK):
            yield chunk


def _authorities(environment: Mapping[str, str]) -> str:
    """The certificates to trust beside the system's, as in `cog_server.network.outgoing`."""
    paths = [environment.get("SSL_CERT_FILE", ""), environment.get("COG_CA_CERT", "")]
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & environment.keys():
        paths.append(certifi.where())
    return "\n".join(Path(path).read_text(encoding="utf-8") for path in paths if os.path.isfile(path))

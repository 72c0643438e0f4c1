"""`Caller`: one try of one webhook call."""

from __future__ import annotations

import asyncio
import contextlib
import http
import ssl
import time

import anyio
import httpx

from cog.version import __version__
from cog.webhooks import sign
from cog_server.network.outgoing import AddressRefused, open_transport
from cog_server.network.retry_delays import read_retry_after
from cog_server.predictions.store.base import Message
from cog_server.settings import Settings
from cog_server.webhooks.retries import Answer, Verdict, judge

MAX_CALLS = 64

_CONNECT_S = 5.0
_IDLE_S = 5.0
_DRAIN_S = 1.0
_DRAIN_BYTES = 64 * 1024


class Caller:
    """Makes the calls, at most 64 at a time, with the signature and the token that the settings name.

    It speaks to the transport, not to an httpx client: that would follow cookies, redirects and credentials in URLs.
    """

    def __init__(self, settings: Settings) -> None:
        self.slots = asyncio.Semaphore(MAX_CALLS)
        self._secrets = settings.webhook_secrets
        self._timeout_s = settings.webhook_timeout_s
        self._headers = {"Content-Type": "application/json", "User-Agent": f"cog/{__version__}"}
        if settings.webhook_token is not None:
            self._headers["Authorization"] = f"Bearer {settings.webhook_token}"
        limits = httpx.Limits(max_connections=MAX_CALLS, max_keepalive_connections=MAX_CALLS, keepalive_expiry=_IDLE_S)
        self._transport = open_transport(settings.allow_private_urls, limits=limits)
        self._running = 0
        self._idle: asyncio.TimerHandle | None = None
        self._closing: asyncio.Task[None] | None = None

    async def call(self, message: Message, headers: tuple[tuple[str, str], ...]) -> Answer:
        """Try once, with the request's own `headers`; a slot is the caller's to hold."""
        self._running += 1
        try:
            # Not asyncio.wait_for: it cancels once, and httpx's connecting can lose that. A cancel scope insists.
            with anyio.fail_after(self._timeout_s):
                return await self._call(message, headers)
        except TimeoutError:
            return Answer(Verdict.RETRY, f"no answer in {self._timeout_s:g} seconds")
        except AddressRefused as error:
            return Answer(Verdict.GONE, str(error))
        except httpx.HTTPError as error:
            return Answer(Verdict.RETRY, _reason(error))
        finally:
            self._running -= 1
            self._rest_later()

    async def close(self) -> None:
        """Give the connections back."""
        if self._idle is not None:
            self._idle.cancel()
        await self._transport.aclose()

    def _rest_later(self) -> None:
        """The pool looks for connections that have expired at the next call only, which may be far away."""
        if self._idle is not None:
            self._idle.cancel()
        self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._rest)

    def _rest(self) -> None:
        if not self._running:
            self._closing = asyncio.create_task(self._transport.aclose())

    async def _call(self, message: Message, headers: tuple[tuple[str, str], ...]) -> Answer:
        timeouts = {"connect": min(_CONNECT_S, self._timeout_s), "read": None, "write": None, "pool": None}
        request = httpx.Request(
            "POST",
            message.url,
            headers={**self._headers, **dict(headers), **self._signature(message)},
            content=message.body,
            extensions={"timeout": timeouts},
        )
        response = await self._transport.handle_async_request(request)
        try:
            verdict = judge(response.status_code)
            retry_after_s = read_retry_after(response.headers.get("retry-after"), time.time())
            # The status says it all. What follows is only read so that the connection can be used again.
            with contextlib.suppress(httpx.HTTPError), anyio.move_on_after(_DRAIN_S):
                await _drain(response)
        finally:
            await response.aclose()
        return Answer(verdict, _status_text(response.status_code), retry_after_s)

    def _signature(self, message: Message) -> dict[str, str]:
        timestamp = int(time.time())
        headers = {"webhook-id": message.id, "webhook-timestamp": str(timestamp)}
        if self._secrets:
            signatures = [sign(secret, message.id, timestamp, message.body) for secret in self._secrets]
            headers["webhook-signature"] = " ".join(signatures)
        return headers


async def _drain(response: httpx.Response) -> None:
    size = 0
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:
        size += len(chunk)
        if size > _DRAIN_BYTES:
            return


def _status_text(status: int) -> str:
    with contextlib.suppress(ValueError):
        text = f"{status} {http.HTTPStatus(status).phrase}"
        return f"{text}; redirects are not followed" if 300 <= status < 400 else text
    return str(status)


def _reason(error: httpx.HTTPError) -> str:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the certificate is refused: {cause.verify_message}"
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__} {str(error)[:200]}".strip()

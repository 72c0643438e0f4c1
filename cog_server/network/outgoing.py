"""`open_transport`: the one way out for URLs that clients named. Every address is checked, then connected to.

The check sits in the connection pool's network backend, the layer below TLS: there a name becomes an address. It is
resolved once, every address of the answer is checked, and the connection goes to a checked address: a second answer of
the name server (DNS rebinding) has nothing left to change. TLS and the `Host` header above know only the name. To check
the URL's text, or to look the name up and let the connection look it up again, does not hold; to put the address into
the URL would need rules of its own for certificates. A redirect comes here like any other URL.

Where the environment names a proxy for the URL (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, less NO_PROXY), the proxy resolves
and connects, and what it may reach is its own affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any

import certifi
import httpcore
import httpx
from anyio.abc import SocketStream

# Not exported, but the only part of httpcore that makes a stream of its own out of one of anyio's.
from httpcore._backends.anyio import AnyIOStream

from cog_server.network.addresses import AddressPolicy, IPAddress

_MAX_LOOKUPS = 32
Resolve = Callable[[str, int], Awaitable[list[str]]]


class AddressRefused(Exception):
    """The policy does not allow an address that the host has. The text names the host, not the address."""


# docs/decisions/028-one-way-out.md
def open_transport(
    policy: AddressPolicy, *, limits: httpx.Limits | None = None, resolve: Resolve | None = None
) -> httpx.AsyncBaseTransport:
    """A transport for an httpx client that connects only where `policy` allows; otherwise it raises AddressRefused."""
    return _Transport(_CheckedBackend(policy, resolve or _Resolver()), limits or httpx.Limits())


class _Transport(httpx.AsyncBaseTransport):
    """Direct, or through the environment's proxy for the URL: a client that is given a transport asks for none."""

    def __init__(self, backend: httpcore.AsyncNetworkBackend, limits: httpx.Limits) -> None:
        self._limits = limits
        self._tls = _tls_context()
        self._direct = httpx.AsyncHTTPTransport(verify=self._tls, limits=limits)
        # httpx has no parameter for the backend; its transport is a thin coat around this pool.
        self._direct._pool = httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            max_connections=limits.max_connections,
            max_keepalive_connections=limits.max_keepalive_connections,
            keepalive_expiry=limits.keepalive_expiry,
            network_backend=backend,
        )
        self._proxied: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        proxy = _proxy_of(request.url)
        if proxy is None:
            return await self._direct.handle_async_request(request)
        if proxy not in self._proxied:
            self._proxied[proxy] = httpx.AsyncHTTPTransport(verify=self._tls, limits=self._limits, proxy=proxy)
        return await self._proxied[proxy].handle_async_request(request)

    async def aclose(self) -> None:
        await self._direct.aclose()
        for transport in self._proxied.values():
            await transport.aclose()


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, policy: AddressPolicy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        until = time.monotonic() + (60.0 if timeout is None else timeout)
        addresses = await self._checked(host, port, until - time.monotonic())
        problem: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for index, address in enumerate(addresses):
            # An address that does not answer leaves time for those behind it.
            share_s = max((until - time.monotonic()) / (len(addresses) - index), 0.01)
            try:
                return await _whole(_connect(address, port, share_s))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        assert problem is not None, host
        raise problem

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _checked(self, host: str, port: int, timeout_s: float) -> list[str]:
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), timeout_s)
        except asyncio.TimeoutError as error:
            raise httpcore.ConnectTimeout("the name is not resolved in time") from error
        except OSError as error:
            raise httpcore.ConnectError("the name is not known") from error
        if not addresses:
            raise httpcore.ConnectError("the name has no address")
        # One that is not allowed spoils all: a name with a public and a private address is an attempt, or a mistake.
        if not all(self._policy.allows(host, port, _parse(address)) for address in addresses):
            raise AddressRefused(
                f"{host}:{port} has an address that is not public (COG_ALLOW_PRIVATE_URLS allows it by name or network)"
            )
        return addresses


async def _connect(address: str, port: int, timeout_s: float) -> httpcore.AsyncNetworkStream:
    """Connect to an address. The socket is Python's own: an audit hook sees its connect, under any event loop."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.wait_for(asyncio.get_running_loop().sock_connect(connection, (address, port)), timeout_s)
        return AnyIOStream(await SocketStream.from_socket(connection))
    except asyncio.TimeoutError as error:
        connection.close()
        raise httpcore.ConnectTimeout("the address does not answer in time") from error
    except OSError as error:
        connection.close()
        raise httpcore.ConnectError("the address cannot be reached") from error
    except BaseException:
        connection.close()
        raise


async def _whole(connecting: Coroutine[Any, Any, httpcore.AsyncNetworkStream]) -> httpcore.AsyncNetworkStream:
    """Wait for a connection that nobody else can cancel: anyio loses the socket, or the cancel, if the two meet.

    Who waits for it can be canceled; what it then comes to is closed. Its own time limit ends it.
    """
    task = asyncio.ensure_future(connecting)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(_close_later)
        raise


def _close_later(task: asyncio.Task[httpcore.AsyncNetworkStream]) -> None:
    if not task.cancelled() and task.exception() is None:
        closing = asyncio.ensure_future(task.result().aclose())
        _CLOSING.add(closing)
        closing.add_done_callback(_CLOSING.discard)


_CLOSING: set[asyncio.Future[None]] = set()


class _Resolver:
    """The system's resolver, each look-up on a daemon thread of its own, a few at a time.

    A pool's threads are waited for at exit, and the event loop's own pool serves predictions: a name server that does
    not answer must hold up neither.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(_MAX_LOOKUPS)

    async def __call__(self, host: str, port: int) -> list[str]:
        with contextlib.suppress(ValueError):
            return [str(ipaddress.ip_address(host))]
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def settle(addresses: list[str], error: OSError | None) -> None:
            self._slots.release()
            if answer.cancelled():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(addresses)

        def work() -> None:
            addresses: list[str] = []
            problem: OSError | None = None
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
            except (OSError, UnicodeError) as error:
                problem = error if isinstance(error, OSError) else OSError(str(error))
            with contextlib.suppress(RuntimeError):  # The loop has ended meanwhile.
                loop.call_soon_threadsafe(settle, addresses, problem)

        threading.Thread(target=work, name="cog-resolve", daemon=True).start()
        return await answer


def _parse(address: str) -> IPAddress:
    return ipaddress.ip_address(address)


def _tls_context() -> ssl.SSLContext:
    """TLS 1.2 or newer, certificates always checked: against SSL_CERT_FILE or the system's store, and COG_CA_CERT.

    The public authorities that come with the server stand in where an image has no store of its own.
    """
    context = ssl.create_default_context()
    if not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys():
        context.load_verify_locations(certifi.where())
    own = os.environ.get("COG_CA_CERT", "")
    if os.path.isfile(own):
        context.load_verify_locations(own)
    return context


def _proxy_of(url: httpx.URL) -> str | None:
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(f"{url.host}:{url.port or ''}".rstrip(":"), proxies):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"

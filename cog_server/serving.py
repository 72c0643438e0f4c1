"""`serve`: the application under uvicorn, from its start to its exit code, with the signals in our hands."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator

import uvicorn

from cog_server.http.app import Service, create_service
from cog_server.http.exchange_protocol import protocol_with
from cog_server.http.protocol import Limits, sweep
from cog_server.observe.logs import ModelLog
from cog_server.predictions.store.base import Store
from cog_server.settings import Settings
from cog_server.worker.pool import WorkerPool

# What runs has ended when uvicorn is told to stop; the last answers may still be on their way.
_LAST_WRITES_S = 5

log = logging.getLogger("cog.server")


async def serve(
    settings: Settings,
    listener: socket.socket,
    store: Store,
    pool: WorkerPool,
    model_log: ModelLog,
    *,
    ignores_sigterm: bool,
) -> int:
    """Serve until a signal or /shutdown; gives the exit code."""
    service = create_service(settings, store, pool, model_log, shut_down=lambda code: server.shut_down(code))
    config = uvicorn.Config(
        service.app,
        http=protocol_with(Limits.of(settings), service.app.lane),
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_LAST_WRITES_S,
    )
    server = _Server(config, service)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, server.on_signal)
    # Not SIG_IGN: the worker would inherit it.
    loop.add_signal_handler(signal.SIGTERM, _ignore_sigterm if ignores_sigterm else server.on_signal)
    if ignores_sigterm and not settings.auth_tokens:
        log.warning("SIGTERM is ignored and /shutdown needs COG_AUTH_TOKEN: only SIGINT ends this server")
    # What is there by now stays: to look for cycles in all of it takes 30 ms each time, in which nobody is answered.
    gc.freeze()
    await server.serve(sockets=[listener])
    return server.exit_code


class _Server(uvicorn.Server):
    """Uvicorn, with the signals in our hands: its own handling ends with the signal's default, not with exit code 0."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.exit_code = 0
        self.is_signaled = False
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    def on_signal(self) -> None:
        """The first signal drains; the second ends at once, worker and all."""
        if self.is_signaled:
            self._service.abandon()
            os._exit(1)
        self.is_signaled = True
        self.shut_down()

    def shut_down(self, exit_code: int = 0) -> None:
        """Take nothing new, let what runs end, and end. Until then who asks is told, not met by a closed door."""
        if self._draining is None:
            self.exit_code = exit_code
            self._service.refuse()
            self._draining = asyncio.create_task(self._drain(), name="cog-drain")

    async def _drain(self) -> None:
        try:
            if not await self._service.drain():
                self.exit_code = self.exit_code or 1
        finally:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Uvicorn calls this ten times per second."""
        if counter % 10 == 0:
            sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, and answer those who have come before."""
        last = [connection for listener in sockets or [] for connection in _stop_listening(listener)]
        for server in self.servers:
            server.close()
        for connection in last:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        make: Callable[..., asyncio.Protocol] = self.config.http_protocol_class
        return make(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _stop_listening(listener: socket.socket) -> list[socket.socket]:
    """Close a listening socket; gives the connections that the system has made and nobody has taken.

    They would be reset, in the middle of a request perhaps.
    """
    last = []
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            last.append(connection)
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    return last


def _ignore_sigterm() -> None:
    log.info("SIGTERM is ignored, as --await-explicit-shutdown asks; POST /shutdown or SIGINT ends this server")

"""`serve`: the model's service and its fronts, from start to exit code, with the signals in our hands."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket

from cog_server.http.app import create_app
from cog_server.http.server import HTTPFront
from cog_server.jobs.service import Service
from cog_server.observe.logs import ModelLog
from cog_server.predictions.store.base import Store
from cog_server.settings import Settings
from cog_server.worker.pool import WorkerPool

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
    """Serve until a signal or /shutdown; gives the exit code. Raises StoreError if the store cannot be read."""

    def shut_down(exit_code: int) -> None:
        life.shut_down(exit_code)

    service = Service(settings, store, pool, model_log, shut_down=shut_down)
    app = create_app(settings, service, shut_down=shut_down, middleware=service.middleware)
    front = HTTPFront(settings, app)
    life = _Life(service, front)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, life.on_signal)
    # Not SIG_IGN: the worker would inherit it.
    loop.add_signal_handler(signal.SIGTERM, _ignore_sigterm if ignores_sigterm else life.on_signal)
    if ignores_sigterm and not settings.auth_tokens:
        log.warning("SIGTERM is ignored and /shutdown needs COG_AUTH_TOKEN: only SIGINT ends this server")
    # What is there by now stays: to look for cycles in all of it takes 30 ms each time, in which nobody is answered.
    gc.freeze()
    try:
        await service.open()
        await front.serve(sockets=[listener])
    finally:
        await service.close()
    return life.exit_code


# docs/decisions/023-listen-while-draining.md
class _Life:
    """How the server ends: in peace at the first signal, at once at the second."""

    def __init__(self, service: Service, front: HTTPFront) -> None:
        self.exit_code = 0
        self._service = service
        self._front = front
        self._is_signaled = False
        self._draining: asyncio.Task[None] | None = None

    def on_signal(self) -> None:
        """The first signal drains; the second ends at once, worker and all."""
        if self._is_signaled:
            self._service.abandon()
            os._exit(1)
        self._is_signaled = True
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
            self._front.end()


def _ignore_sigterm() -> None:
    log.info("SIGTERM is ignored, as --await-explicit-shutdown asks; POST /shutdown or SIGINT ends this server")

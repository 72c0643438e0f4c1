"""`python -m cog_server`: serve the model that the environment names."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
import uvloop

from cog_server.app import Service, create_service
from cog_server.logs import configure_logging
from cog_server.protocol import Limits, protocol_with, sweep
from cog_server.settings import Settings, SettingsError, read_settings
from cog_server.store.base import Store, StoreError
from cog_server.store.memory import MemoryStore
from cog_server.store.sqlite import SqliteStore

# What runs has ended when uvicorn is told to stop; the last answers may still be on their way.
_LAST_WRITES_S = 5

log = logging.getLogger("cog.server")


def main() -> int:
    options = _parse(sys.argv[1:])
    mode = options.x_mode
    try:
        settings = read_settings(
            os.environ, mode=mode, host=options.host, port=options.port, upload_url=options.upload_url
        )
        listener = listen(settings.host, settings.port)
    except (SettingsError, OSError) as error:
        print(f"cog: {error}", file=sys.stderr)
        return 1
    configure_logging(log_format=settings.log_format, level=settings.log_level)
    return uvloop.run(_serve(settings, listener, ignores_sigterm=options.await_explicit_shutdown == "true"))


async def _serve(settings: Settings, listener: socket.socket, *, ignores_sigterm: bool) -> int:
    keep = settings.keep_predictions
    store = SqliteStore(settings.store, keep) if settings.store else MemoryStore(keep)
    try:
        await store.open()
    except StoreError as error:
        print(f"cog: {error}", file=sys.stderr)
        return 1
    try:
        return await _run(settings, listener, store, ignores_sigterm=ignores_sigterm)
    finally:
        await store.close()


async def _run(settings: Settings, listener: socket.socket, store: Store, *, ignores_sigterm: bool) -> int:
    service = create_service(settings, store, shut_down=lambda code: server.shut_down(code))
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

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _ignore_sigterm() -> None:
    log.info("SIGTERM is ignored, as --await-explicit-shutdown asks; POST /shutdown or SIGINT ends this server")


def listen(host: str, port: int) -> socket.socket:
    """Bind before the model starts: a port that is in use is said at once, not after a long setup."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named for asyncio's sake: it sets TCP_NODELAY on sockets that name it only, and without that an
    # answer, which is written in two pieces, waits 40 ms for the client's delayed acknowledgement of the first.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(2048)
    listener.set_inheritable(False)
    return listener


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cog_server", description=__doc__)
    parser.add_argument("--host", default=None, help="address to listen on (default 0.0.0.0)")
    parser.add_argument("--port", type=int, default=None, help="port to listen on (default $PORT or 5000)")
    parser.add_argument("--x-mode", choices=["predict", "train"], default="predict", help="what to serve")
    parser.add_argument(
        "--await-explicit-shutdown",
        choices=["true", "false"],
        default="false",
        nargs="?",
        const="true",
        help="ignore SIGTERM; POST /shutdown or SIGINT ends the server",
    )
    parser.add_argument("--upload-url", help="where output files go: COG_OUTPUT_PATH")
    # Flags that scripts written for the existing Cog pass; the first has no meaning here.
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())

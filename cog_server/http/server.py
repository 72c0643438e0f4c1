"""`HTTPFront`: the application under uvicorn, on a socket that listens already."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator

import uvicorn

from cog_server.http.exchange_protocol import protocol_with
from cog_server.http.fast_path import FastPath
from cog_server.http.protocol import Limits, sweep
from cog_server.settings import Settings

# What runs has ended when uvicorn is told to stop; the last answers may still be on their way.
_LAST_WRITES_S = 5


class HTTPFront(uvicorn.Server):
    """Uvicorn with our protocol, and without its own handling of signals.

    That ends with the signal's default, not with exit code 0.
    """

    def __init__(self, settings: Settings, app: FastPath) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_with(Limits.of(settings), app.lane),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_LAST_WRITES_S,
            )
        )

    def end(self) -> None:
        """Listen no more, give the last answers, and return from `serve`."""
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

"""`python -m cog_server`: serve the model that the environment names."""

from __future__ import annotations

import argparse
import os
import socket
import sys

import uvloop

from cog_server.allocator import keep_freed_memory
from cog_server.observe.logs import ModelLog, configure_logging
from cog_server.predictions.store.base import Store, StoreError
from cog_server.predictions.store.memory import MemoryStore
from cog_server.predictions.store.sqlite import SqliteStore
from cog_server.settings import Settings, SettingsError, read_settings
from cog_server.worker.pool import WorkerPool


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
    keep_freed_memory()
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
    except StoreError as error:
        print(f"cog: {error}", file=sys.stderr)
        return 1
    finally:
        await store.close()


async def _run(settings: Settings, listener: socket.socket, store: Store, *, ignores_sigterm: bool) -> int:
    model_log = ModelLog(settings.log_format)
    pool = WorkerPool(settings, on_text=model_log.write)
    await pool.start()
    # Imported here: that takes as long as the worker does to get there, on another core.
    # docs/decisions/011-worker-before-the-imports.md
    from cog_server.serving import serve

    try:
        return await serve(settings, listener, store, pool, model_log, ignores_sigterm=ignores_sigterm)
    finally:
        await pool.stop(settings.cancel_grace_s)


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

"""`create_service`: the FastAPI application around one pool of workers and one runner."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import FastAPI

from cog.version import __version__
from cog_server.files.fetch import FileLimits
from cog_server.files.room import FileOptions, FileRoom
from cog_server.gpu import GpuCheck
from cog_server.http.access import add_access
from cog_server.http.fast_path import FastPath
from cog_server.http.routes.answers import add_problem_answers
from cog_server.http.routes.docs import add_docs_routes
from cog_server.http.routes.health import add_health_routes
from cog_server.http.routes.metrics import add_metrics_route
from cog_server.http.routes.predictions import add_prediction_routes
from cog_server.http.routes.shutdown import add_shutdown_route
from cog_server.jobs.archive import Archive
from cog_server.jobs.runner import JobRunner
from cog_server.observe.gpu_usage import GpuUsage
from cog_server.observe.logs import ModelLog
from cog_server.predictions.store.base import Store
from cog_server.ready_file import ReadyFile
from cog_server.settings import Settings
from cog_server.webhooks.sender import WebhookSender
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import State

if TYPE_CHECKING:
    from cog_server.observe.traces.tracer import Tracer

# For webhooks of predictions that ended only when their time to drain was over.
_LAST_CALLS_S = 1.0
_LAST_SPANS_S = 5.0


@dataclass(frozen=True)
class Service:
    """The application, and how it ends: `refuse` new predictions at once, then `drain`, false if some did not end.

    `abandon` is for when there is no time for that: the workers are killed, their files are deleted.
    """

    app: FastPath
    refuse: Callable[[], None]
    drain: Callable[[], Awaitable[bool]]
    abandon: Callable[[], None]


def create_service(
    settings: Settings, store: Store, pool: WorkerPool, model_log: ModelLog, *, shut_down: Callable[[int], None]
) -> Service:
    """Make the application around an open store and a pool that may have been started. Needs a running event loop.

    Its lifespan starts the pool otherwise, and stops it. `shut_down` makes the server that runs it drain, and end with
    an exit code.
    """
    tracer = _tracer(settings, lambda count: runner.metrics.count_dropped_spans(count))
    if tracer is not None:
        model_log.trace_of = tracer.trace_of
    files = FileRoom(_file_options(settings))
    webhooks = WebhookSender(settings, store)
    archive = Archive(store)
    steps_of = tracer.steps_of if tracer else None
    runner = JobRunner(settings, pool, files, archive, webhooks, on_end=model_log.finish, steps_of=steps_of)
    gpu = GpuCheck(settings.gpu_needs) if settings.gpu_needs else None
    gpus = GpuUsage()
    ready_file = ReadyFile(settings.ready_file) if settings.ready_file else None

    def on_state(state: State) -> None:
        if ready_file is not None:
            ready_file.set(state is State.READY and not runner.is_draining)
        if settings.exit_on_defunct and state in (State.DEFUNCT, State.SETUP_FAILED):
            shut_down(1)

    pool.listeners.append(on_state)

    def refuse() -> None:
        runner.is_draining = True
        if ready_file is not None:
            ready_file.set(False)

    async def drain() -> bool:
        until = time.monotonic() + settings.drain_s
        await webhooks.secure()
        have_ended = await runner.drain(settings.drain_s)
        await webhooks.drain(until - time.monotonic())
        if tracer is not None:
            await tracer.exporter.flush(min(until - time.monotonic(), _LAST_SPANS_S))
        return have_ended

    def abandon() -> None:
        pool.kill("the server was told to end at once")
        files.workspace.close()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        files.workspace.sweep()
        await archive.restore()
        await webhooks.open()
        if gpu is not None:
            gpu.start()
        await pool.start()
        # What became of it before anybody listened.
        on_state(pool.state)
        try:
            yield
        finally:
            if gpu is not None:
                await gpu.stop()
            await gpus.stop()
            await runner.drain(0.0)
            await pool.stop(settings.cancel_grace_s)
            await webhooks.close(_LAST_CALLS_S)
            if tracer is not None:
                await tracer.exporter.close(_LAST_CALLS_S)
            await files.close()

    # FastAPI's own document describes its own routes; ours describes the model.
    app = FastAPI(title="Cog", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.router.redirect_slashes = False
    often = add_prediction_routes(app, settings, pool, runner, archive, files)
    add_health_routes(app, pool, runner, gpu, mode=settings.mode)
    add_metrics_route(app, pool, runner, gpus)
    add_docs_routes(app, settings, pool)
    add_shutdown_route(app, settings, lambda: shut_down(0))
    add_problem_answers(app)
    access = add_access(app, settings)
    if tracer is not None:
        app.add_middleware(tracer.middleware)
        runner.metrics.count_dropped_spans(0)
    return Service(FastPath(app, access, often.handlers, often.takers), refuse, drain, abandon)


def _tracer(settings: Settings, on_drop: Callable[[int], None]) -> Tracer | None:
    if settings.traces is None:
        return None
    # Imported here: without traces nothing of them costs anything.
    from cog_server.observe.traces.tracer import Tracer

    return Tracer(settings.traces, settings.allow_private_urls, on_drop)


def _file_options(settings: Settings) -> FileOptions:
    return FileOptions(
        limits=FileLimits(settings.max_file_bytes, settings.max_input_bytes, settings.file_timeout_s),
        read_s=settings.file_read_timeout_s,
        policy=settings.allow_private_urls,
        roots=settings.file_roots,
        cache_bytes=settings.input_cache_bytes,
        model_folder=settings.folder,
        output_roots=settings.output_roots,
        output_path=settings.output_path,
        max_inline_bytes=settings.max_output_bytes,
        with_info=settings.output_info,
        sign_s=settings.sign_outputs_s,
    )

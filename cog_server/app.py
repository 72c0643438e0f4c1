"""`create_app`: the FastAPI application around one supervisor and one runner."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI

from cog.version import __version__
from cog_server.access import add_access
from cog_server.files.fetch import FileFetcher
from cog_server.gpu import GpuCheck
from cog_server.logs import ModelLog
from cog_server.routes.answers import add_problem_answers
from cog_server.routes.docs import add_docs_routes
from cog_server.routes.health import add_health_routes
from cog_server.routes.predictions import add_prediction_routes
from cog_server.routes.shutdown import add_shutdown_route
from cog_server.runner import JobRunner
from cog_server.settings import Settings
from cog_server.store.base import Store
from cog_server.worker.supervisor import Supervisor


def create_app(settings: Settings, store: Store, *, shut_down: Callable[[], None]) -> FastAPI:
    """Make the application around an open store; its lifespan owns the worker. Needs a running event loop.

    `shut_down` makes the server that runs it drain and end.
    """
    supervisor = Supervisor(settings, on_text=ModelLog(settings.log_format).write)
    fetcher = FileFetcher(max_bytes=settings.max_file_bytes)
    runner = JobRunner(settings, supervisor, fetcher, store)
    gpu = GpuCheck(settings.gpu_needs) if settings.gpu_needs else None

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await runner.restore()
        if gpu is not None:
            gpu.start()
        await supervisor.start()
        try:
            yield
        finally:
            if gpu is not None:
                await gpu.stop()
            await runner.drain(settings.drain_s)
            await supervisor.stop(settings.cancel_grace_s)
            await fetcher.close()
            runner.close()

    # FastAPI's own document describes its own routes; ours describes the model.
    app = FastAPI(title="Cog", version=__version__, openapi_url=None, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.router.redirect_slashes = False
    add_prediction_routes(app, settings, supervisor, runner)
    add_health_routes(app, supervisor, runner, gpu, mode=settings.mode)
    add_docs_routes(app, settings, supervisor)
    add_shutdown_route(app, settings, shut_down)
    add_problem_answers(app)
    add_access(app, settings)
    return app

"""`create_app`: the application of the HTTP front, around whatever keeps the port of a front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastapi import FastAPI
from starlette.types import ASGIApp

from cog.version import __version__
from cog_server.http.access import add_access
from cog_server.http.fast_path import FastPath
from cog_server.http.routes.answers import add_problem_answers
from cog_server.http.routes.docs import add_docs_routes
from cog_server.http.routes.health import add_health_routes
from cog_server.http.routes.metrics import add_metrics_route
from cog_server.http.routes.predictions import add_prediction_routes
from cog_server.http.routes.shutdown import add_shutdown_route
from cog_server.jobs.port import PredictionService
from cog_server.settings import Settings


def create_app(
    settings: Settings,
    service: PredictionService,
    *,
    shut_down: Callable[[int], None],
    middleware: Sequence[Callable[[ASGIApp], ASGIApp]] = (),
) -> FastPath:
    """Make the application, `middleware` around it. `shut_down` makes the process drain, and end with an exit code."""
    # FastAPI's own document describes its own routes; ours describes the model.
    app = FastAPI(title="Cog", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.router.redirect_slashes = False
    often = add_prediction_routes(app, settings, service)
    add_health_routes(app, service, mode=settings.mode)
    add_metrics_route(app, service)
    add_docs_routes(app, settings, service)
    add_shutdown_route(app, settings, lambda: shut_down(0))
    add_problem_answers(app)
    access = add_access(app, settings)
    for each in middleware:
        app.add_middleware(each)
    return FastPath(app, access, often.handlers, often.takers)

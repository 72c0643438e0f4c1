"""`/metrics`: the server, its predictions and its GPUs in numbers, for Prometheus."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog_server.jobs.port import PredictionService
from cog_server.observe.exposition import CONTENT_TYPE, expose


def add_metrics_route(app: FastAPI, service: PredictionService) -> None:
    """Add `/metrics` to `app`. It waits for nothing, and what is not counted anyway is looked at only here."""

    async def metrics(request: HTTPRequest) -> Response:
        return Response(expose(service.figures()), media_type=CONTENT_TYPE)

    app.add_route("/metrics", metrics, methods=["GET"])

"""What the server says about itself: links, health, and whether to send it traffic."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.version import __version__
from cog_server.http.routes.answers import json_answer, problem
from cog_server.jobs.port import PredictionService


def add_health_routes(app: FastAPI, service: PredictionService, *, mode: str) -> None:
    """Add `/`, `/health-check`, `/livez` and `/readyz` to `app`. None of them waits for the model."""

    async def links(request: HTTPRequest) -> Response:
        noun = "training" if mode == "train" else "prediction"
        return json_answer(
            {
                "cog_version": __version__,
                "docs_url": "/docs",
                "openapi_url": "/openapi.json",
                "healthcheck_url": "/health-check",
                "metrics_url": "/metrics",
                f"{noun}s_url": f"/{noun}s",
                f"{noun}s_idempotent_url": f"/{noun}s/{{{noun}_id}}",
                f"{noun}s_cancel_url": f"/{noun}s/{{{noun}_id}}/cancel",
            }
        )

    async def health_check(request: HTTPRequest) -> Response:
        return json_answer(await service.health())

    async def livez(request: HTTPRequest) -> Response:
        if service.is_defunct:
            return problem(503, service.reason)
        return json_answer({"status": "alive"})

    async def readyz(request: HTTPRequest) -> Response:
        if not service.is_ready:
            return problem(503, service.reason or "the server is shutting down")
        return json_answer({"status": "ready"})

    app.add_route("/", links, methods=["GET"])
    app.add_route("/health-check", health_check, methods=["GET"])
    app.add_route("/livez", livez, methods=["GET"])
    app.add_route("/readyz", readyz, methods=["GET"])

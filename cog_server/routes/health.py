"""What the server says about itself: links, health, and whether to send it traffic."""

from __future__ import annotations

import platform
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.version import __version__
from cog_server.gpu import GpuCheck
from cog_server.routes.answers import json_answer, problem
from cog_server.runner import JobRunner
from cog_server.worker.supervisor import State, Supervisor


def add_health_routes(
    app: FastAPI, supervisor: Supervisor, runner: JobRunner, gpu: GpuCheck | None, *, mode: str
) -> None:
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
        healthy, error = await supervisor.healthcheck()
        status = health_status(supervisor, runner) if healthy else "UNHEALTHY"
        report = _report(supervisor, status, error)
        return json_answer(report | {"gpu": gpu.to_json()} if gpu is not None else report)

    async def livez(request: HTTPRequest) -> Response:
        return json_answer({"status": "alive"})

    async def readyz(request: HTTPRequest) -> Response:
        if supervisor.state is not State.READY or runner.is_draining:
            return problem(503, supervisor.reason or "the server is shutting down")
        return json_answer({"status": "ready"})

    app.add_route("/", links, methods=["GET"])
    app.add_route("/health-check", health_check, methods=["GET"])
    app.add_route("/livez", livez, methods=["GET"])
    app.add_route("/readyz", readyz, methods=["GET"])


def health_status(supervisor: Supervisor, runner: JobRunner) -> str:
    """The state in the words that clients know: STARTING, READY, BUSY, SETUP_FAILED, DEFUNCT or UNHEALTHY."""
    if supervisor.state is State.READY:
        return "BUSY" if runner.is_busy else "READY"
    return "UNHEALTHY" if supervisor.state is State.STOPPED else supervisor.state.value


def _report(supervisor: Supervisor, status: str, error: str | None) -> dict[str, Any]:
    setup = supervisor.setup
    report: dict[str, Any] = {
        "status": status,
        "setup": {
            "status": setup.status,
            "started_at": setup.started_at.isoformat(),
            "completed_at": setup.completed_at.isoformat() if setup.completed_at else None,
            "logs": setup.logs,
        },
        "version": {"cog": __version__, "python": platform.python_version()},
    }
    if supervisor.reason:
        report["reason"] = supervisor.reason
    if error is not None:
        report["user_healthcheck_error"] = error
    return report

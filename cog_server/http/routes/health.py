"""What the server says about itself: links, health, and whether to send it traffic."""

from __future__ import annotations

import platform
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog.version import __version__
from cog_server.gpu import GpuCheck
from cog_server.http.routes.answers import json_answer, problem
from cog_server.jobs.runner import JobRunner
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import State, Supervisor


def add_health_routes(app: FastAPI, pool: WorkerPool, runner: JobRunner, gpu: GpuCheck | None, *, mode: str) -> None:
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
        healthy, error = await pool.healthcheck()
        status = health_status(pool, runner) if healthy else "UNHEALTHY"
        report = _report(pool, status, error)
        return json_answer(report | {"gpu": gpu.to_json()} if gpu is not None else report)

    async def livez(request: HTTPRequest) -> Response:
        return json_answer({"status": "alive"})

    async def readyz(request: HTTPRequest) -> Response:
        if pool.state is not State.READY or runner.is_draining:
            return problem(503, pool.reason or "the server is shutting down")
        return json_answer({"status": "ready"})

    app.add_route("/", links, methods=["GET"])
    app.add_route("/health-check", health_check, methods=["GET"])
    app.add_route("/livez", livez, methods=["GET"])
    app.add_route("/readyz", readyz, methods=["GET"])


def health_status(pool: WorkerPool, runner: JobRunner) -> str:
    """The state in the words that clients know: STARTING, READY, BUSY, SETUP_FAILED, DEFUNCT or UNHEALTHY."""
    if pool.state is State.READY:
        return "BUSY" if runner.is_busy else "READY"
    return "UNHEALTHY" if pool.state is State.STOPPED else pool.state.value


def _report(pool: WorkerPool, status: str, error: str | None) -> dict[str, Any]:
    setup = pool.setup
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
    if len(pool.supervisors) > 1:
        report["workers"] = [_worker(supervisor) for supervisor in pool.supervisors]
    if pool.reason:
        report["reason"] = pool.reason
    if error is not None:
        report["user_healthcheck_error"] = error
    return report


def _worker(supervisor: Supervisor) -> dict[str, Any]:
    worker: dict[str, Any] = {
        "index": supervisor.place.index,
        "state": supervisor.state.value,
        "restarts": supervisor.restarts,
        "devices": supervisor.place.devices,
        "pid": supervisor.pid,
    }
    return {**worker, "reason": supervisor.reason} if supervisor.reason else worker

"""`/metrics`: the server, its predictions and its GPUs in numbers, for Prometheus."""

from __future__ import annotations

import time

from fastapi import FastAPI
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response

from cog_server.exposition import CONTENT_TYPE, Family, expose, labeled, single
from cog_server.gpu_usage import GpuLoad, GpuUsage
from cog_server.runner import JobRunner
from cog_server.worker.supervisor import State, Supervisor


def add_metrics_route(app: FastAPI, supervisor: Supervisor, runner: JobRunner, gpus: GpuUsage) -> None:
    """Add `/metrics` to `app`. It waits for nothing, and what is not counted anyway is looked at only here."""
    setup = _SetupTime(supervisor)

    async def metrics(request: HTTPRequest) -> Response:
        families = [
            *runner.metrics.families(),
            *_of_runner(runner),
            *_of_worker(supervisor, setup.seconds),
            *_of_gpus(gpus.latest()),
        ]
        return Response(expose(families), media_type=CONTENT_TYPE)

    app.add_route("/metrics", metrics, methods=["GET"])


class _SetupTime:
    """How long the last worker took that got ready; one that replaces another, from the end of that."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.seconds: float | None = None
        self._began_s = time.monotonic()
        supervisor.listeners.append(self._on_state)

    def _on_state(self, state: State) -> None:
        if state is State.STARTING:
            self._began_s = time.monotonic()
        elif state is State.READY:
            self.seconds = time.monotonic() - self._began_s


def _of_runner(runner: JobRunner) -> list[Family]:
    return [
        Family("cog_predictions_in_flight", "gauge", "Predictions that run or wait.", single(runner.in_flight)),
        Family("cog_predictions_queued", "gauge", "Those of them that have not started.", single(runner.queued)),
    ]


def _of_worker(supervisor: Supervisor, setup_s: float | None) -> list[Family]:
    restarts = "Workers that were started in place of another."
    states = {state.value: int(state is supervisor.state) for state in State}
    took = "What the last worker took to get ready."
    return [
        Family("cog_worker_restarts_total", "counter", restarts, single(supervisor.restarts)),
        Family("cog_worker_state", "gauge", "1 for the state that the worker is in.", labeled("state", states)),
        Family("cog_setup_seconds", "gauge", took, () if setup_s is None else single(setup_s)),
    ]


def _of_gpus(loads: dict[str, GpuLoad]) -> list[Family]:
    used = {gpu: load.used_bytes for gpu, load in loads.items() if load.used_bytes is not None}
    total = {gpu: load.total_bytes for gpu, load in loads.items() if load.total_bytes is not None}
    busy = {gpu: load.utilization for gpu, load in loads.items() if load.utilization is not None}
    share = "Share of the last moment in which the GPU worked."
    return [
        Family("cog_gpu_memory_used_bytes", "gauge", "Memory of the GPU that is taken.", labeled("gpu", used)),
        Family("cog_gpu_memory_total_bytes", "gauge", "Memory of the GPU.", labeled("gpu", total)),
        Family("cog_gpu_utilization_ratio", "gauge", share, labeled("gpu", busy)),
    ]

"""The families of metrics that are looked at only when somebody asks: of the runner, the workers and the GPUs."""

from __future__ import annotations

from cog_server.jobs.runner import JobRunner
from cog_server.observe.exposition import Family, labeled, single
from cog_server.observe.gpu_usage import GpuLoad
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import State


def of_runner(runner: JobRunner) -> list[Family]:
    """How many predictions there are at the moment."""
    return [
        Family("cog_predictions_in_flight", "gauge", "Predictions that run or wait.", single(runner.in_flight)),
        Family("cog_predictions_queued", "gauge", "Those of them that have not started.", single(runner.queued)),
    ]


def of_workers(pool: WorkerPool) -> list[Family]:
    """The states of the workers, and how often they were replaced."""
    workers = pool.supervisors
    restarts = {str(worker.place.index): worker.restarts for worker in workers}
    states = {state.value: int(state is pool.state) for state in State}
    counts = {state.value: sum(worker.state is state for worker in workers) for state in State}
    return [
        Family(
            "cog_worker_restarts_total",
            "counter",
            "Workers that were started in place of another.",
            labeled("worker", restarts) if len(workers) > 1 else single(pool.restarts),
        ),
        Family(
            "cog_worker_state", "gauge", "1 for the state that all workers are in, as one.", labeled("state", states)
        ),
        Family("cog_workers", "gauge", "Workers in each state.", labeled("state", counts)),
        Family(
            "cog_worker_restart_delay_seconds",
            "gauge",
            "How long is waited before the next worker is started, the longest of all workers.",
            single(max((worker.restart_delay_s for worker in workers), default=0.0)),
        ),
        Family(
            "cog_setup_seconds",
            "gauge",
            "What the last worker took to get ready.",
            () if pool.setup_s is None else single(pool.setup_s),
        ),
    ]


def of_gpus(loads: dict[str, GpuLoad]) -> list[Family]:
    """What the GPUs hold and do, by their index."""
    used = {gpu: load.used_bytes for gpu, load in loads.items() if load.used_bytes is not None}
    total = {gpu: load.total_bytes for gpu, load in loads.items() if load.total_bytes is not None}
    busy = {gpu: load.utilization for gpu, load in loads.items() if load.utilization is not None}
    share = "Share of the last moment in which the GPU worked."
    return [
        Family("cog_gpu_memory_used_bytes", "gauge", "Memory of the GPU that is taken.", labeled("gpu", used)),
        Family("cog_gpu_memory_total_bytes", "gauge", "Memory of the GPU.", labeled("gpu", total)),
        Family("cog_gpu_utilization_ratio", "gauge", share, labeled("gpu", busy)),
    ]

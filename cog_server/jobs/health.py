"""`health_report`: the model and its workers in the words that clients of `/health-check` know."""

from __future__ import annotations

import platform
from typing import Any

from cog.version import __version__
from cog_server.worker.pool import WorkerPool
from cog_server.worker.supervisor import State, Supervisor


def health_report(pool: WorkerPool, status: str, error: str | None) -> dict[str, Any]:
    """The report as JSON data. `error` is what the user's `healthcheck()` came to, if it came to no good."""
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


def health_status(state: State, *, is_busy: bool) -> str:
    """The state in the words that clients know: STARTING, READY, BUSY, SETUP_FAILED, DEFUNCT or UNHEALTHY."""
    if state is State.READY:
        return "BUSY" if is_busy else "READY"
    return "UNHEALTHY" if state is State.STOPPED else state.value


def _worker(supervisor: Supervisor) -> dict[str, Any]:
    worker: dict[str, Any] = {
        "index": supervisor.place.index,
        "state": supervisor.state.value,
        "restarts": supervisor.restarts,
        "devices": supervisor.place.devices,
        "pid": supervisor.pid,
    }
    return {**worker, "reason": supervisor.reason} if supervisor.reason else worker

"""One measured load on a running server: `wrk` sends, /proc tells what it cost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.servers import Server, ServerError

WARM_UP_S = 1
SCRIPT = Path(__file__).resolve().parent / "post.lua"


@dataclass(frozen=True)
class Load:
    """What came of one load. Good answers are 2xx; latencies are of all; `cpu_us` is the server's for a good one."""

    connections: int
    good_per_s: float
    p50_ms: float
    p99_ms: float
    not_2xx_percent: float
    broken: int
    cpu_us: float
    foreign_percent: float


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def put_load(server: Server, connections: int, seconds: int) -> Load:
    """Warm up, then measure. Raises ServerError if nothing is answered, or if the server is not right afterwards."""
    _wrk(server, connections, WARM_UP_S)
    cpu, everything, before = processes.cpu_us(), processes.machine_cpu_us(), _children_us()
    told = _wrk(server, connections, seconds)
    cpu, everything = processes.cpu_us() - cpu, processes.machine_cpu_us() - everything
    foreign = everything - cpu - (_children_us() - before)
    good = told["answers"] - told["refused"]
    if not told["answers"]:
        raise ServerError(f"answers nothing to {connections} connections")
    server.check()
    return Load(
        connections=connections,
        good_per_s=good / told["seconds"],
        p50_ms=told["p50_ms"],
        p99_ms=told["p99_ms"],
        not_2xx_percent=100 * (told["refused"] + told["broken"]) / (told["answers"] + told["broken"]),
        broken=int(told["broken"]),
        cpu_us=cpu / max(good, 1),
        foreign_percent=max(0.0, foreign / told["seconds"] / 1e4),
    )


def _wrk(server: Server, connections: int, seconds: int) -> dict[str, float]:
    body = server.log.with_name("body.json")
    body.write_bytes(server.kind.body(server.workload, server.workload.given()))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT), server.url]
    environment = {**os.environ, "BENCH_BODY": str(body)}
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, env=environment, check=False, timeout=seconds + 30
        )
    except subprocess.TimeoutExpired as error:
        raise ServerError(f"wrk does not end with {connections} connections") from error
    if answer.returncode != 0:
        raise ServerError(f"wrk failed: {answer.stdout[-300:]}{answer.stderr[-300:]}")
    told: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return told


def _children_us() -> float:
    """CPU time of the children of this process that have ended: those of wrk, while a server runs."""
    times = os.times()
    return (times.children_user + times.children_system) * 1e6

"""The tables of a run: medians of rounds, and ratios of pairs of the same round."""

from __future__ import annotations

import operator
import os
import platform
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks.peers.environments import versions
from benchmarks.peers.kinds import KINDS
from benchmarks.peers.load import Load
from benchmarks.peers.targets import TARGETS, Target
from benchmarks.peers.workloads import WORKLOADS


@dataclass(frozen=True)
class Run:
    """One server under one workload, in one round. Without `loads` there is a `problem`."""

    round: int
    server: str
    workload: str
    start_s: float = 0.0
    pss_mb: float = 0.0
    loads: tuple[Load, ...] = ()
    problem: str = ""


_FIGURES = {"good_per_s": "good/s", "p99_ms": "p99", "start_s": "start to ready", "pss_mb": "PSS, MB"}


def make_report(runs: list[Run], *, rounds: int, seconds: int) -> str:
    """Markdown: the machine, a table for each workload, then the targets."""
    parts = [_head(rounds, seconds)]
    parts += [_figures(name, runs) for name in WORKLOADS if any(run.workload == name for run in runs)]
    parts.append(_targets(runs))
    problems = sorted({f"- round {run.round}, {run.problem}" for run in runs if run.problem})
    if problems:
        parts.append("## Not measured\n\n" + "\n".join(problems))
    return "\n\n".join(parts) + "\n"


def _head(rounds: int, seconds: int) -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} cores, {cpu[1] if cpu else platform.machine()}, Python {platform.python_version()}"
    return "\n".join(
        (
            f"# Peers, {date.today()}",
            "",
            f"{machine}. Rounds of {seconds} s: {rounds}; medians [least-most]; every round starts every server anew.",
            "wrk (1 thread, keep-alive) runs on the same cores as the server. good/s counts answers 2xx only;",
            "latencies are of all answers. CPU is of the server with its workers, for each good answer; foreign is",
            "what others used of one core meanwhile, at most. Ratios are of pairs of the same round.",
            "All have access logs off, refuse an input of the wrong type, and serve the same model: it gets a file as",
            "a path and leaves one as a path (W3, W4). mosec has 32 workers in W5, and one otherwise.",
            "",
            *(f"- {name}: {text}" for name, text in versions().items()),
        )
    )


def _figures(workload: str, runs: list[Run]) -> str:
    connections = WORKLOADS[workload].connections
    columns = ["good/s", "p50 / p99 ms", "not 2xx %", "CPU µs"]
    head = ["server", *(f"c={count} {column}" for count in connections for column in columns)]
    head += ["start s", "PSS MB", "foreign %"]
    mains = {"W5": ["ours-async"], "W6": ["ours-batched", "ours"]}.get(workload, ["ours"])
    head += [f"{name} / it, c={count}" for name in mains for count in connections]
    rows = []
    for kind in KINDS:
        done = [run for run in runs if (run.server, run.workload) == (kind, workload) and run.loads]
        if not done:
            continue
        row = [kind]
        for count in connections:
            loads = [load for run in done for load in run.loads if load.connections == count]
            p50 = _median((load.p50_ms for load in loads), "{:.2f}", spread=False)
            p99 = _median((load.p99_ms for load in loads), "{:.2f}", spread=False)
            row += [
                _median((load.good_per_s for load in loads), "{:.0f}"),
                f"{p50} / {p99}",
                _median((load.not_2xx_percent for load in loads), "{:.1f}", spread=False),
                _median((load.cpu_us for load in loads), "{:.0f}", spread=False),
            ]
        row += [
            _median((run.start_s for run in done), "{:.2f}"),
            _median((run.pss_mb for run in done), "{:.0f}", spread=False),
            f"{max(load.foreign_percent for run in done for load in run.loads):.0f}",
        ]
        for name in mains:
            for count in connections:
                target = Target(workload, name, kind, count, 0.0)
                row.append("" if name == kind else _median(_pairs(target, runs), "{:.2f}"))
        rows.append(row)
    return f"## {workload}: {WORKLOADS[workload].what}\n\n" + _table(head, rows)


def _targets(runs: list[Run]) -> str:
    rows = []
    for target in TARGETS:
        if not any(run.workload == target.workload for run in runs):
            continue
        values = list(_pairs(target, runs))
        is_met: Callable[[float, float], bool] = operator.ge if target.is_least else operator.le
        verdict = "not measured" if not values else "yes" if is_met(statistics.median(values), target.bound) else "no"
        what = f"{target.ours} / {target.peer}" if target.peer else target.ours
        at = f", c={target.connections}" if target.connections else ""
        wanted = f"{'>=' if target.is_least else '<='} {target.bound:g}"
        rows.append(
            [f"{target.workload}{at}", what, _FIGURES[target.figure], wanted, _median(values, "{:.2f}"), verdict]
        )
    return "## Targets\n\n" + _table(["workload", "what", "figure", "target", "measured", "met"], rows)


def _pairs(target: Target, runs: list[Run]) -> Iterator[float]:
    """The ratios of a target, one for each round that has both; its figures if it has no peer."""
    for number in sorted({run.round for run in runs}):
        ours = _figure(target, target.ours, number, runs)
        peer = _figure(target, target.peer, number, runs) if target.peer else 1.0
        if ours is not None and peer:
            yield ours / peer


def _figure(target: Target, server: str, number: int, runs: list[Run]) -> float | None:
    for run in runs:
        if (run.round, run.server, run.workload) == (number, server, target.workload) and run.loads:
            if not target.connections:
                return float(getattr(run, target.figure))
            for load in run.loads:
                if load.connections == target.connections:
                    return float(getattr(load, target.figure))
    return None


def _median(values: Iterable[float], form: str, *, spread: bool = True) -> str:
    known = list(values)
    if not known:
        return "-"
    middle = form.format(statistics.median(known))
    if not spread or len(known) == 1:
        return middle
    return f"{middle} [{form.format(min(known))}-{form.format(max(known))}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

"""`make bench-peers`: this server beside its peers, the same models behind each.

Every server gets an environment of its own in ~/.cache/cog-bench. wrk has to be there (Debian: apt-get install wrk).
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.environments import InstallError, ensure_environment, versions
from benchmarks.peers.kinds import KINDS, Kind
from benchmarks.peers.load import has_wrk, put_load
from benchmarks.peers.profiles import write_profiles
from benchmarks.peers.report import Run, make_report
from benchmarks.peers.servers import ServerError, serving
from benchmarks.peers.workloads import WORKLOADS, Workload


def main() -> int:
    options = _parse()
    if not has_wrk():
        print("wrk is not there. On Debian: apt-get install wrk", file=sys.stderr)
        return 1
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    runs: list[Run] = []
    try:
        if options.profile:
            write_profiles(options.seconds)
        else:
            _measure(options, runs)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ServerError, InstallError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        processes.end_all()
        if runs:
            print(make_report(runs, rounds=options.rounds, seconds=options.seconds))
    return 0


def _measure(options: argparse.Namespace, runs: list[Run]) -> None:
    """Round by round, workload by workload, server by server: A B A B."""
    kinds = [KINDS[name] for name in options.servers if _is_installed(KINDS[name])]
    for number in range(1, options.rounds + 1):
        for workload in (WORKLOADS[name] for name in options.workloads):
            for kind in kinds:
                if workload.name in kind.workloads:
                    runs.append(_run(kind, workload, number, options.seconds))
                    if options.json:
                        document = {"versions": versions(), "runs": [asdict(run) for run in runs]}
                        options.json.write_text(json.dumps(document, indent=1))


def _run(kind: Kind, workload: Workload, number: int, seconds: int) -> Run:
    print(f"round {number} {workload.name} {kind.name}", end=" ", file=sys.stderr, flush=True)
    try:
        with serving(kind, workload) as server:
            loads = tuple(put_load(server, count, seconds) for count in workload.connections)
            run = Run(number, kind.name, workload.name, server.start_s, processes.pss_mb(), loads)
    except ServerError as error:
        print(f"failed: {error}", file=sys.stderr)
        return Run(number, kind.name, workload.name, problem=str(error).partition("\n")[0])
    print(*(f"c={load.connections}: {load.good_per_s:.0f}/s" for load in loads), file=sys.stderr)
    return run


def _is_installed(kind: Kind) -> bool:
    try:
        ensure_environment(kind.environment)
    except InstallError as error:
        print(f"{kind.name} is left out: {error}", file=sys.stderr)
        return False
    return True


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--workloads", type=_names(WORKLOADS), default=list(WORKLOADS), help=",".join(WORKLOADS))
    parser.add_argument("--servers", type=_names(KINDS), default=list(KINDS), help=",".join(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load, after a second of warm-up")
    parser.add_argument("--json", type=Path, help="write every figure of every round to this file")
    parser.add_argument("--profile", action="store_true", help="only look where our own time goes, with py-spy")
    return parser.parse_args()


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return chosen

    return names


if __name__ == "__main__":
    sys.exit(main())

"""Where the time of our own processes goes: py-spy looks at them under each workload."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.environments import ensure_environment
from benchmarks.peers.kinds import KINDS
from benchmarks.peers.load import put_load
from benchmarks.peers.servers import serving
from benchmarks.peers.workloads import WORKLOADS

FOLDER = Path(__file__).resolve().parent / "profiles"
_RATE = 200
_TOP = 40


# Of the workloads that tell something: our server for each, and how many connections.
_LOADS = {
    "W1": ("ours", 16),
    "W2": ("ours", 1),
    "W4": ("ours", 1),
    "W5": ("ours-async", 32),
    "W6": ("ours-batched", 32),
}


def write_profiles(seconds: int) -> None:
    """Write, for each workload, W1-server.txt and W1-worker.txt, what took most, and the stacks to W1-*.folded."""
    FOLDER.mkdir(exist_ok=True)
    for workload in _LOADS:
        _write_profile(workload, seconds)


def _write_profile(workload: str, seconds: int) -> None:
    spy = ensure_environment("py-spy") / "py-spy"
    kind, connections = _LOADS[workload]
    with serving(KINDS[kind], WORKLOADS[workload]) as server, tempfile.TemporaryDirectory() as scratch:
        workers = [pid for pid in processes.descendants() if "cog.worker" in processes.command_line(pid)]
        watched = dict(zip(("server", "worker"), (server.process.pid, *workers), strict=False))
        load = threading.Thread(target=put_load, args=(server, connections, seconds + 2))
        load.start()
        spies = []
        for name, pid in watched.items():
            output = Path(scratch) / name
            command = [str(spy), "record", "--pid", str(pid), "--duration", str(seconds), "--rate", str(_RATE)]
            command += ["--format", "raw", "--output", str(output)]
            spies.append((name, output, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)))
        for name, output, process in spies:
            told, _ = process.communicate(timeout=seconds + 60)
            if process.returncode != 0:
                print(f"py-spy cannot look at the {name}: {told.decode(errors='replace')[-300:]}", file=sys.stderr)
                continue
            path = FOLDER / f"{workload}-{name}.txt"
            path.write_text(_summary(output.read_text(), f"{workload}, {connections} connections"))
            shutil.copy(output, path.with_suffix(".folded"))
            print(f"wrote {path}", file=sys.stderr)
        load.join(seconds + 60)


def _summary(folded: str, what: str) -> str:
    """Shares of samples by function, alone and with what it calls."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [re.sub(r":\d+\)$", ")", frame) for frame in stack.split(";")]
        alone[frames[-1]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    total = sum(alone.values())
    lines = [f"{total} samples at {_RATE} Hz, {what}"]
    for title, counts in (("alone", alone), ("with what it calls", within)):
        lines += ["", title]
        lines += [f"{100 * count / total:6.1f} %  {frame}" for frame, count in counts.most_common(_TOP)]
    return "\n".join([*lines, ""])

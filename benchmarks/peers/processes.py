"""What the processes below this one use, and their end. One server at a time is all that runs here.

What a server leaves behind becomes a child of this process, so nothing is missed and nothing outlives it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


def adopt_orphans() -> None:
    """Make every process below this one come back to it when its parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants() -> list[int]:
    """All processes below this one."""
    parents = {int(entry): int(_stat(int(entry))[1]) for entry in os.listdir("/proc") if entry.isdigit()}
    found = [os.getpid()]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def cpu_us() -> float:
    """CPU time of all below, in µs, with that of their children which have ended."""
    return sum(sum(map(int, _stat(pid)[11:15])) for pid in descendants()) * _TICK_US


def machine_cpu_us() -> float:
    """CPU time of everything on the machine, in µs."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) * _TICK_US


def pss_mb() -> float:
    """Memory of all below; shared pages are divided by those who share them."""
    total_kib = 0
    for pid in descendants():
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total_kib += sum(map(int, re.findall(r"^Pss:\s+(\d+)", text, re.MULTILINE)))
    return total_kib * 1024 / 1e6


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def end(process: subprocess.Popen[bytes], *, grace_s: float = 5) -> None:
    """Ask a server to end; end it and all that it leaves."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(grace_s)
    end_all()


def end_all() -> None:
    """End all that is left below this process."""
    deadline = time.monotonic() + 5
    while (left := descendants()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent, ... Zeros when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ["0"] * 50

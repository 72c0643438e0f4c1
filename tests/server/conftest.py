"""A real server process for each test, around a predictor written on the spot."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import REPOSITORY
from tests.shared import free_port

HEAD = "import os, sys, time\nfrom typing import *\nfrom cog import *\n\n"


@dataclass
class Server:
    """A running `python -m cog_server` and a client of it."""

    process: subprocess.Popen[str]
    http: httpx.Client
    url: str
    log: Path

    def predict(self, **given: Any) -> dict[str, Any]:
        answer = self.http.post("/predictions", json={"input": given})
        assert answer.status_code == 200, answer.text
        document = answer.json()
        assert isinstance(document, dict)
        return document

    def reconnect(self) -> None:
        """Give up the connections that are kept alive, and begin anew."""
        self.http.close()
        self.http = client_of(self.url)

    def predict_quietly(self) -> None:
        """Run one prediction, whatever it comes to: all that is made on first use is there then."""
        self.http.post("/predictions", json={})

    def health(self) -> dict[str, Any]:
        document = self.http.get("/health-check").json()
        assert isinstance(document, dict)
        return document

    def wait_for(self, *states: str, timeout_s: float = 20) -> dict[str, Any]:
        """Wait until the health check says one of `states`."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            health = self.health()
            if health["status"] in states:
                return health
            time.sleep(0.02)
        raise AssertionError(f"still {health['status']}, not {states}: {self.log.read_text()}")

    def worker_pids(self) -> list[int]:
        """The worker processes below the server."""
        return [pid for pid in children(self.process.pid) if b"cog.worker" in _command(pid)]


@dataclass(frozen=True)
class Footprint:
    """What a server holds."""

    fds: int
    threads: int
    children: int
    folders: int

    @classmethod
    def of(cls, server: Server) -> Footprint:
        pid = server.process.pid
        return cls(
            fds=len(os.listdir(f"/proc/{pid}/fd")),
            threads=len(os.listdir(f"/proc/{pid}/task")),
            children=len(children(pid)),
            # What is kept between predictions is none's.
            folders=sum(each.name != "cache" for each in server.log.parent.glob("cog-server-*/*")),
        )

    def exceeds(self, other: Footprint) -> bool:
        """Whether anything is more. Threads of a pool stay, up to its size; no leak stops there."""
        return (
            self.fds > other.fds
            or self.children > other.children
            or self.folders > other.folders
            or self.threads > other.threads + 40
        )


# What a server opens on first use and keeps: clients of other servers, a database, a pipe to a thread.
_KEPT_FDS = 6

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a server around `source` (without imports: cog, typing, os, sys and time are there)."""
    with serving(tmp_path) as start:
        yield start


@contextlib.contextmanager
def serving(tmp_path: Path, *, kept_fds: int = _KEPT_FDS) -> Iterator[Serve]:
    """Give the function that starts servers below `tmp_path`; end them, and look for what they left behind.

    Each may keep `kept_fds` more than it had when it was ready.
    """
    started: list[Server] = []
    footprints: dict[str, Footprint] = {}

    def start(
        source: str,
        *,
        ready: bool = True,
        environment: dict[str, str] | None = None,
        arguments: Sequence[str] = (),
    ) -> Server:
        folder = tmp_path / f"model{len(started)}"
        folder.mkdir()
        (folder / "predict.py").write_text(HEAD + textwrap.dedent(source))
        port = free_port()
        log = folder / "log"
        variables = {
            "COG_PREDICT": "predict.py:Predictor",
            "COG_MODEL_PATH": str(REPOSITORY),
            "PYTHONPATH": str(REPOSITORY),
            "LOG_FORMAT": "console",
            "TMPDIR": str(folder),
        }
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "cog_server", "--host", "127.0.0.1", "--port", str(port), *arguments],
                cwd=folder,
                env={**os.environ, **variables, **(environment or {})},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
        url = f"http://127.0.0.1:{port}"
        server = Server(process, client_of(url), url, log)
        started.append(server)
        wait_until(lambda: _answers(server), f"the server does not answer: {log}", timeout_s=20)
        if ready:
            server.wait_for("READY")
            footprints[server.url] = Footprint.of(server)
        return server

    yield start
    for server in started:
        server.reconnect()
        if server.process.poll() is None and server.url in footprints:
            look_for_leaks(server, footprints[server.url], kept_fds=kept_fds)
        server.http.close()
        if server.process.poll() is None:
            workers = server.worker_pids()
            server.process.send_signal(signal.SIGTERM)
            server.process.wait(20)
            for pid in workers:
                wait_until(functools.partial(_is_gone, pid), f"worker {pid} outlives its server")
        if server.process.returncode != -signal.SIGKILL:
            left = [path.name for path in server.log.parent.iterdir() if path.name.startswith("cog-server-")]
            assert not left, f"files left behind: {left}"


def look_for_leaks(server: Server, before: Footprint, *, kept_fds: int = _KEPT_FDS) -> None:
    """Wait until the server holds no more than when it was ready, but for what it opens once; fail otherwise."""
    if server.health()["status"] not in ("READY", "BUSY"):
        return  # Without a worker it holds less.
    for status in ("starting", "processing"):
        for record in server.http.get(f"/predictions?status={status}").json().get("results", ()):
            server.http.post(f"/predictions/{record['id']}/cancel")
    server.http.close()
    allowed = replace(before, fds=before.fds + kept_fds, folders=0)
    try:
        wait_until(lambda: not Footprint.of(server).exceeds(allowed), "", timeout_s=15)
    except AssertionError:
        raise AssertionError(f"leaked: {Footprint.of(server)}, when it was ready {before}") from None


def client_of(url: str) -> httpx.Client:
    return httpx.Client(base_url=url, timeout=30, trust_env=False)


def children(parent: int) -> list[int]:
    """The processes that a process has started and not yet buried."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def _is_gone(pid: int) -> bool:
    return not is_alive(pid)


def wait_until(condition: Callable[[], bool], problem: str, *, timeout_s: float = 10) -> None:
    """Poll until `condition` holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(problem)
        time.sleep(0.02)


def _answers(server: Server) -> bool:
    if server.process.poll() is not None:
        raise AssertionError(f"the server ended: {server.log.read_text()}")
    try:
        server.http.get("/livez")
    except httpx.HTTPError:
        return False
    return True

"""A server that runs, from its first right answer until nothing of it is left."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import processes
from benchmarks.peers.environments import REPOSITORY, ensure_environment
from benchmarks.peers.kinds import APPS, HOST, Kind
from benchmarks.peers.workloads import Workload

READY_DEADLINE_S = 30.0
CHECK_DEADLINE_S = 8.0


class ServerError(Exception):
    """A server does not start, or answers wrong."""


@dataclass
class Server:
    """A running server, of one workload."""

    kind: Kind
    workload: Workload
    process: subprocess.Popen[bytes]
    port: int
    log: Path
    start_s: float = 0.0

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}{self.kind.address(self.workload)}"

    def check(self) -> None:
        """Ask once, and once wrongly. Raises ServerError unless both answers are as they have to be."""
        self.wait_until_right(CHECK_DEADLINE_S)
        status, content = self._ask(self.workload.wrong)
        if status not in (400, 422):
            raise ServerError(f"answers {status} to an input of the wrong type: {content[:200]!r}")

    def wait_until_right(self, deadline_s: float) -> None:
        """Ask until the answer is right. Raises ServerError if it is not within `deadline_s`."""
        deadline, told = time.monotonic() + deadline_s, "nothing"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(f"ended with {self.process.returncode}")
            try:
                status, content = self._ask(self.workload.given())
            except (OSError, http.client.HTTPException) as error:
                told = repr(error)
            else:
                if status == 200 and self._is_right(content):
                    return
                told = f"{status}: {content[:200]!r}"
            # cog 0.23 answers 409 also when all that ran has just ended; others, while they start.
            time.sleep(0.01)
        raise ServerError(f"has no right answer within {deadline_s:.0f} s; the last is {told}")

    def _ask(self, given: dict[str, object]) -> tuple[int, bytes]:
        with contextlib.closing(http.client.HTTPConnection(HOST, self.port, timeout=CHECK_DEADLINE_S)) as connection:
            headers = {"content-type": "application/json"}
            body = self.kind.body(self.workload, given)
            connection.request("POST", self.kind.address(self.workload), body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _is_right(self, content: bytes) -> bool:
        document = json.loads(content)
        output = document[0] if isinstance(document, list) else document.get("output")
        return self.workload.is_right(output)


@contextlib.contextmanager
def serving(kind: Kind, workload: Workload) -> Iterator[Server]:
    """Start a server and wait for its first right answer; at the end nothing of it is left. Raises ServerError."""
    bin_folder = ensure_environment(kind.environment)
    with tempfile.TemporaryDirectory(prefix="cog-peers-", ignore_cleanup_errors=True) as scratch:
        app = Path(shutil.copytree(kind.app, Path(scratch) / "app"))
        port = _free_port()
        names = {"bin": str(bin_folder), "model": kind.model(workload), "port": str(port), "scratch": scratch}
        if kind.needs_schema:
            _write_schema(app, names["model"])
        variables = {
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
            "HOME": os.environ.get("HOME", scratch),
            "PYTHONPATH": str(APPS / "model"),
            "TMPDIR": scratch,
            # Two cores: a pool of threads per multiplication would only fight the load generator.
            "OPENBLAS_NUM_THREADS": "1",
            **{name: value.format(**names) for name, value in kind.variables.items()},
        }
        log = Path(scratch) / "log"
        started = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(
                [part.format(**names) for part in kind.command],
                cwd=app,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        server = Server(kind, workload, process, port, log)
        try:
            server.wait_until_right(READY_DEADLINE_S)
            server.start_s = time.monotonic() - started
            server.check()
            yield server
        except (ServerError, OSError, ValueError) as error:
            tail = log.read_text(errors="replace")[-1500:].strip()
            raise ServerError(f"{kind.name} {workload.name}: {error}\n{tail}") from error
        finally:
            processes.end(process)


def _write_schema(app: Path, model: str) -> None:
    """Leave the OpenAPI document where a build of cog 0.23 leaves it: without one it takes inputs of any type."""
    (app / "cog.yaml").write_text(f'build:\n  python_version: "3.11"\npredict: "predict.py:{model}"\n')
    command = [sys.executable, "-m", "cog_cli", "schema"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COG_OFFLINE": "1"}
    answer = subprocess.run(command, cwd=app, env=environment, capture_output=True, text=True, check=False, timeout=30)
    if answer.returncode != 0:
        raise ServerError(f"`cog schema` failed: {answer.stderr[-1000:]}")
    (app / ".cog").mkdir()
    (app / ".cog" / "openapi_schema.json").write_text(answer.stdout)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])

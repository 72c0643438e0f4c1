"""What needs more than one engine: a GPU driver, a registry, an engine in trouble. They run on the lab's machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Cog
from tests.integration.names import RUN, docker, image_name
from tests.shared import locked

LAB = REPOSITORY / "tests" / "lab"
LAB_DIR = Path(os.environ.get("COG_LAB_DIR", "/var/lib/cog-lab"))
GPU_ENGINE = "unix:///run/cog-lab-gpu/docker.sock"
REGISTRY = "127.0.0.1:5055"

Project = Callable[..., Path]

GPU_CONFIG = 'build:\n  gpu: true\n  python_version: "3.11"\npredict: "predict.py:Predictor"\n'
GPU_PREDICTOR = """
import os
from cog import BasePredictor


class Predictor(BasePredictor):
    def predict(self) -> str:
        return os.environ.get("NVIDIA_VISIBLE_DEVICES", "unset")
"""


@pytest.fixture(scope="module")
def gpu_engine() -> Iterator[str]:
    """An engine that has a GPU driver, as far as an engine can tell."""
    with locked(LAB_DIR / "gpu-engine.in-use"):
        subprocess.run([str(LAB / "gpu-engine"), "up"], check=True, timeout=60)
        yield GPU_ENGINE
        subprocess.run([str(LAB / "gpu-engine"), "down"], check=True, timeout=60)


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    with locked(LAB_DIR / "registry.in-use"):
        subprocess.run([str(LAB / "registry"), "up"], check=True, timeout=60)
        yield REGISTRY
        subprocess.run([str(LAB / "registry"), "down"], check=True, timeout=60)


def hook_calls() -> int:
    log = LAB_DIR / "logs" / "gpu-hook.log"
    return len(log.read_text().splitlines()) if log.exists() else 0


@pytest.mark.lab
@pytest.mark.slow
def test_gpus_reach_the_runtime_where_there_is_a_driver_and_are_done_without_elsewhere(
    project: Project, cog: Cog, gpu_engine: str
) -> None:
    folder = project({"cog.yaml": GPU_CONFIG, "predict.py": GPU_PREDICTOR})
    image = image_name("gpu")
    assert cog("build", "-t", image, folder=folder).returncode == 0
    save = subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE)
    subprocess.run(["docker", "-H", gpu_engine, "load"], stdin=save.stdout, capture_output=True, check=True)
    calls = hook_calls()

    without = cog("predict", image, folder=folder)
    assert (without.returncode, without.stdout) == (0, "all\n"), without.stderr
    assert "no GPU driver: going on without" in without.stderr
    assert hook_calls() == calls

    with_driver = cog("predict", image, folder=folder, environment={"DOCKER_HOST": gpu_engine})
    assert (with_driver.returncode, with_driver.stdout) == (0, "all\n"), with_driver.stderr
    assert "GPU" not in with_driver.stderr
    assert hook_calls() == calls + 1

    one = cog("predict", image, "--gpus", "device=0", folder=folder, environment={"DOCKER_HOST": gpu_engine})
    assert (one.returncode, one.stdout) == (0, "0\n"), one.stderr

    refused = cog("predict", image, "--gpus", "all", folder=folder)
    assert refused.returncode == 1
    assert "no GPU driver" in refused.stderr


@pytest.mark.lab
@pytest.mark.slow
def test_push_sends_the_image_to_a_registry(project: Project, cog: Cog, registry: str) -> None:
    name = f"{registry}/me/{RUN}:1"

    answer = cog("push", name, folder=project())

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == f"{name}\n"
    docker("rmi", name)
    found = cog("predict", name, "-i", "text=pulled", folder=project())
    docker("rmi", name)
    assert (found.returncode, found.stdout) == (0, "hello pulled\n"), found.stderr


@pytest.mark.docker
def test_push_to_a_registry_that_is_not_there_says_so(project: Project, cog: Cog) -> None:
    name = f"127.0.0.1:9/me/{RUN}"

    answer = cog("push", name, folder=project())

    docker("rmi", name)
    assert answer.returncode == 1
    assert f"{name} cannot be pushed" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.lab
def test_docker_without_buildx_is_said_with_what_to_do(project: Project, cog: Cog, tmp_path: Path) -> None:
    docker = shutil.which("docker")
    assert docker is not None
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "docker").symlink_to(docker)
    environment = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin"}

    answer = cog("build", folder=project(), environment=environment)

    assert answer.returncode == 1
    assert "buildx" in answer.stderr
    assert "https://" in answer.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a socket that others may not use")
def test_a_socket_without_permission_is_said_with_what_to_do(project: Project, tmp_path: Path) -> None:
    path = f"/run/{image_name('forbidden')}.sock"
    with socket.socket(socket.AF_UNIX) as forbidden:
        forbidden.bind(path)
        forbidden.listen()
        os.chmod(path, 0o600)
        folder = project()
        # A copy that nobody may read: the checkout may lie below root's own home.
        for parent in [folder, *folder.parents][:5]:
            parent.chmod(0o755)
        script = "import os, sys; os.setgid(65534); os.setuid(65534); sys.argv = ['cog', 'build'];"
        script += "from cog_cli.engines.connection import connect\ntry:\n  connect()\nexcept Exception as e: print(e.message, e.hint)"
        answer = subprocess.run(
            [sys.executable, "-c", "from cog_cli.engines import connection\n" + script],
            cwd=folder,
            env={**os.environ, "DOCKER_HOST": f"unix://{path}"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    os.unlink(path)

    assert "no permission to use Docker's socket" in answer.stdout, answer.stderr
    assert "usermod" in answer.stdout


def test_an_engine_that_never_answers_does_not_hang_for_ever(project: Project, cog: Cog, tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        started = time.monotonic()
        answer = cog("build", folder=project(), environment={"DOCKER_HOST": f"unix://{path}"}, timeout_s=60)

    assert answer.returncode == 1
    assert "no Docker engine answers" in answer.stderr
    assert time.monotonic() - started < 20


def test_auto_goes_on_without_docker_and_says_so(project: Project, cog: Cog) -> None:
    environment = {"DOCKER_HOST": "unix:///nonexistent.sock"}

    answer = cog("predict", "-i", "text=you", folder=project(), environment=environment)

    assert (answer.returncode, answer.stdout) == (0, "hello you\n"), answer.stderr
    assert "using the local engine" in answer.stderr


def test_the_local_engine_keeps_the_models_packages_to_itself(project: Project, cog: Cog) -> None:
    source = "import importlib.util\nfrom cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
    source += "    def predict(self) -> list[str]:\n"
    source += "        names = ('fastapi', 'pydantic', 'docker', 'cog_server')\n"
    source += "        return [name for name in names if importlib.util.find_spec(name)]\n"

    answer = cog("predict", "--engine", "local", folder=project({"predict.py": source}))

    assert (answer.returncode, answer.stdout) == (0, "[]\n"), answer.stderr


def test_ctrl_c_on_the_local_engine_leaves_no_process(project: Project) -> None:
    source = "import os, time\nfrom cog import BasePredictor\n\n\nclass Predictor(BasePredictor):\n"
    source += "    def predict(self) -> str:\n        print('pid', os.getpid(), flush=True)\n        time.sleep(60)\n        return ''\n"
    process = subprocess.Popen(
        [sys.executable, "-m", "cog_cli", "predict", "--engine", "local", "--python", sys.executable],
        cwd=project({"predict.py": source}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    worker = next(int(line.split()[1]) for line in process.stderr if line.startswith("pid "))
    threading.Timer(0.2, process.terminate).start()

    _, errors = process.communicate(timeout=20)

    assert process.returncode == 130, errors
    deadline = time.monotonic() + 5
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()

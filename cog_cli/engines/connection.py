"""`connect`: a client of the Docker engine that answers, or the reason why none does."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import docker
import requests
from docker import errors as docker_errors

from cog_cli.errors import CogError

_API_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 10


def connect() -> docker.DockerClient:
    """A client of an engine that answers. Raises CogError that says why none does."""
    try:
        host = os.environ.get("DOCKER_HOST") or _context_host()
        timeout = _CONNECT_TIMEOUT_S
        client = docker.DockerClient(base_url=host, timeout=timeout) if host else docker.from_env(timeout=timeout)
        client.ping()
        client.api.timeout = _API_TIMEOUT_S
    except (docker_errors.DockerException, requests.RequestException, ValueError) as error:
        raise _connect_error(error) from error
    return client


def _context_host() -> str | None:
    """Where the docker program's current context points; its API library does not ask."""
    docker_program = shutil.which("docker")
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    if docker_program is None or not config.is_file() or "currentContext" not in config.read_text(errors="replace"):
        return None
    command = [docker_program, "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
        return answer.stdout.strip() or None
    return None


def _connect_error(error: Exception) -> CogError:
    text = str(error)
    if "PermissionError" in text or "Permission denied" in text:
        return CogError(
            "no permission to use Docker's socket",
            hint="Add yourself to the group: `sudo usermod -aG docker $USER`, then log in anew.",
        )
    where = os.environ.get("DOCKER_HOST", "")
    if where:
        return CogError(f"no Docker engine answers at DOCKER_HOST={where}", hint="Correct the variable, or unset it.")
    if shutil.which("docker") is None:
        return CogError(
            "Docker is not installed",
            hint="Install it: https://docs.docker.com/get-docker/, or go without it: --engine local.",
        )
    return CogError(
        "Docker is not running",
        hint="Start it (Docker Desktop, or `sudo systemctl start docker`), or go without it: --engine local.",
    )

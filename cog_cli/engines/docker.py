"""`DockerEngine`: images built by BuildKit through `docker buildx`, everything else through Docker's API."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from docker import errors as docker_errors
from docker.models.containers import Container
from docker.types import DeviceRequest

from cog.schema.spec import PredictorSpec
from cog_cli.engines.base import GpuNotAvailable, Image, ImageNotFound, RunningModel, RunOptions
from cog_cli.engines.buildx import find_docker
from cog_cli.engines.connection import connect
from cog_cli.engines.image_build import build_with_buildx
from cog_cli.engines.this_machine import HOSTS, see_from_container
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOrder

_PORT = 5000
_SHM_BYTES = 6 * 1024**3
_STOP_S = 5
_LABEL_OWNER = "run.cog.cli"
_NO_GPU_DRIVER = "could not select device driver"


class DockerEngine:
    """Docker, at DOCKER_HOST or where the current docker context points."""

    name = "docker"

    def __init__(self) -> None:
        self._client = connect()

    # Building

    def build(self, order: BuildOrder) -> Image:
        return self._named(order.name, build_with_buildx(order, self))

    def _named(self, name: str, image_id: str) -> Image:
        """Give the finished image its name; until here it had none, so that a name never means half an image."""
        found = self.inspect(image_id)
        assert found is not None, image_id
        self._client.images.get(image_id).tag(name)
        return Image(name, found.id, found.size_bytes, found.labels)

    def inspect(self, name: str) -> Image | None:
        """The image of this name or id, if it is here."""
        try:
            attributes = self._client.images.get(name).attrs
        except docker_errors.ImageNotFound:
            return None
        labels = (attributes.get("Config") or {}).get("Labels") or {}
        return Image(name, attributes["Id"], attributes.get("Size", 0), labels)

    def layers(self, image_id: str) -> list[str]:
        """Digests of an image's layers, the base's first."""
        return list(self._client.images.get(image_id).attrs["RootFS"].get("Layers", ()))

    def forget(self, image_id: str) -> None:
        """Delete an image that nothing needs."""
        with contextlib.suppress(docker_errors.APIError):
            self._client.images.remove(image_id)

    def describe(self, image_id: str, reference: str, mode: str) -> PredictorSpec:
        """The spec of an image's predictor, from live objects: runs the user's module in the image."""
        command = ["python3", "-m", "cog.describe", "--target", reference, "--mode", mode]
        try:
            output = self._client.containers.run(
                image_id, command, entrypoint=[], remove=True, stderr=False, labels={_LABEL_OWNER: "describe"}
            )
        except docker_errors.ContainerError as error:
            said = error.stderr or ""
            text = (said if isinstance(said, str) else said.decode("utf-8", "replace")).strip()
            raise CogError(f"the signature of {reference} cannot be read in the image:\n{text}") from error
        return PredictorSpec.from_json(json.loads(output))

    # Finding and sending

    def find(self, name: str) -> Image:
        found = self.inspect(name)
        if found is not None:
            return found
        try:
            self._client.images.pull(name)
        except docker_errors.APIError as error:
            raise ImageNotFound(
                f"there is no image {name}, neither here nor in its registry ({_reason(error)})",
                hint="`docker images` lists those that are here; `cog build -t NAME` makes one.",
            ) from error
        found = self.inspect(name)
        assert found is not None, name
        return found

    def push(self, name: str, on_text: Callable[[str], None]) -> None:
        if self.inspect(name) is None:
            raise ImageNotFound(f"there is no image {name} here", hint=f"`cog build -t {name}` makes it.")
        last: dict[str, str] = {}
        for event in self._client.api.push(name, stream=True, decode=True):
            if "error" in event:
                raise CogError(f"{name} cannot be pushed: {event['error']}", hint="`docker login REGISTRY` logs in.")
            layer, status = event.get("id", ""), event.get("status", "")
            if status and last.get(layer) != status:
                last[layer] = status
                on_text(f"{layer}: {status}\n" if layer else f"{status}\n")

    # Running

    @contextlib.contextmanager
    def start(self, image: Image, options: RunOptions) -> Iterator[RunningModel]:
        container, name = None, f"cog-{uuid.uuid4().hex[:12]}"
        try:
            container = self._start_container(image, options, name)
            yield _RunningContainer(container, self._host(), options.on_log)
        finally:
            # By name: an interrupt may have come before the engine's answer did.
            with contextlib.suppress(docker_errors.APIError, requests.RequestException):
                left = container or self._client.containers.get(name)
                left.stop(timeout=_STOP_S)
            with contextlib.suppress(docker_errors.APIError, requests.RequestException):
                self._client.api.remove_container(name, force=True, v=True)

    def _start_container(self, image: Image, options: RunOptions, name: str) -> Container:
        try:
            return self._try_container(image, options, name, gpus=options.gpus)
        except GpuNotAvailable as error:
            if options.gpus_asked:
                raise
            options.on_notice(f"{error.message}: going on without")
            with contextlib.suppress(docker_errors.APIError):
                self._client.api.remove_container(name, force=True)
            return self._try_container(image, options, name, gpus=None)

    def _try_container(self, image: Image, options: RunOptions, name: str, *, gpus: str | None) -> Container:
        ports: dict[str, Any] = {f"{_PORT}/tcp": (options.host, options.port or None)}
        volumes = {str(options.source): {"bind": "/src", "mode": "rw"}} if options.source else {}
        command = ["--x-mode", options.mode] if options.mode != "predict" else None
        try:
            container = self._client.containers.create(
                image.id,
                command and ["/opt/cog/venv/bin/python", "-m", "cog_server", *command],
                name=name,
                labels={_LABEL_OWNER: "run"},
                environment=[*options.environment, *see_from_container(options)],
                extra_hosts=HOSTS,
                ports=ports,
                volumes=volumes,
                device_requests=_device_requests(gpus),
                shm_size=_SHM_BYTES,
            )
            container.start()
            container.reload()
        except docker_errors.APIError as error:
            raise _start_error(error, options) from error
        return container

    def execute(self, image: Image, command: list[str], options: RunOptions) -> int:
        # The docker program, not the API: it hands on a terminal, its size, signals and the exit code.
        # docs/decisions/006-exec-by-docker-run.md
        docker_program = find_docker()
        gpus = options.gpus
        while True:
            arguments = [
                docker_program,
                "run",
                "--rm",
                "--interactive",
                "--workdir",
                "/src",
                "--shm-size",
                str(_SHM_BYTES),
                *(f"--add-host={name}:{address}" for name, address in HOSTS.items()),
            ]
            arguments += ["--label", f"{_LABEL_OWNER}=exec"]
            if sys.stdin.isatty() and sys.stdout.isatty():
                arguments.append("--tty")
            if gpus:
                arguments += ["--gpus", gpus_word(gpus)]
            if options.source:
                arguments += ["--volume", f"{options.source}:/src"]
            for variable in options.environment:
                arguments += ["--env", variable]
            for port in options.published:
                arguments += ["--publish", port if ":" in port else f"{options.host}:{port}:{port}"]
            if gpus and not options.gpus_asked and not self._has_gpu_driver(image):
                options.on_notice("the engine has no GPU driver: going on without")
                gpus = None
                continue
            return subprocess.run([*arguments, image.id, *command], check=False).returncode

    def _has_gpu_driver(self, image: Image) -> bool:
        """Whether a container with GPUs starts: nothing else tells."""
        name = f"cog-{uuid.uuid4().hex[:12]}"
        try:
            container = self._client.containers.create(
                image.id, ["true"], entrypoint=[], name=name, device_requests=_device_requests("all")
            )
            container.start()
        except docker_errors.APIError as error:
            return _NO_GPU_DRIVER not in str(error)
        finally:
            with contextlib.suppress(docker_errors.APIError):
                self._client.api.remove_container(name, force=True)
        return True

    def _host(self) -> str:
        """Where published ports are: this machine, or the one the engine runs on."""
        parts = urlsplit(self._client.api.base_url)
        is_remote = os.environ.get("DOCKER_HOST", "").startswith(("tcp://", "ssh://"))
        return parts.hostname or "127.0.0.1" if is_remote else "127.0.0.1"


class _RunningContainer:
    """A started container; its text goes to `on_log` until it ends."""

    def __init__(self, container: Container, host: str, on_log: Callable[[str], None]) -> None:
        self._container = container
        ports = container.attrs["NetworkSettings"]["Ports"].get(f"{_PORT}/tcp") or [{"HostPort": str(_PORT)}]
        self.url = f"http://{host}:{ports[0]['HostPort']}"
        self._reader = threading.Thread(target=self._read, args=(on_log,), daemon=True)
        self._reader.start()

    def exit_code(self) -> int | None:
        try:
            self._container.reload()
        except docker_errors.NotFound:
            return 1
        state = self._container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def wait(self) -> int:
        while True:
            # In short waits, so that Ctrl-C is heard.
            with contextlib.suppress(requests.RequestException):
                code = int(self._container.wait(timeout=1)["StatusCode"])
                self._reader.join(timeout=5)
                return code

    def _read(self, on_log: Callable[[str], None]) -> None:
        with contextlib.suppress(docker_errors.APIError, requests.RequestException):
            for chunk in self._container.logs(stream=True, follow=True):
                on_log(chunk.decode("utf-8", "replace"))


def _start_error(error: docker_errors.APIError, options: RunOptions) -> CogError:
    text = str(error.explanation or error)
    if _NO_GPU_DRIVER in text:
        return GpuNotAvailable(
            "the engine has no GPU driver",
            hint="Install the NVIDIA Container Toolkit: https://docs.nvidia.com/datacenter/cloud-native/.",
        )
    if "port is already allocated" in text or "address already in use" in text:
        return CogError(f"port {options.port} is in use", hint="Choose another with -p, or 0 for any free one.")
    return CogError(f"the container cannot be started: {text}")


def _reason(error: docker_errors.APIError) -> str:
    return str(error.explanation or error).strip()[:300]


def gpus_word(gpus: str) -> str:
    """The value of `docker run --gpus`, which reads it as a line of CSV."""
    return f'"{gpus}"' if "," in gpus else gpus


def _device_requests(gpus: str | None) -> list[DeviceRequest]:
    if not gpus:
        return []
    if gpus.startswith("device="):
        return [DeviceRequest(device_ids=gpus.removeprefix("device=").split(","), capabilities=[["gpu"]])]
    return [DeviceRequest(count=-1 if gpus == "all" else int(gpus), capabilities=[["gpu"]])]

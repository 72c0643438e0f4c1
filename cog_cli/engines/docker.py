"""`DockerEngine`: images built by BuildKit through `docker buildx`, everything else through Docker's API."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import requests
from docker import errors as docker_errors
from docker.models.containers import Container
from docker.types import DeviceRequest

from cog.spec import PredictorSpec
from cog_cli.certificates import read_ca_bundle
from cog_cli.console import console
from cog_cli.context import StagedContext, stage_context
from cog_cli.engines.base import BuildOrder, GpuNotAvailable, Image, ImageNotFound, RunningModel, RunOptions, Secret
from cog_cli.engines.base_images import check_images
from cog_cli.engines.buildx import BuildCall, find_docker, run_build
from cog_cli.errors import CogError
from cog_cli.labels import LABEL_CREATED, LABEL_FREEZE, image_labels
from cog_cli.plan import BuildPlan, PlanOptions, make_plan
from cog_cli.progress import BuildProgress

_PORT = 5000
_SHM_BYTES = 6 * 1024**3
_STOP_S = 5
_API_TIMEOUT_S = 60
_CONNECT_TIMEOUT_S = 10
_LABEL_OWNER = "run.cog.cli"
_NO_GPU_DRIVER = "could not select device driver"
# Settings of the host that uv must know in the build too, for networks that reach neither GitHub nor its mirrors.
_PASSED_ARGUMENTS = ("UV_PYTHON_DOWNLOADS_JSON_URL", "UV_PYTHON_INSTALL_MIRROR", "SOURCE_DATE_EPOCH")


class DockerEngine:
    """Docker, at DOCKER_HOST or where the current docker context points."""

    name = "docker"

    def __init__(self) -> None:
        self._client = connect()

    # Building

    def build(self, order: BuildOrder) -> Image:
        docker_program = find_docker()
        check_images(order.resolved.images)
        with tempfile.TemporaryDirectory(prefix="cog-build-") as name:
            folder = Path(name)
            secrets, plan_options = _certificates(order, folder)
            plan = make_plan(order.project.config, order.resolved.stack, order.resolved.requirements, plan_options)
            context_folder = folder / "context"
            context_folder.mkdir()
            staged = stage_context(plan, order.resolved.requirements, order.project.root, context_folder)
            for warning in staged.warnings:
                console.warn(warning)
            build = _Build(self, docker_program, order, plan, staged, secrets, folder)
            image_id = build.run()
        return self._named(order.name, image_id)

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
                environment=list(options.environment),
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
            ]
            arguments += ["--label", f"{_LABEL_OWNER}=exec"]
            if sys.stdin.isatty() and sys.stdout.isatty():
                arguments.append("--tty")
            if gpus:
                arguments += ["--gpus", gpus]
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


class _Build:
    """The calls to buildx that make one image, as few as its labels allow."""

    def __init__(
        self,
        engine: DockerEngine,
        docker_program: str,
        order: BuildOrder,
        plan: BuildPlan,
        staged: StagedContext,
        secrets: tuple[Secret, ...],
        folder: Path,
    ) -> None:
        self._engine = engine
        self._docker = docker_program
        self._order = order
        self._plan = plan
        self._staged = staged
        self._secrets = secrets
        self._folder = folder
        self._progress = BuildProgress(order.options.progress)
        self._train_spec = order.train_spec
        self._arguments = {name: os.environ[name] for name in _PASSED_ARGUMENTS if os.environ.get(name)}
        if "SOURCE_DATE_EPOCH" in self._arguments:
            # Byte code that holds no time, nor becomes invalid when all files get another one. A constant, not the
            # epoch itself: that may be new with every commit, and would make every layer new.
            self._arguments["PYC_INVALIDATION_MODE"] = "CHECKED_HASH"
        if order.options.no_cache:
            # Not buildx's own --no-cache: the calls that follow (for the freeze, the labels) would find older layers
            # than those just made. A value that no build had before is a key that all calls of this one share.
            self._arguments["COG_FRESH"] = uuid.uuid4().hex

    def run(self) -> str:
        """Give the id of the finished image.

        The freeze is a label, and labels come before the build. So the earlier image's freeze is taken on trust; if
        the layers that hold packages turn out to be others, it is made anew and the (cached) build labelled again.
        """
        earlier = self._engine.inspect(self._order.name)
        freeze = earlier.labels.get(LABEL_FREEZE) if earlier else None
        if freeze is None:
            freeze = self._freeze()
        spec = self._order.spec
        image_id = self._image(self._labels(spec, freeze))
        if earlier is not None and self._package_layers(image_id) != self._package_layers(earlier.id):
            fresh = self._freeze()
            if fresh.strip() != freeze.strip():
                freeze = fresh
                image_id = self._relabelled(image_id, spec, freeze)
        config = self._order.project.config
        if spec is None or (self._train_spec is None and config.train):
            spec = spec or self._engine.describe(image_id, config.predict or "", "predict")
            if config.train and self._train_spec is None:
                self._train_spec = self._engine.describe(image_id, config.train, "train")
            image_id = self._relabelled(image_id, spec, freeze)
        return self._same_as_earlier(earlier, image_id)

    def _same_as_earlier(self, earlier: Image | None, image_id: str) -> str:
        """The earlier image, if nothing but the time of the build tells the new one apart from it."""
        if earlier is None or earlier.id == image_id:
            return image_id
        new = self._engine.inspect(image_id)
        assert new is not None, image_id
        old_labels, new_labels = dict(earlier.labels), dict(new.labels)
        old_labels.pop(LABEL_CREATED, None)
        new_labels.pop(LABEL_CREATED, None)
        if old_labels != new_labels or self._engine.layers(image_id) != self._engine.layers(earlier.id):
            return image_id
        self._engine.forget(image_id)
        return earlier.id

    def _relabelled(self, image_id: str, spec: PredictorSpec | None, freeze: str) -> str:
        labelled = self._image(self._labels(spec, freeze))
        if labelled != image_id:
            self._engine.forget(image_id)
        return labelled

    def _labels(self, spec: PredictorSpec | None, freeze: str) -> dict[str, str]:
        project = self._order.project
        labels = image_labels(project.config, spec, self._train_spec, freeze, project.root)
        return {**labels, **dict(self._order.options.labels)}

    def _package_layers(self, image_id: str) -> list[str]:
        source_layers = 2 if self._plan.config_file else 1
        return self._engine.layers(image_id)[:-source_layers]

    def _freeze(self) -> str:
        target = self._folder / "freeze"
        shutil.rmtree(target, ignore_errors=True)
        self._call("freeze", output=f"type=local,dest={target}", labels={})
        return (target / "pip_freeze.txt").read_text(encoding="utf-8")

    def _image(self, labels: dict[str, str]) -> str:
        return self._call("model", output=None, labels=labels)

    def _call(self, target: str, *, output: str | None, labels: dict[str, str]) -> str:
        call = BuildCall(
            dockerfile=self._staged.dockerfile,
            context=self._staged.project,
            cog_context=self._staged.cog_context,
            target=target,
            output=output,
            labels=labels,
            secrets=self._secrets,
            arguments=self._arguments,
            platform=self._order.options.platform,
        )
        return run_build(self._docker, call, self._progress)


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


def _device_requests(gpus: str | None) -> list[DeviceRequest]:
    if not gpus:
        return []
    if gpus.startswith("device="):
        return [DeviceRequest(device_ids=gpus.removeprefix("device=").split(","), capabilities=[["gpu"]])]
    return [DeviceRequest(count=-1 if gpus == "all" else int(gpus), capabilities=[["gpu"]])]


def _certificates(order: BuildOrder, folder: Path) -> tuple[tuple[Secret, ...], PlanOptions]:
    """The secrets of a build, with the CA bundle among them if there is one."""
    options = order.options
    if options.ca_cert is None:
        return options.secrets, PlanOptions(config_name=order.project.config_name)
    bundle = read_ca_bundle(options.ca_cert).encode()
    file = folder / "ca.pem"
    file.write_bytes(bundle)
    digest = hashlib.sha256(bundle).hexdigest() if options.image_ca else None
    plan_options = PlanOptions(ca_cert=True, image_ca_sha256=digest, config_name=order.project.config_name)
    return (*options.secrets, Secret("cog-ca", file=file)), plan_options

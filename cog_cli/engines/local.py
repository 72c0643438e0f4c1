"""`LocalEngine`: the same server and worker on the host, the worker in the project's own interpreter."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cog
from cog.schema.spec import PredictorSpec
from cog_cli.config import Config
from cog_cli.console import console
from cog_cli.engines.base import Image, ImageNotFound, RunningModel, RunOptions
from cog_cli.errors import CogError
from cog_cli.image.build import BuildOrder
from cog_cli.image.context import stage_requirements
from cog_cli.image.labels import image_labels
from cog_cli.image.plan import PlanOptions, concurrency_settings, make_plan

_STOP_S = 10.0
_KEY_FILE = ".cog-key"


@dataclass(frozen=True)
class LocalImage(Image):
    """An "image" of the local engine: a project and the interpreter that runs it."""

    root: Path = Path()
    python: Path = Path()
    config: Config = field(default_factory=Config)


class LocalEngine:
    """Needs no Docker. `python` is the interpreter to use; None makes one under `.cog/` with uv."""

    name = "local"

    def __init__(self, python: str | None = None) -> None:
        self._python = python

    def build(self, order: BuildOrder) -> Image:
        project = order.project
        folder = project.root / ".cog"
        _make_own(folder)
        python = self._given_python() if self._python else _Environment(order, folder / "venv").python()
        self._warn_about_skipped(project.config)
        config = project.config
        spec, train_spec = order.spec, order.train_spec
        if config.predict and spec is None:
            spec = _describe(python, config.predict, project.root, "predict")
        if config.train and train_spec is None:
            train_spec = _describe(python, config.train, project.root, "train")
        labels = image_labels(config, spec, train_spec, "", project.root)
        return LocalImage(order.name, f"local:{project.root}", 0, labels, project.root, python, project.config)

    def find(self, name: str) -> Image:
        raise ImageNotFound(
            f"the local engine has no images, so there is no {name}",
            hint="Leave the image's name out to run the project in this folder, or use --engine docker.",
        )

    def push(self, name: str, on_text: Callable[[str], None]) -> None:
        raise CogError(f"{name} cannot be pushed: the local engine has no images", hint="Use --engine docker.")

    @contextlib.contextmanager
    def start(self, image: Image, options: RunOptions) -> Iterator[RunningModel]:
        assert isinstance(image, LocalImage), image
        port = options.port or _free_port(options.host)
        command = [sys.executable, "-m", "cog_server", "--host", options.host, "--port", str(port)]
        command += ["--x-mode", options.mode]
        process = subprocess.Popen(
            command,
            cwd=image.root,
            env=_environment(image, options),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _RunningProcess(process, f"http://{options.host}:{port}", options.on_log)
        finally:
            _stop(process)

    def execute(self, image: Image, command: list[str], options: RunOptions) -> int:
        assert isinstance(image, LocalImage), image
        environment = _environment(image, options)
        environment["PYTHONPATH"] = environment["COG_MODEL_PATH"]
        environment["PATH"] = f"{image.python.parent}{os.pathsep}{environment.get('PATH', '')}"
        program = shutil.which(command[0], path=environment["PATH"])
        if program is None:
            raise CogError(f"there is no program {command[0]!r} here")
        return subprocess.run([program, *command[1:]], cwd=image.root, env=environment, check=False).returncode

    def _given_python(self) -> Path:
        found = shutil.which(self._python or "")
        if found is None:
            raise CogError(f"--python: there is no interpreter {self._python}")
        # Not resolved: the link is what makes a virtual environment.
        return Path(found).absolute()

    def _warn_about_skipped(self, config: Config) -> None:
        build = config.build
        skipped = [name for name in ("system_packages", "run", "pre_install", "base_image") if getattr(build, name)]
        if self._python:
            skipped += [name for name in ("python_packages", "python_requirements") if getattr(build, name)]
        if skipped:
            keys = ", ".join(f"`build.{name}`" for name in skipped)
            console.warn(f"the local engine uses this machine as it is: {keys} not applied")


class _Environment:
    """The virtual environment of a project, made anew when what it is made of changes."""

    def __init__(self, order: BuildOrder, folder: Path) -> None:
        self._order = order
        self._folder = folder

    def python(self) -> Path:
        python = self._folder / "bin" / "python"
        key = self._key()
        marker = self._folder / _KEY_FILE
        if python.exists() and marker.is_file() and marker.read_text() == key:
            return python
        uv = _find_uv()
        version = self._order.resolved.stack.python
        console.info(f"making an environment with Python {version} in {self._folder}")
        marker.unlink(missing_ok=True)
        self._run(
            [uv, "venv", "--quiet", "--clear", "--python", version, str(self._folder)],
            f"Python {version} cannot be had on this machine",
            "Name an interpreter that has the model's packages: --python PATH.",
        )
        self._install(uv, python)
        marker.write_text(key)
        return python

    def _install(self, uv: str, python: Path) -> None:
        resolved, project = self._order.resolved, self._order.project
        install = make_plan(project.config, resolved.stack, resolved.requirements, PlanOptions()).install
        if install is None:
            return
        staged = self._folder / ".cog-requirements"
        shutil.rmtree(staged, ignore_errors=True)
        stage_requirements(install, resolved.requirements, project.root, staged)
        for arguments in install.arguments:
            command = [uv, "--no-config", "pip", "install", "--quiet", "--python", str(python), *arguments]
            self._run(command, f"the packages of `{install.key}` cannot be installed", None, folder=staged)

    def _run(self, command: list[str], problem: str, hint: str | None, *, folder: Path | None = None) -> None:
        answer = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if answer.returncode != 0:
            raise CogError(f"{problem}:\n{answer.stderr.strip()}", hint=hint)

    def _key(self) -> str:
        """What the environment is made of: versions, lines and the bytes of every file the installer reads."""
        resolved = self._order.resolved
        digest = hashlib.sha256()
        stack = resolved.stack
        for part in (stack.python, *stack.packages, *stack.install_args, *stack.constraints):
            digest.update(part.encode() + b"\0")
        for file in resolved.requirements.files:
            path = self._order.project.root / file.path
            digest.update(file.path.encode() + b"\0")
            for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if each.is_file():
                    digest.update(each.read_bytes() + b"\0")
        return digest.hexdigest()


class _RunningProcess:
    def __init__(self, process: subprocess.Popen[bytes], url: str, on_log: Callable[[str], None]) -> None:
        self._process = process
        self.url = url
        self._reader = threading.Thread(target=self._read, args=(on_log,), daemon=True)
        self._reader.start()

    def exit_code(self) -> int | None:
        return self._process.poll()

    def wait(self) -> int:
        code = self._process.wait()
        self._reader.join(timeout=5)
        return code

    def _read(self, on_log: Callable[[str], None]) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            on_log(line.decode("utf-8", "replace"))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment(image: LocalImage, options: RunOptions) -> dict[str, str]:
    """This process's environment, then what cog.yaml sets, then `-e`; as an image has it."""
    config = image.config
    environment = dict(os.environ)
    environment.update(item.partition("=")[::2] for item in config.environment)
    if config.predict:
        environment["COG_PREDICT"] = config.predict
    if config.train:
        environment["COG_TRAIN"] = config.train
    environment.update(concurrency_settings(config))
    environment["COG_PYTHON"] = str(image.python)
    environment["COG_MODEL_PATH"] = str(_model_path(image.root / ".cog"))
    for item in options.environment:
        name, equals, value = item.partition("=")
        environment[name] = value if equals else os.environ.get(name, "")
    if options.upload_url is not None:
        environment["COG_OUTPUT_PATH"] = options.upload_url
    return environment


def _model_path(folder: Path) -> Path:
    """A folder that holds the `cog` package and nothing else: the model must not see the server's packages."""
    path = folder / "model"
    path.mkdir(parents=True, exist_ok=True)
    link = path / "cog"
    source = Path(cog.__file__).resolve().parent
    if not link.is_symlink() or link.resolve() != source:
        link.unlink(missing_ok=True)
        link.symlink_to(source)
    return path


def _make_own(folder: Path) -> None:
    """Make `.cog/`, invisible to git."""
    try:
        folder.mkdir(exist_ok=True)
        (folder / ".gitignore").write_text("*\n")
    except OSError as error:
        raise CogError(f"{folder} cannot be written: {error.strerror}") from error


def _describe(python: Path, reference: str, root: Path, mode: str) -> PredictorSpec:
    environment = {**os.environ, "PYTHONPATH": str(_model_path(root / ".cog"))}
    command = [str(python), "-m", "cog.describe", "--target", reference, "--mode", mode]
    answer = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise CogError(f"the signature of {reference} cannot be read:\n{answer.stderr.strip()}")
    return PredictorSpec.from_json(json.loads(answer.stdout))


def _find_uv() -> str:
    found = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    if found is None:
        raise CogError("uv, which makes the project's environment, is not installed", hint="pip install uv")
    return found


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])

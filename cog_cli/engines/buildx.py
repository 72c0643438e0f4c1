"""`run_build`: one `docker buildx build`, its progress shown and its failure explained."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cog_cli.errors import CogError
from cog_cli.image.build import Secret
from cog_cli.image.dockerfile import find_key
from cog_cli.progress import BuildProgress

_SHOWN_LINES = 20
_STOP_S = 5.0


@dataclass(frozen=True)
class BuildCall:
    """One call. `output` is buildx's `--output`, or None to load the image into the engine."""

    dockerfile: Path
    context: Path
    cog_context: Path
    target: str
    output: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    platform: str | None = None


class BuildFailed(CogError):
    """A step of the build failed; the message ends with its last lines and the key of cog.yaml it stems from."""


def find_docker() -> str:
    """The docker client's path. Raises CogError if there is none, or if it has no buildx."""
    _check_folders()
    docker = shutil.which("docker")
    if docker is None:
        raise CogError(
            "the `docker` program is not installed (not found on the PATH)",
            hint="Install Docker: https://docs.docker.com/get-docker/, or go without it: --engine local.",
        )
    answer = subprocess.run([docker, "buildx", "version"], capture_output=True, text=True, timeout=30, check=False)
    if answer.returncode != 0:
        raise CogError(
            "docker has no buildx, which builds the images",
            hint="Install the plugin: https://docs.docker.com/go/buildx/ (Debian and Ubuntu: docker-buildx-plugin).",
        )
    return docker


def _check_folders() -> None:
    """Refuse folders that docker and we would fail on later, in words of their own."""
    temporary = os.environ.get("TMPDIR")
    if temporary and not os.access(temporary, os.W_OK | os.X_OK):
        raise CogError(f"TMPDIR={temporary} is not a folder that can be written", hint="Correct it, or unset it.")
    config = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    if not config.is_dir() and not os.access(config.parent, os.W_OK | os.X_OK):
        raise CogError(
            f"HOME={config.parent} cannot be written, and docker keeps its state there",
            hint="Set HOME, or DOCKER_CONFIG, to a folder that can be written.",
        )


def run_build(docker: str, call: BuildCall, progress: BuildProgress) -> str:
    """Build, and give the image's id ("" with an `output`). Raises BuildFailed or another CogError.

    Ctrl-C stops the build in the engine too.
    """
    with tempfile.TemporaryDirectory(prefix="cog-buildx-") as folder:
        id_file = Path(folder) / "id"
        # The id file and the export of files exclude each other.
        ids = [] if call.output else ["--iidfile", str(id_file)]
        command = [docker, "buildx", "build", *_flags(call), *ids, str(call.context)]
        environment = {**os.environ, "BUILDKIT_PROGRESS": "plain", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        # A session of its own: Ctrl-C reaches us, and we stop the client in order, not the terminal behind our back.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            transcript = progress.follow(process)
            code = process.wait()
        except BaseException:
            _stop(process)
            raise
        if code != 0:
            raise _explain(transcript, call.dockerfile.read_text(encoding="utf-8"))
        return id_file.read_text().strip() if id_file.exists() else ""


def _flags(call: BuildCall) -> list[str]:
    flags = ["--progress", "plain", "--file", str(call.dockerfile), "--target", call.target]
    flags += ["--build-context", f"cog={call.cog_context}"]
    # Without rewrite-timestamp, which would make the layers themselves reproducible: Docker's own image store passes
    # over it, and its containerd store refuses it ('conflicts with "unpack"').
    flags += ["--output", call.output] if call.output else ["--load"]
    for name, value in sorted(call.labels.items()):
        flags += ["--label", f"{name}={value}"]
    for name, value in sorted(call.arguments.items()):
        flags += ["--build-arg", f"{name}={value}"]
    for secret in call.secrets:
        place = f"src={secret.file}" if secret.file else f"env={secret.variable}"
        flags += ["--secret", f"id={secret.id},{place}"]
    if call.platform:
        flags += ["--platform", call.platform]
    return flags


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the client; it cancels the build in the engine when it is interrupted."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


# What buildx says, and what that means to the user. The first match counts.
_KNOWN = (
    (
        r"no space left on device",
        "the disk is full",
        "Free some: `docker system df` shows what Docker holds, `docker system prune` gives it back.",
    ),
    (
        r"permission denied while trying to connect to the Docker daemon",
        "no permission to use Docker's socket",
        "Add yourself to the group: `sudo usermod -aG docker $USER`, then log in anew.",
    ),
    (
        r"Cannot connect to the Docker daemon|docker daemon is not running",
        "Docker is not running",
        "Start it (Docker Desktop, or `sudo systemctl start docker`).",
    ),
)
_UNKNOWN_IMAGE = re.compile(
    r"(?:failed to resolve source metadata for|failed to solve:) (?P<image>[\w.:/@-]+): "
    r"(?P<why>.*(?:not found|denied|authorization|no such host|connection refused|dial tcp|timeout|EOF|x509|lookup).*)"
)
_TLS = re.compile(r"UnknownIssuer|CERTIFICATE_VERIFY_FAILED|self.signed certificate|unable to get local issuer", re.I)
_CA_HINT = "If a proxy re-signs TLS on this network: --ca-cert FILE (or COG_CA_CERT) makes the build trust it."
_STEP = re.compile(r"^#(\d+) (.*)$")
_ERROR = re.compile(r"^#(\d+) ERROR: (.*)$")
_PLACE = re.compile(r"^Dockerfile:(\d+)\b")
_TIMED = re.compile(r"^\d+\.\d+ ")


def _explain(transcript: list[str], dockerfile: str) -> CogError:
    text = "\n".join(transcript[-400:])
    for pattern, message, hint in _KNOWN:
        if re.search(pattern, text):
            return CogError(message, hint=hint)
    unknown = _UNKNOWN_IMAGE.search(text)
    if unknown:
        return _unknown_image(unknown, dockerfile)
    number, reason = next(((m[1], m[2]) for m in map(_ERROR.match, transcript) if m), ("", ""))
    lines = [m[2] for m in map(_STEP.match, transcript) if m and m[1] == number]
    output = [_TIMED.sub("", line) for line in lines if _TIMED.match(line)][-_SHOWN_LINES:]
    place = next((int(m[1]) for m in map(_PLACE.match, transcript) if m), None)
    key = find_key(dockerfile, place) if place is not None else None
    message = f"the build failed at `{key}` of cog.yaml" if key else "the build failed"
    shown = output or [line for line in transcript if line.strip()][-_SHOWN_LINES:]
    code = re.search(r"exit code: (\d+)", reason)
    ending = f" (exit code {code[1]})" if code else ""
    text = "\n".join(f"    {line}" for line in shown)
    return BuildFailed(f"{message}{ending}; its last lines were:\n{text}", hint=_CA_HINT if _TLS.search(text) else None)


def _unknown_image(match: re.Match[str], dockerfile: str) -> CogError:
    name = match["image"].removeprefix("docker.io/library/").removeprefix("docker.io/")
    key = None
    for number, line in enumerate(dockerfile.splitlines(), 1):
        if line.startswith("FROM ") and line.split()[1] in (name, match["image"]):
            key = find_key(dockerfile, number)
    hint = f"`{key}` of cog.yaml leads to it; `cog explain` says why." if key else "Is the registry reachable?"
    return BuildFailed(f"the image {name} cannot be had: {match['why'].strip()}", hint=hint)

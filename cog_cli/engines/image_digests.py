"""`identify_image`: the digest of an image to build on, from this engine or from the image's registry."""

from __future__ import annotations

import re
import shutil
import subprocess

from cog_cli.compat.stack import BaseImage
from cog_cli.errors import CogError

_INSPECT_S = 30.0
_REGISTRY_S = 20.0
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def identify_image(name: str) -> BaseImage:
    """What is known of an image: its registry's digest if it was pulled from there, or if the registry answers;
    otherwise the id it has here; nothing without Docker."""
    if match := _DIGEST.search(name):
        return BaseImage(name, digest=match[0])
    docker = shutil.which("docker")
    if docker is None:
        return BaseImage(name)
    local = _ask([docker, "image", "inspect", "--format", "{{.Id}} {{json .RepoDigests}}", name], _INSPECT_S)
    identifier, _, digests = local.partition(" ")
    if match := _DIGEST.search(digests):
        return BaseImage(name, digest=match[0])
    remote = _ask([docker, "buildx", "imagetools", "inspect", "--format", "{{.Manifest.Digest}}", name], _REGISTRY_S)
    if match := _DIGEST.fullmatch(remote):
        return BaseImage(name, digest=match[0])
    return BaseImage(name, id=identifier or None)


def check_images(images: tuple[BaseImage, ...]) -> None:
    """Refuse to build on an image that is known by its id only and is another by now. Raises CogError."""
    for image in images:
        if image.digest is not None or image.id is None:
            continue
        now = _ask(["docker", "image", "inspect", "--format", "{{.Id}}", image.name], _INSPECT_S)
        if now != image.id:
            what = f"is another image now ({now[:19]})" if now else "is not here, and only its local id is locked"
            raise CogError(
                f"cog.lock is out of date: {image.name} {what}, not {image.id[:19]}", hint="`cog lock` locks this one."
            )


def _ask(command: list[str], timeout_s: float) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""

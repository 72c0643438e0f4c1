"""Names in the Docker engine that are this run's alone: the engine is the machine's, and others test and work on it too."""

from __future__ import annotations

import subprocess
import uuid

RUN = uuid.uuid4().hex[:8]
PREFIX = f"cog-test-{RUN}"


def image_name(name: str) -> str:
    return f"{PREFIX}-{name}"


def docker(*arguments: str, check: bool = True) -> str:
    """What the command prints."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0 or not check, answer.stderr
    return answer.stdout.strip()


def images() -> list[str]:
    """Every image that this run has made and named."""
    return docker("images", "--format", "{{.Repository}}", "--filter", f"reference={PREFIX}*").split()


def running() -> set[str]:
    """The containers that `cog` has started of this run's images, and that are still there."""
    ours = [word for name in images() for word in ("--filter", f"ancestor={name}")]
    return set(docker("ps", "-aq", "--filter", "label=run.cog.cli", *ours).split()) if ours else set()

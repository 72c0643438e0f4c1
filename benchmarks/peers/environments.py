"""A virtual environment for each server, kept between runs outside of the repository."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "cog_server" / "requirements.lock"

NUMPY = "numpy==2.4.6"
PYDANTIC = "pydantic==2.14.4"
# uvicorn takes uvloop and httptools where they are there: every peer on uvicorn gets them.
UVICORN = ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
PINS: dict[str, tuple[str, ...]] = {
    "cog": ("cog==0.23.1", "coglet==0.23.1", NUMPY),
    "mosec": ("mosec==0.9.8", PYDANTIC, NUMPY),
    "fastapi": ("fastapi==0.165.0", *UVICORN, PYDANTIC, NUMPY),
    "litserve": ("litserve==0.2.19", "fastapi==0.165.0", *UVICORN, PYDANTIC, NUMPY),
    "bentoml": ("bentoml==1.4.40", *UVICORN, PYDANTIC, NUMPY),
    "py-spy": ("py-spy==0.4.3",),
    # What an image of this checkout has in /opt/cog: its lock, and no more.
    "ours": (NUMPY,),
}


class InstallError(Exception):
    """A virtual environment cannot be made."""


def ensure_environment(name: str) -> Path:
    """Make the environment if it is not there as pinned, and give back its `bin`. Raises InstallError."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cog-bench" / name
    stamp, wanted = folder / "installed", _fingerprint(name)
    if stamp.exists() and stamp.read_text() == wanted:
        return folder / "bin"
    python = folder / "bin" / "python"
    _uv("venv", "--quiet", "--clear", "--python", sys.executable, str(folder))
    if name == "ours":
        _uv("pip", "install", "--quiet", "--python", str(python), "--compile-bytecode", "--requirement", str(LOCK))
    _uv("pip", "install", "--quiet", "--python", str(python), "--compile-bytecode", *PINS[name])
    stamp.write_text(wanted)
    return folder / "bin"


def versions() -> dict[str, str]:
    """Name → what it is installed from, for the head of a report."""
    told = {name: ", ".join(pins) for name, pins in PINS.items()}
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return {**told, "ours": f"{git.stdout.strip() or 'no git'}, cog_server/requirements.lock, {NUMPY}"}


def _fingerprint(name: str) -> str:
    parts = [platform.python_version(), *PINS[name]]
    if name == "ours":
        parts.append(hashlib.sha256(LOCK.read_bytes()).hexdigest())
    return "\n".join(parts)


def _uv(*arguments: str) -> None:
    command = [sys.executable, "-m", "uv", *arguments]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"`{' '.join(command)}` takes longer than {error.timeout:.0f} s") from error
    if answer.returncode != 0:
        raise InstallError(f"`{' '.join(command)}` failed:\n{answer.stderr.strip()}")

"""Virtual environments for models, as they are in an image: another Python than the server's, and none of its packages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.shared import made_once

_TYPING = {"typing-extensions": "4.13.0"}
# What is in an environment by its kind -> (what is installed, what predictors may ask for).
KINDS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "plain": ((), {}),
    "pydantic1": (("pydantic==1.10.*",), {"pydantic": "1.10.0", **_TYPING}),
    "pydantic2": (
        ("pydantic==2.*", "numpy", "pillow"),
        {"pydantic": "2.0", "numpy": "1.24", "pillow": "10.0", **_TYPING},
    ),
}
PYTHONS = ("3.8", "3.13")


@dataclass(frozen=True, order=True)
class Environment:
    """One kind of environment on one Python, as they are asked for: "3.8" and "pydantic1"."""

    python: str
    kind: str

    @property
    def version(self) -> tuple[int, int]:
        major, minor = self.python.split(".")
        return int(major), int(minor)

    @property
    def packages(self) -> dict[str, str]:
        return KINDS[self.kind][1]

    def __str__(self) -> str:
        return f"{self.python}-{self.kind}"


ENVIRONMENTS = tuple(Environment(python, kind) for python in PYTHONS for kind in KINDS)


class Interpreters:
    """The interpreters of environments, each made in `folder` when one of the processes of a run first asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._base: dict[str, str] = {}
        self._made: dict[Environment, Path] = {}

    def python(self, wanted: Environment) -> Path:
        """The interpreter of one environment. Where its Python cannot be had, ours stands in."""
        if wanted not in self._made:
            folder = self._folder / f"environment-{wanted}"
            base = self._base_of(wanted.python)
            self._made[wanted] = made_once(folder, lambda: make_environment(wanted, base, folder)) / "bin" / "python"
        return self._made[wanted]

    def version(self, wanted: Environment) -> tuple[int, int]:
        """The version that stands for it."""
        return wanted.version if self._base_of(wanted.python) != sys.executable else sys.version_info[:2]

    def _base_of(self, version: str) -> str:
        if version not in self._base:
            self._base[version] = find_python(version) or sys.executable
        return self._base[version]


def find_python(version: str) -> str | None:
    """An interpreter of that version: pyenv's, one on PATH, or one that uv has or can fetch; None without any."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(root.glob(f"versions/{version}.*/bin/python"))
    if found:
        return str(found[-1])
    uv = find_uv()
    # uv looks on PATH too, and fetches what is nowhere.
    for command in (["python", "find"], ["python", "install", "--no-bin"], ["python", "find"]):
        answer = subprocess.run(
            [uv, "--no-config", *command, version], capture_output=True, text=True, timeout=180, check=False
        )
        if command[1] == "find" and answer.returncode == 0:
            return answer.stdout.strip()
    return None


def make_environment(wanted: Environment, python: str, folder: Path) -> None:
    """Make it in `folder`, anew if there is a part of it."""
    uv = find_uv()
    command = [uv, "--no-config", "venv", "--clear", "--quiet", "--python", python, str(folder)]
    subprocess.run(command, check=True, timeout=60)
    packages = KINDS[wanted.kind][0]
    if packages:
        install = [uv, "--no-config", "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
        subprocess.run([*install, *packages], check=True, timeout=300)


def find_uv() -> str:
    """The uv of our own environment."""
    found = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    assert found is not None, "uv is installed with the development tools"
    return found

"""Every command that README shows is run, as it stands there, but for names and a port of its own in the machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, why_not_docker
from tests.environments import find_python
from tests.integration.names import PREFIX, image_name
from tests.shared import free_port

IMAGE = image_name("readme")
# What templates/init/cog.yaml asks for.
PYTHON = "3.12"
PORT = free_port()

_BLOCK = re.compile(r"(?:<!-- test: (?P<mark>[^>]*) -->\n)?```sh\n(?P<commands>.*?)```", re.S)


@dataclass(frozen=True)
class Block:
    mark: str
    commands: str


def _blocks() -> list[Block]:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return [Block(match["mark"] or "", match["commands"]) for match in _BLOCK.finditer(text)]


def _marked(block: Block) -> object:
    marks = [pytest.mark.slow, *([pytest.mark.docker] if "docker" in block.mark else [])]
    return pytest.param(block, marks=marks, id=block.commands.strip().splitlines()[-1][:60])


@pytest.mark.parametrize("block", [_marked(block) for block in _blocks()])
def test_the_commands_of_readme_work(block: Block, tmp_path: Path) -> None:
    folder = _folder(block, tmp_path)
    commands = _own(block.commands)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    engine = {}
    if why_not_docker() is not None:
        # Where nothing can be built, as where there is no Docker: with the Python that `cog init` writes, on this machine.
        engine = {"DOCKER_HOST": "unix:///nonexistent"}
        python = find_python(PYTHON)
        if python is None:
            pytest.skip(f"neither an image nor this machine has Python {PYTHON}")
        path += f"{os.pathsep}{Path(python).parent}"

    answer = subprocess.run(
        ["bash", "-e", "-c", commands],
        cwd=folder,
        env={**os.environ, **engine, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert answer.returncode == 0, f"{commands}\n{answer.stdout}\n{answer.stderr}"


def test_readme_shows_commands() -> None:
    assert len(_blocks()) >= 5


def _own(commands: str) -> str:
    """The same with an image, a container and a port that nobody else has, and a wait for as long as it takes."""
    commands = re.sub(r"(?<![/\w])enlarge\b", IMAGE, commands)
    commands = commands.replace("-p 5000:5000", f"-p 127.0.0.1:{PORT}:5000").replace(
        "localhost:5000", f"127.0.0.1:{PORT}"
    )
    return commands.replace(
        "sleep 5", f"curl -sf --retry 60 --retry-all-errors --retry-delay 1 http://127.0.0.1:{PORT}/readyz"
    )


def _folder(block: Block, tmp_path: Path) -> Path:
    """Where the reader would stand: in a checkout, or in an empty folder."""
    if block.mark == "empty folder":
        (tmp_path / PREFIX).mkdir()
        return tmp_path / PREFIX
    if "make" in block.commands:
        return REPOSITORY
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns(".cog", "output*"))
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path

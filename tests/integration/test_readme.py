"""Every command that README shows is run, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

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
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    answer = subprocess.run(
        ["bash", "-e", "-c", block.commands],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert answer.returncode == 0, f"{block.commands}\n{answer.stdout}\n{answer.stderr}"


def test_readme_shows_commands() -> None:
    assert len(_blocks()) >= 5


def _folder(block: Block, tmp_path: Path) -> Path:
    """Where the reader would stand: in a checkout, or in an empty folder."""
    if block.mark == "empty folder":
        return tmp_path
    if "make" in block.commands:
        return REPOSITORY
    shutil.copytree(REPOSITORY / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns(".cog", "output*"))
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    return tmp_path

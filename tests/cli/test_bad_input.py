"""What cannot be built: one error each, with the file, the line and the nearest thing that works."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cog_cli.errors import ConfigError, StackError
from cog_cli.project import load_project, resolve

FILE = "  python_requirements: requirements.txt\n"


def packages(*lines: str) -> str:
    return "  python_packages:\n" + "".join(f"    - {line}\n" for line in lines)


def text(content: str | bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return write


def nothing(path: Path) -> None:
    pass


CASES = {
    # What build says, what requirements.txt is, the platform; where the error is, and what works instead.
    "a release that never was": (packages("torch==2.5.9"), nothing, None, "cog.yaml:5:7", "torch==2.5.1"),
    "a release of the future": (packages("torch==9.9.9"), nothing, None, "cog.yaml:5:7", "torch=="),
    "an operator the wrong way round": (FILE, text("numpy\ntorch=>2\n"), None, "requirements.txt:2:1", "`torch>=2`"),
    "one equals sign": (FILE, text("torch=2.6.0\n"), None, "requirements.txt:1:1", "`torch==2.6.0`"),
    "no wheel for the Python": (
        packages("torch==1.9.0"),
        nothing,
        None,
        "cog.yaml:5:7",
        'Set `python_version: "3.9"` or use torch==1.13.0',
    ),
    "no wheel for the platform": (
        packages("onnxruntime-gpu==1.20.0"),
        nothing,
        "linux/arm64",
        "cog.yaml:5:7",
        "onnxruntime-gpu==",
    ),
    "a package without any for the platform": (
        packages("xformers==0.0.35"),
        nothing,
        "linux/arm64",
        "cog.yaml:5:7",
        "--platform linux/amd64",
    ),
    "CUDA that no image has": ("  cuda: '12.7'\n", nothing, None, "cog.yaml:4:9", "12.6, 12.8"),
    "a patch of CUDA that no image has": ("  cuda: '12.6.9'\n", nothing, None, "cog.yaml:4:9", "12.6.3"),
    "a build that never was": (FILE, text("torch==2.6.0+cu121\n"), None, "requirements.txt:1:1", "torch==2.6.0+cu126"),
    "two CUDA majors": (
        packages("ctranslate2==4.8.5", "onnxruntime-gpu==1.31.1"),
        nothing,
        None,
        "cog.yaml:6:7",
        "onnxruntime-gpu==1.26.0 uses CUDA 12",
    ),
    "two packages that want another torch": (
        FILE,
        text("torch==2.5.1\ntorchvision==0.21.0\n"),
        None,
        "requirements.txt:2:1",
        "torchvision==0.20.1 or torch==2.6.0",
    ),
    "a file that is missing": (FILE, nothing, None, "cog.yaml:4:24", "Create the file"),
    "a file in a file that is missing": (FILE, text("-r more.txt\n"), None, "requirements.txt:1:1", "Create it"),
    "a directory": (FILE, Path.mkdir, None, "cog.yaml:4:24", "path of a file"),
    "a binary": (FILE, text(b"\x7fELF\x02\x01\xff\xfe" * 9), None, "cog.yaml:4:24", "UTF-8"),
    "a pipe": (FILE, os.mkfifo, None, "cog.yaml:4:24", "into a file"),
    "a link out of the project": (
        FILE,
        lambda path: path.symlink_to("/etc/hostname"),
        None,
        "cog.yaml:4:24",
        "Copy the file into the project",
    ),
    "a path out of the project": (
        "  python_requirements: ../requirements.txt\n",
        nothing,
        None,
        "cog.yaml:4:24",
        "relative to cog.yaml",
    ),
    "a file in a file out of the project": (
        FILE,
        text("-r ../../etc/passwd\n"),
        None,
        "requirements.txt:1:1",
        "Copy it into the project",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_one_error_with_its_place_and_what_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, write, platform, where, instead = CASES[name]
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "cog.yaml").write_text(
        f'build:\n  gpu: true\n  python_version: "3.11"\n{build}predict: "predict.py:Predictor"\n'
    )
    write(folder / "requirements.txt")
    before = sorted(folder.iterdir())
    monkeypatch.chdir(folder)

    with pytest.raises((ConfigError, StackError)) as caught:
        resolve(load_project(), platform=platform)

    assert len(caught.value.problems) == 1
    problem = caught.value.problems[0]
    assert problem.where == where
    assert instead in (problem.hint or "")
    assert sorted(folder.iterdir()) == before

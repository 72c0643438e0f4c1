"""The machine that will run the image: described by flags, or asked of nvidia-smi (a stand-in program here)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cog_cli.compat.drivers import Host
from cog_cli.errors import CogError, UsageError
from cog_cli.hosts import find_host
from tests.conftest import Cog

Project = Callable[..., Path]

TORCH = (
    'build:\n  gpu: true\n  python_version: "3.12"\n  python_packages: ["torch{}"]\npredict: "predict.py:Predictor"\n'
)


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a program of that name on the path, made of shell lines."""

    def write(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return write


@pytest.mark.parametrize("text", ["sm_86", "sm86", "SM_86", "8.6", "86"])
def test_gpu_arch_is_read_in_every_spelling(text: str) -> None:
    assert find_host(gpu_arch=text) == Host(sm="sm_86")


def test_nothing_said_is_no_host() -> None:
    assert find_host() is None


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("driver", "535"),
        ("driver", ""),
        ("driver", "latest"),
        ("driver", "12.4"),
        ("driver", "535.104.05; rm"),
        ("gpu_arch", "ampere"),
        ("gpu_arch", "sm_9"),
        ("gpu_arch", "99.9"),
        ("gpu_arch", ""),
        ("gpu", " "),
        ("gpu", "A100\n"),
    ],
)
def test_value_that_means_nothing_is_refused(flag: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_host(**{flag: value})  # type: ignore[arg-type]  # every flag takes text

    assert f"--{flag.replace('_', '-')}" in caught.value.message
    assert caught.value.hint


def test_host_is_the_oldest_gpu_of_this_machine(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi('echo "570.86.15, 9.0, NVIDIA H100 80GB HBM3"; echo "570.86.15, 7.0, Tesla V100-SXM2-16GB"')

    assert find_host(asks_here=True) == Host("570.86.15", "sm_70", gpu="Tesla V100-SXM2-16GB")


def test_flags_win_over_this_machine(nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi('echo "570.86.15, 9.0, NVIDIA H100"')

    assert find_host(asks_here=True, driver="535.104.05") == Host("535.104.05", "sm_90", gpu="NVIDIA H100")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ('echo "No devices were found"; exit 6', "No devices were found"),
        ("echo 'NVIDIA-SMI has failed because it could not talk to the driver' >&2; exit 9", "NVIDIA-SMI has failed"),
        ("printf '\\377\\376'", "nvidia-smi"),
        ('echo "[N/A], [N/A], x"', "[N/A]"),
    ],
)
def test_nvidia_smi_that_cannot_tell_is_an_error(script: str, said: str, nvidia_smi: Callable[[str], None]) -> None:
    nvidia_smi(script)

    with pytest.raises(CogError) as caught:
        find_host(asks_here=True)

    assert said in caught.value.message
    assert "--driver" in (caught.value.hint or "")


def test_machine_without_a_driver_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")

    with pytest.raises(CogError, match="no nvidia-smi"):
        find_host(asks_here=True)


@pytest.mark.slow
def test_old_driver_and_gpu_step_the_build_down(project: Project, cog: Cog) -> None:
    folder = project({"cog.yaml": TORCH.format(">=2.1")})

    answer = cog("explain", "--json", "--driver", "535.104.05", "--gpu-arch", "sm_70", folder=folder)

    stack = json.loads(answer.stdout)
    assert stack["torch"]["version"].endswith("+cu126")
    assert any("host: 535.104.05" in reason for reason in stack["reasons"])


@pytest.mark.slow
def test_dockerfile_follows_the_host_too(project: Project, cog: Cog) -> None:
    folder = project({"cog.yaml": TORCH.format("==2.11.0")})

    answer = cog("dockerfile", "--driver", "535.104.05", "--gpu-arch", "7.0", folder=folder)

    assert "https://download.pytorch.org/whl/cu126" in answer.stdout


@pytest.mark.slow
def test_host_that_nothing_runs_on_gets_the_reason(project: Project, cog: Cog) -> None:
    folder = project({"cog.yaml": TORCH.format("==2.9.1")})

    answer = cog("explain", "--driver", "418.39.00", folder=folder)

    assert answer.returncode == 1
    assert "418.39.00" in answer.stderr
    assert "cog.yaml:4" in answer.stderr


@pytest.mark.slow
def test_wrong_flag_is_wrong_usage(project: Project, cog: Cog) -> None:
    answer = cog("explain", "--gpu-arch", "ampere", folder=project())

    assert answer.returncode == 2
    assert "8.6" in answer.stderr

"""The check of the machine's GPU when the model starts, against programs that stand in for nvidia-smi."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest

from cog_server.gpu import Gpu, Machine, has_kernels, look, what_is_wrong
from cog_server.settings import GpuNeeds, SettingsError, read_settings
from tests.server.conftest import Serve, wait_until

TORCH = GpuNeeds("12.4", "525.60.13", "torch 2.6.0", ("sm_50", "sm_70", "sm_80", "sm_86", "sm_90"))
IN_IMAGE = json.dumps({"cuda": "12.4", "driver": "525.60.13", "package": "torch 2.6.0", "sm": list(TORCH.sm)})
ECHO = "class Predictor(BasePredictor):\n    def predict(self) -> str:\n        return 'here'\n"


@pytest.fixture
def machine(tmp_path: Path) -> str:
    """A PATH whose nvidia-smi is the file `nvidia-smi` in its first folder."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return f"{folder}:{os.environ['PATH']}"


def smi(path: str, script: str) -> None:
    program = Path(path.partition(":")[0]) / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


@pytest.mark.parametrize(
    ("driver", "capability", "said"),
    [
        ("550.54.14", "8.6", None),
        ("525.60.13", "8.9", None),
        ("470.82.01", "8.6", "driver 470.82.01 is too old: CUDA 12.4 in this image needs 525.60.13 or newer"),
        ("570.86.10", "12.0", "torch 2.6.0 in this image has no kernels for NVIDIA X (compute capability 12.0)"),
        ("550.54.14", "3.5", "no kernels for NVIDIA X (compute capability 3.5)"),
        ("550.54.14", None, None),
    ],
)
def test_driver_and_gpu_are_compared_with_what_was_built(driver: str, capability: str | None, said: str | None) -> None:
    warning = what_is_wrong(TORCH, Machine(driver, (Gpu("NVIDIA X", capability),)))

    assert warning is None if said is None else said in (warning or "")
    assert "\n" not in (warning or "")


@pytest.mark.parametrize(
    ("sm", "capability", "runs"),
    [
        (("sm_80",), "8.9", True),
        (("sm_86",), "8.0", False),
        (("sm_80", "compute_80"), "12.0", True),
        (("sm_90a",), "9.0", True),
        (("sm_100", "sm_120"), "10.0", True),
        (("sm_90",), "10.0", False),
        ((), "3.0", True),
    ],
)
def test_kernels_run_on_their_major_and_ptx_on_anything_newer(sm: tuple[str, ...], capability: str, runs: bool) -> None:
    assert has_kernels(sm, capability) is runs


def test_gpus_are_read_from_nvidia_smi(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", machine)
    smi(machine, "echo '550.54.14, NVIDIA A100, 80GB, 8.0'; echo '550.54.14, NVIDIA T4, 7.5'")

    assert asyncio.run(look()) == Machine("550.54.14", (Gpu("NVIDIA A100, 80GB", "8.0"), Gpu("NVIDIA T4", "7.5")))


def test_an_old_nvidia_smi_is_asked_for_less(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", machine)
    smi(
        machine,
        'case "$1" in *compute_cap*) echo \'Field "compute_cap" is not a valid field to query.\'; exit 2;; esac\n'
        "echo '450.80.02, Tesla V100'",
    )

    assert asyncio.run(look()) == Machine("450.80.02", (Gpu("Tesla V100", None),))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
            "Driver/library version mismatch",
        ),
        ("exit 9", "it says nothing"),
        ("sleep 60", "does not answer within 0.3 s"),
    ],
)
def test_an_nvidia_smi_in_trouble_is_said(
    machine: str, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setenv("PATH", machine)
    smi(machine, script)
    started = time.monotonic()

    found = asyncio.run(look(timeout_s=0.3 if "sleep" in script else 5))

    assert said in (found.trouble or "")
    assert time.monotonic() - started < 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no NVIDIA driver"),
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n", "`--gpus all`"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release\n", "`--gpus all`"),
    ],
)
def test_without_nvidia_smi_the_driver_tells_a_bare_host_from_a_container_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None, said: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "version"
    if content is not None:
        file.write_text(content)

    found = asyncio.run(look(driver_file=file))

    assert said in (found.trouble or "")
    assert (found.driver is not None) == (content is not None)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"cuda": 12}', '{"cuda": "12.4", "sm": "sm_80"}'])
def test_a_description_that_cog_did_not_write_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="COG_GPU_NEEDS"):
        read_settings({"COG_PREDICT": "predict.py:Predictor", "COG_GPU_NEEDS": text})


def test_a_driver_too_old_is_one_line_in_the_log_and_in_the_health_check_and_refuses_nothing(
    serve: Serve, machine: str
) -> None:
    smi(machine, "echo '470.82.01, NVIDIA RTX A4000, 8.6'")

    server = serve(ECHO, environment={"PATH": machine, "COG_GPU_NEEDS": IN_IMAGE})
    wait_until(lambda: server.health()["gpu"]["status"] != "checking", "the check does not end")

    gpu = server.health()["gpu"]
    assert (gpu["status"], gpu["driver"], gpu["cuda"]) == ("warning", "470.82.01", "12.4")
    assert gpu["devices"] == [{"name": "NVIDIA RTX A4000", "compute_capability": "8.6"}]
    assert server.predict()["output"] == "here"
    lines = [line for line in server.log.read_text().splitlines() if "GPU" in line]
    assert lines == [f"WARNING: GPU: {gpu['warning']}"]
    assert "update the host's driver" in gpu["warning"]


def test_a_hanging_nvidia_smi_delays_neither_the_start_nor_the_end(serve: Serve, machine: str) -> None:
    smi(machine, "exec sleep 60")

    server = serve(ECHO, environment={"PATH": machine, "COG_GPU_NEEDS": IN_IMAGE})

    assert server.health()["gpu"] == {"status": "checking", "cuda": "12.4"}
    assert server.predict()["output"] == "here"
    started = time.monotonic()
    server.process.terminate()
    assert server.process.wait(10) == 0
    assert time.monotonic() - started < 5


def test_an_image_without_gpu_says_nothing_of_one(serve: Serve) -> None:
    assert "gpu" not in serve(ECHO).health()

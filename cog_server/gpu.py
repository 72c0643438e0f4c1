"""`GpuCheck`: whether this machine's driver and GPUs can run what was built into the image, said in one line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cog_server.observe.nvidia_smi import QUERY_TIMEOUT_S, output_of
from cog_server.settings import GpuNeeds

log = logging.getLogger("cog.server")

_DRIVER_FILE = Path("/proc/driver/nvidia/version")
_TOOLKIT = "https://docs.nvidia.com/datacenter/cloud-native/"


@dataclass(frozen=True)
class Gpu:
    """One GPU: its name and compute capability (`8.6`), None where an old nvidia-smi does not tell."""

    name: str
    capability: str | None


@dataclass(frozen=True)
class Machine:
    """What was found. `trouble` says why nothing could be asked, in the words of whoever was asked."""

    driver: str | None = None
    gpus: tuple[Gpu, ...] = ()
    trouble: str | None = None


class GpuCheck:
    """Looks once, beside the start of the model, and keeps the answer for the health check.

    It warns and never refuses: a model may know how to do without a GPU, and a driver may be better than its number.
    """

    def __init__(self, needs: GpuNeeds) -> None:
        self._needs = needs
        self._machine: Machine | None = None
        self._warning: str | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look. nvidia-smi takes seconds where no other process keeps the driver awake: nobody waits."""
        self._task = asyncio.create_task(self._run(), name="gpu-check")

    async def stop(self) -> None:
        """Look no further."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def to_json(self) -> dict[str, Any]:
        """The `gpu` object of the health check."""
        document: dict[str, Any] = {"status": "checking", "cuda": self._needs.cuda}
        if self._machine is not None:
            document["status"] = "warning" if self._warning else "ok"
            document["driver"] = self._machine.driver
            document["devices"] = [{"name": g.name, "compute_capability": g.capability} for g in self._machine.gpus]
        if self._warning:
            document["warning"] = self._warning
        return document

    async def _run(self) -> None:
        try:
            machine = await look()
            self._warning = what_is_wrong(self._needs, machine)
        except (OSError, ValueError) as error:
            machine, self._warning = Machine(), f"the GPU cannot be asked: {error}"
        self._machine = machine
        if self._warning:
            log.warning("GPU: %s", self._warning)
        else:
            log.info("GPU: %s, driver %s", ", ".join(gpu.name for gpu in machine.gpus), machine.driver)


def what_is_wrong(needs: GpuNeeds, machine: Machine) -> str | None:
    """One line: what the image needs, what the machine has, what to do. None if all is well as far as one can see."""
    if machine.trouble is not None:
        return machine.trouble
    if not machine.gpus:
        return "no GPU is visible here: check `--gpus` and NVIDIA_VISIBLE_DEVICES; the model may run on the CPU only"
    if needs.driver and machine.driver and _numbers(machine.driver) < _numbers(needs.driver):
        return (
            f"driver {machine.driver} is too old: CUDA {needs.cuda} in this image needs {needs.driver} or newer; "
            "update the host's driver, or build for an older CUDA (`cuda:` in cog.yaml)"
        )
    lacking = [gpu for gpu in machine.gpus if gpu.capability and not has_kernels(needs.sm, gpu.capability)]
    if lacking:
        gpu = lacking[0]
        return (
            f"{needs.package} in this image has no kernels for {gpu.name} (compute capability {gpu.capability}); it "
            f"has {', '.join(needs.sm)}: build with another version of it, or run on another GPU"
        )
    return None


def has_kernels(sm: tuple[str, ...], capability: str) -> bool:
    """Whether code for `sm` runs on a GPU of this capability (`8.6`): same major and not newer, or any older PTX."""
    major, minor = _numbers(capability)[:2]
    known = [match for match in (re.fullmatch(r"(sm|compute)_(\d+)(\d)[a-z]?", each) for each in sm) if match]
    if not known:
        return True
    return any(
        (int(match[2]) == major and int(match[3]) <= minor)
        or (match[1] == "compute" and (int(match[2]), int(match[3])) <= (major, minor))
        for match in known
    )


async def look(*, driver_file: Path = _DRIVER_FILE, timeout_s: float = QUERY_TIMEOUT_S) -> Machine:
    """Ask nvidia-smi, which the container toolkit brings along with the GPUs; it may hang with a broken driver."""
    driver = _driver_of(driver_file)
    program = shutil.which("nvidia-smi")
    if program is None:
        if driver is None:
            return Machine(trouble="this machine has no NVIDIA driver: the model runs on the CPU, if it can")
        trouble = (
            "the container was given no GPU: start it with `--gpus all`, with NVIDIA's container toolkit installed"
        )
        return Machine(driver, trouble=f"{trouble} ({_TOOLKIT})")
    text = ""
    try:
        for fields in ("driver_version,name,compute_cap", "driver_version,name"):
            code, text = await output_of([program, f"--query-gpu={fields}", "--format=csv,noheader"], timeout_s)
            if code == 0:
                rows = [[field.strip() for field in line.split(",")] for line in text.splitlines() if line.strip()]
                gpus = tuple(_gpu(row) for row in rows if len(row) > 1)
                return Machine(rows[0][0] if rows else driver, gpus)
            if "not a valid field" not in text:
                break
    except asyncio.TimeoutError:  # another class than TimeoutError on Python 3.10
        return Machine(driver, trouble=f"nvidia-smi does not answer within {timeout_s:g} s: the driver may be hanging")
    first = next((line.strip() for line in text.splitlines() if line.strip()), "it says nothing")
    return Machine(driver, trouble=f"nvidia-smi fails: {first[:300]}; does it work on the host?")


def _gpu(row: list[str]) -> Gpu:
    has_capability = len(row) > 2 and re.fullmatch(r"\d+\.\d+", row[-1]) is not None
    return Gpu(", ".join(row[1:-1] if len(row) > 2 else row[1:]), row[-1] if has_capability else None)


def _driver_of(file: Path) -> str | None:
    try:
        match = re.search(r"(?:Kernel Module|for x86_64|for aarch64)\s+(\d+\.\d+(?:\.\d+)?)", file.read_text()[:4096])
    except (OSError, UnicodeDecodeError):
        return None
    return match[1] if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))

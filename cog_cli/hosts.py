"""`find_host`: the machine that will run the image, from the command line's words or from nvidia-smi."""

from __future__ import annotations

import re
import subprocess

from cog_cli.compat.drivers import Host
from cog_cli.errors import CogError, UsageError

_QUERY = ("nvidia-smi", "--query-gpu=driver_version,compute_cap,name", "--format=csv,noheader")
_TIMEOUT_S = 10.0
_MAX_GPUS = 1024


def find_host(
    *, driver: str | None = None, gpu_arch: str | None = None, gpu: str | None = None, asks_here: bool = False
) -> Host | None:
    """The host that was described, None if nothing was. `asks_here`: this machine, the given values over what it says.

    Raises UsageError for a value that means nothing, CogError if nvidia-smi cannot tell.
    """
    own = _ask_nvidia_smi() if asks_here else Host()
    host = Host(
        driver=_driver(driver) if driver is not None else own.driver,
        sm=_sm(gpu_arch) if gpu_arch is not None else own.sm,
        gpu=_gpu(gpu) if gpu is not None else own.gpu,
    )
    return host if host != Host() else None


def _driver(text: str) -> str:
    """`535.104.05` or `535.104`: a branch alone would not say whether a minimum within it is met."""
    if re.fullmatch(r"\d{3}(\.\d{1,3}){1,2}", text):
        return text
    raise UsageError(
        f"--driver {text!r} is not the version of an NVIDIA Linux driver",
        hint="Write it as nvidia-smi prints it, e.g. --driver 535.104.05.",
    )


def _sm(text: str) -> str:
    """`sm_86` for `sm_86`, `sm86`, `8.6` or `86`."""
    match = re.fullmatch(r"(?:sm_?)?(?P<major>\d{1,2})\.?(?P<minor>\d)[af]?", text.lower())
    if match and 2 <= int(match["major"]) <= 20:
        return f"sm_{match['major']}{match['minor']}"
    raise UsageError(
        f"--gpu-arch {text!r} is not a compute capability",
        hint="Write it as sm_86 or 8.6; `nvidia-smi --query-gpu=compute_cap --format=csv` prints it.",
    )


def _gpu(text: str) -> str:
    if text.strip() and text.isprintable() and len(text) <= 100:
        return text.strip()
    raise UsageError("--gpu needs the name of a GPU", hint='As nvidia-smi prints it, e.g. --gpu "NVIDIA A100".')


def _ask_nvidia_smi() -> Host:
    """The driver of this machine and its oldest GPU."""
    hint = "Describe the machine instead: --driver 535.104.05 --gpu-arch sm_86."
    try:
        answer = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except FileNotFoundError as error:
        raise CogError("--host: there is no nvidia-smi here, so no NVIDIA driver", hint=hint) from error
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError) as error:
        raise CogError(f"--host: nvidia-smi gave no answer: {error}", hint=hint) from error
    hosts = []
    for line in answer.stdout.splitlines()[:_MAX_GPUS]:
        values = [value.strip() for value in line.split(",", 2)]
        if len(values) == 3 and re.fullmatch(r"[\d.]+", values[0]) and re.fullmatch(r"\d+\.\d", values[1]):
            hosts.append(Host(_driver(values[0]), _sm(values[1]), gpu=values[2]))
    if answer.returncode != 0 or not hosts:
        said = (answer.stderr.strip() or answer.stdout.strip() or "nothing").splitlines()[0][:200]
        raise CogError(f"--host: nvidia-smi knows no driver and GPU; it said: {said}", hint=hint)
    return min(hosts, key=lambda host: int((host.sm or "sm_0")[3:]))
